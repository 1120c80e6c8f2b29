--- wait: pumps are called while something waits, and no longer than they are watched.

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

describe("waiting", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("calls a pump without a descriptor every few milliseconds, until it is unwatched", function()
    local calls = 0
    local function pump() calls = calls + 1 end
    wait.watch(nil, pump)
    local server = testing.server(function(request, response)
      response:pause(0.1)
      play.good(request, response)
    end)
    local session = play.session(server)
    assert.truthy(session:send "a")
    wait.unwatch(pump)
    assert.is_true(calls >= 10, calls .. " calls in 0.1 s")
    local before = calls
    assert.truthy(session:send "b")
    assert.equal(before, calls)
    server:close()
  end)

  it("serves two servers and two sessions in one thread", function()
    local one, two = testing.server(play.good), testing.server(play.good)
    local a, b = play.session(one), play.session(two)
    local first, second = a:stream "x", b:stream "y"
    assert.equal("good", second:next())
    assert.equal("good", first:next())
    assert.equal(1, #one.requests)
    assert.equal(1, #two.requests)
    first:cancel()
    second:cancel()
    one:close()
    two:close()
  end)

  it("blocks in a coroutine that is not ours", function()
    local server = testing.server(play.good)
    local co = coroutine.create(function() return play.session(server):send("a").text end)
    local ok, text = coroutine.resume(co)
    assert.is_true(ok)
    assert.equal("good", text)
    assert.equal("dead", coroutine.status(co))
    server:close()
  end)

  it("lets a pump unwatch itself", function()
    local calls = 0
    local function pump()
      calls = calls + 1
      wait.unwatch(pump)
    end
    wait.watch(nil, pump)
    wait.pump()
    wait.pump()
    assert.equal(1, calls)
    assert.is_number(core.now())
  end)
end)
