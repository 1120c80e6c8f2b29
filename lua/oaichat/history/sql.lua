--- history/sql: conversations in tables, over luasql: what SQLite and PostgreSQL have in
-- common. A dialect says how each opens, locks, searches and fails. luasql has no bound
-- parameters and cuts texts at NUL: texts are escaped, and messages stand as JSON, where
-- NUL is \u0000; times are doubles, versions integers below 2^53.
--
-- Tables, all behind the prefix: state (schema, top: the highest version that was ever
-- deleted), conversations, messages (open = 1: the input of an open turn), locks.

local common = require "oaichat.history.common"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local transaction = require "oaichat.history.transaction"
local wait = require "oaichat.wait"

local atomic, quoted, raise, run = transaction.atomic, transaction.quoted, transaction.raise, transaction.run

local M = {}

--- The version of the tables.
M.SCHEMA = 1

local Store = {}
Store.__index = Store
Store.__name = "oaichat.history.sql"

local Lock = {}
Lock.__index = Lock

-- Messages go in so many bytes at a time, so that no statement grows without an end.
local PIECE = 256 * 1024

local function integer(value)
  return math.floor(tonumber(value))
end

local function enter(store, name)
  common.check_open(store, name)
  if not store._allow_blocking then wait.blocks("history." .. store._dialect.kind) end
end

-- ---- writing --------------------------------------------------------------------

local HEAD = "SELECT version, created, updated, meta, open, count FROM @conversations WHERE id = '%s'"

local function insert(store, id, at, texts, bodies, open)
  local values, size = {}, 0
  for i, text in ipairs(texts) do
    values[#values + 1] = ("('%s', %d, %d, %s, %s)"):format(id, at + i, open, quoted(store, text),
      quoted(store, bodies[i]))
    size = size + #values[#values]
    if size >= PIECE or i == #texts then
      run(store, "INSERT INTO @messages (id, position, open, text, body) VALUES %s", table.concat(values, ", "))
      values, size = {}, 0
    end
  end
end

-- The number of the last message that stays.
local function clear(store, op, id, count)
  if op == "replace" then
    run(store, "DELETE FROM @messages WHERE id = '%s'", id)
    return 0
  elseif op == "commit" or op == "abort" then
    return count - run(store, "DELETE FROM @messages WHERE id = '%s' AND open = 1", id)
  end
  run(store, "UPDATE @messages SET open = 0 WHERE id = '%s' AND open = 1", id)
  return count
end

local function first_version(store)
  local top = integer(run(store, "SELECT top FROM @state")[1].top)
  return math.max(common.first_version(), top + 1)
end

local function decoded(store, text, id)
  local meta = json.decode(text)
  if type(meta) == "table" then return meta end
  raise(errors.new {
    kind = "storage", code = "corrupt",
    message = ("the meta of conversation %s in %s is not what was written"):format(id, store._dialect.name),
  })
end

local function change(store, op, id, version, texts, bodies, meta)
  store._dialect.guard(store, run, id)
  local head = run(store, HEAD, id)[1]
  local have = head and integer(head.version) or 0
  if have ~= version then return { conflict = have } end
  local open = head and integer(head.open) == 1
  if (op == "commit" or op == "abort") and not open then return { no_turn = true } end

  local count = head and clear(store, op, id, integer(head.count)) or 0
  insert(store, id, count, texts, bodies, op == "begin" and 1 or 0)
  count = count + #texts
  local now, next_version = common.now(), (head and have or first_version(store)) + 1
  local merged = common.merge(head and decoded(store, head.meta, id), meta)
  local user = type(merged.user) == "string" and quoted(store, merged.user) or "NULL"
  local text = quoted(store, assert(json.encode(merged)))
  local is_open = op == "begin" and 1 or 0
  if head then
    run(store, "UPDATE @conversations SET version = %.0f, updated = %.6f, meta = %s, owner = %s, open = %d, count = %d "
      .. "WHERE id = '%s'", next_version, now, text, user, is_open, count, id)
  else
    run(store, "INSERT INTO @conversations (id, version, created, updated, meta, owner, open, count) VALUES "
      .. "('%s', %.0f, %.6f, %.6f, %s, %s, %d, %d)", id, next_version, now, now, text, user, is_open, count)
  end
  return { version = next_version }
end

local function write(store, op, id, version, messages, meta)
  enter(store, op)
  local texts, text, err = common.prepare(id, version, messages, meta)
  if not texts then return nil, text, err end
  local bodies = {}
  for i, one in ipairs(messages) do bodies[i] = common.text(one) end
  local done
  done, text, err = atomic(store, true, change, op, id, version, texts, bodies, meta)
  if not done then return nil, text, err end
  if done.conflict then return common.conflict(id, done.conflict, version) end
  if done.no_turn then common.no_turn(id, op) end
  return done.version
end

common.writers(Store, write)

-- ---- reading --------------------------------------------------------------------

local function read(store, id)
  local head = run(store, HEAD, id)[1]
  if not head then return {} end
  local texts = {}
  for i, row in ipairs(run(store, "SELECT text FROM @messages WHERE id = '%s' ORDER BY position", id)) do
    texts[i] = row.text
  end
  return { head = head, texts = texts, meta = decoded(store, head.meta, id) }
end

--- @param id string
--- @return table|nil record nil alone: there is none
function Store:load(id)
  enter(self, "load")
  local ok, text, err = common.check_id(id)
  if not ok then return nil, text, err end
  local found
  found, text, err = atomic(self, false, read, id)
  if not found then return nil, text, err end
  local head = found.head
  if not head then return nil end
  local messages
  messages, text, err = common.decode(found.texts)
  if not messages then return nil, text, err end
  local record = {
    id = id, version = integer(head.version), messages = messages, meta = common.merge(found.meta),
    created = tonumber(head.created), updated = tonumber(head.updated),
  }
  if integer(head.open) == 1 then common.mark(record) end
  return record
end

local function list(store, opts, limit)
  local parts = { "WHERE 1 = 1" }
  if opts.user then parts[#parts + 1] = "AND owner = " .. quoted(store, opts.user) end
  if opts.after then parts[#parts + 1] = "AND id > " .. quoted(store, opts.after) end
  if opts.prefix and opts.prefix ~= "" then
    -- no character of an id is beyond DEL
    parts[#parts + 1] = ("AND id >= %s AND id < %s"):format(quoted(store, opts.prefix),
      quoted(store, opts.prefix .. "\127"))
  end
  parts[#parts + 1] = ("ORDER BY id LIMIT %.0f"):format(limit + 1)
  local rows = {}
  local found = run(store, "SELECT id, version, updated, meta, count FROM @conversations %s", table.concat(parts, " "))
  for i, row in ipairs(found) do
    rows[i] = {
      id = row.id, version = integer(row.version), updated = tonumber(row.updated), count = integer(row.count),
      meta = decoded(store, row.meta, row.id),
    }
  end
  return rows
end

--- @param opts table|nil prefix, user, limit, after
--- @return table[]|nil rows, string|nil next_after, oaichat.Error|nil err
function Store:list(opts)
  enter(self, "list")
  opts = common.check_options(opts, common.LIST)
  local limit = math.max(0, math.min(opts.limit or 100, 1e9))
  local rows, text, err = atomic(self, false, list, opts, limit)
  if not rows then return nil, text, err end
  if #rows <= limit then return rows end
  rows[#rows] = nil
  return rows, rows[#rows] and rows[#rows].id
end

local function search(store, words, opts, limit)
  local where, sure = store._dialect.search(store, words, quoted)
  if not where then return {} end
  if opts.user then where = where .. " AND c.owner = " .. quoted(store, opts.user) end
  local out = {}
  local rows = run(store, "SELECT m.id, m.position, m.text, m.body FROM @messages m "
    .. "JOIN @conversations c ON c.id = m.id WHERE %s ORDER BY m.id, m.position LIMIT %.0f", where, limit)
  for _, row in ipairs(rows) do
    local snippet = common.find(row.body, words)
    -- an index may know more of letters than we do
    if not snippet and sure then snippet = common.find(row.body, { "" }) end
    if snippet then
      local one = json.decode(row.text)
      out[#out + 1] = { id = row.id, index = integer(row.position), role = one and one.role, snippet = snippet }
    end
  end
  return out
end

--- @param text string words, all of which must be there
--- @param opts table|nil user, limit
--- @return table[]|nil found, string|nil message, oaichat.Error|nil err
function Store:search(text, opts)
  enter(self, "search")
  opts = common.check_options(opts, common.SEARCH)
  local words = common.words(type(text) == "string" and (text:gsub("%z", " ")) or text)
  if #words == 0 then return {} end
  return atomic(self, false, search, words, opts, math.max(0, math.min(opts.limit or 20, 1e9)))
end

-- ---- the rest -------------------------------------------------------------------

local function delete(store, id)
  store._dialect.guard(store, run, id)
  local head = run(store, HEAD, id)[1]
  if not head then return { had = false } end
  run(store, "DELETE FROM @messages WHERE id = '%s'", id)
  run(store, "DELETE FROM @conversations WHERE id = '%s'", id)
  local version = integer(head.version)
  run(store, "UPDATE @state SET top = %.0f WHERE top < %.0f", version, version)
  return { had = true }
end

--- @return boolean|nil there_was_one, string|nil message, oaichat.Error|nil err
function Store:delete(id)
  enter(self, "delete")
  local ok, text, err = common.check_id(id)
  if not ok then return nil, text, err end
  local done
  done, text, err = atomic(self, true, delete, id)
  if not done then return nil, text, err end
  return done.had
end

local function lock_row(store, id, token, seconds)
  store._dialect.guard(store, run, id)
  local clock = store._dialect.clock or ("%.6f"):format(common.now())
  run(store, "DELETE FROM @locks WHERE id = '%s' AND expires <= %s", id, clock)
  if run(store, "SELECT token FROM @locks WHERE id = '%s'", id)[1] then return { held = true } end
  run(store, "INSERT INTO @locks (id, token, expires) VALUES ('%s', '%s', %s + %.6f)", id, token, clock, seconds)
  return { held = false }
end

--- Exclusive among all that share the database.
--- @param id string
--- @param seconds number|nil after which it is free again, 30 by default
--- @return table|nil lock, string|nil message, oaichat.Error|nil err kind "conflict", code "locked"
function Store:lock(id, seconds)
  enter(self, "lock")
  local ok, text, err = common.check_id(id)
  if not ok then return nil, text, err end
  local token = core.random(9)
  local done
  done, text, err = atomic(self, true, lock_row, id, token, seconds or 30)
  if not done then return nil, text, err end
  if done.held then return common.locked(id) end
  return setmetatable({ _store = self, _id = id, _token = token }, Lock)
end

--- May be called again without harm.
function Lock:release()
  local store = self._store
  if self._released or store._closed then return end
  self._released = true
  atomic(store, true, function()
    run(store, "DELETE FROM @locks WHERE id = '%s' AND token = '%s'", self._id, self._token)
  end)
end

--- Closes the connection that it made.
function Store:close()
  if self._closed then return end
  self._closed = true
  if self._con and not self._given then pcall(self._con.close, self._con) end
  if self._env then pcall(self._env.close, self._env) end
  self._con = nil
end

-- ---- tables -----------------------------------------------------------------------

local function make(store)
  store._dialect.guard(store, run, "")
  run(store, "CREATE TABLE IF NOT EXISTS @state (version INTEGER NOT NULL, top BIGINT NOT NULL)")
  local have = run(store, "SELECT version FROM @state")[1]
  have = have and integer(have.version)
  if have and have > M.SCHEMA then
    raise(errors.new {
      kind = "storage", code = "corrupt",
      message = ("the tables in %s are of version %d, newer than this library's %d"):format(
        store._dialect.name, have, M.SCHEMA),
    })
  end
  if have then return true end
  store._dialect.tables(store, run)
  run(store, "INSERT INTO @state (version, top) VALUES (%d, 0)", M.SCHEMA)
  return true
end

--- A store over a dialect. Opens the database and makes its tables where they are not.
--- @param dialect table name, kind, open(store): a connection, or nil and why not; closed: what to say then;
---   classify(text, opening): code, retryable, lost; begin_read, begin_write, guard(store, run, id), tables(store,
---   run), search(store, words, quoted): what stands behind WHERE, and whether it alone decides; clock: its time in SQL
--- @param opts table prefix, connection, allow_blocking; more is the dialect's
--- @param env userdata|nil luasql's, where the store opens its connections itself
--- @return table|nil store, string|nil message, oaichat.Error|nil err
function M.new(dialect, opts, env)
  local prefix = opts.prefix or "oaichat_"
  if not prefix:find "^[%a_][%w_]*$" or #prefix > 30 then errors.misuse "prefix: letters, digits and _ expected" end
  local store = setmetatable({
    _dialect = dialect, _opts = opts, _env = env, _prefix = prefix, _con = opts.connection,
    _given = opts.connection ~= nil, _allow_blocking = opts.allow_blocking or false,
  }, Store)
  enter(store, "new")
  local ok, text, err = atomic(store, true, make)
  if not ok then
    store:close()
    return nil, text, err
  end
  return store
end

return M
