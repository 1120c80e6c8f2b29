--- wires: the wire formats by the name of their API; each is loaded when it is spoken.

local errors = require "oaichat.errors"

local M = {}

local MODULES = {
  chat = "oaichat.wire.chat", responses = "oaichat.wire.responses", anthropic = "oaichat.wire.anthropic",
}

--- @param api string|nil "chat" without one; raises for one that is none
--- @return table wire
function M.of(api)
  api = api or "chat"
  if MODULES[api] then return require(MODULES[api]) end
  local names = {}
  for name in pairs(MODULES) do names[#names + 1] = name end
  table.sort(names)
  errors.misuse(("api: %s is none of %s"):format(tostring(api), table.concat(names, ", ")))
end

return M
