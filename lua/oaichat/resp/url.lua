--- resp/url: where a server of RESP is, as people write it: redis://, rediss://,
-- tcp://, tls:// and unix:. Knows no connection.

local M = {}

local SCHEMES = { redis = "tcp", rediss = "tls", tcp = "tcp", tls = "tls" }
local PORT = 6379

local function decoded(text)
  return text and (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- @param text string
--- @return table|nil place url for core.connect, shown without secrets, username, password, database
--- @return string|nil message without what may be a secret
function M.parse(text)
  local path = text:match "^unix:(/.*)$"
  if path then
    path = path:gsub("^//+", "/")
    return { url = "unix:" .. path, shown = "unix:" .. path }
  end
  local scheme, rest = text:match "^(%l+)://(.*)$"
  if not scheme or not SCHEMES[scheme] then
    return nil, "the Redis URL must begin with redis://, rediss://, tcp://, tls:// or unix:/"
  end
  local userinfo, after = rest:match "^(.*)@([^@]*)$"
  local host, tail = (after or rest):match "^([^/]*)(.*)$"
  local database = tail == "" and 0 or tail == "/" and 0 or tonumber(tail:match "^/(%d+)$")
  if not database then return nil, "the Redis URL's path must be the number of a database" end
  if host == "" or host:find "[%s%c]" then return nil, "the Redis URL has no host" end
  if not host:find ":%d+$" then
    if host:find ":[^%]]*$" and not host:find "%]$" then return nil, "the Redis URL's port is no number" end
    host = host .. ":" .. PORT
  end
  local username, password
  if userinfo then
    username, password = userinfo:match "^([^:]*):(.*)$"
    if not username then username = userinfo end
    username, password = decoded(username), decoded(password)
    if username == "" then username = nil end
  end
  return {
    url = ("%s://%s"):format(SCHEMES[scheme], host), shown = host, username = username, password = password,
    database = database > 0 and database or nil,
  }
end

return M
