--- peak: how much memory this process took at most since `start`, in bytes. Linux
-- alone tells; elsewhere all is nil, and so it is under AddressSanitizer, which keeps
-- what was freed.

local M = {}

M.sanitized = (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) ~= nil

local function field(name)
  local file = io.open "/proc/self/status"
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return tonumber(text:match(name .. ":%s*(%d+)")) * 1024
end

--- Collects, and forgets the high water mark of what was before (Linux, proc(5),
--- clear_refs).
--- @return number|nil base what is taken now; nil where nobody can tell
function M.start()
  if M.sanitized then return nil end
  for _ = 1, 3 do collectgarbage() end
  local file = io.open("/proc/self/clear_refs", "w")
  local done = file and file:write "5"
  if file then done = file:close() and done end
  return done and field "VmRSS" or nil
end

--- @param base number|nil
--- @return number|nil bytes more than at the start, at most
function M.above(base)
  return base and field "VmHWM" - base
end

return M
