--- wait: the one place where anything waits (DESIGN rule 3).
-- By default a wait blocks: it steps the engine until something happened. A
-- scheduler may register itself here; then a coroutine that it owns parks
-- instead. In-process servers (oaichat.testing, the demo) register a pump, which
-- is called from the wait so that client and server share one thread.

local core = require "oaichat.core"

local M = {}

local pumps = {} -- list of { fd =, pump = }
local scheduler -- { owns = function() -> boolean, park = function(exchange) }

--- How often a pump without a descriptor is called, in seconds.
local TICK = 0.005

--- Calls pump whenever fd is readable while something waits; without an fd, every
--- few milliseconds.
--- @param fd integer|nil a pollable descriptor
--- @param pump fun()
function M.watch(fd, pump)
  pumps[#pumps + 1] = { fd = fd, pump = pump }
  if fd then core.engine():watch(fd) end
end

--- Undoes watch; takes the fd or the pump.
function M.unwatch(which)
  for i = #pumps, 1, -1 do
    local entry = pumps[i]
    if entry.fd == which or entry.pump == which then
      if entry.fd then core.engine():unwatch(entry.fd) end
      table.remove(pumps, i)
    end
  end
end

--- Runs every pump once.
function M.pump()
  for i = #pumps, 1, -1 do
    local entry = pumps[i]
    if entry then entry.pump() end
  end
end

--- A scheduler registers itself: `owns()` says whether the running coroutine is
--- one that it may park, `park(exchange)` returns when the exchange is ready.
function M.register(new)
  scheduler = new
end

local function slice()
  for _, entry in ipairs(pumps) do
    if not entry.fd then return TICK end
  end
end

--- Returns once the exchange has something to pull.
--- @param exchange table of oaichat.core
function M.ready(exchange)
  if scheduler and scheduler.owns() then return scheduler.park(exchange) end
  if not pumps[1] then
    while not exchange:wait() do end
    return
  end
  while not exchange:ready() do
    M.pump()
    exchange:wait(slice())
  end
end

return M
