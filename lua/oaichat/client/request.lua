--- client/request: an endpoint's request out of a caller's values: its path, query, JSON
-- body or form. What cannot be sent is said with its name; nothing is sent here.

local errors = require "oaichat.errors"
local json = require "oaichat.json"

local M = {}

local function config(text, param)
  local err = errors.new { kind = "config", code = "parameter", message = text }
  err.param = param
  return nil, err.message, err
end

-- RFC 3986 2.3: what needs no escape.
local function escape(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The path with its ids. An id is one segment, whatever is in it; one that is empty, or
--- dots alone, would be another endpoint's.
--- @param endpoint oaichat.Endpoint
--- @param ids string[]
--- @return string|nil path, string|nil message, oaichat.Error|nil err kind "config"
function M.path(endpoint, ids)
  local at, wrong = 0, nil
  local path = endpoint.path:gsub("{([%w_]+)}", function(name)
    at = at + 1
    local id = ids[at]
    if id == "" or id == "." or id == ".." then wrong = wrong or name end
    return escape(id)
  end)
  if wrong then return config(("%s:%s: %s is no id"):format(endpoint.group, endpoint.name, wrong), wrong) end
  return path
end

-- Scalars as the API writes them; nil: none.
local function scalar(value)
  if type(value) == "string" then return value end
  if type(value) == "boolean" then return tostring(value) end
  if type(value) == "number" then return (json.encode(value)) end
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

-- Calls put(name, text) for each scalar: a list is name[], a table name[key].
local function flatten(name, value, put)
  if value == nil or value == json.null then return true end
  local text = scalar(value)
  if text then
    put(name, text)
    return true
  end
  if type(value) ~= "table" then return config(("%s: a %s cannot be sent"):format(name, type(value)), name) end
  if value[1] ~= nil or json.is_array(value) then
    for _, item in ipairs(value) do
      local ok, why, err = flatten(name .. "[]", item, put)
      if not ok then return nil, why, err end
    end
    return true
  end
  for _, key in ipairs(sorted(value)) do
    local ok, why, err = flatten(("%s[%s]"):format(name, tostring(key)), value[key], put)
    if not ok then return nil, why, err end
  end
  return true
end

--- "?…" out of parameters, by name; "" without any.
--- @param params table|nil
--- @return string|nil query, string|nil message, oaichat.Error|nil err kind "config"
function M.query(params)
  local out = {}
  for _, name in ipairs(sorted(params or {})) do
    local ok, why, err = flatten(tostring(name), params[name], function(key, text)
      -- brackets stand as they are: so do the official libraries send them
      out[#out + 1] = escape(key):gsub("%%5B", "["):gsub("%%5D", "]") .. "=" .. escape(text)
    end)
    if not ok then return nil, why, err end
  end
  return out[1] and "?" .. table.concat(out, "&") or ""
end

local FILE = { path = true, data = true, filename = true, type = true, offset = true, size = true }

local function file_part(name, value)
  if type(value) ~= "table" or (value.path == nil) == (value.data == nil) then
    return config(name .. ": a file is { path = … }, or { data = …, filename = … }", name)
  end
  local part = { name = name }
  for key, one in pairs(value) do
    if not FILE[key] then return config(("%s: unknown field %s"):format(name, tostring(key)), name) end
    part[key] = one
  end
  -- without a file's name a server takes a part for a plain value
  if part.data then part.filename = part.filename or name end
  return part
end

local function add_files(parts, name, value)
  local list = type(value) == "table" and value[1] ~= nil
  for _, one in ipairs(list and value or { value }) do
    local part, why, err = file_part(list and name .. "[]" or name, one)
    if not part then return nil, why, err end
    parts[#parts + 1] = part
  end
  return true
end

--- A form out of parameters; files are streamed from disk while they are sent.
--- @param params table
--- @param files table<string, boolean>
--- @return table[]|nil parts of the core, string|nil message, oaichat.Error|nil err kind "config"
function M.form(params, files)
  local parts = {}
  for _, name in ipairs(sorted(params)) do
    if not files[name] then
      local ok, why, err = flatten(name, params[name], function(key, text)
        parts[#parts + 1] = { name = key, value = text }
      end)
      if not ok then return nil, why, err end
    end
  end
  -- behind the values: a server that streams knows them first
  for _, name in ipairs(sorted(params)) do
    if files[name] then
      local ok, why, err = add_files(parts, name, params[name])
      if not ok then return nil, why, err end
    end
  end
  return parts
end

--- What is missing of what the endpoint needs.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "config", err.param
function M.check(endpoint, params)
  for _, name in ipairs(endpoint.required) do
    if params[name] == nil then
      return config(("%s:%s: %s is missing"):format(endpoint.group, endpoint.name, name), name)
    end
  end
  return true
end

return M
