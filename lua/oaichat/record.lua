--- record: a session's place in a store: which conversation, at which version, and
-- what is owed to it. Turns and edits write through it; it decides nothing about them.

local errors = require "oaichat.errors"
local wait = require "oaichat.wait"

local M = {}

--- @class oaichat.Record
--- @field id string
--- @field version integer of the last write that is known
local Record = {}
Record.__index = Record

--- Opens a conversation of a store; a new one is not written until something is said.
--- @param store table see docs/HISTORY.md
--- @param id string
--- @param engine oaichat.Scheduler
--- @return oaichat.Record|nil record
--- @return table|string|nil stored what the store has of it; or the message of the failure
--- @return oaichat.Error|nil err
function M.open(store, id, engine)
  local stored, why, err = store:load(id)
  if err then return nil, why, err end
  local version = stored and stored.version or 0
  return setmetatable({ store = store, id = id, engine = engine, version = version, line = {} }, Record), stored
end

local function write(record, operation, ...)
  local store = record.store
  local ok, version, why, err = wait.pcall(store[operation], store, record.id, record.version, ...)
  if not ok then -- a closed store, or a canceled task: a turn ends as it should all the same
    local raised = errors.is(version) and version or { kind = "storage", code = "raised", message = tostring(version) }
    return errors.fail(raised)
  end
  if not version then return nil, why, err end
  record.version = version
  return true
end

-- One write at a time: a store that waits lets others come in between.
local function enter(record)
  while record.writing do
    local turn = record.engine.core:timer(1e6)
    record.line[#record.line + 1] = turn
    local ok, why, err = record.engine:await(turn)
    turn:close()
    if not ok then return nil, why, err end
  end
  record.writing = true
  return true
end

local function leave(record)
  record.writing = false
  local line = record.line
  record.line = {}
  for _, turn in ipairs(line) do turn:fire() end
end

-- What a cancel owes comes first: it could not wait for a store that does.
local function run(record, operation, ...)
  local ok, why, err = enter(record)
  if not ok then return nil, why, err end
  if record.abort_due then
    ok, why, err = write(record, "abort")
    record.abort_due = not ok
  end
  if ok and operation then ok, why, err = write(record, operation, ...) end
  leave(record)
  return ok, why, err
end

--- Does what a cancel owes.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Record:settle()
  if not self.abort_due and not self.writing then return true end
  return run(self)
end

--- The input of a turn, durable before its request. What an earlier write failed to
--- keep is written first.
--- @param history table[] the conversation before it
--- @param input table[]
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Record:begin(history, input)
  if self.unsaved then
    local ok, why, err = run(self, "replace", history)
    if not ok then return nil, why, err end
    self.unsaved = nil
  end
  return run(self, "begin", input)
end

-- The answer is there whatever the store says: what could not be written is owed.
local function owe(record, ok, why, err)
  if not ok then record.unsaved = err or errors.new { kind = "storage", message = why } end
  return ok, why, err
end

--- Closes the turn with all that its round added, the input too.
function Record:commit(messages)
  return owe(self, run(self, "commit", messages))
end

--- Adds messages outside a turn, or a further round of one.
function Record:append(messages, meta)
  return owe(self, run(self, "append", messages, meta))
end

--- Puts the whole conversation anew.
function Record:replace(messages, meta)
  local ok, why, err = run(self, "replace", messages, meta)
  self.unsaved = not ok and (err or errors.new { kind = "storage", message = why }) or nil
  return ok, why, err
end

--- The turn came to nothing. Never waits.
function Record:abort()
  if self.store.waits then
    self.abort_due = true
  else
    owe(self, write(self, "abort"))
  end
end

return M
