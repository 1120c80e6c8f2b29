--- turn/asked: the options of a request, as a wire renders them: what a session says of it.
-- What a turn adds is turn/request's.

local later = require "oaichat.later"
local models = later "oaichat.models"
local tables = require "oaichat.tables"

local M = {}

local NONE = {}

--- What a session says of a request, and the options of one call.
--- @param session oaichat.Session
--- @param opts table of session:send
--- @param streaming boolean
--- @return table asked
function M.session(session, opts, streaming)
  local params = session._options.params or NONE
  if opts.params then params = tables.merged(params, opts.params) end
  return { model = opts.model or session.model, params = params, stream = streaming, state = session._options.state }
end

--- What the model and the wire make of it.
--- @param session oaichat.Session
--- @param asked table its own, as M.session makes it
--- @return table asked
function M.settled(session, asked)
  if next(asked.params) ~= nil and session._known then
    asked.params = models.fix(asked.model, session._origin, asked.params, session._options.log)
  end
  local streams = session._wire.streams
  if streams and streams(asked.params) then asked.stream = true end
  -- what a refusal has taught
  return session._changes and tables.merged(asked, session._changes) or asked
end

--- The options of a request about which nothing but the session says anything. Never
--- changed: turns share them.
--- @param session oaichat.Session
--- @param streaming boolean
--- @return table
function M.plain(session, streaming)
  local kept = session._asked
  if kept and kept.model == session.model and kept.stream == streaming and session._asked_of == session._changes then
    return kept
  end
  kept = M.settled(session, M.session(session, NONE, streaming))
  session._asked, session._asked_of = kept, session._changes
  return kept
end

return M
