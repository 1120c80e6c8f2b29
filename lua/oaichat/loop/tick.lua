--- loop/tick: the engine in a host that calls once a frame: LÖVE, game engines, any
-- loop that ticks. A frame gets a slice of time; the rest of what came waits for
-- the next frame. From attach on a call that would block raises: tasks (chat.spawn)
-- and callbacks (on_event, on_done) are the ways to wait.

local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local M = {}

-- What a frame gives, in seconds.
local BUDGET = 0.001

--- @class oaichat.loop.Tick
local Handle = {}
Handle.__index = Handle

--- Does what is due and hands out what came, until the budget is spent.
--- @param budget number|nil seconds; default: attach's
function Handle:step(budget)
  if self.allow then self.engine:step(budget or self.budget) end
end

--- No more steps; blocking is allowed again. What is under way goes on when
--- somebody steps the engine.
function Handle:detach()
  if not self.allow then return end
  self.allow()
  self.allow = nil
end

--- @param opts { engine?: oaichat.Scheduler, budget?: number }|nil budget: seconds a frame, 0.001
--- @return oaichat.loop.Tick handle call handle:step([budget]) every frame
function M.attach(opts)
  opts = opts or {}
  return setmetatable({
    engine = opts.engine or loop.scheduler(), budget = opts.budget or BUDGET, allow = wait.forbid "tick",
  }, Handle)
end

return M
