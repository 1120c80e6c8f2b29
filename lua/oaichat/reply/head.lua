--- reply/head: the header lines of an answer, as text, asked as an exchange of the core is:
--- for a reply that is read behind its exchange.

local M = {}

local Head = {}
Head.__index = Head

-- Each name, and the value without blanks at its ends, in time that is the text's length.
local function fields(text)
  local lines = text:gmatch "[^\n]+"
  return function()
    for line in lines do
      local colon = line:find(":", 1, true)
      if colon then
        local from = line:find("[^ \t\r]", colon + 1)
        return line:sub(1, colon - 1), from and line:match(".*[^ \t\r]", from) or ""
      end
    end
  end
end

--- The value of the first of the names that it has; of equal ones the last.
--- @param ... string in lower case
--- @return string|nil
function Head:header(...)
  local found = {}
  for name, value in fields(self.text) do found[name:lower()] = value end
  for i = 1, select("#", ...) do
    local value = found[(select(i, ...))]
    if value then return value end
  end
end

--- Those whose names begin with the prefix that the first such one has.
--- @param ... string prefixes in lower case
--- @return table|nil values by the rest of the name, integer|nil which prefix
function Head:headers(...)
  local prefixes, out, which = { ... }, nil, nil
  for name, value in fields(self.text) do
    name = name:lower()
    for i, prefix in ipairs(prefixes) do
      if name:sub(1, #prefix) == prefix and #name > #prefix and (not which or which == i) then
        out, which = out or {}, i
        out[name:sub(#prefix + 1)] = value
      end
    end
  end
  return out, which
end

--- @param text string lines "Name: value"
--- @return table head
function M.new(text)
  return setmetatable({ text = text }, Head)
end

return M
