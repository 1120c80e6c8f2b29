--- turn/call: the call of a turn's next request: a plain one, or through the session's
--- policy, and behind its gate where it has guards. It has not begun.

local attempts = require "oaichat.attempts"
local later = require "oaichat.later"
local gate = later "oaichat.gate"
local requests = require "oaichat.turn.request"

local M = {}

--- Attempts besides the first, of each request (the official SDKs' number).
M.RETRIES = 2

local NONE = {}

local function made_options(turn, asked)
  local session, opts = turn.session, turn.opts
  local wire = session._wire
  return {
    stream = asked.stream, origin = session._origin, model = asked.model, hooks = session._options.hooks,
    log = session._options.log, timeouts = opts.timeouts, headers = opts.headers, stop_at = turn.stop_at,
    engine = session._engine, retries = (requests.option(turn, "retry") or NONE).max or M.RETRIES,
    idempotency = requests.option(turn, "idempotency"),
    resume = wire.streams and wire.streams(asked.params) and wire.resume or nil,
  }
end

-- A call changes nothing in its options: turns that share what they ask share them.
local function options_of(turn, asked)
  local session = turn.session
  if asked ~= session._asked or turn.stop_at then return made_options(turn, asked) end
  if session._call_asked ~= asked then
    session._call_asked, session._call_options = asked, made_options(turn, asked)
  end
  return session._call_options
end

local function of_policy(turn, talk, asked)
  local session = turn.session
  turn.scope = turn.scope or session._policy:scope(turn)
  return session._policy:call {
    talk = talk, asked = asked, wire = session._wire, options = options_of(turn, asked), scope = turn.scope,
    cache = turn.opts.cache, commit = requests.option(turn, "commit"), hedge = requests.option(turn, "hedge"),
  }
end

--- A call whose first attempt is an exchange that somebody began: of a session that has
--- neither policy nor gate.
--- @param turn oaichat.Turn
--- @param parts string[] what was sent
--- @param exchange table of the core
--- @return table call
function M.adopt(turn, parts, exchange)
  return attempts.adopt(turn.session._core, parts, options_of(turn, turn.asked), exchange)
end

--- @param turn oaichat.Turn
--- @param talk table the conversation
--- @param asked table options for the wire
--- @return table|nil call, string|nil message, oaichat.Error|nil err
function M.new(turn, talk, asked)
  local session, call = turn.session
  if session._policy then
    call = of_policy(turn, talk, asked)
  else
    local parts, why, err = session._wire.render(talk, asked)
    if not parts then return nil, why, err end
    call = attempts.new(session._core, parts, options_of(turn, asked))
  end
  if session._gate then return gate.call(session._gate, call, turn) end
  return call
end

return M
