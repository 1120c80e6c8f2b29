--- schema.refs: where a $ref points, within one document (core 2020-12, sections
-- 8.2 and 9; RFC 3986, 5.2; RFC 6901). Knows $id, $anchor and $dynamicAnchor; what
-- is not in the document is not fetched.

local M = {}

-- Where a schema has schemas: one, a list of them, a map of them.
M.ONE = {
  "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
  "unevaluatedItems", "unevaluatedProperties", "contentSchema",
}
M.LIST = { "allOf", "anyOf", "oneOf", "prefixItems" }
M.MAP = { "properties", "patternProperties", "$defs", "definitions", "dependentSchemas" }

-- scheme, authority, path, query of a URI without its fragment
local function parse(uri)
  local scheme, rest = uri:match "^(%a[%w+.-]*):(.*)$"
  rest = rest or uri
  local before, query = rest:match "^([^?]*)%?(.*)$"
  rest = before or rest
  local authority, path = rest:match "^//([^/]*)(.*)$"
  return scheme, authority, path or rest, query
end

-- RFC 3986, 5.2.4
local function without_dots(path)
  local out = {}
  local rooted = path:sub(1, 1) == "/"
  for segment in (path .. "/"):gmatch "([^/]*)/" do
    if segment == ".." then
      if #out > (rooted and 1 or 0) then out[#out] = nil end
    elseif segment ~= "." then
      out[#out + 1] = segment
    end
  end
  if path:find "/%.%.?$" then out[#out + 1] = "" end
  return table.concat(out, "/")
end

local function join(scheme, authority, path, query)
  return (scheme and scheme .. ":" or "") .. (authority and "//" .. authority or "") .. path
    .. (query and "?" .. query or "")
end

--- Resolves a reference without a fragment against a base (RFC 3986, 5.2.2).
local function absolute(base, uri)
  local scheme, authority, path, query = parse(uri)
  if scheme then return join(scheme, authority, without_dots(path), query) end
  local b_scheme, b_authority, b_path, b_query = parse(base)
  if authority then return join(b_scheme, authority, without_dots(path), query) end
  if path == "" then return join(b_scheme, b_authority, b_path, query or b_query) end
  if path:sub(1, 1) ~= "/" then
    local folder = b_authority and b_path == "" and "/" or b_path:match "^(.*/)" or ""
    path = folder .. path
  end
  return join(b_scheme, b_authority, without_dots(path), query)
end

local function split(uri)
  local before, fragment = uri:match "^([^#]*)#?(.*)$"
  fragment = fragment:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return before, fragment
end

local function id_base(schema, base)
  local id = schema["$id"]
  if type(id) ~= "string" then return base end
  return absolute(base, (split(id)))
end

local walk

local function walk_inside(found, schema, base)
  for _, name in ipairs(M.ONE) do walk(found, schema[name], base) end
  for _, names in ipairs { M.LIST, M.MAP } do
    for _, name in ipairs(names) do
      if type(schema[name]) == "table" then
        for _, one in next, schema[name] do walk(found, one, base) end
      end
    end
  end
end

-- Notes the base of each schema and what it is called.
function walk(found, schema, base)
  if type(schema) ~= "table" or found.bases[schema] then return end
  local inner = id_base(schema, base)
  if type(schema["$id"]) == "string" then found.named[inner .. "#"] = schema end
  for _, name in ipairs { "$anchor", "$dynamicAnchor" } do
    if type(schema[name]) == "string" then found.named[inner .. "#" .. schema[name]] = schema end
  end
  found.bases[schema] = inner
  walk_inside(found, schema, inner)
end

--- Reads a document's names. Schemas are held only as long as the answer is.
--- @param root table|boolean
--- @return table found
function M.read(root)
  local found = { bases = {}, named = {} }
  found.named["#"] = root
  walk(found, root, "")
  return found
end

-- Follows a JSON pointer (RFC 6901); numbers are positions in a list.
local function follow(schema, pointer, base)
  for token in pointer:gmatch "/([^/]*)" do
    if type(schema) ~= "table" then return nil end
    token = token:gsub("~1", "/"):gsub("~0", "~")
    local child = rawget(schema, token)
    if child == nil and token:find "^%d+$" then child = rawget(schema, tonumber(token) + 1) end
    schema = child
    if type(schema) == "table" then base = id_base(schema, base) end
  end
  return schema, base
end

--- Where a reference points.
--- @param found table what read gave
--- @param ref string
--- @param base string
--- @return table|boolean|nil schema, string base_or_message
function M.resolve(found, ref, base)
  local uri, fragment = split(ref)
  if uri == "" then uri = base else uri = absolute(base, uri) end
  local root = found.named[uri .. "#"]
  if fragment == "" or fragment:sub(1, 1) == "/" then
    if root == nil then return nil, "is in another document, which is not fetched" end
    local schema, inner = follow(root, fragment, uri)
    if schema == nil then return nil, "points at nothing" end
    return schema, inner
  end
  local schema = found.named[uri .. "#" .. fragment]
  if schema == nil then
    return nil, root == nil and "is in another document, which is not fetched" or "points at nothing"
  end
  return schema, uri
end

return M
