--- wire/chat: renders a conversation for the chat completions API.
-- The other half of the pair is src/wire_chat.c. Each message is encoded once: its
-- bytes are kept, weakly, by the message table, so a turn costs what it adds.

local json = require "oaichat.json"

local M = { name = "chat", path = "/chat/completions" }

-- message -> { origin -> bytes }; messages in a history never change.
local encoded = setmetatable({}, { __mode = "k" })

--- Where an opaque field must not be sent back although it came from there.
-- DeepSeek wants reasoning_content in rounds with tool calls only
-- (api-docs.deepseek.com, reasoning model).
local NOT_REPLAYED = {
  ["https://api.deepseek.com:443"] = function(field, message)
    return field == "reasoning_content" and not message.tool_calls
  end,
}

--- opaque: position of a call -> its opaque fields (Gemini's extra_content).
local function wire_calls(calls, opaque)
  local out = {}
  for i, call in ipairs(calls) do
    out[i] = call
    if opaque and opaque[i] then
      out[i] = {}
      for field, value in pairs(call) do out[i][field] = value end
      for field, value in pairs(opaque[i]) do out[i][field] = value end
    end
  end
  return json.array(out)
end

--- The message as the wire has it: `meta` stays here, opaque fields go back to
--- the origin they came from and nowhere else.
local function wire_message(message, origin)
  local out, meta = {}, message.meta or {}
  for field, value in pairs(message) do
    if field ~= "meta" then out[field] = value end
  end
  local at_home = meta.origin == origin
  if message.tool_calls then
    out.tool_calls = wire_calls(message.tool_calls, at_home and meta.opaque_calls)
    if out.content == nil then out.content = json.null end
  end
  if message.role == "assistant" and out.content == nil and not out.refusal then out.content = "" end
  if meta.opaque and at_home then
    local never = NOT_REPLAYED[origin]
    for field, value in pairs(meta.opaque) do
      if not (never and never(field, message)) then out[field] = value end
    end
  end
  return out
end

-- A tool's message takes text alone (API reference, tool message): what else a result
-- has goes into a user message behind the results.
local function split_result(message)
  local texts, others = {}, {}
  for _, part in ipairs(message.content) do
    if part.type == "text" then texts[#texts + 1] = part else others[#others + 1] = part end
  end
  if not others[1] then return message end
  texts[#texts + 1] = { type = "text", text = "(what cannot stand here follows in the next user message)" }
  table.insert(others, 1, { type = "text", text = ("(of the result of call %s)"):format(message.tool_call_id) })
  local own = { role = "tool", tool_call_id = message.tool_call_id, content = texts }
  return own, { role = "user", content = others }
end

-- message of a tool -> { its own part, the user message behind it }; kept, so that
-- their encodings are too.
local splits = setmetatable({}, { __mode = "k" })

local function has_parts(messages)
  for _, message in ipairs(messages) do
    if message.role == "tool" and type(message.content) == "table" then return true end
  end
  return false
end

-- The messages as this wire can carry them.
local function carried(messages)
  if not has_parts(messages) then return messages end
  local out, n, behind = {}, 0, nil
  for i, message in ipairs(messages) do
    local own = message
    if message.role == "tool" and type(message.content) == "table" then
      local split = splits[message]
      if not split then
        split = { split_result(message) }
        splits[message] = split
      end
      own = split[1]
      if split[2] then
        behind = behind or {}
        behind[#behind + 1] = split[2]
      end
    end
    n = n + 1
    out[n] = own
    local next_one = messages[i + 1]
    if behind and not (next_one and next_one.role == "tool") then
      for _, one in ipairs(behind) do
        n = n + 1
        out[n] = one
      end
      behind = nil
    end
  end
  return out
end

local function encode_message(message, origin, position)
  local by_origin = encoded[message]
  local text = by_origin and by_origin[origin]
  if text then return text end
  local bytes, why, err = json.encode_parts(wire_message(message, origin))
  if not bytes then
    local dot, place = err.path ~= "" and "." or "", ("messages[%d]"):format(position)
    if position == 0 then dot, place, err.path, why = "", "system", "", why:gsub("^content: ", "") end
    err.path = place .. dot .. err.path
    err.message = place .. (dot == "" and ": " or ".") .. why
    err.safe_message = err.message
    return nil, err.message, err
  end
  if not by_origin then
    by_origin = {}
    encoded[message] = by_origin
  end
  by_origin[origin] = bytes
  return bytes
end

local RESERVED = { messages = true, model = true, stream = true }

--- Parameters that the session sets itself.
function M.reserved(name)
  return RESERVED[name] or false
end

local function encode_options(options)
  local fields = {}
  for name, value in pairs(options.params or {}) do fields[name] = value end
  if options.tools then fields.tools = options.tools end
  if options.tool_choice ~= nil then fields.tool_choice = options.tool_choice end
  if options.stream then
    fields.stream = true
    if fields.stream_options == nil then fields.stream_options = { include_usage = true } end
  else
    fields.stream_options = nil -- "only set this when you set stream: true" (API reference)
  end
  if next(fields) == nil then return "" end
  local bytes, why, err = json.encode(fields)
  if not bytes then return nil, why, err end
  return "," .. bytes:sub(2, -2)
end

-- Adds an encoded message: a string, or a long one's pieces.
local function put(parts, n, text)
  if type(text) == "string" then
    parts[n + 1] = text
    return n + 1
  end
  for i = 1, #text do parts[n + i] = text[i] end
  return n + #text
end

--- Renders a request body as a list of byte strings.
--- @param conversation { system: string|nil, messages: table[], origin: string }
--- @param options { model: string, params: table, stream: boolean, tools: table, tool_choice: any }
--- @return string[]|nil parts, string|nil message, oaichat.Error|nil err code "encode", with the path of the value
function M.render(conversation, options)
  local model, why, err = json.encode(options.model)
  if not model then return nil, why, err end
  local rest
  rest, why, err = encode_options(options)
  if not rest then return nil, why, err end
  local parts, n = { '{"model":' .. model .. ',"messages":[' }, 1
  if conversation.system then
    local text
    text, why, err = encode_message({ role = "system", content = conversation.system }, conversation.origin, 0)
    if not text then return nil, why, err end
    n = put(parts, n, text)
  end
  for i, message in ipairs(carried(conversation.messages)) do
    local text
    text, why, err = encode_message(message, conversation.origin, i)
    if not text then return nil, why, err end
    if n > 1 then
      n = n + 1
      parts[n] = ","
    end
    n = put(parts, n, text)
  end
  parts[n + 1] = "]" .. rest .. "}"
  return parts
end

return M
