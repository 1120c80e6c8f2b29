--- tables: the few things that everybody does to tables.

local M = {}

--- Appends items to a list.
--- @param list table
--- @param items table
--- @return table list
function M.add(list, items)
  for _, item in ipairs(items) do list[#list + 1] = item end
  return list
end

--- A new table with the fields of both; the second one's win. Not deep.
--- @param base table|nil
--- @param extra table|nil
--- @return table
function M.merged(base, extra)
  local out = {}
  for name, value in pairs(base or {}) do out[name] = value end
  for name, value in pairs(extra or {}) do out[name] = value end
  return out
end

return M
