--- What is large, and what it costs: FAULTS rows 57, 69, 70, 83, 96. (Bombs and endless
-- bodies are in faults_bombs_spec.lua.)
-- luacheck: no max line length

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local peak = require "spec.support.peak"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local A = play.text "a"
local MB = 1024 * 1024

-- Serves the bytes that `pieces` gives, one by one as the client takes them, so that the
-- server's queue is not what is measured.
local function flood(opts, pieces)
  local peer
  local server
  server = assert(testing.server(function(request, response)
    if request.number > 1 then return play.good(request, response) end
    peer = request.peer
    response:raw(play.HEAD .. A)
  end))
  local session = play.session(server, opts)
  local stream = session:stream "hello"
  assert.equal("a", stream:next())
  local base = peak.start()
  local sent = 0
  -- what is only steps of the engine reads; the stream is asked when all is sent, or cut
  local stop = core.now() + 20
  local piece = pieces()
  while piece and not peer:closed() and core.now() < stop do
    if peer:pending() < 65536 then
      peer:write(piece)
      sent = sent + #piece
      piece = pieces()
    end
    server:step()
    core.engine():step()
  end
  assert.is_true(core.now() < stop, "it took too long")
  return { stream = stream, peer = peer, server = server, session = session, sent = sent, above = peak.above(base) }
end

local function times(n, text)
  return function()
    if n == 0 then return nil end
    n = n - 1
    return text
  end
end

describe("faults of size:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 57: a comment of 32 MB, and a million of comments, cost no memory", function()
    for _, pieces in ipairs { times(512, ("x"):rep(65536)), times(1000, (": ping\n\n"):rep(1000)) } do
      local first = true
      local out = flood(nil, function()
        if first then
          first = false
          return ": "
        end
        return pieces()
      end)
      assert.is_true(out.sent >= 8e6)
      out.peer:write("\n\n" .. play.END)
      assert.equal("a", assert(out.stream:result()).text)
      if out.above then assert.is_true(out.above < 2 * MB, out.above) end
      out.server:close()
    end
  end)

  it("row 69: byte by byte, four times the event takes four times as long", function()
    local function long(n)
      local event = play.chunk('{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"x\\":\\"'
        .. ("y"):rep(n) .. '\\"}"}}]}')
      local start = os.clock()
      local reply = play.succeeded(play.run(play.HEAD .. event .. play.chunk("{}", "tool_calls") .. play.DONE, { split = 1 }), "")
      assert.equal(n, #reply.tool_calls[1].args.x)
      return os.clock() - start
    end
    long(1000)
    local one, four = long(20000), long(80000)
    assert.is_true(four < 8 * one + 0.2, ("%.2f s, then %.2f s"):format(one, four))
  end)

  it("row 70: what never ends is cut at limits.event_bytes, and no more is kept", function()
    local floods = {
      ["a data line"] = { first = "data: ", text = ("x"):rep(65536), kept = true },
      ["a line of no field"] = { first = "", text = ("x"):rep(65536) },
      ["data lines"] = { first = "", text = ("data: " .. ("x"):rep(57) .. "\n"):rep(1024), kept = true },
    }
    for name, one in pairs(floods) do
      local first = true
      local out = flood({ limits = { event_bytes = 4 * MB } }, function()
        if first then
          first = false
          return one.first .. one.text
        end
        return one.text
      end)
      assert.is_true(out.sent >= 4 * MB and out.sent < 16 * MB, name .. ": " .. out.sent)
      local reply, _, err = out.stream:result()
      assert.is_nil(reply)
      assert.equal("too_large", err.kind)
      assert.equal("a", err.partial.text)
      assert.is_true(out.peer:closed())
      if out.above then assert.is_true(out.above < 8 * MB + 8 * MB, name .. ": " .. out.above) end
      out.server:close()
    end
  end)

  it("row 83: 500 calls, none of them known: no crash, and the model is told of each", function()
    local list = {}
    for i = 1, 500 do
      list[i] = ('{"index":%d,"id":"c%d","type":"function","function":{"name":"no_such_tool","arguments":"{}"}}'):format(i - 1, i)
    end
    local body = play.chunk('{"tool_calls":[' .. table.concat(list, ",") .. "]}") .. play.chunk("{}", "tool_calls") .. play.DONE
    local ran = 0
    local tools = { { name = "f", run = function() ran = ran + 1 end } }
    local function open(limits, answer)
      local server = assert(testing.server(function(request, response)
        if request.number > 1 then return play.good(request, response) end
        response:raw(play.HEAD .. answer):close()
      end))
      return server, play.session(server, { tools = tools, limits = limits, max_calls = 1000 })
    end
    local server, session = open({ tool_calls = 128 }, body)
    local reply, _, err = session:stream("hello"):result()
    assert.is_nil(reply)
    assert.equal("too_large", err.kind)
    assert.equal("too_many_tool_calls", err.code)
    assert.equal(1, #server.requests)
    server:close()
    server, session = open({ tool_calls = 500 }, body)
    assert.equal("good", assert(session:stream("hello"):result()).text)
    local messages = server.requests[2]:json().messages
    assert.equal(502, #messages)
    for i = 3, 502 do
      assert.equal("tool", messages[i].role)
      assert.equal("c" .. i - 2, messages[i].tool_call_id)
      assert.matches("no tool no_such_tool", messages[i].content)
    end
    server:close()
    assert.equal(0, ran)
    server:close()
  end)

  it("row 83: one id in two calls is sent back with one result for each id", function()
    local call = '{"index":%d,"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}'
    local stream = play.HEAD .. play.chunk('{"tool_calls":[' .. call:format(0) .. "]}")
      .. play.chunk('{"tool_calls":[' .. call:format(1) .. "]}") .. play.chunk("{}", "tool_calls") .. play.DONE
    local whole = play.http(200, play.completion('{"role":"assistant","content":null,"tool_calls":['
      .. call:format(0) .. "," .. call:format(1) .. "]}", "tool_calls"))
    for mode, answer in pairs { stream = stream, send = whole } do
      local server = assert(testing.server(function(request, response)
        if request.number > 1 then return play.good(request, response) end
        response:raw(answer):close()
      end))
      local session = play.session(server, { tools = { { name = "f", run = function() return "ran" end } } })
      local reply
      if mode == "send" then reply = session:send "hello" else reply = session:stream("hello"):result() end
      assert.equal("good", assert(reply).text)
      local messages, ids = server.requests[2]:json().messages, {}
      for _, one in ipairs(messages[2].tool_calls) do
        assert.is_nil(ids[one.id], "one id for two calls is sent")
        ids[one.id] = true
      end
      for i = 3, #messages do
        assert.is_true(ids[messages[i].tool_call_id])
        ids[messages[i].tool_call_id] = nil
      end
      assert.is_nil(next(ids))
      server:close()
    end
  end)
end)

describe("a message of 50 MB", function()
  local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

  -- The client is a process of its own, since the server's copy is in this one.
  local CLIENT = [[
local chat = require "oaichat"
local function high()
  local file = io.open "/proc/self/status"
  if not file then return 0 end
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "VmHWM:%s*(%d+)") * 1024
end
local session = chat.new { base_url = URL, api_key = false, model = "m", retry = { max = 0 } }
local text = ("x"):rep(50000000)
collectgarbage()
collectgarbage()
local clear = io.open("/proc/self/clear_refs", "w") -- from here on the high water mark counts
if clear then clear:write "5" clear:close() end
local base = high()
local reply, message, err = session:send(text)
print(err and err.kind, err and err.status, high() - base)
io.stdout:flush()
os.exit(0, true)]]

  it("row 96: is sent without a third copy of it, and the 413 is told", function()
    local size
    local server
    server = assert(testing.server(function(request, response)
      size = #request.body
      response:json(413, { error = { message = "too much" } })
    end))
    local name, said = os.tmpname(), os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(("package.path, package.cpath = %q, %q\nlocal URL = %q\n"):format(package.path, package.cpath, server.url), CLIENT)
    file:close()
    os.execute(("(timeout 30 %s %s >%s 2>&1; echo end >>%s) &"):format(interpreter, name, said, said))
    local out
    local stop = core.now() + 30
    repeat
      core.engine():wait(0.05)
      server:step()
      local handle = assert(io.open(said))
      out = handle:read "*a"
      handle:close()
    until out:find "end\n$" or core.now() > stop
    server:close()
    server.requests = {}
    os.remove(name)
    os.remove(said)
    assert.is_true(size > 50e6)
    local kind, status, above = out:match "^(%S+)\t(%S+)\t(%d+)"
    assert.equal("invalid_request", kind, out)
    assert.equal("413", status)
    -- its JSON is the second; what a buffer has to spare is no third
    if not peak.sanitized then assert.is_true(tonumber(above) < 75e6, above) end
  end)
end)
