--- transcript: a conversation as a file of its own, and back: JSON with all there is,
-- JSONL as OpenAI's fine-tuning takes it, Markdown for people. What is read may come
-- from anybody: it is bounded and checked, and errors name the line.

local check = require "oaichat.transcript.check"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local later = require "oaichat.later"
local markdown = later "oaichat.transcript.markdown"
local options = require "oaichat.options"

local M = {}

local VERSION = 1
--- What import takes at most, unless it is told otherwise.
local LIMITS = { bytes = 64 * 1024 * 1024, messages = 100000, conversations = 100000 }
local KNOWN_LIMITS = { bytes = "number", messages = "number", conversations = "number", trusted = "boolean" }

-- ---- failures ------------------------------------------------------------------

local function fail(text, line, kind)
  if line then text = ("line %d: %s"):format(line, text) end
  return errors.fail { kind = kind or "validation", code = "transcript", message = text, line = line }
end

local function too_many(what, limit, line)
  return fail(("there are more than %d %s"):format(limit, what), line, "too_large")
end

local function line_of(text, position)
  local _, n = text:sub(1, (position or 1) - 1):gsub("\n", "")
  return n + 1
end

-- ---- JSON ----------------------------------------------------------------------

--- What a conversation may have beside its messages.
local FIELDS = { id = "string", meta = "table", parallel_tool_calls = "boolean", system = "string", tools = "table" }
local NAMES = { "id", "meta", "parallel_tool_calls", "system", "tools" }

local function failed_at(i, err)
  local dot = err.path and err.path ~= "" and "." or ": "
  return fail(("messages[%d]%s%s"):format(i, dot, err.message))
end

local function encode_list(messages)
  local texts = {}
  for i, one in ipairs(messages) do
    local text, _, err = json.encode(one)
    if not text then return failed_at(i, err) end
    texts[i] = text
  end
  return texts
end

-- One message a line, so that lines of errors and of diffs mean something.
local function to_json(conversation)
  local texts, why, err = encode_list(conversation.messages)
  if not texts then return nil, why, err end
  local out = { ('{"format":"oaichat","version":%d'):format(VERSION) }
  for _, name in ipairs(NAMES) do
    if conversation[name] ~= nil then
      local text
      text, why = json.encode(conversation[name])
      if not text then return fail(name .. ": " .. why) end
      out[#out + 1] = (',\n"%s":%s'):format(name, text)
    end
  end
  out[#out + 1] = ',\n"messages":[\n' .. table.concat(texts, ",\n") .. "\n]}\n"
  return table.concat(out)
end

-- The line of a message, where each has its own.
local function message_line(text, i)
  local _, start = text:find('\n"messages":[\n', 1, true)
  if not start then return nil end
  for _ = 2, i do
    start = text:find("\n", start + 1, true)
    if not start then return nil end
  end
  local line = text:match("[^\n]*", start + 1):gsub(",%s*$", "")
  return type(json.decode(line)) == "table" and line_of(text, start + 1) or nil
end

local function from_json(text, limits)
  local value, why, err = json.decode(text)
  if value == nil then return fail(why, line_of(text, err.position), err.kind) end
  if type(value) ~= "table" or value.format ~= "oaichat" then
    return fail('this is no transcript of oaichat: "format":"oaichat" is missing', 1)
  end
  if value.version ~= VERSION then
    return fail(("version %s of the transcript is not known here"):format(json.encode(value.version) or "(none)"), 1)
  end
  local out, list = {}, value.messages
  for name, one in pairs(value) do
    if FIELDS[name] and one == json.null then
      out[name] = nil
    elseif FIELDS[name] and type(one) == FIELDS[name] then
      out[name] = one
    elseif FIELDS[name] then
      return fail(("%s: %s expected"):format(name, FIELDS[name]))
    elseif name ~= "format" and name ~= "version" and name ~= "messages" then
      return fail(("%q is no field of a transcript"):format(name))
    end
  end
  if type(list) ~= "table" or (list[1] == nil and next(list) ~= nil) then return fail "messages: a list expected" end
  if #list > limits.messages then return too_many("messages", limits.messages) end
  for i, one in ipairs(list) do
    why = check.wrong(one, ("messages[%d]"):format(i))
    if why then return fail(why, message_line(text, i)) end
  end
  out.messages = list
  if not limits.trusted then check.distrust(list) end
  return out
end

-- ---- JSONL ---------------------------------------------------------------------

local ROLES = { developer = "system" } -- the fine-tuning form has no developer messages
local PARTS = { text = true, image_url = true, refusal = true }

local function training_calls(calls)
  local out = json.array {}
  for i, call in ipairs(calls) do
    local fn = call["function"]
    if type(fn) ~= "table" then return nil, ("tool_calls[%d] is no call of a function"):format(i) end
    out[i] = { id = call.id, type = "function", ["function"] = { name = fn.name, arguments = fn.arguments } }
  end
  return out
end

-- A message as FineTuneChatRequestInput has it (OpenAI's OpenAPI description 2.3.0):
-- text and images; weight, 0 or 1, says whether an answer is learned.
local function training_message(one)
  local meta = type(one.meta) == "table" and one.meta or {}
  local out = {
    role = ROLES[one.role] or one.role, content = one.content, name = one.name, tool_call_id = one.tool_call_id,
  }
  for _, part in ipairs(type(one.content) == "table" and one.content or {}) do
    if not PARTS[part.type] then return nil, ("a part of type %s cannot be trained on"):format(tostring(part.type)) end
  end
  if one.role ~= "assistant" then return out end
  out.refusal, out.function_call = one.refusal, one.function_call
  out.weight = meta.weight
  if meta.incomplete and out.weight == nil then out.weight = 0 end
  if type(one.tool_calls) == "table" and one.tool_calls[1] then
    local calls, why = training_calls(one.tool_calls)
    if not calls then return nil, why end
    out.tool_calls = calls
  end
  return out
end

local function to_line(conversation)
  local list, answered = json.array {}, false
  if conversation.system then list[1] = { role = "system", content = conversation.system } end
  for i, one in ipairs(conversation.messages) do
    local own, why = training_message(one)
    if not own then return fail(("messages[%d]: %s"):format(i, why)) end
    list[#list + 1] = own
    answered = answered or own.role == "assistant"
  end
  if not answered then return fail "a conversation without an answer is nothing to train on" end
  local text, why = json.encode {
    messages = list, tools = conversation.tools, parallel_tool_calls = conversation.parallel_tool_calls,
  }
  if not text then return fail(why) end
  return text
end

local function to_jsonl(list)
  local lines = {}
  for i, conversation in ipairs(list) do
    local line, why, err = to_line(conversation)
    if not line then
      if list[2] then return fail(("conversations[%d]: %s"):format(i, why)) end
      return nil, why, err
    end
    lines[i] = line .. "\n"
  end
  return table.concat(lines)
end

local LINE = { messages = "table", tools = "table", parallel_tool_calls = "boolean" }
local NULLS = { "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id" }

-- What other writers leave as null is not there; weight is a mark of ours.
local function own_message(one)
  for _, name in ipairs(NULLS) do
    if one[name] == json.null then one[name] = nil end
  end
  if type(one.tool_calls) == "table" and one.tool_calls[1] == nil then one.tool_calls = nil end
  one.meta = nil
  if one.weight == 0 or one.weight == 1 then one.meta = { weight = one.weight } end
  one.weight = nil
end

local function from_line(line, at, limits)
  local value, why, err = json.decode(line)
  if value == nil then return fail(why, at, err.kind) end
  if type(value) ~= "table" then return fail("an object expected", at) end
  if value.preferred_output or value.prompt then
    return fail("this is no chat example but another form (preferences or completions)", at)
  end
  for name, one in pairs(value) do
    if one == json.null then
      value[name] = nil
    elseif type(one) ~= LINE[name] then
      return fail(LINE[name] and ("%s: %s expected"):format(name, LINE[name])
        or ("%q is no field of a chat example"):format(tostring(name)), at)
    end
  end
  local list = value.messages
  if not list or list[1] == nil then return fail("messages: a list with messages expected", at) end
  if #list > limits.messages then return too_many("messages", limits.messages, at) end
  for i, one in ipairs(list) do
    if type(one) == "table" then own_message(one) end
    why = check.wrong(one, ("messages[%d]"):format(i))
    if why then return fail(why, at) end
  end
  if list[1].role == "system" and type(list[1].content) == "string" then
    value.system = table.remove(list, 1).content
  end
  return setmetatable(value, nil)
end

local function from_jsonl(text, limits)
  local out, at = {}, 0
  for line in (text:gsub("^\239\187\191", "") .. "\n"):gmatch "([^\n]*)\n" do
    at = at + 1
    if line:find "%S" then
      if #out >= limits.conversations then return too_many("conversations", limits.conversations, at) end
      local one, why, err = from_line(line, at, limits)
      if not one then return nil, why, err end
      out[#out + 1] = one
    end
  end
  return out
end

-- ---- Markdown ------------------------------------------------------------------

local function to_markdown(conversation)
  local text, why = markdown.write(conversation)
  if not text then return fail(why) end
  return text
end

local function from_markdown(text, limits)
  local conversation, lines, line = markdown.read(text, limits.messages)
  if not conversation then
    if not lines then return too_many("messages", limits.messages, line) end
    return fail(lines, line)
  end
  for i, one in ipairs(conversation.messages) do
    one.meta = nil
    local why = check.wrong(one, ("messages[%d]"):format(i))
    if why then return fail(why, lines[i]) end
  end
  return conversation
end

-- ---- the two that are called -----------------------------------------------------

-- A session is a conversation, too.
local function own(conversation, where)
  if type(conversation) ~= "table" then errors.misuse(where .. ": a conversation expected") end
  local messages = conversation.messages
  if type(messages) == "function" then
    local meta = conversation.meta and next(conversation.meta) ~= nil and conversation.meta or nil
    return { id = conversation.id, system = conversation.system, messages = messages(conversation), meta = meta }
  end
  if type(messages) ~= "table" then errors.misuse(where .. ".messages: a list expected") end
  for i, one in ipairs(messages) do
    local wrong = check.wrong(one, ("%s.messages[%d]"):format(where, i))
    if wrong then errors.misuse(wrong) end
  end
  if conversation.system ~= nil and type(conversation.system) ~= "string" then
    errors.misuse(where .. ".system: a string expected")
  end
  return conversation
end

local WRITERS = { json = to_json, markdown = to_markdown }
local READERS = { json = from_json, jsonl = from_jsonl, markdown = from_markdown }

--- Writes a conversation.
--- @param conversation table a session, or { system =, messages =, tools =, parallel_tool_calls =, id =, meta = }; for
---   "jsonl" also a list of them. Fine-tuning knows no meta but a message's meta.weight (0 or 1)
--- @param format "json"|"jsonl"|"markdown" JSON has everything; JSONL is OpenAI's chat form, one conversation a line;
---   Markdown has no meta
--- @return string|nil text, string|nil message, oaichat.Error|nil err kind "validation", code "transcript"
function M.export(conversation, format)
  if not READERS[format] then errors.misuse('export: the format is "json", "jsonl" or "markdown"') end
  if format ~= "jsonl" then return WRITERS[format](own(conversation, "conversation")) end
  if type(conversation) == "table" and conversation.messages ~= nil then conversation = { conversation } end
  local list = {}
  for i, one in ipairs(conversation) do list[i] = own(one, ("conversations[%d]"):format(i)) end
  return to_jsonl(list)
end

--- Reads what export wrote, or OpenAI's fine-tuning files.
--- @param text string
--- @param format "json"|"jsonl"|"markdown"
--- @param opts table|nil bytes (64 MiB), messages (100000 a conversation), conversations (100000); trusted: approvals
---   of tool calls that stand in the file count (else these calls wait again)
--- @return table|nil conversation { system =, messages =, … } for chat.new; "jsonl": a list of them
--- @return string|nil message beginning with the line, where there is one
--- @return oaichat.Error|nil err kind "validation" or "too_large", code "transcript"; err.line
function M.import(text, format, opts)
  if type(text) ~= "string" then errors.misuse("import: string expected, got " .. type(text)) end
  if not READERS[format] then errors.misuse('import: the format is "json", "jsonl" or "markdown"') end
  options.check(opts or {}, KNOWN_LIMITS, "import.")
  local limits = { trusted = opts and opts.trusted }
  for name, value in pairs(LIMITS) do limits[name] = opts and opts[name] or value end
  if #text > limits.bytes then return too_many("bytes", limits.bytes) end
  return READERS[format](text, limits)
end

return M
