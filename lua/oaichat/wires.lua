--- wires: the wire formats by the name of their API; each is loaded when it is spoken.

local errors = require "oaichat.errors"

local M = {}

local MODULES = {
  chat = "oaichat.wire.chat", responses = "oaichat.wire.responses", anthropic = "oaichat.wire.anthropic",
}

-- What every API has by the same name, and what a turn itself puts there.
local COMMON = { "temperature", "top_p", "response_format", "parallel_tool_calls" }
-- The name of the most tokens of an answer.
local LIMIT = { chat = "max_tokens", responses = "max_output_tokens", anthropic = "max_tokens" }

--- The most tokens of an answer, as any API's parameters say it.
--- @param params table|nil
--- @return any
function M.most_tokens(params)
  return params and (params.max_completion_tokens or params.max_output_tokens or params.max_tokens)
end

--- Parameters that were written for one API as another one takes them: what both have.
--- @param params table
--- @param wire table
--- @return table
function M.carried(params, wire)
  local out = {}
  for _, name in ipairs(COMMON) do out[name] = params[name] end
  out[LIMIT[wire.name]] = M.most_tokens(params)
  return out
end

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
