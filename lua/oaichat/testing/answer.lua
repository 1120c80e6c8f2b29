--- HTTP/1.1 answers out of bytes, for the recorder of oaichat.testing: the pieces of
-- the body as they came, with the edges of chunks kept. Knows strings only.

local M = {}

--- @class oaichat.testing.Answer
--- @field status integer|nil nil: the head is not whole
--- @field reason string
--- @field headers string[][] { name, value } in order
--- @field framing "chunked"|"length"|"close"|"none"
--- @field length integer|nil content-length
--- @field over boolean the whole body came
local Answer = {}
Answer.__index = Answer

local function read_head(self, text)
  local line, rest = text:match "^(.-)\r\n(.*)$"
  local status, reason = line:match "^HTTP/1%.%d (%d%d%d) ?(.*)$"
  if not status then return nil, "no HTTP answer" end
  local headers, by_name = {}, {}
  for field in rest:gmatch "(.-)\r\n" do
    local name, value = field:match "^([^%s:]+):[ \t]*(.-)[ \t]*$"
    if not name then return nil, "bad header line" end
    headers[#headers + 1] = { name, value }
    by_name[name:lower()] = value
  end
  status = tonumber(status)
  if status < 200 then return true end
  self.status, self.reason, self.headers = status, reason, headers
  local coding = by_name["transfer-encoding"]
  self.length = tonumber(by_name["content-length"])
  if self.method == "HEAD" or status == 204 or status == 304 then
    self.framing, self.over = "none", true
  elseif coding and coding:lower():find "chunked" then
    self.framing = "chunked"
  elseif self.length then
    self.framing, self.left, self.over = "length", self.length, self.length == 0
  else
    self.framing = "close"
  end
  return true
end

-- Takes what is there of chunks; the part of a chunk that came is a piece.
local function read_chunks(self, pieces)
  while not self.over and self.buffer ~= "" do
    if self.left then
      local piece = self.buffer:sub(1, self.left)
      self.left = self.left - #piece
      self.buffer = self.buffer:sub(#piece + 1)
      if piece ~= "" then pieces[#pieces + 1] = piece end
      if self.left > 0 or #self.buffer < 2 then return true end
      self.left, self.buffer = nil, self.buffer:sub(3)
    elseif self.trailer then
      local first, stop = self.buffer:find "\r\n"
      if not first then return true end
      self.over, self.buffer = first == 1, self.buffer:sub(stop + 1)
    else
      local _, stop, digits = self.buffer:find "^(%x+)[^\r\n]*\r\n"
      if not stop then return not self.buffer:find "\r\n" or nil, "bad chunk" end
      self.buffer = self.buffer:sub(stop + 1)
      self.left = tonumber(digits, 16)
      if self.left == 0 then self.left, self.trailer = nil, true end
    end
  end
  return true
end

--- Takes bytes.
--- @param bytes string
--- @return string[]|nil pieces of the body that came with them
--- @return string|nil message this is no HTTP
function Answer:feed(bytes)
  local pieces = {}
  self.buffer = self.buffer .. bytes
  while not self.status do
    local _, stop = self.buffer:find("\r\n\r\n", 1, true)
    if not stop then return pieces end
    local ok, message = read_head(self, self.buffer:sub(1, stop - 2))
    if not ok then return nil, message end
    self.buffer = self.buffer:sub(stop + 1)
  end
  if self.framing == "chunked" then
    local ok, message = read_chunks(self, pieces)
    if not ok then return nil, message end
  elseif not self.over and self.buffer ~= "" then
    local piece = self.left and self.buffer:sub(1, self.left) or self.buffer
    self.buffer, pieces[1] = "", piece
    if self.left then
      self.left = self.left - #piece
      self.over = self.left == 0
    end
  end
  return pieces
end

--- @param method string of the request
--- @return oaichat.testing.Answer
function M.new(method)
  return setmetatable({ method = method, buffer = "", over = false }, Answer)
end

return M
