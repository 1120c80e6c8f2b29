--- Exact JSON. Knows the C reader and writer (oaichat.core) and how errors look.
--
-- What other libraries lose and this one keeps: 64-bit integers, `[]` against
-- `{}`, the shortest text of a double, and equal bytes for equal values, since
-- keys are sorted. Values pass to and from lua-cjson where a host has it;
-- nothing here needs it.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

-- Makes lua-cjson's marks mean the same here, once the host has loaded it, and lets
-- decoded arrays carry its own metatable where it has one, so that it too writes an
-- empty one as [].
local adopted
local function adopt(cjson)
  adopted = cjson
  if type(cjson) ~= "table" then return end
  local markers = core.json_markers
  if type(cjson.array_mt) == "table" then
    markers[cjson.array_mt] = "array"
    markers.array_mt = cjson.array_mt
    M.array_mt = cjson.array_mt
  end
  if type(cjson.empty_array_mt) == "table" then
    markers[cjson.empty_array_mt] = "empty"
  end
  if cjson.empty_array ~= nil and cjson.empty_array ~= core.json_null then
    markers[cjson.empty_array] = "array"
  end
end

local loaded = package.loaded

local function look()
  local cjson = loaded.cjson or loaded["cjson.safe"]
  if cjson ~= adopted then adopt(cjson) end
end

--- JSON's null: lua-cjson's `cjson.null`. Not false in a condition.
---@type lightuserdata
M.null = core.json_null

--- The metatable of arrays: what `json.array` sets and decoded arrays carry.
---@type table
M.array_mt = core.json_markers.array_mt

--- The metatable that `json.object` sets.
---@type table
M.object_mt = core.json_object_mt

local function mark(t, metatable)
  if t == nil then t = {} end
  if type(t) ~= "table" then
    error("table expected, got " .. type(t), 3)
  end
  return setmetatable(t, metatable)
end

--- Marks a table as an array, so that an empty one is written as `[]`.
---@param t table|nil the table itself, not a copy; nil makes a new one
---@return table t
function M.array(t)
  look()
  return mark(t, M.array_mt)
end

--- Marks a table as an object: integer keys are then refused, not taken for an
--- array. An empty table without a mark is written as `{}` too.
---@param t table|nil the table itself, not a copy; nil makes a new one
---@return table t
function M.object(t)
  return mark(t, M.object_mt)
end

--- Whether `encode` would write the value as an array.
---@param value any
---@return boolean
function M.is_array(value)
  look()
  return core.json_is_array(value)
end

--- Reads a JSON text (RFC 8259, strictly; UTF-8; at most 1000 levels deep).
--- Integers are exact: those beyond 64 bits (beyond 2^53 where Lua has only
--- doubles) become their decimal text. null is `json.null`, of equal keys the
--- last wins, a lone surrogate is U+FFFD, a number beyond a double is refused.
---@param text string
---@return any value never nil but on failure
---@return string|nil message with the byte where it went wrong
---@return table|nil err kind "protocol", code "decode"; too deep: kind
---  "too_large", code "too_deep"; err.position is the byte, from 1
function M.decode(text)
  look()
  local value, message, position, code = core.json_decode(text)
  if value ~= nil then return value end
  local err = errors.new {
    kind = code == "too_deep" and "too_large" or "protocol",
    code = code,
    message = message,
  }
  err.position = position
  return nil, message, err
end

--- Writes a value as JSON, keys sorted by their bytes. A table is an array when
--- it is marked so or its keys are exactly 1 to n, an object when all its keys
--- are strings. Refused, with the path: holes, mixed keys, cycles, functions,
--- NaN, infinities, invalid UTF-8, more than 1000 levels. Calls no metamethod.
---@param value any
---@return string|nil text
---@return string|nil message with the path: "messages[3].content is ..."
---@return table|nil err kind "invalid_request", code "encode"; err.path is ""
---  where the value itself is at fault
function M.encode(value)
  return M.encode_parts(value, false)
end

--- The same; a long text comes as a list of pieces, so that there are never two of it.
---@param value any
---@param in_pieces boolean|nil
---@return string|string[]|nil text, string|nil message, table|nil err
function M.encode_parts(value, in_pieces)
  look()
  local text, message, path = core.json_encode(value, nil, in_pieces ~= false)
  if text then return text end
  local err = errors.new {
    kind = "invalid_request",
    code = "encode",
    message = message,
  }
  err.path = path
  return nil, message, err
end

return M
