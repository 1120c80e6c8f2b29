--- cache/memory: answers in a table of this process. What was asked for longest ago goes
-- first. Answers are kept as text, so that nobody shares a table with the cache.

local common = require "oaichat.cache.common"
local core = require "oaichat.core"
local lru = require "oaichat.lru"
local options = require "oaichat.options"

local M = {}

local Store = {}
Store.__index = Store
Store.__name = "oaichat.cache.memory"

-- What an entry takes beside its texts, about.
local OVERHEAD = 300

local function drop(store, key)
  local entry = store._entries:remove(key)
  if entry then store._size = store._size - entry.size end
end

--- @param key string
--- @param tenant string|nil where given, only what was put for this one is found
--- @param now number|nil Unix seconds
--- @return table|nil raw nil alone: there is none; number|nil age in seconds; boolean|nil fresh: younger than ttl
function Store:get(key, tenant, now)
  common.enter(self, "get", key, tenant)
  local entry = self._entries:peek(key)
  if not entry or tenant and common.mark(tenant) ~= entry.mark then return nil end
  local age, fresh = common.age(self._ages, entry.at, now or core.time())
  local raw = age and common.unpack(key, entry.mark, entry.text)
  if not raw then
    drop(self, key)
    return nil
  end
  self._entries:get(key)
  return raw, age, fresh
end

--- @param key string
--- @param raw table of exchange:result()
--- @param tenant string|nil
--- @param now number|nil Unix seconds
--- @return true|nil, string|nil message, oaichat.Error|nil err kind "storage", code "too_large" or "encode"
function Store:put(key, raw, tenant, now)
  common.enter(self, "put", key, tenant)
  local mark = common.mark(tenant)
  local text, why, err = common.pack(key, mark, raw)
  if not text then return nil, why, err end
  local size = #key + #text + OVERHEAD
  drop(self, key)
  if size > self._bytes then return common.too_large(size, self._bytes) end
  self._entries:put(key, { text = text, mark = mark, at = now or core.time(), size = size })
  self._size = self._size + size
  while self._size > self._bytes or self._entries.count > self._limit do drop(self, (self._entries:oldest())) end
  return true
end

--- Deletes what was put for a tenant.
--- @param tenant string
--- @return integer deleted
function Store:forget(tenant)
  common.enter(self, "forget", "-", tenant)
  local mark, count = common.mark(tenant), 0
  for key, entry in self._entries:each() do
    if entry.mark == mark then
      drop(self, key)
      count = count + 1
    end
  end
  return count
end

--- @return integer deleted
function Store:clear()
  common.enter(self, "clear", "-")
  local count = self._entries.count
  self._entries, self._size = lru.new(), 0
  return count
end

--- @return integer entries, integer bytes
function Store:size()
  return self._entries.count, self._size
end

function Store:close()
  self._entries, self._size, self._closed = lru.new(), 0, true
end

--- @param opts table|nil entries: at most, 1000; bytes: at most, 64e6; ttl: seconds for which an answer is as good as
---   new, 3600; stale: seconds after that for which it is better than none, 86400
--- @return table|nil store, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  opts = opts or {}
  options.check(opts, { entries = "number", bytes = "number", ttl = "number", stale = "number" })
  local ages, why, err = common.ages(opts)
  if not ages then return nil, why, err end
  return setmetatable({
    _ages = ages, _limit = opts.entries or 1000, _bytes = opts.bytes or 64e6, _entries = lru.new(), _size = 0,
  }, Store)
end

return M
