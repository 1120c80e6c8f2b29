--- message: the neutral message and what may stand in a conversation.
-- A message has the fields of chat completions (role, content, name, tool_calls,
-- tool_call_id, refusal) and `meta`, which is never sent: origin, opaque provider
-- fields, marks. What few turns need is loaded when it is first used.

local errors = require "oaichat.errors"
local later = require "oaichat.later"
local tables = require "oaichat.tables"

local inputs = later "oaichat.message.input"
local mending = later "oaichat.message.mend"
local meta = later "oaichat.message.meta"
local parts = later "oaichat.message.part"

local HOMES = {
  ROLES = inputs, check = inputs, open_calls = mending, close_call = mending, mend = mending, merge = meta,
  with_alternatives = meta, without_alternatives = meta, media_type = parts, part = parts,
}

local M = setmetatable({}, {
  __index = function(_, name) return HOMES[name] and HOMES[name][name] end,
})

M.copy = tables.copy

--- What session:send takes becomes a list of messages of our own: a string, a
--- message, a list of messages, or a list of content parts (text, image_url,
--- input_audio, file). Plain strings among parts are text.
--- @param input string|table|nil
--- @return table[] messages
function M.from_input(input)
  if input == nil then return {} end
  if type(input) == "string" then return { { role = "user", content = input } } end
  if type(input) ~= "table" then
    errors.misuse(("input: string, message or list expected, got %s"):format(type(input)))
  end
  return inputs.from_table(tables.copy(input))
end

return M
