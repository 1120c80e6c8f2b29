--- options: checks the names and types of options. A wrong name or type is
--- misuse and raises; a bad value of the right type is a config error, a value.

local errors = require "oaichat.errors"

local M = {}

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:sub(i, i) == b:sub(j, j) and 0 or 1
      local best = math.min(row[j] + 1, row[j - 1] + 1, corner + cost)
      corner = row[j]
      row[j] = best
    end
  end
  return row[#b]
end

local function nearest(name, known)
  local best, found = 3, nil
  for candidate in pairs(known) do
    local d = distance(name, candidate)
    if d < best then best, found = d, candidate end
  end
  return found
end

local function has_type(value, types)
  if type(value) == types then return true end
  for kind in types:gmatch "%a+" do
    if type(value) == kind then return true end
  end
  return false
end

--- Checks a table of options against { name = "type|type" } or { name = { … } }
--- for a nested table. Raises with the option's name.
--- @param options table
--- @param known table
--- @param where string prefix for messages, such as "timeouts."
function M.check(options, known, where)
  where = where or ""
  for name, value in pairs(options) do
    local rule = known[name]
    if rule == nil then
      local hint = type(name) == "string" and nearest(name, known)
      errors.misuse(("unknown option %s%s%s"):format(where, tostring(name),
        hint and (" (did you mean %s%s?)"):format(where, hint) or ""))
    end
    if type(rule) == "table" then
      if type(value) ~= "table" then
        errors.misuse(("%s%s: table expected, got %s"):format(where, name, type(value)))
      end
      M.check(value, rule, where .. name .. ".")
    elseif not has_type(value, rule) then
      errors.misuse(("%s%s: %s expected, got %s"):format(where, name, rule:gsub("|", " or "), type(value)))
    end
  end
end

--- The first number in a table that is negative, not a number, or (with
--- `positive`) zero; nil when all are fine.
--- @return string|nil message
function M.bad_number(options, where, positive)
  for name, value in pairs(options or {}) do
    if type(value) == "number" and (value ~= value or value < 0 or (positive and value == 0)) then
      return ("%s%s must be a %s number, not %s"):format(where, name, positive and "positive" or "non-negative",
        tostring(value))
    end
  end
end

return M
