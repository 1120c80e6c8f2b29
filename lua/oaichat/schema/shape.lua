--- schema.shape: copies a JSON Schema so that its empty tables are written as what
-- they stand for: `properties` as {}, `required` as []. Knows where a schema has
-- schemas, and nothing of what they mean.

local json = require "oaichat.json"
local refs = require "oaichat.schema.refs"

local M = {}

local function set(list)
  local out = {}
  for _, name in ipairs(list) do out[name] = true end
  return out
end

local ONE, LIST, MAP = set(refs.ONE), set(refs.LIST), set(refs.MAP)
local PLAIN_LIST = set { "required", "enum", "examples" }

--- Copies a value, marks and all.
--- @return any
function M.copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for key, one in next, value do out[key] = M.copy(one) end
  return setmetatable(out, getmetatable(value))
end

local function each(map, change)
  local out = {}
  for key, one in next, map do out[key] = change(one) end
  return out
end

local function list_of(value)
  return type(value) == "table" and json.array(M.copy(value)) or value
end

--- A copy that json.encode writes right.
--- @param schema any
--- @return any
function M.marked(schema)
  if type(schema) ~= "table" then return schema end
  local out = {}
  for name, value in next, schema do
    if type(value) ~= "table" then
      out[name] = value
    elseif ONE[name] then
      out[name] = M.marked(value)
    elseif LIST[name] then
      out[name] = json.array(each(value, M.marked))
    elseif MAP[name] then
      out[name] = json.object(each(value, M.marked))
    elseif PLAIN_LIST[name] or name == "type" then
      out[name] = list_of(value)
    elseif name == "dependentRequired" then
      out[name] = json.object(each(value, list_of))
    else
      out[name] = M.copy(value)
    end
  end
  return json.object(out)
end

return M
