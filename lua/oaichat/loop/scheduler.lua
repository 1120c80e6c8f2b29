--- loop/scheduler: tasks, and the one loop that gives them their turns. A task is a
-- coroutine that may wait: for an exchange, a timer, another task; while it waits the
-- others go on. One scheduler an engine; it knows no session and no wire.
--
-- What waits is found by id: the engine says which ids are ready, `waiters` says who
-- waits for them: a task to resume, or a function to call.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local wait = require "oaichat.wait"

local unpack = table.unpack or unpack

local M = {}

-- thread -> task; ids are addresses of live objects, unique over all engines.
local tasks = setmetatable({}, { __mode = "k" })
local waiters = {}

-- What a task yields; anything else it yields is a mistake.
local PARK = {}

--- @class oaichat.Task
local Task = {}
Task.__index = Task
Task.__name = "oaichat.Task"

--- @class oaichat.Scheduler
--- @field on_work fun()|nil an adapter's: there is something to drive again
--- @field on_error fun(err, task)|nil
local Scheduler = {}
Scheduler.__index = Scheduler

local function pack(...)
  return { n = select("#", ...), ... }
end

--- The task that is running, by identity of its coroutine; nested coroutines are
--- not it.
function M.current()
  local thread = coroutine.running()
  return thread and tasks[thread]
end

local function wake(task)
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
  for _, waiter in ipairs(task._waiters) do wake(waiter) end
  if not ok and not task._waiters[1] and not task._observed then scheduler:_report(task) end
  task._waiters = {}
end

local function traceback(thread, why)
  if type(why) ~= "string" then return why end
  return debug.traceback(thread, why)
end

local function resume(task, ...)
  local thread = task.thread
  task._parked = nil
  local out = pack(coroutine.resume(thread, ...))
  if coroutine.status(thread) == "dead" then
    if out[1] then return finish(task, true, pack(unpack(out, 2, out.n))) end
    return finish(task, false, traceback(thread, out[2]))
  end
  if out[2] ~= PARK then
    finish(task, false, "a task must not yield by itself; use chat.sleep or wait for something")
  end
end

-- Leaves the running task until somebody wakes it.
local function park(task, parked)
  if task._canceled and task._told then error(errors.new { kind = "canceled", code = "canceled" }, 0) end
  task._parked = parked
  coroutine.yield(PARK)
  task._parked = nil
  if task._canceled then task._told = true end
end

-- Parks until an object of the core (exchange, timer) is ready.
local function park_on(task, object)
  if object.relist then object:relist() end
  local id = object:id()
  waiters[id] = task
  task.scheduler._waiting = task.scheduler._waiting + 1
  park(task, object)
  task.scheduler._waiting = task.scheduler._waiting - 1
  if waiters[id] == task then waiters[id] = nil end
end

-- ---- tasks --------------------------------------------------------------------

--- Waits for the task's end. In a task it parks; elsewhere it runs the scheduler.
--- @return any ... what the function returned; nil, message, err when it raised
function Task:wait()
  self._observed = true
  local current = M.current()
  if current == self then error("a task cannot wait for itself", 2) end
  while not self._done do
    if current then
      self._waiters[#self._waiters + 1] = current
      park(current, self)
      if current._canceled and not self._done then return errors.fail { kind = "canceled", code = "canceled" } end
    else
      local ok, why = self.scheduler:_turn(nil, self)
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
    message = ("task %s: %s"):format(self.name, tostring(why)),
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
    wake(self)
  end
end

--- @return boolean
function Task:done()
  return self._done
end

function Task:__tostring()
  return ("oaichat.Task (%s, %s)"):format(self.name, self._done and "done" or self._parked and "waiting" or "ready")
end

-- ---- the scheduler --------------------------------------------------------------

--- A scheduler with an engine of its own, or the given one.
--- @return oaichat.Scheduler
function M.new(engine)
  return setmetatable({
    core = engine or core.engine(true), _queue = {}, _live = {}, _count = 0, _waiting = 0, _streams = 0, _names = 0,
  }, Scheduler)
end

local default

--- The scheduler of this Lua state's engine.
function M.default()
  if not default then default = M.new(core.engine()) end
  return default
end

--- Starts a task; it runs at the next step.
--- @param fn function
--- @return oaichat.Task
function Scheduler:spawn(fn, ...)
  if type(fn) ~= "function" then error("spawn: function expected, got " .. type(fn), 2) end
  local args = pack(...)
  self._names = self._names + 1
  local where = debug.getinfo(fn, "S")
  local task = setmetatable({
    name = ("#%d (%s:%d)"):format(self._names, where.short_src, where.linedefined), scheduler = self,
    _waiters = {}, _done = false, _started = false,
  }, Task)
  task.thread = coroutine.create(function()
    task._started = true
    return fn(unpack(args, 1, args.n))
  end)
  tasks[task.thread] = task
  self._live[task] = true
  self._count = self._count + 1
  wake(task)
  if self.on_work then self.on_work() end
  return task
end

-- An error that nobody waits for: the host's handler, else stderr.
function Scheduler:_report(task)
  local err = task:_error()
  self._errors = self._errors or {}
  table.insert(self._errors, err)
  local handler = self.on_error or M.on_error
  if handler then pcall(handler, err, task) else io.stderr:write("oaichat: ", tostring(err), "\n") end
end

-- Calls the function or resumes the task that waits for an id.
local function hand_out(id)
  local waiter = waiters[id]
  if not waiter then return end
  waiters[id] = nil
  if type(waiter) == "function" then waiter() else resume(waiter) end
end

-- Everything that can go on now, fairly, until the budget is spent.
function Scheduler:_dispatch()
  local engine, queue = self.core, self._queue
  if self._dispatching then return end
  self._dispatching = true
  if self._poke then
    self._poke:close()
    self._poke = nil
  end
  local at = 1
  repeat
    while queue[at] and not engine:spent() do
      local task = queue[at]
      queue[at] = false
      at = at + 1
      if not task._done then resume(task) end
    end
    local id = not engine:spent() and engine:pop()
    if id then hand_out(id) end
  until not id and (not queue[at] or engine:spent())
  local rest = {}
  for i = at, #queue do rest[#rest + 1] = queue[i] end
  self._queue = rest
  self._dispatching = false
  if rest[1] then self._poke = self._poke or engine:timer(0) end
end

--- Does what is due and hands out what came; never sleeps. With a budget (seconds)
--- it stops handing out when that is spent, and goes on at the next call.
--- @param budget number|nil
function Scheduler:step(budget)
  local engine = self.core
  engine:budget(budget)
  wait.pump()
  engine:step(budget and budget / 2)
  self:_dispatch()
  engine:budget()
end

--- Sleeps until there is work, at most `seconds`; returns early on a signal.
--- @param seconds number|nil
function Scheduler:wait(seconds)
  if self._queue[1] then return end
  self.core:wait(wait.slice(seconds))
end

--- @return integer|nil fd readable while there is work, timers included
function Scheduler:fd()
  return self.core:fd()
end

--- Seconds until step has timed work; 0: now; nil: only the fd can bring some.
--- @return number|nil
function Scheduler:timeout()
  if self._queue[1] then return 0 end
  return self.core:timeout()
end

--- @return integer tasks and callback streams that have not ended
function Scheduler:pending()
  return self._count + self._streams
end

-- One round of a loop of ours: step, and sleep when nothing else can be done.
function Scheduler:_turn(seconds, wanted)
  self:step()
  if wanted and wanted._done or self:pending() == 0 or self._queue[1] then return true end
  if self._count > 0 and self._waiting == 0 and self._streams == 0 then
    local names = {}
    for task in pairs(self._live) do names[#names + 1] = task.name end
    table.sort(names)
    return nil, errors.new {
      kind = "config", code = "deadlock",
      message = "deadlock: these tasks wait for each other: " .. table.concat(names, ", "),
    }
  end
  if not wait.turn() then self:wait(seconds) end
  return true
end

--- Runs until every task and callback stream has ended.
--- @return boolean|nil ok, string|nil message, oaichat.Error|nil err a deadlock, or the first error of a task that nobody waited for
function Scheduler:run()
  if M.current() then error("chat.run must not be called in a task", 2) end
  self._errors = nil
  while self:pending() > 0 do
    local ok, why = self:_turn()
    if not ok then return errors.fail(why) end
  end
  if self._errors then return errors.fail(self._errors[1]) end
  return true
end

--- Runs functions as tasks and waits for all.
--- @param functions function[]
--- @return table results the first value of each, errs the err of each that failed
function Scheduler:gather(functions)
  local started, results, errs = {}, {}, {}
  for i, fn in ipairs(functions) do
    started[i] = self:spawn(fn)
    started[i]._observed = true
  end
  for i, task in ipairs(started) do
    local value, _, err = task:wait()
    results[i], errs[i] = value, err
  end
  return results, errs
end

-- Waits until one of the tasks has ended.
local function await_any(scheduler, list)
  local current = M.current()
  if not current then
    local any = { _done = false }
    while true do
      for _, task in ipairs(list) do any._done = any._done or task._done end
      if any._done then return true end
      local ok, why = scheduler:_turn(nil, any)
      if not ok then return nil, why end
    end
  end
  for _, task in ipairs(list) do task._waiters[#task._waiters + 1] = current end
  park(current, list)
  return true
end

local function succeeded(task)
  local out = task._results
  return task._ok and not (out[1] == nil and errors.is(out[3]))
end

--- Runs functions as tasks; the first that succeeds wins, the others are canceled.
--- @param functions function[]
--- @return any ... the winner's values; nil, message, err of the last when all failed
function Scheduler:race(functions)
  if not functions[1] then error("race: at least one function expected", 2) end
  local running, winner, last = {}, nil, nil
  for i, fn in ipairs(functions) do
    running[i] = self:spawn(fn)
    running[i]._observed = true
  end
  while running[1] and not winner do
    local ok, why = await_any(self, running)
    local me = M.current()
    if not ok or (me and me._canceled) then
      last = why or errors.new { kind = "canceled", code = "canceled" }
      break
    end
    for i = #running, 1, -1 do
      local task = running[i]
      if task._done then
        table.remove(running, i)
        if succeeded(task) then winner = task else last = task._ok and task._results[3] or task:_error() end
      end
    end
  end
  for _, task in ipairs(running) do task:cancel() end
  if winner then return unpack(winner._results, 1, winner._results.n) end
  return errors.fail(last)
end

--- Sleeps; in a task the others go on.
--- @param seconds number
--- @return boolean|nil true, or nil, message, err when canceled
function Scheduler:sleep(seconds)
  local timer = self.core:timer(seconds)
  local task = M.current()
  if task then
    while not timer:ready() and not task._canceled do park_on(task, timer) end
  else
    while not timer:ready() do wait.ready(timer) end
  end
  timer:close()
  if task and task._canceled then return errors.fail { kind = "canceled", code = "canceled" } end
  return true
end

--- Calls fn whenever the exchange or timer is ready, from step; fn says when to stop
--- by returning true.
--- @return fun() undo
function Scheduler:on_ready(object, fn)
  self._streams = self._streams + 1
  local id = object:id()
  local function await(turn)
    waiters[id] = turn
    if object.relist then object:relist() end
  end
  local function turn()
    if not fn() then return await(turn) end
    self._streams = self._streams - 1
  end
  await(turn)
  if self.on_work then self.on_work() end
  return function()
    if waiters[id] == turn then
      waiters[id] = nil
      self._streams = self._streams - 1
    end
  end
end

wait.register {
  owns = function() return M.current() ~= nil end,
  park = function(exchange)
    local task = M.current()
    if task._canceled then exchange:cancel() end
    if exchange:ready() and not task.scheduler.core:spent() then return end
    park_on(task, exchange)
  end,
}

return M
