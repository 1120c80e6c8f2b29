-- oaichat.testing's record and replay: what a session hears from the upstream, from the
-- recorder and from the replay is the same, and no secret is in the file.

local answer_of = require "oaichat.testing.answer"
local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local nginx = require "spec.support.nginx"
local redact = require "oaichat.testing.redact"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

local KEY = "sk-canary-0123456789"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

describe("oaichat.testing's cassette", function()
  local path, open

  local function keep(server)
    open[#open + 1] = server
    return server
  end

  local function connect(server, extra)
    local options = { base_url = server.url, api_key = KEY, model = "any", retry = { max = 0 } }
    for name, value in pairs(extra or {}) do options[name] = value end
    return assert(chat.new(options))
  end

  local function record(steps, extra)
    local provider = keep(assert(testing.provider(steps)))
    local options = { upstream = provider.url, file = path }
    for name, value in pairs(extra or {}) do options[name] = value end
    return keep(assert(testing.record(options))), provider
  end

  local function replay(extra)
    local options = { file = path }
    for name, value in pairs(extra or {}) do options[name] = value end
    return keep(assert(testing.replay(options)))
  end

  -- A stream's pieces, its text or what failed, and when each piece came.
  local function hear(session, input)
    local out, start = { times = {} }, core.now()
    local stream = session:stream(input)
    while true do
      local text = stream:next()
      if not text then break end
      out[#out + 1] = text
      out.times[#out] = core.now() - start
    end
    local reply, _, err = stream:result()
    out.ended = reply and reply.text or err.kind .. " " .. tostring(err.code)
    return out
  end

  local function same(a, b)
    a.times, b.times = nil, nil
    assert.same(a, b)
  end

  before_each(function()
    leaks.remember()
    path, open = os.tmpname(), {}
  end)

  after_each(function()
    for i = #open, 1, -1 do open[i]:close() end
    open = nil
    os.remove(path)
    leaks.check()
  end)

  it("plays again what it recorded: streams, whole answers, failures and broken ones", function()
    local steps = {
      { chunks = { "caf", "\195\169 \240\159\152\128", " c" } }, "whole", { status = 404, error = "none such" },
      { chunks = { "a", "b", "c" }, cut = 2 }, { chunks = { "a", "b", "c" }, reset = 1 }, { text = "x", cut = 1 },
      { text = "last", headers = { ["X-Request-Id"] = "req-7" } },
    }
    local function tour(session)
      local out = {}
      for i = 1, #steps do
        if i == 2 or i == 3 or i == 6 then
          local reply, _, err = session:send("say " .. i)
          out[i] = { ended = reply and reply.text or err.kind .. " " .. tostring(err.code) }
        else
          out[i] = hear(session, "say " .. i)
          out[i].times = nil
        end
      end
      return out
    end
    local direct = tour(connect(keep(assert(testing.provider(steps)))))
    local recorder, provider = record(steps)
    local heard = tour(connect(recorder))
    assert.same(direct, heard)
    recorder:close()
    assert.equal(#steps, recorder.interactions)
    assert.same({}, recorder.errors)
    provider:verify()
    provider:close()
    local again = replay()
    assert.same(direct, tour(connect(again)))
    again:verify()
    assert.same({}, again:unused())
  end)

  it("is lines of JSON that say what they are", function()
    local recorder = record { "one" }
    connect(recorder):send "hi"
    local list = {}
    for line in io.lines(path) do list[#list + 1] = assert(json.decode(line)) end
    assert.equal(2, #list)
    assert.equal("oaichat", list[1].cassette)
    assert.equal(1, list[1].version)
    assert.equal("hi", list[2].request.json.messages[1].content)
    assert.equal("/chat/completions", list[2].request.target)
    assert.equal(200, list[2].response.status)
    assert.equal("one", json.decode(list[2].response.pieces[1][2]).choices[1].message.content)
  end)

  it("keeps the edges and the times of what came", function()
    local clock = keep(testing.clock())
    local recorder = record { { chunks = { "a", "b", "c" }, pause = 2, every = 30 } }
    local heard = hear(connect(recorder), "hi")
    recorder:close()
    local times = {}
    for i, seconds in ipairs(heard.times) do times[i] = math.floor(seconds + 0.5) end
    assert.same({ 2, 32, 62 }, times)
    local fast = replay()
    local again = hear(connect(fast), "hi")
    assert.is_true(again.times[3] < 1)
    local slow = replay { speed = "real" }
    local timed = hear(connect(slow), "hi")
    for i = 1, 3 do assert.is_true(math.abs(timed.times[i] - heard.times[i]) < 0.01, timed.times[i]) end
    same(heard, again)
    same(again, timed)
    clock:close()
  end)

  it("keeps pieces that cut a character, and bytes that are no text", function()
    local function chunk(bytes) return ("%x\r\n%s\r\n"):format(#bytes, bytes) end
    local event = 'data: {"choices":[{"index":0,"delta":{"content":"caf\195\169"},"finish_reason":"stop"}]}\n\n'
    local at = event:find "\169"
    local bytes = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. chunk(event:sub(1, at - 1)) .. chunk(event:sub(at)) .. chunk "data: [DONE]\n\n" .. "0\r\n\r\n"
    local recorder = record { { bytes = bytes } }
    assert.equal("caf\195\169", hear(connect(recorder), "hi").ended)
    recorder:close()
    assert.truthy(read(path):find('"base64"', 1, true))
    assert.equal("caf\195\169", hear(connect(replay()), "hi").ended)
  end)

  it("has no secret in the file", function()
    local org = "org-A1b2C3d4E5f6G7h8"
    local steps = {
      { text = "your key is " .. KEY .. " and hunter2/x", headers = {
        ["Set-Cookie"] = "session=cookie-value-1", ["OpenAI-Organization"] = "acme-77-corp",
        ["x-ratelimit-remaining-tokens"] = "59990",
      } },
      { chunks = { "it is sk-can", "ary-01", "23456789 and hun", "ter2/x, you see" } },
      { status = 401, error = "acme-77-corp, " .. org .. " knows no " .. KEY },
    }
    local recorder, provider = record(steps, { secrets = { "hunter2/x" } })
    local session = connect(recorder, { headers = {
      ["X-Api-Key"] = "another-key-1", ["Api-Key"] = "third-key-22", Cookie = "a=cookie-value-2",
      ["OpenAI-Project"] = "proj_0123456789abcdef",
    } })
    assert.equal(steps[1].text, session:send("my secret is hunter2/x").text)
    assert.equal(table.concat(steps[2].chunks), hear(session, "and?").ended)
    session:send "third-key-22?"
    -- a key in the target
    local raw = assert(core.new {
      base_url = recorder.url, wire = "raw", api_key = false, path = "/models?key=AIzaX&a=1",
    })
    local exchange = raw:send ""
    while not exchange:done() do
      exchange:drain()
      wait.pump()
      exchange:wait(0.01)
    end
    exchange:close()
    raw:close()
    assert.equal(4, #provider.requests)
    assert.truthy(provider.requests[4].target:find("key=AIzaX", 1, true))
    recorder:close()
    local text = read(path)
    for _, secret in ipairs {
      KEY, "hunter2", "hun\"", "ter2/x", "0123456789", "23456789 and", "cookie-value",
      "acme-77-corp", org, "another-key", "third-key", "proj_0", "AIzaX",
    } do
      assert.is_nil(text:find(secret, 1, true), secret)
    end
    assert.truthy(text:find("a=1", 1, true))
    assert.truthy(text:find("59990", 1, true))
    local again = connect(replay { secrets = { "hunter2/x" } }, { api_key = "any-other-key" })
    assert.equal("your key is [redacted] and [redacted]", again:send("my secret is hunter2/x").text)
    assert.equal("it is [redacted] and [redacted], you see", hear(again, "and?").ended)
  end)

  it("matches by method, path and body, whose order and blanks mean nothing", function()
    local recorder = record { "one", "two" }
    local session = connect(recorder, { params = { temperature = 0.5, seed = 1 } })
    session:send "a"
    session:send "b"
    recorder:close()
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = line end
    write(path, lines[1] .. "\n" .. lines[3] .. "\n" .. lines[2]:gsub('"json":{', ' "json" : {\t') .. "\n")
    local played = replay()
    session = connect(played, { params = { seed = 1, temperature = 0.5 } })
    assert.equal("one", session:send("a").text)
    assert.same({ "line 2: POST /chat/completions" }, played:unused())
    assert.has_error(function() played:verify() end, "not played: line 2: POST /chat/completions")
    assert.equal("two", session:send("b").text)
    played:verify()
  end)

  it("names the nearest difference of what matches nothing, and is not asked again", function()
    local recorder = record { "one", "two" }
    local session = connect(recorder)
    session:send "a long question that goes on and on, longer than anybody would want to read in a message"
    session:send "b"
    recorder:close()
    local played = replay()
    session = connect(played, { retry = { max = 3 } })
    local function why(input)
      local _, message, err = session:send(input)
      assert.equal(599, err.status)
      assert.equal("no_match", err.code)
      assert.equal(1, #err.attempts)
      return message
    end
    assert.truthy(why("c"):find('line 2, differs in body.messages[1].content: recorded "a long question', 1, true))
    assert.truthy(why("c"):find('got "c"', 1, true))
    session = connect(played, { model = "other" })
    assert.truthy(why("a long question that goes on and on, longer than anybody would want to read in a message")
      :find('differs in body.model: recorded "any", got "other"', 1, true))
    assert.equal(3, #played.errors)
    assert.has_error(function() played:verify() end)
  end)

  it("plays each interaction once, or again when asked to", function()
    local recorder = record { "one" }
    connect(recorder):send "a"
    recorder:close()
    local played = replay()
    assert.equal("one", connect(played):send("a").text)
    local _, message = connect(played):send "a"
    assert.truthy(message:find("the interaction of line 2 was played already", 1, true), message)
    played = replay { repeats = true }
    for _ = 1, 3 do assert.equal("one", connect(played):send("a").text) end
  end)

  it("matches by what it is told", function()
    local recorder = record { "one" }
    connect(recorder):send "a"
    recorder:close()
    assert.equal("one", connect(replay { match = { "method", "path" } }):send("anything").text)
    local seen
    local played = replay { match = function(recorded, request)
      seen = recorded.json.model .. " " .. request.json.model
      return request.json.model == "m2", "not m2"
    end }
    local _, message = connect(played):send "a"
    assert.equal("any any", seen)
    assert.truthy(message:find("differs in not m2", 1, true), message)
    assert.equal("one", connect(played, { model = "m2" }):send("b").text)
    assert.has_error(function() testing.replay { file = path, match = { "host" } } end,
      "replay: match: unknown part host")
  end)

  it("records where there is no file, and replays where there is one", function()
    os.remove(path)
    local provider = keep(assert(testing.provider { "one" }))
    for round = 1, 2 do
      local cassette = assert(testing.cassette { upstream = provider.url, file = path })
      assert.equal("one", connect(cassette):send("a").text)
      assert.equal(round == 1, cassette.interactions ~= nil)
      cassette:close()
    end
    assert.equal(1, #provider.requests)
  end)

  it("says what is wrong with a file", function()
    local function wrong(text, why)
      write(path, text)
      local none, message = testing.replay { file = path }
      assert.is_nil(none)
      assert.truthy(message:find(why, 1, true), message)
    end
    wrong("", ":1: no cassette of oaichat")
    wrong("{}\n", ":1: no cassette of oaichat")
    wrong('{"cassette":"oaichat","version":2}\n', ":1: version 2; this library reads version 1")
    wrong('{"cassette":"oaichat","version":1}\n{"a":\n', ":2: ")
    wrong('{"cassette":"oaichat","version":1}\n\n{"request":{}}\n', ":3: no interaction")
    assert.is_nil((testing.replay { file = path .. ".none" }))
    assert.is_nil((testing.record { file = "/nowhere/file", upstream = "http://127.0.0.1:1/v1" }))
    assert.is_nil((testing.record { file = path, upstream = "ftp://127.0.0.1/v1" }))
  end)

  it("tells that an upstream cannot be reached, and does not record it", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    local recorder = keep(assert(testing.record { upstream = ("http://127.0.0.1:%d/v1"):format(port), file = path }))
    local _, message, err = connect(recorder):send "a"
    assert.equal(502, err.status)
    assert.truthy(message:find("cannot connect", 1, true), message)
    assert.equal(0, recorder.interactions)
    assert.equal(1, #recorder.errors)
  end)

  it("records what came until the client left", function()
    local recorder = record { { chunks = { "a", "b" }, silence = 1 } }
    local session = connect(recorder)
    local stream = session:stream "hi"
    assert.equal("a", stream:next())
    stream:cancel()
    local stop = core.now() + 2
    while recorder.interactions == 0 and core.now() < stop do chat.step() end
    assert.equal(1, recorder.interactions)
    recorder:close()
    assert.truthy(read(path):find('"end":"left"', 1, true))
    local clock = keep(testing.clock())
    local heard = hear(connect(replay()), "hi")
    assert.equal("a", heard[1])
    assert.equal("timeout timeout", heard.ended)
    clock:close()
  end)

  it("serves several requests at once", function()
    local recorder = record(function(request, body)
      return { text = body.messages[1].content .. " x y", every = 0.01 * (4 - request.number) }
    end)
    local texts = {}
    for i = 1, 3 do
      chat.spawn(function() texts[i] = connect(recorder):stream("q" .. i):result().text end)
    end
    assert(chat.run())
    assert.same({ "q1 x y", "q2 x y", "q3 x y" }, texts)
    recorder:close()
    assert.equal(3, recorder.interactions)
    local played = replay { speed = "real" }
    for i = 3, 1, -1 do
      chat.spawn(function() texts[i] = connect(played):stream("q" .. i):result().text .. "!" end)
    end
    assert(chat.run())
    assert.same({ "q1 x y!", "q2 x y!", "q3 x y!" }, texts)
    played:verify()
  end)

  if nginx.missing() then
    pending("records an upstream of https: " .. nginx.missing(), function() end)
  else
    it("records an upstream of https", function()
      local front = nginx.start { good = { cert = "good" } }
      local provider = keep(assert(testing.provider({ { chunks = { "a", "b" } } }, { port = front.upstream })))
      local recorder = keep(assert(testing.record {
        upstream = ("https://localhost:%d/v1"):format(front.sites.good), file = path, ca_file = front:file "ca.pem",
      }))
      local heard = hear(connect(recorder), "hi")
      assert.same({}, recorder.errors)
      assert.equal("ab", heard.ended)
      recorder:close()
      assert.equal(1, #provider.requests)
      assert.equal("ab", hear(connect(replay()), "hi").ended)
      -- a certificate that nobody vouches for
      recorder = keep(assert(testing.record {
        upstream = ("https://localhost:%d/v1"):format(front.sites.good), file = path,
      }))
      local _, message = connect(recorder):send "hi"
      front:stop()
      assert.truthy(message:find("TLS", 1, true), message)
    end)
  end
end)

describe("the parser of answers", function()
  local ANSWERS = {
    chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nA: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
    length = "HTTP/1.1 200 Fine\r\nA: 1\r\nContent-Length: 5\r\n\r\nabcde",
    close = "HTTP/1.1 200 Fine\r\nA: 1\r\n\r\nabcde",
  }

  for framing, bytes in pairs(ANSWERS) do
    it("reads a body at any split: " .. framing, function()
      for size = 1, #bytes do
        local answer, pieces = answer_of.new "POST", {}
        for at = 1, #bytes, size do
          for _, piece in ipairs(assert(answer:feed(bytes:sub(at, at + size - 1)))) do pieces[#pieces + 1] = piece end
        end
        assert.equal("abcde", table.concat(pieces))
        assert.equal(framing, answer.framing)
        assert.equal(200, answer.status)
        assert.same({ "A", "1" }, answer.headers[1])
        assert.equal(framing ~= "close", answer.over)
        if framing == "chunked" and size == #bytes then assert.same({ "abc", "de" }, pieces) end
      end
    end)
  end

  it("refuses what is no HTTP", function()
    assert.is_nil((answer_of.new("GET"):feed "220 mail\r\n\r\n"))
    assert.is_nil((answer_of.new("GET"):feed "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"))
    assert.is_nil((answer_of.new("GET"):feed "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
  end)
end)

describe("the redactor", function()
  it("hides a secret at any split, and keeps the rest", function()
    local redactor = redact.new { "secret" }
    local text = "a secret, secretsecret b"
    for size = 1, #text do
      local pieces = {}
      for at = 1, #text, size do pieces[#pieces + 1] = text:sub(at, at + size - 1) end
      local kept = redactor:pieces(pieces)
      assert.equal(#pieces, #kept)
      assert.equal("a [redacted], [redacted][redacted] b", table.concat(kept))
    end
  end)

  it("knows a secret as JSON and URLs write it", function()
    local redactor = redact.new { 'pa"ss/w\195\182rd x' }
    assert.equal("[redacted]", redactor:text('pa\\"ss/w\195\182rd x'))
    assert.equal("?q=[redacted]&b=1", redactor:target "?q=pa%22ss%2Fw%C3%B6rd%20x&b=1")
  end)

  it("leaves words that only look like it", function()
    local redactor = redact.new()
    for _, text in ipairs { "org-mode", "sk-1", "task-force-one-two-three", "a=b&key" } do
      assert.equal(text, redactor:text(text))
    end
    assert.equal("/x?a=1&api_key=[redacted]", redactor:target "/x?a=1&api_key=zzz")
    assert.equal("6m0s", redactor:header("x-ratelimit-reset-tokens", "6m0s"))
  end)
end)
