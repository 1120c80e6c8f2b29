--- gate: what a user's functions and a moderation service let through: the input before
--- it is sent, the answer before it is handed out, in a stream a window at a time. The
--- gated call looks like a call of attempts; its checks run between two of its pieces,
--- where a turn may wait.

local aside = require "oaichat.aside"
local canned = require "oaichat.canned"
local errors = require "oaichat.errors"
local message = require "oaichat.message"
local replies = require "oaichat.reply"
local source = require "oaichat.source"

local unpack = table.unpack or unpack

local M = {}

--- Bytes of text that are checked at a time in a stream.
M.WINDOW = 500

--- @class oaichat.Gate
local Gate = {}
Gate.__index = Gate

local Call = {}
Call.__index = Call
Call.drain = source.drain

--- @param guards table|nil { input = fn, output = fn, window = bytes }
--- @param moderation table|nil made by oaichat.moderation
--- @return oaichat.Gate
function M.new(guards, moderation)
  guards = guards or {}
  local window = guards.window or moderation and moderation.window or M.WINDOW
  return setmetatable({
    _input = guards.input, _output = guards.output, _moderation = moderation, window = window,
  }, Gate)
end

local function refused(code, reason)
  reason = type(reason) == "string" and reason or "no reason given"
  return errors.new {
    kind = "validation", code = code, message = ("the %s refused it: %s"):format((code:gsub("_", " ")), reason),
  }
end

-- Asks a guard; a cancel of the turn ends it too. Waits. Gives what it said, or false
-- and what it raised; err: canceled.
local function ask(turn, guard, ...)
  local task = aside.call(turn.session._engine, turn, guard, ...)
  if not task then return nil, nil, errors.new { kind = "canceled", code = "canceled" } end
  if not task._ok then return false, errors.text(task._results) end
  return task._results[1], task._results[2]
end

-- ---- the input -----------------------------------------------------------------------

--- The input as it may be sent. May wait.
--- @param turn oaichat.Turn
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "validation" or "content_filter"
function Gate:input(turn)
  if turn.gated or not turn.added[1] then return true end
  turn.gated = true
  if self._input then
    local verdict, reason, err = ask(turn, self._input, message.copy(turn.added), turn.session)
    if err then return errors.fail(err) end
    if verdict == false then return errors.fail(refused("input_guard", reason)) end
    if type(verdict) == "table" then turn.added = message.from_input(verdict) end
  end
  local moderation = self._moderation
  if not moderation or not moderation.input then return true end
  return moderation:messages(turn.added, turn)
end

-- ---- the answer ----------------------------------------------------------------------

-- What may be shown of a text; err: it may not. May wait.
local function judge(gate, turn, text, info)
  if gate._output and text ~= "" then
    local verdict, reason, err = ask(turn, gate._output, text, info)
    if err then return nil, err end
    if verdict == false then return nil, refused("output_guard", reason) end
    if type(verdict) == "string" then text = verdict end
  end
  local moderation = gate._moderation
  if moderation and moderation.output and text ~= "" then
    local ok, _, err = moderation:text(text, turn)
    if not ok then return nil, err end
  end
  return text
end

local HELD = { text = true, refusal = true }

--- What comes next of what was let through; a whole answer comes at the end.
function Call:poll()
  if not self.streams then return nil end
  while true do
    local event = self.queue[1]
    if event then
      table.remove(self.queue, 1)
      return unpack(event, 1, 7)
    end
    if self.due then return nil end
    local kind, a, b, c, d, e, f = self.inner:poll()
    if not kind then return nil end
    if kind == "event" then
      if a.type == "restart" then self.pending, self.size, self.shown = {}, 0, {} end
      return kind, a
    end
    if not HELD[kind] and not self.pending[1] then return kind, a, b, c, d, e, f end
    self.pending[#self.pending + 1] = { kind, a, b, c, d, e, f }
    if HELD[kind] then self.size = self.size + #a end
    self.due = self.size >= self.gate.window
  end
end

--- The next piece of the first choice's text; what has been shown stays. Waits.
function Call:text()
  local text = source.text(self)
  if text then self.inner.shown = true end
  return text
end

function Call:done()
  if self.queue[1] then return false end
  if self.due then return true end
  if not self.inner:done() then return false end
  if self.streams and self.pending[1] and not self.inner:pause() then self.due = true end
  return true
end

-- A whole answer is looked at once it is there.
local function whole_due(call)
  return not call.streams and not call.judged and not call.inner:pause()
end

--- After done: seconds until it goes on; nil: that was all.
function Call:pause()
  if self.refused or self.canceled then return nil end
  if self.due or whole_due(self) then return 0 end
  return self.inner:pause()
end

-- The text of one choice in a window, its events put together to one; what comes of it.
local function check_window(call)
  local texts, order, out = {}, {}, {}
  for _, event in ipairs(call.pending) do
    local kind, piece, choice = event[1], event[2], event[3]
    local key = HELD[kind] and kind .. choice
    if not key then
      out[#out + 1] = event
    elseif texts[key] then
      texts[key][2] = texts[key][2] .. piece
    else
      texts[key] = { kind, piece, choice }
      order[#order + 1], out[#out + 1] = texts[key], texts[key]
    end
  end
  for _, event in ipairs(order) do
    local before = call.shown[event[1] .. event[3]] or ""
    local info = { so_far = before, final = call.inner:done(), streaming = true, choice = event[3] }
    local text, err = judge(call.gate, call.turn, event[2], info)
    if not text then return nil, err end
    if text ~= event[2] then call.replaced = true end
    event[2], call.shown[event[1] .. event[3]] = text, before .. text
  end
  return out
end

local function refuse(call, err)
  call.refused = err
  call.inner:cancel()
  return nil
end

-- Nothing goes on behind it: result says how it went.
local function check_whole(call)
  call.judged = true
  local answer, _, err = call.inner:result()
  call.answer, call.err = answer, err
  if not answer then return end
  for _, choice in ipairs(answer.choices) do
    local info = { so_far = "", final = true, streaming = false, choice = choice.index, reply = answer }
    local text, why = judge(call.gate, call.turn, choice.text, info)
    if not text then return refuse(call, why) end
    if text ~= choice.text then
      call.replaced, call.shown["text" .. choice.index] = true, text
    end
  end
end

--- Checks what is held, or tries again what failed. May wait.
--- @return boolean|nil going, boolean|nil same it is the same answer that goes on
function Call:again()
  if self.due then
    local events, err = check_window(self)
    if not events then return refuse(self, err) end
    self.queue, self.pending, self.size, self.due = events, {}, 0, false
    return true, true
  elseif whole_due(self) then
    return check_whole(self)
  end
  return self.inner:again()
end

function Call:await()
  self.inner:await()
end

function Call:waitable()
  return self.inner:waitable()
end

function Call.open() end

function Call:chunks()
  errors.misuse "chunks() shows what guards and moderation have not seen: use events()"
end

function Call:begin()
  return self.inner:begin()
end

function Call:cancel()
  self.canceled = true
  if not self.judged then self.inner:cancel() end
end

-- Where a guard has changed the text the reply says what was shown.
local function as_shown(call, answer)
  if not call.replaced then return answer end
  for i, choice in ipairs(answer.choices) do
    local text = call.shown["text" .. choice.index]
    if text then
      choice.text, choice.message.content = text, text
      if i == 1 then answer.text = text end
    end
  end
  return answer
end

-- What of a failed answer may be kept: the text that was let through.
local function shown_part(call, attempts)
  local seen = call.shown.text0
  return seen and replies.new(canned.raw(seen), call.turn.session._origin, { attempts = attempts }) or nil
end

--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Call:result(awaited)
  local answer, _, err = self.answer, nil, self.err
  if not answer and not err then answer, _, err = self.inner:result(awaited) end
  if not self.refused and not err then return as_shown(self, answer) end
  local attempts = answer and answer.attempts or err and err.attempts
  err = self.refused or err
  err.attempts, err.partial = attempts, shown_part(self, attempts)
  return errors.fail(err)
end

--- A call behind a gate. It has not begun.
--- @param gate oaichat.Gate
--- @param inner table a call
--- @param turn oaichat.Turn
function M.call(gate, inner, turn)
  local output = gate._output or gate._moderation and gate._moderation.output
  if not output then return inner end
  return setmetatable({
    gate = gate, inner = inner, turn = turn, streams = turn.streaming, pending = {}, queue = {}, shown = {}, size = 0,
  }, Call)
end

return M
