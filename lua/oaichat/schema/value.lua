--- schema.value: what JSON Schema asks of a value, whatever the schema: its kind,
-- equality (1 is 1.0), length in code points, multiples. Values are what
-- oaichat.json decodes, and plain Lua tables. Knows the JSON marks of oaichat.core.

local core = require "oaichat.core"

local M = {}

local floor, huge = math.floor, math.huge
local null, is_array = core.json_null, core.json_is_array
local to_integer = math.tointeger -- Lua 5.3 and later

--- Whether a number is an integer in JSON Schema's sense: 1.0 is (validation
--- 2020-12, section 6.1.1 with core, section 4.2.3).
--- @param value number
--- @return boolean
function M.integral(value)
  return value == floor(value) and value > -huge and value < huge
end

--- The number that a decimal text stands for, which oaichat.json decodes where no
--- Lua number is exact: beyond 64 bits, beyond 2^53 where Lua has only doubles.
--- @param text string
--- @return number|nil
function M.big_integer(text)
  if #text < 16 or not text:find "^%-?[1-9]%d+$" then return nil end
  local number = tonumber(text)
  if to_integer and to_integer(number) and math.type(number) == "integer" then return nil end
  return (number >= 2 ^ 53 or number <= -2 ^ 53) and number or nil
end

--- "string", "number", "boolean", "null", "array", "object", or "other" for what
--- JSON has not. An empty table without a mark is an object, as in json.encode.
--- @return string
function M.kind(value)
  local kind = type(value)
  if kind == "table" then return is_array(value) and "array" or "object" end
  if kind == "string" or kind == "number" or kind == "boolean" then return kind end
  if value == null then return "null" end
  return value ~= nil and is_array(value) and "array" or "other"
end

--- Code points of a UTF-8 text (validation 2020-12, section 6.3.1: characters as
--- RFC 8259 has them).
--- @param text string
--- @return integer
function M.length(text)
  if not text:find "[\128-\255]" then return #text end
  local _, more = text:gsub("[\128-\191]", "")
  return #text - more
end

local function number_text(value)
  if to_integer then
    local integer = to_integer(value)
    if integer then return ("%d"):format(integer) end
  elseif M.integral(value) and value > -2 ^ 53 and value < 2 ^ 53 then
    return ("%d"):format(value)
  end
  return ("%.17g"):format(value)
end

local function append(value, out, charge, depth)
  local kind = M.kind(value)
  charge(1, depth)
  if kind == "string" then
    out[#out + 1] = ("s%d:"):format(#value)
    out[#out + 1] = value
  elseif kind == "number" then
    out[#out + 1] = "n" .. number_text(value)
  elseif kind == "array" then
    out[#out + 1] = "["
    for i = 1, type(value) == "table" and #value or 0 do append(value[i], out, charge, depth + 1) end
    out[#out + 1] = "]"
  elseif kind == "object" then
    local keys = {}
    for key in next, value do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    out[#out + 1] = "{"
    for _, key in ipairs(keys) do
      out[#out + 1] = ("%d:"):format(#tostring(key))
      out[#out + 1] = tostring(key)
      append(rawget(value, key), out, charge, depth + 1)
    end
    out[#out + 1] = "}"
  else
    out[#out + 1] = kind == "null" and "0" or tostring(value)
  end
end

--- A text that is the same for equal values, and for no others (core 2020-12,
--- section 4.2.2).
--- @param charge fun(work: integer, depth: integer) may raise to stop
--- @return string
function M.canonical(value, charge)
  local out = {}
  append(value, out, charge, 0)
  return table.concat(out, "\1")
end

--- The digits of a number as an integer, and its power of ten.
local function decimal(value)
  local text = ("%.15e"):format(value)
  if tonumber(text) ~= value then text = ("%.16e"):format(value) end
  local lead, rest, exponent = text:match "^%-?(%d)%.?(%d*)e([+-]%d+)$"
  rest = rest:gsub("0+$", "")
  return lead .. rest, tonumber(exponent) - #rest
end

--- (digits * 10^zeros) mod by, exact while by * 10 is.
local function remainder(digits, zeros, by)
  local left = 0
  for digit in digits:gmatch "%d" do left = (left * 10 + tonumber(digit)) % by end
  for _ = 1, zeros do
    if left == 0 then break end
    left = left * 10 % by
  end
  return left
end

--- Whether value / of is an integer (validation 2020-12, section 6.2.1), by their
--- shortest decimal texts: 0.3 is a multiple of 0.1.
--- @param value number
--- @param of number above 0
--- @return boolean
function M.multiple(value, of)
  if value ~= value or value == huge or value == -huge then return false end
  if value == 0 then return true end
  if M.integral(value) and M.integral(of) and (to_integer or (value < 2 ^ 53 and value > -2 ^ 53)) then
    return value % of == 0
  end
  local digits, power = decimal(value)
  local of_digits, of_power = decimal(of)
  if power < of_power then
    of_digits = of_digits .. ("0"):rep(math.min(of_power - power, 30))
    power = of_power
    if #of_digits > #digits then return false end
  end
  -- more digits than a number takes: as good as a double is
  if #of_digits > 14 then return math.abs(value) % of == 0 end
  return remainder(digits, power - of_power, tonumber(of_digits)) == 0
end

--- Bytes of a value that a message quotes.
local QUOTE_MAX = 60

--- The beginning of a text, cut between characters.
--- @param text string
--- @param max integer bytes
--- @return string
function M.cut(text, max)
  if #text <= max then return text end
  while max > 0 and text:find("^[\128-\191]", max + 1) do max = max - 1 end
  return text:sub(1, max) .. "..."
end

--- A place below another one, as a JSON pointer (RFC 6901).
--- @param at string a pointer
--- @param key string|number
--- @return string
function M.under(at, key)
  return at .. "/" .. tostring(key):gsub("~", "~0"):gsub("/", "~1")
end

--- A value for a message, cut.
--- @return string
function M.quote(value)
  local kind = M.kind(value)
  if kind == "array" then
    local n = type(value) == "table" and #value or 0
    return ("an array of %d"):format(n)
  elseif kind == "object" then
    return "an object"
  elseif kind ~= "string" then
    return kind == "other" and "a Lua " .. type(value) or core.json_encode(value) or tostring(value)
  end
  return core.json_encode(core.utf8_repair(M.cut(value, QUOTE_MAX))) or ""
end

--- The same; a text is called one.
--- @return string
function M.show(value)
  return (type(value) == "string" and "string " or "") .. M.quote(value)
end

return M
