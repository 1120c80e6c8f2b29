--- history/common: what the stores share: ids, the codec of messages, the marks of
-- an open turn, the words of a search, and the sentences of their errors. It knows
-- no store.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local message = require "oaichat.message"
local options = require "oaichat.options"
local tables = require "oaichat.tables"

local M = {}

--- Bytes of the longest id: with its ending it still is a file name (POSIX
--- NAME_MAX is 255).
M.ID_BYTES = 200

local SNIPPET = 60 -- bytes on either side of what was found

-- ---- errors -----------------------------------------------------------------

--- @param code string full io read_only corrupt bad_id closed unavailable too_large
--- @param text string our sentence
--- @param more table|nil further fields of the err object
--- @return nil, string, oaichat.Error err kind "storage"
function M.fail(code, text, more)
  local fields = { kind = "storage", code = code, message = text }
  for name, value in pairs(more or {}) do fields[name] = value end
  return errors.fail(fields)
end

--- The store has another version than the writer: somebody wrote in between.
--- @param id string
--- @param have integer the store's version; 0: there is no such conversation
--- @param want integer the writer's
--- @return nil, string, oaichat.Error err kind "conflict", code "version"; err.version is the store's
function M.conflict(id, have, want)
  local text = have == 0 and ("conversation %s is not there (any more): version %.0f was expected"):format(id, want)
    or want == 0 and ("conversation %s exists already, at version %.0f"):format(id, have)
    or ("conversation %s was changed by another writer: it has version %.0f, not %.0f"):format(id, have, want)
  return errors.fail { kind = "conflict", code = "version", message = text, version = have, retryable = true }
end

--- Somebody else holds the lock.
--- @return nil, string, oaichat.Error err kind "conflict", code "locked"
function M.locked(id)
  return errors.fail {
    kind = "conflict", code = "locked", retryable = true,
    message = ("conversation %s is locked by another process or task"):format(id),
  }
end

--- commit and abort of a turn that was never begun.
function M.no_turn(id, name)
  errors.misuse(("%s: conversation %s has no open turn; call begin first"):format(name, id))
end

--- A closed store raises (a closed object is misuse).
function M.check_open(store, name)
  if store._closed then errors.misuse(name .. ": the store is closed") end
end

-- ---- arguments ----------------------------------------------------------------

--- An id is never a path: 1 to 200 bytes of [A-Za-z0-9._:@-], the first no dot.
--- @param id string
--- @return true|nil ok, string|nil message, oaichat.Error|nil err code "bad_id"
function M.check_id(id)
  if type(id) ~= "string" then errors.misuse("id: string expected, got " .. type(id)) end
  if #id <= M.ID_BYTES and id:find "^[A-Za-z0-9_:@-][A-Za-z0-9._:@-]*$" then return true end
  local shown = #id > 40 and id:sub(1, 40) .. "..." or id
  return M.fail("bad_id", ("%q is no conversation id: those are 1 to %d of A-Z a-z 0-9 . _ : @ -, the first no dot")
    :format((shown:gsub("[%c\128-\255]", "?")), M.ID_BYTES))
end

--- How a call about one conversation begins.
--- @return true|nil ok, string|nil message, oaichat.Error|nil err code "bad_id"
function M.enter(store, name, id)
  M.check_open(store, name)
  return M.check_id(id)
end

--- Raises unless it is an integer of 0 or more.
function M.check_version(version)
  if type(version) ~= "number" or version < 0 or version % 1 ~= 0 then
    errors.misuse("version: an integer expected, got " .. tostring(version))
  end
end

local function check_list(messages, name)
  if type(messages) ~= "table" then errors.misuse(name .. ": list expected, got " .. type(messages)) end
  local n = 0
  for _ in pairs(messages) do n = n + 1 end
  if n ~= #messages then errors.misuse(name .. ": a list without holes expected") end
end

--- Raises unless meta is nil or a table with string keys.
function M.check_meta(meta)
  if meta == nil then return end
  if type(meta) ~= "table" then errors.misuse("meta: table expected, got " .. type(meta)) end
  for name in pairs(meta) do
    if type(name) ~= "string" then errors.misuse("meta: names must be strings") end
  end
end

-- ---- codec --------------------------------------------------------------------

-- The mark is the store's word about an open turn; what is written has none.
local function unmarked(one)
  if type(one.meta) ~= "table" or one.meta.unanswered == nil then return one end
  local copy, meta = tables.merged(one), tables.merged(one.meta)
  meta.unanswered = nil
  copy.meta = next(meta) ~= nil and setmetatable(meta, getmetatable(one.meta)) or nil
  return setmetatable(copy, getmetatable(one))
end

--- Writes each message as JSON: equal messages become equal bytes. Raises on what
--- is no message.
--- @param messages table[]
--- @return string[]|nil texts, string|nil message, oaichat.Error|nil err kind "invalid_request"
function M.encode(messages)
  check_list(messages, "messages")
  local texts = {}
  for i, one in ipairs(messages) do
    message.check(one, ("messages[%d]"):format(i))
    local text, _, err = json.encode(unmarked(one))
    if not text then
      return errors.fail {
        kind = err.kind, code = err.code, path = err.path,
        message = ("messages[%d]: %s"):format(i, err.message),
      }
    end
    texts[i] = text
  end
  return texts
end

--- Facts, or one of them, as JSON.
--- @return string|nil text, string|nil message, oaichat.Error|nil err kind "invalid_request"
function M.encode_meta(meta)
  local out, text, err = json.encode(meta)
  if out then return out end
  return errors.fail { kind = err.kind, code = err.code, path = err.path, message = "meta: " .. text }
end

--- What every write checks before it looks at what is kept.
--- @return string[]|nil texts of the messages
--- @return string|nil message
--- @return oaichat.Error|nil err kind "storage" or "invalid_request"
function M.prepare(id, version, messages, meta)
  M.check_version(version)
  M.check_meta(meta)
  local ok, text, err = M.check_id(id)
  if not ok then return nil, text, err end
  local texts
  texts, text, err = M.encode(messages)
  if not texts or meta == nil then return texts, text, err end
  ok, text, err = M.encode_meta(M.merge(nil, meta))
  if not ok then return nil, text, err end
  return texts
end

--- Reads what encode wrote.
--- @param texts string[]
--- @return table[]|nil messages, string|nil message, oaichat.Error|nil err
function M.decode(texts)
  local messages = {}
  for i, text in ipairs(texts) do
    local one, why = json.decode(text)
    if type(one) ~= "table" then
      return M.fail("corrupt", ("message %d is not what was written: %s"):format(i, why or "no object"))
    end
    messages[i] = one
  end
  return messages
end

--- Merges key by key; json.null removes. Neither argument changes.
--- @param meta table|nil what there is
--- @param change table|nil
--- @return table meta a new one
function M.merge(meta, change)
  return json.object(message.merge(message.copy(meta or {}), change or {}))
end

--- Marks what a crash left open: the last message gets meta.unanswered.
--- @param record table with messages; unanswered = true is set
function M.mark(record)
  record.unanswered = true
  local last = record.messages[#record.messages]
  if not last then return record end
  if type(last.meta) ~= "table" then last.meta = {} end
  last.meta.unanswered = true
  return record
end

-- ---- time and versions ----------------------------------------------------------

--- @return number Unix seconds
function M.now()
  return core.time()
end

local latest = 0

--- The version before the first write of a new conversation: beyond any that a
--- deleted one of the same id had (tenths of milliseconds; none is written that
--- often), so that a late writer of the old one meets a conflict. 14 digits, which
--- tostring writes out in every Lua.
--- @return integer
function M.first_version()
  latest = math.max(math.floor(M.now() * 1e4), latest + 1)
  return latest
end

-- ---- search -------------------------------------------------------------------

--- The texts of a message: content or its text parts.
--- @param one table
--- @return string
function M.text(one)
  local content = one.content
  if type(content) == "string" then return content end
  local parts = {}
  for _, part in ipairs(type(content) == "table" and content or {}) do
    if type(part) == "table" and type(part.text) == "string" then parts[#parts + 1] = part.text end
  end
  return table.concat(parts, "\n")
end

--- The words of a query, in lower case. Raises on what is no string.
--- @param text string
--- @return string[]
function M.words(text)
  if type(text) ~= "string" then errors.misuse("search: string expected, got " .. type(text)) end
  local words = {}
  for word in text:lower():gmatch "%S+" do words[#words + 1] = word end
  return words
end

local function boundary(text, at)
  while at > 1 and at <= #text and text:byte(at) >= 128 and text:byte(at) < 192 do at = at - 1 end
  return at
end

--- Where all words are in a text, in any case of A to Z.
--- @param text string
--- @param words string[] of M.words
--- @return string|nil snippet around the first word; nil: not all are there
function M.find(text, words)
  if #words == 0 then return nil end
  local lower, at = text:lower(), nil
  for _, word in ipairs(words) do
    local found = lower:find(word, 1, true)
    if not found then return nil end
    at = at or found
  end
  local first = boundary(text, math.max(1, at - SNIPPET))
  local last = boundary(text, math.min(#text + 1, at + #words[1] + SNIPPET)) - 1
  return (first > 1 and "..." or "") .. text:sub(first, last) .. (last < #text and "..." or "")
end

-- Whether a message's JSON may hold the words: letters and digits stand in it as
-- they are, so that most messages need not be decoded.
local function may_hold(text, plain)
  if #plain == 0 then return true end
  text = text:lower()
  for _, word in ipairs(plain) do
    if not text:find(word, 1, true) then return false end
  end
  return true
end

--- Adds what is found in one conversation.
--- @param out table[] results so far
--- @param id string
--- @param messages (table|string)[] messages, or their JSON
--- @param words string[]
--- @param limit integer
--- @return boolean full
function M.collect(out, id, messages, words, limit)
  local plain = {}
  for _, word in ipairs(words) do
    if word:find "^[a-z0-9]+$" then plain[#plain + 1] = word end
  end
  for index, one in ipairs(messages) do
    if #out >= limit then return true end
    if type(one) == "string" then one = may_hold(one, plain) and json.decode(one) end
    local snippet = one and M.find(M.text(one), words)
    if snippet then out[#out + 1] = { id = id, index = index, role = one.role, snippet = snippet } end
  end
  return #out >= limit
end

--- Looks into conversations, one after the other.
--- @param ids string[] sorted
--- @param text string
--- @param opts table of search
--- @param texts_of fun(id: string): string[]|nil messages as JSON; nil: leave it out
--- @return table[] found
function M.search(ids, text, opts, texts_of)
  local words, out = M.words(text), {}
  for _, id in ipairs(#words > 0 and ids or {}) do
    local texts = texts_of(id)
    if texts and M.collect(out, id, texts, words, opts.limit or 20) then break end
  end
  return out
end

-- ---- list ---------------------------------------------------------------------

--- Raises on options that list or search do not know.
--- @param opts table|nil
--- @param known table name -> Lua type
--- @return table
function M.check_options(opts, known)
  if opts == nil then return {} end
  if type(opts) ~= "table" then errors.misuse("options: table expected, got " .. type(opts)) end
  options.check(opts, known)
  return opts
end

M.LIST = { prefix = "string", user = "string", limit = "number", after = "string" }
M.SEARCH = { user = "string", limit = "number" }

--- One page of sorted ids. `entry(id)` gives a row or nil: not there (any more).
--- @param ids string[] sorted
--- @param opts table of list
--- @param entry fun(id: string): table|nil, string|nil, oaichat.Error|nil
--- @return table[]|nil rows, string|nil next_after, oaichat.Error|nil err
function M.page(ids, opts, entry)
  local rows, limit, prefix = {}, opts.limit or 100, opts.prefix or ""
  for _, id in ipairs(ids) do
    if id:sub(1, #prefix) == prefix and (not opts.after or id > opts.after) then
      local row, text, err = entry(id)
      if err then return nil, text, err end
      if row and (not opts.user or row.meta.user == opts.user) then
        if #rows >= limit then return rows, rows[#rows] and rows[#rows].id end
        rows[#rows + 1] = row
      end
    end
  end
  return rows
end

--- Gives a store its five ways to write, which differ in the word alone: begin (a turn's
--- input), commit (the turn, whole), abort, append, replace (the conversation anew).
--- @param Store table the class
--- @param write fun(store, op: string, id: string, version: integer, messages: table[], meta: table|nil)
function M.writers(Store, write)
  for _, op in ipairs { "begin", "commit", "append", "replace" } do
    Store[op] = function(store, id, version, messages, meta) return write(store, op, id, version, messages, meta) end
  end
  function Store:abort(id, version) return write(self, "abort", id, version, {}) end
end

return M
