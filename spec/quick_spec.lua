--- A quick turn is what a whole one is: the same reply to whoever looks, the same history,
-- the same end where it goes wrong; and the header lines of its reply are read as the
-- core reads them.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local heads = require "oaichat.reply.head"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local quick = require "oaichat.turn.quick"
local testing = require "oaichat.testing"

local HEADERS = {
  ["x-request-id"] = "req_1", ["x-ratelimit-limit-requests"] = "60", ["X-RateLimit-Reset-Tokens"] = "6m0s",
}

local function completion(message, extra)
  local body = {
    id = "chatcmpl-1", object = "chat.completion", created = 1, model = "gpt-real", system_fingerprint = "fp",
    choices = { { index = 0, message = message, logprobs = json.null, finish_reason = "stop" } },
    usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5, prompt_tokens_details = { cached_tokens = 1 } },
  }
  for name, value in pairs(extra or {}) do body[name] = value end
  return body
end

local PLAIN = completion { role = "assistant", content = "hé\n" .. "ho", refusal = json.null, annotations = json.array {} }

local server
local function session(handler, opts)
  server = assert(testing.server(handler))
  return play.session(server, opts)
end

local function always(body, headers)
  return function(_, response) response:json(200, body, headers or HEADERS) end
end

-- How many quick turns began while fn ran.
local function count_quick(fn)
  local start, n = quick.start, 0
  quick.start = function(...)
    local turn = start(...)
    if turn then n = n + 1 end
    return turn
  end
  local ok, why = pcall(fn)
  quick.start = start
  assert(ok, why)
  return n
end

local FIELDS = {
  "text", "reasoning", "refusal", "tool_calls", "choices", "finish_reason", "usage", "model", "id", "request_id",
  "ratelimit", "message", "via", "parked", "data", "rounds", "unsaved",
}

local function close_server()
  if server then
    server:close()
    assert.same({}, server.errors)
  end
  server = nil
  leaks.check()
end

describe("a quick turn", function()
  before_each(leaks.remember)
  after_each(close_server)

  it("is what a question becomes that asks for nothing else", function()
    local s = session(always(PLAIN))
    assert.equal(1, count_quick(function() assert(s:send "q") end))
    assert.equal(0, count_quick(function()
      assert(s:send("q", {}))
      assert(s:send { role = "user", content = "q" })
      assert(s:stream("q", {}):result())
    end))
    assert.equal(1, count_quick(function() assert(s:stream("q"):result()) end))
    for name, value in pairs {
      deadline = 5, log = function() end, hooks = { done = function() end }, idempotency = true, ledger = true,
      guards = { input = function(text) return text end }, context = { max_tokens = 9000 },
      history = require "oaichat.history.memory".new(),
    } do
      local other = play.session(server, { [name] = value })
      assert.equal(0, count_quick(function() assert(other:send "q") end), name)
    end
  end)

  it("gives the reply that a whole turn gives", function()
    local s = session(always(PLAIN))
    local one, other = assert(s:send "q"), assert(s:fork():send("q", {}))
    for _, name in ipairs(FIELDS) do assert.same(other[name], one[name], name) end
    assert.same(other:raw(), one:raw())
    assert.equal(tostring(other), tostring(one))
    assert.equal(60, one.ratelimit.limit_requests)
    assert.equal("req_1", one.request_id)
    for _, reply in ipairs { one, other } do
      local entry = reply.attempts[1]
      assert.equal(1, #reply.attempts)
      assert.same({ "req_1", "any", server.url:match "^(http://[^/]+)", 5 },
        { entry.request_id, entry.model, entry.origin, entry.usage.total_tokens })
      assert.equal(reply.timing, entry.timing)
      for _, phase in ipairs { "connect", "first_byte", "total" } do assert.is_number(reply.timing[phase], phase) end
      assert.is_nil(reply.timing.first_content)
    end
  end)

  it("gives a field that was looked at the same each time, as the caller's own", function()
    local reply = assert(session(always(PLAIN)):send "q")
    for _, name in ipairs { "usage", "timing", "attempts", "choices", "tool_calls", "message" } do
      assert.equal(reply[name], reply[name])
    end
    reply.usage.prompt_tokens = 99
    assert.equal(3, reply:raw().usage and core.answer_of("chat", json.encode(PLAIN)).usage.prompt_tokens)
  end)

  it("keeps the history that a whole turn keeps, apart from what the caller has", function()
    local s = session(always(PLAIN))
    local twin = s:fork()
    local reply = assert(s:send "one")
    assert(s:send "two")
    assert(twin:send("one", {}))
    assert(twin:send("two", {}))
    assert.same(twin:messages(), s:messages())
    reply.message.content, reply.message.meta.origin = "changed", "changed"
    assert.same(twin:messages(), s:messages())
    local sent = server.requests
    assert.equal(sent[4].body, sent[2].body)
    s:reset()
    assert.same({}, s:messages())
    assert(s:send "three")
    assert.equal(2, #s:messages())
  end)

  it("becomes a whole turn when the answer is more than text", function()
    local calls = json.array { { id = "c1", type = "function", ["function"] = { name = "f", arguments = '{"x":1}' } } }
    local answers = {
      completion { role = "assistant", content = json.null, tool_calls = calls },
      completion { role = "assistant", content = "done", reasoning_content = "thought" },
      completion({ role = "assistant", content = "b" }, {
        choices = {
          { index = 1, message = { role = "assistant", content = "b" }, finish_reason = "stop" },
          { index = 0, message = { role = "assistant", content = "a" }, finish_reason = "length" },
        },
      }),
    }
    local s = session(function(request, response) response:json(200, answers[request.number]) end)
    local reply = assert(s:send "q")
    assert.equal(1, reply.tool_calls[1].args.x)
    local last = assert(s:send { { role = "tool", tool_call_id = "c1", content = "1" } })
    assert.same({ "done", "thought" }, { last.text, last.reasoning })
    reply = assert(s:send "again")
    assert.same({ "a", 2, "length" }, { reply.text, #reply.choices, reply.finish_reason })
    assert.equal(6, #s:messages())
  end)

  it("goes on as a whole turn where it fails: what may be asked again is", function()
    local s = session(function(request, response)
      if request.number < 3 then return response:json(500, { error = { message = "m" } }, { ["retry-after-ms"] = "1" }) end
      response:json(200, PLAIN)
    end, { retry = { max = 2 } })
    local reply = assert(s:send "q")
    assert.equal(3, #reply.attempts)
    assert.same({ "server", "server" }, { reply.attempts[1].kind, reply.attempts[2].kind })
    assert.equal(2, #s:messages())
    assert.equal(server.requests[1].body, server.requests[3].body)
  end)

  it("gives back the input of a question that was refused, and keeps nothing", function()
    local s = session(function(_, response) response:json(401, { error = { message = "no" } }) end)
    local reply, _, err = s:send "q"
    assert.is_nil(reply)
    assert.same({ "authentication", 401, "q" }, { err.kind, err.status, err.input[1].content })
    assert.same({}, s:messages())
  end)

  it("refuses what cannot be sent, with its path", function()
    local s = session(always(PLAIN))
    local reply, _, err = s:send "\255"
    assert.is_nil(reply)
    assert.same({ "invalid_request", "encode", "messages[1].content" }, { err.kind, err.code, err.path })
    s.system = "\255"
    _, _, err = s:send "q"
    assert.equal("system", err.path)
    s.system = nil
    assert(s:send "q")
    assert.equal(1, #server.requests)
  end)

  it("is canceled as a whole one is: by its session, by its task", function()
    local s = session(function() end) -- says nothing
    local task = chat.spawn(function() return s:send "q" end)
    while #server.requests == 0 do
      chat.step()
      chat.wait(0.01)
    end
    assert.has_error(function() s:send "r" end)
    s:cancel()
    local reply, _, err = task:wait()
    assert.is_nil(reply)
    assert.same({ "canceled", "q" }, { err.kind, err.input[1].content })
    task = chat.spawn(function() return s:send "q" end)
    while #server.requests == 1 do
      chat.step()
      chat.wait(0.01)
    end
    task:cancel()
    _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    assert.same({}, s:messages())
  end)

  it("shows the key in no header", function()
    local s = session(always(PLAIN, { ["x-request-id"] = "for sk-secret-key" }), { api_key = "sk-secret-key" })
    local reply = assert(s:send "q")
    assert.equal("[masked]", reply.request_id)
    for _, value in pairs(reply) do assert.is_nil(tostring(value):find("sk-secret", 1, true)) end
  end)

  it("says of its attempts which model was asked, though the session has another by then", function()
    local s
    s = session(function(request, response)
      s.model = "changed"
      if request.number == 1 then return response:json(500, { error = { message = "m" } }, { ["retry-after-ms"] = "1" }) end
      response:json(200, PLAIN)
    end, { retry = { max = 1 } })
    local reply = assert(s:send "q")
    assert.same({ "any", "any" }, { reply.attempts[1].model, reply.attempts[2].model })
    assert.same({ "any", "any" }, { server.requests[1]:json().model, server.requests[2]:json().model })
  end)

  it("reads an answer again, whole, where its headers repeat the key", function()
    local lone = (json.encode(PLAIN):gsub('"content":"[^"]*"', '"content":"abc\\ud83d"'))
    local s = session(function(_, response)
      response:body(200, lone, { ["x-request-id"] = "sk-secret-key", ["content-type"] = "application/json" })
    end, { api_key = "sk-secret-key" })
    local reply = assert(s:send "q")
    assert.equal("abc\239\191\189", reply.text)
    assert.equal(reply.text, s:messages()[2].content)
    assert.equal(reply.text, assert(s:send("q", {})).text)
  end)

  it("tells a limit's reset as it was when the answer came, whenever somebody looks", function()
    local at = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + 100)
    local s = session(always(PLAIN, { ["anthropic-ratelimit-requests-reset"] = at }))
    local clock = testing.clock()
    local first, later = assert(s:send "q"), assert(s:send "r")
    local soon = first.ratelimit.reset_requests
    clock:advance(30)
    assert.is_true(math.abs(later.ratelimit.reset_requests - soon) < 2, later.ratelimit.reset_requests)
    clock:close()
  end)

  it("can be asked for the whole by the core after a cancel", function()
    local listener = assert(core.listen {})
    local endpoint = assert(core.new { base_url = "http://127.0.0.1:" .. listener:port(), api_key = false })
    local exchange, peer = endpoint:send "{}", nil
    while not exchange:ready() do
      exchange:wait(0.01)
      listener:step()
      peer = peer or listener:accept()
      if peer and peer:read() then
        local body = json.encode(PLAIN)
        peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        listener:step()
      end
    end
    assert.equal("hé\nho", (exchange:plain()))
    exchange:cancel()
    assert.equal(5, exchange:result().usage.total_tokens)
    for _, object in ipairs { exchange, peer, listener, endpoint } do object:close() end
  end)

  it("takes turns with other tasks", function()
    local s, texts = session(always(PLAIN)), 0
    for i = 1, 20 do
      chat.spawn(function()
        local own = s:fork()
        for _ = 1, 3 do assert(own:send("q" .. i)) end
        texts = texts + #own:messages()
      end)
    end
    assert(chat.run())
    assert.equal(120, texts)
  end)
end)

local CHUNKS = {
  testing.chunk({ role = "assistant", content = "" }), testing.chunk "h", testing.chunk "\195\169",
  testing.chunk({}, { finish_reason = "stop" }),
  { id = "c", model = "gpt-real", choices = json.array {}, usage = { prompt_tokens = 3, total_tokens = 5 } },
}

local function streamed(_, response)
  response:head(200, { ["Content-Type"] = "text/event-stream", ["x-request-id"] = "req_1", ["x-ratelimit-limit-tokens"] = "9" })
  for _, chunk in ipairs(CHUNKS) do response:event(chunk) end
  response:done():finish()
end

describe("a quick stream", function()
  before_each(leaks.remember)
  after_each(close_server)

  local function read(stream)
    local pieces = {}
    for text in stream do pieces[#pieces + 1] = text end
    return table.concat(pieces), assert(stream:result())
  end

  it("gives the reply and the history that a whole one gives, read or drained", function()
    local s = session(streamed)
    local twin, third = s:fork(), s:fork()
    local text, one = read(s:stream "q")
    local _, other = read(twin:stream("q", {}))
    local drained = assert(third:stream("q"):result())
    assert.equal("h\195\169", text)
    for _, name in ipairs(FIELDS) do
      assert.same(other[name], one[name], name)
      assert.same(other[name], drained[name], name)
    end
    assert.same(other:raw(), one:raw())
    assert.equal(9, one.ratelimit.limit_tokens)
    assert.same({ "req_1", "any", 5 }, { one.attempts[1].request_id, one.attempts[1].model, one.attempts[1].usage.total_tokens })
    assert.equal(one.timing, one.attempts[1].timing)
    assert.is_number(one.timing.first_content)
    assert.same(twin:messages(), s:messages())
    assert.same(twin:messages(), third:messages())
  end)

  it("is a whole one to who wants events, chunks or callbacks", function()
    local s, kinds, count, done = session(streamed), {}, 0, nil
    for event in s:stream("q"):events() do kinds[#kinds + 1] = event.type end
    assert.same({ "text", "text", "finish", "usage" }, kinds)
    for chunk in s:stream("q"):chunks() do count = count + (chunk.choices and 1 or 0) end
    assert.equal(5, count)
    s:stream("q", { on_done = function(reply) done = reply.text end })
    assert(chat.run())
    assert.equal("h\195\169", done)
    local stream = s:stream "q"
    stream:next()
    assert.has_error(function() stream:events() end)
    assert(stream:result())
    assert.equal(8, #s:messages())
  end)

  it("fails as a whole one does: what was heard is in the error, nothing in the history", function()
    local s = session(function(request, response)
      if request.number == 1 then return response:json(500, { error = { message = "m" } }) end
      response:event(CHUNKS[2]):event(CHUNKS[3]):finish()
    end, { retry = { max = 1 } })
    local stream = s:stream "q"
    assert.same({ "h", "\195\169" }, { stream:next(), (stream:next()) })
    local text, _, err = stream:next()
    assert.is_nil(text)
    assert.same({ "incomplete_stream", "h\195\169", "q", 2 }, { err.kind, err.partial.text, err.input[1].content, #err.attempts })
    assert.same({}, s:messages())
  end)

  it("is canceled as a whole one is, also while a task waits for its next piece", function()
    local s = session(function(_, response) response:event(CHUNKS[2]) end)
    local stream = s:stream "q"
    assert.equal("h", (stream:next()))
    stream:cancel()
    local _, _, err = stream:result()
    assert.same({ "canceled", "h" }, { err.kind, err.partial.text })
    local heard = {}
    local task = chat.spawn(function()
      stream = s:stream "q"
      while true do
        local text, _, why = stream:next()
        heard[#heard + 1] = text or why.kind
        if not text then return end
      end
    end)
    while not heard[1] do
      chat.step()
      chat.wait(0.01)
    end
    stream:cancel()
    task:wait()
    assert.same({ "h", "canceled" }, heard)
    assert.same({}, s:messages())
  end)

  it("is canceled while a task waits for its first piece, or for its end", function()
    local s = session(function(request, response)
      if request.number == 2 then response:event(CHUNKS[2]) end
    end)
    for number, method in ipairs { "next", "result" } do
      local stream, err
      local task = chat.spawn(function()
        stream = s:stream "q"
        local _
        _, _, err = stream[method](stream)
      end)
      while #server.requests < number do
        chat.step()
        chat.wait(0.01)
      end
      for _ = 1, 3 do
        chat.step()
        chat.wait(0.005)
      end
      stream:cancel()
      assert(chat.run())
      assert.is_true(task:done())
      assert.equal("canceled", err.kind)
    end
    assert.same({}, s:messages())
  end)

  it("is canceled while a task waits for another attempt's answer", function()
    local s = session(function(request, response)
      if request.number % 2 == 1 then
        response:json(500, { error = { message = "m" } }, { ["retry-after-ms"] = "1" })
      end
    end, { retry = { max = 1 } })
    for i, way in ipairs { { "next", "stream" }, { "result", "stream" }, { "next", "session" }, { "result", "session" } } do
      local stream, kind
      local task = chat.spawn(function()
        stream = s:stream "q"
        local _, _, err = stream[way[1]](stream)
        kind = err.kind
      end)
      while #server.requests < 2 * i do
        chat.step()
        chat.wait(0.01)
      end
      for _ = 1, 3 do
        chat.step()
        chat.wait(0.005)
      end
      if way[2] == "stream" then stream:cancel() else s:cancel() end
      for _ = 1, 50 do
        chat.step()
        if task:done() then break end
        chat.wait(0.005)
      end
      assert.same({ true, "canceled" }, { task:done(), kind }, table.concat(way, " "))
    end
  end)

  it("ends when a new turn begins", function()
    local s = session(function(request, response)
      if request.number == 1 then return response:event(CHUNKS[2]) end
      streamed(request, response)
    end)
    local first = s:stream "a"
    assert.equal("h", (first:next()))
    local _, reply = read(s:stream "b")
    assert.equal("h\195\169", reply.text)
    assert.equal("canceled", select(3, first:result()).kind)
    assert.equal(2, #s:messages())
  end)
end)

describe("the header lines of a reply", function()
  local function answered_with(lines)
    local listener = assert(core.listen {})
    local endpoint = assert(core.new { base_url = "http://127.0.0.1:" .. listener:port(), api_key = false, wire = "chat" })
    local exchange = endpoint:send "{}"
    local peer
    while not exchange:ready() do
      exchange:wait(0.01)
      listener:step()
      peer = peer or listener:accept()
      if peer and peer:read() then
        local body = json.encode(PLAIN)
        peer:write(("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s"):format(lines, #body, body))
        listener:step()
      end
    end
    local head = select(6, exchange:plain())
    return exchange, heads.new(assert(head)), function()
      exchange:close()
      if peer then peer:close() end
      listener:close()
      endpoint:close()
    end
  end

  it("take time as they are long", function()
    local before = os.clock()
    for _, line in ipairs { "X-A: a" .. (" "):rep(200000) .. "b", "HTTP/1.1 200 " .. ("x"):rep(200000), (":"):rep(200000) } do
      local head = heads.new(line .. "\r\nX-Request-Id: r\r\n")
      assert.equal("r", head:header "x-request-id")
    end
    assert.is_true(os.clock() - before < 0.5, os.clock() - before)
  end)

  it("are read as the core reads them", function()
    for _, lines in ipairs {
      "X-Request-Id: a\r\nRequest-Id: b\r\n", "request-id:b \t\r\n", "X-REQUEST-ID:   two words  \r\nx-request-id: last\r\n",
      "X-Fold: a\r\n  b\r\n", "X-Empty:\r\nX-Request-Id:\r\n", "x-ratelimit-limit-requests: 1\r\nX-RateLimit-: 2\r\n",
      "anthropic-ratelimit-a-b: 1\r\nx-ratelimit-c-d: 2\r\nanthropic-ratelimit-e-f: 3\r\n", "",
    } do
      local exchange, head, close = answered_with(lines)
      for _, name in ipairs { "x-request-id", "request-id", "x-fold", "x-empty", "content-length" } do
        assert.equal(exchange:header(name), head:header(name), lines .. name)
      end
      assert.equal(exchange:header("x-request-id", "request-id"), head:header("x-request-id", "request-id"), lines)
      assert.same({ exchange:headers("x-ratelimit-", "anthropic-ratelimit-") },
        { head:headers("x-ratelimit-", "anthropic-ratelimit-") }, lines)
      close()
    end
  end)
end)
