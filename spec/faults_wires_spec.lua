--- FAULTS: the rows that depend on the format of an API, over each that is no chat
-- completions (those have specs of their own), over a socket, at any split.
-- luacheck: no max line length

local core = require "oaichat.core"
local dialects = require "spec.support.dialects"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"

local function rows(d)
  local A, B = d.text "a", d.text "b"
  local OPEN = d.open

  local function with(opts)
    local out = { new = { api = d.api } }
    for name, value in pairs(opts or {}) do
      if name == "new" then
        for key, one in pairs(value) do out.new[key] = one end
      else
        out[name] = value
      end
    end
    return out
  end

  local function reads(body, text, check)
    play.events(OPEN .. body, function(out)
      local reply = play.succeeded(out, text)
      if check then check(reply, out) end
    end, with())
  end

  local function fails(body, kind, code, partial, check)
    play.events(OPEN .. body, function(out)
      local err = play.failed(out, kind, code, partial)
      if check then check(err, out) end
    end, with())
  end

  -- One answer to one turn.
  local function run(answer, opts) return play.run(answer, with(opts)) end

  local function reset(body)
    return function(_, response) response:raw(play.HEAD .. OPEN .. body):pause(0.02):reset() end
  end

  it("row 8: an RST after some tokens is stream_interrupted, with the partial reply; not behind the end", function()
    local err = play.failed(run(reset(A .. B)), "incomplete_stream", "stream_interrupted", "ab")
    assert.equal(200, err.status)
    play.succeeded(run(reset(A .. d.stop)), "a")
  end)

  it("row 9: an end without the API's end mark is incomplete, and no tool is run", function()
    fails(A .. B, "incomplete_stream", "incomplete", "ab")
    local ran = 0
    local tools = { { name = "f", run = function() ran = ran + 1 end } }
    local out = run(play.HEAD .. OPEN .. A .. d.call(1, "c1", "f", "{}"), { new = { tools = tools } })
    local err = play.failed(out, "incomplete_stream", "incomplete", "a")
    assert.equal("f", err.partial.tool_calls[1].name)
    assert.equal(0, ran)
  end)

  it("row 11: after the end mark nobody waits for the socket", function()
    local out = run(play.HEAD .. OPEN .. A .. d.stop, { ending = "hold" })
    play.succeeded(out, "a")
    assert.is_true(out.seconds < 0.5, out.seconds)
  end)

  it("row 12: a body that is cut is no success, whole or streamed", function()
    local chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    local function as_chunk(text) return ("%x\r\n%s\r\n"):format(#text, text) end
    local all = with { modes = { "stream" } }
    play.each(chunked .. as_chunk(OPEN .. A), all, function(out)
      play.failed(out, "incomplete_stream", "stream_interrupted", "a")
    end)
    play.each(chunked .. as_chunk(OPEN .. A .. d.stop), all, function(out) play.succeeded(out, "a") end)
    local body = d.whole "a"
    for _, keep in ipairs { 0, 10, #body - 1 } do
      local answer = ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body:sub(1, keep))
      play.each(answer, with { modes = { "send" } }, function(out)
        play.failed(out, "incomplete_stream", "stream_interrupted")
      end)
    end
  end)

  it("rows 21, 22: silence, keep-alive comments and pings behind some tokens are content_idle", function()
    local function timed_out(answer)
      local out = run(answer, { ending = "hold", new = { timeouts = { content_idle = 0.3 } } })
      local err = play.failed(out, "timeout", nil, "a")
      assert.equal("content_idle", err.phase)
      assert.is_true(out.seconds > 0.25 and out.seconds < 1, out.seconds)
    end
    timed_out(play.HEAD .. OPEN .. A)
    for _, noise in ipairs { ": keep-alive\n\n", d.ping } do
      timed_out(function(_, response)
        response:raw(play.HEAD .. OPEN .. A)
        for _ = 1, 40 do response:pause(0.05):raw(noise) end
      end)
    end
  end)

  it("row 26: a cancel is told at once, and the next turn is fine", function()
    local testing = require "oaichat.testing"
    local server = assert(testing.server(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      response:raw(play.HEAD .. OPEN .. A)
    end))
    local session = play.session(server, { api = d.api })
    local stream = session:stream "hello"
    assert.equal("a", stream:next())
    local start = core.now()
    stream:cancel()
    local _, _, err = stream:result()
    assert.equal("canceled", err.kind)
    assert.equal("a", err.partial.text)
    assert.is_true(core.now() - start < 0.1)
    assert.equal("good", session:send("again").text)
    server:close()
    assert.same({}, server.errors)
  end)

  it("rows 28, 29, 35: a refusal has its status, its code and its kind", function()
    local kinds = { [400] = "invalid_request", [401] = "authentication", [403] = "permission", [404] = "not_found", [409] = "conflict", [422] = "invalid_request", [429] = "rate_limit", [500] = "server", [503] = "overloaded", [529] = "overloaded" }
    for status, kind in pairs(kinds) do
      play.each(play.http(status, d.refused("some_code", "some words")), with(), function(out)
        local err = play.failed(out, kind)
        assert.equal(status, err.status)
        assert.truthy(err.message:find("some words", 1, true), err.message)
      end)
    end
  end)

  it("row 37: a page in place of an answer is bad_response", function()
    play.each(play.http(200, "<html>login</html>", "Content-Type: text/html\r\n"), with(), function(out)
      play.failed(out, "protocol", "bad_response")
    end)
  end)

  it("row 38: an event stream without its type is one all the same", function()
    local head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    play.each(head .. OPEN .. A .. d.stop, with { modes = { "stream" } }, function(out) play.succeeded(out, "a") end)
  end)

  it("row 39: a whole answer to a stream's request is taken as it is", function()
    play.each(play.http(200, d.whole "whole"), with(), function(out)
      local reply = play.succeeded(out, "whole")
      assert.equal("stop", reply.finish_reason)
      assert.equal(7, reply.usage.input_tokens)
      assert.equal("r-1", reply.id)
    end)
  end)

  it("rows 40, 41: an error in a 200 body is an error; no body is empty_response", function()
    play.each(play.http(200, d.refused(d.busy, "slow down")), with(), function(out)
      local err = play.failed(out, "overloaded")
      assert.truthy(err.message:find("slow down", 1, true))
    end)
    play.each(play.http(200, ""), with(), function(out) play.failed(out, "protocol", "empty_response") end)
  end)

  it("row 43: an error of any shape is told, and indexes nothing that is not there", function()
    for _, shape in ipairs { '{"error":"words"}', '{"error":7}', '{"error":[]}', '{"detail":"words"}', '{"message":"words"}', '["words"]', "words", '{"type":"error"}', '{"type":"error","error":null}' } do
      play.each(play.http(400, shape), with(), function(out) play.failed(out, "invalid_request") end)
    end
  end)

  it("rows 60, 73: an error in a stream, behind tokens or before the end mark, is never a success", function()
    fails(A .. d.error(d.busy, "it broke"), "overloaded", nil, "a", function(err)
      assert.truthy(err.message:find("it broke", 1, true), err.message)
    end)
    fails(A .. d.error(d.busy, "it broke") .. B .. d.stop, "overloaded", nil, "a")
    fails(A .. "event: error\ndata: null\n\n" .. d.stop, "server", nil, "a")
    fails(A .. "event: error\ndata: \"words\"\n\n" .. d.stop, "server", nil, "a")
  end)

  it("row 61: pings and events that nobody knows are ignored", function()
    reads(d.ping .. A .. "event: new\ndata: {\"type\":\"new_event\",\"x\":[1]}\n\n" .. d.ping .. B .. d.stop, "ab")
  end)

  it("rows 62, 63: the end mark without its blank line counts; cut inside its JSON it does not", function()
    local whole = OPEN .. A .. d.stop
    play.events(whole:sub(1, -3), function(out) play.succeeded(out, "a") end, with())
    play.events(whole:sub(1, -4), function(out) play.failed(out, "incomplete_stream", nil, "a") end, with())
  end)

  it("row 65: what comes behind the end mark is ignored", function()
    reads(A .. d.stop .. B .. d.error("server_error", "late") .. "data: [DONE]\n\n", "a")
  end)

  it("row 67: invalid UTF-8 is U+FFFD", function()
    reads(d.text "x\255y" .. d.stop, "x\239\191\189y")
  end)

  it("row 69: an event larger than limits.event_bytes is too_large", function()
    local out = run(play.HEAD .. OPEN .. A .. d.text(("x"):rep(5000)), { new = { limits = { event_bytes = 4000 } } })
    play.failed(out, "too_large", nil, "a")
  end)

  it("row 72: data that is no JSON fails the stream and is not in the message; JSON of other types is ignored", function()
    fails(A .. "data: {\"secret\n\n" .. B .. d.stop, "protocol", "malformed_event", "a", function(err)
      assert.falsy(err.message:find("secret", 1, true))
    end)
    reads("data: {}\n\ndata: []\n\ndata: null\n\ndata: 1\n\ndata: \"x\"\n\n" .. A .. d.stop, "a")
  end)

  it("row 75: the last usage counts, with the wire's names", function()
    reads(A .. d.stop, "a", function(reply)
      assert.equal(7, reply.usage.input_tokens)
      assert.equal(2, reply.usage.output_tokens)
    end)
  end)

  it("row 77: an answer cut at the limit, or by the filter, says so", function()
    reads(A .. d.length, "a", function(reply) assert.equal("length", reply.finish_reason) end)
    reads(A .. d.filtered, "a", function(reply) assert.equal("content_filter", reply.finish_reason) end)
  end)

  if d.refusal then
    it("row 78: a refusal is one", function()
      reads(d.refusal "n" .. d.refusal "o" .. d.stop, "", function(reply) assert.equal("no", reply.refusal) end)
    end)
  end

  it("row 79: reasoning is told, and is no text", function()
    reads(d.reasoning "why" .. A .. d.stop, "a", function(reply) assert.equal("why", reply.reasoning) end)
  end)

  it("rows 80, 81, 82, 83: calls are kept apart; without arguments they have {}; bad ones keep their text", function()
    reads(d.call(1, "c1", "f", "{", "}") .. d.call(2, "c2", "g") .. d.call(3, "c3", "h", "nonsense") .. d.stop, "", function(reply)
      local got = {}
      for i, call in ipairs(reply.tool_calls) do got[i] = ("%s %s %s"):format(call.id, call.name, call.arguments) end
      assert.same({ "c1 f {}", "c2 g {}", "c3 h nonsense" }, got)
      assert.is_nil(reply.tool_calls[3].args)
    end)
  end)

  it("rows 80, 83: more calls than limits.tool_calls are too_large", function()
    local out = run(play.HEAD .. OPEN .. d.call(1, "a", "f") .. d.call(2, "b", "f") .. d.stop, { new = { limits = { tool_calls = 1 } } })
    play.failed(out, "too_large")
  end)

  it("row 83: an unknown tool is an error that the model sees", function()
    local testing = require "oaichat.testing"
    local server = assert(testing.server(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      response:raw(play.HEAD .. OPEN .. d.call(1, "c1", "nobody", "{}") .. d.stop):close()
    end))
    local session = play.session(server, { api = d.api, tools = { { name = "f", run = function() return "x" end } } })
    assert.equal("good", session:stream("go"):result().text)
    local messages = session:messages()
    assert.equal("tool", messages[3].role)
    assert.truthy(messages[3].content:find("nobody", 1, true))
    server:close()
    assert.same({}, server.errors)
  end)

  it("rows 85, 86: a surrogate pair split over two deltas is one character, a lone one U+FFFD, NUL is kept", function()
    reads(d.text "\\ud83d" .. d.text "\\ude80" .. d.stop, "\240\159\154\128")
    reads(d.text "\\ud83dx\\u0000" .. d.stop, "\239\191\189x\0")
  end)

  it("row 88: JSON that is too deep is too_deep", function()
    fails(A .. "data: {\"type\":\"x\",\"y\":" .. ("["):rep(300) .. ("]"):rep(300) .. "}\n\n", "too_large", "too_deep", "a")
  end)

  it("row 120: a key that the server repeats is masked", function()
    play.each(play.http(400, d.refused("x", "your key sk-spec-key is bad")), with(), function(out)
      assert.falsy(play.failed(out, "invalid_request").message:find("sk-spec-key", 1, true))
    end)
  end)
end

for _, dialect in ipairs(dialects.spoken) do
  describe("faults over the " .. dialect.api .. " API:", function()
    before_each(leaks.remember)
    after_each(leaks.check)
    rows(dialect)
  end)
end
