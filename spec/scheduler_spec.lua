--- loop/scheduler: spawn, run, gather, race, sleep, and the contract with a host's
-- loop: step never sleeps, a budget is fair, the descriptor says when.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local scheduler = require "oaichat.loop.scheduler"
local testing = require "oaichat.testing"

-- The traces of LuaJIT hold closures that they were made of.
local function check_leaks()
  local jit = rawget(_G, "jit")
  if jit then jit.flush() end
  leaks.check()
end

local function flood(n)
  return testing.server(function(_, response)
    local piece = play.text "x"
    response:head(200):write(piece:rep(n)):write(play.END):finish()
  end)
end

describe("the scheduler", function()
  before_each(leaks.remember)
  after_each(function()
    scheduler.on_error = nil
    assert.equal(0, chat.pending())
    check_leaks()
  end)

  it("runs until all have ended, tasks started in tasks too", function()
    local seen = {}
    chat.spawn(function()
      seen[#seen + 1] = 1
      chat.spawn(function()
        chat.sleep(0.005)
        seen[#seen + 1] = 2
        chat.spawn(function() seen[#seen + 1] = 3 end)
      end)
    end)
    assert.is_true((chat.run()))
    assert.same({ 1, 2, 3 }, seen)
  end)

  it("runs what was spawned, and takes no function itself", function()
    assert.error_matches(function() chat.run(function() end) end, "chat.spawn starts a task")
  end)

  it("reports the error that nobody waits for, goes on, and returns it from run", function()
    local told, went_on = {}, false
    scheduler.on_error = function(err, task) told[#told + 1] = { err, task } end
    local bad = chat.spawn(function() error "first" end)
    chat.spawn(function() chat.sleep(0.005) went_on = true end)
    local ok, message, err = chat.run()
    assert.is_nil(ok)
    assert.matches("first", message)
    assert.equal(1, #told)
    assert.equal(err, told[1][1])
    assert.equal(bad, told[1][2])
    assert.is_true(went_on)
    assert.is_true((chat.run()))
  end)

  it("does not report an error that was waited for", function()
    local told = 0
    scheduler.on_error = function() told = told + 1 end
    chat.spawn(function() error "x" end):wait()
    assert.equal(0, told)
  end)

  it("names those in a deadlock instead of hanging", function()
    local a, b
    a = chat.spawn(function() return b:wait() end)
    b = chat.spawn(function() return a:wait() end)
    local ok, message, err = chat.run()
    assert.is_nil(ok)
    assert.equal("deadlock", err.code)
    assert.equal(2, select(2, message:gsub("scheduler_spec.lua", "")))
    a:cancel()
    chat.run()
  end)

  it("gathers the first value of each, and the err of each that failed", function()
    local results, errs = chat.gather {
      function() chat.sleep(0.01) return "a", "second" end,
      function() error "no" end,
      function() return "c" end,
    }
    assert.same({ "a", nil, "c" }, { results[1], results[2], results[3] })
    assert.is_nil(errs[1])
    assert.matches("no", errs[2].message)
    assert.is_nil(errs[3])
  end)

  it("gathers in a task; canceling that cancels them", function()
    local ended = 0
    local out
    local task = chat.spawn(function()
      local function one() chat.sleep(60) ended = ended + 1 end
      out = { chat.gather { one, one, one } }
    end)
    chat.step()
    local start = core.now()
    task:cancel()
    task:wait()
    chat.run()
    assert.is_true(core.now() - start < 0.2)
    assert.equal(3, ended)
    assert.equal("canceled", out[2][1].kind)
    assert.equal("canceled", out[2][3].kind)
  end)

  for _, where in ipairs { "main", "a task" } do
    it("races in " .. where .. ": the first that succeeds wins, the others are canceled", function()
      local fate
      local function race()
        return chat.race {
          function() fate = { chat.sleep(60) } end,
          function() error "fails first" end,
          function() chat.sleep(0.01) return "won", 2 end,
        }
      end
      local winner, second
      if where == "main" then
        winner, second = race()
      else
        winner, second = chat.spawn(race):wait()
      end
      assert.same({ "won", 2 }, { winner, second })
      chat.run()
      assert.equal("canceled", fate[3].kind)
    end)
  end

  it("races to an err when all fail, and needs one at least", function()
    local value, message, err = chat.race { function() error "one" end, function() error "two" end }
    assert.is_nil(value)
    assert.equal("task_error", err.code)
    assert.equal(message, err.message)
    assert.has_error(function() chat.race {} end)
    assert.has_error(function() chat.spawn(1) end)
  end)

  it("sleeps as long as it says, from main and from a task, one beside the other", function()
    local start = core.now()
    assert.is_true((chat.sleep(0.03)))
    assert.is_true(core.now() - start >= 0.029)
    start = core.now()
    for _ = 1, 50 do chat.spawn(chat.sleep, 0.03) end
    chat.run()
    local took = core.now() - start
    assert.is_true(took >= 0.029 and took < 0.3, took)
  end)

  it("refuses run in a task", function()
    local _, message = chat.spawn(function() chat.run() end):wait()
    assert.matches("must not be called in a task", message)
  end)

  it("gives 200 tasks their turns in order", function()
    local order, turns = {}, 5
    for i = 1, 200 do
      chat.spawn(function()
        for _ = 1, turns do
          order[#order + 1] = i
          chat.sleep(0)
        end
      end)
    end
    chat.run()
    assert.equal(200 * turns, #order)
    local seen = {}
    for _, i in ipairs(order) do
      seen[i] = (seen[i] or 0) + 1
      -- nobody is more than two rounds ahead of the slowest
      if seen[i] > 2 then
        for k = 1, 200 do assert.is_true((seen[k] or 0) >= seen[i] - 2) end
      end
    end
  end)

  it("serves 50 streams in tasks at once", function()
    local server = flood(20)
    local texts = 0
    for _ = 1, 50 do
      chat.spawn(function()
        local reply = assert(play.session(server):stream("x"):result())
        assert.equal(("x"):rep(20), reply.text)
        texts = texts + 1
      end)
    end
    assert.is_true((chat.run()))
    assert.equal(50, texts)
    server:close()
  end)

  it("raises in a task of PUC 5.1 for the form with for, and names the way out", function()
    local handle = io.popen "lua5.1 -v 2>&1"
    local version = handle:read "*a"
    handle:close()
    local cpath = package.cpath:gsub("build[%w-]*/[%d.]+/", "build/5.1/")
    if not version:find "Lua 5.1" then return pending "lua5.1 is not installed" end
    local built = io.open((cpath:match("[^;]*build/5%.1/[^;]*"):gsub("%?", "oaichat/core")), "rb")
    if not built then return pending "build/5.1 is not there: make LUA=luajit" end
    built:close()
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(([[package.path, package.cpath = %q, %q
local chat, testing = require "oaichat", require "oaichat.testing"
local server = testing.server(function(_, r) r:event(testing.chunk "a", 1) end)
local session = chat.new { base_url = server.url, model = "m", api_key = false }
local _, message = chat.spawn(function() for t in session:stream "x" do end end):wait()
io.write(message)
server:close()]]):format(package.path, cpath))
    file:close()
    handle = io.popen("lua5.1 " .. name .. " 2>&1")
    local out = handle:read "*a"
    handle:close()
    os.remove(name)
    assert.matches("use stream:next%(%)", out)
  end)
end)

describe("step", function()
  before_each(leaks.remember)
  after_each(function()
    assert.equal(0, chat.pending())
    check_leaks()
  end)

  it("never sleeps", function()
    local task = chat.spawn(chat.sleep, 60)
    local start = core.now()
    for _ = 1, 100 do chat.step() end
    for _ = 1, 100 do chat.step(10) end
    assert.is_true(core.now() - start < 0.1)
    task:cancel()
    chat.run()
  end)

  it("goes on at the next call when its budget is spent, and the smallest gets on", function()
    for _, budget in ipairs { 0, 0.0001, 0.001 } do
      local server = flood(500)
      local events, done, steps = 0, false, 0
      play.session(server):stream("x", {
        on_event = function() events = events + 1 end,
        on_done = function(reply) done = reply and #reply.text end,
      })
      local stop = core.now() + 10
      while not done do
        assert.is_true(core.now() < stop, ("budget %g: %d events"):format(budget, events))
        chat.wait(0.02)
        chat.step(budget)
        steps = steps + 1
      end
      assert.equal(500, done)
      assert.is_true(steps > 1)
      server:close()
    end
  end)

  it("is fair between streams under a budget", function()
    local server = flood(3000)
    local counts, ended = {}, 0
    for i = 1, 4 do
      counts[i] = 0
      play.session(server):stream("x", {
        on_event = function()
          counts[i] = counts[i] + 1
          local stop = core.now() + 0.0001
          repeat until core.now() > stop
        end,
        on_done = function() ended = ended + 1 end,
      })
    end
    local worst = 1
    local stop = core.now() + 20
    while ended < 4 do
      assert.is_true(core.now() < stop, "it took too long")
      chat.wait(0.02)
      chat.step(0.001)
      local least, most = math.huge, 0
      for i = 1, 4 do
        least, most = math.min(least, counts[i]), math.max(most, counts[i])
      end
      -- a stream may be a budget or two ahead; judged once all run and before one ends
      if ended == 0 and least > 100 and most < 2500 then worst = math.max(worst, most / least) end
    end
    assert.is_true(worst < 4, ("one got %.1f times another's share"):format(worst))
    server:close()
  end)

  it("leaves the descriptor readable while something waits to be handed out", function()
    if not chat.fd() then return pending "this build has no descriptor for a host" end
    local server = flood(200)
    local events, done = 0, false
    play.session(server):stream("x", {
      on_event = function() events = events + 1 end,
      on_done = function() done = true end,
    })
    local slow = 0
    while not done do
      local start = core.now()
      if events > 0 then
        if chat.timeout() == 0 then
          chat.wait(1)
          if core.now() - start > 0.05 then slow = slow + 1 end
        end
      end
      chat.wait(0.02)
      chat.step(0)
    end
    assert.equal(0, slow)
    server:close()
  end)

  it("is quiet when nothing waits: timeout is nil or above 0, wait really waits", function()
    assert.equal(0, chat.pending())
    for _ = 1, 3 do chat.step() end
    local timeout = chat.timeout()
    assert.is_true(timeout == nil or timeout > 0, tostring(timeout))
    local start = core.now()
    chat.wait(0.05)
    assert.is_true(core.now() - start >= 0.045)
  end)

  it("has timed work while a task sleeps", function()
    local task = chat.spawn(chat.sleep, 0.05)
    chat.step()
    local timeout = chat.timeout()
    assert.is_true(timeout > 0 and timeout <= 0.05, tostring(timeout))
    task:wait()
  end)
end)

describe("an engine of its own", function()
  before_each(leaks.remember)
  after_each(check_leaks)

  it("hands out nothing in the steps of another", function()
    local server = testing.server(play.good)
    local one, two = chat.engine(), chat.engine()
    local heard = { 0, 0 }
    local done = {}
    for i, engine in ipairs { one, two } do
      play.session(server, { engine = engine }):stream("x", {
        on_event = function() heard[i] = heard[i] + 1 end,
        on_done = function(reply) done[i] = reply.text end,
      })
    end
    assert.same({ 1, 1, 0 }, { one:pending(), two:pending(), chat.pending() })
    local stop = core.now() + 5
    while not done[1] and core.now() < stop do
      one:wait(0.02)
      one:step()
      chat.step()
    end
    assert.equal("good", done[1])
    assert.equal(0, heard[2])
    assert.is_true((two:run()))
    assert.equal("good", done[2])
    server:close()
    one.core:close()
    two.core:close()
  end)

  it("runs its tasks beside those of the default one", function()
    local engine = chat.engine()
    local task = engine:spawn(function() engine:sleep(0.01) return "own" end)
    assert.equal(0, chat.pending())
    assert.equal("own", (task:wait()))
    engine.core:close()
  end)
end)
