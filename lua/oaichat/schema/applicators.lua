--- schema.applicators: the keywords of JSON Schema core 2020-12, sections 8.2, 10 and 11,
-- that apply schemas: to the value itself, to its members, to what no other keyword
-- has looked at. They leave on their node what schema.absent asks of it.

local assertions = require "oaichat.schema.assertions"
local run = require "oaichat.schema.run"

local M = {}

local apply, inside, quietly, fail, spend = run.apply, run.inside, run.quietly, run.fail, run.spend

-- Two pieces of one value have their evaluated keys in one table.
local function branch_seen(seen)
  return seen and {} or nil
end

-- ---- the value itself (8.2.3, 10.2) ------------------------------------------

local function same(C, _, node, ref, at)
  local target = C:reference(ref, at)
  C:in_place(target)
  node.all[#node.all + 1] = target
  return function(value, _, ctx, seen)
    return apply(target, value, ctx, seen)
  end
end

M["$ref"] = same
-- One document has one dynamic scope: the anchor it names (8.2.3.2).
M["$dynamicRef"] = same

M.allOf = function(C, _, node, list, at)
  local nodes = C:branches(list, at)
  for _, one in ipairs(nodes) do node.all[#node.all + 1] = one end
  return function(value, _, ctx, seen)
    local ok = true
    for i = 1, #nodes do
      ok = apply(nodes[i], value, ctx, seen) and ok
      if not ok and not ctx.errors then return false end
    end
    return ok
  end
end

-- Whether a value is of a schema's type, as far as its `type` and those of its $ref
-- and allOf say.
local function fits(node, value, kind, ctx)
  spend(ctx, 1)
  if node.takes and not node.takes(value, kind) then return false end
  for _, one in ipairs(node.all) do
    if not fits(one, value, kind, ctx) then return false end
  end
  return true
end

local function only(list, holds)
  local out = {}
  for _, one in ipairs(list) do
    if holds(one) then out[#out + 1] = one end
  end
  return #out > 0 and out or list
end

-- Explanations in explanations that look at more than one alternative.
local EXPLAINING_MAX = 3

-- The errors of the alternatives that were meant: the value is of their type, and the
-- member that tells them apart is theirs.
local function explain(nodes, value, kind, ctx, at)
  local n = ctx.n
  nodes = only(nodes, function(node) return fits(node, value, kind, ctx) end)
  if #nodes == 1 then return run.adopt(ctx, run.errors_of(nodes[1], value, ctx)) end
  if ctx.explaining == EXPLAINING_MAX then
    return fail(ctx, at, value, ("matches none of %d alternatives"):format(#nodes))
  end
  ctx.explaining = ctx.explaining + 1
  local lists = {}
  for i = 1, #nodes do lists[i] = run.errors_of(nodes[i], value, ctx) end
  ctx.explaining = ctx.explaining - 1
  lists = only(lists, function(list)
    for _, one in ipairs(list) do
      local tells = one.keyword == "const" or one.keyword == "enum"
      if tells and (one.depth == n or one.depth == n + 1) then return false end
    end
    return true
  end)
  if #lists == 1 then return run.adopt(ctx, lists[1]) end
  local out = {}
  for i = 1, math.min(#lists, 3) do out[i] = ("(%d) %s"):format(i, lists[i][1] and lists[i][1].message or "") end
  if #lists > 3 then out[4] = "..." end
  return fail(ctx, at, value, ("matches none of %d alternatives: %s"):format(#nodes, table.concat(out, ", ")))
end

M.anyOf = function(C, _, node, list, at)
  local nodes = C:branches(list, at)
  node.any[#node.any + 1] = nodes
  return function(value, kind, ctx, seen)
    local ok = false
    for i = 1, #nodes do
      local mine = branch_seen(seen)
      if quietly(nodes[i], value, ctx, mine) then
        ok = true
        if not seen then break end
        run.merge(ctx, seen, mine)
      end
    end
    if ok or not ctx.errors then return ok end
    return explain(nodes, value, kind, ctx, at)
  end
end

M.oneOf = function(C, _, node, list, at)
  local nodes = C:branches(list, at)
  node.any[#node.any + 1] = nodes
  return function(value, kind, ctx, seen)
    local first, second
    for i = 1, #nodes do
      local mine = branch_seen(seen)
      if quietly(nodes[i], value, ctx, mine) then
        if first then
          second = i
          break
        end
        first = i
        if seen then run.merge(ctx, seen, mine) end
      end
    end
    if first and not second then return true end
    if not ctx.errors then return false end
    if not first then return explain(nodes, value, kind, ctx, at) end
    return fail(ctx, at, value, ("matches alternatives %d and %d where only one may match"):format(first, second))
  end
end

M["not"] = function(C, _, _, schema, at)
  local node = C:schema(schema, at)
  C:in_place(node)
  return function(value, _, ctx)
    if not quietly(node, value, ctx) then return true end
    return fail(ctx, at, value, "matches what it must not match")
  end
end

M["if"] = function(C, schema, _, condition, at)
  local parent = at:gsub("/if$", "")
  local when = C:schema(condition, at)
  local yes = schema["then"] ~= nil and C:schema(schema["then"], parent .. "/then")
  local no = schema["else"] ~= nil and C:schema(schema["else"], parent .. "/else")
  for _, one in ipairs { when, yes or when, no or when } do C:in_place(one) end
  return function(value, _, ctx, seen)
    local mine = branch_seen(seen)
    local holds = quietly(when, value, ctx, mine)
    if holds and seen then run.merge(ctx, seen, mine) end
    local branch
    if holds then branch = yes else branch = no end
    return not branch or apply(branch, value, ctx, seen)
  end
end

M.dependentSchemas = function(C, _, _, map, at)
  local nodes = C:nodes(map, at)
  local names = C.sorted(nodes)
  for _, name in ipairs(names) do C:in_place(nodes[name]) end
  return function(value, _, ctx, seen)
    local ok = true
    spend(ctx, #names / 8)
    for _, name in ipairs(names) do
      if rawget(value, name) ~= nil then ok = apply(nodes[name], value, ctx, seen) and ok end
    end
    return ok
  end, "object"
end

-- ---- arrays (10.3.1) ---------------------------------------------------------

M.prefixItems = function(C, _, node, list, at)
  local nodes = C:list(list, at)
  node.prefix = nodes
  return function(value, _, ctx, seen)
    local ok = true
    for i = 1, math.min(#nodes, #value) do
      ok = inside(nodes[i], i, value[i], ctx) and ok
      if seen then seen[i] = true end
    end
    return ok
  end, "array"
end

local function each_item(item, from, value, ctx, seen)
  local ok = true
  for i = from, #value do
    ok = inside(item, i, value[i], ctx) and ok
    if not ok and (not ctx.errors or #ctx.errors >= run.ERRORS_MAX) then return false end
    if seen then seen[i] = true end
  end
  return ok
end

M.items = function(C, schema, node, items, at)
  local item = C:schema(items, at)
  node.items = item
  local from = type(schema.prefixItems) == "table" and #schema.prefixItems + 1 or 1
  return function(value, _, ctx, seen)
    return each_item(item, from, value, ctx, seen)
  end, "array"
end

M.contains = function(C, schema, _, contained, at)
  local node = C:schema(contained, at)
  local min, max = schema.minContains or 1, schema.maxContains or math.huge
  C:count(min, at:gsub("/contains$", "/minContains"))
  if max ~= math.huge then C:count(max, at:gsub("/contains$", "/maxContains")) end
  return function(value, _, ctx, seen)
    local n = 0
    for i = 1, #value do
      if quietly(node, value[i], ctx) then
        n = n + 1
        if seen then seen[i] = true end
      end
    end
    if n >= min and n <= max then return true end
    local words = n < min and ("at least %d"):format(min) or ("at most %d"):format(max)
    return fail(ctx, at, value, ("must contain %s of a kind, not %d"):format(words, n))
  end, "array"
end

-- ---- objects (10.3.2) --------------------------------------------------------

M.properties = function(C, _, node, map, at)
  local nodes = C:nodes(map, at)
  node.properties = nodes
  local names = C.sorted(nodes)
  return function(value, _, ctx, seen)
    local ok = true
    spend(ctx, #names / 8)
    for i = 1, #names do
      local name = names[i]
      local member = rawget(value, name)
      if member ~= nil then
        ok = inside(nodes[name], name, member, ctx) and ok
        if seen then seen[name] = true end
        if not ok and not ctx.errors then return false end
      end
    end
    return ok
  end, "object"
end

M.patternProperties = function(C, _, node, map, at)
  local nodes, patterns = C:nodes(map, at), {}
  for i, pattern in ipairs(C.sorted(nodes)) do
    patterns[i] = { matches = assertions.matcher(C, pattern, C.under(at, pattern)), node = nodes[pattern] }
  end
  node.patterns = patterns
  return function(value, _, ctx, seen)
    local ok = true
    for name, member in next, value do
      for _, one in ipairs(patterns) do
        if one.matches(tostring(name), ctx) then
          ok = inside(one.node, name, member, ctx) and ok
          if seen then seen[name] = true end
          if not ok and not ctx.errors then return false end
        end
      end
    end
    return ok
  end, "object"
end

local function matches_any(patterns, name, ctx)
  for _, one in ipairs(patterns) do
    if one.matches(tostring(name), ctx) then return true end
  end
  return false
end

-- Members in the order of their names, so that errors come in one order.
local function ordered(value, ctx)
  local names = {}
  for name in next, value do names[#names + 1] = name end
  spend(ctx, #names / 4)
  if ctx.errors then
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  end
  return names
end

local function known_names(C, node)
  local names = C.sorted(node.properties or {})
  if #names == 0 or #names > 30 then return "" end
  return "; allowed: " .. table.concat(names, ", ")
end

-- A member that no other keyword is for.
local function judge_rest(rest, name, value, ctx, at, hint)
  local member = rawget(value, name)
  if rest.never then return fail(ctx, at, member, "is not an allowed property" .. hint, name) end
  return inside(rest, name, member, ctx)
end

M.additionalProperties = function(C, _, node, schema, at)
  local rest = C:schema(schema, at)
  local hint = rest.never and known_names(C, node) or ""
  node.rest = rest
  return function(value, _, ctx, seen)
    local ok, properties = true, node.properties or {}
    for _, name in ipairs(ordered(value, ctx)) do
      if not properties[name] and not matches_any(node.patterns or {}, name, ctx) then
        ok = judge_rest(rest, name, value, ctx, at, hint) and ok
        if not ok and not ctx.errors then return false end
      end
      if seen then seen[name] = true end
    end
    return ok
  end, "object"
end

M.propertyNames = function(C, _, _, schema, at)
  local node = C:schema(schema, at)
  return function(value, _, ctx)
    for _, name in ipairs(ordered(value, ctx)) do
      if not quietly(node, name, ctx) then
        return fail(ctx, at, name, "has a name that is not allowed", name)
      end
    end
    return true
  end, "object"
end

-- ---- what nothing looked at (11) ---------------------------------------------

M.unevaluatedProperties = function(C, _, node, schema, at)
  local rest = C:schema(schema, at)
  node.unevaluated = true
  return function(value, _, ctx, seen)
    local ok = true
    for _, name in ipairs(ordered(value, ctx)) do
      if not seen[name] then
        ok = judge_rest(rest, name, value, ctx, at, "") and ok
        seen[name] = true
      end
    end
    return ok
  end, "object"
end

M.unevaluatedItems = function(C, _, node, schema, at)
  local rest = C:schema(schema, at)
  node.unevaluated = true
  return function(value, _, ctx, seen)
    local ok = true
    for i = 1, #value do
      if not seen[i] then
        ok = inside(rest, i, value[i], ctx) and ok
        seen[i] = true
      end
    end
    return ok
  end, "array"
end

return M
