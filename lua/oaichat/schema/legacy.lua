--- schema.legacy: reads schemas that say they are of draft 4, 6, 7 or 2019-09, as many
-- tools still write them, as draft 2020-12 (its release notes, "Migrating"): a list in
-- `items` is prefixItems, `additionalItems` is items, `dependencies` are two keywords,
-- `exclusiveMinimum: true` is a number.

local refs = require "oaichat.schema.refs"

local M = {}

local change

local function each(map)
  local out = {}
  for key, one in next, map do out[key] = change(one) end
  return setmetatable(out, getmetatable(map))
end

local function change_items(s, out)
  if type(s.items) ~= "table" or (#s.items == 0 and next(s.items) ~= nil) or s.items[1] == nil then return end
  out.prefixItems, out.items = each(s.items), nil
  if s.additionalItems ~= nil then out.items = change(s.additionalItems) end
end

local function change_dependencies(s, out)
  if type(s.dependencies) ~= "table" then return end
  local required, schemas = {}, {}
  for name, one in next, s.dependencies do
    local into = type(one) == "table" and one[1] ~= nil and required or schemas
    into[name] = into == required and one or change(one)
  end
  out.dependencies = nil
  if next(required) ~= nil then out.dependentRequired = required end
  if next(schemas) ~= nil then out.dependentSchemas = schemas end
end

local function change_bound(s, out, bound, exclusive)
  if type(s[exclusive]) ~= "boolean" then return end
  out[exclusive] = nil
  if s[exclusive] and s[bound] ~= nil then out[exclusive], out[bound] = s[bound], nil end
end

function change(s)
  if type(s) ~= "table" then return s end
  local out = {}
  for name, value in next, s do out[name] = value end
  for _, name in ipairs(refs.ONE) do
    if out[name] ~= nil then out[name] = change(out[name]) end
  end
  for _, names in ipairs { refs.LIST, refs.MAP } do
    for _, name in ipairs(names) do
      if type(out[name]) == "table" then out[name] = each(out[name]) end
    end
  end
  change_items(s, out)
  change_dependencies(s, out)
  change_bound(s, out, "minimum", "exclusiveMinimum")
  change_bound(s, out, "maximum", "exclusiveMaximum")
  return setmetatable(out, getmetatable(s))
end

--- The schema itself, or what it is in draft 2020-12.
--- @param s table|boolean
--- @return table|boolean
function M.modern(s)
  local says = type(s) == "table" and rawget(s, "$schema")
  if type(says) ~= "string" then return s end
  if not says:find "draft%-0[467]/" and not says:find "draft/2019%-09/" then return s end
  return change(s)
end

return M
