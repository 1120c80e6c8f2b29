--- FAULTS A and B: connections that fail and servers that are slow. Durations are
-- those of the table divided by 100 or more, with the timeouts scaled alike.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local A, B = play.text "a", play.text "b"

-- What both ways of asking say.
local function ask(session, input)
  local list = {}
  local _, _, err = session:send(input or "hello")
  list[1] = err
  _, _, err = session:stream(input or "hello"):result()
  list[2] = err
  return list
end

-- Lets the client and the server go on until the condition holds, a second at most.
local function await(server, condition)
  local stop = core.now() + 1
  while not condition() and core.now() < stop do
    core.engine():wait(0.01)
    core.engine():step()
    server:step()
  end
  return condition()
end

-- Keeps this thread busy: a host that does not step.
local function block(seconds)
  local stop = core.now() + seconds
  while core.now() < stop do end -- luacheck: ignore 542
end

-- Bytes one by one, with a pause before each.
local function drip(response, bytes, pause)
  for i = 1, #bytes do response:pause(pause):raw(bytes:sub(i, i)) end
  return response
end

local function at_about(seconds, out)
  assert.is_true(out.seconds >= seconds * 0.9, out.seconds .. " s is too early")
  assert.is_true(out.seconds <= seconds * 1.1 + 0.05, out.seconds .. " s is too late")
end

local opened = {}
local function serve(handler, options)
  opened[#opened + 1] = assert(testing.server(handler, options))
  return opened[#opened]
end

-- Ends what a spec, failed or not, left open.
local function finish()
  while opened[1] do table.remove(opened):close() end
  leaks.check()
end

local function timed_out(out, phase, seconds, partial)
  local err = play.failed(out, "timeout", nil, partial)
  assert.equal(phase, err.phase)
  at_about(seconds, out)
  return err
end

local BOTH = { "stream", "send" }

describe("faults of the transport:", function()
  before_each(leaks.remember)
  after_each(finish)

  it("row 1: a refused connection is network, connect", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    local session = assert(chat.new { base_url = ("http://127.0.0.1:%d/v1"):format(port), api_key = "sk-spec-key" })
    local errs = ask(session)
    assert.equal(2, #errs)
    for _, err in ipairs(errs) do
      assert.equal("network", err.kind)
      assert.equal("connect", err.code)
      assert.is_true(err.retryable)
      assert.is_nil(err.status)
      assert.equal("hello", err.input[1].content)
    end
    assert.same({}, session:messages())
    local server = serve(play.good, { port = port })
    assert.equal("good", session:send("hello").text)
    server:close()
  end)

  it("row 2: an unknown host is network, dns", function()
    local session = assert(chat.new { base_url = "http://no-such-host.invalid/v1", api_key = false, timeouts = { connect = 5 } })
    local errs = ask(session)
    assert.equal(2, #errs)
    for _, err in ipairs(errs) do
      assert.equal("network", err.kind)
      assert.equal("dns", err.code)
      assert.is_true(err.retryable)
    end
    assert.same({}, session:messages())
  end)

  it("row 6: a connection closed with 0 bytes is connection_closed", function()
    for _, mode in ipairs(BOTH) do
      local out = play.run(function(_, response) response:close() end, { mode = mode })
      local err = play.failed(out, "network", "connection_closed")
      assert.is_true(err.retryable)
      assert.is_nil(err.status)
    end
  end)

  it("row 7: an RST before the headers is connection_reset", function()
    for _, mode in ipairs(BOTH) do
      local out = play.run(function(_, response) response:reset() end, { mode = mode })
      play.failed(out, "network", "connection_reset")
      out = play.run(function(_, response) response:raw("HTTP/1.1 200 OK\r\nConte"):pause(0.02):reset() end, { mode = mode })
      play.failed(out, "network", "connection_reset")
    end
  end)

  it("row 8: an RST after some tokens is stream_interrupted, with the partial reply", function()
    local function reset(body)
      return function(_, response) response:raw(body):pause(0.02):reset() end
    end
    local out = play.run(reset(play.HEAD .. A .. B))
    local err = play.failed(out, "incomplete_stream", "stream_interrupted", "ab")
    assert.equal(200, err.status)
    -- a finish reason does not make a reset a success, [DONE] does
    out = play.run(reset(play.HEAD .. A .. play.FINISH))
    play.failed(out, "incomplete_stream", "stream_interrupted", "a")
    play.succeeded(play.run(reset(play.HEAD .. A .. play.END)), "a")
    out = play.run(reset "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":", { mode = "send" })
    play.failed(out, "incomplete_stream", "stream_interrupted")
  end)

  it("row 9: an end without finish_reason and [DONE] is incomplete, with the partial reply", function()
    play.events(A .. B, function(out) play.failed(out, "incomplete_stream", "incomplete", "ab") end)
    local call = play.chunk '{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{}"}}]}'
    play.events(A .. call, function(out)
      local err = play.failed(out, "incomplete_stream", "incomplete", "a")
      assert.equal("f", err.partial.tool_calls[1].name)
    end)
  end)

  it("rows 9, 72: tool calls of such an end are not run; those before [DONE] alone are", function()
    local ran = 0
    local tools = { { name = "f", run = function() ran = ran + 1 end } }
    local call = play.chunk '{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{}"}}]}'
    local before = { [""] = "incomplete", ["data: {oops\n\n"] = "malformed_event" }
    for last, code in pairs(before) do
      play.events(call .. last, function(out)
        play.failed(out, code == "incomplete" and "incomplete_stream" or "protocol", code)
        assert.equal(1, #out.requests - 1) -- the second turn's
      end, { new = { tools = tools } })
    end
    assert.equal(0, ran)
    local server = serve(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      response:raw(play.HEAD .. call .. play.DONE):close()
    end)
    assert.equal("good", play.session(server, { tools = tools }):stream("hello"):result().text)
    assert.equal(1, ran)
  end)

  it("row 9: with [DONE] alone it is a success, and finish_reason is nil", function()
    play.events(A .. play.DONE, function(out) assert.is_nil(play.succeeded(out, "a").finish_reason) end)
  end)

  it("row 10: the end after every choice's finish_reason is a success", function()
    play.events(A .. play.FINISH, function(out) assert.equal("stop", play.succeeded(out, "a").finish_reason) end)
    local other = 'data: {"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
    play.events(A .. other .. play.FINISH, function(out)
      play.failed(out, "incomplete_stream", "incomplete", "a")
    end)
  end)

  it("row 10: so is a silence of content_idle, in which usage is still taken", function()
    local usage = 'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n'
    local out = play.run(play.HEAD .. A .. play.FINISH .. usage, { ending = "hold", new = { timeouts = { content_idle = 0.2 } } })
    assert.equal(7, play.succeeded(out, "a").usage.prompt_tokens)
    at_about(0.2, out)
  end)

  it("row 10: and a silence of 2 s when content_idle is longer", function()
    local out = play.run(play.HEAD .. A .. play.FINISH, { ending = "hold" })
    play.succeeded(out, "a")
    assert.is_true(out.seconds > 1.9 and out.seconds < 2.3)
  end)

  it("row 11: after [DONE] nobody waits for the socket, and it is let go", function()
    local peer
    local server = serve(function(request, response)
      peer = request.peer
      response:raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
      response.started, response.chunked = true, true
      response:write(A .. play.END)
    end)
    local stream = play.session(server):stream "hello"
    assert.equal("a", stream:next())
    local start = core.now()
    assert.is_nil(stream:next())
    assert.truthy(stream:result())
    assert.is_true(core.now() - start < 0.05)
    assert.is_true(await(server, function() return peer:closed() end))
    server:close()
  end)

  it("row 12: a body that is cut is an interrupted stream, a success only after [DONE]", function()
    local chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    local sized = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
    local function as_chunk(text) return ("%x\r\n%s\r\n"):format(#text, text) end
    local all = { modes = { "stream" } }
    local function interrupted(out) play.failed(out, "incomplete_stream", "stream_interrupted", "a") end
    play.each(chunked .. as_chunk(A), all, interrupted)
    play.each(chunked .. as_chunk(A) .. "ff\r\ndata: ", all, interrupted)
    play.each(chunked .. as_chunk(A .. play.FINISH), all, interrupted)
    play.each(sized .. A, all, interrupted)
    play.each(sized .. A .. play.FINISH, all, interrupted)
    play.each(chunked .. as_chunk(A .. play.END), all, function(out) play.succeeded(out, "a") end)
  end)

  it("row 12: a content-length that is too short cuts it likewise, a success only after [DONE]", function()
    local function sized(n) return (play.HEAD:gsub("\r\n\r\n$", ("\r\nContent-Length: %d\r\n\r\n"):format(n))) end
    local body = A .. play.END
    play.each(sized(#A + 10) .. body, { modes = { "stream" } }, function(out) play.failed(out, "incomplete_stream", nil, "a") end)
    play.each(sized(#body - 2) .. body, { modes = { "stream" } }, function(out) play.succeeded(out, "a") end)
  end)

  it("row 12: a whole answer that is cut is no success", function()
    local body = play.completion '{"role":"assistant","content":"a"}'
    for _, keep in ipairs { 0, 10, #body - 1 } do
      local answer = ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")
        :format(#body, body:sub(1, keep))
      play.each(answer, { modes = { "send" } }, function(out)
        play.failed(out, "incomplete_stream", "stream_interrupted")
      end)
    end
  end)

  it("row 13: a content-length that is too long is a success after [DONE]", function()
    local body = A .. play.END
    local sized = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " .. #body + 10 .. "\r\n\r\n"
    for _, ending in ipairs { "close", "hold" } do
      play.each(sized .. body, { modes = { "stream" }, ending = ending }, function(out)
        play.succeeded(out, "a")
        assert.is_true(out.stop - out.last_piece < 0.05)
      end)
    end
  end)

  for _, ending in ipairs { "shutdown", "close" } do
    it("row 14: a 413 is reported although the server stopped reading (" .. ending .. ")", function()
      local server = serve {
        on_data = function(peer, bytes)
          if not bytes:find("POST ", 1, true) then return end
          peer:write(play.http(413, '{"error":{"message":"too much","code":"body_too_big"}}'))
          peer[ending](peer)
        end,
      }
      local session = play.session(server)
      local errs = ask(session, ("x"):rep(8e6))
      assert.equal(2, #errs)
      for _, err in ipairs(errs) do
        assert.equal("invalid_request", err.kind)
        assert.equal(413, err.status)
        assert.equal("body_too_big", err.code)
        assert.truthy(err.message:find("too much", 1, true))
      end
      assert.same({}, session:messages())
      server:close()
      assert.same({}, server.errors)
    end)
  end

  it("row 16: a kept connection that is dead is replaced, once, unseen", function()
    local server = serve(play.good)
    local session = play.session(server)
    assert.equal("good", session:send("one").text)
    for peer in pairs(server.connections) do peer:abort() end
    assert.equal("good", session:send("two").text)
    server:close()
  end)

  it("row 17: no Expect header is sent, however long the body", function()
    local server = serve(play.good)
    assert.truthy(play.session(server):send(("x"):rep(2e6)))
    assert.is_nil(server.requests[1].headers.expect)
    server:close()
  end)
end)

describe("faults of time:", function()
  before_each(leaks.remember)
  after_each(finish)

  local function silent() end

  it("row 19: headers that never come are first_byte for streams, attempt for send", function()
    local timeouts = { first_byte = 0.3, attempt = 0.2 }
    timed_out(play.run(silent, { new = { timeouts = timeouts } }), "first_byte", 0.3)
    timed_out(play.run(silent, { mode = "send", new = { timeouts = timeouts } }), "attempt", 0.2)
  end)

  it("row 20: a slow loris in the headers meets first_byte or attempt", function()
    local function slow(_, response) drip(response, play.HEAD, 0.1) end
    timed_out(play.run(slow, { new = { timeouts = { first_byte = 0.35 } } }), "first_byte", 0.35)
    timed_out(play.run(slow, { mode = "send", new = { timeouts = { attempt = 0.35 } } }), "attempt", 0.35)
  end)

  it("row 20: in the body it meets first_content, content_idle or attempt", function()
    local function slow(_, response) drip(response:raw(play.HEAD), A, 0.1) end
    timed_out(play.run(slow, { new = { timeouts = { first_content = 0.35 } } }), "first_content", 0.35)
    local function later(_, response) drip(response:raw(play.HEAD .. A), B, 0.1) end
    timed_out(play.run(later, { new = { timeouts = { content_idle = 0.35 } } }), "content_idle", 0.35, "a")
    timed_out(play.run(slow, { mode = "send", new = { timeouts = { attempt = 0.35 } } }), "attempt", 0.35)
  end)

  it("row 20: and everywhere the deadline", function()
    local function slow(_, response) drip(response, play.HEAD .. A, 0.1) end
    for _, mode in ipairs { "stream", "send" } do
      timed_out(play.run(slow, { mode = mode, new = { deadline = 0.3 } }), "total", 0.3)
    end
  end)

  it("row 21: silence after some tokens is content_idle, with the partial reply", function()
    local err = timed_out(play.run(play.HEAD .. A .. B, { ending = "hold", new = { timeouts = { content_idle = 0.3 } } }),
      "content_idle", 0.3, "ab")
    assert.truthy(err.message:find("content_idle", 1, true))
  end)

  it("row 22: keep-alive comments do not put off content_idle", function()
    local function answer(_, response)
      response:raw(play.HEAD .. A)
      for _ = 1, 40 do response:pause(0.05):raw ": keep-alive\n\n" end
    end
    timed_out(play.run(answer, { new = { timeouts = { content_idle = 0.3 } } }), "content_idle", 0.3, "a")
  end)

  it("row 23: comments for 90 s, then tokens, are a success with the default timeouts (here all / 100)", function()
    local function answer(_, response)
      response:raw(play.HEAD)
      for _ = 1, 18 do response:pause(0.05):raw ": thinking\n\n" end
      response:raw(A .. play.END):close()
    end
    local scaled = { connect = 0.1, first_byte = 1.2, first_content = 3, content_idle = 1.2, attempt = 6 }
    local out = play.run(answer, { new = { timeouts = scaled } })
    play.succeeded(out, "a")
    assert.is_true(out.seconds > 0.85)
  end)

  local function ticking(_, response)
    response:raw(play.HEAD)
    for _ = 1, 100 do response:pause(0.01):raw(A) end
    response:raw(play.END):close()
  end

  it("row 24: a token now and then for long is a success", function()
    local out = play.run(ticking, { new = { timeouts = { first_byte = 0.3, first_content = 0.3, content_idle = 0.2, attempt = 0.3 } } })
    play.succeeded(out, ("a"):rep(100))
    assert.is_true(out.seconds > 0.9)
  end)

  it("row 24: unless the deadline is set", function()
    local out = play.run(ticking, { new = { deadline = 0.3 } })
    local err = timed_out(out, "total", 0.3)
    assert.truthy(#err.partial.text > 10 and #err.partial.text < 40)
  end)

  it("row 25: a reader who is slow causes no idle timeout and loses nothing", function()
    local server = serve(function(_, response)
      response:raw(play.HEAD .. A):pause(0.02):raw(B .. A):pause(0.02):raw(B .. play.END):close()
    end)
    local heard = {}
    for text in play.session(server, { timeouts = { content_idle = 0.1, first_content = 0.15 } }):stream "hello" do
      heard[#heard + 1] = text
      block(0.25)
    end
    assert.equal("abab", table.concat(heard))
    server:close()
  end)

  local function endless(peers)
    return function(request, response)
      if request.number > 1 then return play.good(request, response) end
      peers[1] = request.peer
      response:raw(play.HEAD .. A .. B)
    end
  end

  it("row 26: a cancel returns at once, the socket is closed, the session goes on", function()
    local peers = {}
    local server = serve(endless(peers))
    local session = play.session(server)
    local stream = session:stream "hello"
    assert.equal("a", stream:next())
    local start = core.now()
    stream:cancel()
    assert.is_true(core.now() - start < 0.1)
    local reply, message, err = stream:result()
    assert.is_nil(reply)
    assert.equal(message, tostring(err))
    assert.equal("canceled", err.kind)
    assert.equal("hello", err.input[1].content)
    assert.equal("a", err.partial.text:sub(1, 1))
    assert.is_true(await(server, function() return peers[1]:closed() end))
    assert.same({}, session:messages())
    assert.equal("good", session:send("again").text)
    server:close()
  end)

  it("row 26: a cancel from inside the loop ends it", function()
    local peers = {}
    local server = serve(endless(peers))
    local session = play.session(server)
    local why
    local ok = pcall(function()
      for _, stream in session:stream "hello" do
        stream:cancel()
        why = stream
      end
    end)
    assert.is_false(ok, "the loop raises what went wrong")
    local _, _, err = why:result()
    assert.equal("canceled", err.kind)
    assert.equal("good", session:send("again").text)
    server:close()
  end)

  it("row 26: before the first byte, in a coroutine", function()
    local server = serve(function(request, response)
      if request.number > 1 then play.good(request, response) end
    end)
    local session = play.session(server)
    coroutine.wrap(function()
      local stream = session:stream "hello"
      core.engine():wait(0.01)
      stream:cancel()
      local _, _, err = stream:result()
      assert.equal("canceled", err.kind)
      assert.is_nil(err.partial)
    end)()
    assert.same({}, session:messages())
    server:close()
  end)
end)
