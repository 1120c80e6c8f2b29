--- loop/default: the scheduler of this Lua state's engine. What it can do (loop/scheduler) is
-- loaded when something of it is first used: who only sends and waits has no tasks.

local core = require "oaichat.core"
local later = require "oaichat.later"
local schedulers = later "oaichat.loop.scheduler"
local wait = require "oaichat.wait"

local M = {}

local default

--- @return oaichat.Scheduler
function M.scheduler()
  if default then return default end
  local engine = core.engine()
  wait.engine(engine)
  default = setmetatable({ core = engine }, {
    __index = function(self, name) return schedulers.fill(self)[name] end,
    __newindex = function(self, name, value) schedulers.fill(self)[name] = value end,
  })
  return default
end

return M
