--- wire/blocks: a neutral message as blocks of Anthropic's Messages API (API reference,
-- "Messages"): what a user shows, what an assistant said, results of tools. Knows no
-- request: wire/anthropic puts the blocks of all messages together.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local tables = require "oaichat.tables"

local M = {}

--- @class oaichat.Block
--- @field block table as it is encoded
--- @field input string|nil JSON text of its member `input`: of a call, exactly as the model wrote it
--- @field result boolean|nil the result of a tool: it must stand first

local function refuse(path, text)
  local err = errors.new { kind = "invalid_request", code = "encode", message = path .. ": " .. text }
  err.path = path
  return nil, err.message, err
end
M.refuse = refuse

-- "text content blocks must contain non-whitespace text": the API refuses others.
local function is_blank(text)
  return type(text) ~= "string" or not text:find "%S"
end

-- ---- parts -----------------------------------------------------------------------

-- Where bytes come from: in the request, or where the API fetches them.
local function source_of(url)
  if type(url) ~= "string" then return nil end
  local media, data = url:match "^data:([^;,]+)[^,]-;base64,(.*)$"
  if media then return { type = "base64", media_type = media, data = data } end
  if url:find "^https?://" then return { type = "url", url = url } end
end

local function image(part, where)
  local given = part.image_url
  local source = source_of(type(given) == "table" and given.url or given)
  if source then return { type = "image", source = source } end
  return refuse(where, "the Messages API takes a picture as a base64 data URL or an http(s) URL")
end

-- A plain text is sent as one; of other files the API reads PDF and pictures.
local function document(part, where)
  local file = part.file
  if type(file) ~= "table" then return refuse(where, "a table `file` expected") end
  if file.file_id then return { type = "document", source = { type = "file", file_id = file.file_id } } end
  local source = source_of(file.file_data or file.file_url or file.url)
  if not source then return refuse(where, "the Messages API takes a file as a base64 data URL, a URL or a file_id") end
  local media = source.media_type
  if media and media:find "^image/" then return { type = "image", source = source } end
  if media and media:find "^text/" then
    local text = core.unbase64(source.data)
    if not text then return refuse(where, "its base64 is not valid") end
    source = { type = "text", media_type = "text/plain", data = core.utf8_repair(text) }
  end
  return { type = "document", source = source, title = file.filename }
end

local PARTS = {
  text = function(part) return not is_blank(part.text) and part or false end,
  refusal = function(part) return not is_blank(part.refusal) and { type = "text", text = part.refusal } or false end,
  image_url = image,
  file = document,
  input_audio = function(_, where) return refuse(where, "the Messages API takes no audio") end,
}

-- Parts in the API's own form (image, document, search_result, …) pass as they are.
local function blocks_of(content)
  if type(content) ~= "table" or content == json.null then
    if is_blank(content) then return {} end
    return { { type = "text", text = content } }
  end
  local out = {}
  for i, part in ipairs(content) do
    local map, block, why, err = PARTS[part.type], part, nil, nil
    if map then block, why, err = map(part, ("content[%d]"):format(i)) end
    if block == nil then return nil, why, err end
    if block and part.cache_control and not block.cache_control then
      block = tables.merged(block, { cache_control = part.cache_control })
    end
    if block then out[#out + 1] = block end
  end
  return out
end

-- ---- calls and results -----------------------------------------------------------

-- The API takes letters, digits, _ and - in an id; other providers' have more.
local function id_of(id)
  return (tostring(id):gsub("[^%w_-]", function(c) return ("_%02x"):format(c:byte()) end))
end

-- The arguments as the model wrote them: numbers stay exact. What is no object is none
-- to the API, and the model shall see what it wrote.
local function input_of(arguments)
  local value = json.decode(arguments)
  if type(value) == "table" and not json.is_array(value) then return arguments end
  if not arguments:find "%S" then return "{}" end
  return json.encode { invalid_json = core.utf8_repair(arguments) }
end

local function call_block(call)
  local fn, custom = call["function"], call.custom
  local name = fn and fn.name or custom.name
  local input = fn and input_of(fn.arguments) or json.encode { input = custom.input }
  return { block = { type = "tool_use", id = id_of(call.id), name = name }, input = input }
end

local function result_block(message)
  local content = message.content
  if type(content) == "table" and content ~= json.null then
    local list, why, err = blocks_of(content)
    if not list then return nil, why, err end
    content = list[1] and json.array(list)
  elseif content == "" or content == json.null then
    content = nil
  end
  local meta = message.meta or {}
  return {
    {
      result = true,
      block = {
        type = "tool_result", tool_use_id = id_of(message.tool_call_id), content = content,
        is_error = (meta.is_error or meta.synthesised) and true or nil,
      },
    },
  }
end

-- ---- an answer of this API, back at home -------------------------------------------

--- Takes out what a tool of the server began and never ended: the API wants a result for
--- each, unless the model has paused and is to go on.
--- @param blocks oaichat.Block[]
function M.close(blocks)
  local ended = {}
  for _, one in ipairs(blocks) do
    if one.block.tool_use_id then ended[one.block.tool_use_id] = true end
  end
  for i = #blocks, 1, -1 do
    local block = blocks[i].block
    local of_server = block.type ~= "tool_use" and tostring(block.type):find "_tool_use$"
    if of_server and not ended[block.id] then table.remove(blocks, i) end
  end
end

local WITHOUT = {
  text = function(item) return is_blank(item.text) end,
  -- thinking without a signature is refused; a signature alone is what "omitted" thinking has
  thinking = function(item) return type(item.signature) ~= "string" or item.signature == "" end,
}

local function replayed(message)
  local out, calls = {}, {}
  for _, call in ipairs(message.tool_calls or {}) do calls[call.id] = call end
  for _, item in ipairs(message.meta.items) do
    local kind = type(item) == "table" and item.type -- a store may hold anything
    local useless = WITHOUT[kind]
    if kind == "tool_use" then
      local call = calls[item.id]
      if call and call["function"] then
        local block = tables.merged(item)
        block.input, block.id, calls[item.id] = nil, id_of(item.id), nil
        out[#out + 1] = { block = block, input = input_of(call["function"].arguments) }
      end
    elseif type(kind) == "string" and not (useless and useless(item)) then
      out[#out + 1] = { block = item }
    end
  end
  -- one that waits for our results goes on with what the server's tools have begun
  local waits = message.meta.finish_reason == "pause_turn" or message.meta.finish_reason == "tool_calls"
  if not waits then M.close(out) end
  return out
end

-- ---- messages --------------------------------------------------------------------

local function plain(blocks, why, err)
  if not blocks then return nil, why, err end
  for i, block in ipairs(blocks) do blocks[i] = { block = block } end
  return blocks
end

local function said(message)
  local content = message.content
  if type(content) == "table" and content ~= json.null then
    local texts = {}
    for _, part in ipairs(content) do texts[#texts + 1] = part.text or part.refusal end
    content = table.concat(texts)
  end
  return is_blank(content) and message.refusal or content
end

local function of_assistant(message, origin)
  local meta = message.meta
  local at_home = meta and meta.api == "anthropic" and meta.origin == origin and not meta.incomplete
  if at_home and type(meta.items) == "table" then return replayed(message) end
  local out, text = {}, said(message)
  if not is_blank(text) then out[1] = { block = { type = "text", text = text } } end
  for _, call in ipairs(message.tool_calls or {}) do out[#out + 1] = call_block(call) end
  return out
end

local function of_user(message)
  local out, why, err = plain(blocks_of(message.content))
  if out and not out[1] then return refuse("content", "the Messages API takes no message without content") end
  return out, why, err
end

-- The API has one system prompt, before all else: what stands in the middle is shown
-- there, marked, so that its place means what it meant.
local function of_system(message)
  local out, why, err = blocks_of(message.content)
  if not out then return nil, why, err end
  for i, block in ipairs(out) do
    if block.type == "text" then
      out[i] = tables.merged(block, { text = "<system>\n" .. block.text .. "\n</system>" })
    end
  end
  return plain(out)
end

local ROLES = {
  assistant = of_assistant, user = of_user, tool = result_block, system = of_system, developer = of_system,
  ["function"] = function() return refuse("role", "the Messages API has no messages of the role function") end,
}

-- Nothing can be cached behind these (API reference, cache_control).
local UNMARKED = { thinking = true, redacted_thinking = true }

--- Asks that all up to the last block be cached.
--- @param blocks oaichat.Block[]
--- @param mark table such as { type = "ephemeral" }
function M.mark(blocks, mark)
  for i = #blocks, 1, -1 do
    local one = blocks[i]
    if not UNMARKED[one.block.type] then
      blocks[i] = tables.merged(one, { block = tables.merged({ cache_control = mark }, one.block) })
      return
    end
  end
end

--- An answer that the model shall go on with must not end in a blank (API reference,
--- prefilled answers).
--- @param blocks oaichat.Block[]
function M.trim(blocks)
  local last = blocks[#blocks]
  if last and last.block.type == "text" then
    blocks[#blocks] = { block = tables.merged(last.block, { text = last.block.text:match "^(.-)%s*$" }) }
  end
end

--- @param message table neutral
--- @param origin string where it goes
--- @return oaichat.Block[]|nil blocks, string|nil message, oaichat.Error|nil err
function M.of(message, origin)
  local out, why, err = ROLES[message.role](message, origin)
  if not out then return nil, why, err end
  local mark = message.meta and message.meta.cache_control
  if mark then M.mark(out, mark) end
  return out
end

--- A system prompt's blocks; of a message, as they are.
--- @param content string|table
--- @return table[]|nil blocks, string|nil message, oaichat.Error|nil err
function M.system(content)
  return plain(blocks_of(content))
end

--- Appends the JSON of blocks, with commas between them.
--- @param pieces string[]
--- @param blocks oaichat.Block[]
--- @return string[]|nil pieces, string|nil message, oaichat.Error|nil err
function M.encode(pieces, blocks)
  for _, one in ipairs(blocks) do
    local bytes, why, err = json.encode_parts(one.block)
    if not bytes then return nil, why, err end
    if pieces[1] then pieces[#pieces + 1] = "," end
    if type(bytes) == "string" then bytes = { bytes } end
    if one.input then bytes[#bytes] = bytes[#bytes]:sub(1, -2) .. ',"input":' .. one.input .. "}" end
    tables.add(pieces, bytes)
  end
  return pieces
end

return M
