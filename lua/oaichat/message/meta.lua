--- message/meta: other fields for a message, which makes another message: those of a
-- history never change.

local core = require "oaichat.core"
local tables = require "oaichat.tables"

local M = {}

--- A table with the fields of both; json.null removes one.
--- @param base table
--- @param fields table
--- @return table
function M.merge(base, fields)
  local out = tables.merged(base)
  for name, value in pairs(fields) do
    if value == core.json_null then out[name] = nil else out[name] = tables.copy(value) end
  end
  return out
end

-- Messages of a history never change: another meta makes another message.
local function with_meta(message, name, value)
  local out = tables.merged(message)
  out.meta = tables.merged(message.meta)
  out.meta[name] = value
  if next(out.meta) == nil then out.meta = nil end
  return out
end

--- The message where a conversation forks, with the branches that were left.
--- @param message table
--- @param branches table[] { messages } each
function M.with_alternatives(message, branches)
  return with_meta(message, "alternatives", branches[1] and branches or nil)
end

function M.without_alternatives(message)
  return message.meta and message.meta.alternatives and with_meta(message, "alternatives", nil) or message
end

return M
