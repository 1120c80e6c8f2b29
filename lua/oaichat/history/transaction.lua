--- history/transaction: statements and transactions over luasql, whose bindings differ
-- in little: failures as values, and a connection that was lost made anew. Knows
-- connections; not what the tables hold. A store has _con (or nil), _prefix, _dialect,
-- _given (the connection is the host's).

local errors = require "oaichat.errors"

local M = {}

local Failure = {}

-- Lets go of a connection that is dead.
local function forget(store)
  if not store._con or store._given then return end
  pcall(store._con.close, store._con)
  store._con = nil
end

local function broken(store, text, opening)
  text = tostring(text):gsub("^LuaSQL: ", ""):gsub("%s+", " ")
  local code, retryable, lost = store._dialect.classify(text, opening)
  if lost then forget(store) end
  return errors.new {
    kind = "storage", code = code, retryable = retryable or false,
    message = opening and store._dialect.closed or store._dialect.name .. " failed",
    detail = #text > 300 and text:sub(1, 300) .. "..." or text, lost = lost or nil,
  }
end

--- Raises within `atomic`, and nowhere else.
--- @param err oaichat.Error
function M.raise(err)
  error(setmetatable({ err = err }, Failure), 0)
end

--- A statement: the number of rows it changed, or its rows. "@" is the prefix, in the
--- template alone.
function M.run(store, template, ...)
  local text = template:gsub("@", store._prefix)
  if select("#", ...) > 0 then text = text:format(...) end
  local result, why = store._con:execute(text)
  if result == nil then M.raise(broken(store, why)) end
  if type(result) == "number" then return result end
  local rows = {}
  while true do
    local row
    row, why = result:fetch({}, "a")
    if not row then break end
    rows[#rows + 1] = row
  end
  result:close()
  if why then M.raise(broken(store, why)) end
  return rows
end

--- A text as a literal.
function M.quoted(store, text)
  return "'" .. store._con:escape((text:gsub("%z", " "))) .. "'"
end

-- ---- transactions -----------------------------------------------------------------

local function connected(store)
  if store._con then return true end
  local con, why = store._dialect.open(store)
  if not con then return errors.fail(broken(store, why, true)) end
  store._con = con
  return true
end

local function attempt(store, write, fn, ...)
  M.run(store, write and store._dialect.begin_write or store._dialect.begin_read)
  store._phase = "open"
  local value = fn(store, ...)
  store._phase = "commit"
  M.run(store, "COMMIT")
  return value
end

--- Runs fn(store, ...) in a transaction. What it raises by `raise` becomes the three
--- values of a failure; once more from the start where the connection was lost before
--- the end.
function M.atomic(store, write, fn, ...)
  for try = 1, 2 do
    local ok, text, err = connected(store)
    if not ok then return nil, text, err end
    store._phase = nil
    local fine, value = pcall(attempt, store, write, fn, ...)
    if fine then return value end
    if store._con and store._phase then store._con:execute "ROLLBACK" end
    if getmetatable(value) ~= Failure then error(value, 0) end
    err = value.err
    if store._phase == "commit" then err.sent = true end
    if try == 2 or not err.lost or err.sent or store._given then return errors.fail(err) end
  end
end

return M
