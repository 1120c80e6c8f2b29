--- The bodies of chat completions, for oaichat.testing. Knows the wire's fields.

local json = require "oaichat.json"

local M = {}

local function extend(object, extra)
  for name, value in pairs(extra or {}) do object[name] = value end
  return object
end

--- A whole chat.completion.
---@param text string|table the content, or the whole message
---@param extra table|nil more fields; finish_reason is the choice's
---@return table completion
function M.completion(text, extra)
  extra = extend({}, extra)
  local finish = extra.finish_reason or "stop"
  extra.finish_reason = nil
  local message = type(text) == "table" and text
    or { role = "assistant", content = text }
  return extend({
    id = "chatcmpl-test", object = "chat.completion", created = 1700000000,
    model = "test-model",
    choices = { { index = 0, message = message, finish_reason = finish } },
    usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 },
  }, extra)
end

--- A chat.completion.chunk.
---@param delta string|table a string is the content
---@param extra table|nil more fields; finish_reason is the choice's
---@return table chunk
function M.chunk(delta, extra)
  extra = extend({}, extra)
  local finish = extra.finish_reason or json.null
  extra.finish_reason = nil
  if type(delta) == "string" then delta = { content = delta } end
  return extend({
    id = "chatcmpl-test", object = "chat.completion.chunk",
    created = 1700000000, model = "test-model",
    choices = { { index = 0, delta = delta, finish_reason = finish } },
  }, extra)
end

return M
