--- What a request differs in from a recorded one, in words. JSON is compared by its
-- values: order and white space mean nothing. Knows JSON.

local json = require "oaichat.json"

local M = {}

local function show(value)
  if value == nil then return "nothing" end
  local text = type(value) == "table" and json.encode(value) or type(value) == "string" and json.encode(value)
    or value == json.null and "null" or tostring(value)
  if text and #text > 60 then text = text:sub(1, 57):gsub("[\128-\191\194-\244]+$", "") .. "…" end
  return text or tostring(value)
end

local function keys_of(a, b)
  local keys, seen = {}, {}
  for _, t in ipairs { a, b } do
    for key in pairs(t) do
      if not seen[key] then
        seen[key] = true
        keys[#keys + 1] = key
      end
    end
  end
  table.sort(keys, function(x, y)
    if type(x) == type(y) then return x < y end
    return type(x) == "number"
  end)
  return keys
end

-- Appends { path, recorded, got } for every leaf that differs.
local function walk(list, path, a, b)
  if a == b then return end
  if type(a) == "table" and type(b) == "table" and json.is_array(a) == json.is_array(b) then
    for _, key in ipairs(keys_of(a, b)) do
      local step = type(key) == "number" and ("[%d]"):format(key) or "." .. tostring(key)
      walk(list, path .. step, a[key], b[key])
    end
    return
  end
  list[#list + 1] = { path, a, b }
end

local PARTS = {
  method = function(list, recorded, request)
    if recorded.method ~= request.method then list[#list + 1] = { "method", recorded.method, request.method } end
  end,
  path = function(list, recorded, request)
    if recorded.target ~= request.target then list[#list + 1] = { "path", recorded.target, request.target } end
  end,
  body = function(list, recorded, request)
    local value = json.decode(request.body)
    if recorded.json ~= nil and value ~= nil then
      walk(list, "body", recorded.json, value)
    elseif (recorded.body or "") ~= request.body then
      list[#list + 1] = { "body", recorded.body or "", request.body }
    end
  end,
}

--- @param name string
--- @return boolean there is such a part to match by
function M.knows(name)
  return PARTS[name] ~= nil
end

--- @param recorded table request of a cassette
--- @param request table method, target, body
--- @param parts string[] "method", "path", "body"
--- @return integer count of differences
--- @return string|nil first in words
function M.differences(recorded, request, parts)
  local list = {}
  for _, part in ipairs(parts) do PARTS[part](list, recorded, request) end
  local first = list[1]
  if not first then return 0 end
  return #list, ("%s: recorded %s, got %s"):format(first[1], show(first[2]), show(first[3]))
end

return M
