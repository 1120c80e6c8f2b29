--- Attempts: Go's durations, and what each attempt met.
-- luacheck: no max line length

local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local ratelimit = require "oaichat.ratelimit"

describe("attempts", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("read durations as the rate limit headers have them", function()
    local cases = { ["6m0s"] = 360, ["20ms"] = 0.02, ["1m30.951s"] = 90.951, ["1s"] = 1, ["1h2m3s"] = 3723, ["0s"] = 0 }
    for text, seconds in pairs(cases) do
      assert.is_true(math.abs(ratelimit.duration(text) - seconds) < 1e-9, text)
    end
    for _, text in ipairs { "", "soon", "1", "-1s", "1x", "s", "1s ", "1m?" } do assert.is_nil(ratelimit.duration(text), text) end
    assert.is_nil(ratelimit.duration(nil))
  end)

  it("tell what the one attempt met, on success and on failure", function()
    local out = play.run(play.http(200, play.completion '{"content":"a"}', "x-request-id: r-1\r\n"), { mode = "send" })
    assert.equal(1, #out.reply.attempts)
    assert.equal("r-1", out.reply.request_id)
    assert.is_nil(out.reply.attempts[1].kind)
    assert.equal("any", out.reply.attempts[1].model)
    assert.is_true(out.reply.timing.total >= out.reply.timing.first_byte)
    out = play.run(play.http(503, "{}", "request-id: r-2\r\nRetry-After: 7\r\n"), { mode = "send" })
    assert.equal("r-2", out.err.request_id)
    assert.equal(7, out.err.retry_after)
    assert.equal("overloaded", out.err.attempts[1].kind)
    assert.equal(503, out.err.attempts[1].status)
  end)

  it("survive a hook and a log that raise", function()
    local function raise() error "from the observer" end
    for _, mode in ipairs { "stream", "send" } do
      local out = play.run(play.http(200, play.completion '{"content":"a"}'), {
        mode = mode, new = { log = raise, hooks = { request = raise, attempt = raise, first_content = raise, done = raise } },
      })
      play.succeeded(out, "a")
    end
  end)
end)
