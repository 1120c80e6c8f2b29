--- An HTTP server in the test's own thread: it plays well-behaved and broken
-- endpoints, to the byte, while a session waits in the same program.
--
--   local testing = require "oaichat.testing"
--   local server = testing.server(function(request, response)
--     response:event(testing.chunk("Hello"), 1):done():finish()
--   end)
--   local session = chat.new { base_url = server.url, model = "any" }
--
-- Knows the listener of oaichat.core, JSON and the waiting loop; nothing of
-- sessions.

local core = require "oaichat.core"
local http = require "oaichat.testing.http"
local json = require "oaichat.json"
local wait = require "oaichat.wait"

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

---@class oaichat.testing.Server
---@field url string "http://127.0.0.1:PORT/v1"
---@field port integer
---@field requests oaichat.testing.Request[] all so far
---@field errors string[] what handlers raised and clients sent wrong
---@field accepted integer connections so far
---@field open integer connections that neither side ended
local Server = {}
Server.__index = Server

local function decode(request)
  local value, message = json.decode(request.body)
  if value == nil then error(message, 2) end
  return value
end

function Server:forget(connection)
  if not self.connections[connection.peer] then return end
  self.connections[connection.peer] = nil
  self.open = self.open - 1
end

-- Runs a callback of the test; an error must not end up in the waiting loop.
function Server:guard(callback, ...)
  local ok, message = pcall(callback, ...)
  if not ok then self.errors[#self.errors + 1] = tostring(message) end
  return ok
end

function Server:answer(connection, request)
  local response = setmetatable({
    peer = connection.peer,
    version = request.version,
    closes = request.version == "1.0"
      or (request.headers.connection or ""):lower() == "close",
  }, Response)
  response.on_finish = function(closes)
    connection.response = nil
    if closes or connection.ended then
      connection.peer:close()
      self:forget(connection)
    else
      self.finished[connection] = true
    end
  end
  request.peer, request.json = connection.peer, decode
  request.number, request.connection = #self.requests + 1, connection.number
  self.requests[request.number] = request
  connection.response = response
  if self:guard(self.handler, request, response) then return end
  if response.started then response:abort() end
  if not response.finished then
    response:body(500, self.errors[#self.errors])
  end
end

function Server:parse(connection)
  local parser = connection.parser
  while not connection.response and self.connections[connection.peer] do
    local request, message = parser:next()
    if message then
      self.errors[#self.errors + 1] = message
      connection.peer:write("HTTP/1.1 400 Bad Request\r\n"
        .. "Connection: close\r\nContent-Length: 0\r\n\r\n"):close()
      return self:forget(connection)
    end
    if not request then break end
    self:answer(connection, request)
  end
  if parser:expects() and not self.options.no_continue then
    connection.peer:write("HTTP/1.1 100 Continue\r\n\r\n")
  end
end

function Server:take(peer)
  local connection, bytes = self.connections[peer], peer:read()
  if not connection then return end
  local options = self.options
  if bytes == nil then
    connection.ended = true
    if connection.response then return end
    if options.on_close then self:guard(options.on_close, peer) end
    peer:close()
    self:forget(connection)
  elseif options.on_data then
    if not self:guard(options.on_data, peer, bytes) then peer:abort() end
  elseif self.handler then
    connection.parser:feed(bytes)
    self:parse(connection)
  end
end

function Server:welcome(peer)
  self.accepted = self.accepted + 1
  self.open = self.open + 1
  self.connections[peer] = {
    peer = peer, number = self.accepted, parser = http.parser(),
  }
  local on_connect = self.options.on_connect
  if on_connect and not self:guard(on_connect, peer) then peer:abort() end
end

--- Does what is due and calls handlers; never sleeps. The waiting loop calls it.
function Server:step()
  local listener = self.listener
  if not listener then return end
  listener:step()
  local peer = listener:accept()
  while peer do
    self:welcome(peer)
    peer = self.listener and self.listener:accept()
  end
  peer = self.listener and self.listener:ready()
  while peer do
    self:take(peer)
    peer = self.listener and self.listener:ready()
  end
  -- A request that came with the one before it.
  for connection in pairs(self.finished) do
    self.finished[connection] = nil
    self:parse(connection)
  end
end

--- Ends all connections. May be called twice.
function Server:close()
  if not self.listener then return end
  wait.unwatch(self.pump)
  self.listener:close()
  self.listener, self.connections, self.open = nil, {}, 0
  for _, request in ipairs(self.requests) do request.peer = nil end
end

--- Starts a server. Callbacks run inside the waiting loop; what they raise is
--- kept in server.errors, and the client gets a 500 or the connection's end.
---@param handler fun(request: oaichat.testing.Request, response: oaichat.testing.Response)|table or the options
---@param options table|nil host, port, path (a unix socket), no_continue; on_connect(peer), on_data(peer, bytes) and
--- on_close(peer) get the raw peer; with on_data there is no HTTP
---@return oaichat.testing.Server|nil server
---@return string|nil message
function M.server(handler, options)
  if type(handler) == "table" then handler, options = nil, handler end
  options = options or {}
  local listener, message = core.listen {
    host = options.host, port = options.port, path = options.path,
  }
  if not listener then return nil, message end
  local self = setmetatable({
    listener = listener, handler = handler or options.handler,
    options = options, connections = {}, finished = {}, requests = {},
    errors = {}, accepted = 0, open = 0, port = listener:port(),
  }, Server)
  local host = options.host or "127.0.0.1"
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  self.url = options.path and "http://localhost/v1"
    or ("http://%s:%d/v1"):format(host, self.port)
  self.pump = function() self:step() end
  wait.watch(listener:fd(), self.pump)
  return self
end

local function extend(object, extra)
  for name, value in pairs(extra or {}) do object[name] = value end
  return object
end

--- A whole chat.completion.
---@param text string|table the content, or the whole message
---@param extra table|nil more fields; finish_reason is the choice's
---@return table completion
function M.completion(text, extra)
  extra = extend({}, extra)
  local finish = extra.finish_reason or "stop"
  extra.finish_reason = nil
  local message = type(text) == "table" and text
    or { role = "assistant", content = text }
  return extend({
    id = "chatcmpl-test", object = "chat.completion", created = 1700000000,
    model = "test-model",
    choices = { { index = 0, message = message, finish_reason = finish } },
    usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 },
  }, extra)
end

--- A chat.completion.chunk.
---@param delta string|table a string is the content
---@param extra table|nil more fields; finish_reason is the choice's
---@return table chunk
function M.chunk(delta, extra)
  extra = extend({}, extra)
  local finish = extra.finish_reason or json.null
  extra.finish_reason = nil
  if type(delta) == "string" then delta = { content = delta } end
  return extend({
    id = "chatcmpl-test", object = "chat.completion.chunk",
    created = 1700000000, model = "test-model",
    choices = { { index = 0, delta = delta, finish_reason = finish } },
  }, extra)
end

return M
