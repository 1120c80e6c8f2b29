--- luasql: how the bindings of luasql are found, and how an SQLite file is opened and
-- fails. Knows no tables; whose they are says what stands in them.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

--- A binding of luasql.
--- @param what string who needs it: "history.sqlite"
--- @param name string luasql's name of it
--- @return userdata|nil env, string|nil message, oaichat.Error|nil err kind "config", code "missing"
function M.driver(what, name)
  local found, luasql = pcall(require, "luasql." .. name)
  if found then return luasql[name]() end
  local text = "%s needs luasql.%s: apt install lua-sql-%s, or luarocks install luasql-%s"
  return errors.fail { kind = "config", code = "missing", message = text:format(what, name, name, name) }
end

-- What SQLite says (sqlite3.c, sqlite3ErrStr) to our codes.
local SAYS = {
  { "malformed", "corrupt" }, { "not a database", "corrupt" }, { "disk is full", "full" }, { "readonly", "read_only" },
  { "locked", "unavailable", true }, { "too big", "too_large" }, { "unable to open", "io" },
}

--- @param text string of SQLite
--- @return string code, boolean|nil retryable
function M.classify(text)
  for _, one in ipairs(SAYS) do
    if text:find(one[1], 1, true) then return one[2], one[3] end
  end
  return "io"
end

local function pragma(con, text)
  local cursor, why = con:execute(text)
  if not cursor then return nil, why end
  if type(cursor) ~= "number" then
    local ok, err = cursor:fetch()
    cursor:close()
    if not ok and err then return nil, err end
  end
  return true
end

-- Two who open a new file at once: SQLite tells one of them at the change to WAL that it
-- is locked, without a wait (https://www.sqlite.org/wal.html, "Sometimes Queries Return
-- SQLITE_BUSY In WAL Mode"). To begin a write does wait.
local function write_ahead(con, timeout)
  local stop = core.now() + timeout
  while true do
    local ok, why = pragma(con, "PRAGMA journal_mode = WAL")
    if ok or not why:find("locked", 1, true) or core.now() >= stop then return ok, why end
    if con:execute "BEGIN IMMEDIATE" then con:execute "COMMIT" end
  end
end

-- A new file is for this user alone; what SQLite puts beside it has the same rights.
-- One that exists is left alone: to close it would drop the locks of this process.
local function reserve(path)
  if path:find "^:" or path:find "^file:" then return end
  local file = core.file.open(path, "create")
  if file then file:close() end
end

--- Opens an SQLite file, WAL.
--- @param env userdata of driver
--- @param path string
--- @param timeout number seconds to wait for another writer
--- @param ... string further pragmas: "synchronous = normal"
--- @return userdata|nil connection, string|nil why
function M.open(env, path, timeout, ...)
  reserve(path)
  local con, why = env:connect(path)
  if not con then return nil, why end
  local ok
  ok, why = pragma(con, ("PRAGMA busy_timeout = %d"):format(math.min(1e9, math.floor(timeout * 1000))))
  if ok then ok, why = write_ahead(con, timeout) end
  for _, text in ipairs { ... } do
    if ok then ok, why = pragma(con, "PRAGMA " .. text) end
  end
  if not ok then
    con:close()
    return nil, why
  end
  return con
end

return M
