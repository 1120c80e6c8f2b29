--- torture: what spec/torture_lua_test.c runs while memory fails: everything that
-- allocates, once, against a server in the same thread. Called with "core" or "chat".
-- Each raises whatever went wrong; that must be lack of memory.

local what, arm = ...
local core = require "oaichat.core"

local stop = core.now() + 4

local function hurry()
  if core.now() > stop then error("stuck", 0) end
end

-- A server without memory, too, closes its connections.
local MEMORY = { memory = true, connection_closed = true, connection_reset = true }

local function raise(message, err)
  error(err and MEMORY[err.code] and "not enough memory" or message, 0)
end

local EVENTS = 'data: {"choices":[{"index":0,"delta":{"content":"a\\u00e9","odd":[1]}}]}\n\n'
  .. 'data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n'
  .. 'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'
local ANSWER = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
  .. "Content-Length: " .. #EVENTS .. "\r\n\r\n" .. EVENTS

local function with_core()
  arm()
  local value = assert(core.json_decode '{"a":[1,2.5,"\\u00e9x",null],"b":{},"c":9007199254740993}')
  assert(core.json_encode(value) == '{"a":[1,2.5,"\195\169x",null],"b":{},"c":9007199254740993}', "another JSON")

  local sse = core.sse()
  assert(sse:feed "id: 1\nevent: e\ndata: x\n\ndata: cut")
  assert(sse:next() == "x", "another event")

  local listener = assert(core.listen())
  local engine = core.engine()
  local peer, heard = nil, ""
  local function turn()
    listener:step()
    local new = listener:accept()
    if new then peer, heard = new, "" end
    local bytes = peer and peer:read()
    if bytes then heard = heard .. bytes end
    if heard:find "{}$" then
      peer:write(ANSWER, 60)
      heard = ""
    end
    engine:wait(0.001)
    engine:step()
    hurry()
  end

  local session = assert(core.new {
    base_url = ("http://127.0.0.1:%d/v1"):format(listener:port()), api_key = "sk-12345678",
    headers = { ["X-A"] = "b" }, timeouts = { connect = 5 },
  })
  local function start()
    local exchange, message, err = session:stream({ "{", "}" }, { headers = { ["X-B"] = "c" } })
    if not exchange then raise(message, err) end
    return exchange
  end

  local whole = start()
  while not whole:done() do
    if not whole:next() and not whole:done() then turn() end
  end
  local reply, failure = whole:result()
  if failure then raise(failure.code, failure) end
  assert(reply.choices and whole:header "content-type" == "text/event-stream", "another reply")

  local canceled = start()
  while not canceled:ready() do turn() end
  canceled:next()
  canceled:cancel()
  canceled:result()

  local timer = engine:timer(0)
  while not timer:ready() do turn() end
  start() -- left to the collector
end

local function with_chat()
  local chat = require "oaichat"
  local testing = require "oaichat.testing"
  -- else they are read when they are first needed
  for _, name in ipairs { "wire.chat", "stream", "conversation", "record", "approval" } do
    require("oaichat." .. name)
  end
  arm()
  local server = assert(testing.server(function(request, response)
    if not request:json().stream then return response:json(200, testing.completion "whole") end
    response:event(testing.chunk "a"):event(testing.chunk "b")
    response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
  end))
  local function check(got, message, err)
    if got == nil then raise(message, err) end
    return got
  end
  local function body()
    local session = check(chat.new { base_url = server.url, api_key = "sk-12345678", retry = { max = 0 } })
    assert(check(session:send "x").text == "whole", "another text")
    local stream = session:stream "y"
    check(stream:next())
    stream:cancel()
    local task = chat.spawn(function() return session:send "z" end)
    check(task:wait())
  end
  local ok, why = pcall(body)
  server:close() -- by the collector a listener goes as well; this one has a pump
  if not ok then error(why, 0) end
end

if what == "core" then with_core() else with_chat() end
