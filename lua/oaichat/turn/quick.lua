--- turn/quick: the turn that most sends are: a question, one request, an answer that is
-- text and no more. It stands in for a turn (oaichat.turn) where the session and the call
-- ask for nothing else; whatever else comes of it, a failure too, goes on as one, so that
-- nothing is decided in two ways.

local later = require "oaichat.later"
local replies = require "oaichat.reply"
local requests = require "oaichat.turn.request"
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
--- @return oaichat.QuickTurn|nil
function M.start(session, text)
  local messages = session._messages
  local last = messages[#messages]
  if session._record or last and (last.role == "tool" or last.tool_calls) then return nil end
  local added = { { role = "user", content = text } }
  local asked = requests.plain(session, false)
  local parts = session._wire.render({
    system = session.system, messages = messages, added = added, origin = session._origin,
  }, asked)
  local exchange = parts and session._core:send(parts)
  if not exchange then return nil end -- a turn says why
  local turn = setmetatable({ session = session, added = added, asked = asked, exchange = exchange }, Quick)
  session._turn = turn
  return turn
end

local function succeed(turn, text, finish_reason, model, id, ...)
  local session, messages, n = turn.session, turn.session._messages, #turn.session._messages
  local reply, message = replies.plain(session._origin, turn.asked.model, text, finish_reason, model, id, ...)
  messages[n + 1], messages[n + 2] = turn.added[1], message
  turn.exchange:done_with()
  turn.reply = reply
  session._turn = nil
  return true
end

-- False: it is not over yet; nil: it is something else than a plain answer.
local function take(turn, text, ...)
  if text then return succeed(turn, text, ...) end
  return text
end

-- The same as a turn; it may not be driven here any more.
local function become_turn(turn)
  turn.whole = turns.adopt(turn.session, turn.added, turn.exchange)
  return turn.whole
end

--- Waits for the answer.
function Quick:drain()
  local exchange = self.exchange
  local over = take(self, exchange:plain())
  while over == false do
    wait.ready(exchange)
    over = take(self, exchange:plain())
  end
  if not over then become_turn(self):drain() end
end

--- Ends it; result says how.
function Quick:cancel()
  if self.reply then return end
  (self.whole or self.exchange):cancel()
end

--- @return oaichat.Reply|nil reply, oaichat.Error|nil err
function Quick:result()
  if self.reply then return self.reply end
  return (self.whole or become_turn(self)):result()
end

return M
