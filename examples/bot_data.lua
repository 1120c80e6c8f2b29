-- bot_data: fills a JSON Schema from a text, by rules and without a model, for the
-- offline bot. It knows names of properties, a few shapes (e-mail addresses, dates,
-- amounts) and the schema; the same text gives the same value.
--
--   data.fill(schema, "I am Ada, ada@example.org") --> { name = "Ada", email = "ada@example.org" }
--
-- The rules, the first that finds something:
--   const, enum          the value that the text names, else the first
--   "NAME: value"        the line or the words up to a comma, for a property NAME
--   email, url, date, phone, name, city, age, price, quantity   by the property's name
--   numbers              the number before or behind the property's name, else the first
--   lists                e-mail addresses, "NAME: a, b and c", or for objects one for each part that begins
--                        with a number; else an empty one, whatever minItems says: so a program meets a mistake
--   optional, nullable   left out, or null, when nothing was found

local json = require "oaichat.json"

local M = {}

local function words_of(name)
  return (name:gsub("(%l)(%u)", "%1 %2"):gsub("[_-]+", " "):lower())
end

local function escape(text)
  return (text:gsub("%W", "%%%0"))
end

local function trim(text)
  return text:match "^%s*(.-)%s*$"
end

-- Shapes ----------------------------------------------------------------------

local MONTHS = {
  jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10, nov = 11, dec = 12,
}

local function date_in(text)
  local iso = text:match "%f[%d]%d%d%d%d%-%d%d%-%d%d%f[%D]"
  if iso then return iso end
  for day, month, year in text:gmatch "%f[%d](%d%d?)%a*%.? (%a%a%a)%a*%.?,? (%d%d%d%d)" do
    if MONTHS[month:lower()] then return ("%s-%02d-%02d"):format(year, MONTHS[month:lower()], tonumber(day)) end
  end
  for month, day, year in text:gmatch "%f[%a](%a%a%a)%a* (%d%d?)%a*,? (%d%d%d%d)" do
    if MONTHS[month:lower()] then return ("%s-%02d-%02d"):format(year, MONTHS[month:lower()], tonumber(day)) end
  end
end

local function email_in(text)
  return text:match "[%w._%%+-]+@[%w-]+%.[%w.-]*%w"
end

local function url_in(text)
  local url = text:match "https?://[^%s\"'<>]+"
  return url and url:gsub("[%.,;:!%?%)]+$", "") or nil
end

local NAME = "(%u[%w\128-\255'-]+)"

local function name_in(text)
  local starts = {
    "[Mm]y name is ", "%f[%a]I am ", "%f[%a]I'm ", "[Tt]his is ", "[Ff]rom ", "[Ff]or ", "[Rr]egards,%s*",
  }
  for _, start in ipairs(starts) do
    local first, rest = text:match(start .. NAME .. "(.*)")
    if first then
      local more = rest:match("^ " .. NAME)
      return more and first .. " " .. more or first
    end
  end
  local first, last = text:match("%f[%u]" .. NAME .. " " .. NAME)
  return first and first .. " " .. last
end

local function phone_in(text)
  for found in text:gmatch "%+?%d[%d %-/%(%)]+%d" do
    if #found:gsub("%D", "") >= 7 and not found:find "^%d%d%d%d%-%d%d%-%d%d$" then return found end
  end
end

-- The property's name, and what finds it; the first row that fits.
local FINDERS = {
  { "e?%-?mail", email_in }, { "url", url_in }, { "link", url_in }, { "website", url_in },
  { "date", date_in }, { "birthday", date_in }, { "deadline", date_in }, { "phone", phone_in },
  { "city", function(text) return text:match("%f[%a][Ii]n " .. NAME) or text:match("[Ff]rom " .. NAME) end },
  { "name", name_in }, { "customer", name_in }, { "person", name_in }, { "author", name_in },
}

-- "NAME: value" and "NAME is value".
local function labelled(name, text)
  local lower, label = text:lower(), escape(words_of(name))
  for _, pattern in ipairs { "%f[%w]" .. label .. "%s*[:=]%s*()", "%f[%w]" .. label .. " is ()" } do
    local at = lower:match(pattern)
    local value = at and trim(text:sub(at):match "^[^,;\n]*"):gsub("[%.!%?]+$", "")
    if value and value ~= "" then
      return value:match '^"(.*)"$' or value, (text:sub(at):match "^[^;\n]*":gsub("%.%s.*$", ""))
    end
  end
end

-- Values ------------------------------------------------------------------------

local fill

local function number_in(name, text)
  local label, lower = escape(words_of(name)), text:lower()
  local function first(patterns)
    for _, pattern in ipairs(patterns) do
      local found = lower:match(pattern)
      if found then return tonumber(found) end
    end
  end
  local number = "(%-?%d+%.?%d*)"
  local found = first { "%f[%w]" .. label .. "%s*[:=]?%s*i?s?%s*" .. number, number .. " " .. label }
  if found then return found end
  if name == "age" then return first { "(%d+) years", "aged (%d+)", "i am (%d+)" } end
  if name:find "price" or name:find "amount" or name:find "total" or name:find "cost" then
    return first { "[%$\226\130\172]%s*" .. number, "%f[%a]at " .. number, "%f[%a]for " .. number, number .. " euro" }
  end
  if name == "days" then return first { "(%d+) day" } end
  return nil, first { "%f[%d]" .. number }
end

local function bounded(schema, value)
  if schema.type == "integer" then value = math.floor(value) end
  if schema.minimum and value < schema.minimum then value = schema.minimum end
  if schema.maximum and value > schema.maximum then value = schema.maximum end
  -- an integer where Lua knows them: 36, never 36.0
  return math.type and value % 1 == 0 and math.tointeger(value) or value
end

local function number(schema, name, text)
  local named, any = number_in(name, text)
  if named then return bounded(schema, named), true end
  if any then return bounded(schema, any), name == "quantity" or name == "value" end
  return bounded(schema, 0), false
end

local function string(schema, name, text)
  local value = labelled(name, text)
  if value then return value, true end
  local finder
  local lower = name:lower()
  for _, row in ipairs(FINDERS) do
    finder = finder or (lower:find(row[1]) or schema.format == row[1]) and row[2]
  end
  if schema.format == "email" then finder = email_in end
  value = finder and finder(text)
  if value then return value, true end
  value = text:match '"([^"]+)"'
  if value then return value, false end
  -- a thing that is counted: "2 blue lamps at 19.90"
  value = text:match "^%s*%d+%s*x?%s+(.-)%s+at%f[%A]" or text:match "^%s*%d+%s*x?%s+(.-)%s+for%f[%A]"
    or text:match "^%s*%d+%s*x?%s+(.-)%s*[%.%$]*%s*$"
  if value then return value, true end
  return trim(text), false
end

local function boolean(name, text)
  local lower, label = " " .. text:lower(), escape(words_of(name))
  local at = lower:find("%f[%w]" .. label)
  if not at then return false, false end
  local before = lower:sub(math.max(1, at - 6), at - 1)
  return not (before:find "not? $" or lower:match("^[:=]?%s*(%a+)", at + #words_of(name)) == "no"), true
end

local function parts_of(text)
  local parts = {}
  text = text:gsub("o?n? ?%d+%a* %u%l+ %d%d%d%d", ""):gsub("%s+and%s+", "\n"):gsub("[,;:%.]%s", "\n")
  for part in (text .. "\n"):gmatch "(.-)\n" do
    -- "I order 2 lamps": it begins with the number
    part = part:match "%f[%d]%d+%s*x?%s+%a.*$"
    if part and not part:find "^%d+ years" then parts[#parts + 1] = (part:gsub("[%s%.]+$", "")) end
  end
  return parts
end

local function list(schema, name, text, root)
  local out, item = json.array {}, schema.items or {}
  local _, line = labelled(name, text)
  if item.type == "object" or item["$ref"] then
    for _, part in ipairs(parts_of(text)) do out[#out + 1] = (fill(item, name, part, root)) end
  elseif name:find "mail" then
    for found in text:gmatch "[%w._%%+-]+@[%w-]+%.[%w.-]*%w" do out[#out + 1] = found end
  elseif item.type == "number" or item.type == "integer" then
    for found in text:gmatch "%-?%d+%.?%d*" do out[#out + 1] = bounded(item, tonumber(found)) end
  elseif line then
    for found in (line:gsub("%s+and%s+", ","):gsub("[%.]%s*$", "") .. ","):gmatch "%s*(.-)%s*," do
      if found ~= "" then out[#out + 1] = found end
    end
  end
  return out, out[1] ~= nil
end

local function is_in(items, wanted)
  for _, item in ipairs(items or {}) do
    if item == wanted then return true end
  end
  return false
end

local function object(schema, text, root)
  local out, any = json.object {}, false
  for name, property in pairs(schema.properties or {}) do
    local value, found = fill(property, name, text, root)
    if found or is_in(schema.required, name) then out[name] = value end
    any = any or found
  end
  return out, any
end

local function choose(values, text)
  for _, value in ipairs(values) do
    if type(value) == "string" and text:lower():find("%f[%w]" .. escape(value:lower()) .. "%f[%W]") then
      return value, true
    end
  end
  if is_in(values, json.null) then return json.null, false end
  return values[1], false
end

-- The schema without null, and whether null was allowed.
local function without_null(schema)
  for _, word in ipairs { "anyOf", "oneOf" } do
    if schema[word] then
      local first, null
      for _, one in ipairs(schema[word]) do
        if one.type == "null" then null = true else first = first or one end
      end
      return first or {}, null
    end
  end
  if type(schema.type) ~= "table" then return schema, false end
  local out = {}
  for word, value in pairs(schema) do out[word] = value end
  for _, kind in ipairs(schema.type) do
    if kind ~= "null" then out.type = kind end
  end
  return out, is_in(schema.type, "null")
end

local function known(schema, name, text, root)
  local target = type(schema["$ref"]) == "string" and schema["$ref"]:match "^#/%$defs/(.+)$"
  if target then schema = (root["$defs"] or {})[target] or {} end
  if schema.const ~= nil then return schema.const, true end
  if schema.enum then return choose(schema.enum, text) end
  local plain, null = without_null(schema)
  if plain ~= schema and (plain.enum or plain["$ref"] or plain.anyOf) then
    local value, found = fill(plain, name, text, root)
    return null and not found and json.null or value, found
  end
  local value, found
  local kind = plain.type
  if kind == "object" then
    value, found = object(plain, text, root)
  elseif kind == "array" then
    value, found = list(plain, name, text, root)
  elseif kind == "number" or kind == "integer" then
    value, found = number(plain, name, text)
  elseif kind == "boolean" then
    value, found = boolean(name, text)
  elseif kind == "null" then
    value, found = json.null, true
  else
    value, found = string(plain, name, text)
  end
  if null and not found then return json.null, false end
  return value, found
end

-- The value, and whether the text had it. A schema that has itself as a part ends here.
local depth = 0
function fill(schema, name, text, root)
  if type(schema) ~= "table" then return text, false end
  if depth >= 8 then return json.null, false end
  depth = depth + 1
  local ok, value, found = pcall(known, schema, name, text, root)
  depth = depth - 1
  if not ok then return json.null, false end -- no JSON Schema
  return value, found
end

--- Fills a schema from a text.
---@param schema table JSON Schema
---@param text string
---@return any value
function M.fill(schema, text)
  return (fill(schema, "value", text, schema))
end

--- Fills one property.
---@return any value, boolean found the text had it, by more than chance
function M.property(schema, name, text, root)
  return fill(schema, name, text, root)
end

--- What a text has, for a JSON answer without a schema.
---@param text string
---@return table
function M.facts(text)
  local out = json.object { text = text }
  out.name, out.email, out.date, out.url = name_in(text), email_in(text), date_in(text), url_in(text)
  return out
end

return M
