--- ratelimit: what an answer's headers say of a server's limits, in one form: limit_*,
-- remaining_* and reset_* (seconds) of requests and tokens. Knows header names and how
-- times are written in them; sends nothing.

local core = require "oaichat.core"

local M = {}

-- Go's duration grammar as OpenAI uses it: "6m0s", "1m30.951s", "20ms", "1s".
local UNITS = { h = 3600, m = 60, s = 1, ms = 1e-3, us = 1e-6, ns = 1e-9 }

--- @param text string|nil
--- @return number|nil seconds
function M.duration(text)
  if not text or text == "" then return nil end
  local total, at = 0, 1
  while at <= #text do
    local number, unit, stop = text:match("^(%d+%.?%d*)(%a+)()", at)
    if not number or not UNITS[unit] then return nil end
    total = total + tonumber(number) * UNITS[unit]
    at = stop
  end
  return total
end

-- Days from 1970-01-01, by the proleptic Gregorian calendar.
local function days(year, month, day)
  if month < 3 then year, month = year - 1, month + 12 end
  local leaps = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leaps + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- The Unix time of a date and time (RFC 3339).
--- @param text string|nil
--- @return number|nil seconds since 1970
function M.instant(text)
  local year, month, day, hour, minute, second, zone =
    (text or ""):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d%.?%d*)(.*)$"
  if not year then return nil end
  month = tonumber(month)
  if month < 1 or month > 12 then return nil end
  local sign, hours, minutes = zone:match "^([+-])(%d%d):(%d%d)$"
  if not sign and zone ~= "Z" and zone ~= "z" then return nil end
  local offset = sign and (hours * 3600 + minutes * 60) * (sign == "-" and -1 or 1) or 0
  return days(tonumber(year), month, tonumber(day)) * 86400 + hour * 3600 + minute * 60 + tonumber(second) - offset
end

-- Most servers give durations, some plain seconds, Anthropic the time itself.
local function reset_of(text, now)
  local at = M.instant(text)
  if at then return math.max(0, at - now) end
  return M.duration(text) or tonumber(text)
end

local function number(text) return tonumber(text) end
local FIELDS = { limit = number, remaining = number, reset = reset_of }
local OF = { requests = true, tokens = true, input_tokens = true, output_tokens = true }

local NONE = {}

local function add(out, field, what, text, now)
  local read = what and OF[what] and FIELDS[field]
  local value = read and read(text, now)
  if not value then return out end
  out = out or {}
  out[field .. "_" .. what] = value
  return out
end

--- @param exchange table of the core, or what has its headers
--- @param now number|nil when it came, as core.time() told: a reset is told as it was then
--- @return table|nil limits limit_requests, remaining_tokens, reset_input_tokens, …; nil: the server says nothing
function M.of(exchange, now)
  local headers, which = exchange:headers("x-ratelimit-", "anthropic-ratelimit-")
  local out
  for name, text in pairs(headers or NONE) do
    local field, what
    if which == 1 then
      field, what = name:match "^(%a+)%-(%a+)$"
    else
      what, field = name:match "^([%a-]+)%-(%a+)$"
    end
    out = add(out, field, what and what:gsub("-", "_"), text, now or core.time())
  end
  return out
end

return M
