--- wire/anthropic: renders a conversation for Anthropic's Messages API (API reference,
-- "Create a Message"). The other half of the pair is src/wire_anthropic.c.
--
-- An answer that is more than its text and calls (thinking with its signature, what the
-- server's tools did, citations) is kept as the blocks it came in, in meta.items, and goes
-- back as it came to the origin it came from; elsewhere the message's own fields go.

local blocks = require "oaichat.wire.blocks"
local json = require "oaichat.json"
local tables = require "oaichat.tables"

local M = {
  name = "anthropic", path = "/messages", base_url = "https://api.anthropic.com/v1",
  headers = { ["anthropic-version"] = "2023-06-01" }, key_header = "x-api-key",
}

--- The API wants to be told how long an answer may be. What every model of it can say
--- (the smallest limit of any, that of Claude 3), besides what thinking may take.
M.MAX_TOKENS = 4096

-- ---- messages --------------------------------------------------------------------

-- message -> { origin -> { role, results, rest, names } }: encoded once, since messages
-- in a history never change.
local kept = setmetatable({}, { __mode = "k" })

local function place(why, err, position)
  local at = ("messages[%d]"):format(position)
  local dot = err.path and err.path ~= "" and "." or ""
  err.path = at .. dot .. (err.path or "")
  err.message = at .. (dot == "" and ": " or ".") .. why
  err.safe_message = err.message
  return nil, err.message, err
end

local function names_of(message)
  local out
  for _, call in ipairs(message.tool_calls or {}) do
    out = out or {}
    out[(call["function"] or call.custom).name] = true
  end
  return out
end

-- The message's blocks as they are on the wire; `change` is done to them first.
local function encoded(message, origin, change)
  local list, problem, wrong = blocks.of(message, origin)
  if not list then return nil, problem, wrong end
  if change then change(list) end
  local results, rest = {}, {}
  for _, one in ipairs(list) do
    local ok, why, err = blocks.encode(one.result and results or rest, { one })
    if not ok then return nil, why, err end
  end
  return {
    role = message.role == "assistant" and "assistant" or "user", results = results, rest = rest,
    names = names_of(message),
  }
end

local function entry_of(message, origin, position)
  local by_origin = kept[message]
  local entry = by_origin and by_origin[origin]
  if entry then return entry end
  local why, err
  entry, why, err = encoded(message, origin)
  if not entry then return place(why, err, position) end
  if not by_origin then
    by_origin = {}
    kept[message] = by_origin
  end
  by_origin[origin] = entry
  return entry
end

-- What depends on what stands behind a message is written for this request alone: an
-- answer that the model shall go on with, and one that has paused and was not gone on with.
local function entry_before(message, behind, origin, position)
  local meta = message.meta
  local prefill = not behind and not (message.tool_calls and message.tool_calls[1])
  local left = behind and behind.role ~= "assistant" and meta and meta.finish_reason == "pause_turn"
  if message.role ~= "assistant" or not prefill and not left then return entry_of(message, origin, position) end
  local entry, why, err = encoded(message, origin, left and blocks.close or blocks.trim)
  if not entry then return place(why, err, position) end
  return entry
end

local function put(parts, list, first)
  if not list[1] then return first end
  if not first then parts[#parts + 1] = "," end
  tables.add(parts, list)
  return false
end

-- Roles take turns, and results stand before all else in theirs: neighbours of one role
-- are one message.
local function put_turn(parts, turn)
  parts[#parts + 1] = (#parts > 1 and "," or "") .. '{"role":"' .. turn.role .. '","content":['
  local first = true
  for _, entry in ipairs(turn) do first = put(parts, entry.results, first) end
  for _, entry in ipairs(turn) do first = put(parts, entry.rest, first) end
  parts[#parts + 1] = "]}"
end

-- The API refuses a conversation that the assistant begins.
local BEGUN = { role = "user", results = {}, rest = { '{"type":"text","text":"(the conversation goes on)"}' } }

local function put_turns(parts, entries)
  local turn
  if entries[1] and entries[1].role == "assistant" then table.insert(entries, 1, BEGUN) end
  for _, entry in ipairs(entries) do
    if turn and turn.role ~= entry.role then
      put_turn(parts, turn)
      turn = nil
    end
    turn = turn or { role = entry.role }
    turn[#turn + 1] = entry
  end
  if turn then put_turn(parts, turn) end
end

local IS_SYSTEM = { system = true, developer = true }

-- All messages as entries; those of the system that stand before all others go into the
-- system prompt.
local function entries_of(conversation)
  local all, out, system = conversation.messages, {}, {}
  if conversation.added then all = tables.add(tables.add({}, all), conversation.added) end
  local at = 1
  while all[at] and IS_SYSTEM[all[at].role] do
    system[at] = all[at]
    at = at + 1
  end
  for i = at, #all do
    local entry, why, err = entry_before(all[i], all[i + 1], conversation.origin, i)
    if not entry then return nil, why, err end
    if entry.results[1] or entry.rest[1] then out[#out + 1] = entry end
  end
  if not out[1] then return blocks.refuse("messages", "the Messages API takes no conversation without a message") end
  return out, system
end

-- ---- the system prompt -------------------------------------------------------------

local function add_system(list, content, mark)
  local own, why, err = blocks.system(content)
  if not own then return nil, why, err end
  if mark then blocks.mark(own, mark) end
  return tables.add(list, own)
end

-- A string where one says it all; nil where there is none.
local function system_of(conversation, messages)
  local list = {}
  if conversation.system then
    local ok, why, err = add_system(list, conversation.system)
    if not ok then return nil, why, err end
  end
  for i, message in ipairs(messages) do
    local ok, why, err = add_system(list, message.content, message.meta and message.meta.cache_control)
    if not ok then return place(why, err, i) end
  end
  if not list[1] then return nil end
  local out = json.array {}
  for i, one in ipairs(list) do out[i] = one.block end
  if not out[2] and out[1].type == "text" and not out[1].cache_control then return out[1].text end
  return out
end

-- ---- options ---------------------------------------------------------------------

local RESERVED = { messages = true, system = true, model = true, stream = true }

--- Parameters that the session sets itself.
function M.reserved(name)
  return RESERVED[name] or false
end

-- What chat completions call otherwise; all other parameters go as they are.
local RENAMED = {
  max_completion_tokens = function(fields, value) fields.max_tokens = fields.max_tokens or value end,
  stop = function(fields, value)
    fields.stop_sequences = fields.stop_sequences or json.array(type(value) == "table" and value or { value })
  end,
  user = function(fields, value) fields.metadata = tables.merged({ user_id = value }, fields.metadata) end,
  -- the schema is in the system prompt where the mode is JSON alone: the API has none such
  response_format = function(fields, value)
    local wanted = type(value) == "table" and value.json_schema
    if type(wanted) ~= "table" then return end
    local format = { type = "json_schema", schema = wanted.schema }
    fields.output_config = tables.merged({ format = format }, fields.output_config)
  end,
  parallel_tool_calls = function() end,
  stream_options = function() end,
}

local function tools_of(list)
  local out = json.array {}
  for i, tool in ipairs(list) do
    local fn = tool.type == "function" and tool["function"]
    out[i] = tool
    if type(fn) == "table" then
      out[i] = {
        name = fn.name, description = fn.description, strict = fn.strict or nil,
        input_schema = fn.parameters or { type = "object" }, cache_control = fn.cache_control or tool.cache_control,
      }
    end
  end
  return out
end

-- Calls in the history need a definition of their tool, also where none can be called now.
local function tools_called(entries)
  local names, out = {}, json.array {}
  for _, entry in ipairs(entries) do
    for name in pairs(entry.names or {}) do names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    if name ~= names[i - 1] then out[#out + 1] = { name = name, input_schema = { type = "object" } } end
  end
  return out[1] and out
end

local CHOICES = { auto = "auto", none = "none", required = "any" }

local function choice_of(choice)
  if type(choice) == "string" then return { type = CHOICES[choice] or choice } end
  if type(choice) == "table" and type(choice["function"]) == "table" then
    return { type = "tool", name = choice["function"].name }
  end
  return choice
end

local function add_tools(fields, options, entries)
  if not options.tools then
    if fields.tools == nil then fields.tools = tools_called(entries) or nil end
    if fields.tools and not options.params.tools then fields.tool_choice = { type = "none" } end
    return
  end
  fields.tools = tools_of(options.tools)
  if options.tool_choice ~= nil then fields.tool_choice = choice_of(options.tool_choice) end
  if options.params.parallel_tool_calls == false then
    local choice = fields.tool_choice or { type = "auto" }
    if choice.type ~= "none" then fields.tool_choice = tables.merged(choice, { disable_parallel_tool_use = true }) end
  end
end

local function default_length(fields)
  local thinking = fields.thinking
  local budget = type(thinking) == "table" and thinking.budget_tokens
  return M.MAX_TOKENS + (type(budget) == "number" and budget or 0)
end

local function fields_of(options, entries, system)
  local fields = tables.merged(options.params)
  for name, rename in pairs(RENAMED) do
    local value = fields[name]
    fields[name] = nil
    if value ~= nil then rename(fields, value) end
  end
  fields.model, fields.system = options.model, system
  fields.max_tokens = fields.max_tokens or default_length(fields)
  if options.stream then fields.stream = true end
  add_tools(fields, options, entries)
  return fields
end

-- ---- render ----------------------------------------------------------------------

--- Renders a request body as a list of byte strings.
--- @param conversation { system: string|nil, messages: table[], added: table[]|nil, origin: string }
--- @param options { model: string, params: table, stream: boolean, tools: table, tool_choice: any }
--- @return string[]|nil parts, string|nil message, oaichat.Error|nil err code "encode", with the path of the value
function M.render(conversation, options)
  options = tables.merged(options, { params = options.params or {} })
  local entries, before, err = entries_of(conversation)
  if not entries then return nil, before, err end
  local system, why
  system, why, err = system_of(conversation, before)
  if err then return nil, why, err end
  local text
  text, why, err = json.encode(fields_of(options, entries, system))
  if not text then return nil, why, err end
  local parts = { text:sub(1, -2) .. ',"messages":[' }
  put_turns(parts, entries)
  parts[#parts + 1] = "]}"
  return parts
end

return M
