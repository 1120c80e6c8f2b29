--- history/guard: a store around a store, for what people may ask of it: texts redacted
-- before they are kept, encrypted at rest with the host's cipher, deleted by age, given
-- out and erased by user, and nothing kept without consent. It keeps no state.

local common = require "oaichat.history.common"
local consent = require "oaichat.history.consent"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"
local redact = require "oaichat.history.redact"
local seal = require "oaichat.history.seal"
local tables = require "oaichat.tables"

local M = {}

local NEW = {
  redact = "function", encrypt = "function", decrypt = "function", allow_plain = "boolean", plain_meta = "table",
  retention = "number", clock = "function", consent_required = "boolean|string", user_of = "function",
  search = "number",
}

local PAGE = 100

--- @class oaichat.history.Guard
local Guard = {}
Guard.__index = Guard
Guard.__name = "oaichat.history.guard"

--- Guards a store. The result has all that a store has, and sweep, erase, export, consent.
--- @param store table any history store
--- @param opts table|nil
---   redact(text, message) -> text: over every text before it is kept, also what numbers and keys say in JSON; one
---     that raises or gives no string makes the write fail. The session in memory keeps what was said.
---   encrypt(plain, context) -> bytes, decrypt(bytes, context) -> plain|nil: a cipher of a library, with the context
---     as associated data (AES-GCM, XChaCha20-Poly1305) and a fresh nonce inside the bytes. What stays readable: ids,
---     meta.user, the names of meta, roles, counts, times and sizes. allow_plain: what was stored before is taken;
---     plain_meta: names of meta that are not encrypted
---   search: how many conversations a search may read and decrypt (none by default: search is refused)
---   retention: seconds since the last change after which sweep() deletes; clock() -> Unix seconds
---   consent_required: true, or a purpose: without it begin, append and replace are refused
---   user_of(id, meta) -> user|nil: whose conversation it is, where neither meta.user nor the service's ids say
--- @return oaichat.history.Guard
function M.new(store, opts)
  opts = opts or {}
  if type(store) ~= "table" or type(store.load) ~= "function" then errors.misuse "guard: a store expected" end
  options.check(opts, NEW, "guard.")
  if opts.encrypt and not opts.decrypt then errors.misuse "guard: encrypt without decrypt" end
  local plain = { user = true }
  for _, name in ipairs(opts.plain_meta or {}) do plain[name] = true end
  local required = opts.consent_required
  return setmetatable({
    waits = store.waits, _store = store, _redact = opts.redact, _encrypts = opts.encrypt ~= nil,
    _seal = seal.new {
      encrypt = opts.encrypt, decrypt = opts.decrypt, allow_plain = opts.allow_plain, plain_meta = plain,
    },
    _search = opts.search, _retention = opts.retention, _clock = opts.clock or common.now,
    _purpose = required == true and consent.PURPOSE or required or nil, _user_of = opts.user_of,
  }, Guard)
end

-- ---- consent -------------------------------------------------------------------

local function check_id(id)
  local ok, why, err = common.check_id(id)
  if not ok then return nil, why, err end
  if consent.is(id) then return common.fail("bad_id", id .. " is a record of consent, no conversation") end
  return true
end

local function check_user(user)
  if type(user) ~= "string" or user == "" then errors.misuse "user: a string expected" end
end

--- Records a decision of a user, or reads the last one.
--- @param user string
--- @param record table|string|nil table: { granted = boolean, purpose = "storage", at = Unix seconds, … } plain JSON;
---   string or nil: the purpose whose last decision is asked for ("storage")
--- @return table|nil record nil alone: there is none
--- @return string|nil message
--- @return oaichat.Error|nil err
function Guard:consent(user, record)
  check_user(user)
  if type(record) == "table" then return consent.decide(self, user, record) end
  local list, why, err = consent.decisions(self, consent.id(user))
  if not list then return nil, why, err end
  return consent.latest(list, record or consent.PURPOSE)
end

-- ---- the interface of a store ----------------------------------------------------

-- The texts as they may be kept.
local function redacted(guard, messages, meta)
  if not guard._redact or type(messages) ~= "table" then return messages, meta end
  local own, why = redact.messages(guard._redact, messages)
  if own and meta then meta, why = redact.meta(guard._redact, meta) end
  if why then return common.fail("redact", "redact " .. why .. ": nothing was stored") end
  return own, meta
end

-- The messages and facts as they are kept.
local function write(guard, operation, id, version, messages, meta)
  common.check_version(version)
  common.check_meta(meta)
  local ok, why, err = check_id(id)
  if not ok then return nil, why, err end
  if operation ~= "commit" then
    ok, why, err = consent.check(guard, id, meta)
    if not ok then return nil, why, err end
  end
  messages, meta, err = redacted(guard, messages, meta)
  if err then return nil, meta, err end
  if guard._encrypts then
    messages, why, err = guard._seal:messages(id, version, messages)
    if not messages then return nil, why, err end
    meta, why, err = guard._seal:meta(id, meta)
    if err then return nil, why, err end
  end
  return guard._store[operation](guard._store, id, version, messages, meta)
end

common.writers(Guard, write)

function Guard:abort(id, version)
  return self._store:abort(id, version)
end

--- @return table|nil record, string|nil message, oaichat.Error|nil err
function Guard:load(id)
  local ok, why, err = check_id(id)
  if not ok then return nil, why, err end
  local record
  record, why, err = self._store:load(id)
  if err then return nil, why, err end
  if not record then return nil end
  record.messages, why, err = self._seal:open_messages(id, record.messages, record.mended ~= nil)
  if not record.messages then return nil, why, err end
  record.meta, why, err = self._seal:open_meta(id, record.meta)
  if not record.meta then return nil, why, err end
  return record
end

--- @return table[]|nil rows, string|nil next_after, oaichat.Error|nil err
function Guard:list(opts)
  local own, rows = tables.merged(common.check_options(opts, common.LIST)), {}
  local limit = own.limit or PAGE
  repeat
    own.limit = limit - #rows
    local page, after, err = self._store:list(own)
    if not page then return nil, after, err end
    for _, row in ipairs(page) do
      if not consent.is(row.id) then
        local why
        row.meta, why, err = self._seal:open_meta(row.id, row.meta)
        if not row.meta then return nil, why, err end
        rows[#rows + 1] = row
      end
    end
    own.after = after
  until not after or #rows >= limit
  return rows, own.after
end

local function each_id(guard, opts, visit)
  local after
  repeat
    local page, next_after, err = guard._store:list { limit = PAGE, after = after, user = opts.user }
    if not page then return nil, next_after, err end
    for _, row in ipairs(page) do
      local stop, why, failure = visit(row)
      if failure then return nil, why, failure end
      if stop then return true end
    end
    after = next_after
  until not after
  return true
end

local function search_sealed(guard, words, opts)
  local out, read = {}, 0
  local ok, why, err = each_id(guard, { user = opts.user }, function(row)
    if consent.is(row.id) then return end
    read = read + 1
    if read > guard._search then
      return common.fail("too_large",
        ("a search would have to decrypt more than %d conversations"):format(guard._search))
    end
    local record, text, failure = guard:load(row.id)
    if failure then return nil, text, failure end
    return record and common.collect(out, row.id, record.messages, words, opts.limit or 20)
  end)
  if not ok then return nil, why, err end
  return out
end

--- Encrypted texts are searched by decrypting them, at most `search` conversations.
--- @return table[]|nil found, string|nil message, oaichat.Error|nil err
function Guard:search(text, opts)
  opts = common.check_options(opts, common.SEARCH)
  local words = common.words(text)
  if not self._encrypts then
    return self._store:search(text, opts)
  end
  if self._search then return search_sealed(self, words, opts) end
  return common.fail("unavailable",
    "the texts are encrypted: a search needs the guard's option search = how many conversations it may decrypt")
end

function Guard:delete(id)
  local ok, why, err = check_id(id)
  if not ok then return nil, why, err end
  return self._store:delete(id)
end

function Guard:lock(id, seconds)
  return self._store:lock(id, seconds)
end

function Guard:close()
  return self._store:close()
end

-- ---- by age and by user ------------------------------------------------------------

-- Deletes one, unless somebody works with it or has changed it since.
local function expire(guard, id, before)
  local lock, why, err = guard._store:lock(id)
  if not lock then
    if err.code == "locked" then return "busy" end
    return nil, why, err
  end
  local row, gone
  row, why, err = consent.row(guard._store, id)
  if row and row.updated < before then gone, why, err = guard._store:delete(id) end
  lock:release()
  if err then return nil, why, err end
  return gone and "gone" or "kept"
end

--- Deletes the conversations that were not changed for `retention` seconds; records of
--- consent stay. To be called now and then by the host.
--- @return integer|nil deleted
--- @return integer|string|nil busy how many were old but locked; or the message
--- @return oaichat.Error|nil err
function Guard:sweep()
  if not self._retention then errors.misuse "sweep: this guard has no retention" end
  local before, counts = self._clock() - self._retention, { gone = 0, busy = 0, kept = 0 }
  local ok, why, err = each_id(self, {}, function(row)
    if consent.is(row.id) or row.updated >= before then return end
    local what, text, failure = expire(self, row.id, before)
    if not what then return nil, text, failure end
    counts[what] = counts[what] + 1
  end)
  if not ok then return nil, why, err end
  return counts.gone, counts.busy
end

-- The ids of a user's conversations, the record of consent not among them.
local function ids_of(guard, user)
  local ids, seen = {}, {}
  local function add(id)
    if not seen[id] and not consent.is(id) then ids[#ids + 1], seen[id] = id, true end
  end
  local filter = not guard._user_of and user or nil
  local ok, why, err = each_id(guard, { user = filter }, function(row)
    if filter or row.meta.user == user or guard._user_of(row.id, row.meta) == user then add(row.id) end
  end)
  if not ok then return nil, why, err end
  for _, id in ipairs(consent.service_ids(user)) do
    if common.check_id(id) then
      local row
      row, why, err = consent.row(guard._store, id)
      if err then return nil, why, err end
      if row then add(id) end
    end
  end
  return ids
end

--- Deletes all of a user: the record of consent first, then every conversation with
--- meta.user, the service's, and those that user_of names. What the caller holds in
--- memory (open sessions) is the caller's; writes of such a session meet a conflict.
--- @param user string
--- @return integer|nil deleted conversations, string|nil message, oaichat.Error|nil err
function Guard:erase(user)
  check_user(user)
  local gone, why, err = self._store:delete(consent.id(user))
  if gone == nil then return nil, why, err end
  local count = 0
  for _ = 1, 10 do -- until a pass finds nothing that was written meanwhile
    local ids
    ids, why, err = ids_of(self, user)
    if not ids then return nil, why, err end
    if not ids[1] then break end
    for _, id in ipairs(ids) do
      gone, why, err = self._store:delete(id)
      if gone == nil then return nil, why, err end
      count = count + (gone and 1 or 0)
    end
  end
  return count
end

--- All that is kept of a user, readable.
--- @param user string
--- @return table[]|nil records as load gives them
--- @return table[]|string|nil decisions about consent, oldest first; or the message
--- @return oaichat.Error|nil err
function Guard:export(user)
  check_user(user)
  local ids, why, err = ids_of(self, user)
  if not ids then return nil, why, err end
  local records = json.array {}
  for _, id in ipairs(ids) do
    local record
    record, why, err = self:load(id)
    if err then return nil, why, err end
    records[#records + 1] = record
  end
  local list
  list, why, err = consent.decisions(self, consent.id(user))
  if not list then return nil, why, err end
  return records, list
end

return M
