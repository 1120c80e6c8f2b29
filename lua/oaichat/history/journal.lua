--- history/journal: the format of a conversation's journal, and how one is read. It
-- knows an open file (oaichat.core's, or one that acts like it); no names, no locks.
--
-- One JSON object a line; each ends in a checksum of all that stands before it. The
-- first fields are those of the conversation as it is after this line, so that the
-- last line alone tells what a writer has to know:
--   v version · op · t microseconds since 1970 · n messages, open input included
--   b messages before an open turn · d bytes that count no more · m place of the
--   last line with meta, 0: none · sizes bytes of meta and of each message, so that
--   they can be taken out as they are (another Lua may not have such integers)
-- ops: journal (the first line: format and id), part (some messages of a journal
-- that was written anew; the version stays), append, begin, commit, abort (each the
-- next version). commit has the whole round; what begin wrote counts no more.

local core = require "oaichat.core"
local common = require "oaichat.history.common"
local tables = require "oaichat.tables"

local M = {}

M.FORMAT = 1

local CHUNK = 262144
local TAIL = 4096
local HEAD = '^{"v":(%d+),"op":"(%l+)","t":(%d+),"n":(%d+),"b":(%d+),"d":(%d+),"m":(%d+)()'
local SIZES = '^,"sizes":%[([%d,]+)%]()'
local META, MESSAGES = ',"meta":', ',"messages":['
local SUM = ',"sum":"%s"}\n'
local SUM_SIZE = 18 -- without the line's end
local OPS = { journal = true, part = true, append = true, begin = true, commit = true, abort = true }

-- ---- writing ------------------------------------------------------------------

local function ended(body)
  return body .. SUM:format(core.file.crc32(body))
end

local function head(state)
  return ('{"v":%.0f,"op":"%s","t":%.0f,"n":%.0f,"b":%.0f,"d":%.0f,"m":%.0f')
    :format(state.v, state.op, state.t, state.n, state.b, state.d, state.m)
end

--- One line.
--- @param state table v op t n b d m (see above)
--- @param meta string|nil JSON
--- @param messages string[] JSON of each
--- @return string
function M.line(state, meta, messages)
  local sizes = { ("%d"):format(meta and #meta or 0) }
  for _, text in ipairs(messages) do sizes[#sizes + 1] = ("%d"):format(#text) end
  return ended(table.concat {
    head(state), ',"sizes":[', table.concat(sizes, ","), "]", meta and META .. meta or "",
    MESSAGES, table.concat(messages, ","), "]",
  })
end

--- The first line.
--- @param id string of common.check_id: needs no escapes
--- @param version integer that the conversation has before the next line
--- @param created integer microseconds
function M.first(id, version, created)
  return ended(head { v = version, op = "journal", t = created, n = 0, b = 0, d = 0, m = 0 }
    .. (',"format":%d,"id":"%s"'):format(M.FORMAT, id))
end

-- ---- one line -----------------------------------------------------------------

--- @param line string without its end
--- @return table|nil state, string|nil why
function M.parse(line)
  local body, sum = line:sub(1, -SUM_SIZE - 1), line:sub(-SUM_SIZE)
  local want = sum:match '^,"sum":"(%x+)"}$'
  if not want or #want ~= 8 then return nil, "the line has no checksum" end
  if core.file.crc32(body) ~= want then return nil, "the checksum does not match" end
  local v, op, t, n, b, d, m, stop = line:match(HEAD)
  if not OPS[op] then return nil, "the line is no record of this format" end
  return {
    v = tonumber(v), op = op, t = tonumber(t), n = tonumber(n), b = tonumber(b), d = tonumber(d), m = tonumber(m),
    head = stop,
  }
end

--- Takes meta and the messages out of a line, as JSON.
--- @param state table of parse
--- @return string|nil meta nil: the line has none
--- @return string[]|nil messages nil: the line is not laid out so
function M.content(state, line)
  local sizes, at = line:match(SIZES, state.head)
  if not sizes then return nil, nil end
  local meta, texts
  for size in sizes:gmatch "%d+" do
    size = tonumber(size)
    if not texts then
      texts = {}
      if size > 0 then
        meta = line:sub(at + #META, at + #META + size - 1)
        at = at + #META + size
      end
      if line:sub(at, at + #MESSAGES - 1) ~= MESSAGES then return nil, nil end
      at = at + #MESSAGES
    else
      texts[#texts + 1] = line:sub(at, at + size - 1)
      at = at + size + 1
    end
  end
  return meta, texts
end

local function why_first(line)
  if line == "" then return "the file is empty" end
  if line:sub(1, 3) == "\239\187\191" then return "the file begins with a byte order mark" end
  if line:sub(-1) == "\r" then return "the line ends in CR LF" end
  if line:find "^%z" then return "the file begins with NUL bytes" end
end

-- What is wrong with a line at its place, nil: nothing.
local function misplaced(state, before, line, id)
  if not before then
    local format, name = line:match ',"format":(%d+),"id":"([^"]*)","sum":'
    if state.op ~= "journal" or not format then return "the file does not begin as a journal" end
    if tonumber(format) ~= M.FORMAT then return "the journal has format " .. format .. ", which is not known" end
    if name ~= id then return "the journal is that of " .. name end
  elseif state.op == "journal" then
    return "a second beginning"
  elseif state.v ~= before.v + (state.op == "part" and 0 or 1) then
    return ("version %.0f follows version %.0f"):format(state.v, before.v)
  elseif (state.op == "commit" or state.op == "abort") and before.op ~= "begin" then
    return state.op .. " without begin"
  end
end

-- ---- the whole ----------------------------------------------------------------

-- Gives line, its place and whether it has an end; at last nil or an errno's values.
local function lines(file, size)
  local buffer, from, at = "", 1, 0 -- at: the place of buffer's first byte
  return function()
    while true do
      local stop = buffer:find("\n", from, true)
      if stop then
        local line, place = buffer:sub(from, stop - 1), at + from - 1
        from = stop + 1
        return line, place, true
      end
      buffer, at, from = buffer:sub(from), at + from - 1, 1
      local more, reason, code = file:read(at + #buffer, math.min(math.max(CHUNK, #buffer), size - at - #buffer))
      if not more then return nil, reason, code end
      if more == "" then
        if buffer == "" then return nil end
        local line, place = buffer, at
        buffer, at = "", size
        return line, place, false
      end
      buffer = buffer .. more
    end
  end
end

-- A write that a crash cut: it has no end, or blocks of it never came and are NULs.
-- A whole line without them was written so, or changed later: that is no crash.
local function is_torn(line, complete)
  return not complete or line:find "%z" ~= nil
end

--- Reads a journal from its beginning.
--- @param file table
--- @param size integer
--- @param path string for messages
--- @param id string
--- @param visit (fun(state: table, line: string): string|nil)|nil gets each line; a string says what is wrong with it
--- @return table|nil last the state of the last line, with `place` and `size` of it, `stop` behind it, `first` (the
---   first line's), `mended` (a note on what is to be cut off behind `stop`)
--- @return string|nil message
--- @return oaichat.Error|table|nil err kind "storage"; with `errno` when reading failed
function M.scan(file, size, path, id, visit)
  local last, bad, first, number = nil, nil, nil, 0
  local function corrupt(line, why)
    local text = ("%s:%d: %s; nothing was changed"):format(path, line, why)
    return common.fail("corrupt", text, { file = path, line = line })
  end
  local next_line = lines(file, size)
  local line, place, complete = next_line()
  if not line and not complete then return corrupt(1, "the file is empty") end
  while line do
    number = number + 1
    if bad then
      if complete or line:find "[^%z]" then return corrupt(bad.number, bad.why) end
    else
      local state, why = nil, "the line is cut off"
      if complete then state, why = M.parse(line) end
      if state then why = misplaced(state, last, line, id) or visit and visit(state, line) end
      if state and why then return corrupt(number, why) end
      if state then
        state.place, state.size, state.stop = place, #line + 1, place + #line + 1
        first, last = first or state, state
      elseif not last or not is_torn(line, complete) then
        return corrupt(number, not last and why_first(line) or why)
      else
        bad = { number = number, why = why, place = place }
      end
    end
    line, place, complete = next_line()
  end
  if complete then return nil, place, { errno = complete } end
  last.first = first
  if bad then
    last.mended = ("%s:%d: %s: the last %d bytes, of a write that was never finished, are left out")
      :format(path, bad.number, bad.why, size - bad.place)
  end
  return last
end

--- The state after the last line, read from the end: what it costs does not grow
--- with the conversation. nil: the end is not whole, scan.
--- @return table|nil last as of scan, without first and mended
function M.last(file, size)
  local n = TAIL
  while true do
    local from = math.max(0, size - n)
    local bytes = file:read(from, size - from)
    if not bytes or bytes:sub(-1) ~= "\n" then return nil end
    local place = bytes:sub(1, -2):match "^.*\n()"
    if place or from == 0 then
      local line = bytes:sub(place or 1, -2)
      local state = M.parse(line)
      if not state then return nil end
      state.size, state.stop = #line + 1, size
      state.place = size - state.size
      return state
    end
    n = n * 4
  end
end

--- The meta of the line at a place.
--- @return string|nil JSON nil alone: there is none; else the reason and errno of a failed read
function M.meta(file, place, size)
  local n = TAIL
  while true do
    local bytes, reason, errno = file:read(place, math.min(n, size - place))
    if not bytes then return nil, reason, errno end
    local stop = bytes:find("\n", 1, true)
    if stop then
      local line = bytes:sub(1, stop - 1)
      local state = M.parse(line)
      if not state then return nil end
      return (M.content(state, line))
    end
    if #bytes < n then return nil end
    n = n * 4
  end
end

--- Collects what the lines say: `visit` is for scan.
--- @return table conversation messages, open (the input of an open turn)|nil, meta|nil; all as JSON
--- @return fun(state: table, line: string): string|nil visit
function M.collector()
  local out = { messages = {}, open = nil, meta = nil }
  local function fold()
    tables.add(out.messages, out.open or {})
    out.open = nil
  end
  return out, function(state, line)
    local op = state.op
    if op == "journal" then return end
    local meta, texts = M.content(state, line)
    if not texts then return "the line is not laid out as a record" end
    if op == "commit" or op == "abort" then out.open = nil else fold() end
    out.open = texts
    if op ~= "begin" then fold() end
    out.meta = meta or out.meta
    local n = #out.messages + #(out.open or {})
    if state.n ~= n then return ("the line counts %.0f messages, there are %d"):format(state.n, n) end
  end
end

return M
