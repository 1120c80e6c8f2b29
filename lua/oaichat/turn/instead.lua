--- turn/instead: after a request was refused: the wire may know another way to ask. What
-- it changes is the turn's, or, where it would be refused again, the session's.

local observe = require "oaichat.observe"
local tables = require "oaichat.tables"

local M = {}

--- @param turn oaichat.Turn
--- @param err oaichat.Error
--- @return boolean changed ask again
function M.change(turn, err)
  local session, other = turn.session, turn.session._wire.instead
  if turn.canceled or err.partial then return false end
  local changes, lasting = other(err, turn.asked)
  if not changes then return false end
  observe.tell(session._options.log, "warn", "instead", { error = err.safe_message, changes = changes })
  turn.changes = tables.merged(turn.changes, changes)
  if lasting then session._changes = tables.merged(session._changes, changes) end
  return true
end

return M
