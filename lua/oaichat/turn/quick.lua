--- turn/quick: the turn that most sends are: a question, one request, an answer that is
-- text and no more. It stands in for a turn (oaichat.turn) where the session and the call
-- ask for nothing else; whatever else comes of it, a failure too, goes on as one, so that
-- nothing is decided in two ways.

local asked_of = require "oaichat.turn.asked"
local later = require "oaichat.later"
local replies = require "oaichat.reply"
local turns = later "oaichat.turn"
local wait = require "oaichat.wait"

local M = {}

--- @class oaichat.QuickTurn
local Quick = {}
Quick.__index = Quick

-- What a session may ask for that a quick turn has none of.
local SPECIAL = { "deadline", "schema", "tools", "hooks", "log", "idempotency" }

--- Turns of such a session may be quick.
--- @param session oaichat.Session as chat.new makes it
--- @param wire table
--- @return boolean
function M.suits(session, wire)
  local options = session._options
  for _, name in ipairs(SPECIAL) do
    if options[name] then return false end
  end
  return wire.plain and not (session._policy or session._gate or session._context or session._asks)
end

--- Sends a question; nil: it takes a whole turn.
--- @param session oaichat.Session
--- @param text string
--- @param streaming boolean
--- @return oaichat.QuickTurn|nil
function M.start(session, text, streaming)
  local messages, asked = session._messages, asked_of.plain(session, streaming)
  local last = messages[#messages]
  if session._record or last and (last.role == "tool" or last.tool_calls) then return nil end
  local added = { { role = "user", content = text } }
  local parts = session._wire.render({
    system = session.system, messages = messages, added = added, origin = session._origin,
  }, asked)
  local exchange = parts and session._core[streaming and "stream" or "send"](session._core, parts)
  if not exchange then return nil end -- a turn says why
  local turn = setmetatable({
    session = session, added = added, asked = asked, parts = parts, exchange = exchange, reply = nil, turn = nil,
  }, Quick)
  session._turn = turn
  return turn
end

-- ---- how it ends -----------------------------------------------------------------

local function over(turn, reply, message)
  local session = turn.session
  local messages, n = session._messages, #session._messages
  if n == 0 then
    session._messages = { turn.added[1], message } -- a list that grew would have moved twice
  else
    messages[n + 1], messages[n + 2] = turn.added[1], message
  end
  turn.exchange:done_with()
  turn.reply, turn.exchange, turn.parts, session._turn = reply, nil, nil, nil
  return true
end

-- What exchange:plain() gave. False: it is not over yet; nil: it is no plain answer.
local function take_plain(turn, text, ...)
  if not text then return text end
  return over(turn, replies.plain(turn.session._origin, turn.asked.model, text, ...))
end

-- The end of a stream. Nil: it has failed, or its headers show the key.
local function take_whole(turn)
  local exchange = turn.exchange
  local raw, failure = exchange:result()
  if failure then return nil end
  local head, at = exchange:head()
  if not head then return nil end
  local reply = replies.told(raw, turn.session._origin, turn.asked.model, head, at)
  return over(turn, reply, replies.keep(reply))
end

--- The turn that goes on with the exchange; from then on this one is only its name.
--- @return oaichat.Turn
function Quick:whole()
  if not self.turn then
    self.turn = turns.adopt(self.session, self.added, self.asked, self.parts, self.exchange)
    self.exchange, self.parts = nil, nil
  end
  return self.turn
end

-- ---- reading ---------------------------------------------------------------------

-- While somebody waits here, a cancel from outside may make a whole turn of this one.

local function drain_answer(turn)
  local exchange, done = turn.exchange
  repeat
    wait.ready(exchange)
    if not turn.exchange then return nil end
    done = take_plain(turn, exchange:plain())
  until done ~= false
  return done
end

local function drain_stream(turn)
  local exchange = turn.exchange
  while not exchange:drain() do
    wait.ready(exchange)
    if not turn.exchange then return nil end
  end
  return take_whole(turn)
end

--- Reads on to the end, handing nothing out.
function Quick:drain()
  if self.reply then return end
  local drain = self.asked.stream and drain_stream or drain_answer
  if not (self.exchange and drain(self)) then self:whole():drain() end
end

--- The next piece of the first choice's text; nil at the end. Waits.
--- @return string|nil
function Quick:text()
  while self.exchange do
    local text, done = self.exchange:text()
    if text then return text end
    if done then break end
    wait.ready(self.exchange)
  end
  if self.reply or self.exchange and take_whole(self) then return nil end
  return self:whole():text()
end

--- Something can be had without waiting.
function Quick:ready()
  if self.turn then return self.turn:ready() end
  return self.reply ~= nil or self.exchange:ready()
end

--- Ends it; result says how.
function Quick:cancel()
  if not self.reply then (self.turn or self.exchange):cancel() end
end

--- @param awaited boolean|nil somebody is parked on its exchange
--- @return oaichat.Reply|nil reply, oaichat.Error|nil err
function Quick:result(awaited)
  if self.reply then return self.reply end
  return self:whole():result(awaited)
end

return M
