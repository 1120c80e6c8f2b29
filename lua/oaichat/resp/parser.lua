--- resp/parser: bytes of RESP2 and RESP3 to Lua values, at any split of the bytes
-- (https://redis.io/docs/latest/develop/reference/protocol-spec/). It knows no
-- connection and no command.

local json = require "oaichat.json"

local M = {}

--- What Redis' null becomes.
M.null = json.null

--- What a value costs against the cap beside its bytes, about what Lua takes for it.
local VALUE_COST, TABLE_COST = 8, 64
--- The longest line: a length, a number, a simple string or an error.
local LINE_CAP = 64 * 1024

local EXACT = 2 ^ 53

--- @class oaichat.resp.Parser
local Parser = {}
Parser.__index = Parser

--- @param caps table bytes: of one reply with all that is in it; depth: of arrays within arrays
--- @param fault fun(text: string): any makes the value that an error of the server becomes
--- @return oaichat.resp.Parser
function M.new(caps, fault)
  return setmetatable({ caps = caps, fault = fault, data = "", at = 1, stack = {}, cost = 0, have = 0 }, Parser)
end

-- What is wrong for good; the parser takes nothing any more.
local function bad(parser, text, code)
  parser.broken, parser.code = text, code or "protocol"
  return nil
end

local function charge(parser, bytes)
  parser.cost = parser.cost + bytes
  if parser.cost <= parser.caps.bytes then return true end
  return bad(parser, ("a reply is larger than %d bytes"):format(parser.caps.bytes), "too_large")
end

local function integer(text)
  if not text:find "^[+-]?%d+$" then return nil end
  text = text:gsub("^%+", "")
  local value = tonumber(text)
  if math.type and math.type(value) == "integer" then return value end
  if value >= -EXACT and value <= EXACT then return value end
  return text -- more than this Lua can hold exactly
end

local function double(text)
  if text == "inf" or text == "+inf" then return math.huge end
  if text == "-inf" then return -math.huge end
  if text:lower():find "^[+-]?nan$" then return 0 / 0 end
  if not text:find "^[+-]?%d+%.?%d*[eE]?[+-]?%d*$" then return nil end
  return tonumber(text)
end

-- Lines that are a value by themselves.
local SIMPLE = {
  ["+"] = function(text) return text end,
  ["-"] = function(text, parser) return parser.fault(text) end,
  [":"] = integer,
  ["("] = function(text) return text:find "^[+-]?%d+$" and (integer(text) or text) end,
  [","] = double,
  ["_"] = function(text) if text == "" then return M.null end end,
}

local BULK = { ["$"] = true, ["!"] = true, ["="] = true }
-- Values that one element stands for: a map's has two.
local AGGREGATE = { ["*"] = 1, ["~"] = 1, [">"] = 1, ["%"] = 2, ["|"] = 2 }

local function bulk_value(parser, kind, text)
  if kind == "!" then return parser.fault(text) end
  if kind == "=" then return text:sub(5) end -- "txt:", "mkd:"
  return text
end

-- The bytes of a bulk string whose length is known, once they and the line end after
-- them are there. Pieces are joined once: the work grows with the length alone.
local function take_bulk(parser)
  local rest = #parser.data - parser.at + 1
  if parser.have + rest < parser.need then
    parser.parts[#parser.parts + 1] = parser.data:sub(parser.at)
    parser.have, parser.data, parser.at = parser.have + rest, "", 1
    return nil
  end
  local stop = parser.at + parser.need - parser.have - 1
  parser.parts[#parser.parts + 1] = parser.data:sub(parser.at, stop)
  parser.at = stop + 1
  local text, kind = table.concat(parser.parts), parser.kind
  parser.parts, parser.have = nil, 0
  if text:sub(-2) ~= "\r\n" then return bad(parser, "a string does not end where its length says") end
  return true, bulk_value(parser, kind, text:sub(1, -3))
end

local function length(parser, kind, text)
  if text == "-1" and (kind == "$" or kind == "*") then return -1 end
  local n = text:find "^%d+$" and #text <= 15 and tonumber(text)
  if not n then return bad(parser, "a length is no number") end
  return n
end

local function open(parser, kind, n)
  if #parser.stack >= parser.caps.depth then
    return bad(parser, ("a reply is nested deeper than %d levels"):format(parser.caps.depth), "too_large")
  end
  n = n * AGGREGATE[kind]
  -- every element takes three bytes at least: what cannot fit is not begun
  if n * 3 > parser.caps.bytes - parser.cost then return charge(parser, n * 3) end
  if not charge(parser, TABLE_COST) then return nil end
  if n == 0 then return true, {}, kind end
  table.insert(parser.stack, { kind = kind, left = n, n = 0, items = {} })
end

-- One line or string: true and its value; true and an empty aggregate with its kind;
-- nil: more bytes are needed, an aggregate was begun, or it is broken.
local function take(parser)
  if parser.parts then return take_bulk(parser) end
  local stop = parser.data:find("\r\n", parser.at, true)
  if not stop then
    if #parser.data - parser.at + 1 > LINE_CAP then return bad(parser, "a line has no end") end
    parser.hungry = true
    return nil
  end
  local kind, text = parser.data:sub(parser.at, parser.at), parser.data:sub(parser.at + 1, stop - 1)
  parser.at = stop + 2
  if not charge(parser, #text + VALUE_COST) then return nil end
  if BULK[kind] then
    local n = length(parser, kind, text)
    if not n then return nil end
    if n == -1 then return true, M.null end
    if not charge(parser, n) then return nil end
    parser.kind, parser.need, parser.parts, parser.have = kind, n + 2, {}, 0
    return take_bulk(parser)
  elseif AGGREGATE[kind] then
    local n = length(parser, kind, text)
    if not n then return nil end
    if n == -1 then return true, M.null end
    return open(parser, kind, n)
  elseif kind == "#" then
    if text == "t" or text == "f" then return true, text == "t" end
    return bad(parser, "a boolean is neither t nor f")
  end
  local read = SIMPLE[kind]
  local value = read and read(text, parser)
  if value == nil or value == false then return bad(parser, "a reply begins with an unknown byte or is no number") end
  return true, value
end

-- A list of keys and values by turns becomes a table; a key that Lua cannot take
-- (nan, null) is dropped.
local function map(items, n)
  local out = {}
  for i = 1, n, 2 do
    local key = items[i]
    if key == key then out[key] = items[i + 1] end
  end
  return out
end

-- Puts a value where it belongs; true when a whole reply is there.
local function place(parser, value, kind)
  while true do
    local top = parser.stack[#parser.stack]
    if kind == "|" then
      -- what a server says about the reply that follows; nobody asked
      if not top then parser.cost = 0 end
      return false
    end
    if not top then return true, value, kind end
    top.n = top.n + 1
    top.items[top.n] = value
    top.left = top.left - 1
    if top.left > 0 then return false end
    table.remove(parser.stack)
    kind = top.kind
    value = AGGREGATE[kind] == 2 and map(top.items, top.n) or top.items
  end
end

--- Adds bytes.
function Parser:feed(bytes)
  if bytes == "" then return end
  self.hungry = false
  if self.at > #self.data then
    self.data = bytes
  else
    self.data = self.data:sub(self.at) .. bytes
  end
  self.at = 1
end

--- The next whole reply.
--- @return boolean found false: more bytes are needed, or `broken` says what is wrong and
---   `code` ("protocol", "too_large") of what sort it is
--- @return any value null is M.null
--- @return boolean|nil push the server said it without being asked
function Parser:next()
  while not self.broken and not self.hungry do
    if self.at > #self.data then return false end
    local had, value, kind = take(self)
    if had then
      local whole, reply, last = place(self, value, kind)
      if whole then
        self.cost = 0
        return true, reply, last == ">"
      end
    end
  end
  return false
end

--- A command as an array of bulk strings. Raises on what is no string and no number.
--- @param words any[] strings and numbers
--- @return string
function M.command(words)
  local out = { "*" .. #words .. "\r\n" }
  for i, word in ipairs(words) do
    if type(word) == "number" then
      word = word % 1 == 0 and word >= -EXACT and word <= EXACT and ("%.0f"):format(word)
        or math.type and math.type(word) == "integer" and ("%d"):format(word) or ("%.17g"):format(word)
    elseif type(word) ~= "string" then
      return nil, ("argument %d: string or number expected, got %s"):format(i, type(word))
    end
    out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  return table.concat(out)
end

return M
