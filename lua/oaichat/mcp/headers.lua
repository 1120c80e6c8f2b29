--- mcp/headers: what a request says of itself in HTTP headers besides its body
-- (2026-07-28, basic/transports/streamable-http, Request Metadata). Pure.

local core = require "oaichat.core"
local rpc = require "oaichat.mcp.rpc"

local unpack = table.unpack or unpack

local M = {}

--- Which member of the params is named in Mcp-Name.
local NAMED = { ["tools/call"] = "name", ["prompts/get"] = "name", ["resources/read"] = "uri" }

local PLAIN = { string = true, integer = true, boolean = true }

--- A value as a header has it; base64 in marks where it cannot be there as it is.
--- @param value string|number|boolean
--- @return string|nil
function M.value(value)
  if type(value) == "number" then
    if value % 1 ~= 0 then return nil end
    value = ("%d"):format(value)
  end
  local text = tostring(value)
  local plain = not text:find "[^\t\32-\126]" and not text:find "^%s" and not text:find "%s$"
    and not (text:find "^=%?base64%?" and text:find "%?=$")
  return plain and text or ("=?base64?%s?="):format(core.base64(text))
end

local function walk(node, path, found, seen)
  if type(node) ~= "table" then return nil end
  local name = node["x-mcp-header"]
  if name ~= nil then
    if #path == 0 or type(name) ~= "string" or name == "" or name:find "[^%w!#$%%&'*+%-.^_`|~]" then
      return "x-mcp-header is no header name"
    end
    if not PLAIN[rpc.get(node, "type")] then return "x-mcp-header at a value that is not plain" end
    if seen[name:lower()] then return "two x-mcp-header have one name" end
    seen[name:lower()] = true
    found[#found + 1] = { name = "Mcp-Param-" .. name, path = { unpack(path) } }
  end
  for key, value in pairs(node) do
    if key == "properties" and type(value) == "table" then
      for property, schema in pairs(value) do
        path[#path + 1] = property
        local why = walk(schema, path, found, seen)
        path[#path] = nil
        if why then return why end
      end
    elseif key ~= "x-mcp-header" and M.mentions(value) then
      return "x-mcp-header where it cannot be reached"
    end
  end
end

--- An annotation anywhere below.
function M.mentions(value)
  if type(value) ~= "table" then return false end
  for key, inner in pairs(value) do
    if key == "x-mcp-header" or M.mentions(inner) then return true end
  end
  return false
end

--- The arguments of a tool that are repeated in headers.
--- @param schema table its inputSchema
--- @return table[]|nil list of { name, path }, string|nil why the definition is invalid
function M.of_schema(schema)
  if not M.mentions(schema) then return {} end
  local found = {}
  local why = walk(schema, {}, found, {})
  if why then return nil, why end
  return found
end

--- Adds the headers of a request.
--- @param headers table<string, string>
--- @param call table method, params, mirrored (of of_schema)
function M.add(headers, call)
  local params = call.params or {}
  headers["Mcp-Method"] = call.method
  local named = NAMED[call.method]
  if named then headers["Mcp-Name"] = M.value(params[named]) end
  for _, one in ipairs(call.mirrored or {}) do
    local value = params.arguments
    for _, key in ipairs(one.path) do value = rpc.get(value, key) end
    if value ~= nil and type(value) ~= "table" then headers[one.name] = M.value(value) end
  end
end

return M
