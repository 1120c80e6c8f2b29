--- observe: calls what a user gave to be told: `log`, hooks, callbacks. What they raise
--- goes to the log and nowhere else.

local errors = require "oaichat.errors"

local M = {}

--- Tells the log, where there is one.
--- @param log fun(level: string, event: string, fields: table)|nil
--- @param level "debug"|"warn"|"error"
--- @param event string
--- @param fields table
function M.tell(log, level, event, fields)
  if log then pcall(log, level, event, fields) end
end

--- Calls a user's function.
--- @param log function|nil
--- @param event string what the log is told of a raise
--- @param fn function|nil
--- @return boolean fine it did not raise
--- @return any why what it raised
function M.call(log, event, fn, ...)
  if not fn then return true end
  local ok, why = pcall(fn, ...)
  if not ok then M.tell(log, "error", event, { error = errors.text(why) }) end
  return ok, why
end

return M
