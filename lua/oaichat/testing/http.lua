--- HTTP/1.1 requests out of bytes, for oaichat.testing. Knows strings only: no
-- sockets, no JSON.

local M = {}

---@class oaichat.testing.Request
---@field method string
---@field target string as sent, with the query
---@field path string without the query
---@field version string "1.1"
---@field headers table<string, string> names in lower case; repeated ones joined with ", "
---@field body string
---@field peer table the raw peer
---@field number integer 1, 2, ... of this server
---@field connection integer 1, 2, ... of this server
---@field json fun(self: oaichat.testing.Request): any the decoded body; raises if it is not JSON

local function parse_head(text)
  local line, rest = text:match("^(.-)\r\n(.*)$")
  local method, target, version =
    line:match("^(%u+) (%S+) HTTP/(%d%.%d)$")
  if not method then return nil, "bad request line" end
  local headers = {}
  for field in rest:gmatch("(.-)\r\n") do
    local name, value = field:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name then return nil, "bad header line" end
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return {
    method = method,
    target = target,
    path = target:match("^[^?]*"),
    version = version,
    headers = headers,
  }
end

---@class oaichat.testing.Parser
local Parser = {}
Parser.__index = Parser

--- Appends bytes.
---@param bytes string
function Parser:feed(bytes)
  self.parts[#self.parts + 1] = bytes
  self.size = self.size + #bytes
end

-- The bytes fed and not consumed, as one string; nil while fewer than needed,
-- so that a long body is joined once.
function Parser:text()
  if self.size < self.need then return nil end
  local text = table.concat(self.parts)
  self.parts = { text }
  return text
end

function Parser:consume(text, n)
  local rest = text:sub(n + 1)
  self.parts, self.size = { rest }, #rest
end

function Parser:head()
  local text = self:text()
  local _, stop = (text or ""):find("\r\n\r\n", 1, true)
  if not stop then return nil end
  local request, message = parse_head(text:sub(1, stop - 2))
  if not request then return nil, message end
  self:consume(text, stop)
  local headers = request.headers
  local coding = headers["transfer-encoding"]
  if coding and coding:lower() == "chunked" then
    self.chunks = {}
  elseif coding then
    return nil, "unknown transfer coding"
  else
    self.need = tonumber(headers["content-length"] or 0)
    if not self.need then return nil, "bad content-length" end
  end
  self.request = request
  return request
end

-- Takes whole chunks; true when the last one and its trailer are in.
function Parser:chunk(text)
  local at, over = 1, false
  self.need = 1
  while not over do
    local first, stop, digits = text:find("^(%x+)[^\r\n]*\r\n", at)
    if not first then
      if text:find("\r\n", at, true) then return nil, "bad chunk" end
      break
    end
    local size = tonumber(digits, 16)
    if size == 0 then
      local _, last = text:find("\r\n\r\n", stop - 1, true)
      if not last then break end
      stop, over = last, true
    elseif #text < stop + size + 2 then
      self.need = stop + size + 2 - at + 1
      break
    else
      self.chunks[#self.chunks + 1] = text:sub(stop + 1, stop + size)
      stop = stop + size + 2
    end
    at = stop + 1
  end
  self:consume(text, at - 1)
  return over
end

--- The next request whose body is complete.
---@return oaichat.testing.Request|nil request nil: more bytes are needed
---@return string|nil message not nil: these bytes are no HTTP
function Parser:next()
  if not self.request then
    local request, message = self:head()
    if not request then return nil, message end
  end
  local text = self:text()
  if not text then return nil end
  local request = self.request
  if self.chunks then
    local over, message = self:chunk(text)
    if not over then return nil, message end
    request.body = table.concat(self.chunks)
  else
    request.body = text:sub(1, self.need)
    self:consume(text, self.need)
  end
  self.request, self.chunks, self.need = nil, nil, 1
  return request
end

--- Whether the client waits for a 100 before it sends the body; true once a
--- request.
---@return boolean
function Parser:expects()
  local request = self.request
  if not request or request.expected then return false end
  request.expected = true
  return (request.headers.expect or ""):lower() == "100-continue"
end

---@return oaichat.testing.Parser
function M.parser()
  return setmetatable({ parts = {}, size = 0, need = 1 }, Parser)
end

--- Frames bytes for chunked coding, each piece as a chunk of its own.
---@param bytes string
---@param piece integer bytes a chunk
---@return string frames all but a shorter last one, of equal length
---@return integer size bytes a frame
---@return string last the frame of the rest; "" if there is none
function M.frames(bytes, piece)
  local head = ("%x\r\n"):format(piece)
  local list, whole = {}, #bytes - #bytes % piece
  for at = 1, whole, piece do
    list[#list + 1] = head .. bytes:sub(at, at + piece - 1) .. "\r\n"
  end
  local last = bytes:sub(whole + 1)
  if last ~= "" then last = ("%x\r\n%s\r\n"):format(#last, last) end
  return table.concat(list), #head + piece + 2, last
end

M.reasons = {
  [200] = "OK", [201] = "Created", [204] = "No Content",
  [301] = "Moved Permanently", [302] = "Found", [303] = "See Other",
  [307] = "Temporary Redirect", [308] = "Permanent Redirect",
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden",
  [404] = "Not Found", [408] = "Request Timeout", [409] = "Conflict",
  [413] = "Payload Too Large", [422] = "Unprocessable Entity",
  [429] = "Too Many Requests", [500] = "Internal Server Error",
  [502] = "Bad Gateway", [503] = "Service Unavailable",
  [504] = "Gateway Timeout", [529] = "Overloaded",
}

return M
