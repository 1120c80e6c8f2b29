--- history/memory: conversations in a table of this process: for tests, and for
-- hosts that keep nothing. Messages are kept as JSON, so that nobody shares a table
-- with the store and it keeps exactly what the others keep.

local common = require "oaichat.history.common"

local M = {}

local Store = {}
Store.__index = Store
Store.__name = "oaichat.history.memory"

local Lock = {}
Lock.__index = Lock

-- The conversation and the texts to write, or the three values of a failure.
-- `turn` asks for an open turn.
local function enter(store, name, id, version, messages, meta, turn)
  common.check_open(store, name)
  common.check_version(version)
  common.check_meta(meta)
  local ok, text, err = common.check_id(id)
  if not ok then return nil, text, err end
  local texts
  texts, text, err = common.encode(messages)
  if not texts then return nil, text, err end
  local entry = store._entries[id]
  if (entry and entry.version or 0) ~= version then
    return common.conflict(id, entry and entry.version or 0, version)
  end
  if turn and not (entry and entry.open) then common.no_turn(id, name) end
  if not entry then
    entry = { version = common.first_version(), texts = {}, meta = common.merge(), created = common.now() }
  end
  return entry, texts
end

-- The input of an open turn becomes part of the conversation.
local function fold(entry)
  for _, text in ipairs(entry.open or {}) do entry.texts[#entry.texts + 1] = text end
  entry.open = nil
end

local function done(store, id, entry, meta)
  if meta then entry.meta = common.merge(entry.meta, meta) end
  entry.version = entry.version + 1
  entry.updated = common.now()
  store._entries[id] = entry
  return entry.version
end

local function all_of(entry)
  local texts = {}
  for _, one in ipairs(entry.texts) do texts[#texts + 1] = one end
  for _, one in ipairs(entry.open or {}) do texts[#texts + 1] = one end
  return texts
end

--- @param id string
--- @return table|nil record nil alone: there is none
function Store:load(id)
  common.check_open(self, "load")
  local ok, text, err = common.check_id(id)
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

--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:begin(id, version, messages)
  local entry, texts, err = enter(self, "begin", id, version, messages)
  if not entry then return nil, texts, err end
  fold(entry)
  entry.open = texts
  return done(self, id, entry)
end

--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:commit(id, version, messages, meta)
  local entry, texts, err = enter(self, "commit", id, version, messages, meta, true)
  if not entry then return nil, texts, err end
  entry.open = texts
  fold(entry)
  return done(self, id, entry, meta)
end

--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:abort(id, version)
  local entry, text, err = enter(self, "abort", id, version, {}, nil, true)
  if not entry then return nil, text, err end
  entry.open = nil
  return done(self, id, entry)
end

--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:append(id, version, messages, meta)
  local entry, texts, err = enter(self, "append", id, version, messages, meta)
  if not entry then return nil, texts, err end
  fold(entry)
  entry.open = texts
  fold(entry)
  return done(self, id, entry, meta)
end

--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:replace(id, version, messages, meta)
  local entry, texts, err = enter(self, "replace", id, version, messages, meta)
  if not entry then return nil, texts, err end
  entry.texts, entry.open = texts, nil
  return done(self, id, entry, meta)
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
  local words, out = common.words(text), {}
  for _, id in ipairs(#words > 0 and sorted(self._entries) or {}) do
    local entry = self._entries[id]
    if not opts.user or entry.meta.user == opts.user then
      if common.collect(out, id, all_of(entry), words, opts.limit or 20) then break end
    end
  end
  return out
end

--- @return boolean|nil there_was_one, string|nil message, oaichat.Error|nil err
function Store:delete(id)
  common.check_open(self, "delete")
  local ok, text, err = common.check_id(id)
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
  common.check_open(self, "lock")
  local ok, text, err = common.check_id(id)
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
