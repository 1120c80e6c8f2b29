--- loop/task: a coroutine that may wait: for an object of the core, or for another
-- task; while it waits the others go on. Which one runs next is the scheduler's.
--
-- What waits is found by id: the engine says which ids are ready, `waiters` says who
-- waits for them: a task to resume, or a function to call.

local errors = require "oaichat.errors"

local unpack = table.unpack or unpack

local M = {}

-- thread -> task; ids are addresses of live objects, unique over all engines.
local tasks = setmetatable({}, { __mode = "k" })
local waiters = {}
M.waiters = waiters

-- What a task yields; anything else it yields is a mistake. QUIT: it is never resumed.
local PARK, QUIT = {}, {}

-- A canceled task that catches the error of each wait and waits again would spin for
-- ever; after so many times it is left where it is.
local IGNORED_MAX = 100

--- @class oaichat.Task
local Task = {}
Task.__index = Task
Task.__name = "oaichat.Task"

local function pack(...)
  return { n = select("#", ...), ... }
end

--- The task that is running, by identity of its coroutine; nested coroutines are
--- not it.
function M.current()
  local thread = coroutine.running()
  return thread and tasks[thread]
end

--- Has the task resumed at the next turn of its scheduler.
function M.wake(task)
  local scheduler = task.scheduler
  scheduler._queue[#scheduler._queue + 1] = task
  if not scheduler._dispatching and not scheduler._poke then
    -- the host's loop must come round although no socket has anything
    scheduler._poke = scheduler.core:timer(0)
  end
end

local function finish(task, ok, results)
  tasks[task.thread] = nil
  local scheduler = task.scheduler
  scheduler._live[task] = nil
  scheduler._count = scheduler._count - 1
  task._done, task._ok, task._results = true, ok, results
  for _, waiter in ipairs(task._waiters) do M.wake(waiter) end
  if task._on_end then task._on_end(task) end
  if not ok and not task._waiters[1] and not task._observed then scheduler:_report(task) end
  task._waiters = {}
end

local function traceback(thread, why)
  if type(why) ~= "string" then return why end
  return debug.traceback(thread, why)
end

-- What its coroutine gave: most often PARK, which takes no table.
local function advanced(task, ok, ...)
  local first = ...
  if rawequal(first, PARK) then return false end -- never a value's own __eq
  if coroutine.status(task.thread) == "dead" then
    if ok then finish(task, true, pack(...)) else finish(task, false, traceback(task.thread, first)) end
    return true
  end
  if rawequal(first, QUIT) then
    finish(task, true, pack(errors.fail { kind = "canceled", code = "canceled" }))
    return true
  end
  if task._ring then return false, ... end
  finish(task, false, "a task must not yield by itself; use chat.sleep or wait for something")
  return true
end

--- Runs the task until it waits; where a host's threads run the tasks, what else
--- it yielded is for the host.
--- @return boolean ended
function M.advance(task, ...)
  if task._done then return true end
  task._parked = nil
  if task._started then return advanced(task, coroutine.resume(task.thread, ...)) end
  local args = task._args
  task._started, task._args = true, nil
  if args then return advanced(task, coroutine.resume(task.thread, unpack(args, 1, args.n))) end
  return advanced(task, coroutine.resume(task.thread))
end

--- Gives the task its turn.
function M.resume(task)
  if task._ring then return task._ring() end
  if not task._started or task._done then return M.advance(task) end
  task._parked = nil
  return advanced(task, coroutine.resume(task.thread))
end

--- Raises in a canceled task that a wait has already told of it.
--- @return boolean canceled the task is canceled, and its caller is told now
function M.check(task)
  if not task or not task._canceled then return false end
  if task._told then
    task._ignored = (task._ignored or 0) + 1
    if task._ignored > IGNORED_MAX then coroutine.yield(QUIT) end
    error(errors.new { kind = "canceled", code = "canceled" }, 0)
  end
  task._told = true
  return true
end

--- Whether a failed wait can be told before anything is noted of it: not in PUC 5.1 and 5.2.
M.CAN_TELL = coroutine.isyieldable ~= nil

-- Said before anything is noted: what a failed yield would leave is a waiter for ever.
-- (PUC 5.1 and 5.2 cannot tell.)
local function must_yield()
  local can = coroutine.isyieldable
  if can and not can() then error("attempt to yield across a C-call boundary: a task cannot wait in here", 0) end
end

M.must_yield = must_yield

local function park(task, parked)
  task._parked = parked
  coroutine.yield(PARK)
  task._parked = nil
  if task._canceled then task._told = true end
end

--- Waits until somebody wakes the task.
function M.park(task, parked)
  must_yield()
  park(task, parked)
end

--- Wakes whoever waits for an id, although the engine will not name it any more.
function M.rouse(id)
  local waiter = waiters[id]
  waiters[id] = nil
  if type(waiter) == "function" then waiter() elseif waiter then M.wake(waiter) end
end

--- Waits until an object of the core may be ready. What is ready already is listed
--- again, behind the others.
function M.park_on(task, object)
  must_yield()
  M.park_here(task, object)
end

--- The same where must_yield was asked before.
function M.park_here(task, object)
  local id, scheduler = object.relist and object:relist() or object:id(), task.scheduler
  waiters[id] = task
  scheduler._waiting = scheduler._waiting + 1
  park(task, object)
  scheduler._waiting = scheduler._waiting - 1
  if waiters[id] == task then waiters[id] = nil end
end

-- ---- tasks --------------------------------------------------------------------

--- Waits for the task's end. In a task it parks; elsewhere it runs the scheduler.
--- @return any ... what the function returned; nil, message, err when it raised
function Task:wait()
  self._observed = true
  local current = M.current()
  if current == self then errors.misuse("a task cannot wait for itself") end
  while not self._done do
    if current then
      if M.check(current) then return errors.fail { kind = "canceled", code = "canceled" } end
      self._waiters[#self._waiters + 1] = current
      M.park(current, self)
      if current._canceled and not self._done then return errors.fail { kind = "canceled", code = "canceled" } end
    else
      local ok, why = self.scheduler:_turn(function() return self._done end)
      if not ok then return errors.fail(why) end
    end
  end
  if self._ok then return unpack(self._results, 1, self._results.n) end
  return errors.fail(self:_error())
end

-- A raised err object stays what it is; any other error gets the task's name.
function Task:_error()
  local why = self._results
  if errors.is(why) then return why end
  return errors.new {
    kind = "tool", code = "task_error",
    message = ("task %s: %s"):format(self:name(), errors.text(why)),
  }
end

--- Ends what the task waits for: that returns nil, message, err with kind
--- "canceled"; if the task then waits again, the wait raises that err.
function Task:cancel()
  if self._done or self._canceled then return end
  self._canceled = true
  if not self._started then
    self._ok = true
    tasks[self.thread] = nil
    return finish(self, true, pack(errors.fail { kind = "canceled", code = "canceled" }))
  end
  local parked = self._parked
  if not parked then return end
  if parked.cancel and parked.relist then
    parked:cancel() -- an exchange: it becomes ready, and its task is woken by that
  else
    M.wake(self)
  end
end

--- @return boolean
function Task:done()
  return self._done
end

--- Its number and where its function stands: "#1 (file.lua:12)".
--- @return string
function Task:name()
  local where = debug.getinfo(self._fn, "S")
  return ("#%d (%s:%d)"):format(self._number, where.short_src, where.linedefined)
end

function Task:__tostring()
  return ("oaichat.Task (%s, %s)"):format(self:name(), self._done and "done" or self._parked and "waiting" or "ready")
end

-- PUC 5.1 makes coroutines of Lua's functions alone.
local LUA_ALONE = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function thread_of(fn)
  if LUA_ALONE and debug.getinfo(fn, "S").what == "C" then
    return coroutine.create(function(...) return fn(...) end)
  end
  return coroutine.create(fn)
end

--- A task that has not begun.
--- @param scheduler oaichat.Scheduler
--- @param number integer
--- @param fn function
function M.new(scheduler, number, fn, ...)
  local task = setmetatable({
    scheduler = scheduler, thread = thread_of(fn), _number = number, _fn = fn, _waiters = {}, _done = false,
    _started = false, _args = select("#", ...) > 0 and pack(...) or nil,
  }, Task)
  tasks[task.thread] = task
  return task
end

return M
