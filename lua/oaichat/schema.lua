--- schema: JSON Schema in Lua. Words that make one, a validator, and the form that
-- OpenAI's strict mode wants. A schema is a plain table (draft 2020-12), made by these
-- words or by hand. Knows no tool and no request.

local compile = require "oaichat.schema.compile"
local errors = require "oaichat.errors"
local formats = require "oaichat.schema.formats"
local json = require "oaichat.json"
local options = require "oaichat.options"
local run = require "oaichat.schema.run"
local shape = require "oaichat.schema.shape"
local strict = require "oaichat.schema.strict"

local M = {}

-- ---- words -------------------------------------------------------------------

-- Which schemas were made with optional = true: nothing of it is in the table.
local is_optional = setmetatable({}, { __mode = "k" })

local ANY = "string|number|boolean|table|userdata" -- null is a userdata
local COMMON = { description = "string", title = "string", optional = "boolean", default = ANY, examples = "table" }

-- What a word is called in the schema.
local KEYWORD = {
  string = { min = "minLength", max = "maxLength", pattern = "pattern", format = "format", enum = "enum" },
  number = {
    min = "minimum", max = "maximum", above = "exclusiveMinimum", below = "exclusiveMaximum",
    multiple_of = "multipleOf", enum = "enum",
  },
  array = { min = "minItems", max = "maxItems", unique = "uniqueItems" },
  object = { min = "minProperties", max = "maxProperties" },
}
KEYWORD.integer = KEYWORD.number

local WORD_TYPES = { pattern = "string", format = "string", enum = "table", unique = "boolean" }

local function known_options(kind, more)
  local known = {}
  for _, from in ipairs { COMMON, more or {} } do
    for name, types in pairs(from) do known[name] = types end
  end
  for name in pairs(KEYWORD[kind] or {}) do known[name] = WORD_TYPES[name] or "number" end
  return known
end

-- A text where options may be given is the description.
local function read_options(word, opts, known)
  if opts == nil then return {} end
  if type(opts) == "string" then return { description = opts } end
  if type(opts) ~= "table" then
    errors.misuse(("schema.%s: a description or a table of options expected, got %s"):format(word, type(opts)))
  end
  options.check(opts, known, ("schema.%s."):format(word))
  return opts
end

local LISTS = { enum = true, examples = true }

local function finish(s, opts, words)
  for name, value in pairs(opts) do
    local keyword = words and words[name] or COMMON[name] and name
    if keyword and name ~= "optional" then s[keyword] = LISTS[name] and json.array(shape.copy(value)) or value end
  end
  if opts.optional then is_optional[s] = true end
  return json.object(s)
end

local function scalar(kind)
  local known = known_options(kind)
  return function(opts)
    opts = read_options(kind, opts, known)
    return finish({ type = kind }, opts, KEYWORD[kind])
  end
end

--- @class oaichat.SchemaOptions
--- @field description? string
--- @field title? string
--- @field default? any
--- @field examples? any[]
--- @field optional? boolean a property that may be absent

--- @class oaichat.StringOptions: oaichat.SchemaOptions
--- @field min? integer characters
--- @field max? integer characters
--- @field pattern? string ECMA-262 with the u flag, in linear time: see core.regex
--- @field format? string
--- @field enum? string[]

--- @class oaichat.NumberOptions: oaichat.SchemaOptions
--- @field min? number
--- @field max? number
--- @field above? number
--- @field below? number
--- @field multiple_of? number
--- @field enum? number[]

--- @class oaichat.ObjectOptions: oaichat.SchemaOptions
--- @field min? integer properties
--- @field max? integer properties
--- @field additional? boolean|table of `object` alone: whether, or as what, others are allowed

--- @class oaichat.ArrayOptions: oaichat.SchemaOptions
--- @field min? integer items
--- @field max? integer items
--- @field unique? boolean

--- Text. `schema.string "City and state"` or options; min and max count characters.
--- @param opts string|oaichat.StringOptions|nil
--- @return table schema
M.string = scalar "string"

--- @param opts string|oaichat.NumberOptions|nil
--- @return table schema
M.number = scalar "number"

--- An integer; 1.0 is one (JSON Schema validation 2020-12, section 6.1.1).
--- @param opts string|oaichat.NumberOptions|nil
--- @return table schema
M.integer = scalar "integer"

--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
M.boolean = scalar "boolean"

--- Null alone; see nullable.
--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
M.null = scalar "null"

local function checked(word, value)
  if type(value) == "table" or type(value) == "boolean" then return value end
  if type(value) == "function" then
    local hint = "write schema.string(), not schema.string"
    errors.misuse(("schema.%s: a schema expected, got a function: %s"):format(word, hint))
  end
  errors.misuse(("schema.%s: a schema expected, got %s"):format(word, type(value)))
end

-- $defs are looked for in the root: a part's are handed up.
local function adopt(word, parent, child)
  child = checked(word, child)
  local defs = type(child) == "table" and rawget(child, "$defs")
  if not defs then return child end
  local own = {}
  for name, value in next, child do
    if name ~= "$defs" then own[name] = value end
  end
  parent["$defs"] = parent["$defs"] or json.object {}
  for name, one in next, defs do
    local known = parent["$defs"][name]
    if known ~= nil and known ~= one then
      errors.misuse(("schema.%s: two different schemas are called %s"):format(word, name))
    end
    parent["$defs"][name] = one
  end
  if is_optional[child] then is_optional[own] = true end
  return setmetatable(own, getmetatable(child))
end

local OBJECT = known_options("object", { additional = "boolean|table" })

--- An object with these properties and, unless `additional` is true or a schema, no
--- others. All are required but those made with optional = true.
--- @param fields table<string, table> name -> schema
--- @param opts string|oaichat.ObjectOptions|nil
--- @return table schema
function M.object(fields, opts)
  if type(fields) ~= "table" then
    errors.misuse("schema.object: a table of properties expected, got " .. type(fields))
  end
  opts = read_options("object", opts, OBJECT)
  local s = { type = "object", properties = json.object {}, required = json.array {}, additionalProperties = false }
  for name, field in pairs(fields) do
    if type(name) ~= "string" then errors.misuse "schema.object: properties have names" end
    s.properties[name] = adopt("object: " .. name, s, field)
    if not is_optional[field] then s.required[#s.required + 1] = name end
  end
  table.sort(s.required)
  if opts.additional ~= nil then s.additionalProperties = adopt("object", s, opts.additional) end
  return finish(s, opts, KEYWORD.object)
end

local ARRAY = known_options "array"

--- @param item table schema of each item
--- @param opts string|oaichat.ArrayOptions|nil
--- @return table schema
function M.array(item, opts)
  opts = read_options("array", opts, ARRAY)
  local s = { type = "array" }
  s.items = adopt("array", s, item)
  return finish(s, opts, KEYWORD.array)
end

local MAP = known_options "object"

--- An object with any names, whose values are alike.
--- @param value table schema of each value
--- @param opts string|oaichat.ObjectOptions|nil
--- @return table schema
function M.map(value, opts)
  opts = read_options("map", opts, MAP)
  local s = { type = "object" }
  s.additionalProperties = adopt("map", s, value)
  return finish(s, opts, KEYWORD.object)
end

local SIMPLE = known_options "any"

--- One of these values.
--- @param values any[] json.null is null
--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
function M.enum(values, opts)
  if type(values) ~= "table" or #values == 0 then errors.misuse "schema.enum: a list of values expected" end
  opts = read_options("enum", opts, SIMPLE)
  local kind = type(values[1])
  for _, one in ipairs(values) do
    if type(one) ~= kind then kind = nil end
  end
  local s = { enum = json.array(shape.copy(values)) }
  if kind == "string" or kind == "number" or kind == "boolean" then s.type = kind end
  return finish(s, opts)
end

--- This value.
--- @param value any json.null is null
--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
function M.const(value, opts)
  if value == nil then errors.misuse "schema.const: a value expected; null is json.null" end
  return finish({ const = shape.copy(value) }, read_options("const", opts, SIMPLE))
end

--- Anything.
--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
function M.any(opts)
  return finish({}, read_options("any", opts, SIMPLE))
end

--- What at least one of these schemas takes.
--- @param list table[]
--- @param opts string|oaichat.SchemaOptions|nil
--- @return table schema
function M.any_of(list, opts)
  if type(list) ~= "table" or #list == 0 then errors.misuse "schema.any_of: a list of schemas expected" end
  local s = { anyOf = json.array {} }
  for i, one in ipairs(list) do s.anyOf[i] = adopt("any_of", s, one) end
  return finish(s, read_options("any_of", opts, SIMPLE))
end

local function shallow(s)
  local out = {}
  for name, value in next, s do out[name] = value end
  if is_optional[s] then is_optional[out] = true end
  return json.object(out)
end

--- Null, or what the schema takes. Optional where the schema is.
--- @param s table
--- @return table schema
function M.nullable(s)
  s = checked("nullable", s)
  if type(s) == "table" and type(s.type) == "string" and s.const == nil then
    local out = shallow(s)
    if s.type ~= "null" then out.type = json.array { s.type, "null" } end
    if s.enum then
      out.enum = json.array(shape.copy(s.enum))
      out.enum[#out.enum + 1] = json.null
    end
    return out
  end
  local out = M.any_of { s, M.null() }
  if is_optional[s] then is_optional[out] = true end
  return out
end

--- The same schema as an optional property: for those made by hand.
--- @param s table
--- @return table schema
function M.optional(s)
  local out = shallow(checked("optional", s))
  is_optional[out] = true
  return out
end

--- A schema that was given this name by `recursive`.
--- @param name string
--- @return table schema
function M.ref(name)
  if type(name) ~= "string" or not name:find "^[%w_-]+$" then
    errors.misuse "schema.ref: a name of letters, digits, _ and - expected"
  end
  return json.object { ["$ref"] = "#/$defs/" .. name }
end

--- A schema that has itself as a part (core 2020-12, section 8.2.4: $defs).
--- `schema.recursive("node", function(node) return schema.object { next = schema.nullable(node) } end)`
--- @param name string for $defs
--- @param build fun(self: table): table
--- @return table schema
function M.recursive(name, build)
  local out = M.ref(name)
  if type(build) ~= "function" then errors.misuse "schema.recursive: a function expected" end
  out["$defs"] = json.object {}
  out["$defs"][name] = adopt("recursive", out, build(M.ref(name)))
  return out
end

-- ---- use ---------------------------------------------------------------------

--- @class oaichat.Validator
local Validator = {}
Validator.__index = Validator
Validator.__name = "oaichat.Validator"

--- Checks a value as oaichat.json decodes it; plain tables too (an empty one without
--- json.array's mark is an object). Integers that json.decode gives as decimal text
--- are numbers where the schema wants a number and no string, and are compared as
--- doubles. At most 1000 schemas deep and 2e6 steps of work (schema.run).
--- @return true|nil ok
--- @return string|nil message every error with its place, at most 10
--- @return oaichat.Error|nil err kind "validation"; path (JSON pointer), value (cut), keyword, schema_path of
---   the first; errors: the list of them. code "schema", or "too_deep", "too_complex"
function Validator:check(value)
  return run.check(self._node, value)
end

--- Only whether it is valid.
--- @return boolean
function Validator:valid(value)
  return run.valid(self._node, value)
end

function Validator.__tostring()
  return "oaichat.Validator"
end

-- Weak: a validator does not hold its schema's table, so that both can go.
local plain = setmetatable({}, { __mode = "k" })
local with_formats = setmetatable({}, { __mode = "k" })

local COMPILE = { formats = "boolean" }

--- Compiles a schema: draft 2020-12, all of its keywords; $ref within the document
--- only, $dynamicRef as $ref. Once a table: later changes to it are not seen.
--- @param s table|boolean
--- @param opts { formats?: boolean }|nil formats = true: `format` is asserted for date-time, date, time, duration,
---   email, hostname, ipv4, ipv6, uri, uuid
--- @return oaichat.Validator|nil validator, string|nil message, oaichat.Error|nil err kind "config"
function M.compile(s, opts)
  if type(s) ~= "table" and type(s) ~= "boolean" then
    errors.misuse("schema.compile: a schema expected, got " .. type(s))
  end
  opts = opts or {}
  options.check(opts, COMPILE, "schema.compile.")
  local cache = opts.formats and with_formats or plain
  if cache[s] then return cache[s] end
  local node, message, err = compile.compile(s, opts.formats and formats or nil)
  if not node then return nil, message, err end
  local validator = setmetatable({ _node = node }, Validator)
  if type(s) == "table" then cache[s] = validator end
  return validator
end

--- The form of a schema that OpenAI's strict mode takes: every property required, the
--- optional ones nullable, no additional properties (guide "Structured outputs",
--- "Supported schemas"). The schema itself is not changed.
--- @param s table
--- @return table|nil schema, string|nil reason it cannot be strict: names place and keyword
function M.strict(s)
  local validator, message = M.compile(s)
  if not validator then return nil, message end
  return strict.strict(s)
end

--- What a strict model's value means by the schema: nulls that stand for absent
--- optional properties are dropped. The value is not changed.
--- @param value any
--- @param s table the schema, not its strict form
--- @return any
function M.unstrict(value, s)
  local validator = M.compile(s)
  return validator and strict.unstrict(validator._node, value) or value
end

--- A copy that json.encode writes right: empty `properties` as {}, `required` as [].
--- @param s table
--- @return table
function M.wire(s)
  return shape.marked(s)
end

return M
