--- loop/cqueues, in a controller of its own: what every adapter promises, and what
-- cqueues adds: any coroutine of the controller may wait.

local chat = require "oaichat"
local core = require "oaichat.core"
local loops = require "spec.support.loops"
local testing = require "oaichat.testing"

local found, cqueues = pcall(require, "cqueues")

local cq
local host = { name = "cqueues", blocks = "blocks" }

function host.attach(opts)
  cq = cq or cqueues.new()
  return require("oaichat.loop.cqueues").attach(cq, opts)
end

function host.turn()
  assert(cq:step(0.002))
end

function host.go(fn)
  cq:wrap(fn)
end

function host.after(seconds, fn)
  cq:wrap(function()
    cqueues.sleep(seconds)
    fn()
  end)
end

describe("loop/cqueues", function()
  if not found then
    it("is tried where cqueues is installed", function() pending "cqueues is not installed" end)
    return
  end

  local world = loops.describe(host)

  it("lets cq:loop end when nothing is pending", function()
    local text
    cq:wrap(function() text = assert(world.session():send "x").text end)
    local start = core.now()
    assert(cq:loop())
    assert.equal("whole", text)
    assert.is_true(core.now() - start < 4)
    assert.is_true(cq:empty())
  end)

  it("takes the running controller, and wants one", function()
    world.handle:detach()
    assert.error_matches(function() require("oaichat.loop.cqueues").attach() end, "a cqueues controller expected")
    local text
    local own = cqueues.new()
    own:wrap(function()
      local handle = require("oaichat.loop.cqueues").attach()
      text = assert(world.session():send "x").text
      handle:detach()
    end)
    assert(own:loop())
    assert.equal("whole", text)
  end)

  it("parks our own tasks, too, beside the controller's", function()
    local a, b
    local task = chat.spawn(function() a = assert(world.session():send "x").text end)
    cq:wrap(function()
      task:wait()
      b = chat.gather { function() return world.session():send "y".text end }[1]
    end)
    loops.turn_until(host, function() return b end)
    assert.same({ "whole", "whole" }, { a, b })
  end)

  it("blocks in a coroutine that is nested in one of the controller's", function()
    local pieces
    cq:wrap(function()
      local generator = coroutine.wrap(function()
        local stream = world.session():stream "x"
        for text in stream.next, stream do coroutine.yield(text) end
      end)
      local list = {}
      for text in generator do list[#list + 1] = text end
      pieces = list
    end)
    loops.turn_until(host, function() return pieces end)
    assert.same({ "a", "b" }, pieces)
  end)

  it("goes on serving others while one waits", function()
    local ticks, text = 0, nil
    cq:wrap(function()
      while not text do
        ticks = ticks + 1
        cqueues.sleep(0.002)
      end
    end)
    cq:wrap(function() text = assert(world.session():stream("x"):result()).text end)
    loops.turn_until(host, function() return text end)
    assert.is_true(ticks > 5, ticks .. " ticks")
    for _ = 1, 3 do host.turn() end
  end)

  it("wakes who is parked when it is detached: that goes on by blocking", function()
    local text
    cq:wrap(function() text = assert(world.session():stream("x"):result()).text end)
    for _ = 1, 2 do host.turn() end
    world.handle:detach()
    loops.turn_until(host, function() return text end)
    assert.equal("ab", text)
    assert(cq:loop())
    assert.is_true(cq:empty())
  end)
end)

describe("the engine's descriptor in cqueues, without the adapter,", function()
  if not found then
    it("is tried where cqueues is installed", function() pending "cqueues is not installed" end)
    return
  end

  it("stays readable until all that waits was handed out", function()
    if not chat.fd() then return pending "no descriptor on this platform" end
    local server = testing.server(function(_, response)
      for _ = 1, 300 do response:event(testing.chunk "a") end
      response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end)
    local turns, reply = 0, nil
    assert(chat.new { base_url = server.url }):stream("x", {
      on_event = function() end, on_done = function(result) reply = result end,
    })
    local own = cqueues.new()
    own:wrap(function()
      while not reply do
        cqueues.poll { pollfd = chat.fd(), events = "r" }
        turns = turns + 1
        chat.step(1e-9) -- one thing a turn
      end
    end)
    assert(own:loop(5))
    assert.equal(300, #reply.text)
    assert.is_true(turns > 20, turns .. " turns")
    server:close()
  end)
end)
