--- the limiter of one process: no window has more than the limit, nobody is overtaken,
-- nobody waits for what will not come.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local most_in_window = require "spec.support.window"
local limiters = require "oaichat.limiter"
local routes = require "spec.support.routes"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local engine = loop.scheduler()

local function acquire(limiter, opts, tokens, identity)
  local all = { engine = engine }
  for name, value in pairs(opts or {}) do all[name] = value end
  return limiter:acquire(identity or "route", tokens or 0, all)
end

describe("the limiter", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    chat.run()
    leaks.check()
  end)

  for _, algorithm in ipairs { "window", "bucket" } do
    it("row 106: 50 tasks, 10 a second: never more in any window, in their order, by " .. algorithm, function()
      local per = 0.2 -- a fifth of the second
      local limiter = assert(chat.limiter { requests = 10, per = per, algorithm = algorithm, burst = 0.1 })
      local times, order = {}, {}
      local start = core.now()
      for i = 1, 50 do
        chat.spawn(function()
          assert(acquire(limiter))
          times[#times + 1], order[#order + 1] = core.now(), i
        end)
      end
      assert(chat.run())
      local took = core.now() - start
      for i = 1, 50 do assert.equal(i, order[i]) end
      local most = most_in_window(times, per)
      print(("\nlimiter, %s: 50 grants of 10 in %g s in %.2f s, at most %d in any window"):format(algorithm, per, took,
        most))
      assert.is_true(most <= (algorithm == "window" and 10 or 11)) -- and the burst, of one
      assert.is_true(took >= 0.79 and took < 2)
    end)
  end

  it("row 106: holds requests and tokens together", function()
    local limiter = assert(chat.limiter { requests = 100, tokens = 100, per = 0.1 })
    local times, start = {}, core.now()
    for _ = 1, 6 do
      chat.spawn(function()
        assert(acquire(limiter, nil, 50))
        times[#times + 1] = core.now() - start
      end)
    end
    assert(chat.run())
    assert.is_true(times[2] < 0.05 and times[3] >= 0.1 and times[5] >= 0.2)
  end)

  it("has a count for each route", function()
    local limiter = assert(chat.limiter { requests = 1, per = 60 })
    assert(acquire(limiter, nil, 0, "one"))
    assert(acquire(limiter, nil, 0, "two"))
    assert.equal("rate_limit", select(3, acquire(limiter, { stop_at = core.now() + 1 }, 0, "one")).kind)
  end)

  it("row 111: refuses at once what would wait too long, or for ever", function()
    local limiter = assert(chat.limiter { requests = 1, tokens = 100, per = 60 })
    assert(acquire(limiter, nil, 10))
    local start = core.now()
    local _, _, err = acquire(limiter, { stop_at = start + 5 }, 10)
    assert.equal("rate_limit", err.kind)
    assert.equal("limit", err.code)
    assert.is_true(err.retry_after > 55 and err.retry_after <= 60)
    _, _, err = acquire(limiter, nil, 101)
    assert.equal("limit_too_small", err.code)
    local short = assert(chat.limiter { requests = 1, per = 60, max_wait = 1 })
    assert(acquire(short))
    assert.equal("limit", select(3, acquire(short)).code)
    assert.is_true(core.now() - start < 0.5)
    -- nobody stands behind a place that is gone
    local task = chat.spawn(function() return acquire(limiter, { stop_at = core.now() + 1 }) end)
    assert.equal("limit", select(3, task:wait()).code)
  end)

  it("row 111: names what is wrong with its options", function()
    for name, bad in pairs {
      requests = { 0, -1, 0 / 0 }, tokens = { 0, -5 }, per = { 0 }, burst = { 2, 0 }, algorithm = { "leaky" },
      fail = { "maybe" }, max_wait = { -1 }, timeout = { 0 },
    } do
      for _, value in ipairs(bad) do
        local opts = { requests = 10 }
        opts[name] = value
        local limiter, text, err = chat.limiter(opts)
        assert.is_nil(limiter, name)
        assert.equal("config", err.kind)
        assert.truthy(text:find(name, 1, true), text)
      end
    end
    assert.equal("config", select(3, chat.limiter {}).kind)
    assert.has_error(function() chat.limiter { request = 1 } end)
  end)

  it("lets the next one go when a waiter is canceled, and is owed nothing", function()
    local limiter = assert(chat.limiter { requests = 1, per = 0.1 })
    local ticket = assert(acquire(limiter))
    local first = chat.spawn(function() return acquire(limiter) end)
    local second = chat.spawn(function() return acquire(limiter) end)
    chat.step()
    first:cancel()
    assert.equal("canceled", select(3, first:wait()).kind)
    ticket:release() -- it was never sent
    local start = core.now()
    assert(second:wait())
    assert.is_true(core.now() - start < 0.15)
  end)

  it("keeps no place for a waiter whose wait raised", function()
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then return pending "PUC 5.1 cannot park inside pcall" end
    local limiter = assert(chat.limiter { requests = 1, per = 0.1 })
    assert(acquire(limiter))
    chat.spawn(function()
      -- a task cannot wait inside of sort
      local ok = pcall(table.sort, { 1, 2 }, function() return acquire(limiter) ~= nil end)
      assert(not ok)
    end):wait()
    local forget = wait.forbid "spec"
    local ok = pcall(acquire, limiter)
    forget()
    assert.is_false(ok)
    local start = core.now()
    assert(acquire(limiter, { stop_at = start + 2 }))
    assert.is_true(core.now() - start < 0.5)
  end)

  it("refuses at the deadline whoever stands behind another, although it looked well at first", function()
    local limiter = assert(chat.limiter { requests = 1, per = 0.05, max_wait = 0.2 })
    assert(acquire(limiter))
    local start = core.now()
    local first = chat.spawn(function() return acquire(limiter, { stop_at = start + 5 }) end)
    local second = chat.spawn(function() return acquire(limiter, { stop_at = start + 0.15 }) end)
    chat.step()
    limiter:learn("route", { retry_after = 30 }) -- a server's word in the meantime
    assert.equal("limit", select(3, second:wait()).code)
    assert.is_true(core.now() - start < 0.3)
    assert.equal("limit", select(3, first:wait()).code)
    assert.is_true(core.now() - start < 0.4)
  end)

  it("settles what an answer really used", function()
    local limiter = assert(chat.limiter { tokens = 100, per = 60 })
    acquire(limiter, nil, 80):settle(10)
    local ticket = assert(acquire(limiter, { stop_at = core.now() }, 90))
    ticket:settle(150) -- more than all: a debt
    assert.equal("limit", select(3, acquire(limiter, { stop_at = core.now() + 30 }, 1)).code)
    ticket:settle(0) -- once
    assert.equal("limit", select(3, acquire(limiter, { stop_at = core.now() + 30 }, 1)).code)
  end)

  it("heeds what real answers say: remaining and reset, and retry-after", function()
    local limiter = assert(chat.limiter { requests = 100, per = 60 })
    limiter:learn("route", { ratelimit = { remaining_requests = 1, reset_requests = 0.05 } })
    assert(acquire(limiter, { stop_at = core.now() }))
    local start = core.now()
    assert(acquire(limiter, { stop_at = start + 1 }))
    assert.is_true(core.now() - start >= 0.04)
    limiter:learn("route", { status = 429, retry_after = 0.05 })
    assert.equal("limit", select(3, acquire(limiter, { stop_at = core.now() + 0.01 })).code)
    assert(acquire(limiter, { stop_at = core.now() + 1 }))
    limiter:learn("route", { ratelimit = { remaining_requests = 5 }, retry_after = 0 })
    assert(acquire(limiter, { stop_at = core.now() }))
  end)

  it("keeps memory bounded", function()
    local limiter = assert(chat.limiter { requests = 10, per = 60 })
    for i = 1, limiters.KEPT + 100 do assert(acquire(limiter, nil, 0, "route " .. i)) end
    assert.is_true(limiter._entries.count <= limiters.KEPT)
  end)

  describe("of sessions", function()
    it("row 109: cools a key down after a 429, while its streams go on", function()
      local release
      local function slow(_, response)
        response:event { choices = { { index = 0, delta = { content = "one " } } } }
        release = function()
          response:event { choices = { { index = 0, delta = { content = "two" }, finish_reason = "stop" } } }
          response:done():finish()
        end
      end
      local limiter = assert(chat.limiter { requests = 100, per = 60 })
      server = routes.serve {
        first = { slow, { 429, nil, { ["retry-after"] = "1" } }, "back" }, second = { "from the second" },
      }
      local opts = { limiter = limiter, retry = { max = 0 } }
      local stream = routes.session(server, opts):stream "go on"
      assert.equal("one ", stream:next())
      routes.answered(routes.read(routes.session(server, opts), "send", "hi"), "from the second", "fallback")
      routes.answered(routes.read(routes.session(server, opts), "send", "hi"), "from the second", "fallback")
      assert.equal(2, server.asked.first) -- new ones go elsewhere
      release()
      assert.equal("two", stream:next())
      assert(stream:result())
      chat.sleep(1)
      routes.answered(routes.read(routes.session(server, opts), "send", "hi"), "back", nil)
    end)

    it("waits in every way of reading, and is refused behind the deadline", function()
      server = routes.serve { first = { "yes" } }
      local limiter = assert(chat.limiter { requests = 1, per = 0.05 })
      local session = routes.session(server, { limiter = limiter, fallbacks = {} })
      for _, mode in ipairs { "send", "next", "events", "callbacks" } do
        routes.answered(routes.read(session, mode, "hi"), "yes")
      end
      local out = routes.read(session, "send", "hi", { deadline = 0.01 })
      assert.equal("rate_limit", out.err.kind)
      assert.equal(4, server.asked.first)
    end)

    it("can be canceled while they wait", function()
      server = routes.serve { first = { "yes" } }
      local limiter = assert(chat.limiter { requests = 1, per = 60 })
      local session = routes.session(server, { limiter = limiter, fallbacks = {} })
      assert(session:send "hi")
      local done
      local stream = session:stream("hi", { on_done = function(_, _, err) done = err.kind end })
      chat.step()
      local start = core.now()
      stream:cancel()
      assert.equal("canceled", done)
      local task = chat.spawn(function() return session:send "hi" end)
      chat.step()
      session:cancel()
      assert.equal("canceled", select(3, task:wait()).kind)
      assert.is_true(core.now() - start < 0.2)
      assert.equal(1, server.asked.first)
    end)
  end)
end)
