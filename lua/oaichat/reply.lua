--- reply: what the user gets of an answer. Built from what the C core assembled;
--- knows JSON, no wire and no transport.

local core = require "oaichat.core"
local json = require "oaichat.json"
local later = require "oaichat.later"
local heads = later "oaichat.reply.head"
local opaques = later "oaichat.opaque"
local ratelimits = later "oaichat.ratelimit"
local raws = later "oaichat.reply.raw"
local tables = require "oaichat.tables"

local M = {}

local NONE = { text = "", tool_calls = {} }

--- @class oaichat.Reply
--- @field text string the first choice's text, "" when there is none
--- @field reasoning string|nil
--- @field refusal string|nil
--- @field tool_calls oaichat.ToolCall[]
--- @field choices table[] every choice: index (from 0), text, reasoning, refusal, tool_calls, finish_reason
--- @field finish_reason string|nil
--- @field usage table|nil the wire's names; nil when the server said nothing
--- @field model string|nil what the server says it used
--- @field id string|nil
--- @field request_id string|nil
--- @field attempts table[] what each attempt met
--- @field timing table seconds: connect, first_byte, first_content, total
--- @field ratelimit table|nil
--- @field via table[]|nil how the answer came about, when not as asked
--- @field message table the neutral message as the history has it
local Reply = {}
Reply.__name = "oaichat.Reply"

-- Fields that are made when somebody looks at them.
local LAZY = {}

function Reply.__index(reply, name)
  local make = LAZY[name]
  if not make then return Reply[name] end
  local value = make(reply)
  rawset(reply, name, value)
  return value
end

function Reply:__tostring()
  return self.text
end

-- Extras are one flat list: scope, key, JSON, whether that is a list of values.
local EXTRA = 4

local function opaque_of(extras, scope)
  local out
  for i = 1, extras and #extras or 0, EXTRA do
    local key = extras[i + 1]
    if opaques.KEPT[key] and extras[i] == scope then
      local value = raws.value_of(extras[i + 2], extras[i + 3])
      if value ~= nil and value ~= json.null and not (type(value) == "table" and next(value) == nil) then
        out = out or {}
        out[key] = value
      end
    end
  end
  return out
end

-- Ids that the server did not give: results must be able to name their calls.
-- They must differ in a conversation, also in one that another process went on with.
local given = 0
local function give_ids(raw)
  for i = 1, #raw.choices do
    local calls = raw.choices[i].tool_calls
    for j = 1, #calls do
      if not calls[j].id then
        given = given + 1
        calls[j].id = ("call_%x_%d"):format(os.time(), given)
      end
    end
  end
end

--- Tool calls as users see them; `args` is nil when the text is no JSON object.
--- @class oaichat.ToolCall
--- @field id string
--- @field name string
--- @field arguments string the exact JSON text
--- @field args table|nil decoded
local function tool_calls(raw)
  local out = {}
  for i = 1, #raw do
    local call = raw[i]
    local args = json.decode(call.arguments)
    out[i] = {
      id = call.id, name = call.name, arguments = call.arguments,
      args = type(args) == "table" and not json.is_array(args) and args or nil,
    }
  end
  return out
end

--- The neutral assistant message of a choice.
--- @param choice table of the core
--- @param origin string where it came from
local function message_of(choice, origin, raw)
  local message = { role = "assistant" }
  if choice.text ~= "" then message.content = choice.text end
  message.refusal = choice.refusal
  local meta = { origin = origin, model = raw.model, id = raw.id, finish_reason = choice.finish_reason }
  meta.opaque = opaque_of(choice.extras, "message")
  meta.api = raw.api
  if raw.opaque then meta.items = raws.items(raw) end
  if choice.reasoning_field then
    meta.opaque = meta.opaque or {}
    meta.opaque[choice.reasoning_field] = choice.reasoning
  end
  if choice.tool_calls[1] then
    message.tool_calls = {}
    for i, call in ipairs(choice.tool_calls) do
      message.tool_calls[i] = {
        id = call.id, type = "function", ["function"] = { name = call.name, arguments = call.arguments },
      }
      local opaque = opaque_of(call.extras, "call")
      if opaque then
        meta.opaque_calls = meta.opaque_calls or {}
        meta.opaque_calls[i] = opaque
      end
    end
  elseif not message.content and not message.refusal then
    message.content = ""
  end
  message.meta = meta
  return message
end

--- The merged wire object: everything the server said, unknown fields too. Made
--- when it is called; a new table each time.
--- @return table
function Reply:raw()
  return raws.whole(self._raw)
end

local function by_index(a, b)
  return a.index < b.index
end

-- The reply is the caller's, and messages of a history never change: where the history
-- has this one the caller gets a copy.
function LAZY.message(reply)
  if reply._kept then return tables.copy(reply._kept) end
  local first = reply._raw.choices[1]
  return first and message_of(first, reply._origin, reply._raw)
end

-- ---- of a quick turn: what else the answer says is read when somebody looks ---------

function LAZY._raw(reply)
  if not reply._body then return nil end
  local raw = core.answer_of("chat", reply._body)
  raw.timing = reply.timing
  return raw
end

local function from_meta(name)
  return function(reply) return reply._body and reply._kept.meta[name] end
end

LAZY.finish_reason, LAZY.model, LAZY.id = from_meta "finish_reason", from_meta "model", from_meta "id"
LAZY._origin = from_meta "origin"

function LAZY.timing(reply)
  return reply._body and { connect = reply._connect, first_byte = reply._first_byte, total = reply._total }
end

function LAZY.usage(reply)
  return reply._body and reply._raw.usage
end

function LAZY.tool_calls(reply)
  return reply._body and {}
end

function LAZY.attempts(reply)
  return reply._asked and { {
    request_id = reply.request_id, timing = reply.timing, model = reply._asked, origin = reply._origin,
    usage = reply.usage,
  } }
end

function LAZY.request_id(reply)
  return reply._head and heads.new(reply._head):header("x-request-id", "request-id")
end

function LAZY.ratelimit(reply)
  return reply._head and ratelimits.of(heads.new(reply._head), reply._at)
end

-- ---- choices ---------------------------------------------------------------------

function LAZY.choices(reply)
  local out = {}
  for i, choice in ipairs(reply._raw.choices) do
    out[i] = {
      index = choice.index, text = choice.text, reasoning = choice.reasoning, refusal = choice.refusal,
      finish_reason = choice.finish_reason,
      tool_calls = i == 1 and reply.tool_calls or tool_calls(choice.tool_calls),
      message = i == 1 and reply.message or message_of(choice, reply._origin, reply._raw),
    }
  end
  return out
end

--- The message of a reply for a history to keep.
--- @param reply oaichat.Reply
--- @return table message nobody else has it
function M.keep(reply)
  local made = rawget(reply, "message")
  if made then return tables.copy(made) end
  made = LAZY.message(reply)
  reply._kept = made
  return made
end

--- Makes a reply, and the message for a history to keep, of what exchange:plain() tells.
--- @param origin string where it came from
--- @param asked string the model that was asked
--- @return oaichat.Reply reply, table message
function M.plain(origin, asked, text, finish_reason, model, id, body, head, connect, first_byte, total, at)
  local message = {
    role = "assistant", content = text,
    meta = { origin = origin, model = model, id = id, finish_reason = finish_reason },
  }
  return setmetatable({
    text = text, _asked = asked, _body = body, _head = head, _connect = connect, _first_byte = first_byte,
    _total = total, _at = at, _kept = message,
  }, Reply), message
end

-- In order, with the ids that the server did not give; the first choice.
local function settle(raw)
  give_ids(raw)
  if raw.choices[2] then table.sort(raw.choices, by_index) end
  return raw.choices[1] or NONE
end

local function made(raw, origin)
  local first = settle(raw)
  return setmetatable({
    text = first.text, reasoning = first.reasoning, refusal = first.refusal,
    tool_calls = tool_calls(first.tool_calls), finish_reason = first.finish_reason,
    usage = raw.usage, model = raw.model, id = raw.id, timing = raw.timing,
    _raw = raw, _origin = origin, _asked = nil, _head = nil, _at = nil, _kept = nil, -- room for them
  }, Reply)
end

--- Makes a reply of what the core assembled at the first attempt.
--- @param raw table of exchange:result()
--- @param origin string
--- @param asked string the model that was asked
--- @param head string the header's lines
--- @param at number the time now, as core.time() tells
--- @return oaichat.Reply
function M.told(raw, origin, asked, head, at)
  local reply = made(raw, origin)
  reply._asked, reply._head, reply._at = asked, head, at
  return reply
end

--- Makes a reply of what the core assembled.
--- @param raw table of exchange:result()
--- @param origin string
--- @param facts table request_id, attempts, ratelimit
--- @return oaichat.Reply
function M.new(raw, origin, facts)
  local reply = made(raw, origin)
  reply.request_id, reply.attempts, reply.ratelimit = facts.request_id, facts.attempts, facts.ratelimit
  return reply
end

--- A reply out of a message of the history: of calls that waited, for who goes on
--- with them in another process.
--- @param message table assistant
--- @return oaichat.Reply
function M.of_message(message)
  local calls = {}
  for i, call in ipairs(message.tool_calls or {}) do
    calls[i] = { id = call.id, name = call["function"].name, arguments = call["function"].arguments }
  end
  local choice = {
    index = 0, text = type(message.content) == "string" and message.content or "", refusal = message.refusal,
    finish_reason = message.meta and message.meta.finish_reason, tool_calls = tool_calls(calls), message = message,
  }
  return setmetatable({
    text = choice.text, refusal = choice.refusal, tool_calls = choice.tool_calls, finish_reason = choice.finish_reason,
    message = message, choices = { choice }, attempts = {}, timing = {},
    _raw = { choices = {}, extras = {} },
  }, Reply)
end

return M
