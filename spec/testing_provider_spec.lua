-- oaichat.testing's scripted provider and its chaos, with sessions of oaichat.

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"

describe("oaichat.testing's provider", function()
  local provider, clock

  local function play(steps, options, extra)
    provider = assert(testing.provider(steps, options))
    local all = { base_url = provider.url, api_key = "sk-spec-key", model = "any", retry = { max = 0 } }
    for name, value in pairs(extra or {}) do all[name] = value end
    return assert(chat.new(all))
  end

  -- Reads a stream: its pieces, and how it ended.
  local function heard(session, input)
    local pieces, stream = {}, session:stream(input or "hi")
    while true do
      local text = stream:next()
      if not text then break end
      pieces[#pieces + 1] = text
    end
    return pieces, stream:result()
  end

  before_each(leaks.remember)
  after_each(function()
    if clock then clock:close() end
    if provider then provider:close() end
    clock, provider = nil, nil
    leaks.check()
  end)

  it("answers one step a request, whole or as a stream", function()
    local session = play { "One two.", { text = "Three four." } }
    assert.equal("One two.", session:send("a").text)
    local pieces, reply = heard(session, "b")
    assert.same({ "Three", " four." }, pieces)
    assert.equal("Three four.", reply.text)
    assert.equal("stop", reply.finish_reason)
    assert.equal(5, reply.usage.total_tokens)
    assert.equal(2, #provider.requests)
    assert.equal("b", provider:body().messages[3].content)
    assert.equal("a", provider:body(1).messages[1].content)
    assert.equal("POST", provider.requests[1].method)
    provider:verify()
  end)

  it("says the same by both ways", function()
    local step = { chunks = { "a", "b" }, reasoning = "hm", finish_reason = "length", model = "m-9", id = "c-9",
      usage = { prompt_tokens = 7, completion_tokens = 1, total_tokens = 8 } }
    local session = play { step, step }
    local whole = session:send "x"
    session:reset()
    local _, streamed = heard(session)
    for _, name in ipairs { "text", "finish_reason", "model", "id", "reasoning" } do
      assert.equal(whole[name], streamed[name])
    end
    assert.equal("ab", whole.text)
    assert.same(whole.usage, streamed.usage)
  end)

  it("calls tools", function()
    local ran = {}
    local add = chat.tool {
      name = "add", description = "adds", parameters = { type = "object", properties = {} },
      run = function(args)
        ran[#ran + 1] = args
        return "3"
      end,
    }
    local call = { tool_calls = { { name = "add", arguments = { a = 1, b = "a long text that is cut" } } } }
    local session = play({ call, "It is 3.", call, "Again 3." }, nil, { tools = { add } })
    assert.equal("It is 3.", session:send("1 + 2").text)
    local _, reply = heard(session, "again")
    assert.equal("Again 3.", reply.text)
    assert.same({ { a = 1, b = "a long text that is cut" }, { a = 1, b = "a long text that is cut" } }, ran)
    assert.equal("tool", provider:body(2).messages[3].role)
    provider:verify()
  end)

  it("fails by status, with headers and an error", function()
    local session = play {
      { status = 404 }, { status = 401, error = "no such key" },
      { status = 400, error = { message = "too long", code = "context_length_exceeded" } },
      { status = 429, headers = { ["Retry-After"] = "7" } },
    }
    local kinds = {}
    for i = 1, 4 do
      local _, message, err = session:send "x"
      kinds[i] = err.kind
      if i == 2 then assert.truthy(message:find("no such key", 1, true)) end
      if i == 4 then assert.equal(7, err.retry_after) end
    end
    assert.same({ "not_found", "authentication", "context_length", "rate_limit" }, kinds)
  end)

  it("cuts, resets and falls silent after some chunks, and before the first byte", function()
    clock = testing.clock()
    for _, case in ipairs {
      { "cut", 2, "incomplete_stream" }, { "reset", 2, "incomplete_stream" }, { "silence", 2, "timeout" },
      { "cut", true, "network" }, { "reset", true, "network" }, { "silence", true, "timeout" },
    } do
      local session = play { { chunks = { "a", "b", "c" }, [case[1]] = case[2] } }
      local pieces, reply, _, err = heard(session)
      assert.is_nil(reply)
      assert.equal(case[3], err.kind)
      assert.same(case[2] == 2 and { "a", "b" } or {}, pieces)
      provider:close()
      session = play { { chunks = { "a", "b", "c" }, [case[1]] = case[2] } }
      _, _, err = session:send "x"
      assert.equal(case[3], err.kind)
      provider:close()
    end
  end)

  it("sends a body of JSON, and bytes as they are", function()
    local session = play {
      { json = testing.completion "mine" }, { bytes = "HTTP/1.1 204 No Content\r\n\r\n" }, { bytes = "nonsense\r\n" },
    }
    assert.equal("mine", session:send("x").text)
    for _ = 1, 2 do
      local _, _, err = session:send "x"
      assert.equal("protocol", err.kind)
    end
  end)

  it("leaves out the end's marks when asked to", function()
    local session = play { { text = "a b", done = false, finish_reason = false }, { text = "c", done = false } }
    local pieces, reply, _, err = heard(session)
    assert.same({ "a", " b" }, pieces)
    assert.is_nil(reply)
    assert.equal("incomplete_stream", err.kind)
    pieces, reply = heard(session)
    assert.same({ "c" }, pieces)
    assert.equal("c", reply.text)
  end)

  it("asks a function, for all or for one step", function()
    local session = play(function(request, body)
      return ("%d: %s"):format(request.number, body.messages[#body.messages].content)
    end)
    assert.equal("1: a", session:send("a").text)
    assert.equal("2: b", session:send("b").text)
    assert.equal(0, provider:remaining())
    provider:close()
    session = play { function(_, body) return body.model end, "two" }
    assert.equal("any", session:send("a").text)
    assert.equal("two", session:send("a").text)
  end)

  it("fails clearly when a request has no step left, and does not have it tried again", function()
    local session = play({ "one" }, nil, { retry = { max = 3 } })
    session:send "a"
    local _, message, err = session:send "b"
    assert.equal(599, err.status)
    local why = "request 2 (POST /v1/chat/completions) has no step left: the script has 1 step"
    assert.truthy(message:find(why, 1, true), message)
    assert.equal(2, #provider.requests)
    assert.has_error(function() provider:verify() end, provider.errors[1])
  end)

  it("repeats the last step when asked to", function()
    local session = play({ "one", "again" }, { repeat_last = true })
    local texts = {}
    for i = 1, 4 do texts[i] = session:send("x").text end
    assert.same({ "one", "again", "again", "again" }, texts)
    provider:verify()
  end)

  it("keeps as many requests as it is told", function()
    local session = play(function(request) return "answer " .. request.number end, { keep = 2 })
    for i = 1, 5 do assert.equal("answer " .. i, session:send("q" .. i).text) end
    assert.is_nil(provider.requests[3])
    assert.equal(4, provider.requests[4].number)
    assert.equal(5, provider.server.count)
    assert.equal("q5", provider:body().messages[9].content)
    assert.has_error(function() provider:body(1) end, "request 1 was not made, or not kept")
  end)

  it("tells the steps that nobody asked for", function()
    play { "one", "two" }
    assert.equal(2, provider:remaining())
    assert.has_error(function() provider:verify() end, "2 of 2 steps had no request")
    assert.has_error(function() provider:body() end, "request 1 was not made, or not kept")
  end)

  it("raises for a step that it does not understand", function()
    local function refused(steps, why)
      local ok, message = pcall(testing.provider, steps)
      assert.is_false(ok)
      assert.truthy(message:find(why, 1, true), message)
    end
    refused({ "a", { txt = "b" } }, "step 2: txt (did you mean step 2: text?)")
    refused({ 7 }, "step 1: table or string expected, got number")
    refused({ { tool_calls = { { arguments = {} } } } }, "tool_calls[1].name")
    refused("text", "a list of steps or a function expected")
  end)

  it("tells what a script's function raised", function()
    local session = play(function() error "oh no" end)
    local _, _, err = session:send "x"
    assert.equal(500, err.status)
    assert.truthy(provider.errors[1]:find "oh no")
    assert.has_error(function() provider:verify() end)
  end)
end)

describe("oaichat.testing's chaos", function()
  local provider, clock

  after_each(function()
    if clock then clock:close() end
    if provider then provider:close() end
    clock, provider = nil, nil
  end)

  it("depends on the seed and the request's number alone, on every Lua", function()
    local kinds = {}
    local chaos = testing.chaos { seed = 42 }
    for i = 1, 10 do kinds[i] = select(2, chaos:step(i)) end
    assert.equal("ok slow 500 ok cut slow ok cut garbage reset", table.concat(kinds, " "))
    local again = testing.chaos { seed = 42 }
    for i = 10, 1, -1 do
      local step, kind = again:step(i)
      assert.equal(kinds[i], kind)
      assert.same(chaos:step(i), step)
    end
  end)

  it("keeps to the weights", function()
    local counts = {}
    local chaos = testing.chaos { seed = 1, weights = { ok = 8, reset = 1, ["429"] = 1, cut = 0 } }
    for i = 1, 10000 do
      local _, kind = chaos:step(i)
      counts[kind] = (counts[kind] or 0) + 1
    end
    assert.is_nil(counts.cut)
    assert.is_true(math.abs(counts.ok - 8000) < 200, counts.ok)
    assert.is_true(math.abs(counts.reset - 1000) < 150, counts.reset)
    local differ = 0
    local other = testing.chaos { seed = 2, weights = { ok = 8, reset = 1, ["429"] = 1, cut = 0 } }
    for i = 1, 1000 do
      if select(2, other:step(i)) ~= select(2, chaos:step(i)) then differ = differ + 1 end
    end
    assert.is_true(differ > 200 and differ < 500, differ)
  end)

  it("plays a provider, and keeps what it did to each request", function()
    clock = testing.clock()
    local chaos = testing.chaos { seed = 7, text = function(number) return "answer " .. number end }
    provider = assert(testing.provider(chaos))
    local session = assert(chat.new { base_url = provider.url, api_key = "k", model = "any", deadline = 300 })
    for _ = 1, 200 do
      local before = #provider.requests
      local reply, _, err = session:send "x"
      session:reset()
      assert.is_true((reply ~= nil) ~= (err ~= nil))
      if reply then assert.equal("answer " .. #provider.requests, reply.text) end
      assert.is_true(#provider.requests > before)
    end
    local total = 0
    for _, count in pairs(chaos:counts()) do total = total + count end
    assert.equal(#provider.requests, total)
    for i, entry in ipairs(chaos.log) do
      assert.equal(i, entry.number)
      assert.equal(select(2, chaos:step(i)), entry.kind)
    end
    assert.same({}, provider.errors)
  end)

  it("is a server's options too", function()
    local chaos = testing.chaos { seed = 7, weights = { ["503"] = 1 } }
    local server = assert(testing.server(chaos))
    local session = assert(chat.new { base_url = server.url, api_key = "k", model = "any", retry = { max = 0 } })
    local _, _, err = session:send "x"
    server:close()
    assert.equal(503, err.status)
    assert.equal("503", chaos.log[1].kind)
  end)

  it("raises for what it does not know", function()
    assert.has_error(function() testing.chaos { seed = 1, weights = { rest = 1 } } end, "chaos: unknown kind rest")
    assert.has_error(function() testing.chaos { seed = 1, weights = { ok = 0 } } end, "chaos: all weights are 0")
    assert.has_error(function() testing.chaos {} end, "chaos: a seed is needed")
  end)
end)
