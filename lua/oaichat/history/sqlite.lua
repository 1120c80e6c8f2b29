--- history/sqlite: conversations in an SQLite file, for the processes of one machine.
-- WAL, each write on disk before it is told; full-text search where FTS5 has trigrams
-- (3.34), else by LIKE. Needs luasql.sqlite3. SQLite blocks while it works: under luv
-- and tick the store raises unless allow_blocking = true.

local errors = require "oaichat.errors"
local luasql = require "oaichat.luasql"
local options = require "oaichat.options"
local sql = require "oaichat.history.sql"

local M = {}

local Sqlite = {
  name = "SQLite", kind = "sqlite", closed = "the SQLite database could not be opened",
  begin_read = "BEGIN", begin_write = "BEGIN IMMEDIATE", classify = luasql.classify,
}

function Sqlite.open(store)
  local opts = store._opts
  return luasql.open(store._env, opts.path, opts.timeout or 5, "synchronous = " .. (opts.synchronous or "full"))
end

-- BEGIN IMMEDIATE is the lock.
function Sqlite.guard() end

local TABLES = {
  [[CREATE TABLE @conversations (id TEXT PRIMARY KEY, version INTEGER NOT NULL, created REAL NOT NULL,
    updated REAL NOT NULL, meta TEXT NOT NULL, owner TEXT, open INTEGER NOT NULL, count INTEGER NOT NULL)]],
  [[CREATE INDEX @by_owner ON @conversations (owner, id) WHERE owner IS NOT NULL]],
  [[CREATE TABLE @messages (n INTEGER PRIMARY KEY, id TEXT NOT NULL, position INTEGER NOT NULL, open INTEGER NOT NULL,
    text TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (id, position))]],
  [[CREATE TABLE @locks (id TEXT PRIMARY KEY, token TEXT NOT NULL, expires REAL NOT NULL)]],
}

-- https://www.sqlite.org/fts5.html#external_content_tables
local INDEX = {
  [[CREATE VIRTUAL TABLE @words USING fts5(body, content='@messages', content_rowid='n', tokenize='trigram')]],
  [[CREATE TRIGGER @words_add AFTER INSERT ON @messages BEGIN
    INSERT INTO @words (rowid, body) VALUES (new.n, new.body); END]],
  [[CREATE TRIGGER @words_drop AFTER DELETE ON @messages BEGIN
    INSERT INTO @words (@words, rowid, body) VALUES ('delete', old.n, old.body); END]],
}

function Sqlite.tables(store, run)
  for _, text in ipairs(TABLES) do run(store, text) end
  -- whether the library has what the index needs shows when it is tried
  if store._opts.fts == false or not store._con:execute((INDEX[1]:gsub("@", store._prefix))) then return end
  run(store, INDEX[2])
  run(store, INDEX[3])
end

local function indexed(store)
  if store._indexed == nil then
    local cursor = store._con:execute(("SELECT name FROM sqlite_master WHERE name = '%swords'"):format(store._prefix))
    store._indexed = cursor and cursor:fetch() ~= nil or false
    if cursor then cursor:close() end
  end
  return store._indexed
end

local function characters(word)
  return select(2, word:gsub("[^\128-\191]", ""))
end

function Sqlite.search(store, words, quoted)
  local long, parts = {}, {}
  for _, word in ipairs(words) do
    if indexed(store) and characters(word) >= 3 then
      long[#long + 1] = '"' .. word:gsub('"', '""') .. '"'
    else
      local pattern = "%" .. word:gsub("[\\%%_]", "\\%0") .. "%"
      parts[#parts + 1] = ("m.body LIKE %s ESCAPE '\\'"):format(quoted(store, pattern))
    end
  end
  if long[1] then
    local index = store._prefix .. "words"
    parts[#parts + 1] = ("m.n IN (SELECT rowid FROM %s WHERE %s MATCH %s)"):format(index, index,
      quoted(store, table.concat(long, " ")))
  end
  return table.concat(parts, " AND "), true
end

local KNOWN = {
  path = "string", connection = "userdata", prefix = "string", timeout = "number", synchronous = "string",
  fts = "boolean", allow_blocking = "boolean",
}

--- @param opts table path, or connection: an open one of luasql, which stays open; prefix of the tables "oaichat_";
---   timeout: seconds to wait for another writer, 5; synchronous "full" or "normal" (may lose the last writes when
---   the machine dies); fts = false: no index; allow_blocking
--- @return table|nil store, string|nil message, oaichat.Error|nil err
function M.new(opts)
  options.check(opts, KNOWN)
  if (opts.path == nil) == (opts.connection == nil) then errors.misuse "one of path and connection expected" end
  if opts.path and (opts.path == "" or opts.path:find "%z") then errors.misuse "path: a file's name expected" end
  if opts.synchronous and opts.synchronous ~= "full" and opts.synchronous ~= "normal" then
    errors.misuse "synchronous: \"full\" or \"normal\" expected"
  end
  local env
  if opts.path then
    local text, err
    env, text, err = luasql.driver("history.sqlite", "sqlite3")
    if not env then return nil, text, err end
  end
  return sql.new(Sqlite, opts, env)
end

return M
