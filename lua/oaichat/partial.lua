--- partial: reads ONE JSON value that arrives in pieces, and shows what is there.
-- Tables grow in place, strings grow; what could still turn into something else is
-- held back: an open number or literal, a key without its value, half an escape,
-- half a surrogate pair, half a UTF-8 sequence. Tokens are decoded by oaichat.json,
-- so that the whole value equals json.decode's. Knows no schema and no stream.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"

local M = {}

--- Open containers at most: what limits.depth is by default.
M.DEPTH = 128
--- Bytes at most: what limits.event_bytes is by default.
M.BYTES = 16e6

local EARLY = "the text ends too early"
local WORDS = { t = "true", f = "false", n = "null" }

--- @class oaichat.Partial
local Partial = {}
Partial.__index = Partial
Partial.__name = "oaichat.Partial"

-- The readers: each takes the text and a position and returns where the next one goes
-- on, or nil: all is read, or the text is wrong.
local read_value, read_first_value, read_key, read_first_key, read_colon, read_next, read_end

local function fail(self, position, reason, kind, code)
  local err = errors.new {
    kind = kind or "protocol", code = code or "decode",
    message = ("invalid JSON at byte %d: %s"):format(position, reason),
  }
  err.position = position
  self._err = err
end

local function unexpected(self, text, at)
  local char = text:sub(at, at)
  fail(self, self._base + at,
    char:find "^[\32-\126]$" and ("unexpected '%s'"):format(char) or ("unexpected byte %d"):format(char:byte()))
end

-- One token by json.decode; first is the byte of the whole text where it begins.
local function decode(self, token, first)
  local value, message, err = json.decode(token)
  if value ~= nil then return value end
  fail(self, first + err.position - 1, message:match "byte %d+: (.*)$" or message, err.kind, err.code)
  return nil, err.position
end

-- Shows a value where the next one belongs; an open string is shown again and again.
local function show(self, value)
  local frame = self._stack[self._depth]
  if not frame then
    self._root = value
  elseif frame.array then
    frame.table[frame.count + 1] = value
  else
    frame.table[frame.key] = value
  end
end

local function place(self, value)
  show(self, value)
  local frame = self._stack[self._depth]
  if frame and frame.array then frame.count = frame.count + 1 end
end

local function after_value(self)
  self._read = self._depth > 0 and read_next or read_end
end

local function open(self, at, array)
  if self._depth >= self._max_depth then
    return fail(self, self._base + at, ("more than %d levels deep"):format(self._max_depth), "too_large", "too_deep")
  end
  -- as json.decode does: arrays are marked, objects are plain tables
  local value = array and json.array() or {}
  place(self, value)
  self._depth = self._depth + 1
  self._stack[self._depth] = { table = value, array = array, count = 0 }
  self._read = array and read_first_value or read_first_key
  return at + 1
end

local function close(self, at)
  self._stack[self._depth] = nil
  self._depth = self._depth - 1
  after_value(self)
  return at + 1
end

-- Where the bytes begin that end an unfinished UTF-8 sequence, nil: none.
local function open_sequence(text)
  for back = 1, math.min(3, #text) do
    local byte = text:byte(-back)
    if byte < 0x80 then return nil end
    if byte >= 0xC0 then
      local length = byte >= 0xF0 and 4 or byte >= 0xE0 and 3 or 2
      return length > back and #text - back + 1 or nil
    end
  end
end

-- The closing quote of a string that goes on at pos, or where to cut, so that
-- neither an escape nor a surrogate pair is torn.
local function string_end(text, pos)
  local high, high_end -- a high surrogate: its other half may follow
  while true do
    local at = text:find('["\\]', pos)
    if not at then
      return nil, high_end == #text and high or open_sequence(text) or #text + 1
    end
    if text:byte(at) == 34 then return at end
    local pair = high_end == at - 1 and high or nil
    local hex = text:match("^u(%x*)", at + 1)
    if at == #text or hex and #hex < 4 and at + 1 + #hex == #text then
      return nil, pair or at
    end
    if hex and hex:find "^[dD][89aAbB]%x%x" then
      high, high_end = at, at + 5
    end
    pos = at + (hex and #hex >= 4 and 6 or 2)
  end
end

local function end_string(self)
  local text = table.concat(self._parts)
  self._parts = nil
  if self._is_key then
    self._stack[self._depth].key = text
    self._read = read_colon
  else
    place(self, text)
    after_value(self)
  end
end

local function read_string(self, text, pos)
  local quote, cut = string_end(text, pos)
  local stop = quote or cut
  if stop > pos then
    -- the quote that json.decode needs stands one byte before
    local piece = decode(self, '"' .. text:sub(pos, stop - 1) .. '"', self._base + pos - 1)
    if not piece then return nil end
    self._parts[#self._parts + 1] = piece
  end
  if quote then
    end_string(self)
    return quote + 1
  end
  self._carry = text:sub(cut)
end

local function begin_string(self, at, is_key)
  self._parts, self._is_key, self._read = {}, is_key, read_string
  return at + 1
end

-- next_at: the byte behind the number, nil at the end of the input.
local function end_number(self, text, next_at)
  local token = table.concat(self._parts)
  self._parts = nil
  local value, position = decode(self, token, self._first)
  if value == nil then
    if next_at and position > #token and self._err.message:find(EARLY, 1, true) then
      unexpected(self, text, next_at)
    end
    return nil
  end
  place(self, value)
  after_value(self)
  return next_at
end

local function read_number(self, text, pos)
  local at = text:find("[^0-9+%-.eE]", pos)
  self._parts[#self._parts + 1] = text:sub(pos, (at or 0) - 1)
  return at and end_number(self, text, at)
end

local function read_word(self, text, pos)
  local word = self._word
  while self._matched < #word do
    if pos > #text then return nil end
    if text:byte(pos) ~= word:byte(self._matched + 1) then return unexpected(self, text, pos) end
    self._matched = self._matched + 1
    pos = pos + 1
  end
  local value = json.null
  if word ~= "null" then value = word == "true" end
  place(self, value)
  after_value(self)
  return pos
end

-- A reader of the next byte that is no white space.
local function reads_byte(reader)
  return function(self, text, pos)
    local at = text:find("[^ \t\r\n]", pos)
    return at and reader(self, text, at, text:sub(at, at))
  end
end

read_value = reads_byte(function(self, text, at, char)
  if char == '"' then return begin_string(self, at, false) end
  if char == "{" or char == "[" then return open(self, at, char == "[") end
  if char:find "[0-9-]" then
    self._parts, self._first, self._read = {}, self._base + at, read_number
    return at
  end
  if WORDS[char] then
    self._word, self._matched, self._read = WORDS[char], 0, read_word
    return at
  end
  return unexpected(self, text, at)
end)

read_first_value = reads_byte(function(self, text, at, char)
  return char == "]" and close(self, at) or read_value(self, text, at)
end)

read_key = reads_byte(function(self, text, at, char)
  if char == '"' then return begin_string(self, at, true) end
  return unexpected(self, text, at)
end)

read_first_key = reads_byte(function(self, text, at, char)
  return char == "}" and close(self, at) or read_key(self, text, at)
end)

read_colon = reads_byte(function(self, text, at, char)
  if char ~= ":" then return unexpected(self, text, at) end
  self._read = read_value
  return at + 1
end)

read_next = reads_byte(function(self, text, at, char)
  local array = self._stack[self._depth].array
  if char == (array and "]" or "}") then return close(self, at) end
  if char ~= "," then return unexpected(self, text, at) end
  self._read = array and read_value or read_key
  return at + 1
end)

read_end = reads_byte(unexpected)

--- Makes a reader.
--- @param opts { depth: integer, bytes: integer }|nil open containers and bytes at
---   most (128, 16e6); beyond them the value is refused
--- @return oaichat.Partial
function M.new(opts)
  opts = opts or {}
  options.check(opts, { depth = "number", bytes = "number" })
  return setmetatable({
    _read = read_value, _stack = {}, _depth = 0, _carry = "", _seen = 0, _base = 0, _taken = {},
    _max_depth = opts.depth or M.DEPTH, _max_bytes = opts.bytes or M.BYTES,
  }, Partial)
end

--- Takes the next bytes, cut anywhere. Costs what they are long, whatever came before.
--- What is no JSON stops the reader: error() says where, value() keeps what was.
--- @param text string
function Partial:feed(text)
  if type(text) ~= "string" then errors.misuse("feed: string expected, got " .. type(text)) end
  if self._err or self._ended then return end
  if self._seen + #text > self._max_bytes then
    return fail(self, self._seen + 1, ("more than %d bytes"):format(self._max_bytes), "too_large", "too_large")
  end
  self._base = self._seen - #self._carry
  self._seen = self._seen + #text
  text = self._carry .. text
  self._carry = ""
  local pos = 1
  while pos and pos <= #text do pos = self._read(self, text, pos) end
end

--- The input has ended: only now is a bare number whole.
--- @return any value never nil but on failure
--- @return string|nil message
--- @return oaichat.Error|nil err kind "protocol", code "decode"; err.position
function Partial:finish()
  if not self._err and not self._ended then
    if self._depth == 0 and self._read == read_number then end_number(self, "") end
    if not self._err and self._read ~= read_end then
      fail(self, self._seen + 1, self._root == nil and self._seen == 0 and "the text is empty" or EARLY)
    end
    self._ended = true
  end
  if self._err then return nil, self._err.message, self._err end
  return self._root
end

--- The value so far; nil: nothing to show yet. The same tables each time, growing:
--- copy what must not. Costs what the open string is long.
--- @return any
function Partial:value()
  if self._read == read_string and not self._is_key then
    local text = table.concat(self._parts)
    self._parts = { text }
    show(self, text)
  end
  return self._root
end

--- Whether the value is whole (and, so far, nothing but white space behind it).
--- @return boolean
function Partial:done()
  return self._read == read_end and not self._err
end

--- What was wrong, if anything.
--- @return string|nil message with the byte
--- @return oaichat.Error|nil err kind "protocol", code "decode"; or kind "too_large",
---   code "too_deep" or "too_large"; err.position is the byte, from 1
function Partial:error()
  if self._err then return self._err.message, self._err end
end

--- How many items of an array of the value are whole; the next one may be growing.
--- @param list table an array in value()
--- @return integer
function Partial:complete(list)
  for level = 1, self._depth do
    local frame = self._stack[level]
    if frame.table == list then return level < self._depth and frame.count - 1 or frame.count end
  end
  return #list
end

--- The items that became whole since it was last asked: for index, item in p:items() do.
--- @param key string|nil the array is this member of the value; nil: the value itself
--- @return fun(): integer|nil, any
function Partial:items(key)
  local who = key == nil and self or key
  return function()
    local list = self._root
    if key ~= nil and type(list) == "table" then list = list[key] end
    if type(list) ~= "table" or getmetatable(list) ~= json.array_mt then return nil end
    local index = (self._taken[who] or 0) + 1
    if index > self:complete(list) then return nil end
    self._taken[who] = index
    return index, list[index]
  end
end

return M
