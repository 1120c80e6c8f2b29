--- rope: a long text that grows at its end, as a list of strings. What is added is
-- joined to what stands before it so that no byte is copied often and the list stays
-- short: each string is at least twice as long as the one behind it.

local M = {}

--- Strings are not joined beyond this, bytes.
M.JOIN_MAX = 65536

--- @class oaichat.Rope
--- @field n integer strings
--- @field [integer] string

--- @return oaichat.Rope
function M.new()
  return { n = 0 }
end

--- Adds a string at the end.
--- @param rope oaichat.Rope
--- @param text string
function M.push(rope, text)
  local n = rope.n
  while n > 0 do
    local before = rope[n]
    if #before >= 2 * #text or #before + #text > M.JOIN_MAX then break end
    text, rope[n] = before .. text, nil
    n = n - 1
  end
  rope[n + 1], rope.n = text, n + 1
end

return M
