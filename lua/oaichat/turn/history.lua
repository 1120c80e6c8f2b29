--- turn/history: what a turn takes into its session's history, and into the store where
-- the session has one. The store hears of a round once: begun, then committed or not.

local message = require "oaichat.message"
local observe = require "oaichat.observe"
local requests = require "oaichat.turn.request"
local tables = require "oaichat.tables"

local M = {}

local NONE = {}

--- The turn's input, into the store, before its request. May wait.
--- @param turn oaichat.Turn
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function M.begin(turn)
  local record = turn.session._record
  if not record or turn.begun or not turn.added[1] then return true end
  local ok, why, err = record:begin(turn.session._messages, turn.added)
  if not ok then return nil, why, err end
  turn.begun = true
  if turn.over then M.drop(turn) end -- canceled meanwhile
  return true
end

-- An answer is the caller's whatever the store says; what is owed is in record.unsaved.
local function tell(turn, err)
  if err then observe.tell(turn.session._options.log, "error", "history", { error = err.safe_message }) end
end

--- An answer on the way to the last one.
--- @param turn oaichat.Turn
--- @param reply oaichat.Reply
function M.note_round(turn, reply)
  turn.rounds = tables.add(turn.rounds or {}, { reply })
end

--- Takes messages into the history, behind those that the turn added. May wait.
--- @param turn oaichat.Turn
--- @param messages table[]
function M.commit(turn, messages)
  local session, added, begun, record = turn.session, turn.added, turn.begun, turn.session._record
  tables.add(tables.add(session._messages, added), messages)
  -- first: a cancel while the store waits finds the round closed
  turn.added, turn.extra, turn.begun = NONE, NONE, false
  if not record then return end
  local all = tables.add(tables.add({}, added), messages)
  -- behind a hole nothing can be kept: then the whole anew
  local operation = record.unsaved and "replace" or begun and "commit" or "append"
  local _, _, err = record[operation](record, record.unsaved and session._messages or all)
  tell(turn, err)
end

--- The same where the answer stands in the history already, parked or unanswered: the
--- messages take its place. May wait.
--- @param turn oaichat.Turn
--- @param messages table[]
function M.replace_last(turn, messages)
  local session, record = turn.session, turn.session._record
  local history = tables.add({}, session._messages) -- the list itself only ever grows
  history[#history] = nil
  session._messages = tables.add(history, messages)
  turn.resumed = nil
  if not record then return end
  local _, _, err = record:replace(history)
  tell(turn, err)
end

--- Nothing of the round stays. Never waits.
--- @param turn oaichat.Turn
function M.drop(turn)
  if not turn.begun then return end
  turn.begun = false
  turn.session._record:abort()
end

--- The round failed: the history is as it was, or has the part that keep_partial asks
--- for.
--- @param turn oaichat.Turn
--- @param err oaichat.Error
function M.fail(turn, err)
  err.input = message.copy(turn.added)
  if not requests.option(turn, "keep_partial") or not err.partial or err.partial.text == "" then return M.drop(turn) end
  local part = message.copy(err.partial.message)
  part.meta.incomplete = true
  part.tool_calls = nil
  M.commit(turn, { part })
end

return M
