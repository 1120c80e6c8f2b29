--- cache/sqlite: answers in an SQLite file, for the processes of one machine, kept when
-- they end. What is too old is swept away as new ones come; what was put first goes first
-- when the file is full. Needs luasql.sqlite3. SQLite blocks while it works: under luv
-- and tick the cache raises unless allow_blocking = true.

local common = require "oaichat.cache.common"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local luasql = require "oaichat.luasql"
local options = require "oaichat.options"
local transaction = require "oaichat.history.transaction"
local wait = require "oaichat.wait"

local atomic, quoted, run = transaction.atomic, transaction.quoted, transaction.run

local M = {}

local Store = {}
Store.__index = Store
Store.__name = "oaichat.cache.sqlite"

-- What a row takes beside its texts, about.
local OVERHEAD = 300

-- So many are swept away at a time.
local SWEEP = 100

-- A newer version of the tables has another number in their names.
local TABLES = {
  [[CREATE TABLE IF NOT EXISTS @entries (key TEXT PRIMARY KEY, tenant TEXT NOT NULL, at REAL NOT NULL,
    expires REAL NOT NULL, size INTEGER NOT NULL, data TEXT NOT NULL)]],
  [[CREATE INDEX IF NOT EXISTS @by_age ON @entries (at)]],
  [[CREATE INDEX IF NOT EXISTS @by_end ON @entries (expires)]],
  [[CREATE INDEX IF NOT EXISTS @by_tenant ON @entries (tenant)]],
  [[CREATE TABLE IF NOT EXISTS @sums (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL,
    size INTEGER NOT NULL)]],
  [[INSERT OR IGNORE INTO @sums (one, entries, size) VALUES (1, 0, 0)]],
  [[CREATE TRIGGER IF NOT EXISTS @added AFTER INSERT ON @entries BEGIN
    UPDATE @sums SET entries = entries + 1, size = size + new.size; END]],
  [[CREATE TRIGGER IF NOT EXISTS @dropped AFTER DELETE ON @entries BEGIN
    UPDATE @sums SET entries = entries - 1, size = size - old.size; END]],
}

local Dialect = {
  name = "SQLite", closed = "the SQLite cache could not be opened", begin_read = "BEGIN",
  begin_write = "BEGIN IMMEDIATE", classify = luasql.classify,
}

function Dialect.open(store)
  local opts = store._opts
  return luasql.open(store._env, opts.path, opts.timeout or 5, "synchronous = normal", "secure_delete = on")
end

local function enter(store, name, key, tenant)
  common.enter(store, name, key, tenant)
  if not store._opts.allow_blocking then wait.blocks "cache.sqlite" end
end

local function sweep(store, now)
  run(store, "DELETE FROM @entries WHERE key IN (SELECT key FROM @entries WHERE expires < %.6f ORDER BY expires "
    .. "LIMIT %d)", now, SWEEP)
end

local function delete(store, where)
  return run(store, "DELETE FROM @entries " .. where)
end

local function find(store, key)
  return run(store, "SELECT tenant, at, data FROM @entries WHERE key = %s", quoted(store, key))[1] or false
end

-- Only the row that was read: another process may have put a new one.
local function drop(store, key, row)
  return run(store, "DELETE FROM @entries WHERE key = %s AND data = %s", quoted(store, key), quoted(store, row.data))
end

--- @param key string
--- @param tenant string|nil where given, only what was put for this one is found
--- @param now number|nil Unix seconds
--- @return table|nil raw nil alone: there is none
--- @return number|string|nil age in seconds; or the message
--- @return boolean|oaichat.Error|nil fresh: younger than ttl; or the error, kind "storage"
function Store:get(key, tenant, now)
  enter(self, "get", key, tenant)
  local row, why, err = atomic(self, false, find, key)
  if err then return nil, why, err end
  if not row or tenant and common.mark(tenant) ~= row.tenant then return nil end
  local at = tonumber(row.at)
  local age, fresh
  if at then age, fresh = common.age(self._ages, at, now or core.time()) end
  local raw = age and common.unpack(key, row.tenant, row.data)
  if raw then return raw, age, fresh end
  if at and age then atomic(self, true, drop, key, row) end
  return nil
end

local function shrink(store)
  local sums = run(store, "SELECT entries, size FROM @sums")[1]
  local over = tonumber(sums.entries) - store._limit
  while over > 0 or tonumber(sums.size) > store._bytes do
    local gone = run(store, "DELETE FROM @entries WHERE key IN (SELECT key FROM @entries ORDER BY at, rowid "
      .. "LIMIT %.0f)", math.max(1, math.ceil(over)))
    if gone == 0 then return end
    sums = run(store, "SELECT entries, size FROM @sums")[1]
    over = tonumber(sums.entries) - store._limit
  end
end

local function write(store, key, mark, text, now)
  local ages, id = store._ages, quoted(store, key)
  -- REPLACE would not tell the triggers
  run(store, "DELETE FROM @entries WHERE key = %s", id)
  sweep(store, now)
  run(store, "INSERT INTO @entries (key, tenant, at, expires, size, data) VALUES (%s, '%s', %.6f, %.6f, %d, %s)", id,
    mark, now, math.min(now + ages.ttl + ages.stale, 1e15), #key + #text + OVERHEAD, quoted(store, text))
  shrink(store)
  return true
end

--- @param key string
--- @param raw table of exchange:result()
--- @param tenant string|nil
--- @param now number|nil Unix seconds
--- @return true|nil, string|nil message, oaichat.Error|nil err kind "storage"
function Store:put(key, raw, tenant, now)
  enter(self, "put", key, tenant)
  local mark = common.mark(tenant)
  local text, why, err = common.pack(key, mark, raw)
  if not text then return nil, why, err end
  local size = #key + #text + OVERHEAD
  if size > self._bytes then
    atomic(self, true, delete, ("WHERE key = '%s'"):format(key)) -- what is there is an older answer
    return common.too_large(size, self._bytes)
  end
  return atomic(self, true, write, key, mark, text, now or core.time())
end

-- What was deleted stands in the log until it is written into the file.
local function checkpoint(store)
  if store._given or not store._con then return end
  local cursor = store._con:execute "PRAGMA wal_checkpoint(TRUNCATE)"
  if cursor and type(cursor) ~= "number" then
    cursor:fetch()
    cursor:close()
  end
end

local function forget(store, where)
  local count, why, err = atomic(store, true, delete, where)
  if not count then return nil, why, err end
  checkpoint(store)
  return count
end

--- Deletes what was put for a tenant, also from the file's free pages.
--- @param tenant string
--- @return integer|nil deleted, string|nil message, oaichat.Error|nil err kind "storage"
function Store:forget(tenant)
  enter(self, "forget", "-", tenant)
  return forget(self, ("WHERE tenant = '%s'"):format(common.mark(tenant)))
end

--- @return integer|nil deleted, string|nil message, oaichat.Error|nil err kind "storage"
function Store:clear()
  enter(self, "clear", "-")
  return forget(self, "WHERE 1 = 1")
end

local function sums_of(store)
  return run(store, "SELECT entries, size FROM @sums")[1]
end

--- @return integer|nil entries, integer|string bytes, oaichat.Error|nil err kind "storage"
function Store:size()
  enter(self, "size", "-")
  local sums, why, err = atomic(self, false, sums_of)
  if not sums then return nil, why, err end
  return math.floor(tonumber(sums.entries)), math.floor(tonumber(sums.size))
end

--- Closes the connection that it made.
function Store:close()
  if self._closed then return end
  self._closed = true
  if self._con and not self._given then pcall(self._con.close, self._con) end
  if self._env then pcall(self._env.close, self._env) end
  self._con = nil
end

local function make(store)
  for _, text in ipairs(TABLES) do run(store, text) end
  sweep(store, core.time())
  return true
end

local KNOWN = {
  path = "string", connection = "userdata", prefix = "string", entries = "number", bytes = "number", ttl = "number",
  stale = "number", timeout = "number", allow_blocking = "boolean",
}

--- @param opts table path, or connection: an open one of luasql, which stays open; entries: at most, 100000; bytes: at
---   most, 256e6; ttl: seconds for which an answer is as good as new, 3600; stale: seconds after that for which it is
---   better than none, 86400; prefix of the tables, "oaichat_cache"; timeout: seconds to wait for another writer, 5;
---   allow_blocking
--- @return table|nil store, string|nil message, oaichat.Error|nil err kind "config" or "storage"
function M.new(opts)
  options.check(opts, KNOWN)
  if (opts.path == nil) == (opts.connection == nil) then errors.misuse "one of path and connection expected" end
  if opts.path and (opts.path == "" or opts.path:find "%z") then errors.misuse "path: a file's name expected" end
  local prefix = opts.prefix or "oaichat_cache"
  if not prefix:find "^[%a_][%w_]*$" or #prefix > 30 then errors.misuse "prefix: letters, digits and _ expected" end
  local ages, why, err = common.ages(opts)
  if not ages then return nil, why, err end
  local env
  if opts.path then
    env, why, err = luasql.driver("cache.sqlite", "sqlite3")
    if not env then return nil, why, err end
  end
  local store = setmetatable({
    _dialect = Dialect, _opts = opts, _env = env, _prefix = ("%s%d_"):format(prefix, common.FORMAT),
    _con = opts.connection, _given = opts.connection ~= nil, _ages = ages, _limit = opts.entries or 100000,
    _bytes = opts.bytes or 256e6,
  }, Store)
  enter(store, "new", "-")
  local ok
  ok, why, err = atomic(store, true, make)
  if ok then return store end
  store:close()
  return nil, why, err
end

return M
