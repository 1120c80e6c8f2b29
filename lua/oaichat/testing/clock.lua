--- A clock that nobody waits for: while it is on, time stands still as long as there
-- is anything to do, and skips to what is due next (a timeout, a retry, a server's
-- pause, a sleep) when client and server are both idle.
--
--   local clock = testing.clock()
--   …                              -- two minutes of silence take a few milliseconds
--   clock:close()
--
-- It is the clock of the Lua state: of all engines, sessions and servers in it, and of core.now(). What is outside
-- of the process (a real provider, a program) knows nothing of it: its answers come too late. After close time
-- goes on from where it stands. Knows the core's clock and the loop.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local options_of = require "oaichat.options"
local loop = require "oaichat.loop.default"

local M = {}

--- @class oaichat.testing.Clock
local Clock = {}
Clock.__index = Clock

--- @return number seconds since time was stopped, to the nanosecond: what a machine's uptime adds to each time
---   has its own rounding, and 120 seconds are 120 on each
function Clock:elapsed()
  return math.floor((core.now() - self._start) * 1e9 + 0.5) / 1e9
end

--- Lets time pass; all that is due meanwhile happens, in its order, and tasks go on.
--- @param seconds number
--- @return boolean|nil true, or nil, message, err when canceled
function Clock:advance(seconds)
  local engine = loop.scheduler()
  local timer = engine.core:timer(seconds)
  local ok, message, err = engine:await(timer)
  timer:close()
  return ok, message, err
end

--- For a host's own loop, which does not wait by the library: skips to what is due
--- next, whether or not somebody is busy.
--- @return boolean skipped false: nothing is ahead
function Clock:skip()
  return self._clock:skip()
end

--- Time goes on. May be called twice.
function Clock:close()
  if self._closed then return end
  self._closed = true
  self._clock:thaw()
end

--- @param options { idle: number|nil }|nil idle: real seconds of silence that count as idle, 0.001 by default
--- @return oaichat.testing.Clock
function M.new(options)
  options = options or {}
  options_of.check(options, { idle = "number" })
  local clock = core.clock()
  if clock:frozen() then errors.misuse "clock: time stands still already; close the other clock first" end
  clock:freeze(options.idle)
  return setmetatable({ _clock = clock, _start = core.now() }, Clock)
end

return M
