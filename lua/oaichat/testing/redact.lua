--- Takes secrets out of what goes into a cassette: keys, cookies, the names of
-- organizations and projects, and what the user names. Knows text only.

local json = require "oaichat.json"

local M = {}

local MARK = "[redacted]"

-- Headers whose values never stay, by parts of their names.
local SECRET_NAMES = { "auth", "key", "token", "secret", "cookie", "organization", "project", "credential", "session" }

-- Query parameters whose values never stay.
local SECRET_PARAMETERS = {
  key = true, api_key = true, apikey = true, ["api-key"] = true, access_token = true, token = true, sig = true,
  signature = true, code = true, subscription_key = true, ["subscription-key"] = true,
}

-- What keys and identifiers look like: a prefix, and the least that follows it.
local SHAPES = {
  { "sk%-[%w_%-]+", 20 }, { "org%-%w+", 12 }, { "proj_%w+", 12 }, { "AIza[%w_%-]+", 30 }, { "gsk_%w+", 20 },
}

-- Fields that a stream gives in pieces.
local STREAMED = { "content", "reasoning_content", "reasoning", "refusal", "arguments", "text", "delta" }

--- @class oaichat.testing.Redactor
local Redactor = {}
Redactor.__index = Redactor

local function percent(text)
  return (text:gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- From now on this text is a secret, also as JSON and URLs write it.
--- @param text string
function Redactor:learn(text)
  if text == "" or text == MARK or self._known[text] then return end
  self._known[text] = true
  local list = self._literals
  list[#list + 1] = text
  local quoted = json.encode(text)
  local forms = { quoted and quoted:sub(2, -2) or text, percent(text), (text:gsub("/", "\\/")) }
  for _, form in ipairs(forms) do
    if form ~= text and not self._known[form] then
      self._known[form] = true
      list[#list + 1] = form
    end
  end
  table.sort(list, function(a, b) return #a > #b end)
end

-- Calls found(first, last) for each secret in a text.
local function each_secret(self, text, found)
  for _, literal in ipairs(self._literals) do
    local first, last = text:find(literal, 1, true)
    while first do
      found(first, last)
      first, last = text:find(literal, last + 1, true)
    end
  end
  for _, shape in ipairs(SHAPES) do
    local first, last = text:find("%f[%w]" .. shape[1])
    while first do
      if last - first + 1 >= shape[2] then found(first, last) end
      first, last = text:find("%f[%w]" .. shape[1], last + 1)
    end
  end
end

-- The strings that a stream gives in pieces under one name: where each stands.
local function streamed(text, name)
  local list, at = {}, 1
  while true do
    local _, quote = text:find('"' .. name .. '"%s*:%s*"', at)
    if not quote then return list end
    local stop = quote
    repeat
      stop = text:find('[\\"]', stop + 1)
      local escape = stop and text:sub(stop, stop) == "\\"
      if escape then stop = stop + 1 end
    until not escape
    if not stop then return list end
    if stop > quote + 1 then list[#list + 1] = { quote + 1, stop - 1 } end
    at = stop + 1
  end
end

-- A secret that several events of a stream spell together: nothing of it stays.
local function spelled(self, text, add)
  for _, name in ipairs(STREAMED) do
    local list, parts = streamed(text, name), {}
    for i, place in ipairs(list) do parts[i] = text:sub(place[1], place[2]) end
    each_secret(self, table.concat(parts), function(first, last)
      local at, mark = 1, MARK
      for i, place in ipairs(list) do
        local from, to = math.max(first, at), math.min(last, at + #parts[i] - 1)
        if from <= to then
          add(place[1] + from - at, place[1] + to - at, mark)
          mark = ""
        end
        at = at + #parts[i]
      end
    end)
  end
end

-- Where secrets are: { first, last, what stands there instead }, in order, apart.
local function spans_of(self, text)
  local found = {}
  local function add(first, last, mark) found[#found + 1] = { first, last, mark } end
  each_secret(self, text, function(first, last) add(first, last, MARK) end)
  if text:find("data:", 1, true) then spelled(self, text, add) end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  local out = {}
  for _, span in ipairs(found) do
    local before = out[#out]
    if before and span[1] <= before[2] then
      before[2] = math.max(before[2], span[2])
      if span[3] ~= "" then before[3] = span[3] end
    else
      out[#out + 1] = span
    end
  end
  return out
end

--- The pieces of a text, without its secrets, also those that an edge cuts in two.
--- @param pieces string[]
--- @return string[] as many
function Redactor:pieces(pieces)
  local spans = spans_of(self, table.concat(pieces))
  if not spans[1] then return pieces end
  local out, offset, n = {}, 0, 1
  for i, piece in ipairs(pieces) do
    local parts, at, stop = {}, offset + 1, offset + #piece
    while at <= stop do
      local span = spans[n]
      if not span or span[1] > stop then
        parts[#parts + 1], at = piece:sub(at - offset), stop + 1
      else
        if span[1] >= at then parts[#parts + 1] = piece:sub(at - offset, span[1] - 1 - offset) .. span[3] end
        at = math.min(span[2], stop) + 1
        if span[2] <= stop then n = n + 1 end
      end
    end
    out[i], offset = table.concat(parts), stop
  end
  return out
end

--- @param text string
--- @return string
function Redactor:text(text)
  return self:pieces({ text })[1]
end

--- A target without the values of secret parameters.
--- @param target string
--- @return string
function Redactor:target(target)
  local path, query = target:match "^([^?]*)%?(.*)$"
  if not path then return self:text(target) end
  query = query:gsub("([^&=]+)=([^&]*)", function(name, value)
    if value ~= "" and SECRET_PARAMETERS[name:lower()] then return name .. "=" .. MARK end
  end)
  return self:text(path .. "?" .. query)
end

local function is_secret(name)
  for _, part in ipairs(SECRET_NAMES) do
    if name:find(part, 1, true) then return true end
  end
  return false
end

--- The value of a header as it may stay.
--- @param name string
--- @param value string
--- @return string
function Redactor:header(name, value)
  if not is_secret(name:lower()) then return self:text(value) end
  -- a number ("x-ratelimit-remaining-tokens") is none
  if value:find "^[%d%.hmsu]*$" then return value end
  return MARK
end

--- Learns what a header hides: the key behind "Bearer". A cookie, or a project's plain
--- name, would not be told from other words of a body.
--- @param name string
--- @param value string
function Redactor:notice(name, value)
  name = name:lower()
  if self:header(name, value) ~= MARK then return end
  local word = value:match "^%a+%s+(%S+)$" or value
  local named = name:find "organization" or name:find "project"
  if name:find "cookie" or #word < 6 or named and not word:find "%d" then return end
  self:learn(word)
end

--- @param secrets string[]|nil
--- @return oaichat.testing.Redactor
function M.new(secrets)
  local self = setmetatable({ _literals = {}, _known = {} }, Redactor)
  for _, text in ipairs(secrets or {}) do self:learn(text) end
  return self
end

return M
