--- loop/group: several functions as tasks: all of them, or the first that succeeds.

local errors = require "oaichat.errors"
local task_of = require "oaichat.loop.task"

local unpack = table.unpack or unpack

local M = {}

--- Runs functions as tasks and waits for all.
--- @param functions function[]
--- @return table results the first value of each, errs the err of each that failed
function M.gather(scheduler, functions)
  local started, results, errs = {}, {}, {}
  local me = task_of.current()
  for i, fn in ipairs(functions) do
    started[i] = scheduler:spawn(fn)
    started[i]._observed = true
  end
  for i, task in ipairs(started) do
    if me and me._canceled then task:cancel() end
    if not me or task._done or not me._told then
      local value, _, err = task:wait()
      results[i], errs[i] = value, err
      if me and me._canceled then task:cancel() end
    else
      errs[i] = errors.new { kind = "canceled", code = "canceled" }
    end
  end
  return results, errs
end

local function any_done(list)
  for _, task in ipairs(list) do
    if task._done then return true end
  end
  return false
end

-- Waits until one of the tasks has ended.
local function await_any(scheduler, list)
  local current = task_of.current()
  if not current then
    local function enough() return any_done(list) end
    while not enough() do
      local ok, why = scheduler:_turn(enough)
      if not ok then return nil, why end
    end
    return true
  end
  for _, task in ipairs(list) do task._waiters[#task._waiters + 1] = current end
  task_of.park(current, list)
  return true
end

local function succeeded(task)
  local out = task._results
  return task._ok and not (out[1] == nil and errors.is(out[3]))
end

--- Runs functions as tasks; the first that succeeds wins, the others are canceled.
--- @param functions function[]
--- @return any ... the winner's values; nil, message, err of the last when all failed
function M.race(scheduler, functions)
  if not functions[1] then errors.misuse("race: at least one function expected") end
  local running, winner, last = {}, nil, nil
  for i, fn in ipairs(functions) do
    running[i] = scheduler:spawn(fn)
    running[i]._observed = true
  end
  while running[1] and not winner do
    local ok, why = await_any(scheduler, running)
    local me = task_of.current()
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

return M
