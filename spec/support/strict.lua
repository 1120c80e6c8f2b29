--- strict: the rules that OpenAI's API holds a conversation to, by themselves: a second
-- opinion on what the library sends. Written from the API reference, not from our code.

local M = {}

local ROLES = { system = true, developer = true, user = true, assistant = true, tool = true }

local function answered(messages, at, calls)
  local open = {}
  for _, call in ipairs(calls) do
    if type(call.id) ~= "string" or call.id == "" then return nil, "a call without an id" end
    if open[call.id] then return nil, "two calls with the id " .. call.id end
    open[call.id] = true
    if type(call["function"].arguments) ~= "string" then return nil, "arguments that are no string" end
  end
  while messages[at] and messages[at].role == "tool" do
    local id = messages[at].tool_call_id
    if not open[id] then return nil, "a result of an unknown or answered call " .. tostring(id) end
    open[id] = nil
    at = at + 1
  end
  local left = next(open)
  if left then return nil, "no result of the call " .. left end
  return at
end

--- @param messages table[] of a request's body
--- @return string|nil problem
function M.problem(messages)
  if not messages[1] then return "no messages" end
  local at = 1
  while messages[at] do
    local message = messages[at]
    local where = ("messages[%d]: "):format(at)
    if not ROLES[message.role] then return where .. "role " .. tostring(message.role) end
    if message.meta ~= nil then return where .. "meta was sent" end
    if message.role == "tool" then return where .. "a result without a call before it" end
    if message.role ~= "assistant" and message.content == nil then return where .. "no content" end
    at = at + 1
    if message.role == "assistant" and message.tool_calls then
      if not message.tool_calls[1] then return where .. "an empty list of calls" end
      local why
      at, why = answered(messages, at, message.tool_calls)
      if not at then return where .. why end
    end
  end
end

return M
