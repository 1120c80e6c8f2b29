--- cache: where answers are kept, to be given again: `key` names them, each other
-- function makes a store.
--   cache.memory { entries =, bytes =, ttl =, stale = }  ·  cache.sqlite { path =, … }
-- A store has get(key[, tenant]) -> raw, age, fresh, put(key, raw[, tenant]),
-- forget(tenant), clear(), size(), close().

local common = require "oaichat.cache.common"
local later = require "oaichat.later"

local memory, sqlite = later "oaichat.cache.memory", later "oaichat.cache.sqlite"

local M = { key = common.key }

--- @param opts table|nil
function M.memory(opts)
  return memory.new(opts)
end

--- @param opts table
function M.sqlite(opts)
  return sqlite.new(opts)
end

return M
