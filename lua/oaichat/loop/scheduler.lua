--- loop/scheduler: the one loop that gives tasks and callback streams their turns.
-- One scheduler an engine; it knows no session and no wire.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local later = require "oaichat.later"
local groups = later "oaichat.loop.group"
local task_of = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local park_on, resume, waiters, wake = task_of.park_on, task_of.resume, task_of.waiters, task_of.wake

local M = { current = task_of.current }

--- @class oaichat.Scheduler
--- @field on_work fun()|nil an adapter's: there is something to drive again
--- @field host (fun(advance: fun(...): boolean, ...): fun())|nil an adapter's: runs a new task in a thread of the
---   host, by calls of advance until it returns true; gives a function that wakes that thread
--- @field on_error fun(err, task)|nil
local Scheduler = {}
Scheduler.__index = Scheduler

--- Makes a scheduler of a table that has its engine.
--- @param scheduler { core: oaichat.core.Engine }
--- @return oaichat.Scheduler scheduler
function M.fill(scheduler)
  setmetatable(scheduler, Scheduler)
  scheduler._queue, scheduler._live = {}, {}
  scheduler._count, scheduler._waiting, scheduler._streams, scheduler._names = 0, 0, 0, 0
  return scheduler
end

--- A scheduler with an engine of its own, or the given one.
--- @return oaichat.Scheduler
function M.new(engine)
  engine = engine or core.engine(true)
  wait.engine(engine)
  return M.fill { core = engine }
end

--- Starts a task; it runs at the next step.
--- @param fn function
--- @return oaichat.Task
function Scheduler:spawn(fn, ...)
  if type(fn) ~= "function" then errors.misuse("spawn: function expected, got " .. type(fn)) end
  self._names = self._names + 1
  local task = task_of.new(self, self._names, fn, ...)
  self._live[task] = true
  self._count = self._count + 1
  if self.host then
    task._ring = self.host(function(...)
      if task._done then return true end
      return task_of.advance(task, ...)
    end)
  end
  wake(task)
  if self.on_work then self.on_work() end
  return task
end

-- An error that nobody waits for: the host's handler, else stderr.
function Scheduler:_report(task)
  local err = task:_error()
  if self._errors then table.insert(self._errors, err) end -- run wants them
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

-- Everything that can go on now, fairly, until the budget is spent. What had its turn
-- is false in the queue.
local function dispatch(scheduler, budget)
  local engine, queue, at = scheduler.core, scheduler._queue, 1
  repeat
    while queue[at] and not (budget and engine:spent()) do
      local task = queue[at]
      queue[at] = false
      at = at + 1
      if not task._done then resume(task) end
    end
    local id = not (budget and engine:spent()) and engine:pop()
    if id then hand_out(id) end
  until not id and (not queue[at] or budget and engine:spent())
end

-- Who had no turn comes first in the next step; the host's loop must come round.
local function keep_rest(scheduler)
  if scheduler._queue[1] == nil then return end -- nobody was in it
  local rest = {}
  for _, task in ipairs(scheduler._queue) do
    if task then rest[#rest + 1] = task end
  end
  scheduler._queue = rest
  if rest[1] then scheduler._poke = scheduler.core:timer(0) end
end

-- An error that passes through (memory, an interrupt, a callback's) ends the step, and
-- nobody's turn is lost but that of who raised it.
function Scheduler:_dispatch(budget)
  if self._poke then
    self._poke:close()
    self._poke = nil
  end
  self._dispatching = true
  local ok, why = pcall(dispatch, self, budget)
  self._dispatching = false
  keep_rest(self)
  if not ok then return why end
end

--- Does what is due and hands out what came; never sleeps. With a budget (seconds)
--- it stops handing out when that is spent, and goes on at the next call.
--- @param budget number|nil
function Scheduler:step(budget)
  local engine = self.core
  wait.pump() -- before the budget: what it raises must not leave one set
  if budget then engine:budget(budget) end
  engine:step(budget and budget / 2)
  local raised = not self._dispatching and self:_dispatch(budget)
  if budget then engine:budget() end
  if raised then error(raised, 0) end
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

-- One round of a loop of ours: step, and sleep when nothing else can be done; not once
-- `enough` says so. alone: no host's loop has to turn meanwhile.
function Scheduler:_turn(enough, alone)
  if self._dispatching then errors.misuse("a callback or a coroutine inside a task cannot wait for tasks") end
  self:step()
  if enough and enough() or not enough and self:pending() == 0 or self._queue[1] then return true end
  if self._count > 0 and self._waiting == 0 and self._streams == 0 then
    local names = {}
    for task in pairs(self._live) do names[#names + 1] = task:name() end
    table.sort(names)
    return nil, errors.new {
      kind = "config", code = "deadlock",
      message = "deadlock: these tasks wait for each other: " .. table.concat(names, ", "),
    }
  end
  if alone or not wait.turn() then self:wait() end
  return true
end

--- Runs until every task and callback stream has ended.
--- @return boolean|nil ok, string|nil message, oaichat.Error|nil err a deadlock, or the
---   first error of a task that nobody waited for
function Scheduler:run(...)
  if select("#", ...) > 0 then errors.misuse "run takes nothing: chat.spawn starts a task" end
  if M.current() then errors.misuse("chat.run must not be called in a task") end
  self._errors = {}
  local alone, why = wait.alone(), nil
  while self:pending() > 0 and not why do
    local _
    _, why = self:_turn(nil, alone)
  end
  why = why or self._errors[1]
  self._errors = nil
  if why then return errors.fail(why) end
  return true
end

--- Runs functions as tasks and waits for all.
--- @param functions function[]
--- @return table results the first value of each, errs the err of each that failed
function Scheduler:gather(functions)
  return groups.gather(self, functions)
end

--- Runs functions as tasks; the first that succeeds wins, the others are canceled.
--- @param functions function[]
--- @return any ... the winner's values; nil, message, err of the last when all failed
function Scheduler:race(functions)
  return groups.race(self, functions)
end

--- Sleeps; in a task the others go on.
--- @param seconds number
--- @return boolean|nil true, or nil, message, err when canceled
function Scheduler:sleep(seconds)
  local task = M.current()
  if task_of.check(task) then return errors.fail { kind = "canceled", code = "canceled" } end
  local timer = self.core:timer(seconds)
  if task then
    while not timer:ready() and not task._canceled do park_on(task, timer) end
  else
    while not timer:ready() do wait.ready(timer) end
  end
  timer:close()
  if task and task._canceled then return errors.fail { kind = "canceled", code = "canceled" } end
  return true
end

--- Waits for an object of the core while the other tasks go on, outside a task too.
--- @return boolean|nil true, or nil, message, err when canceled
function Scheduler:await(object)
  local task = M.current()
  if not task then wait.allowed() end
  if task_of.check(task) then return errors.fail { kind = "canceled", code = "canceled" } end
  local function ready() return object:ready() end
  local fine, why = true, nil
  self._waiting = self._waiting + 1 -- no deadlock: somebody waits for more than tasks
  while fine and not object:ready() and not (task and task._canceled) do
    if task then park_on(task, object) else fine, why = wait.pcall(self._turn, self, ready) end
  end
  self._waiting = self._waiting - 1
  if not fine then error(why, 0) end
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
  task = M.current,
  owns = function() return M.current() ~= nil end,
  park = function(exchange)
    local task = M.current()
    if task._canceled then
      exchange:cancel()
      task_of.check(task)
    end
    if exchange:ready() and not task.scheduler.core:spent() then return end
    park_on(task, exchange)
  end,
}

return M
