--- the limiter over a real Redis: one limit for several processes, whatever their clocks
-- say, and no hang, whatever Redis does.

local chat = require "oaichat"
local core = require "oaichat.core"
local most_in_window = require "spec.support.window"
local redis = require "spec.support.redis"
local resp = require "oaichat.resp"
local routes = require "spec.support.routes"
local loop = require "oaichat.loop.default"
local interpreter = require "spec.support.interpreter"

local missing = redis.missing()
if missing then
  describe("the limiter over Redis", function() pending(missing) end)
  return
end

local engine = loop.scheduler()
local ROUTE = ("b"):rep(64)

local function acquire(limiter, stop, tokens)
  return limiter:acquire(ROUTE, tokens or 0, { engine = engine, stop_at = stop and core.now() + stop })
end

describe("the limiter over Redis", function()
  local server, admin
  local number = 0

  setup(function()
    server = redis.start()
    admin = assert(resp.new { url = server:url() })
  end)
  teardown(function()
    admin:close()
    server:stop()
  end)

  local function open(opts)
    number = number + 1
    local all = { redis = server:url(), prefix = "t" .. number .. ":", requests = 10, per = 1, timeout = 2 }
    for name, value in pairs(opts or {}) do all[name] = value end
    return assert(chat.limiter(all)), all.prefix
  end

  -- Two processes with 25 tasks each; gives the grants by Redis's clock, and the places of each.
  local function two_processes(algorithm, per, skew)
    number = number + 1
    local pipes, times, orders = {}, {}, { {}, {} }
    for i = 1, 2 do
      pipes[i] = assert(io.popen(("'%s' spec/support/limiter_worker.lua %s t%d: 10 %g %s %g 2>&1"):format(interpreter(),
        server:url(), number, per, algorithm, i == 2 and skew or 0)))
    end
    for i, pipe in ipairs(pipes) do
      for line in pipe:lines() do
        local time, place = line:match "^(%d+%.%d+) (%d+)$"
        times[#times + 1] = tonumber(time) or error(line)
        table.insert(orders[i], tonumber(place))
      end
      pipe:close()
    end
    return times, orders
  end

  for _, algorithm in ipairs { "window", "bucket" } do
    it("row 106: two processes, 50 tasks, 10 a second: never more in any window, by " .. algorithm, function()
      local per = 0.4
      local times, orders = two_processes(algorithm, per, 0)
      assert.equal(50, #times)
      for _, order in ipairs(orders) do
        for place, i in ipairs(order) do assert.equal(place, i) end -- fair in each
      end
      local most = most_in_window(times, per)
      local took = times[50] - times[1]
      print(("\nlimiter over Redis, %s: 50 grants of 10 in %g s in %.2f s, at most %d in any window"):format(algorithm,
        per, took, most))
      assert.is_true(most <= (algorithm == "window" and 10 or 11))
      assert.is_true(took < 6)
    end)
  end

  it("row 108: holds when a machine's clock is 5 s off", function()
    local times = two_processes("window", 0.4, 5)
    assert.equal(50, #times)
    assert.is_true(most_in_window(times, 0.4) <= 10)
    times = two_processes("window", 0.4, -5)
    assert.is_true(most_in_window(times, 0.4) <= 10)
  end)

  it("counts tokens, takes back what was not used or not sent, and refuses what never fits", function()
    for _, algorithm in ipairs { "window", "bucket" } do
      local limiter = open { tokens = 100, per = 60, algorithm = algorithm }
      assert(acquire(limiter, 1, 80)):settle(10)
      local second = assert(acquire(limiter, 1, 90))
      assert.equal("limit", select(3, acquire(limiter, 1, 20)).code)
      second:release()
      chat.run() -- what is given back goes out by itself
      assert(acquire(limiter, 1, 90))
      assert.equal("limit_too_small", select(3, acquire(limiter, nil, 101)).code)
    end
  end)

  it("tells all machines when a route cools down", function()
    local one, prefix = open()
    local other = open { prefix = prefix }
    one:learn(ROUTE, { status = 429, retry_after = 30 }, engine)
    chat.run()
    local _, _, err = acquire(other, 1)
    assert.equal("rate_limit", err.kind)
    assert.is_true(err.retry_after > 28)
  end)

  it("keeps keys that expire, and that hold nothing but the route's hash", function()
    local limiter, prefix = open()
    assert(acquire(limiter))
    local keys = admin:call { "KEYS", prefix .. "*" }
    assert.same({ prefix .. ROUTE }, keys)
    local ttl = admin:call { "PTTL", keys[1] }
    assert.is_true(ttl > 0 and ttl <= 3100)
    for _ = 1, 5 do assert(acquire(limiter)) end
    assert.is_true(admin:call { "HLEN", keys[1] } <= 7)
  end)

  local function goes_on_alone(limiter)
    local start = core.now()
    for _ = 1, 10 do assert(acquire(limiter, 1)) end
    assert.is_true(core.now() - start < 0.3)
    assert.equal("limit", select(3, acquire(limiter, 0.01)).code) -- by the count of this process
  end

  it("row 107: Redis down or refusing connections: the local limit holds, within 100 ms", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    goes_on_alone(open { redis = "redis://127.0.0.1:" .. port, timeout = 0.1, per = 60 })
  end)

  it("row 107: Redis that hangs: the local limit holds, within 100 ms; Redis is asked again later", function()
    local limiter, prefix = open { timeout = 0.1, per = 60 }
    assert(acquire(limiter))
    server:pause()
    local start = core.now()
    local ticket = acquire(limiter, 1)
    local seconds = core.now() - start
    server:resume()
    assert.truthy(ticket)
    assert.is_true(seconds < 0.2)
    chat.sleep(1.05) -- M.PAUSE
    assert(acquire(limiter, 1))
    assert.equal(1, #admin:call { "KEYS", prefix .. "*" })
  end)

  it("row 107: Redis restarted: the script is loaded again", function()
    local limiter, prefix = open { per = 60 }
    assert(acquire(limiter))
    admin:call { "SCRIPT", "FLUSH" }
    assert(acquire(limiter)) -- NOSCRIPT
    server:kill()
    server:launch()
    assert(acquire(limiter, 3)) -- the connection is gone: alone, or anew
    chat.sleep(1.05)
    assert(acquire(limiter, 3))
    assert.equal(1, #admin:call { "KEYS", prefix .. "*" })
  end)

  it("row 107: a wrong password, MOVED, BUSY: the local limit holds", function()
    local locked = redis.start { password = "secret" }
    goes_on_alone(open { redis = locked:url(), timeout = 0.1, per = 60 })
    locked:stop()
    local testing = require "oaichat.testing"
    for _, reply in ipairs { "-MOVED 1 127.0.0.1:1\r\n", "-BUSY Redis is busy running a script\r\n" } do
      local fake = assert(testing.server { on_data = function(peer, bytes)
        for _ in bytes:gmatch "%*%d+\r\n" do peer:write(bytes:find "HELLO" and "-NOPROTO\r\n" or reply) end
      end })
      goes_on_alone(open { redis = "redis://127.0.0.1:" .. fake.port, timeout = 0.1, per = 60 })
      fake:close()
    end
  end)

  it("row 107: fail = \"closed\" lets nothing go, and says why", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    local limiter = open { redis = "redis://127.0.0.1:" .. port, fail = "closed", timeout = 0.1 }
    for _ = 1, 2 do
      local _, text, err = acquire(limiter, 1)
      assert.equal("rate_limit", err.kind)
      assert.equal("limiter_down", err.code)
      assert.truthy(text:find("Redis", 1, true))
    end
  end)

  it("is asked in every way of reading before a hedge, and does not hang with it", function()
    local limiter = open { requests = 100, timeout = 0.1 }
    for _, mode in ipairs { "send", "next", "events", "callbacks" } do
      local provider = routes.serve { first = { function() end }, second = { "quick" } }
      local session = routes.session(provider, { hedge = 0.02, limiter = limiter })
      routes.answered(routes.read(session, mode, "hi"), "quick", "hedge")
      routes.close(provider)
    end
    -- canceled while Redis hangs, which is asked for the hedge
    local provider = routes.serve { first = { function() end }, second = { "never" } }
    local session = routes.session(provider, { hedge = 0.05, limiter = open { requests = 100, timeout = 0.5 } })
    local stream = session:stream "hi"
    local task = chat.spawn(function() return stream:next() end)
    while not provider.asked.first do
      chat.wait(1)
      chat.step()
    end
    server:pause()
    chat.sleep(0.1)
    stream:cancel()
    server:resume()
    assert.equal("canceled", select(3, task:wait()).kind)
    chat.run()
    assert.is_nil(provider.asked.second)
    routes.close(provider)
  end)

  it("names a bad URL at once", function()
    local limiter, _, err = chat.limiter { requests = 1, redis = "http://x" }
    assert.is_nil(limiter)
    assert.equal("config", err.kind)
  end)
end)
