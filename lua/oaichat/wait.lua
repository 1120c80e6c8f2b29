--- wait: the one place where anything waits (DESIGN rule 3).
-- By default a wait blocks: it steps the engine until something happened. A
-- scheduler may register itself here; then a coroutine that it owns parks
-- instead. In-process servers (oaichat.testing, the demo) register a pump, which
-- is called from the wait so that client and server share one thread.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

local pumps = {} -- list of { fd =, pump = }
local engines = setmetatable({}, { __mode = "k" }) -- every engine that may wait
local schedulers = {} -- list of { owns = function() -> boolean, park = function(exchange) }
local hosts = {} -- names of hosts that must not be blocked, the latest last

--- How often a pump without a descriptor is called, in seconds.
local TICK = 0.005

--- Calls pump whenever fd is readable while something waits; without an fd, every
--- few milliseconds.
--- @param fd integer|nil a pollable descriptor
--- @param pump fun()
function M.watch(fd, pump)
  pumps[#pumps + 1] = { fd = fd, pump = pump }
  M.engine(core.engine())
  if fd then
    for engine in pairs(engines) do pcall(engine.watch, engine, fd) end -- one may be closed
  end
end

--- An engine whose waits end for pumps too.
--- @param engine oaichat.core.Engine
function M.engine(engine)
  if engines[engine] then return end
  engines[engine] = true
  for _, entry in ipairs(pumps) do
    if entry.fd then engine:watch(entry.fd) end
  end
end

--- Undoes watch; takes the fd or the pump.
function M.unwatch(which)
  for i = #pumps, 1, -1 do
    local entry = pumps[i]
    if entry.fd == which or entry.pump == which then
      if entry.fd then
        for engine in pairs(engines) do pcall(engine.unwatch, engine, entry.fd) end
      end
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

-- Adds to a list; gives a function that takes it out again.
local function add(list, item)
  local entry = { item }
  list[#list + 1] = entry
  return function()
    for i = #list, 1, -1 do
      if list[i] == entry then table.remove(list, i) end
    end
  end
end

--- A scheduler registers itself: `owns()` says whether the running coroutine is
--- one that it may park, `park(object)` returns when the exchange or timer may be
--- ready, `turn()` (a host's loop has it) when the engine has been stepped, `task()` (ours
--- has it) gives the task that is running.
--- @return fun() undo
function M.register(new)
  local undo = add(schedulers, new)
  -- tasks know themselves; a host may take any coroutine for one of its own
  if new.task then table.insert(schedulers, 1, table.remove(schedulers)) end
  return undo
end

--- A host whose loop must not be blocked says so.
--- @param name string
--- @return fun() undo
function M.forbid(name)
  return add(hosts, name)
end

local function refuse()
  local host = hosts[#hosts]
  if host then errors.misuse(("would block the host (%s): use chat.spawn or on_done"):format(host[1])) end
end

-- The scheduler that the running coroutine belongs to.
local function owner()
  for i = 1, #schedulers do
    local scheduler = schedulers[i][1]
    if scheduler.owns() then return scheduler end
  end
end

--- The task that is running, where tasks have been loaded.
--- @return oaichat.Task|nil
function M.task()
  for i = 1, #schedulers do
    local task = schedulers[i][1].task
    if task then return task() end
  end
end

--- Lets the host's loop turn once where the running coroutine belongs to one; false:
--- the caller has to turn the engine itself. Raises where that is forbidden.
--- @return boolean
function M.turn()
  local scheduler = owner()
  if scheduler and scheduler.turn then
    scheduler.turn()
    return true
  end
  refuse()
  return false
end

--- Whoever waits here may block: no scheduler has the running coroutine, no host forbids it.
--- @return boolean
function M.alone()
  return not hosts[1] and not owner()
end

--- Raises where the running coroutine would block a host that must not be.
function M.allowed()
  if not owner() then refuse() end
end

--- Raises where a host must not be blocked: for what waits outside of the engine.
--- @param name string what would block: "history.sqlite"
function M.blocks(name)
  local host = hosts[#hosts]
  if not host then return end
  errors.misuse(("would block the host (%s): %s waits for its files or its server; allow_blocking = true lets it")
    :format(host[1], name))
end

--- The longest a wait may last while pumps without a descriptor want their turns.
--- @param seconds number|nil
--- @return number|nil
function M.slice(seconds)
  for _, entry in ipairs(pumps) do
    if not entry.fd and (not seconds or seconds > TICK) and not core.clock():frozen() then return TICK end
  end
  return seconds
end

--- Blocks until an object of the core (exchange, timer) is ready.
function M.blocking(object)
  if hosts[1] and not object:ready() then refuse() end
  if not pumps[1] then
    repeat until object:wait()
    return
  end
  repeat M.pump() until object:wait(M.slice())
end

--- The running coroutine would park, not block.
--- @return boolean
function M.parks()
  return owner() ~= nil
end

local PCALL_CANNOT_YIELD = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

--- pcall for what may wait. PUC 5.1 cannot park inside pcall: there, in a task, what
--- is raised passes through.
--- @return boolean ok, any ...
function M.pcall(fn, ...)
  if PCALL_CANNOT_YIELD and M.parks() then return true, fn(...) end
  return pcall(fn, ...)
end

--- Returns when the exchange or timer has something to pull, or may have.
--- @param object table of oaichat.core
function M.ready(object)
  local scheduler = owner()
  if scheduler then return scheduler.park(object) end
  return M.blocking(object)
end

return M
