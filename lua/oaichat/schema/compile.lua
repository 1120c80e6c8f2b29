--- schema.compile: turns a JSON Schema (draft 2020-12) into nodes for schema.run, and
-- refuses what is no schema, what is elsewhere and what would never end.

local applicators = require "oaichat.schema.applicators"
local assertions = require "oaichat.schema.assertions"
local errors = require "oaichat.errors"
local legacy = require "oaichat.schema.legacy"
local refs = require "oaichat.schema.refs"
local run = require "oaichat.schema.run"
local value_of = require "oaichat.schema.value"

local M = {}

-- In this order keywords are checked: what says most about a wrong value first, and
-- what nothing looked at (core 2020-12, section 11) last.
local KEYWORDS = {
  "type", "enum", "const", "$ref", "$dynamicRef", "required", "properties", "patternProperties",
  "additionalProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired", "prefixItems",
  "items", "contains", "minItems", "maxItems", "uniqueItems", "minimum", "maximum", "exclusiveMinimum",
  "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "allOf", "anyOf", "oneOf",
  "not", "if", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
}

local FACTORIES = {}
for _, of in ipairs { assertions, applicators } do
  for name, factory in pairs(of) do FACTORIES[name] = factory end
end

local Compilation = {}
Compilation.__index = Compilation

--- Refuses the schema.
function Compilation.wrong(_, at, what)
  error({ at = at, what = what }, 0)
end

-- ---- what keywords hold ------------------------------------------------------

local function is_list(value)
  return type(value) == "table" and (value_of.kind(value) == "array" or next(value) == nil)
end

local function is_map(value)
  return type(value) == "table" and value_of.kind(value) == "object"
end

function Compilation:number(value, at)
  local number = type(value) == "string" and value_of.big_integer(value) or value
  if type(number) ~= "number" or number ~= number then self:wrong(at, "must be a number") end
  return number
end

function Compilation:count(value, at)
  if type(value) ~= "number" or value < 0 or not value_of.integral(value) then
    self:wrong(at, "must be an integer of 0 or more")
  end
end

function Compilation:strings(list, at)
  if not is_list(list) then self:wrong(at, "must be a list") end
  for _, one in ipairs(list) do
    if type(one) ~= "string" then self:wrong(at, "must be a list of names") end
  end
end

function Compilation:map(value, at)
  if not is_map(value) then self:wrong(at, "must be an object") end
end

Compilation.under = value_of.under

--- The keys of a map of nodes, in one order.
function Compilation.sorted(map)
  local names = {}
  for name in next, map do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- ---- schemas in schemas ------------------------------------------------------

--- A list of schemas.
function Compilation:list(list, at)
  if not is_list(list) or #list == 0 then self:wrong(at, "must be a list of schemas") end
  local nodes = {}
  for i, one in ipairs(list) do nodes[i] = self:schema(one, self.under(at, i - 1)) end
  return nodes
end

--- A list of schemas for the value itself.
function Compilation:branches(list, at)
  local nodes = self:list(list, at)
  for _, node in ipairs(nodes) do self:in_place(node) end
  return nodes
end

--- A map of schemas.
function Compilation:nodes(map, at)
  self:map(map, at)
  for name in next, map do
    if type(name) ~= "string" then self:wrong(at, "must have names, not numbers, as keys") end
  end
  local nodes = {}
  for _, name in ipairs(self.sorted(map)) do nodes[name] = self:schema(map[name], self.under(at, name)) end
  return nodes
end

--- The node that is being made applies this one to the same value.
function Compilation:in_place(node)
  local edges = self.edges[self.current]
  edges[#edges + 1] = node
end

function Compilation:reference(ref, at)
  if type(ref) ~= "string" then self:wrong(at, "must be a string") end
  local target, base = refs.resolve(self.found, ref, self.base)
  if target == nil then self:wrong(at, ("%s %s"):format(value_of.quote(ref), base)) end
  return self:schema(target, ref:sub(1, 1) == "#" and ref or at, base)
end

local function keywords(self, node, schema, at)
  for _, name in ipairs(KEYWORDS) do
    local value = schema[name]
    if value ~= nil then
      local check, kind = FACTORIES[name](self, schema, node, value, self.under(at, name))
      if check then node[#node + 1], node.kinds[#node + 1] = check, kind end
    end
  end
end

--- The node of a schema, made once.
--- @param base string|nil of the resource it is in, where known
function Compilation:schema(schema, at, base)
  if type(schema) == "boolean" then
    local node = { never = not schema, kinds = {}, all = {}, any = {} }
    if node.never then
      node[1] = function(value, _, ctx) return run.fail(ctx, at, value, "is not allowed") end
    end
    self.edges[node] = {}
    return node
  end
  if not is_map(schema) then
    local hint = at:find "/items$" and "; a list of schemas is prefixItems" or ""
    self:wrong(at, "must be a schema: an object, true or false" .. hint)
  end
  local node = self.made[schema]
  if node then return node end
  node = { kinds = {}, all = {}, any = {} }
  self.made[schema], self.edges[node], self.places[node] = node, {}, at
  self.order[#self.order + 1] = node
  local outer, outer_base, depth = self.current, self.base, self.depth
  if depth >= run.DEPTH_MAX / 4 then self:wrong(at, "is nested too deep") end
  self.current, self.depth = node, depth + 1
  self.base = self.found.bases[schema] or base or outer_base
  keywords(self, node, schema, at)
  self.current, self.base, self.depth = outer, outer_base, depth
  return node
end

-- A schema that applies itself to the same value never ends (core 2020-12,
-- section 9.4.1).
local function find_loop(self, node, state)
  if state[node] == "open" then
    self:wrong(self.places[node], "has a $ref that comes back to itself and would never end")
  end
  if state[node] then return end
  state[node] = "open"
  for _, one in ipairs(self.edges[node]) do find_loop(self, one, state) end
  state[node] = "done"
end

local function compile(root, formats)
  root = legacy.modern(root)
  local self = setmetatable({
    made = {}, edges = {}, places = {}, order = {}, found = refs.read(root), base = "", depth = 0,
    formats = formats,
  }, Compilation)
  local node = self:schema(root, "#")
  local state = {}
  for _, one in ipairs(self.order) do find_loop(self, one, state) end
  return node
end

--- Compiles a schema. The answer does not hold the schema's table.
--- @param schema table|boolean
--- @param formats table<string, fun(text: string): boolean>|nil formats to hold strings to
--- @return table|nil node, string|nil message, oaichat.Error|nil err kind "config", code "schema"
function M.compile(schema, formats)
  local ran, node = pcall(compile, schema, formats)
  if ran then return node end
  local why = node
  if type(why) ~= "table" or not why.at then
    if not tostring(why):find "stack overflow" then error(why, 0) end
    why = { at = "#", what = "is nested too deep" }
  end
  local err = errors.new {
    kind = "config", code = "schema", schema_path = why.at,
    message = ("the schema's %s %s"):format(why.at == "#" and "root" or why.at, why.what),
  }
  return nil, err.message, err
end

return M
