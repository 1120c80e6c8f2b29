--- schema.formats: what the common values of `format` allow (validation 2020-12,
-- section 7.3). Only those who ask for it have them checked. Knows texts only.

local M = {}

local function leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

--- RFC 3339, 5.6: full-date.
function M.date(text)
  local year, month, day = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
  if not year then return false end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local days = DAYS[month]
  if not days or day < 1 then return false end
  return day <= days + (month == 2 and leap(year) and 1 or 0)
end

--- RFC 3339, 5.6: full-time. A leap second is one where it is 23:59:60 in UTC.
function M.time(text)
  local hour, minute, second, rest = text:match "^(%d%d):(%d%d):(%d%d)(.*)$"
  if not hour then return false end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  rest = rest:gsub("^%.%d+", "")
  local sign, off_hour, off_minute = rest:match "^([+-])(%d%d):(%d%d)$"
  if not sign and rest ~= "Z" and rest ~= "z" then return false end
  off_hour, off_minute = tonumber(off_hour or 0), tonumber(off_minute or 0)
  if hour > 23 or minute > 59 or second > 60 or off_hour > 23 or off_minute > 59 then return false end
  local offset = (off_hour * 60 + off_minute) * (sign == "-" and -1 or 1)
  return second < 60 or (hour * 60 + minute - offset) % 1440 == 1439
end

--- RFC 3339, 5.6: date-time.
M["date-time"] = function(text)
  local date, time = text:match "^(.-)[Tt](.*)$"
  return date ~= nil and M.date(date) and M.time(time)
end

--- RFC 3339, appendix A.
function M.duration(text)
  if text:find "^P%d+W$" then return true end
  local date, time = text:match "^P([^T]*)(T?.*)$"
  if not date or text == "P" then return false end
  local left = date:gsub("^%d+Y", "")
  if left ~= date and left:find "D" and not left:find "M" then return false end
  left = left:gsub("^%d+M", ""):gsub("^%d+D", "")
  if left ~= "" then return false end
  if time == "" then return true end
  local clock = time:sub(2)
  local rest = clock:gsub("^%d+H", "")
  if rest ~= clock and rest:find "S" and not rest:find "M" then return false end
  return clock ~= "" and rest:gsub("^%d+M", ""):gsub("^%d+S", "") == ""
end

--- RFC 1123, 2.1: labels of letters, digits and hyphens.
function M.hostname(text)
  if #text == 0 or #text > 253 then return false end
  for label in (text .. "."):gmatch "([^.]*)%." do
    if #label == 0 or #label > 63 or not label:find "^%w[%w-]*$" or label:find "%-$" then return false end
    if label:find "^..%-%-" and not label:lower():find "^xn%-%-%w" then return false end
  end
  return true
end

--- RFC 2673, 3.2: dotted quad, no leading zeros.
function M.ipv4(text)
  local n = 0
  for part in (text .. "."):gmatch "([^.]*)%." do
    if not part:find "^%d%d?%d?$" or part:find "^0%d" or tonumber(part) > 255 then return false end
    n = n + 1
  end
  return n == 4
end

local function groups(text)
  if text == "" then return 0 end
  local n = 0
  for part in (text .. ":"):gmatch "([^:]*):" do
    if not part:find "^%x%x?%x?%x?$" then return nil end
    n = n + 1
  end
  return n
end

--- RFC 4291, 2.2.
function M.ipv6(text)
  local quads = text:match ":([%d.]*%.[%d.]*)$"
  if quads then
    if not M.ipv4(quads) then return false end
    text = text:sub(1, -#quads - 1) .. "0:0"
  end
  local before, after = text:match "^(.-)::(.*)$"
  if not before then return groups(text) == 8 end
  local a, b = groups(before), groups(after)
  return a ~= nil and b ~= nil and a + b <= 7
end

--- RFC 5321, 4.1.2: an ASCII mailbox.
function M.email(text)
  local name, host = text:match "^(.+)@([^@]+)$"
  if not name or #name > 64 then return false end
  if not name:find '^"[^"\\%c\128-\255]*"$' then
    if name:find "[^%w!#$%%&'*+/=?^_`{|}~.-]" or name:find "^%." or name:find "%.$" or name:find "%.%." then
      return false
    end
  end
  local literal = host:match "^%[(.*)%]$"
  if not literal then return M.hostname(host) end
  return M.ipv4(literal) or M.ipv6((literal:gsub("^IPv6:", "")))
end

--- RFC 3986: with a scheme.
function M.uri(text)
  if text:find "[^%w%-._~:/?#%[%]@!$&'()*+,;=%%]" or text:find "%%%X" or text:find "%%%x%X" or text:find "%%%x?$" then
    return false
  end
  local rest = text:match "^%a[%w+.-]*:(.*)$"
  if not rest then return false end
  local before, fragment = rest:match "^([^#]*)#?(.*)$"
  if fragment:find "[#%[%]]" then return false end
  local authority, path = before:match "^//([^/?]*)(.*)$"
  if (path or before):find "[%[%]]" then return false end
  if not authority then return true end
  local user, host = authority:match "^(.*)@(.*)$"
  if user and user:find "[%[%]@]" then return false end
  host = host or authority
  local literal, port = host:match "^%[(.*)%](.*)$"
  if literal then return (M.ipv6(literal) or literal:find "^[vV]%x+%.") and port:find "^:?%d*$" ~= nil end
  return host:find "^[^:%[%]]*:?%d*$" ~= nil
end

--- RFC 9562, 4.
function M.uuid(text)
  local h = "%x%x%x%x"
  return text:find("^" .. h .. h .. "%-" .. h .. "%-" .. h .. "%-" .. h .. "%-" .. h .. h .. h .. "$") ~= nil
end

return M
