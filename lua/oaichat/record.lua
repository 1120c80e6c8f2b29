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
--- @return oaichat.Record|nil record
--- @return table|string|nil stored what the store has of it; or the message of the failure
--- @return oaichat.Error|nil err
function M.open(store, id)
  local stored, why, err = store:load(id)
  if err then return nil, why, err end
  return setmetatable({ store = store, id = id, version = stored and stored.version or 0 }, Record), stored
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

--- Does what a cancel owes: it could not wait for a store that does.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Record:settle()
  if not self.abort_due then return true end
  local ok, why, err = write(self, "abort")
  if ok then self.abort_due = false end
  return ok, why, err
end

local function run(record, operation, ...)
  local ok, why, err = record:settle()
  if ok then ok, why, err = write(record, operation, ...) end
  return ok, why, err
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
  if ok then self.unsaved = nil end
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
