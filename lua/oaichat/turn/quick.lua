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
--- @return oaichat.QuickTurn|nil
function M.start(session, text)
  local messages = session._messages
  local last = messages[#messages]
  if session._record or last and (last.role == "tool" or last.tool_calls) then return nil end
  local asked = asked_of.plain(session, false)
  local turn = setmetatable({ -- the wire's conversation too; nine fields would take twice the memory
    session = session, system = session.system, messages = messages, added = { { role = "user", content = text } },
    origin = session._origin, asked = asked, call = nil, reply = nil,
  }, Quick)
  local parts = session._wire.render(turn, asked)
  local exchange = parts and session._core:send(parts)
  if not exchange then return nil end -- a turn says why
  turn.call = exchange
  session._turn = turn
  return turn
end

local function succeed(turn, text, ...)
  local session, messages, n = turn.session, turn.messages, #turn.messages
  local reply, message = replies.plain(turn.origin, turn.asked.model, text, ...)
  if n == 0 then
    session._messages = { turn.added[1], message } -- a list that grew would have moved twice
  else
    messages[n + 1], messages[n + 2] = turn.added[1], message
  end
  turn.call:done_with()
  turn.reply = reply
  session._turn = nil
  return true
end

-- False: it is not over yet; nil: it is something else than a plain answer.
local function take(turn, text, ...)
  if text then return succeed(turn, text, ...) end
  return text
end

-- The whole turn that goes on with the exchange.
local function whole(turn)
  if turn.asked then
    turn.call, turn.asked = turns.adopt(turn.session, turn.added, turn.call), nil
  end
  return turn.call
end

--- Waits for the answer.
function Quick:drain()
  local exchange, over = self.call
  repeat
    wait.ready(exchange)
    over = take(self, exchange:plain())
  until over ~= false
  if not over then whole(self):drain() end
end

--- Ends it; result says how.
function Quick:cancel()
  if not self.reply then self.call:cancel() end
end

--- @return oaichat.Reply|nil reply, oaichat.Error|nil err
function Quick:result()
  if self.reply then return self.reply end
  return whole(self):result()
end

return M
