--- wire/responses: renders a conversation for OpenAI's Responses API (API reference,
-- "Create a model response"). The other half of the pair is src/wire_responses.c.
--
-- An answer that is more than its text and calls (reasoning, what the server's tools
-- did) is kept as the items it came in, in meta.items, and goes back as it came to the
-- origin it came from; elsewhere the message's own fields go.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local lists = require "oaichat.wire.list"
local tables = require "oaichat.tables"
require "oaichat.turn.instead" -- with the wire: where a request failed there may be no descriptor left to load it

local M = { name = "responses", path = "/responses", keeps_state = true }

local function refuse(path, text)
  local err = errors.new { kind = "invalid_request", code = "encode", message = path .. ": " .. text }
  err.path = path
  return nil, err.message, err
end

-- ---- content ---------------------------------------------------------------------

local PARTS = {
  text = function(part) return { type = "input_text", text = part.text } end,
  refusal = function(part) return { type = "input_text", text = part.refusal } end,
  image_url = function(part)
    local image = part.image_url
    if type(image) ~= "table" then image = { url = image } end
    return { type = "input_image", image_url = image.url, detail = image.detail or "auto" }
  end,
  file = function(part)
    return tables.merged({ type = "input_file" }, part.file)
  end,
}

-- Parts in the API's own form (input_text, input_image, …) pass as they are.
local function parts_of(content)
  local out = json.array {}
  for i, part in ipairs(content) do
    if part.type == "input_audio" then
      return refuse(("content[%d]"):format(i), "the Responses API takes no audio")
    end
    local map = PARTS[part.type]
    out[i] = map and map(part) or part
  end
  return out
end

local function content_of(content)
  if type(content) ~= "table" or content == json.null then return content end
  return parts_of(content)
end

-- What an assistant said, as one text: parts of its own have no input form but the
-- items that they came in.
local function said(message)
  local content = message.content
  if type(content) ~= "table" or content == json.null then
    return type(content) == "string" and content ~= "" and content or message.refusal
  end
  local texts = {}
  for _, part in ipairs(content) do texts[#texts + 1] = part.text or part.refusal end
  return texts[1] and table.concat(texts) or message.refusal
end

-- ---- items -----------------------------------------------------------------------

-- Calls that the host must answer and that a conversation of oaichat has no answer for:
-- sent back open they would make every later request fail.
local UNANSWERED = {
  custom_tool_call = true, computer_call = true, local_shell_call = true, shell_call = true, apply_patch_call = true,
  mcp_approval_request = true,
}

-- Without a store the server knows a reasoning item by its encrypted content alone.
local function replayed(items, unstored)
  local out, thoughts = {}, {}
  for _, item in ipairs(items) do
    local kind = type(item) == "table" and item.type -- a store may hold anything
    if kind == "reasoning" then
      if not unstored or type(item.encrypted_content) == "string" then thoughts[#thoughts + 1] = item end
    elseif type(kind) == "string" then
      -- reasoning without the item that it led to is refused
      if not UNANSWERED[kind] then
        tables.add(out, thoughts)
        out[#out + 1] = item
      end
      thoughts = {}
    end
  end
  return out
end

-- The server cannot go on behind it: a call that nobody answers, or reasoning that leads to nothing.
local function dangles(message)
  local items = message.meta.items or {}
  for _, item in ipairs(items) do
    if type(item) == "table" and UNANSWERED[item.type or ""] then return true end
  end
  local last = items[#items]
  return type(last) == "table" and last.type == "reasoning"
end

local function at_home(message, origin)
  local meta = message.meta
  return meta and meta.api == M.name and meta.origin == origin and not meta.incomplete
end

local function assistant_items(message, origin, unstored, bare)
  if not bare and at_home(message, origin) and message.meta.items then return replayed(message.meta.items, unstored) end
  local out, text = {}, said(message)
  if text then out[1] = { role = "assistant", content = text } end
  for _, call in ipairs(message.tool_calls or {}) do
    local fn, custom = call["function"], call.custom
    out[#out + 1] = fn and { type = "function_call", call_id = call.id, name = fn.name, arguments = fn.arguments }
      or { type = "custom_tool_call", call_id = call.id, name = custom.name, input = custom.input }
  end
  return out
end

local ITEMS = {
  assistant = assistant_items,
  tool = function(message)
    local output, why, err = content_of(message.content)
    if err then return nil, why, err end
    return { { type = "function_call_output", call_id = message.tool_call_id, output = output } }
  end,
  ["function"] = function() return refuse("role", "the Responses API has no messages of the role function") end,
}

local function said_by_role(message)
  local content, why, err = content_of(message.content)
  if err then return nil, why, err end
  return { { role = message.role, content = content } }
end

local function encoder(unstored, bare)
  return function(message, origin)
    local items, why, err = (ITEMS[message.role] or said_by_role)(message, origin, unstored, bare)
    if not items then return nil, why, err end
    if not items[1] then return "" end
    local pieces = {}
    for i, item in ipairs(items) do
      local bytes
      bytes, why, err = json.encode_parts(item)
      if not bytes then return nil, why, err end
      if i > 1 then pieces[#pieces + 1] = "," end
      if type(bytes) == "string" then bytes = { bytes } end
      tables.add(pieces, bytes)
    end
    return pieces[2] and pieces or pieces[1]
  end
end

-- With the server's store, and without: what goes back differs.
local stored, unstored = lists.new { encode = encoder(false) }, lists.new { encode = encoder(true) }
-- The server refuses the reasoning there is: the messages' own fields alone.
local bare = lists.new { encode = encoder(true, true) }

-- ---- options ---------------------------------------------------------------------

local RESERVED = { input = true, instructions = true, model = true, stream = true, previous_response_id = true }

--- Parameters that the session sets itself.
function M.reserved(name)
  return RESERVED[name] or false
end

--- A background response is read as a stream, also by who waits for the whole: so it
--- can be gone on with where the connection broke.
--- @param params table
--- @return boolean
function M.streams(params)
  return params.background == true
end

--- Where the rest of a response that runs in the background can be read.
--- @param raw table of exchange:result(): id, sequence
--- @return string|nil path
function M.resume(raw)
  if not raw.id or not raw.sequence or not raw.id:find "^[%w_%-]+$" then return nil end
  return ("%s/%s?stream=true&starting_after=%d"):format(M.path, raw.id, raw.sequence)
end

-- { type = "function", function = { … } } has its members beside the type here.
local function flat_tools(list)
  local out = json.array {}
  for i, tool in ipairs(list) do
    out[i] = tool
    if tool.type == "function" and type(tool["function"]) == "table" then
      out[i] = tables.merged({ type = "function" }, tool["function"])
      -- the API makes a function strict that does not say (API reference, tools)
      if out[i].strict == nil then out[i].strict = false end
    end
  end
  return out
end

local function flat_choice(choice)
  if type(choice) ~= "table" or type(choice["function"]) ~= "table" then return choice end
  return { type = "function", name = choice["function"].name }
end

local function flat_format(format)
  if type(format) ~= "table" or type(format.json_schema) ~= "table" then return format end
  return tables.merged({ type = "json_schema" }, format.json_schema)
end

local ENCRYPTED = "reasoning.encrypted_content"

-- What is not stored must come back whole, or reasoning is lost between two rounds.
local function add_store(fields, options)
  if fields.store ~= false or fields.include ~= nil or options.encrypted == false then return end
  fields.include = json.array { ENCRYPTED }
end

local function fields_of(conversation, options)
  local fields = tables.merged(options.params or {})
  fields.model, fields.instructions = options.model, conversation.system
  if options.tools then fields.tools = flat_tools(options.tools) end
  if options.tool_choice ~= nil then fields.tool_choice = flat_choice(options.tool_choice) end
  if fields.response_format ~= nil then
    fields.text = tables.merged(fields.text or {}, { format = flat_format(fields.response_format) })
    fields.response_format = nil
  end
  if options.stream or M.streams(fields) then fields.stream = true else fields.stream_options = nil end
  add_store(fields, options)
  return fields
end

-- ---- state -----------------------------------------------------------------------

-- The last answer that the server has, and what stands behind it.
local function behind(conversation, held)
  local all = tables.add(tables.add({}, conversation.messages), conversation.added or {})
  for i = #all, 1, -1 do
    local message = all[i]
    if message.role == "assistant" and at_home(message, conversation.origin) and message.meta.id
      and (held or not dangles(message)) then
      local rest = {}
      for j = i + 1, #all do rest[#rest + 1] = all[j] end
      return message.meta.id, rest, i
    end
  end
end

-- The server holds a conversation by its id; else each answer holds what came before it.
local function put_state(fields, conversation, options)
  local held = fields.conversation ~= nil
  if options.state ~= "server" and not held then return nil end
  local id, rest, at = behind(conversation, held)
  if not id or not rest[1] then return nil end
  if not held then fields.previous_response_id = id end
  return rest, at
end

--- Another way to ask, after a request was refused: the server has lost what came
--- before, or the model's reasoning cannot be encrypted.
--- @param err oaichat.Error
--- @param options table as render takes them
--- @return table|nil options to change
--- @return boolean|nil lasting the next turns had better ask so too
function M.instead(err, options)
  if options.state == "server" and err.code == "previous_response_not_found" then return { state = "history" } end
  -- it was encrypted for another organization, or is too old
  if err.code == "invalid_encrypted_content" then
    if options.bare then return nil end
    return { bare = true }, true
  end
  local text = (err.message or ""):lower()
  if err.kind == "invalid_request" and options.encrypted ~= false and (options.params or {}).include == nil
    and (text:find("encrypted content", 1, true) or text:find("encrypted_content", 1, true)) then
    return { encrypted = false }, true
  end
end

-- ---- render ----------------------------------------------------------------------

--- Renders a request body as a list of byte strings.
--- @param conversation { system: string|nil, messages: table[], added: table[]|nil, origin: string }
--- @param options { model: string, params: table, stream: boolean, tools: table, tool_choice: any, state: string|nil,
---   encrypted: boolean|nil } state "server": only what the server does not have is sent, behind previous_response_id
--- @return string[]|nil parts, string|nil message, oaichat.Error|nil err code "encode", with the path of the value
function M.render(conversation, options)
  local fields = fields_of(conversation, options)
  local rest, at = put_state(fields, conversation, options)
  local list = options.bare and bare or fields.store == false and unstored or stored
  local text, why, err = json.encode(fields)
  if not text then return nil, why, err end
  local parts, n = { text:sub(1, -2) .. ',"input":[' }, 1
  if rest then
    n, why, err = list:put_messages(parts, n, rest, conversation.origin, at)
  else
    n, why, err = list:put_all(parts, n, conversation)
  end
  if not n then return nil, why, err end
  parts[n + 1] = "]}"
  return parts
end

return M
