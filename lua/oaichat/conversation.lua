--- conversation: what a session can do to its history without asking the model: read,
-- append, take back, branch, decide about parked calls. The session's methods of this
-- kind; where the history is stored, the store is written first.

local approval = require "oaichat.approval"
local errors = require "oaichat.errors"
local later = require "oaichat.later"
local message = require "oaichat.message"
local observe = require "oaichat.observe"
local records = require "oaichat.record"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local contexts = later "oaichat.context"
local transcripts = later "oaichat.transcript"

local M = {}

-- Puts a new list in the place of the history: in the store first, so that a failure
-- changes nothing.
local function put(session, list)
  if session._record then
    local ok, why, err = session._record:replace(list)
    if not ok then return nil, why, err end
  end
  session._messages = list
  return session
end

--- The conversation so far, without the system prompt: a deep copy.
--- @return table[] messages
function M:messages()
  return message.copy(self._messages)
end

--- Adds to the history without asking the model.
--- @param input string|table as session:send takes it
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err of the store
function M:append(input)
  local own = message.from_input(input)
  self:_interrupt()
  local list, notes = message.mend(tables.add(tables.add({}, self._messages), own))
  if notes then self:_tell_mended(notes) end
  if notes or self._record and self._record.unsaved then return put(self, list) end
  if self._record then
    local ok, why, err = self._record:append(own)
    if not ok then return nil, why, err end
  end
  self._messages = list
  return self
end

-- The position of the n-th user message from the end; 1 when there are fewer.
local function user_turn(messages, n)
  local at = #messages + 1
  while n > 0 and at > 1 do
    at = at - 1
    if messages[at].role == "user" then n = n - 1 end
  end
  return at
end

local function head(messages, n)
  local out = {}
  for i = 1, n do out[i] = messages[i] end
  return out
end

local function tail(messages, from)
  local out = {}
  for i = from, #messages do out[#out + 1] = messages[i] end
  return out
end

--- Takes back the last n user turns with all that followed them.
--- @param n integer|nil 1 by default
--- @return table[]|nil removed messages, in order
--- @return string|nil message
--- @return oaichat.Error|nil err of the store
function M:rewind(n)
  n = n or 1
  if type(n) ~= "number" or n < 0 then errors.misuse("rewind: a count expected") end
  self:_interrupt()
  local at = user_turn(self._messages, n)
  local removed = tail(self._messages, at)
  if removed[1] then
    local ok, why, err = put(self, head(self._messages, at - 1))
    if not ok then return nil, why, err end
  end
  return message.copy(removed)
end

--- Forgets the conversation.
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err of the store
function M:reset()
  self:_interrupt()
  return put(self, {})
end

--- A second session with the same options and a copy of the history.
--- @param id string|nil under which the same store keeps it; nil: it is not stored
--- @return oaichat.Session|nil twin, string|nil message, oaichat.Error|nil err of the store
function M:fork(id)
  local twin = tables.merged(self)
  twin._stream, twin._sending, twin._turn, twin._record, twin.id = nil, nil, nil, nil, nil
  -- messages never change, so that both may hold them (and their encodings)
  twin._messages = tables.add({}, self._messages)
  setmetatable(twin, getmetatable(self))
  if id ~= nil then
    if not self._record then errors.misuse("fork: this session has no history to keep it in") end
    local record, stored, err = records.open(self._record.store, id, self._engine)
    if not record then return nil, stored, err end
    if stored then
      local text = ("there is a conversation %s already"):format(id)
      return errors.fail { kind = "conflict", code = "exists", message = text }
    end
    local ok, why
    ok, why, err = record:replace(twin._messages)
    if not ok then return nil, why, err end
    twin._record, twin.id = record, id
  end
  return twin
end

--- Reads the conversation anew: after a conflict, or when another process wrote to it.
--- What an earlier write failed to keep is written first; behind a conflict it is lost.
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err of the store
function M:reload()
  if not self._record then errors.misuse("reload: this session has no history") end
  self:_interrupt()
  local record = self._record
  local ok, why, err = record:settle()
  if ok and record.unsaved then ok, why, err = record:replace(self._messages) end
  if not ok and err.kind ~= "conflict" then return nil, why, err end
  local stored
  record, stored, err = records.open(record.store, self.id, self._engine)
  if not record then return nil, stored, err end
  self._record = record
  self:_take(stored)
  return self
end

-- What a store had of the conversation.
function M:_take(stored)
  local list, notes = message.mend(stored and stored.messages or {})
  self._messages, self.meta = list, stored and stored.meta or {}
  self.mended, self.unanswered = stored and stored.mended, stored and stored.unanswered
  if notes then
    self._record.unsaved = errors.new { kind = "storage", code = "mended", message = notes[1] }
    self:_tell_mended(notes)
  end
end

-- What was mended is told, never silent: in session.mended and in the log.
function M:_tell_mended(notes)
  self.mended = tables.add(tables.add({}, self.mended or {}), notes)
  observe.tell(self._options.log, "warn", "mended", { notes = notes })
end

--- Facts about the conversation, kept beside it: user, title, …; json.null removes one.
--- @param fields table plain JSON values
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err of the store
function M:set_meta(fields)
  if type(fields) ~= "table" then errors.misuse("set_meta: table expected, got " .. type(fields)) end
  self:_interrupt()
  if self._record then
    local ok, why, err
    if self._record.unsaved then
      ok, why, err = self._record:replace(self._messages, fields)
    else
      ok, why, err = self._record:append({}, fields)
    end
    if not ok then return nil, why, err end
  end
  self.meta = message.merge(self.meta or {}, fields)
  return self
end

-- ---- branches -----------------------------------------------------------------

-- The answer that follows `at` loses its place; the next one keeps it in its meta.
local function with_alternative(session, at)
  local old = tail(session._messages, at)
  local kept = {}
  for i, one in ipairs(old) do
    if one.meta and one.meta.alternatives then tables.add(kept, one.meta.alternatives) end
    old[i] = message.without_alternatives(one)
  end
  if old[1] then kept[#kept + 1] = { messages = old } end
  return kept
end

local function again(session, at, input, opts)
  local before = session._messages
  local kept = with_alternative(session, at)
  local _, why, err = put(session, head(before, at - 1))
  if err then return nil, why, err end
  local ok, reply
  ok, reply, why, err = wait.pcall(session.send, session, input, opts)
  if not ok or not reply then
    put(session, before)
    if not ok then error(reply, 0) end
    return nil, why, err
  end
  local list = tables.add({}, session._messages)
  list[at] = message.with_alternatives(list[at], kept)
  put(session, list)
  return reply
end

--- Asks for another answer to the last input; the one there was is kept (see
--- alternatives). Nothing is lost when that fails.
--- @param opts table|nil as session:send
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function M:regenerate(opts)
  self:_interrupt()
  local at = user_turn(self._messages, 1)
  local asked = self._messages[at]
  if not asked or asked.role ~= "user" or not self._messages[at + 1] then
    errors.misuse("regenerate: there is no answer yet")
  end
  return again(self, at + 1, nil, opts)
end

--- Says the n-th last input anew, in other words, and asks; what there was is kept.
--- @param input string|table as session:send takes it
--- @param n integer|nil 1 by default: the last input
--- @param opts table|nil as session:send
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function M:edit(input, n, opts)
  self:_interrupt()
  local at = user_turn(self._messages, n or 1)
  if not self._messages[at] then errors.misuse("edit: there is no input yet") end
  return again(self, at, input, opts)
end

-- The last message that stands for other branches.
local function branching(messages)
  for i = #messages, 1, -1 do
    if messages[i].meta and messages[i].meta.alternatives then return i end
  end
end

--- The branches that were left at the latest fork, oldest first.
--- @return table[] lists of messages each
function M:alternatives()
  local at, out = branching(self._messages), {}
  for i, one in ipairs(at and self._messages[at].meta.alternatives or {}) do out[i] = message.copy(one.messages) end
  return out
end

--- Goes on with another branch; the present one becomes an alternative.
--- @param n integer of alternatives()
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err of the store
function M:choose(n)
  self:_interrupt()
  local at = branching(self._messages)
  local others = at and self._messages[at].meta.alternatives
  if not others or not others[n] then errors.misuse(("choose: there is no alternative %s"):format(tostring(n))) end
  local kept = {}
  for i, one in ipairs(others) do
    if i ~= n then kept[#kept + 1] = one end
  end
  local old = tail(self._messages, at)
  old[1] = message.without_alternatives(old[1])
  kept[#kept + 1] = { messages = old }
  local list = tables.add(head(self._messages, at - 1), others[n].messages)
  list[at] = message.with_alternatives(list[at], kept)
  return put(self, list)
end

--- The conversation as a text: "json" (everything), "jsonl" (OpenAI's form for
--- fine-tuning, one line), "markdown". chat.transcript.import reads it.
--- @param format "json"|"jsonl"|"markdown"
--- @return string|nil text, string|nil message, oaichat.Error|nil err
function M:export(format)
  return transcripts.export(self, format)
end

-- ---- the context window -------------------------------------------------------

--- The tokens that the conversation takes as it would be sent, without tools.
--- @return integer tokens
--- @return boolean estimated true unless the context option has ranks
function M:tokens()
  local context = self._context
  if not context then context = assert(contexts.new({ max_tokens = math.huge }, self.model)) end
  return context:count({ system = self.system, messages = self._messages })
end

function M:_compact(definitions)
  local list, why, err = self._context:compact(self, definitions)
  if err then return nil, why, err end
  return list and put(self, list) or self
end

--- Has the oldest rounds summarised by the model now; they are kept (see originals).
--- @return oaichat.Session|nil self, string|nil message, oaichat.Error|nil err
function M:compact()
  if not self._context then errors.misuse("compact: the session has no `context`") end
  self:_interrupt()
  return self:_compact()
end

local function expand(list, out)
  for _, one in ipairs(list) do
    local originals = one.meta and one.meta.originals
    if originals then expand(originals, out) else out[#out + 1] = one end
  end
  return out
end

--- The whole conversation: what was summarised in the place of its summary.
--- @return table[] messages a deep copy
function M:originals()
  return message.copy(expand(self._messages, {}))
end

-- ---- approval -----------------------------------------------------------------

--- The calls that wait for a person: { id, name, arguments, hash }. They stand in the
--- history, so that whoever keeps the messages keeps them, for another process too.
--- @return table[] calls empty when none waits
function M:parked()
  return approval.waiting(self._messages)
end

local function decide(session, id, fields, hash)
  session:_interrupt()
  local list = tables.add({}, session._messages)
  local ok, why, err = approval.decide(list, id, fields, hash)
  if ok then ok, why, err = put(session, list) end
  if not ok then return nil, why, err end
  return true
end

--- Lets a parked call run at the next send() or stream() without input. Refused when
--- its arguments are not those that were parked, or not those of the hash.
--- @param id string|nil nil: every call that waits
--- @param hash string|nil of session:parked(), as the person saw it
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "tool"
function M:approve(id, hash)
  return decide(self, id, { state = "approved" }, hash)
end

--- Refuses a parked call; the model is told, with the reason.
--- @param id string|nil nil: every call that waits
--- @param reason string|nil
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "tool"
function M:deny(id, reason)
  return decide(self, id, { state = "denied", reason = reason })
end

return M
