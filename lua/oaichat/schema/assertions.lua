--- schema.assertions: the keywords of JSON Schema validation 2020-12 that look at one
-- value: each makes a check from what the schema says, and names the kind of value that
-- it is for, nil: any; or refuses it. C is the compilation (schema.compile):
-- C:wrong(at, text) raises, C:number and the like read.

local core = require "oaichat.core"
local run = require "oaichat.schema.run"
local value_of = require "oaichat.schema.value"

local M = {}

local differs, fail, spend = run.differs, run.fail, run.spend
local integral, quote = value_of.integral, value_of.quote

-- ---- any value (section 6.1) -------------------------------------------------

local TYPES = {
  string = true, number = true, integer = true, boolean = true, null = true, array = true, object = true,
}

local ARTICLES = { array = "an ", integer = "an ", object = "an ", null = "" }

local function type_names(list)
  local out = {}
  for i, name in ipairs(list) do out[i] = (ARTICLES[name] or "a ") .. name end
  return table.concat(out, " or ")
end

M["type"] = function(C, _, node, want, at)
  local list = type(want) == "table" and want or { want }
  local is = {}
  if #list == 0 then C:wrong(at, "must name a type") end
  for _, name in ipairs(list) do
    if not TYPES[name] then C:wrong(at, ("%s is no type"):format(quote(name))) end
    is[name] = true
  end
  local must = "must be " .. type_names(list)
  local function takes(value, kind)
    return is[kind] or kind == "number" and is.integer and integral(value)
  end
  node.numeric = (is.number or is.integer) and not is.string
  node.takes = takes
  return function(value, kind, ctx)
    return takes(value, kind) or differs(ctx, at, value, must)
  end
end

local function charger(ctx)
  return function(work, depth)
    spend(ctx, work)
    if depth > run.DEPTH_MAX then spend(ctx, math.huge) end
  end
end

-- A set of values that answers in one look. Scalars are their own keys.
local function set_of(list)
  local scalars, texts, some = {}, {}, false
  for _, one in ipairs(list) do
    if type(one) == "table" then
      texts[value_of.canonical(one, function() end)] = true
      some = true
    elseif one == one then
      scalars[one] = true
      local number = type(one) == "string" and value_of.big_integer(one)
      if number then scalars[number] = true end
    end
  end
  return function(value, ctx)
    if type(value) ~= "table" then return scalars[value] ~= nil end
    return some and texts[value_of.canonical(value, charger(ctx))] or false
  end
end

local function listed(list)
  local out = {}
  for i, one in ipairs(list) do
    if i > 20 then
      out[i] = "..."
      break
    end
    local text = type(one) == "table" and core.json_encode(one) or quote(one)
    out[i] = #text > 200 and quote(one) or text
  end
  return table.concat(out, ", ")
end

local function one_of(list, at, words)
  local has, must = set_of(list), words .. listed(list)
  return function(value, _, ctx)
    return has(value, ctx) or differs(ctx, at, value, must)
  end
end

M.enum = function(C, _, _, want, at)
  if type(want) ~= "table" then C:wrong(at, "must be a list") end
  return one_of(want, at, "must be one of ")
end

M.const = function(_, _, _, want, at)
  return one_of({ want }, at, "must be ")
end

-- ---- numbers (section 6.2) ---------------------------------------------------

local function compare(words, holds)
  return function(C, _, _, want, at)
    want = C:number(want, at)
    local must = ("must be %s %s"):format(words, quote(want))
    return function(value, _, ctx)
      return holds(value, want) or differs(ctx, at, value, must)
    end, "number"
  end
end

M.minimum = compare("at least", function(value, want) return value >= want end)
M.maximum = compare("at most", function(value, want) return value <= want end)
M.exclusiveMinimum = compare("more than", function(value, want) return value > want end)
M.exclusiveMaximum = compare("less than", function(value, want) return value < want end)

M.multipleOf = function(C, _, _, want, at)
  want = C:number(want, at)
  if want <= 0 or want == math.huge then C:wrong(at, "must be above 0") end
  local whole, must = integral(want), "must be a multiple of " .. quote(want)
  return function(value, _, ctx)
    spend(ctx, whole and integral(value) and 0 or 20)
    return value_of.multiple(value, want) or differs(ctx, at, value, must)
  end, "number"
end

-- ---- strings (section 6.3) ---------------------------------------------------

local function plural(n, one, many)
  return n == 1 and "1 " .. one or ("%d %s"):format(n, many)
end

-- What has a size: how it is measured, and what it is made of.
local function sized(of, measure, one, many, least)
  return function(C, _, _, want, at)
    C:count(want, at)
    local words = ("must have at %s %s"):format(least and "least" or "most", plural(want, one, many))
    return function(value, _, ctx)
      local n = measure(value, ctx)
      if least and n >= want or not least and n <= want then return true end
      return fail(ctx, at, value, ("%s, not %d"):format(words, n))
    end, of
  end
end

local function text_length(value, ctx)
  spend(ctx, math.floor(#value / 256))
  return value_of.length(value)
end

M.minLength = sized("string", text_length, "character", "characters", true)
M.maxLength = sized("string", text_length, "character", "characters", false)

--- A pattern's test, charged to the check that asks (core 2020-12, section 6.4).
--- @return fun(text: string, ctx: table): boolean
function M.matcher(C, pattern, at)
  if type(pattern) ~= "string" then C:wrong(at, "must be a string") end
  local regex, why = core.regex(pattern)
  if not regex then C:wrong(at, ("%s cannot be used: %s"):format(quote(pattern), why)) end
  return function(text, ctx)
    local found, steps = regex:test(text, 1 + ctx.steps * 16)
    spend(ctx, found == nil and math.huge or 1 + steps / 16)
    return found
  end
end

M.pattern = function(C, _, _, want, at)
  local matches = M.matcher(C, want, at)
  return function(value, _, ctx)
    return matches(value, ctx) or fail(ctx, at, value, ("must match the pattern %s"):format(want))
  end, "string"
end

-- An annotation, as 2020-12 has it (section 7.2.1), unless formats are asked for.
M.format = function(C, _, _, want, at)
  local holds = C.formats and C.formats[want]
  if not holds then return nil end
  local must = "must be a valid " .. want
  return function(value, _, ctx)
    spend(ctx, math.floor(#value / 16))
    return holds(value) or differs(ctx, at, value, must)
  end, "string"
end

-- ---- arrays (section 6.4) ----------------------------------------------------

local function items(value)
  return #value
end

M.minItems = sized("array", items, "item", "items", true)
M.maxItems = sized("array", items, "item", "items", false)

M.uniqueItems = function(C, _, _, want, at)
  if type(want) ~= "boolean" then C:wrong(at, "must be true or false") end
  if not want then return nil end
  return function(value, _, ctx)
    local first, charge = {}, charger(ctx)
    for i = 1, #value do
      local key = value_of.canonical(value[i], charge)
      if first[key] then
        return fail(ctx, at, value[i], ("repeats [%d]; items must be unique"):format(first[key] - 1), i)
      end
      first[key] = i
    end
    return true
  end, "array"
end

-- ---- objects (section 6.5) ---------------------------------------------------

local function members(value, ctx)
  local n = 0
  for _ in next, value do n = n + 1 end
  spend(ctx, n / 8)
  return n
end

M.minProperties = sized("object", members, "property", "properties", true)
M.maxProperties = sized("object", members, "property", "properties", false)

M.required = function(C, _, node, want, at)
  C:strings(want, at)
  node.required = {}
  for _, name in ipairs(want) do node.required[name] = true end
  return function(value, _, ctx)
    spend(ctx, #want / 8)
    local ok = true
    for i = 1, #want do
      if rawget(value, want[i]) == nil then
        ok = fail(ctx, at, nil, "is required but missing", want[i])
        if not ctx.errors then break end
      end
    end
    return ok
  end, "object"
end

M.dependentRequired = function(C, _, _, want, at)
  C:map(want, at)
  local n = 0
  for name, list in next, want do
    C:strings(list, C.under(at, name))
    n = n + 1
  end
  return function(value, _, ctx)
    local ok = true
    spend(ctx, n / 8)
    for name, list in next, want do
      for _, other in ipairs(rawget(value, name) ~= nil and list or {}) do
        spend(ctx, 1)
        if rawget(value, other) == nil then
          ok = fail(ctx, at, nil, ("is required where %s is given"):format(name), other)
        end
      end
    end
    return ok
  end, "object"
end

return M
