--- history/redis: conversations in Redis, for replicas that share nothing else. Every
-- write is one script, so that nobody sees half of it; it never blocks the host. A
-- write that was lost on its way back is known again by its token, so that it may be
-- said twice. Times and versions are by the server's clock.
--
-- Keys, all behind the prefix: c:ID a hash (version, times, user, open, count), m:ID the
-- list of its messages, o:ID the input of an open turn, x:ID its meta, l:ID its lock;
-- ids and u:USER sorted sets of ids, top the highest version that was ever deleted.
-- In a cluster all have to be in one slot: prefix = "{oaichat}:".
-- Search reads conversations in the order of their ids, `scan` of them at most.

local common = require "oaichat.history.common"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"
local resp = require "oaichat.resp"
local scripts = require "oaichat.history.redis_scripts"
local tables = require "oaichat.tables"

local M = {}

--- Conversations that a search reads at most.
M.SCAN = 10000
local PAGE = 100 -- ids of one script of list, at most
local BATCH = 16 -- conversations that search reads at a time
local BYTES = 512 * 1024 * 1024 -- of one conversation

local Store = {}
Store.__index = Store
Store.__name = "oaichat.history.redis"

local Lock = {}
Lock.__index = Lock

local AGAIN = { idempotent = true }

local function keys_of(store, id)
  local p = store._prefix
  return { p .. "c:" .. id, p .. "m:" .. id, p .. "o:" .. id, p .. "x:" .. id, p .. "ids", p .. "top" }
end

-- ---- meta -----------------------------------------------------------------------

-- The names and values of a change as the script takes them, and what becomes of the
-- index of users.
local function meta_args(meta)
  local out, mode, user = {}, "keep", ""
  for name, value in pairs(meta or {}) do
    out[#out + 1] = name
    out[#out + 1] = value == json.null and "" or assert(json.encode(value))
    if name == "user" then
      mode, user = "remove", ""
      if type(value) == "string" then mode, user = "set", value end
    end
  end
  return out, mode, user
end

local function meta_of(flat)
  local meta = json.object {}
  for i = 1, #flat, 2 do
    local value, why = json.decode(flat[i + 1])
    if value == nil then
      return common.fail("corrupt", "the meta of a conversation is not what was written: " .. why)
    end
    meta[flat[i]] = value
  end
  return meta
end

-- ---- writing --------------------------------------------------------------------

-- The server was allowed to drop keys, one of them ours.
local function evicted(id)
  return common.fail("corrupt", ("messages of conversation %s are gone from Redis: is its maxmemory-policy noeviction?")
    :format(id))
end

local function write(store, op, id, version, messages, meta)
  common.check_open(store, op)
  local texts, text, err = common.prepare(id, version, messages, meta)
  if not texts then return nil, text, err end
  local change, mode, user = meta_args(meta)
  local args = {
    op, id, ("%.0f"):format(version), core.random(9), ("%.0f"):format(store._expire * 1000), store._prefix .. "u:",
    mode, user, #texts,
  }
  tables.add(tables.add(args, texts), change)
  local reply
  reply, text, err = store._client:eval(scripts.WRITE, keys_of(store, id), args, AGAIN)
  if not reply then return nil, text, err end
  local have = math.floor(tonumber(reply[2]))
  if reply[1] == "done" then return have end
  if reply[1] == "conflict" then return common.conflict(id, have, version) end
  if reply[1] == "corrupt" then return evicted(id) end
  common.no_turn(id, op)
end

common.writers(Store, write)

-- ---- reading --------------------------------------------------------------------

-- nil alone: there is none.
local function read(store, id)
  local reply, text, err = store._client:eval(scripts.READ, keys_of(store, id), {}, AGAIN)
  if reply == nil then return nil, text, err end
  if reply == resp.null then return nil end
  local texts = tables.add(reply[2], reply[3])
  if reply[1][5] ~= tostring(#texts) then return evicted(id) end
  return reply, texts
end

local function record_of(id, reply, texts)
  local head = reply[1]
  local messages, text, err = common.decode(texts)
  if not messages then return nil, text, err end
  local meta
  meta, text, err = meta_of(reply[4])
  if not meta then return nil, text, err end
  local record = {
    id = id, version = math.floor(tonumber(head[1])), messages = messages, meta = meta, created = tonumber(head[2]),
    updated = tonumber(head[3]),
  }
  if head[4] == "1" then common.mark(record) end
  return record
end

--- @param id string
--- @return table|nil record nil alone: there is none
function Store:load(id)
  local ok, text, err = common.enter(self, "load", id)
  if not ok then return nil, text, err end
  local reply, texts, failure = read(self, id)
  if failure then return nil, texts, failure end
  if not reply then return nil end
  return record_of(id, reply, texts)
end

-- Calls each(row) in the order of ids until it gives true; it needs about `n` rows.
local function walk(store, opts, n, each)
  n = math.max(1, math.ceil(math.min(n, PAGE)))
  local prefix = opts.prefix or ""
  local from, to = prefix == "" and "-" or "[" .. prefix, prefix == "" and "+" or "(" .. prefix .. "\255"
  if opts.after and opts.after >= prefix then from = "(" .. opts.after end
  local index = store._prefix .. (opts.user and "u:" .. opts.user or "ids")
  while true do
    local page, text, err = store._client:eval(scripts.LIST, { index }, { store._prefix, from, to, n }, AGAIN)
    if not page then return nil, text, err end
    for _, one in ipairs(page) do
      from = "(" .. one[1]
      if one[2] then
        local meta
        meta, text, err = meta_of(one[5])
        if not meta then return nil, text, err end
        local row = {
          id = one[1], version = math.floor(tonumber(one[2])), updated = tonumber(one[3]), count = one[4], meta = meta,
        }
        if (not opts.user or meta.user == opts.user) and each(row) then return true end
      end
    end
    if #page < n then return true end
  end
end

--- @param opts table|nil prefix, user, limit, after
--- @return table[]|nil rows, string|nil next_after, oaichat.Error|nil err
function Store:list(opts)
  common.check_open(self, "list")
  opts = common.check_options(opts, common.LIST)
  local rows, limit, next_after = {}, opts.limit or 100, nil
  local ok, text, err = walk(self, opts, limit + 1, function(row)
    if #rows >= limit then
      next_after = rows[#rows] and rows[#rows].id
      return true
    end
    rows[#rows + 1] = row
  end)
  if not ok then return nil, text, err end
  return rows, next_after
end

-- Looks into a batch of conversations.
local function look(store, ids, words, limit, out)
  for _, id in ipairs(ids) do
    local reply, texts, err = read(store, id)
    if err then return nil, texts, err end
    if reply and common.collect(out, id, texts, words, limit) then break end
  end
  return true
end

--- Reads at most `scan` conversations.
--- @param text string words, all of which must be there
--- @param opts table|nil user, limit
--- @return table[]|nil found, string|nil message, oaichat.Error|nil err
function Store:search(text, opts)
  common.check_open(self, "search")
  opts = common.check_options(opts, common.SEARCH)
  local words, out, limit = common.words(text), {}, opts.limit or 20
  if #words == 0 then return out end
  local after, seen = nil, 0
  repeat
    local ids = {}
    local ok, why, err = walk(self, { user = opts.user, after = after }, BATCH, function(row)
      ids[#ids + 1] = row.id
      return #ids >= BATCH
    end)
    if not ok then return nil, why, err end
    ok, why, err = look(self, ids, words, limit, out)
    if not ok then return nil, why, err end
    after, seen = ids[#ids], seen + #ids
  until #ids < BATCH or #out >= limit or seen >= self._scan
  return out
end

-- ---- the rest -------------------------------------------------------------------

--- @return boolean|nil there_was_one, string|nil message, oaichat.Error|nil err
function Store:delete(id)
  local ok, text, err = common.enter(self, "delete", id)
  if not ok then return nil, text, err end
  local reply
  reply, text, err = self._client:eval(scripts.DELETE, keys_of(self, id), { id, self._prefix .. "u:" }, AGAIN)
  if not reply then return nil, text, err end
  return reply == 1
end

--- Exclusive among all that share the server.
--- @param id string
--- @param seconds number|nil after which it is free again, 30 by default
--- @return table|nil lock, string|nil message, oaichat.Error|nil err kind "conflict", code "locked"
function Store:lock(id, seconds)
  local ok, text, err = common.enter(self, "lock", id)
  if not ok then return nil, text, err end
  local lock = setmetatable({ _store = self, _key = self._prefix .. "l:" .. id, _token = core.random(9) }, Lock)
  local ms = math.max(1, math.floor((seconds or 30) * 1000))
  local reply
  reply, text, err = self._client:eval(scripts.LOCK, { lock._key }, { lock._token, ms }, AGAIN)
  if not reply then return nil, text, err end
  if reply ~= 1 then return common.locked(id) end
  return lock
end

--- May be called again without harm; waits as a call does.
function Lock:release()
  if self._released or self._store._closed then return end
  self._released = true
  self._store._client:eval(scripts.RELEASE, { self._key }, { self._token }, AGAIN)
end

--- Closes the client that it made.
function Store:close()
  if self._closed then return end
  self._closed = true
  if self._own then self._client:close() end
end

local KNOWN = {
  url = "string", client = "table", prefix = "string", expire = "number", scan = "number", username = "string",
  password = "string|function", database = "number", ca_file = "string", timeout = "number",
  connect_timeout = "number", engine = "userdata",
}

--- @param opts table url (tcp://127.0.0.1:6379 by default) with username, password, database, ca_file, timeout,
---   connect_timeout as resp.new has them, or client: one of resp.new; prefix "oaichat:"; expire: seconds after the
---   last write when a conversation goes by itself; scan: how many conversations a search reads
--- @return table|nil store, string|nil message, oaichat.Error|nil err
function M.new(opts)
  opts = opts or {}
  options.check(opts, KNOWN)
  local expire = opts.expire or 0
  if expire < 0 or expire ~= expire or expire > 1e10 then errors.misuse "expire: seconds expected" end
  local client = opts.client
  if not client then
    local text, err
    client, text, err = resp.new {
      url = opts.url or "tcp://127.0.0.1:6379", username = opts.username, password = opts.password,
      database = opts.database, ca_file = opts.ca_file, timeout = opts.timeout, connect_timeout = opts.connect_timeout,
      engine = opts.engine, limits = { bytes = BYTES },
    }
    if not client then return nil, text, err end
  end
  return setmetatable({
    _client = client, _own = client ~= opts.client, _prefix = opts.prefix or "oaichat:", _expire = expire,
    _scan = opts.scan or M.SCAN,
  }, Store)
end

return M
