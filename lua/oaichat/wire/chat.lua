--- wire/chat: renders a conversation for the chat completions API.
-- The other half of the pair is src/wire_chat.c.

local json = require "oaichat.json"
local later = require "oaichat.later"
local lists = require "oaichat.wire.list"
local opaques = later "oaichat.opaque"

-- plain: the other half tells an answer that is text alone
local M = { name = "chat", path = "/chat/completions", plain = true }

--- opaque: position of a call -> its opaque fields (Gemini's extra_content).
local function wire_calls(message, origin, opaque)
  local out = {}
  for i, call in ipairs(message.tool_calls) do
    out[i] = call
    if opaque and opaque[i] then
      out[i] = {}
      for field, value in pairs(call) do out[i][field] = value end
      for field, value in pairs(opaque[i]) do
        if opaques.replays(origin, field, message) then out[i][field] = value end
      end
    end
  end
  return json.array(out)
end

--- The message as the wire has it: `meta` stays here, opaque fields go back to
--- the origin they came from and nowhere else.
local function wire_message(message, origin)
  if not message.meta and message.role ~= "assistant" then return message end
  local out, meta = {}, message.meta or {}
  for field, value in pairs(message) do
    if field ~= "meta" then out[field] = value end
  end
  local at_home = meta.origin == origin
  if message.tool_calls then
    out.tool_calls = wire_calls(message, origin, at_home and meta.opaque_calls)
    if out.content == nil then out.content = json.null end
  end
  if message.role == "assistant" and out.content == nil and not out.refusal then out.content = "" end
  if meta.opaque and at_home then
    for field, value in pairs(meta.opaque) do
      if opaques.replays(origin, field, message) then out[field] = value end
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

local function is_split(message)
  return message.role == "tool" and type(message.content) == "table"
end

local function has_parts(messages)
  for i = 1, #messages do
    local message = messages[i]
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
    if is_split(message) then
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

local list = lists.new {
  encode = function(message, origin) return json.encode_parts(wire_message(message, origin)) end,
  alone = function(message) return not is_split(message) end,
  carried = carried,
}

local RESERVED = { messages = true, model = true, stream = true }

--- Parameters that the session sets itself.
function M.reserved(name)
  return RESERVED[name] or false
end

-- What most requests have, so that it need not be encoded.
local PLAIN, STREAM = "", ',"stream":true,"stream_options":{"include_usage":true}'

local function encode_options(options)
  local params = options.params
  if not options.tools and options.tool_choice == nil and (not params or next(params) == nil) then
    return options.stream and STREAM or PLAIN
  end
  local fields = {}
  for name, value in pairs(params or {}) do fields[name] = value end
  if options.tools then fields.tools = options.tools end
  if options.tool_choice ~= nil then fields.tool_choice = options.tool_choice end
  if options.stream then
    fields.stream = true
    if fields.stream_options == nil then fields.stream_options = { include_usage = true } end
  else
    fields.stream_options = nil -- "only set this when you set stream: true" (API reference)
  end
  if next(fields) == nil then return PLAIN end
  local bytes, why, err = json.encode(fields)
  if not bytes then return nil, why, err end
  return "," .. bytes:sub(2, -2)
end

-- What is before the messages, the system prompt too; the last one is kept.
local head = { model = nil, system = nil, text = nil }

local function new_head(model, system, origin)
  local text, why, err = json.encode(model)
  if not text then return nil, why, err end
  text = '{"model":' .. text .. ',"messages":['
  if not system then return text end
  local said
  said, why, err = list:bytes({ role = "system", content = system }, origin, 0)
  if not said then return nil, why, err end
  return text .. (type(said) == "string" and said or table.concat(said))
end

local function encode_head(model, system, origin)
  if head.text and head.model == model and head.system == system then return head.text end
  local text, why, err = new_head(model, system, origin)
  if not text then return nil, why, err end
  head.model, head.system, head.text = model, system, text
  return text
end

--- Renders a request body as a list of byte strings.
--- @param conversation { system: string|nil, messages: table[], added: table[]|nil, origin: string } added: what
---   stands behind messages, which is a list that only ever grows then
--- @param options { model: string, params: table, stream: boolean, tools: table, tool_choice: any }
--- @return string[]|nil parts, string|nil message, oaichat.Error|nil err code "encode", with the path of the value
function M.render(conversation, options)
  local system = conversation.system
  local before, why, err = encode_head(options.model, system, conversation.origin)
  if not before then return nil, why, err end
  local rest
  rest, why, err = encode_options(options)
  if not rest then return nil, why, err end
  local parts, n = { before, nil, nil, nil, nil, nil } -- room for a short one
  n, why, err = list:put_all(parts, 1, conversation, system and true)
  if not n then return nil, why, err end
  parts[n + 1] = rest == PLAIN and "]}" or "]" .. rest .. "}"
  return parts
end

return M
