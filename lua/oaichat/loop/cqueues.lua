--- loop/cqueues: the engine in a cqueues controller. Any coroutine that cqueues runs
-- may then call session:send, stream:next, chat.sleep or task:wait: it parks, and
-- the controller goes on. One driver coroutine polls the engine's one descriptor;
-- each parked coroutine sleeps on a condition of its own, so that an event wakes
-- its reader alone. The driver ends when nothing is pending, so that cq:loop()
-- ends as well.

local condition = require "cqueues.condition"
local cqueues = require "cqueues"
local errors = require "oaichat.errors"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local M = {}

-- Where the platform has no descriptor for the engine: a turn this often, in s.
local TICK = 0.005

--- @class oaichat.loop.Cqueues
local Handle = {}
Handle.__index = Handle

-- The running coroutine is one that a controller resumes: not one nested in it.
local function owns()
  local _, is = cqueues.running()
  return is
end

local function drive(self)
  local engine = self.engine
  while self.attached and (engine:pending() > 0 or self.waiting > 0) do
    cqueues.poll({ pollfd = self.fd, events = "r", timeout = not self.fd and TICK or nil }, self.halt)
    if not self.attached then break end
    engine:step(self.budget)
    self.turned:signal()
  end
  self.driving = false
end

local function start(self)
  if self.driving or not self.attached then return end
  self.driving = true
  self.cq:wrap(drive, self)
end

-- Sleeps until the object may be ready.
local function park(self, object)
  if object:ready() then return end
  local ready = condition.new()
  local undo = self.engine:on_ready(object, function()
    ready:signal()
    return true
  end)
  cqueues.poll(ready, self.halt)
  undo()
end

-- Sleeps until the engine was stepped once.
local function turn(self)
  self.waiting = self.waiting + 1
  start(self)
  self.turned:wait(TICK)
  self.waiting = self.waiting - 1
end

--- Takes the engine out of the controller. Whoever is parked wakes, and from then on
--- blocks, as everybody does outside of a loop.
function Handle:detach()
  if not self.attached then return end
  self.attached = false
  self.engine.on_work = nil
  self.forget()
  self.halt:signal()
  self.turned:signal()
end

--- @param cq table|nil the controller; default: the one that is running
--- @param opts { engine?: oaichat.Scheduler, budget?: number }|nil budget: seconds a turn, 0.005
--- @return oaichat.loop.Cqueues handle
function M.attach(cq, opts)
  opts = opts or {}
  cq = cq or cqueues.running()
  if not cq then errors.misuse("attach: a cqueues controller expected") end
  local engine = opts.engine or loop.scheduler()
  if engine.on_work then errors.misuse("attach: this engine is in a loop already") end
  local self = setmetatable({
    cq = cq, engine = engine, fd = engine:fd(), budget = opts.budget or 0.005, attached = true,
    waiting = 0, halt = condition.new(), turned = condition.new(),
  }, Handle)
  self.forget = wait.register {
    owns = owns,
    park = function(object) return park(self, object) end,
    turn = function() return turn(self) end,
  }
  engine.on_work = function() start(self) end
  if engine:pending() > 0 then start(self) end
  return self
end

return M
