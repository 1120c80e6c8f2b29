--- websocket/handshake: the opening handshake of RFC 6455 (4.1), the client's side:
-- what is asked, and whether the answer is a yes. Knows the words of HTTP/1.1; of the
-- connection only that it can be written to.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local BODY_BYTES = 65536 -- of a refusal

--- @class oaichat.websocket.Handshake
--- @field stream_url string tcp:// or tls://
--- @field protocol string|nil what was agreed
local Handshake = {}
Handshake.__index = Handshake

local function config(message)
  return errors.fail { kind = "config", code = "config", message = message }
end

local function refused(message)
  return errors.new { kind = "protocol", code = "handshake", message = "the WebSocket handshake failed: " .. message }
end

local function read_url(url)
  local scheme, host, rest = url:match "^([wW][sS][sS]?)://([^/?#%s%c@]+)([^#%s%c]*)$"
  if not scheme then return nil end
  local secure = #scheme == 3
  local name, port = host:match "^(%[[%x:.]+%])$", secure and "443" or "80"
  if not name then name, port = host:match "^(.-):(%d+)$" end
  if not name and not host:find ":" then name, port = host, secure and "443" or "80" end
  if not name or name == "" or tonumber(port) > 65535 then return nil end
  if rest:sub(1, 1) ~= "/" then rest = "/" .. rest end
  return { secure = secure, host = host, name = name:lower(), port = tonumber(port), target = rest }
end

local RESERVED = {
  host = true, upgrade = true, connection = true, ["content-length"] = true, ["transfer-encoding"] = true,
}

local function add_headers(lines, headers, session)
  local names = {}
  for name in pairs(headers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = headers[name]
    if type(value) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" or value:find "[%z\r\n]" then
      return "a header's name or value cannot be sent"
    end
    local lower = name:lower()
    if RESERVED[lower] or lower:find "^sec%-websocket" or (session and lower == "authorization") then
      return "the header " .. name .. " is the handshake's own"
    end
    lines[#lines + 1] = name .. ": " .. value
  end
end

--- @param opts table url, headers, protocols, session, header_bytes
--- @return oaichat.websocket.Handshake|nil, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  local url = read_url(opts.url or "")
  if not url then return config "url has to be ws://host[:port]/path or wss://…" end
  local key = core.base64((core.random(16):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)))
  local lines = {
    "GET " .. url.target .. " HTTP/1.1", "Host: " .. url.host, "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Key: " .. key, "Sec-WebSocket-Version: 13",
  }
  local offered = {}
  for _, name in ipairs(opts.protocols or {}) do
    if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      return config "a subprotocol has to be a token"
    end
    offered[name] = true
  end
  if next(offered) then lines[#lines + 1] = "Sec-WebSocket-Protocol: " .. table.concat(opts.protocols, ", ") end
  local wrong = add_headers(lines, opts.headers or {}, opts.session)
  if wrong then return config(wrong) end
  return setmetatable({
    stream_url = ("%s://%s:%d"):format(url.secure and "tls" or "tcp", url.name, url.port), offered = offered,
    text = table.concat(lines, "\r\n") .. "\r\n", accept = core.base64(core.sha1(key .. GUID)), session = opts.session,
    max = opts.header_bytes or 64e3, head = "", body = "",
  }, Handshake)
end

--- @param conn oaichat.core.Conn
--- @return true|nil, oaichat.Error|nil err
function Handshake:send(conn)
  local ok, message, err = conn:write(self.text)
  if ok and self.session then
    local said
    said, message, err = core.websocket_authorize(conn, self.session)
    ok = said ~= nil
  end
  if ok then ok, message, err = conn:write "\r\n" end
  if ok then return true end
  return nil, errors.new { kind = err.kind, code = err.code, message = message }
end

-- A list in a header, as a set of lower-case words.
local function words(text)
  local out = {}
  for word in (text or ""):gmatch "[^,%s]+" do out[word:lower()] = true end
  return out
end

local function read_head(text)
  local status = text:match "^HTTP/1%.[01] (%d%d%d)[ \r]"
  if not status then return nil, "the answer is not HTTP/1.1" end
  local fields = {}
  for line in text:sub((text:find("\r\n", 1, true))+2):gmatch "([^\r\n]+)\r\n" do
    local name, value = line:match "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$"
    if not name then return nil, "a header of the answer is none" end
    name = name:lower()
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
  return tonumber(status), fields
end

-- Why an answer of 101 is not a yes; nil: it is one.
local function objection(self, fields)
  if (fields.upgrade or ""):lower() ~= "websocket" then return "the answer does not upgrade to websocket" end
  if not words(fields.connection).upgrade then return "the answer's Connection does not say Upgrade" end
  if fields["sec-websocket-accept"] ~= self.accept then return "Sec-WebSocket-Accept is not the answer to our key" end
  if fields["sec-websocket-extensions"] then return "the server uses an extension that was not offered" end
  local protocol = fields["sec-websocket-protocol"]
  if protocol and not self.offered[protocol] then return "the server chose a subprotocol that was not offered" end
  self.protocol = protocol
end

-- The bytes of chunks (RFC 9112, 7.1) as far as they came; whether the last one did.
local function chunks(text)
  local out, at = {}, 1
  while true do
    local _, stop, size = text:find("^(%x+)[^\n]*\n", at)
    size = size and tonumber(size, 16)
    if not size or size == 0 or size > BODY_BYTES then return table.concat(out), size ~= nil end
    out[#out + 1] = text:sub(stop + 1, stop + size)
    at = stop + size + 3
  end
end

local NO_BODY = { [204] = true, [304] = true }

-- Its body is there, or as much of it as anybody reads.
local function is_whole(self, body)
  if NO_BODY[self.status] or #body >= BODY_BYTES then return true end
  if self.chunked then return select(2, chunks(body)) end
  local length = tonumber((self.fields["content-length"] or ""):match "^%d+")
  return length ~= nil and #body >= length
end

--- A status that is not 101, with what its body says of it so far; nil: none came.
--- @return oaichat.Error|nil
function Handshake:refusal()
  if not self.status then return nil end
  local body = self.body:sub(1, BODY_BYTES)
  if self.chunked then body = chunks(body) end
  local fields
  if self.status >= 400 then
    fields = core.api_error(self.status, body, self.session)
  else
    fields = { kind = "protocol", code = self.status >= 300 and "redirect" or "handshake", status = self.status }
  end
  local err = errors.new(fields)
  err.request_id = self.fields["x-request-id"]
  return err
end

--- Takes what came. Done: what follows the head in rest.
--- @param bytes string
--- @param ends boolean|nil nothing more comes
--- @return boolean done, oaichat.Error|nil err, string|nil rest
function Handshake:take(bytes, ends)
  local rest = bytes
  if not self.status then
    self.head = self.head .. bytes
    local _, stop = self.head:find("\r\n\r\n", 1, true)
    if (stop or #self.head) > self.max then
      return false, errors.new { kind = "too_large", code = "header_too_large" }
    end
    if not stop then
      if ends then return false, errors.new { kind = "network", code = "connection_closed", retryable = true } end
      return false
    end
    local status, fields = read_head(self.head:sub(1, stop - 2))
    if not status then return false, refused(fields) end
    rest = self.head:sub(stop + 1)
    if status == 101 then
      local why = objection(self, fields)
      if why then return false, refused(why) end
      return true, nil, rest
    end
    if status < 200 then -- what comes ahead of the answer (RFC 9110, 15.2)
      self.head = ""
      return self:take(rest, ends)
    end
    self.status, self.fields, self.head = status, fields, ""
    self.chunked = (fields["transfer-encoding"] or ""):lower():find("chunked", 1, true) ~= nil
  end
  self.body = self.body .. rest
  if ends or is_whole(self, self.body) then return false, self:refusal() end
  return false
end

return M
