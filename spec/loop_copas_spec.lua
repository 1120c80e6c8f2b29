--- loop/copas, driven by copas.step (Debian's copas has no timers, and its loop no
-- end): what every adapter promises, and what copas adds: tasks are its threads.

local chat = require "oaichat"
local core = require "oaichat.core"
local loops = require "spec.support.loops"

local found, copas = pcall(require, "copas")

local host = { name = "copas", blocks = "blocks", go = chat.spawn }
local due = {} -- functions that wait for their time

function host.attach(opts)
  return require("oaichat.loop.copas").attach(opts)
end

function host.turn()
  for i = #due, 1, -1 do
    if core.now() >= due[i].at then copas.addthread(table.remove(due, i).fn) end
  end
  copas.step(0.002)
end

function host.after(seconds, fn)
  due[#due + 1] = { at = core.now() + seconds, fn = fn }
end

describe("loop/copas", function()
  if not found then
    it("is tried where copas is installed", function() pending "copas is not installed" end)
    return
  end
  if not chat.fd() then
    it("needs a descriptor, and says so", function()
      assert.error_matches(host.attach, "copas needs a descriptor")
    end)
    return
  end

  local world = loops.describe(host)

  it("lets a task call copas's own functions: it serves and talks by sockets", function()
    local socket = require "socket"
    local heard, text
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    copas.addserver(listener, function(client)
      heard = copas.receive(client, "*l")
      client:close()
    end)
    local task = chat.spawn(function()
      text = assert(world.session():send "x").text
      local client = socket.tcp()
      client:settimeout(0)
      assert(copas.connect(client, "127.0.0.1", port))
      assert(copas.send(client, text .. "\n"))
      client:close()
    end)
    loops.turn_until(host, function() return heard and task:done() end)
    assert.same({ "whole", "whole" }, { text, heard })
    if copas.removeserver then copas.removeserver(listener) end -- Debian's has none
  end)

  it("leaves no thread behind: what ended turns nothing", function()
    local text
    chat.spawn(function() text = assert(world.session():send "x").text end)
    loops.turn_until(host, function() return text end)
    for _ = 1, 5 do host.turn() end
    local start, turns = core.now(), 0
    while core.now() < start + 0.05 do
      copas.step(0.01)
      turns = turns + 1
    end
    assert.is_true(turns < 12, turns .. " turns in 50 ms")
  end)
end)
