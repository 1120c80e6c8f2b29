--- history/postgres: conversations in PostgreSQL, for replicas that share nothing else.
-- A write takes an advisory lock of its conversation; search is PostgreSQL's own, by the
-- beginnings of words, in any language alike ("simple"), over the first 100,000
-- characters of a message. Needs luasql.postgres. libpq blocks: under luv and tick the
-- store raises unless allow_blocking = true.

local luasql = require "oaichat.luasql"
local options = require "oaichat.options"
local sql = require "oaichat.history.sql"

local M = {}

local Postgres = {
  name = "PostgreSQL", kind = "postgres", closed = "PostgreSQL could not be reached", begin_write = "BEGIN",
  begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
  clock = "extract(epoch FROM clock_timestamp())",
}

-- What the server and libpq say, in English, to our codes: code, try again, connection lost.
local LOST = { "unavailable", true, true }
local AWAY = { "unavailable", true }
local SAYS = {
  { "server closed the connection", LOST }, { "no connection to the server", LOST }, { "terminating connection", LOST },
  { "connection not open", LOST }, { "SSL connection has been closed", LOST }, { "SSL SYSCALL", LOST },
  { "could not receive data", LOST }, { "could not send data", LOST },
  { "authentication failed", { "unavailable" } }, { "permission denied", { "unavailable" } },
  { "could not connect", AWAY }, { "connection to server", AWAY }, { "the database system is", AWAY },
  { "too many clients", AWAY }, { "deadlock detected", AWAY }, { "timeout", AWAY }, { "could not serialize", AWAY },
  { "No space left", { "full" } }, { "disk full", { "full" } }, { "read-only transaction", { "read_only" } },
  { "invalid page", { "corrupt" } },
}

function Postgres.classify(text, opening)
  for _, one in ipairs(SAYS) do
    if text:find(one[1], 1, true) then return one[2][1], one[2][2], one[2][3] end
  end
  if opening then return AWAY[1], AWAY[2] end
  return "io"
end

local SETTINGS = "SET client_encoding = 'UTF8'; SET client_min_messages = error; SET standard_conforming_strings = on; "
  .. "SET lock_timeout = %s; SET statement_timeout = %s"

function Postgres.open(store)
  local opts = store._opts
  local password = opts.password
  if type(password) == "function" then password = password() end
  local con, why = store._env:connect(opts.database or "", opts.username, password, opts.host, opts.port)
  if not con then return nil, why end
  local milliseconds = ("%.0f"):format(math.min(2e9, (opts.timeout or 5) * 1000))
  local ok
  ok, why = con:execute(SETTINGS:format(milliseconds, milliseconds))
  con:execute "SET lc_messages = 'C'" -- superusers may; others get the server's language
  if not ok then
    con:close()
    return nil, why
  end
  return con
end

function Postgres.guard(store, run, id)
  run(store, "SELECT pg_advisory_xact_lock(hashtext('@'), hashtext('%s'))", id)
end

local TABLES = {
  [[CREATE TABLE @conversations (id TEXT COLLATE "C" PRIMARY KEY, version BIGINT NOT NULL,
    created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL, meta TEXT NOT NULL, owner TEXT,
    open INTEGER NOT NULL, count INTEGER NOT NULL)]],
  [[CREATE INDEX @by_owner ON @conversations (owner, id) WHERE owner IS NOT NULL]],
  [[CREATE TABLE @messages (id TEXT COLLATE "C" NOT NULL, position INTEGER NOT NULL, open INTEGER NOT NULL,
    text TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (id, position))]],
  [[CREATE INDEX @words ON @messages USING gin (to_tsvector('simple', left(body, 100000)))]],
  [[CREATE TABLE @locks (id TEXT COLLATE "C" PRIMARY KEY, token TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)]],
}

function Postgres.tables(store, run)
  for _, text in ipairs(TABLES) do run(store, text) end
end

function Postgres.search(store, words, quoted)
  local parts = {}
  for i, word in ipairs(words) do
    -- within the quotes of a tsquery both ' and \ are doubled
    parts[i] = "'" .. word:gsub("\\", "\\\\"):gsub("'", "''") .. "':*"
  end
  return ("to_tsvector('simple', left(m.body, 100000)) @@ to_tsquery('simple', %s)"):format(
    quoted(store, table.concat(parts, " & "))), true
end

local KNOWN = {
  database = "string", username = "string", password = "string|function", host = "string", port = "number",
  connection = "userdata", prefix = "string", timeout = "number", allow_blocking = "boolean",
}

--- @param opts table database: its name, or a conninfo or URI of libpq; username, password (string or function),
---   host (a name, or the folder of a socket), port; or connection: an open one of luasql, which stays open; prefix of
---   the tables "oaichat_"; timeout: seconds a statement may take, 5; allow_blocking
--- @return table|nil store, string|nil message, oaichat.Error|nil err
function M.new(opts)
  options.check(opts, KNOWN)
  local env
  if not opts.connection then
    local text, err
    env, text, err = luasql.driver("history.postgres", "postgres")
    if not env then return nil, text, err end
  end
  return sql.new(Postgres, opts, env)
end

return M
