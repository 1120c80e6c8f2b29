--- torture: what spec/torture_lua_test.c runs while memory fails: everything that
-- allocates, once, against a server in the same thread. Called with the name of a
-- scene (see the end). Each raises whatever went wrong; that must be lack of memory.

local what, arm = ...
local core = require "oaichat.core"

local stop = core.now() + 4

local function hurry()
  if core.now() > stop then error("stuck", 0) end
end

-- A server without memory, too, closes its connections.
local MEMORY = { memory = true, connection_closed = true, connection_reset = true }

local function raise(message, err)
  error(err and (MEMORY[err.code] or err.status == 500) and "not enough memory" or message, 0)
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

-- ---- the public API --------------------------------------------------------------

local TIMES = { connect = 2, first_byte = 2, first_content = 2, content_idle = 2, attempt = 2 }

local function check(got, message, err)
  if got == nil then raise(message, err) end
  return got
end

-- Runs body(chat, session's options) once all that is named is loaded, else it would be
-- read when it is first needed; the server answers by `handler`.
local function with_server(names, handler, body)
  local chat = require "oaichat"
  local testing = require "oaichat.testing"
  for _, name in ipairs(names) do require("oaichat." .. name) end
  arm()
  local server = assert(testing.server(function(request, response) return handler(request, response, testing) end))
  local ok, why = pcall(body, chat, {
    base_url = server.url, api_key = "sk-12345678", retry = { max = 0 }, timeouts = TIMES,
  })
  server:close() -- by the collector a listener goes as well; this one has a pump
  if type(why) == "table" then raise(why.safe_message, why) end -- a page that failed
  if not ok then error(why, 0) end
end

local TURN = { "wire.chat", "stream", "conversation", "record", "approval" }

local function with_chat()
  with_server(TURN, function(request, response, testing)
    if not request:json().stream then return response:json(200, testing.completion "whole") end
    response:event(testing.chunk "a"):event(testing.chunk "b")
    response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
  end, function(chat, options)
    local session = check(chat.new(options))
    assert(check(session:send "x").text == "whole", "another text")
    local stream = session:stream "y"
    check(stream:next())
    stream:cancel()
    local task = chat.spawn(function() return session:send "z" end)
    check(task:wait())
  end)
end

-- Thoughts, a tool that is called, its result, and the answer after it.
local function with_wire(api)
  local dialect = require "spec.support.dialects"[api]
  local names = { "wire." .. api, "stream", "conversation", "record", "approval", "tools", "turn.round", "aside",
    "reply.raw" }
  with_server(names, function(request, response)
    if not request:json().stream then
      return response:body(200, dialect.whole "whole", { ["Content-Type"] = "application/json" })
    end
    local body = dialect.open .. dialect.text "a"
    if not request.body:find "c1" then
      body = body .. dialect.reasoning "r" .. dialect.call(1, "c1", "f", '{}')
    end
    response:body(200, body .. dialect.stop, { ["Content-Type"] = "text/event-stream" })
  end, function(chat, options)
    options.api, options.model = api, "m-1"
    options.tools = { { name = "f", parameters = { type = "object" }, run = function() return "done" end } }
    local session = check(chat.new(options))
    assert(check(session:send "x").text == "whole", "another text")
    local stream = session:stream "y"
    for _ in stream:events() do end
    local reply = check(stream:result())
    assert(reply.text == "a" and #session:messages() == 6, "another history")
  end)
end

-- A form out, pages in, a body to a function.
local function with_client()
  local names = { "client", "transfer", "client.request", "client.pages", "client.endpoints" }
  with_server(names, function(request, response)
    if request.path:find "content" then return response:body(200, ("0123456789"):rep(5000)) end
    if request.method == "POST" then return response:json(200, { id = "file-1", object = "file" }) end
    local here = request.target
    response:json(200, { object = "list", data = { { id = here } }, has_more = not here:find "after" })
  end, function(chat, options)
    local client = check(chat.client(options))
    check(client.files:create { file = { data = "abc", filename = "a.jsonl" }, purpose = "batch" })
    local n = 0
    for one in check(client.files:list()):items() do n = n + (one.id and 1 or 0) end
    assert(n == 2, "other pages")
    local size = 0
    check(client.files:content("file-1", nil, { to = function(bytes) size = size + #bytes return true end }))
    assert(size == 50000, "another size")
  end)
end

-- A handshake, a message there and back in two fragments, a ping, the close.
local function with_websocket()
  local peer = require "spec.support.ws_peer"
  local websocket = require "oaichat.websocket"
  arm()
  local ok, why = pcall(function()
    local url = peer.play(function(key) return peer.yes(key) end, function(one)
      one:write(peer.frame(1, "a", true) .. peer.frame(9, "p") .. peer.frame(0, "b") .. peer.frame(8, "\3\232"), 60)
    end)
    local socket = check(websocket.connect { url = url, timeout = 2, close_timeout = 0.02 })
    check(socket:send_text "x")
    assert(check(socket:receive()) == "ab", "another message")
    socket:close()
  end)
  peer.stop()
  if not ok then error(why, 0) end
end

local scenes = {
  core = with_core, chat = with_chat, client = with_client, websocket = with_websocket,
  responses = with_wire, anthropic = with_wire,
}
scenes[what](what)
