--- schema.strict: the form of a schema that OpenAI's strict mode takes (guide
-- "Structured outputs", section "Supported schemas"), and the way back for values:
-- an optional property is required there and may be null.

local json = require "oaichat.json"
local run = require "oaichat.schema.run"
local shape = require "oaichat.schema.shape"
local value_of = require "oaichat.schema.value"

local M = {}

--- Properties, values of enums, and characters of all these names and values that
--- one schema may have (guide, "Supported schemas": limits).
M.PROPERTIES_MAX = 5000
M.ENUM_MAX = 1000
M.CHARACTERS_MAX = 120000

local function set(names)
  local out = {}
  for name in names:gmatch "%S+" do out[name] = true end
  return out
end

-- What goes out as it is; what says nothing of the value is left out.
local KEPT = set [[type enum description title $ref $defs anyOf properties required items additionalProperties
  pattern format minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
  minItems maxItems]]
local DROPPED = set [[$schema $comment $id $anchor examples default deprecated readOnly writeOnly contentEncoding
  contentMediaType contentSchema]]
local FORMATS = set "date-time time date duration email hostname ipv4 ipv6 uuid"

local function refuse(at, what)
  error({ why = ("%s %s"):format(at == "" and "the root" or at, what) }, 0)
end

local function has(list, wanted)
  for _, one in ipairs(list) do
    if one == wanted then return true end
  end
  return false
end

local function takes_type(s, name)
  return s.type == name or type(s.type) == "table" and has(s.type, name)
end

-- ---- null --------------------------------------------------------------------

-- The guide's schemas always say their type.
local function types_of(values)
  local list = json.array {}
  for _, one in ipairs(values) do
    local name = value_of.kind(one)
    if name == "number" and value_of.integral(one) then name = "integer" end
    if not has(list, name) then list[#list + 1] = name end
  end
  return #list == 1 and list[1] or list
end

-- The schema takes null besides.
local function nullable(s)
  if s["$ref"] then return json.object { anyOf = json.array { s, json.object { type = "null" } } } end
  if s.anyOf then
    for _, one in ipairs(s.anyOf) do
      if takes_type(one, "null") then return s end
    end
    s.anyOf[#s.anyOf + 1] = json.object { type = "null" }
    return s
  end
  local types = type(s.type) == "table" and s.type or json.array { s.type }
  if not has(types, "null") then types[#types + 1] = "null" end
  s.type = #types > 1 and types or types[1]
  if s.enum and not has(s.enum, json.null) then s.enum[#s.enum + 1] = json.null end
  return s
end

-- ---- the transformation ------------------------------------------------------

local change

local function check_keywords(s, at)
  local bad = {}
  for name in next, s do
    if DROPPED[name] then
      s[name] = nil
    elseif not KEPT[name] then
      bad[#bad + 1] = name
    end
  end
  table.sort(bad)
  if #bad > 0 then refuse(at, ("has %s, which strict mode does not support"):format(table.concat(bad, ", "))) end
end

local function change_object(s, at, count)
  if s.additionalProperties ~= nil and s.additionalProperties ~= false then
    refuse(at, "allows additionalProperties, which strict mode does not support")
  end
  if type(s.properties) ~= "table" then
    refuse(at, "is an object without properties, which strict mode does not support")
  end
  local required, names = {}, {}
  for _, name in ipairs(s.required or {}) do
    required[name] = true
    if not s.properties[name] then refuse(at, ("requires %s, which is not among its properties"):format(name)) end
  end
  for name in next, s.properties do names[#names + 1] = name end
  table.sort(names)
  count.properties = count.properties + #names
  for _, name in ipairs(names) do
    count.characters = count.characters + #name
    local child = change(s.properties[name], at .. "/properties/" .. name, count)
    s.properties[name] = required[name] and child or nullable(child)
  end
  s.required, s.additionalProperties = json.array(names), false
end

-- Nothing may stand beside a $ref.
local function change_reference(s, at)
  if s["$ref"]:sub(1, 1) ~= "#" then refuse(at, "has a $ref that is not local") end
  local beside = s.description or s.title
  local out = json.object { ["$ref"] = s["$ref"] }
  for name in next, s do
    if name ~= "$ref" and name ~= "description" and name ~= "title" and name ~= "$defs" then
      refuse(at, ("has %s beside a $ref, which strict mode does not support"):format(name))
    end
  end
  if not beside then return out end
  return json.object { description = s.description, title = s.title, anyOf = json.array { out } }
end

local function change_typed(s, at, count)
  if takes_type(s, "object") then
    change_object(s, at, count)
  elseif s.properties or s.required or s.additionalProperties ~= nil then
    refuse(at, "has properties but not the type object")
  end
  if takes_type(s, "array") then
    if type(s.items) ~= "table" then refuse(at, "is an array without a schema of its items") end
    s.items = change(s.items, at .. "/items", count)
  end
end

-- A format that strict mode lacks is an annotation; the model reads it in words.
local function change_format(s)
  if not s.format or FORMATS[s.format] then return end
  local note = ("format: %s"):format(s.format)
  s.description = s.description and ("%s (%s)"):format(s.description, note) or note
  s.format = nil
end

function change(s, at, count)
  if type(s) ~= "table" then refuse(at, "is true or false instead of a schema, which strict mode does not support") end
  if at ~= "" then s["$defs"] = nil end
  if s.const ~= nil and not s.enum then s.enum, s.const = json.array { s.const }, nil end
  check_keywords(s, at)
  if s["$ref"] then return change_reference(s, at) end
  change_format(s)
  if s.enum then
    count.enum = count.enum + #s.enum
    for _, one in ipairs(s.enum) do
      if type(one) == "table" then refuse(at, "has arrays or objects in enum, which strict mode does not support") end
      count.characters = count.characters + (type(one) == "string" and #one or 0)
    end
    if s.type == nil then s.type = types_of(s.enum) end
  end
  for i, one in ipairs(s.anyOf or {}) do s.anyOf[i] = change(one, ("%s/anyOf/%d"):format(at, i - 1), count) end
  if s.type == nil and not s.anyOf then refuse(at, "has no type, which strict mode requires") end
  change_typed(s, at, count)
  return s
end

-- A root that is only a reference into its own $defs becomes what it names.
local function root_of(schema)
  local s = shape.marked(schema)
  local name = type(s["$ref"]) == "string" and s["$ref"]:match "^#/%$defs/([^/]+)$"
  local target = name and type(s["$defs"]) == "table" and s["$defs"][name]
  if type(target) ~= "table" then return s end
  local out = shape.copy(target)
  out["$defs"], out.description = s["$defs"], s.description or out.description
  return out
end

local function strict(schema)
  local count = { properties = 0, enum = 0, characters = 0 }
  local s = root_of(schema)
  if s.anyOf then refuse("", "has anyOf, which strict mode does not support there") end
  if s.type ~= "object" then refuse("", "must be of type object") end
  local definitions = s["$defs"]
  for name, one in next, definitions or {} do
    count.characters = count.characters + #name
    definitions[name] = change(one, "/$defs/" .. name, count)
  end
  s = change(s, "", count)
  if count.properties > M.PROPERTIES_MAX then refuse("", ("has more than %d properties"):format(M.PROPERTIES_MAX)) end
  if count.enum > M.ENUM_MAX then refuse("", ("has more than %d values in enums"):format(M.ENUM_MAX)) end
  if count.characters > M.CHARACTERS_MAX then
    refuse("", ("has names and values of more than %d characters"):format(M.CHARACTERS_MAX))
  end
  return s
end

--- The strict form of a schema, in new tables: every property required, the optional
--- ones nullable; no additional properties; const as enum; no defaults or examples.
--- @param schema table
--- @return table|nil schema, string|nil reason it names the place and the keyword
function M.strict(schema)
  if type(schema) ~= "table" then return nil, "the root must be of type object" end
  local ran, out = pcall(strict, schema)
  if ran then return out end
  if type(out) == "table" and out.why then return nil, out.why end
  if tostring(out):find "stack overflow" then return nil, "the schema is nested too deep" end
  error(out, 0)
end

-- ---- the way back ------------------------------------------------------------

-- Every schema that is asked is work of the one prober, so that it ends.
local strip

-- Sets a member in a copy that is made at the first change.
local function put(value, copy, key, member)
  if copy == value then
    copy = {}
    for name, one in next, value do copy[name] = one end
    setmetatable(copy, getmetatable(value))
  end
  copy[key] = member
  return copy
end

local function strip_object(node, value, depth, valid)
  local copy = value
  for name, member in next, value do
    local child = node.properties and node.properties[name] or node.rest
    local optional = node.properties and node.properties[name] and not (node.required and node.required[name])
    if child and optional and member == json.null and not valid(child, member) then
      copy = put(value, copy, name, nil)
    elseif child and type(member) == "table" then
      local stripped = strip(child, member, depth + 1, valid)
      if stripped ~= member then copy = put(value, copy, name, stripped) end
    end
  end
  return copy
end

local function strip_array(node, value, depth, valid)
  local copy = value
  for i, member in ipairs(value) do
    local child = node.prefix and node.prefix[i] or node.items
    local stripped = child and type(member) == "table" and strip(child, member, depth + 1, valid) or member
    if stripped ~= member then copy = put(value, copy, i, stripped) end
  end
  return copy
end

function strip(node, value, depth, valid)
  if type(value) ~= "table" or depth > run.DEPTH_MAX / 4 then return value end
  if node.properties or node.rest then value = strip_object(node, value, depth, valid) end
  if node.items or node.prefix then value = strip_array(node, value, depth, valid) end
  for _, one in ipairs(node.all) do value = strip(one, value, depth, valid) end
  for _, branches in ipairs(node.any) do
    for _, one in ipairs(branches) do
      local stripped = strip(one, value, depth, valid)
      if valid(one, stripped) then
        value = stripped
        break
      end
    end
  end
  return value
end

--- A value without the nulls that stand for absent optional properties: those that
--- the schema itself does not take. The value is not changed; what is, is new.
--- @param node table the compiled schema, not its strict form
--- @return any
function M.unstrict(node, value)
  return strip(node, value, 0, run.prober())
end

return M
