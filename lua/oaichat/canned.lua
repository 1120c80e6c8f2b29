--- canned: an answer that is there already, handed out as one that comes: a cached
--- one, a person's, a fixed one. Looks like a call of attempts; needs no exchange.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local reply = require "oaichat.reply"
local source = require "oaichat.source"

local M = {}

--- Bytes of one piece of a stream that is replayed, cut between characters.
M.PIECE = 48

local Canned = {}
Canned.__index = Canned
Canned.text, Canned.drain = source.text, source.drain

-- Where the piece that begins at `at` ends: never inside a character.
local function piece_end(text, at)
  local stop = math.min(at + M.PIECE - 1, #text)
  while stop < #text and text:find("^[\128-\191]", stop + 1) do stop = stop + 1 end
  return stop
end

local function add_pieces(events, kind, text, choice)
  local at = 1
  while text and at <= #text do
    local stop = piece_end(text, at)
    events[#events + 1] = { kind, text:sub(at, stop), choice }
    at = stop + 1
  end
end

local function events_of(raw)
  local events = {}
  for _, choice in ipairs(raw.choices) do
    add_pieces(events, "reasoning", choice.reasoning, choice.index)
    add_pieces(events, "text", choice.text, choice.index)
    add_pieces(events, "refusal", choice.refusal, choice.index)
    for i, call in ipairs(choice.tool_calls) do
      events[#events + 1] = { "tool_call", choice.index, i, call.id, call.name, call.arguments, false }
    end
    if choice.finish_reason then events[#events + 1] = { "finish", choice.finish_reason, choice.index } end
  end
  if raw.usage then events[#events + 1] = { "usage", raw.usage } end
  return events
end

--- What comes next, as exchange:next() gives it.
function Canned:poll()
  local event = self.events[self.at]
  if not event then return nil end
  self.at = self.at + 1
  return event[1], event[2], event[3], event[4], event[5], event[6], event[7]
end

function Canned:done()
  return self.at > #self.events
end

--- From now on poll gives one chunk: the whole.
function Canned:chunks()
  self.events, self.at = { { "chunk", json.encode(self.answer:raw()) } }, 1
end

--- Nothing is waited for.
function Canned.await() end
function Canned.waitable() end
function Canned.open() end
function Canned.pause() end
function Canned.failed() end
function Canned.begin() return true end

function Canned:cancel()
  self.canceled = true
end

--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Canned:result()
  if self.canceled then return errors.fail { kind = "canceled", code = "canceled" } end
  return self.answer
end

--- @param raw table as exchange:result() gives it
--- @param origin string|nil
--- @param facts table attempts, …
function M.new(raw, origin, facts)
  return setmetatable({ events = events_of(raw), at = 1, answer = reply.new(raw, origin, facts) }, Canned)
end

--- What exchange:result() would give for a text.
--- @param text string
--- @param finish_reason string|nil nil: it is a part of an answer
--- @return table raw
function M.raw(text, finish_reason)
  return {
    choices = { { index = 0, text = text, tool_calls = {}, extras = {}, finish_reason = finish_reason } },
    extras = {}, timing = {},
  }
end

return M
