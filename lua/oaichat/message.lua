--- message: the neutral message and what may stand in a conversation.
-- A message has the fields of chat completions (role, content, name, tool_calls,
-- tool_call_id, refusal) and `meta`, which is never sent: origin, opaque provider
-- fields, marks. This file checks and copies; it sends nothing.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local tables = require "oaichat.tables"

local M = {}

--- Roles of the chat completions API (API reference, messages).
M.ROLES = {
  system = true, developer = true, user = true, assistant = true, tool = true, ["function"] = true,
}

local PART_TYPES = { text = true, image_url = true, input_audio = true, file = true, refusal = true }

-- Of a table that holds none; nil of others. It needs no list of what was seen.
local function flat_copy(value)
  local out = {}
  for k, v in next, value do
    if type(v) == "table" then return nil end
    out[k] = v
  end
  return setmetatable(out, getmetatable(value))
end

local function deep_copy(value, seen)
  local out = setmetatable({}, getmetatable(value))
  seen[value] = out
  for k, v in next, value do
    if type(v) == "table" then
      if not seen[v] then seen[v] = flat_copy(v) or deep_copy(v, seen) end
      v = seen[v]
    end
    out[k] = v
  end
  return out
end

--- Deep copy that keeps metatables (json.array's among them) and the shape: what
--- refers to itself does so in the copy, and the encoder names the place.
function M.copy(value)
  if type(value) ~= "table" then return value end
  return flat_copy(value) or deep_copy(value, {})
end

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
  local own = M.copy(input)
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

--- The calls of an assistant message that no result answers, with the position
--- behind which results belong. Only the last round can be open.
--- @param messages table[]
--- @return table[] calls
function M.open_calls(messages)
  local answered = {}
  for i = #messages, 1, -1 do
    local message = messages[i]
    if message.role == "tool" then
      answered[message.tool_call_id] = true
    elseif message.role == "assistant" and message.tool_calls then
      local open = {}
      for _, call in ipairs(message.tool_calls) do
        if not answered[call.id] then open[#open + 1] = call end
      end
      return open
    else
      return {}
    end
  end
  return {}
end

--- The result of a call that has none: what it gave while another call of its round
--- waited for approval; else a word for the model why there is none: what is sent is
--- always valid, since the API refuses a call without an answer.
--- @param call table
--- @param why string|nil
--- @param message table|nil the assistant message; its meta.calls may know more
--- @return table message
function M.close_call(call, why, message)
  for _, kept in ipairs(message and message.meta and message.meta.calls or {}) do
    if kept.id == call.id and kept.content ~= nil then
      return { role = "tool", tool_call_id = call.id, content = kept.content }
    end
  end
  return {
    role = "tool", tool_call_id = call.id, content = "error: " .. (why or "the tool was not run"),
    meta = { synthesised = true },
  }
end

-- One pass over a conversation; `open` are the calls that wait for their results.
local Mender = {}
Mender.__index = Mender

function Mender:note(text)
  self.notes[#self.notes + 1] = text
end

function Mender:close()
  for _, call in ipairs(self.open) do
    if not self.answered[call.id] then
      self.out[#self.out + 1] = M.close_call(call, "it was not run", self.parked)
      self:note(("call %s had no result"):format(call.id))
    end
  end
  self.open, self.answered = {}, {}
end

function Mender:result(message)
  local id = message.tool_call_id
  local known = false
  for _, call in ipairs(self.open) do known = known or call.id == id end
  if not known then return self:note(("a result of %s had no call"):format(tostring(id))) end
  if self.answered[id] then return self:note(("call %s had two results"):format(id)) end
  self.answered[id] = true
  self.out[#self.out + 1] = message
end

function Mender:calls(message)
  local seen, calls = {}, {}
  for _, call in ipairs(message.tool_calls) do
    if seen[call.id] then
      self:note(("two calls had the id %s"):format(call.id))
    else
      seen[call.id] = true
      calls[#calls + 1] = call
    end
  end
  self.open, self.answered, self.parked = calls, {}, message
  if #calls == #message.tool_calls then return message end
  local own = tables.merged(message)
  own.tool_calls = calls
  return own
end

--- A conversation that an API takes: each call is answered once, each result has its
--- call, in this order (API reference, tool message). Calls at the very end may be
--- open: they wait, or are closed when something is said.
--- @param messages table[]
--- @return table[] messages the same list when nothing was wrong
--- @return string[]|nil notes what was mended
function M.mend(messages)
  local mender = setmetatable({ out = {}, notes = {}, open = {}, answered = {} }, Mender)
  for _, message in ipairs(messages) do
    if message.role == "tool" then
      mender:result(message)
    else
      mender:close()
      if message.role == "assistant" and message.tool_calls and message.tool_calls[1] then
        message = mender:calls(message)
      end
      mender.out[#mender.out + 1] = message
    end
  end
  if not mender.notes[1] then return messages end
  return mender.out, mender.notes
end

--- A table with the fields of both; json.null removes one.
--- @param base table
--- @param fields table
--- @return table
function M.merge(base, fields)
  local out = tables.merged(base)
  for name, value in pairs(fields) do
    if value == core.json_null then out[name] = nil else out[name] = M.copy(value) end
  end
  return out
end

-- Messages of a history never change: another meta makes another message.
local function with_meta(message, name, value)
  local out = tables.merged(message)
  out.meta = tables.merged(message.meta)
  out.meta[name] = value
  if next(out.meta) == nil then out.meta = nil end
  return out
end

--- The message where a conversation forks, with the branches that were left.
--- @param message table
--- @param branches table[] { messages } each
function M.with_alternatives(message, branches)
  return with_meta(message, "alternatives", branches[1] and branches or nil)
end

function M.without_alternatives(message)
  return message.meta and message.meta.alternatives and with_meta(message, "alternatives", nil) or message
end

-- Media types by the file's first bytes.
local MAGIC = {
  { "^\137PNG\r\n\26\n", "image/png" },
  { "^\255\216\255", "image/jpeg" },
  { "^GIF8[79]a", "image/gif" },
  { "^RIFF....WEBP", "image/webp" },
  { "^RIFF....WAVE", "audio/wav" },
  { "^ID3", "audio/mp3" },
  { "^\255[\251\243\242]", "audio/mp3" },
  { "^%%PDF%-", "application/pdf" },
}

--- The media type of bytes, by content, never by name.
--- @param bytes string
--- @return string|nil type nil when it is none of PNG, JPEG, GIF, WebP, WAV, MP3, PDF
function M.media_type(bytes)
  for _, rule in ipairs(MAGIC) do
    if bytes:find(rule[1]) then return rule[2] end
  end
end

--- A content part from bytes in memory (RFC 2397 data URL, base64).
--- @param bytes string
--- @param name string file name for parts of type file
--- @return table|nil part, string|nil message
function M.part(bytes, name)
  local media = M.media_type(bytes)
  if not media then
    return nil, ("%s: not a PNG, JPEG, GIF, WebP, WAV, MP3 or PDF file"):format(name)
  end
  local data = core.base64(bytes)
  if media:find("^image/") then
    return { type = "image_url", image_url = { url = ("data:%s;base64,%s"):format(media, data) } }
  elseif media:find("^audio/") then
    return { type = "input_audio", input_audio = { data = data, format = media:sub(7) } }
  end
  return {
    type = "file",
    file = { filename = name:match("[^/\\]+$") or name, file_data = ("data:%s;base64,%s"):format(media, data) },
  }
end

return M
