--- loop/reactor: what goes on while nobody waits for it by name: streams, exchanges
-- and clocks, each with a function that is called when it is ready: by the
-- scheduler where one runs, else by whoever of the client's callers waits. Knows
-- objects of the core, not what they carry.

local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

local waiters = task.waiters

-- ---- a gate: what a caller waits on ------------------------------------------

--- @class oaichat.loop.Gate stands where an object of the core may: see oaichat.wait
local Gate = {}
Gate.__index = Gate

--- The farthest time that a timer is set to, in seconds.
local NEVER = 1e8

function Gate:ready()
  return self.canceled or self.timer:ready()
end

function Gate:id()
  return self.timer:id()
end

-- A canceled task asks whatever it waits for to end.
function Gate:cancel()
  self.canceled = true
end

function Gate:wait(seconds)
  self.reactor:pump()
  if not self:ready() then
    self.timer:wait(seconds)
    self.reactor:pump()
  end
  return self:ready()
end

function Gate:open()
  self.timer:fire()
end

function Gate:close()
  self.timer:close()
end

-- ---- the reactor ---------------------------------------------------------------

--- @class oaichat.loop.Reactor
local Reactor = {}
Reactor.__index = Reactor

--- @param engine oaichat.core.Engine
--- @return oaichat.loop.Reactor
function M.new(engine)
  wait.engine(engine)
  return setmetatable({ engine = engine, entries = {} }, Reactor)
end

--- @return oaichat.loop.Gate
function Reactor:gate()
  return setmetatable({ reactor = self, timer = self.engine:timer(NEVER), canceled = false }, Gate)
end

-- The list of waiters must keep neither the client nor its child process alive.
local function arm(reactor, entry)
  local weak = setmetatable({ reactor = reactor }, { __mode = "v" })
  local id = entry.id
  entry.waiter = function()
    if weak.reactor then weak.reactor:_ring(id) end
  end
  waiters[id] = entry.waiter
  if entry.object.relist then entry.object:relist() end
end

function Reactor:_ring(id)
  local entry = self.entries[id]
  if not entry then return end
  if entry.object:ready() then entry.turn(entry.object) end
  if self.entries[id] == entry then arm(self, entry) end
end

--- Calls turn(object) whenever the object is ready, until unwatch.
--- @param turn fun(object)
function Reactor:watch(object, turn)
  local entry = { object = object, turn = turn, id = object:id() }
  self.entries[entry.id] = entry
  arm(self, entry)
end

--- Forgets an object, which must not be closed before.
function Reactor:unwatch(object)
  local id = object:id()
  local entry = self.entries[id]
  if not entry then return end
  self.entries[id] = nil
  if waiters[id] == entry.waiter then waiters[id] = nil end
end

--- Unwatches and closes.
function Reactor:close(object)
  self:unwatch(object)
  object:close()
end

--- Calls fn once, after some seconds.
--- @return table timer for stop
function Reactor:after(seconds, fn)
  local timer = self.engine:timer(seconds)
  self:watch(timer, function()
    self:close(timer)
    fn()
  end)
  return timer
end

--- Stops a timer of `after` that has not gone off.
function Reactor:stop(timer)
  if timer and self.entries[timer:id()] then self:close(timer) end
end

--- Does what is ready now.
function Reactor:pump()
  local list = {}
  for _, entry in pairs(self.entries) do list[#list + 1] = entry end
  for _, entry in ipairs(list) do
    if self.entries[entry.id] == entry and entry.object:ready() then entry.turn(entry.object) end
  end
end

--- Closes everything.
function Reactor:clear()
  for _, entry in pairs(self.entries) do
    if waiters[entry.id] == entry.waiter then waiters[entry.id] = nil end
    entry.object:close()
  end
  self.entries = {}
end

return M
