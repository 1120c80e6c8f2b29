--- message/input: what session:send takes besides a string, checked: messages and
-- content parts. What is no message raises, with its place; nothing is sent.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

--- Roles of the chat completions API (API reference, messages).
M.ROLES = {
  system = true, developer = true, user = true, assistant = true, tool = true, ["function"] = true,
}

local PART_TYPES = { text = true, image_url = true, input_audio = true, file = true, refusal = true }

local function absent(value)
  return value == nil or value == core.json_null
end

-- What JSON and the encoder would take without a word, and no API: said here, with its
-- place. Types that no encoder takes pass: the encoder refuses them with their path.
local PLAIN = { number = true, boolean = true }

-- A list without holes and other keys: what is behind a hole would be lost unseen.
local function check_list(list, where, what)
  local n = #list
  for key in pairs(list) do
    if type(key) ~= "number" or key < 1 or key > n or key % 1 ~= 0 then
      errors.misuse(("%s: %s expected; it has the key %s"):format(where, what, tostring(key)))
    end
  end
  for i = 1, n do
    if list[i] == nil then errors.misuse(("%s: %s expected; item %d is nil"):format(where, what, i)) end
  end
end

-- A plain string among parts is text, where input becomes messages and in prompts.
local function check_part(part, where)
  if type(part) == "string" then return end
  if type(part) ~= "table" or type(part.type) ~= "string" then
    errors.misuse(("%s: a part with a type expected; this %s is no content part"):format(where, type(part)))
  end
  if part.type == "text" and (absent(part.text) or PLAIN[type(part.text)]) then
    errors.misuse(where .. ".text: a string expected")
  end
end

local function check_content(content, where)
  if PLAIN[type(content)] then
    errors.misuse(("%s.content: string or list of parts expected, got %s"):format(where, type(content)))
  end
  if type(content) ~= "table" then return end
  if next(content) == nil and getmetatable(content) == nil then
    errors.misuse(where .. ".content: an empty table is no content")
  end
  check_list(content, where .. ".content", "a string or a list of parts")
  for i, part in ipairs(content) do check_part(part, ("%s.content[%d]"):format(where, i)) end
end

local function check_call(call, where)
  if type(call) ~= "table" or type(call.id) ~= "string" then
    errors.misuse(where .. ".id: a string expected")
  end
  local fn = call["function"]
  if fn == nil and type(call.custom) == "table" then return end
  if type(fn) ~= "table" or type(fn.name) ~= "string" or type(fn.arguments) ~= "string" then
    errors.misuse(where .. ".function: a name and arguments (a string of JSON) expected")
  end
end

local function check_calls(value, where)
  if value.role ~= "assistant" then errors.misuse(where .. ".tool_calls: the assistant's alone") end
  if type(value.tool_calls) ~= "table" then
    errors.misuse(("%s.tool_calls: a list expected, got %s"):format(where, type(value.tool_calls)))
  end
  check_list(value.tool_calls, where .. ".tool_calls", "a list")
  for i, call in ipairs(value.tool_calls) do check_call(call, ("%s.tool_calls[%d]"):format(where, i)) end
end

local function check_fields(value, where)
  if not absent(value.name) and PLAIN[type(value.name)] then errors.misuse(where .. ".name: a string expected") end
  if not absent(value.meta) and type(value.meta) ~= "table" then errors.misuse(where .. ".meta: a table expected") end
  if value.role == "tool" and type(value.tool_call_id) ~= "string" then
    errors.misuse(("%s.tool_call_id is missing"):format(where))
  end
  if value.role == "function" and type(value.name) ~= "string" then
    errors.misuse(("%s.name is missing"):format(where))
  end
end

--- Raises when value is no message: misuse, not a runtime failure. What a text holds is
--- not judged: JSON escapes control characters, and the encoder refuses invalid UTF-8.
--- @param value table
--- @param where string names the place in the error
function M.check(value, where)
  if type(value) ~= "table" then
    errors.misuse(("%s: message expected, got %s"):format(where, type(value)))
  end
  if not M.ROLES[value.role] then
    errors.misuse(("%s.role: %s is no role (system, developer, user, assistant, tool)")
      :format(where, tostring(value.role)))
  end
  if not absent(value.content) then
    check_content(value.content, where)
  elseif value.role ~= "assistant" then
    errors.misuse(("%s.content is missing"):format(where))
  end
  check_fields(value, where)
  if not absent(value.tool_calls) then check_calls(value, where) end
end

-- Plain strings among content parts are text.
local function with_text(message)
  if type(message.content) ~= "table" then return message end
  for i, part in ipairs(message.content) do
    if type(part) == "string" then message.content[i] = { type = "text", text = part } end
  end
  return message
end

local function parts_of(list)
  for i, part in ipairs(list) do
    local where = ("input[%d]"):format(i)
    if type(part) ~= "string" and (type(part) ~= "table" or not PART_TYPES[part.type]) then
      errors.misuse(where .. ": a content part has type text, image_url, input_audio or file")
    end
    check_part(part, where)
  end
  return { with_text { role = "user", content = list } }
end

--- A message, a list of messages or a list of content parts becomes a list of messages.
--- @param own table the caller's; strings among its parts become text
--- @return table[] messages
function M.from_table(own)
  if own.role ~= nil then
    M.check(own, "input")
    return { with_text(own) }
  end
  if next(own) == nil then errors.misuse "input: an empty table is no message" end
  if own.content ~= nil then M.check(own, "input") end -- a message without a role
  check_list(own, "input", "a message or a list")
  if type(own[1]) ~= "table" or own[1].role == nil then return parts_of(own) end
  for i, item in ipairs(own) do
    M.check(item, ("input[%d]"):format(i))
    with_text(item)
  end
  return own
end

return M
