--- opaque: the fields of an answer's message that only its provider understands, and which of
--- them go back to it. None ever goes to another origin. Facts, no code of a wire.

local M = {}

--- Kept with a message because a server may need them to go on with the conversation.
M.KEPT = {
  reasoning_details = true, reasoning_opaque = true, reasoning_signature = true, extra_content = true,
  thinking_blocks = true, thought_signature = true, encrypted_content = true,
}

-- A field goes back: always; with tool calls alone; where the field named is not there.
local ALWAYS, WITH_CALLS = true, "calls"

-- origin -> field -> when. A field that an origin does not name does not go there; at an
-- origin that is not here (one's own server, a gateway) each goes back as it came.
local RULES = {
  -- chat completions have no reasoning in their input (API reference, assistant message)
  ["https://api.openai.com:443"] = {},
  -- only between the calls of one turn; elsewhere it is refused (api-docs.deepseek.com,
  -- "Thinking mode")
  ["https://api.deepseek.com:443"] = { reasoning_content = WITH_CALLS },
  -- the blocks "exactly as they came"; the plain text is the same again (openrouter.ai,
  -- "Reasoning tokens", "Preserving reasoning")
  ["https://openrouter.ai:443"] = {
    reasoning_details = ALWAYS, reasoning = { without = "reasoning_details" },
  },
  -- thought signatures stand in extra_content of calls and messages (ai.google.dev, "Thought
  -- signatures", OpenAI compatibility)
  ["https://generativelanguage.googleapis.com:443"] = { extra_content = ALWAYS },
  -- encrypted reasoning is the Responses API's (docs.x.ai, "Reasoning")
  ["https://api.x.ai:443"] = {},
}

--- May a field go back with its message?
--- @param origin string where the message came from, and goes
--- @param field string
--- @param message table
--- @return boolean
function M.replays(origin, field, message)
  local rules = RULES[origin]
  if not rules then return true end
  local rule = rules[field]
  if rule == WITH_CALLS then return message.tool_calls ~= nil end
  if type(rule) == "table" then return (message.meta.opaque or {})[rule.without] == nil end
  return rule == ALWAYS
end

return M
