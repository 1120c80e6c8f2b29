-- Cancel at a random moment, 1,000 times, under one adapter: lua cancel.lua NAME.
-- Afterwards descriptors, memory and live objects are as before, and nothing was told
-- after the cancel. Half of the streams have callbacks, half a reader that waits.

local chat = require "oaichat"
local core = require "oaichat.core"
local support = require "spec.hosts.support"

local WAVES, WAVE = 50, 20
local name = arg[1]

-- Each host: pump() turns its loop about once, go(fn) starts what may wait.
local hosts = {}

function hosts.plain()
  return { go = chat.spawn, pump = function()
    chat.wait(0.001)
    chat.step()
  end }
end

function hosts.tick()
  local handle = require("oaichat.loop.tick").attach()
  return { handle = handle, go = chat.spawn, pump = function()
    chat.wait(0.001)
    handle:step()
  end }
end

function hosts.luv()
  local uv = require "luv"
  local timer = uv.new_timer()
  timer:start(1, 1, function() end)
  return { handle = require("oaichat.loop.luv").attach(), go = chat.spawn, pump = function() uv.run "once" end }
end

function hosts.cqueues()
  local cq = require("cqueues").new()
  return {
    handle = require("oaichat.loop.cqueues").attach(cq),
    go = function(fn) cq:wrap(fn) end,
    pump = function() assert(cq:step(0.001)) end,
  }
end

function hosts.copas()
  local copas = require "copas"
  return { handle = require("oaichat.loop.copas").attach(), go = chat.spawn, pump = function() copas.step(0.001) end }
end

local host = hosts[name]()
local late, told, live = 0, 0, 0

local function start(i)
  local session = assert(chat.new { base_url = support.url })
  local one = { at = core.now() + math.random() * 0.03 }
  local input = support.ask("c", 1000, 0.001)
  local function event() late = late + (one.over and 1 or 0) end
  local function done(reply, err)
    assert(not reply and err.kind == "canceled", tostring(err))
    late = late + (one.told and 1 or 0)
    one.told, told = true, told + 1
  end
  live = live + 1
  if i % 2 == 0 then
    one.stream = session:stream(input, { on_event = event, on_done = function(reply, _, err)
      live = live - 1
      done(reply, err)
    end })
  else
    one.stream = session:stream(input)
    host.go(function()
      while true do
        local text, _, err = one.stream:next()
        if not text then
          done(nil, err)
          break
        end
        event()
      end
      live = live - 1
    end)
  end
  return one
end

local function wave()
  local open = {}
  for i = 1, WAVE do open[i] = start(i) end
  while open[1] do
    host.pump()
    local now = core.now()
    for i = #open, 1, -1 do
      if open[i].at <= now then
        local one = table.remove(open, i)
        one.stream:cancel()
        one.over = true
      end
    end
  end
  while live > 0 do host.pump() end
end

local function held()
  for _ = 1, 5 do host.pump() end
  for _ = 1, 4 do collectgarbage() end
  local objects = {}
  for class, n in pairs(core.live()) do
    if n > 0 then objects[#objects + 1] = class .. "=" .. n end
  end
  table.sort(objects)
  return support.descriptors(), support.resident(), table.concat(objects, " ")
end

for _ = 1, 10 do wave() end
told = 0
local descriptors, memory, objects = held()
for _ = 1, WAVES do wave() end
-- a socket that is closed may take the host another turn
local stop = core.now() + 2
local descriptors_after, memory_after, objects_after
repeat
  descriptors_after, memory_after, objects_after = held()
until descriptors_after <= descriptors or core.now() > stop
print(("%s: %d canceled, %d events after a cancel, descriptors %d -> %d, resident %d -> %d kB, objects %s"):format(
  name, told, late, descriptors, descriptors_after, memory, memory_after, objects_after))
assert(told == WAVES * WAVE and late == 0, "not told exactly once")
assert(descriptors_after <= descriptors, "descriptors leak")
assert(objects_after == objects, "objects leak: before " .. objects)
assert(memory_after - memory < 1024, "memory grows")
if host.handle then host.handle:detach() end
host.pump()
