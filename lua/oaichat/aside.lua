--- aside: calls a user's function that may wait in a task of its own, so that a cancel
--- of who waits for it ends it at once, whatever it waits for.

local M = {}

--- @param engine oaichat.Scheduler
--- @param owner table its field `aside` is the task meanwhile; `canceled` says that its cancel has ended it
--- @return oaichat.Task|nil task that has ended; nil: canceled
function M.call(engine, owner, fn, ...)
  local task = engine:spawn(fn, ...)
  task._observed, owner.aside = true, task
  task:wait()
  owner.aside = nil
  if not owner.canceled and task:done() then return task end
  task:cancel() -- the owner was canceled, or who waits for it
  return nil
end

return M
