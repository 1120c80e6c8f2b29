--- history/consent: what users said about keeping what they say: one record a user, a
-- list of decisions, in the store that the guard guards, under an id that no
-- conversation has. Knows stores and seals.

local common = require "oaichat.history.common"
local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

--- Conversations under these ids are records of consent, no conversations of a host.
local PREFIX = "consent:"
--- How lua/oaichat/service.lua names the conversation of a user.
local SERVICE, SERVICE_HASH = "user:", "user-sha256:"
--- What consent is for where nobody says.
M.PURPOSE = "storage"

--- @return boolean the id is a record of consent
function M.is(id)
  return id:sub(1, #PREFIX) == PREFIX
end

--- @return string id of a user's record; the user's name is not in it
function M.id(user)
  return PREFIX .. core.sha256(user)
end

--- The ids under which the service keeps a user's conversation.
function M.service_ids(user)
  return { SERVICE .. user, SERVICE_HASH .. core.sha256(user) }
end

--- The row of one conversation, by a list: a store reads no messages for that.
--- @return table|nil row, string|nil message, oaichat.Error|nil err
function M.row(store, id)
  local rows, why, err = store:list { prefix = id, limit = 1 }
  if not rows then return nil, why, err end
  return rows[1] and rows[1].id == id and rows[1] or nil
end

-- The record of the user that a conversation belongs to; nil: nobody knows.
local function record_of(guard, id, meta)
  local user = guard._user_of and guard._user_of(id, meta) or meta and meta.user
  if type(user) == "string" then return M.id(user) end
  if id:sub(1, #SERVICE) == SERVICE then return M.id(id:sub(#SERVICE + 1)) end
  if id:sub(1, #SERVICE_HASH) == SERVICE_HASH then return PREFIX .. id:sub(#SERVICE_HASH + 1) end
  local row, why, err = M.row(guard._store, id)
  if err then return nil, why, err end
  user = row and (guard._user_of and guard._user_of(id, row.meta) or row.meta.user)
  return type(user) == "string" and M.id(user) or nil
end

--- @param guard table
--- @param id string M.id(user)
--- @return table[]|nil decisions oldest first
--- @return integer|string version, or the message
--- @return oaichat.Error|nil err
function M.decisions(guard, id)
  local record, why, err = guard._store:load(id)
  if err then return nil, why, err end
  local messages, out = {}, {}
  if record then messages, why, err = guard._seal:open_messages(id, record.messages, record.mended ~= nil) end
  if not messages then return nil, why, err end
  for _, one in ipairs(messages) do out[#out + 1] = one.meta and one.meta.consent end
  return out, record and record.version or 0
end

--- @return table|nil the last decision about a purpose
function M.latest(list, purpose)
  for i = #list, 1, -1 do
    if list[i].purpose == purpose then return list[i] end
  end
end

--- Whether a conversation may be written.
--- @return true|nil ok, string|nil message, oaichat.Error|nil err code "consent"
function M.check(guard, id, meta)
  if not guard._purpose then return true end
  local record, why, err = record_of(guard, id, meta)
  if err then return nil, why, err end
  if not record then
    return common.fail("consent", ("conversation %s has no known user, who could have consented"):format(id))
  end
  local list
  list, why, err = M.decisions(guard, record)
  if not list then return nil, why, err end
  local given = M.latest(list, guard._purpose)
  if given and given.granted == true then return true end
  return common.fail("consent", ("the user of conversation %s has not consented to %s"):format(id, guard._purpose))
end

--- Adds a decision; those before it stay.
--- @return table|nil decision, string|nil message, oaichat.Error|nil err
function M.decide(guard, user, record)
  if type(record.granted) ~= "boolean" then errors.misuse "consent: granted must be true or false" end
  local own = common.merge({ purpose = M.PURPOSE, at = guard._clock() }, record)
  local id = M.id(user)
  for attempt = 1, 10 do
    local list, version, err = M.decisions(guard, id)
    if not list then return nil, version, err end
    local messages, why = { { role = "system", content = "", meta = { consent = own } } }, nil
    if guard._encrypts then messages, why, err = guard._seal:messages(id, version, messages) end
    if not messages then return nil, why, err end
    local written
    written, why, err = guard._store:append(id, version, messages, { user = user })
    if written then return own end
    if err.code ~= "version" or attempt == 10 then return nil, why, err end
  end
end

return M
