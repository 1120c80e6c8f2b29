-- The clock that nobody waits for: what happens, when and in which order is what the
-- real clock would show; it only takes no time. Wall time is LuaSocket's.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"
local found, socket = pcall(require, "socket")

if not found then
  pending("oaichat.testing.clock is tested with LuaSocket, which is not installed", function() end)
  return
end

describe("oaichat.testing's clock", function()
  local provider, clock, began

  local function play(steps, extra)
    provider = assert(testing.provider(steps))
    local all = { base_url = provider.url, api_key = "sk-spec-key", model = "any" }
    for name, value in pairs(extra or {}) do all[name] = value end
    return assert(chat.new(all))
  end

  local function stop_time()
    clock = testing.clock()
    began = socket.gettime()
    return clock
  end

  local function took_no_time()
    local seconds = socket.gettime() - began
    assert.is_true(seconds < 0.2, seconds)
  end

  local function at(seconds)
    assert.is_true(math.abs(clock:elapsed() - seconds) < 1e-6, clock:elapsed())
  end

  before_each(leaks.remember)
  after_each(function()
    if clock then clock:close() end
    if provider then provider:close() end
    clock, provider = nil, nil
    leaks.check()
  end)

  it("says 120 after 120 seconds, however long the machine is up", function()
    stop_time()
    local real, start, odd = core.now, clock._start, 0
    for i = 1, 200 do
      local base = 4095.1 + i * 0.0123456789 -- 4096 is where a double's last bit changes
      core.now = function() return base + 120 end
      clock._start = base
      if base + 120 - base ~= 120 then odd = odd + 1 end
      local elapsed = clock:elapsed()
      core.now, clock._start = real, start
      assert.equal(120, elapsed)
    end
    assert.is_true(odd > 0)
  end)

  it("waits out content_idle of 120 s in no time", function()
    local session = play { { chunks = { "a", "b", "c" }, silence = 2 } }
    stop_time()
    local stream = session:stream "hi"
    assert.equal("a", stream:next())
    assert.equal("b", stream:next())
    at(0)
    local text, _, err = stream:next()
    assert.is_nil(text)
    assert.equal("timeout", err.kind)
    assert.equal("content_idle", err.phase)
    assert.equal("ab", err.partial.text)
    at(120)
    took_no_time()
  end)

  it("waits as long as Retry-After asks, in no time", function()
    local session = play { { status = 429, headers = { ["Retry-After"] = "30" } }, { status = 503 }, "done" }
    stop_time()
    local reply = session:send "hi"
    assert.equal("done", reply.text)
    assert.equal(30, reply.attempts[1].waited)
    at(30 + reply.attempts[2].waited)
    took_no_time()
    provider:verify()
  end)

  it("ends each phase when its time is over", function()
    local timeouts = { connect = 10, first_byte = 30, first_content = 60, content_idle = 90, attempt = 200 }
    local role = { role = "assistant" }
    local session = play({
      { silence = true }, { chunks = { role, "a" }, silence = 1 }, { chunks = { "a", "b" }, silence = 1 },
    }, { retry = { max = 0 }, timeouts = timeouts })
    stop_time()
    local before = 0
    for _, phase in ipairs { "first_byte", "first_content", "content_idle" } do
      local _, _, err = session:stream("hi"):result()
      assert.equal(phase, err.phase)
      at(before + timeouts[phase])
      before = before + timeouts[phase]
    end
    provider:close()
    session = play({ { silence = true } }, { retry = { max = 0 }, timeouts = timeouts })
    local _, _, err = session:send "hi"
    assert.equal("attempt", err.phase)
    at(before + 200)
    took_no_time()
  end)

  it("keeps a session's deadline over all attempts", function()
    local session = play({ { status = 503 }, { silence = true } }, { deadline = 45 })
    stop_time()
    local _, _, err = session:send "hi"
    assert.equal("timeout", err.kind)
    assert.equal("total", err.phase)
    at(45)
    took_no_time()
  end)

  it("gives up at once where the wait would pass the deadline", function()
    local session = play({ { status = 429, headers = { ["Retry-After"] = "30" } } }, { deadline = 20 })
    stop_time()
    local _, _, err = session:send "hi"
    assert.equal("rate_limit", err.kind)
    at(0)
  end)

  it("lets a server pause, and hears each piece at its time", function()
    local session = play { { text = "one two three", pause = 20, every = 50 } }
    stop_time()
    local stream, heard = session:stream "hi", {}
    for text in stream do heard[#heard + 1] = ("%s at %g"):format(text, clock:elapsed()) end
    assert.same({ "one at 20", " two at 70", " three at 120" }, heard)
    local timing = stream:result().attempts[1].timing
    assert.is_true(math.abs(timing.first_content - 20) < 1e-6, timing.first_content)
    took_no_time()
  end)

  -- Two streams and a sleeper: what happened, in order. One event a unit, so that the
  -- real clock has no ties either.
  local function story(unit)
    local log = {}
    local session = play(function(_, body)
      if body.messages[1].content == "slow" then return { text = "s1 s2 s3", every = 4 * unit } end
      return { text = "f1 f2 f3", pause = unit, every = 2 * unit }
    end)
    local other = assert(chat.new { base_url = provider.url, api_key = "k", model = "any" })
    local function note(text) log[#log + 1] = text end
    local function read(who, input)
      local stream = who:stream(input)
      local text = stream:next()
      while text do
        note((text:gsub("%s", "")))
        text = stream:next()
      end
      note(input .. " done")
    end
    chat.spawn(function() read(session, "slow") end)
    chat.spawn(function() read(other, "fast") end)
    chat.spawn(function()
      for i, units in ipairs { 2, 4, 1 } do
        chat.sleep(units * unit)
        note("slept " .. i)
      end
    end)
    assert(chat.run())
    provider:close()
    return log
  end

  it("shows the order of events that the real clock shows", function()
    -- without a descriptor a host ticks, and each piece costs a tick
    local real = story(core.engine():fd() and 0.04 or 0.2)
    stop_time()
    local skipped = story(30)
    assert.same(real, skipped)
    at(8 * 30)
    took_no_time()
  end)

  it("stands still while there is anything to do", function()
    local session = play { { text = ("word "):rep(2000) }, "b" }
    stop_time()
    local timer = core.engine():timer(0.001)
    assert.equal(10000, #session:send("hi").text)
    at(0)
    assert.is_false(timer:ready())
    timer:close()
  end)

  it("advances as far as it is told, through all that is due", function()
    local ended = {}
    stop_time()
    for i = 1, 3 do
      chat.spawn(function()
        chat.sleep(i * 100)
        ended[#ended + 1] = i
      end)
    end
    clock:advance(250)
    at(250)
    chat.step()
    assert.same({ 1, 2 }, ended)
    assert(chat.run())
    assert.same({ 1, 2, 3 }, ended)
    at(300)
    took_no_time()
  end)

  it("skips for a host that never waits", function()
    local ended = false
    stop_time()
    chat.spawn(function()
      chat.sleep(100)
      ended = true
    end)
    for _ = 1, 10 do chat.step() end
    assert.is_false(ended)
    assert.is_true(clock:skip())
    chat.step()
    assert.is_true(ended)
    at(100)
    assert.is_false(clock:skip())
  end)

  it("goes on from where it stands, never back", function()
    stop_time()
    clock:advance(1000)
    local before = core.now()
    clock:close()
    clock:close()
    assert.is_true(core.now() >= before and core.now() < before + 1)
    local wall = socket.gettime()
    chat.sleep(0.03)
    assert.is_true(socket.gettime() - wall > 0.02 and socket.gettime() - wall < 1)
    assert.is_true(core.now() - before > 0.02)
    stop_time()
    assert.is_true(core.now() >= before)
    clock:advance(10)
    at(10)
  end)

  it("serves a descriptor that hosts poll, frozen or thawed", function()
    stop_time()
    local timer = core.engine():timer(50)
    assert.is_nil(core.engine():timeout())
    clock:skip()
    assert.equal(0, core.engine():timeout())
    core.engine():step()
    assert.is_true(timer:ready())
    timer:close()
    timer = core.engine():timer(50)
    clock:close()
    local left = core.engine():timeout()
    assert.is_true(left > 49 and left <= 50, left)
    timer:close()
  end)

  it("is one at a time", function()
    stop_time()
    assert.has_error(function() testing.clock() end, "clock: time stands still already; close the other clock first")
    assert.has_error(function() testing.clock { idel = 1 } end)
  end)
end)
