--- retries: what another attempt may mend is tried again, within the deadline, in every
-- way of waiting; what was delivered or cannot change is not (FAULTS rows 1, 6, 7, 97).

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

-- Answers by a list: { status, headers }, a function, or "good" for ever after.
local function serve(list)
  local server
  server = assert(testing.server(function(request, response)
    local answer = list[request.number]
    if type(answer) == "function" then return answer(request, response) end
    if answer then return response:json(answer[1], { error = { message = "no" } }, answer[2]) end
    play.good(request, response)
  end))
  return server
end

local SOON = { ["retry-after-ms"] = "10" }

describe("a request that fails", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    chat.run()
    leaks.check()
  end)

  local function open(list, opts)
    server = serve(list)
    local all = { retry = { max = 2 } }
    for name, value in pairs(opts or {}) do all[name] = value end
    return play.session(server, all)
  end

  it("row 29: is tried again, as often as retry.max says, and each attempt is told", function()
    local session = open { { 500, SOON }, { 429, SOON } }
    local reply = assert(session:send "hi")
    assert.equal("good", reply.text)
    assert.equal(3, #reply.attempts)
    assert.equal("server", reply.attempts[1].kind)
    assert.equal(0.01, reply.attempts[1].waited)
    assert.equal("rate_limit", reply.attempts[2].kind)
    assert.is_nil(reply.attempts[3].kind)
    assert.equal(2, #session:messages())
    server:close()
    session = open { { 503, SOON }, { 503, SOON }, { 503, SOON } }
    local _, _, err = session:send "hi"
    assert.equal("overloaded", err.kind)
    assert.equal(3, #err.attempts)
    assert.equal(3, #server.requests)
    assert.equal(0, #session:messages())
    _, _, err = session:send("hi", { retry = { max = 0 } })
    assert.is_nil(err)
  end)

  it("rows 7, 29: is tried again in a stream, before anything of it was heard", function()
    local session = open { { 500, SOON }, function(_, response) response:head(200):reset() end }
    local heard = ""
    local stream = session:stream "hi"
    for text in stream do heard = heard .. text end
    assert.equal("good", heard)
    assert.equal(3, #stream:result().attempts)
  end)

  it("row 8: is never tried again after content", function()
    local session = open { function(_, response) response:event(testing.chunk "par"):reset() end }
    local stream = session:stream "hi"
    assert.equal("par", stream:next())
    local _, _, err = stream:result()
    assert.equal("incomplete_stream", err.kind)
    assert.equal(1, #server.requests)
  end)

  it("rows 28, 30, 34, 35: is not tried again where that is no help, not wanted, or too far off", function()
    for _, case in ipairs {
      { { 400 } }, { { 401 } }, { { 404 } }, { { 500, { ["x-should-retry"] = "false" } } },
      { function(_, r) r:json(429, { error = { code = "insufficient_quota", message = "no" } }) end },
      { { 429, { ["retry-after"] = "120" } } },
    } do
      local _, _, err = open(case):send "hi"
      assert.equal(1, #server.requests)
      assert.equal(1, #err.attempts)
      if err.status == 429 and err.kind == "rate_limit" then assert.equal(120, err.retry_after) end
      server:close()
    end
    assert.equal("good", open({ { 400, { ["x-should-retry"] = "true", ["retry-after-ms"] = "1" } } }):send("hi").text)
  end)

  it("rows 1, 6: connection failures too: refused, closed without an answer", function()
    local port = core.listen {}
    local url = ("http://127.0.0.1:%d/v1"):format(port:port())
    port:close()
    local session = assert(chat.new { base_url = url, api_key = false, retry = { max = 1 } })
    local start = core.now()
    local _, _, err = session:send "hi"
    assert.equal("connect", err.code)
    assert.equal(2, #err.attempts)
    local took = core.now() - start
    assert.is_true(took > 0.35 and took < 1, took) -- half a second, less the dice
    local closed = open { function(_, response) response:abort() end }
    assert.equal("good", closed:send("hi").text)
  end)

  it("row 1: never passes the deadline for another attempt", function()
    local session = open({ { 500 }, { 500 } }, { deadline = 0.2 })
    local start = core.now()
    local _, _, err = session:send "hi"
    assert.equal("server", err.kind) -- the next attempt would have begun after it
    assert.equal(1, #err.attempts)
    assert.is_true(core.now() - start < 0.2)
    server:close()
    session = open({ { 500, SOON }, function(_, response) response:pause(5):json(200, {}) end }, { deadline = 0.25 })
    start = core.now()
    _, _, err = session:send "hi"
    assert.equal("timeout", err.kind)
    assert.equal("total", err.phase)
    assert.is_true(core.now() - start < 0.5)
  end)

  it("waits without the host: tasks go on, callbacks are told once, a cancel ends it at once", function()
    local session, ticks = open { { 500, { ["retry-after-ms"] = "60" } } }, 0
    local task = chat.spawn(function() return session:send "hi" end)
    chat.spawn(function()
      while not task:done() do
        ticks = ticks + 1
        chat.sleep(0.005)
      end
    end)
    assert.equal("good", task:wait().text)
    assert.is_true(ticks > 5, ticks)
    server:close()
    local ended, longest = 0, 0
    session = open { { 500, { ["retry-after-ms"] = "60" } } }
    session:stream("hi", { on_done = function(reply) ended = ended + (reply and 1 or 100) end })
    while chat.pending() > 0 do
      local start = core.now()
      chat.step()
      longest = math.max(longest, core.now() - start)
      chat.wait(0.01)
    end
    assert.equal(1, ended)
    assert.is_true(longest < 0.03, longest)
    server:close()
    session = open { { 500, { ["retry-after"] = "30" } } }
    local canceled
    local stream = session:stream("hi", { on_done = function(_, _, err) canceled = err end })
    for _ = 1, 20 do
      chat.step()
      chat.wait(0.005)
    end
    local start = core.now()
    stream:cancel()
    chat.run()
    assert.equal("canceled", canceled.kind)
    assert.is_true(core.now() - start < 0.1)
    assert.equal(1, #server.requests)
  end)

  it("row 97: after a timeout is repeated only where the server knows the attempts for one", function()
    local slow = function(_, response) response:pause(2):json(200, {}) end
    local _, _, err = open({ slow }, { timeouts = { attempt = 0.05 } }):send "hi"
    assert.equal("timeout", err.kind)
    assert.equal(1, #err.attempts)
    server:close()
    local reply = open({ slow }, { timeouts = { attempt = 0.05 }, idempotency = true }):send "hi"
    assert.equal("good", reply.text)
    local first = server.requests[1].headers["idempotency-key"]
    assert.equal(first, server.requests[2].headers["idempotency-key"])
    assert.matches("^oaichat%-%x+$", first)
  end)

  it("is seen by the hooks, each attempt by its number", function()
    local numbers = {}
    local session = open({ { 500, SOON } }, { hooks = { attempt = function(a) numbers[#numbers + 1] = a.number end } })
    assert.equal("good", session:send("hi").text)
    assert.same({ 1, 2 }, numbers)
  end)
end)
