--- history/file: conversations as journals in a directory: one file each, only ever
-- added to but when a conversation is written anew. It knows the journal and the
-- disk; it keeps nothing in memory, so that other processes may write too.

local core = require "oaichat.core"
local common = require "oaichat.history.common"
local disk = require "oaichat.history.disk"
local errors = require "oaichat.errors"
local journal = require "oaichat.history.journal"
local json = require "oaichat.json"
local tables = require "oaichat.tables"

local M = {}

local PART = 65536 -- bytes of messages a line, when a journal is written anew
local SMALL = 65536 -- a journal below this is never compacted
local WASTE = 4 -- compacted when it is this many times as large as what counts
local LINE = 150 -- bytes of a line beside its messages and meta, about
local MAX_BYTES = 256e6

local OPTIONS = { path = "string", durable = "boolean", lock_wait = "number", max_bytes = "number", fs = "table" }

--- @class oaichat.history.file
local Store = {}
Store.__index = Store
Store.__name = "oaichat.history.file"

local Lock = {}
Lock.__index = Lock

local function micro()
  return math.floor(common.now() * 1e6)
end

local function too_large(path, bytes, max)
  return common.fail("too_large", ("%s: %.0f bytes are more than max_bytes (%.0f)"):format(path, bytes, max),
    { file = path })
end

-- ---- writing ------------------------------------------------------------------

local function decode_meta(path, text)
  local meta = text and json.decode(text)
  if type(meta) == "table" then return meta end
  local why = path .. ": the conversation's meta cannot be read; nothing was changed"
  return common.fail("corrupt", why, { file = path })
end

-- The meta that holds behind a line: decoded, and its bytes.
local function meta_at(file, path, last)
  local text, reason, errno = journal.meta(file, last.m, last.stop)
  if errno then return disk.fail(path, reason, errno) end
  local meta, why, err = decode_meta(path, text)
  if not meta then return nil, why, err end
  return meta, #text
end

-- The JSON of the meta that holds after a change, nil: as before; and the bytes
-- that count no more.
local function changed_meta(file, path, last, change)
  if not change or next(change) == nil then return nil, 0 end
  local before, waste = nil, 0
  if last.m > 0 then
    local err
    before, waste, err = meta_at(file, path, last)
    if not before then return nil, waste, err end
  end
  return assert(json.encode(common.merge(before, change))), waste
end

-- A row of list; a journal that cannot be read has `damaged`, a sentence.
local function row_of(store, id)
  local function row(file, path)
    local last, text, err = store._disk:last(file, path, id)
    if not last then return nil, text, err end
    local meta = common.merge()
    if last.m > 0 then meta, text, err = meta_at(file, path, last) end
    if not meta then return nil, text, err end
    return { id = id, version = last.v, count = last.n, updated = last.t / 1e6, meta = meta }
  end
  local found, text, err = store._disk:on(id, "shared", row)
  if err and err.code == "locked" then return nil, text, err end
  if err then return { id = id, version = 0, count = 0, updated = 0, meta = {}, damaged = text } end
  return found
end

-- The lines of a journal written anew.
local function anew(id, created, state, meta, texts)
  local chunks = { journal.first(id, state.v, created) }
  local at, from, bytes, n = #chunks[1], 1, 0, 0
  local m = 0
  local function part(last)
    local list = {}
    for i = from, last do list[#list + 1] = texts[i] end
    n, from, bytes = last, last + 1, 0
    if meta then m = at end
    local own = { v = state.v, op = "part", t = state.t, n = n, b = n, d = state.d, m = m }
    chunks[#chunks + 1] = journal.line(own, meta, list)
    at, meta = at + #chunks[#chunks], nil
  end
  for i, text in ipairs(texts) do
    bytes = bytes + #text
    if bytes >= PART then part(i) end
  end
  if from <= #texts or #chunks == 1 then part(#texts) end
  return chunks, at
end

-- After this line: where open input begins, how many messages, how much is waste.
local function after(op, last, count)
  local n, d = last.n, last.d
  if op == "begin" then return n + count, n, d end
  if op == "append" then return n + count, n + count, d end
  n, d = last.b, d + last.size
  if op == "commit" then return n + count, n + count, d end
  return n, n, d
end

local function collect(store, file, path, id)
  local out, visit = journal.collector()
  local last, text, err = store._disk:scan(file, path, id, visit)
  if not last then return nil, text, err end
  return out, nil, nil, last
end

-- Compaction: a failure leaves the old journal, which is as good.
local function compact(store, id, file, path)
  local out, _, _, last = collect(store, file, path, id)
  if not out then return end
  store._disk:rewrite(id, (anew(id, last.first.t, { v = last.v, t = last.t, d = 0 }, out.meta, out.messages)))
end

-- One line for one call.
local function line_of(op, last, at, texts, meta, waste)
  local n, b, d = after(op, last, #texts)
  -- a line for meta alone is nearly all waste once the next one comes
  d = d + (meta and waste + (#texts == 0 and LINE or 0) or 0)
  local state = {
    v = last.v + 1, op = op, t = math.max(micro(), last.t or 0), n = n, b = b, d = d, m = meta and at or last.m,
  }
  return journal.line(state, meta, texts), state
end

local function write_more(store, op, id, version, texts, change, file, path)
  local last, text, err = store._disk:last(file, path, id)
  if not last then return nil, text, err end
  if last.v ~= version then return common.conflict(id, last.v, version) end
  if (op == "commit" or op == "abort") and last.op ~= "begin" then common.no_turn(id, op) end
  local meta, waste
  meta, waste, err = changed_meta(file, path, last, change)
  if err then return nil, waste, err end
  local line, state = line_of(op, last, last.stop, texts, meta, waste)
  local size = last.stop + #line
  if size > store._max_bytes then return too_large(path, size, store._max_bytes) end
  local ok
  ok, text, err = store._disk:add(file, path, last, line)
  if not ok then return nil, text, err end
  if op ~= "begin" and size > SMALL and size > WASTE * (size - state.d) then compact(store, id, file, path) end
  return state.v
end

local function write_first(store, op, id, texts, change)
  local start = common.first_version()
  local first = journal.first(id, start, micro())
  local last = { v = start, op = "journal", n = 0, b = 0, d = 0, m = 0, size = 0 }
  local meta, waste, err = changed_meta(nil, nil, last, change)
  if err then return nil, waste, err end
  local line, state = line_of(op, last, #first, texts, meta, waste)
  local path = store._disk:journal(id)
  if #first + #line > store._max_bytes then return too_large(path, #first + #line, store._max_bytes) end
  local ok, text, there = store._disk:create(id, { first, line })
  if not ok then return nil, text, there end
  if ok == "exists" then
    local row = row_of(store, id)
    return common.conflict(id, row and row.version or 0, 0)
  end
  return state.v
end

local function write(store, op, id, version, messages, change)
  common.check_open(store, op)
  local texts, text, err = common.prepare(id, version, messages, change)
  if not texts then return nil, text, err end
  return store._disk:on(id, "exclusive", function(file, path)
    return write_more(store, op, id, version, texts, change, file, path)
  end, function()
    if version ~= 0 then return common.conflict(id, 0, version) end
    if op == "commit" or op == "abort" then common.no_turn(id, op) end
    return write_first(store, op, id, texts, change)
  end)
end

common.writers(Store, write)

--- The whole conversation anew, in one step. A journal that is damaged is left as
--- it is.
--- @return integer|nil version, string|nil message, oaichat.Error|nil err
function Store:replace(id, version, messages, meta)
  common.check_open(self, "replace")
  local texts, text, err = common.prepare(id, version, messages, meta)
  if not texts then return nil, text, err end
  return self._disk:on(id, "exclusive", function(file, path)
    local out, why, failure, last = collect(self, file, path, id)
    if not out then return nil, why, failure end
    if last.v ~= version then return common.conflict(id, last.v, version) end
    local state = { v = version + 1, t = math.max(micro(), last.t), d = 0 }
    local changed, chunks, size
    changed, why, failure = changed_meta(file, path, last, meta)
    if failure then return nil, why, failure end
    chunks, size = anew(id, last.first.t, state, changed or out.meta, texts)
    if size > self._max_bytes then return too_large(path, size, self._max_bytes) end
    local ok
    ok, why, failure = self._disk:rewrite(id, chunks)
    if not ok then return nil, why, failure end
    return state.v
  end, function()
    if version ~= 0 then return common.conflict(id, 0, version) end
    return write_first(self, "append", id, texts, meta)
  end)
end

-- ---- reading ------------------------------------------------------------------

-- Everything in a journal as JSON; a writer need not wait until it is decoded.
local function read(store, id)
  return store._disk:on(id, "shared", function(file, path)
    local size = file:size()
    if size and size > store._max_bytes then return too_large(path, size, store._max_bytes) end
    local out, why, err, last = collect(store, file, path, id)
    if not out then return nil, why, err end
    tables.add(out.messages, out.open or {})
    out.last, out.path = last, path
    return out
  end)
end

--- @param id string
--- @return table|nil record nil alone: there is none
--- @return string|nil message
--- @return oaichat.Error|nil err code "corrupt": err.file and err.line say where
function Store:load(id)
  local out, why, err = common.enter(self, "load", id)
  if out then out, why, err = read(self, id) end
  if err then return nil, why, err end
  if not out then return nil end
  local meta, last = common.merge(), out.last
  local messages
  messages, why, err = common.decode(out.messages)
  if messages and out.meta then meta, why, err = decode_meta(out.path, out.meta) end
  if not messages or not meta then return nil, why, err end
  local record = {
    id = id, version = last.v, messages = messages, meta = meta, mended = last.mended and { last.mended },
    created = last.first.t / 1e6, updated = last.t / 1e6,
  }
  if out.open then common.mark(record) end
  return record
end

--- Reads the end of each journal only. A row whose journal cannot be read has
--- `damaged`, a sentence, and version 0.
--- @param opts table|nil prefix, user, limit (100), after
--- @return table[]|nil rows, string|nil next_after, oaichat.Error|nil err
function Store:list(opts)
  common.check_open(self, "list")
  opts = common.check_options(opts, common.LIST)
  local ids, text, err = self._disk:ids()
  if not ids then return nil, text, err end
  return common.page(ids, opts, function(id) return row_of(self, id) end)
end

--- Looks for words, all of which must be in one message. Damaged journals are left
--- out; list tells of them.
--- @param text string
--- @param opts table|nil user, limit (20)
--- @return table[]|nil found, string|nil message, oaichat.Error|nil err
function Store:search(text, opts)
  common.check_open(self, "search")
  opts = common.check_options(opts, common.SEARCH)
  local ids, why, err = self._disk:ids()
  if not ids then return nil, why, err end
  return common.search(ids, text, opts, function(id)
    local row = not opts.user or row_of(self, id)
    local found = (row == true or row and row.meta.user == opts.user) and read(self, id)
    return found and found.messages
  end)
end

-- ---- else ---------------------------------------------------------------------

--- @return boolean|nil there_was_one, string|nil message, oaichat.Error|nil err
function Store:delete(id)
  local ok, text, err = common.enter(self, "delete", id)
  if not ok then return nil, text, err end
  return self._disk:on(id, "exclusive", function()
    return self._disk:remove(id)
  end, function() return false end)
end

--- Exclusive over processes until released; a dead process holds nothing.
--- @param id string
--- @return table|nil lock, string|nil message, oaichat.Error|nil err kind "conflict", code "locked"
function Store:lock(id)
  local held, text, err = common.enter(self, "lock", id)
  if held then held, text, err = self._disk:lock(id) end
  if not held then return nil, text, err end
  local lock = setmetatable({ _store = self, _held = held }, Lock)
  self._locks[lock] = true
  return lock
end

--- May be called again without harm.
function Lock:release()
  self._store._disk:unlock(self._held)
  self._store._locks[self] = nil
end

--- Releases its locks; no file is open otherwise.
function Store:close()
  self._closed = true
  for lock in pairs(self._locks) do self._disk:unlock(lock._held) end
  self._locks = {}
end

--- Opens a directory of conversations, and makes it (mode 0700) where it is not.
--- @param opts table path (of the directory); durable (true: what is written is on the disk before a call returns;
---   false: it is with the system, which survives a
---   crash of the process; one of the machine may leave a journal damaged); lock_wait (seconds to
---   wait for another writer, 5); max_bytes (of one journal, 256e6); fs (oaichat.core's file, for tests)
--- @return oaichat.history.file|nil store, string|nil message, oaichat.Error|nil err
function M.new(opts)
  if type(opts) ~= "table" then errors.misuse("history.file: options with a path expected") end
  common.check_options(opts, OPTIONS)
  local path = opts.path and (opts.path:gsub("(.)/+$", "%1"))
  if not path or path == "" then errors.misuse("history.file: path expected") end
  if path:find "%z" then return common.fail("bad_id", "path has a NUL byte") end
  local store = setmetatable({
    _disk = disk.new {
      path = path, fs = opts.fs or core.file, durable = opts.durable ~= false, lock_wait = opts.lock_wait or 5,
    },
    _max_bytes = opts.max_bytes or MAX_BYTES, _locks = {},
  }, Store)
  local ok, text, err = store._disk:make()
  if not ok then return nil, text, err end
  return store
end

return M
