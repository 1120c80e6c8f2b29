--- the sixteen ways in which providers fail in public: each ends right, by send and by
-- stream, with one fallback behind.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local routes = require "spec.support.routes"
local testing = require "oaichat.testing"

local JSON = { ["Content-Type"] = "application/json" }
local SOON = { ["retry-after-ms"] = "5" }

local function finish(response)
  response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
end

-- Of a stream the head comes at once; of a whole answer nothing does.
local function after(seconds, text)
  return function(request, response)
    if not request:json().stream then return response:pause(seconds):json(200, testing.completion(text)) end
    response:head(200):pause(seconds):event(testing.chunk(text))
    finish(response)
  end
end

-- Half an answer, then what `ending` does.
local function half(ending)
  return function(request, response)
    if request:json().stream then
      response:event(testing.chunk "half")
    else
      response:head(200, { ["Content-Type"] = "application/json", ["Content-Length"] = "500" })
      response:write '{"choices":[{"mess'
    end
    ending(response)
  end
end

local function malformed(request, response)
  if not request:json().stream then return response:body(200, '{"choices":[{', JSON) end
  response:event(testing.chunk "half"):write("data: {nonsense\n\n"):finish()
end

local function undone(request, response)
  if not request:json().stream then return response:json(200, testing.completion "whole") end
  response:event(testing.chunk "whole"):event(testing.chunk({}, { finish_reason = "stop" })):finish()
end

local function hold() end
local function reset(_, response) response:reset() end

-- What each must become. `step`: who answers ("first" is the session's own route);
-- `asked`: requests to first and second; `err`: the kind that is returned.
local SCENARIOS = {
  { "429 with Retry-After", { { 429, nil, SOON }, "first" }, step = "first", asked = { 2 } },
  { "429 for ever", { { 429, nil, SOON } }, step = "fallback", asked = { 3, 1 }, reason = "rate_limit" },
  { "one 500", { { 500, nil, SOON }, "first" }, step = "first", asked = { 2 } },
  { "503 for ever", { { 503, nil, SOON } }, step = "fallback", asked = { 3, 1 }, reason = "overloaded" },
  { "a reset before the headers", { reset, "first" }, step = "first", asked = { 2 } },
  { "silence", { hold }, step = "fallback", asked = { 1, 1 }, reason = "timeout" },
  { "a late first content", { after(0.06, "first") }, step = "first", asked = { 1 } },
  { "a cut in the middle", { half(function(response) response:reset() end) }, step = "fallback", cut = true,
    reason = "incomplete_stream" },
  { "a stall", { half(hold) }, step = "fallback", cut = true, reason = "timeout" },
  { "a malformed event", { malformed }, step = "fallback", cut = true, reason = "protocol" },
  { "no [DONE]", { undone }, step = "whole", asked = { 1 } },
  { "context length", { { 400, { message = "too long", code = "context_length_exceeded" } } }, step = "fallback",
    asked = { 1, 1 }, reason = "context_length" },
  { "a content filter", { { 400, { message = "no", code = "content_filter" } } }, err = "content_filter",
    asked = { 1 } },
}

local FAST = { first_byte = 0.15, first_content = 0.15, content_idle = 0.15, attempt = 0.15 }

describe("a failing provider, with a fallback behind:", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    routes.close(server)
    server = nil
    leaks.check()
  end)

  local function open(models, opts)
    if server then server:close() end
    server = routes.serve(models)
    local options = { timeouts = FAST }
    for name, value in pairs(opts or {}) do options[name] = value end
    return routes.session(server, options)
  end

  local function ends_right(case, mode)
    local session = open { first = case[2], second = { "second" } }
    local out = routes.read(session, mode, "hi")
    if case.err then
      assert.equal(case.err, out.err and out.err.kind)
    elseif case.step == "fallback" then
      local reply = routes.answered(out, "second", "fallback")
      assert.equal(case.reason, reply.via[1].reason)
    else
      routes.answered(out, case.step, nil)
    end
    if case.asked then assert.same({ first = case.asked[1], second = case.asked[2] }, server.asked) end
    assert.equal(case.err and 0 or 2, #session:messages())
    local attempts = (out.reply or out.err).attempts
    assert.equal((server.asked.first or 0) + (server.asked.second or 0), #attempts)
  end

  for number, case in ipairs(SCENARIOS) do
    for _, mode in ipairs { "send", "events", "callbacks" } do
      it(("%d. %s, by %s"):format(number, case[1], mode), function() ends_right(case, mode) end)
    end
    it(("%d. %s, by next"):format(number, case[1]), function()
      if not case.cut then return ends_right(case, "next") end
      -- what next has shown stays: the failure comes with it
      local session = open { first = case[2], second = { "second" } }
      local out = routes.read(session, "next", "hi")
      assert.equal("half", out.heard)
      assert.equal("half", out.err.partial.text)
      assert.equal(case.reason, out.err.kind)
      assert.is_nil(server.asked.second)
      session = open({ first = case[2], second = { "second" } }, { commit = { chars = 100 } })
      routes.answered(routes.read(session, "next", "hi"), "second", "fallback")
    end)
  end

  local REFUSAL = { 400, { message = "assistant message prefill is not supported", type = "invalid_request_error" } }
  for _, mode in ipairs { "send", "next", "events", "callbacks" } do
    it("14. a fallback that rejects a prefill, by " .. mode, function()
      local session = open({ first = { { 404 } }, second = { REFUSAL }, third = { "third" } }, {
        messages = { { role = "user", content = "Once" }, { role = "assistant", content = "upon" } },
        fallbacks = { { model = "second" }, { model = "third" } },
      })
      local reply = routes.answered(routes.read(session, mode, nil), "third", "fallback")
      assert.equal("invalid_request", reply.via[#reply.via].reason)
      assert.same({ first = 1, second = 1, third = 1 }, server.asked)
    end)

    it("15. a flapping route, by " .. mode, function()
      local bad = { 500, nil, SOON }
      local session = open({ first = { bad, bad, bad, "first" }, second = { "second" } })
      routes.answered(routes.read(session, mode, "one"), "second", "fallback")
      routes.answered(routes.read(session, mode, "two"), "second", "fallback")
      assert.same({ first = 3, second = 2 }, server.asked) -- its circuit is open
      assert.equal(4, #session:messages())
    end)

    it("16. the accounting of all attempts, by " .. mode, function()
      local ledger = chat.ledger {}
      local session = open({ first = { { 500, nil, SOON } }, second = { "second" } }, { ledger = ledger, user = "ada" })
      local out = routes.read(session, mode, "hi")
      routes.answered(out, "second", "fallback")
      local rows = ledger:rows { user = "ada" }
      assert.equal(4, #rows)
      assert.same({ "server", "server", "server" }, { rows[1].kind, rows[2].kind, rows[3].kind })
      assert.is_nil(rows[4].kind)
      assert.equal("second", rows[4].model)
      assert.same({ 1, 2, 3, 1 }, { rows[1].attempt, rows[2].attempt, rows[3].attempt, rows[4].attempt })
      assert.equal(4, ledger:totals({ user = "ada" }).requests)
    end)
  end

  it("none waits longer than its timeouts", function()
    local start = core.now()
    ends_right(SCENARIOS[6], "send")
    ends_right(SCENARIOS[9], "events")
    assert.is_true(core.now() - start < 1)
  end)
end)
