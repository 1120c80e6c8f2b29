--- Writes random schemas from oaichat.schema's words with random values, and random
-- patterns with random texts, each with our verdicts, one JSON text a line. ajv.js
-- asks ajv and RegExp the same.
--   lua spec/support/ajv_cases.lua SEED SCHEMAS PATTERNS > cases

local core = require "oaichat.core"
local json = require "oaichat.json"
local schema = require "oaichat.schema"

local random = math.random
math.randomseed(tonumber(arg[1]))

local VALUES = 10

local function pick(list)
  return list[random(#list)]
end

local function chance(n)
  return random(n) == 1
end

-- ---- values ------------------------------------------------------------------

local TEXTS = { "", "a", "b", "ab", "abc", "abcd", "é", "日本語", "🐲", "🐲🐲", "a b", "1", "12", "x-1", "A", "\n" }
local NAMES = { "a", "b", "c", "d", "ab", "x-1", "é" }
local NUMBERS = { 0, 1, 2, 3, 4, 5, 7, 10, -1, -3, 0.5, 1.5, 2.25, -0.5, 100, 1e3, 1e15, 3.0, 1e-3 }

local any_value

local function any_array(depth)
  local list = json.array {}
  for i = 1, random(0, 3) do list[i] = any_value(depth) end
  return list
end

local function any_object(depth)
  local map = json.object {}
  for _ = 1, random(0, 3) do map[pick(NAMES)] = any_value(depth) end
  return map
end

function any_value(depth)
  local kind = random(depth > 0 and 7 or 5)
  if kind <= 2 then return pick(TEXTS) end
  if kind == 3 then return pick(NUMBERS) end
  if kind == 4 then return chance(2) end
  if kind == 5 then return json.null end
  return kind == 6 and any_array(depth - 1) or any_object(depth - 1)
end

local like -- a value that a schema may well take

local function like_object(s, depth, root)
  local map = json.object {}
  local required = {}
  for _, name in ipairs(s.required or {}) do required[name] = true end
  for name, one in pairs(s.properties or {}) do
    if required[name] or chance(2) then map[name] = like(one, depth - 1, root) end
  end
  local rest = s.additionalProperties
  if rest ~= false and rest ~= nil then
    for _ = 1, random(0, 3) do
      local name = pick(NAMES)
      map[name] = map[name] or like(rest, depth - 1, root)
    end
  end
  return map
end

local function like_array(s, depth, root)
  local list = json.array {}
  for i = 1, random(s.minItems or 0, s.maxItems or 4) do
    list[i] = like(s.prefixItems and s.prefixItems[i] or s.items or {}, depth - 1, root)
  end
  return list
end

function like(s, depth, root)
  if type(s) ~= "table" or depth <= 0 or chance(15) then return any_value(1) end
  if s["$ref"] then return like(root["$defs"][s["$ref"]:match "[^/]*$"], depth - 1, root) end
  if s.const ~= nil then return s.const end
  if s.enum then return pick(s.enum) end
  for _, name in ipairs { "anyOf", "oneOf", "allOf" } do
    if s[name] then return like(pick(s[name]), depth - 1, root) end
  end
  local kind = type(s.type) == "table" and pick(s.type) or s.type
  if kind == "object" or s.properties then return like_object(s, depth, root) end
  if kind == "array" then return like_array(s, depth, root) end
  if kind == "string" then return pick(TEXTS) end
  if kind == "integer" then return (s.minimum or -2) + random(0, 6) end
  if kind == "number" then return pick(NUMBERS) end
  if kind == "boolean" then return chance(2) end
  return kind == "null" and json.null or any_value(1)
end

-- ---- schemas -----------------------------------------------------------------

local PATTERNS = {
  "^a", "b$", "^[a-z]+$", "^\\p{L}+$", "^.{2,3}$", "^(a|b)*$", "\\d", "^\\S+$", "^$", "^[^a]", "x-\\d", "\\p{Lu}",
}

local any_schema

local function range(opts, low, high)
  if chance(3) then opts.min = random(low, high) end
  if chance(3) then opts.max = random(opts.min or low, high) end
  return opts
end

local function number_options(opts)
  range(opts, -3, 8)
  if chance(6) then opts.above = random(-3, 3) end
  if chance(6) then opts.below = random(0, 9) end
  if chance(5) then opts.multiple_of = pick { 1, 2, 3, 0.5, 0.25, 5 } end
  return opts
end

local function fields(depth)
  local out = {}
  for _ = 1, random(0, 4) do out[pick(NAMES)] = any_schema(depth, true) end
  return out
end

local WORDS = {
  function(opts)
    range(opts, 0, 4)
    if chance(3) then opts.pattern = pick(PATTERNS) end
    if chance(6) then opts.enum = { pick(TEXTS), pick(TEXTS) .. "!" } end
    return schema.string(opts)
  end,
  function(opts) return schema.integer(number_options(opts)) end,
  function(opts) return schema.number(number_options(opts)) end,
  function(opts) return schema.boolean(opts) end,
  function(opts) return schema.null(opts) end,
  function(opts) return schema.any(opts) end,
  function(opts)
    local values = { any_value(1) }
    for i = 2, random(3) do values[i] = any_value(1) end
    return schema.enum(values, opts)
  end,
  function(opts) return schema.const(any_value(2), opts) end,
}

-- Schemas made by hand, of what the words lack. No contains beside unevaluatedItems: to
-- ajv it evaluates every item, to core 2020-12, section 10.3.1.3, those that it matched.
local function by_hand(depth)
  local one, two = any_schema(depth), any_schema(depth)
  return pick {
    { ["not"] = one },
    { oneOf = { one, two } },
    { allOf = { one, two } },
    { ["if"] = one, ["then"] = two, ["else"] = any_schema(depth) },
    { type = "array", contains = one, minContains = random(0, 2), maxContains = random(2, 3) },
    { type = "array", prefixItems = { one, two }, items = chance(2) },
    { type = "array", prefixItems = { one }, allOf = { { prefixItems = { true, two } } },
      unevaluatedItems = chance(3) },
    { type = "object", patternProperties = { ["^a"] = one, ["b$"] = two }, additionalProperties = chance(2) },
    { type = "object", propertyNames = { maxLength = random(0, 3) } },
    { type = "object", dependentRequired = { a = { "b" }, b = { "c" } } },
    { type = "object", dependentSchemas = { a = one }, properties = { b = two } },
    { properties = { a = one }, anyOf = { { properties = { b = two } }, { required = { "c" } } },
      unevaluatedProperties = chance(3) },
    { type = "array", uniqueItems = true },
  }
end

local PARTS = {
  function(depth, opts)
    range(opts, 0, 3)
    if chance(4) then opts.unique = true end
    return schema.array(any_schema(depth), opts)
  end,
  function(depth, opts)
    if chance(3) then opts.additional = pick { true, false, any_schema(depth) } end
    return schema.object(fields(depth), opts)
  end,
  function(depth, opts)
    if chance(3) then opts.additional = true end
    return schema.object(fields(depth), opts)
  end,
  function(depth, opts) return schema.map(any_schema(depth), range(opts, 0, 3)) end,
  function(depth, opts) return schema.any_of({ any_schema(depth), any_schema(depth) }, opts) end,
  function(depth) return schema.nullable(any_schema(depth)) end,
  by_hand,
}

function any_schema(depth, may_be_absent)
  local opts = {}
  if may_be_absent and chance(2) then opts.optional = true end
  if depth <= 0 or chance(3) then return pick(WORDS)(opts) end
  return pick(PARTS)(depth - 1, opts)
end

local function root_schema()
  if not chance(8) then return any_schema(3) end
  return schema.recursive("node", function(node)
    return schema.object {
      a = any_schema(1), next = schema.nullable(node), kids = schema.optional(schema.array(node)),
    }
  end)
end

local function write(case)
  io.write(assert(json.encode(case)), "\n")
end

-- Values near what the schema takes, with our verdicts.
local function ask(s, each)
  local validator = assert(schema.compile(s))
  local case = { schema = schema.wire(s), values = json.array {}, ours = json.array {} }
  for i = 1, VALUES do
    local value = json.decode(json.encode(chance(4) and any_value(2) or like(s, 6, s)))
    case.values[i] = value
    case.ours[i] = validator:check(value) == true
    assert(case.ours[i] == validator:valid(value))
    if each and case.ours[i] then each(value) end
  end
  write(case)
end

for _ = 1, tonumber(arg[2]) do
  local s = root_schema()
  ask(s)
  local form = schema.strict(s)
  if form then
    -- what a strict model may say is, brought back, what the schema takes
    ask(form, function(value)
      assert(schema.compile(s):check(schema.unstrict(value, s)))
    end)
  end
end

-- ---- patterns ----------------------------------------------------------------

local ATOMS = {
  "a", "b", "c", "é", "日", "🐲", ".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "[ab]", "[^a]", "[a-c1]", "[^\\w]",
  "[\\d-]", "\\p{L}", "\\P{L}", "\\p{Lu}", "\\p{Nd}", "[\\p{L}\\d_]", "[^\\P{Ll}]", "\\b", "\\B", "^", "$", "\\n",
  "\\u00e9", "\\u{1F432}", "[]", "[^]", "\\x61", "\\.", "\\-", "[\\-]", "{", "]", "\\a", "(?:)", "-",
}
local COUNTS = { "*", "+", "?", "*?", "+?", "??", "{2}", "{1,}", "{0,2}", "{1,3}?", "{,2}", "{2,1}", "{0}" }

local function any_pattern(depth)
  local out = {}
  for i = 1, random(0, 4) do
    local one
    if depth > 0 and chance(3) then
      one = pick { "(", "(?:" } .. any_pattern(depth - 1) .. ")"
    else
      one = pick(ATOMS)
    end
    out[i] = one .. (chance(3) and pick(COUNTS) or "") .. (chance(6) and "|" or "")
  end
  return table.concat(out)
end

local LETTERS = { "a", "b", "c", "é", "É", "日", "🐲", "1", "٣", " ", "\n", "\226\128\168", "_", "-", "." }

for _ = 1, tonumber(arg[3]) do
  local pattern = any_pattern(2)
  local regex, message = core.regex(pattern)
  local case = { pattern = pattern, texts = json.array {}, ours = json.array {}, refused = message }
  for i = 1, regex and VALUES or 0 do
    local text = {}
    for k = 1, random(0, 6) do text[k] = pick(LETTERS) end
    case.texts[i] = table.concat(text)
    -- V8 looks for \B between the halves of a surrogate pair too; ECMA-262 (22.2.7.2)
    -- steps over code points
    if pattern:find("\\B", 1, true) then case.texts[i] = case.texts[i]:gsub("🐲", "") end
    case.ours[i] = regex:test(case.texts[i])
  end
  write(case)
end

-- Every character of Unicode, by its category.
for _, name in ipairs { "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Nd", "Nl", "No", "P", "S", "Z", "Cc", "Cf", "L" } do
  local regex, count = assert(core.regex(("^\\p{%s}$"):format(name))), 0
  local ranges = json.array {}
  for code = 0, 0xFFFF do
    -- surrogates are no text
    if code < 0xD800 or code > 0xDFFF then
      local bytes = json.decode(('"\\u%04x"'):format(code))
      if regex:test(bytes) then
        count = count + 1
        ranges[count] = code
      end
    end
  end
  write { category = name, codes = ranges }
end
