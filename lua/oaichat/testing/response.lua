--- What a handler of oaichat.testing says to one request, to the byte. Knows the
-- raw peer, HTTP/1.1 and JSON; nothing of servers.

local http = require "oaichat.testing.http"
local json = require "oaichat.json"

local M = {}

---@class oaichat.testing.Response
---@field peer table the raw peer
local Response = {}
Response.__index = Response

-- One line a value; false leaves a default out.
local function head_lines(list, headers)
  for name, value in pairs(headers) do
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if one then list[#list + 1] = ("%s: %s"):format(name, tostring(one)) end
    end
  end
  table.sort(list)
  return list
end

-- The user's names, whatever their case, replace ours.
local function with_defaults(headers, defaults)
  local all, given = {}, {}
  for name, value in pairs(headers or {}) do
    all[name], given[name:lower()] = value, tostring(value)
  end
  for name, value in pairs(defaults) do
    if not given[name:lower()] then all[name] = value end
  end
  return all, given
end

--- Sends the status line and the headers. Without a content-length the body is
--- chunked, or with `chunked = false` ended by the connection's close.
---@param status integer|table or a table with the fields status, reason, headers, chunked
---@param headers table<string, string|string[]|false>|nil false leaves a default out
---@return oaichat.testing.Response self
function Response:head(status, headers)
  local options = type(status) == "table" and status or {}
  if type(status) == "table" then
    status, headers = options.status or 200, options.headers or headers
  end
  local bodyless = status == 204 or status == 304
  local all, given = with_defaults(headers, {
    ["Content-Type"] = not bodyless and "text/event-stream",
  })
  local sized = bodyless or given["content-length"]
  local coded = given["transfer-encoding"]
  self.chunked = not sized and not coded and options.chunked ~= false
    and self.version ~= "1.0"
  if self.chunked then all["Transfer-Encoding"] = "chunked" end
  if not sized and not coded and not self.chunked then self.closes = true end
  if (given.connection or ""):lower() == "close" then self.closes = true end
  if self.closes and not given.connection then all.Connection = "close" end
  local lines = head_lines({}, all)
  local reason = options.reason or http.reasons[status] or "Unknown"
  table.insert(lines, 1, ("HTTP/1.1 %d %s"):format(status, reason))
  self.started = true
  return self:raw(table.concat(lines, "\r\n") .. "\r\n\r\n")
end

--- Sends bytes to the socket as they are.
---@param bytes string
---@param chunk integer|nil bytes a step, each piece on its own
---@return oaichat.testing.Response self
function Response:raw(bytes, chunk)
  self.peer:write(bytes, chunk)
  return self
end

--- Sends bytes of the body; sends a default head first if there was none.
---@param bytes string
---@param chunk integer|nil bytes a step, each piece on its own and, under chunked coding, a chunk of its own
---@return oaichat.testing.Response self
function Response:write(bytes, chunk)
  if not self.started then self:head(200) end
  if bytes == "" then return self end
  if not self.chunked then return self:raw(bytes, chunk) end
  local frames, size, last = http.frames(bytes, chunk or #bytes)
  self:raw(frames, chunk and size)
  return self:raw(last, chunk and #last)
end

--- Sends one SSE event.
---@param data table|string a table is sent as JSON
---@param chunk integer|nil as in write
---@param name string|nil the event field
---@return oaichat.testing.Response self
function Response:event(data, chunk, name)
  local text = type(data) == "table" and assert(json.encode(data)) or data
  local event = name and "event: " .. name .. "\n" or ""
  event = event .. "data: " .. text:gsub("\n", "\ndata: ") .. "\n\n"
  return self:write(event, chunk)
end

--- Sends `data: [DONE]`.
---@param chunk integer|nil as in write
---@return oaichat.testing.Response self
function Response:done(chunk)
  return self:event("[DONE]", chunk)
end

--- Sends a whole answer with its content-length, and finishes.
---@param status integer
---@param body string
---@param headers table|nil
---@return oaichat.testing.Response self
function Response:body(status, body, headers)
  local all = with_defaults(headers, {
    ["Content-Type"] = "text/plain",
    ["Content-Length"] = #body,
  })
  return self:head(status, all):write(body):finish()
end

--- Sends a whole JSON answer, and finishes.
---@param status integer
---@param value any
---@param headers table|nil
---@return oaichat.testing.Response self
function Response:json(status, value, headers)
  return self:body(status, assert(json.encode(value)), with_defaults(headers, {
    ["Content-Type"] = "application/json",
  }))
end

--- Lets time pass before what follows.
---@param seconds number 0: what follows comes a step later
---@return oaichat.testing.Response self
function Response:pause(seconds)
  self.peer:pause(seconds)
  return self
end

--- Ends the answer; the connection is kept if the client and the head allow it.
---@return oaichat.testing.Response self
function Response:finish()
  if self.finished then return self end
  if not self.started then self:head(200) end
  if self.chunked then self:raw("0\r\n\r\n") end
  self.finished = true
  self.on_finish(self.closes)
  return self
end

-- Ends the connection in another way than finish does.
local function ending(method)
  return function(self)
    self.peer[method](self.peer)
    if not self.finished then
      self.finished = true
      self.on_finish(true)
    end
    return self
  end
end

--- Ends the connection when what is queued is out, the answer as it stands.
Response.close = ending "close"
--- Ends the connection with an RST when what is queued is out.
Response.reset = ending "reset"
--- Closes the connection now.
Response.abort = ending "abort"

--- Closes our direction when what is queued is out; the client's stays open.
---@return oaichat.testing.Response self
function Response:shutdown()
  self.peer:shutdown()
  return self
end

--- @param fields table peer, version, closes, on_finish(closes)
--- @return oaichat.testing.Response
function M.new(fields)
  return setmetatable(fields, Response)
end

return M
