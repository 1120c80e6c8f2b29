--- loop/luv, in luv's own loop: what every adapter promises, and what luv adds.

local chat = require "oaichat"
local core = require "oaichat.core"
local loops = require "spec.support.loops"
local testing = require "oaichat.testing"

local found, uv = pcall(require, "luv")

local host = { name = "luv", blocks = "raises", go = chat.spawn }

function host.attach(opts)
  return require("oaichat.loop.luv").attach(opts)
end

-- Timers of the host's. None is closed: luv 1.44 crashes at the state's end when the
-- loop has not run since.
local spare = {}

local function timer()
  return table.remove(spare) or uv.new_timer()
end

function host.turn()
  local tick = timer()
  tick:start(2, 0, function() end)
  uv.run "once"
  tick:stop()
  spare[#spare + 1] = tick
end

function host.after(seconds, fn)
  local once = timer()
  once:start(seconds * 1000, 0, function()
    spare[#spare + 1] = once
    local call = fn
    fn = nil -- the timer keeps this function
    call()
  end)
end

local function handles()
  local n = 0
  uv.walk(function(handle) if not handle:is_closing() then n = n + 1 end end)
  return n
end

describe("loop/luv", function()
  if not found then
    it("is tried where luv is installed", function() pending "luv is not installed" end)
    return
  end

  local world = loops.describe(host)

  it("keeps uv.run going while something is pending, and no longer", function()
    local text
    chat.spawn(function() text = assert(world.session():send "x").text end)
    local start = core.now()
    uv.run()
    assert.equal("whole", text)
    assert.is_true(core.now() - start < 4)
  end)

  it("may be attached, detached and waited for in its own callbacks", function()
    local done
    host.after(0, function()
      world.handle:detach()
      world.handle = nil
      local handle = host.attach()
      chat.spawn(function()
        done = assert(world.session():send "x").text
        handle:detach()
      end)
    end)
    loops.turn_until(host, function() return done end)
    assert.equal("whole", done)
  end)

  it("leaves no handle behind", function()
    world.handle:detach()
    for _ = 1, 4 do collectgarbage() end
    host.turn()
    local before = handles()
    for _ = 1, 10 do
      local handle = host.attach()
      local stream = world.session():stream("endless", { on_done = function() end })
      for _ = 1, 5 do host.turn() end
      stream:cancel()
      handle:detach()
      host.turn()
    end
    for _ = 1, 4 do collectgarbage() end
    host.turn()
    assert.equal(before, handles())
  end)
end)

describe("the engine's descriptor in luv, without the adapter,", function()
  if not found then
    it("is tried where luv is installed", function() pending "luv is not installed" end)
    return
  end

  it("stays readable until all that waits was handed out", function()
    if not chat.fd() then return pending "no descriptor on this platform" end
    local server = testing.server(function(_, response)
      for _ = 1, 300 do response:event(testing.chunk "a") end
      response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end)
    local length, turns, reply = 0, 0, nil
    local session = assert(chat.new { base_url = server.url })
    session:stream("x", {
      on_event = function(event) length = length + (event.type == "text" and #event.text or 0) end,
      on_done = function(result) reply = result end,
    })
    local poll = uv.new_poll(chat.fd())
    poll:start("r", function()
      turns = turns + 1
      chat.step(1e-9) -- one thing a turn
    end)
    loops.turn_until(host, function() return reply end)
    poll:stop()
    poll:close()
    host.turn()
    assert.same({ 300, 300 }, { length, #reply.text })
    assert.is_true(turns > 20, turns .. " turns")
    server:close()
  end)
end)
