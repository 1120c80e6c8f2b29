--- tables: the few things that everybody does to tables.

local M = {}

--- Appends items to a list.
--- @param list table
--- @param items table
--- @return table list
function M.add(list, items)
  local n = #list
  for i = 1, #items do list[n + i] = items[i] end
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

-- Of a table that holds none; nil of others. It needs no list of what was seen.
local function flat_copy(value)
  local out = {}
  for k, v in pairs(value) do
    if type(v) == "table" then return nil end
    out[k] = v
  end
  return setmetatable(out, getmetatable(value))
end

local function deep_copy(value, seen)
  local out = setmetatable({}, getmetatable(value))
  seen[value] = out
  for k, v in pairs(value) do
    if type(v) == "table" then
      if not seen[v] then seen[v] = flat_copy(v) or deep_copy(v, seen) end
      v = seen[v]
    end
    out[k] = v
  end
  return out
end

--- Deep copy that keeps metatables (json.array's among them) and the shape: what
--- refers to itself does so in the copy, and the encoder names the place.
function M.copy(value)
  if type(value) ~= "table" then return value end
  local out, inner = {}, nil
  for k, v in pairs(value) do
    if type(v) == "table" then
      local own = not inner and flat_copy(v) -- one flat table inside: a message's meta
      if not own then return deep_copy(value, {}) end
      v, inner = own, v
    end
    out[k] = v
  end
  return setmetatable(out, getmetatable(value))
end

return M
