--- schema.run: applies a compiled schema to a value within bounds, and words what
-- is wrong. A node is a list of checks, each check(value, kind, ctx, seen) -> boolean,
-- in the order of schema.compile, and in `kinds` the one kind of value that each is
-- for, nil: any. Knows no keyword.

local errors = require "oaichat.errors"
local value_of = require "oaichat.schema.value"

local M = {}

--- Steps of one check: a schema applied, an item compared, 16 states of a pattern.
--- They take 0.1 to 2.5 seconds on Lua 5.4, by what they are.
M.STEPS_MAX = 2e6
--- Schemas applied inside each other at one time, $ref and anyOf counted too.
M.DEPTH_MAX = 1000
--- Errors that are collected before a check ends.
M.ERRORS_MAX = 10
--- Bytes of the message that lists them, and of one in it.
local MESSAGE_MAX, SENTENCE_MAX = 2000, 600

local TOO_MUCH, TOO_DEEP = {}, {}

--- What a check knows while it runs.
--- @param collect boolean whether errors are wanted, not only the verdict
local function context(collect)
  return {
    steps = M.STEPS_MAX, depth = 0, n = 0, path = {}, kinds = {}, verdicts = {}, explaining = 0,
    errors = collect and {} or nil,
  }
end

--- Takes work off the budget.
function M.spend(ctx, steps)
  local left = ctx.steps - steps
  ctx.steps = left
  if left < 0 then error(TOO_MUCH, 0) end
end

local spend = M.spend

-- Tables are asked once: it takes a walk over their keys.
local function kind_of(ctx, value)
  if type(value) ~= "table" then return value_of.kind(value) end
  local kind = ctx.kinds[value]
  if not kind then
    kind = value_of.kind(value)
    ctx.kinds[value] = kind
  end
  return kind
end

-- What was found of a node and a table before, where only the verdict counts: else
-- alternatives in alternatives would be tried 2^depth times.
local function verdicts_of(node, value, ctx, seen)
  if ctx.errors or seen or type(value) ~= "table" then return nil end
  local known = ctx.verdicts[node]
  if not known then
    known = {}
    ctx.verdicts[node] = known
  end
  return known
end

--- Applies a schema.
--- @param node table
--- @param seen table<string|integer, true>|nil takes the keys that it evaluated
--- @return boolean
function M.apply(node, value, ctx, seen)
  spend(ctx, 1)
  local known = verdicts_of(node, value, ctx, seen)
  if known and known[value] ~= nil then return known[value] end
  local depth = ctx.depth + 1
  if depth > M.DEPTH_MAX then error(TOO_DEEP, 0) end
  ctx.depth = depth
  local kind = kind_of(ctx, value)
  if kind == "string" and node.numeric then
    local number = value_of.big_integer(value)
    if number then value, kind = number, "number" end
  elseif kind == "array" and type(value) ~= "table" then
    value = {}
  end
  local mine = node.unevaluated and {} or seen
  local ok = true
  for i = 1, #node do
    local only = node.kinds[i]
    if (not only or only == kind) and not node[i](value, kind, ctx, mine) then
      ok = false
      if not ctx.errors or #ctx.errors >= M.ERRORS_MAX then break end
    end
  end
  if ok and seen and mine ~= seen then M.merge(ctx, seen, mine) end
  ctx.depth = depth - 1
  if known then known[value] = ok end
  return ok
end

local apply = M.apply

--- What one schema evaluated, its neighbour has evaluated too.
function M.merge(ctx, into, from)
  for key in next, from do
    spend(ctx, 1)
    into[key] = true
  end
end

--- Applies a schema to a member of the value.
--- @param key string|integer
function M.inside(node, key, value, ctx)
  local n = ctx.n + 1
  ctx.n = n
  ctx.path[n] = key
  local ok = apply(node, value, ctx)
  ctx.n = n - 1
  return ok
end

--- Applies a schema for its verdict alone.
function M.quietly(node, value, ctx, seen)
  local wanted = ctx.errors
  ctx.errors = nil
  local ok = apply(node, value, ctx, seen)
  ctx.errors = wanted
  return ok
end

--- The errors of a schema that is known to fail.
--- @return table[]
function M.errors_of(node, value, ctx)
  local wanted = ctx.errors
  ctx.errors = {}
  apply(node, value, ctx)
  local found = ctx.errors
  ctx.errors = wanted
  return found
end

-- ---- errors ------------------------------------------------------------------

local function pointer(path, n)
  local out = {}
  for i = 1, n do
    local key = path[i]
    out[i] = value_of.under("", type(key) == "number" and ("%d"):format(key - 1) or key)
  end
  return table.concat(out)
end

-- a.b[0]["c d"]: as the model would write it
local function readable(path, n)
  local out = {}
  for i = 1, n do
    local key = path[i]
    if type(key) == "number" then
      out[i] = ("[%d]"):format(key - 1)
    elseif type(key) == "string" and key:find "^[%a_$][%w_$]*$" then
      out[i] = (i > 1 and "." or "") .. key
    else
      out[i] = ("[%s]"):format(value_of.quote(tostring(key)))
    end
  end
  return n == 0 and "the value" or table.concat(out)
end

--- Notes an error, when errors are wanted.
--- @param at string the pointer of the keyword in the schema
--- @param what string the end of a sentence that begins with the place
--- @param key string|integer|nil the member that is at fault
--- @return boolean false
function M.fail(ctx, at, value, what, key)
  local list = ctx.errors
  if not list or #list >= M.ERRORS_MAX then return false end
  local n = ctx.n
  if key ~= nil then
    n = n + 1
    ctx.path[n] = key
  end
  list[#list + 1] = {
    path = pointer(ctx.path, n),
    value = value ~= nil and value_of.show(value) or nil,
    keyword = at:match "([^/]*)$",
    schema_path = at,
    message = value_of.cut(("%s %s"):format(readable(ctx.path, n), what), SENTENCE_MAX),
    depth = n,
  }
  return false
end

--- Notes that the value is another one than it must be, and which.
--- @param must string what must be, which "not" can follow
--- @return boolean false
function M.differs(ctx, at, value, must)
  if not ctx.errors then return false end -- a verdict alone needs no words
  return M.fail(ctx, at, value, ("%s, not %s"):format(must, value_of.show(value)))
end

--- Adds errors of a branch to those of the whole.
function M.adopt(ctx, found)
  for _, one in ipairs(found) do
    if #ctx.errors < M.ERRORS_MAX then ctx.errors[#ctx.errors + 1] = one end
  end
  return false
end

local STOPPED = {
  [TOO_MUCH] = { code = "too_complex", message = "the value takes too much work to check" },
  [TOO_DEEP] = { code = "too_deep", message = "the value is nested too deep to check" },
}

local function summary(list)
  local out, size = {}, 0
  for i, one in ipairs(list) do
    size = size + #one.message + 2
    if i > 1 and size > MESSAGE_MAX then
      out[i] = ("and %d more"):format(#list - i + 1)
      break
    end
    out[i] = one.message
  end
  return table.concat(out, "; ")
end

local function failure(list)
  local first = list[1]
  for _, one in ipairs(list) do one.depth = nil end
  local err = errors.new {
    kind = "validation", code = first.code or "schema", path = first.path, value = first.value,
    keyword = first.keyword, schema_path = first.schema_path,
  }
  err.message = summary(list)
  err.errors = list
  return nil, err.message, err
end

-- What ended a run before its verdict; what is no bound of ours is raised on.
local function stopped(why)
  local known = STOPPED[why]
  if not known and tostring(why):find "stack overflow" then known = STOPPED[TOO_DEEP] end
  if not known then error(why, 0) end
  return failure { { path = "", code = known.code, message = known.message, schema_path = "" } }
end

--- Checks a value.
--- @param node table
--- @return boolean|nil ok, string|nil message, oaichat.Error|nil err
function M.check(node, value)
  local ctx = context(true)
  local ran, ok = pcall(apply, node, value, ctx)
  if not ran then return stopped(ok) end
  if ok then return true end
  return failure(ctx.errors)
end

--- A function for verdicts alone, whose work all counts as one check's. What cannot
--- be checked within bounds is not valid.
--- @return fun(node: table, value: any): boolean
function M.prober()
  local ctx = context(false)
  return function(node, value)
    ctx.depth, ctx.n = 0, 0
    local ran, ok = pcall(apply, node, value, ctx)
    return ran and ok
  end
end

--- Only the verdict.
--- @return boolean
function M.valid(node, value)
  return M.prober()(node, value)
end

return M
