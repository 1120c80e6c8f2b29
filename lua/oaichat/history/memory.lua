--- history/memory: conversations in a table of this process: for tests, and for
-- hosts that keep nothing. Messages are kept as JSON, so that nobody shares a table
-- with the store and it keeps exactly what the others keep.

local common = require "oaichat.history.common"
local tables = require "oaichat.tables"

local M = {}

local Store = {}
Store.__index = Store
Store.__name = "oaichat.history.memory"

local Lock = {}
Lock.__index = Lock

-- The input of an open turn becomes part of the conversation.
local function fold(entry)
  tables.add(entry.texts, entry.open or {})
  entry.open = nil
end

local function write(store, op, id, version, messages, meta)
  common.check_open(store, op)
  local texts, text, err = common.prepare(id, version, messages, meta)
  if not texts then return nil, text, err end
  local entry = store._entries[id]
  local have = entry and entry.version or 0
  if have ~= version then return common.conflict(id, have, version) end
  local closes = op == "commit" or op == "abort"
  if closes and not (entry and entry.open) then common.no_turn(id, op) end
  entry = entry or { version = common.first_version(), texts = {}, meta = common.merge(), created = common.now() }
  if op == "replace" then entry.texts = {} end
  if closes or op == "replace" then entry.open = nil else fold(entry) end
  entry.open = texts
  if op ~= "begin" then fold(entry) end
  entry.meta = common.merge(entry.meta, meta)
  entry.version, entry.updated = entry.version + 1, common.now()
  store._entries[id] = entry
  return entry.version
end

common.writers(Store, write)

local function all_of(entry)
  return tables.add(tables.add({}, entry.texts), entry.open or {})
end

--- @param id string
--- @return table|nil record nil alone: there is none
function Store:load(id)
  local ok, text, err = common.enter(self, "load", id)
  if not ok then return nil, text, err end
  local entry = self._entries[id]
  if not entry then return nil end
  local messages
  messages, text, err = common.decode(all_of(entry))
  if not messages then return nil, text, err end
  local record = {
    id = id, version = entry.version, messages = messages, meta = common.merge(entry.meta),
    created = entry.created, updated = entry.updated,
  }
  if entry.open then common.mark(record) end
  return record
end

local function sorted(entries)
  local ids = {}
  for id in pairs(entries) do ids[#ids + 1] = id end
  table.sort(ids)
  return ids
end

--- @param opts table|nil prefix, user, limit, after
--- @return table[] rows, string|nil next_after
function Store:list(opts)
  common.check_open(self, "list")
  return common.page(sorted(self._entries), common.check_options(opts, common.LIST), function(id)
    local entry = self._entries[id]
    return {
      id = id, version = entry.version, count = #entry.texts + #(entry.open or {}), updated = entry.updated,
      meta = common.merge(entry.meta),
    }
  end)
end

--- @param text string words, all of which must be there
--- @param opts table|nil user, limit
--- @return table[] found
function Store:search(text, opts)
  common.check_open(self, "search")
  opts = common.check_options(opts, common.SEARCH)
  return common.search(sorted(self._entries), text, opts, function(id)
    local entry = self._entries[id]
    return (not opts.user or entry.meta.user == opts.user) and all_of(entry) or nil
  end)
end

--- @return boolean|nil there_was_one, string|nil message, oaichat.Error|nil err
function Store:delete(id)
  local ok, text, err = common.enter(self, "delete", id)
  if not ok then return nil, text, err end
  local had = self._entries[id] ~= nil
  self._entries[id] = nil
  return had
end

--- Exclusive within this process, which is all that sees the store.
--- @param id string
--- @param seconds number|nil after which it may be taken over, 30 by default
--- @return table|nil lock, string|nil message, oaichat.Error|nil err kind "conflict", code "locked"
function Store:lock(id, seconds)
  local ok, text, err = common.enter(self, "lock", id)
  if not ok then return nil, text, err end
  local held, now = self._locks[id], common.now()
  if held and held._until > now then return common.locked(id) end
  local lock = setmetatable({ _store = self, _id = id, _until = now + (seconds or 30) }, Lock)
  self._locks[id] = lock
  return lock
end

--- May be called again without harm.
function Lock:release()
  local locks = self._store._locks
  if locks[self._id] == self then locks[self._id] = nil end
end

--- Forgets everything.
function Store:close()
  self._closed, self._entries, self._locks = true, {}, {}
end

--- @return table store
function M.new(opts)
  common.check_options(opts, {})
  return setmetatable({ _entries = {}, _locks = {} }, Store)
end

return M
