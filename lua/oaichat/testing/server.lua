--- The server of oaichat.testing, in the test's own thread. Knows the listener of
-- oaichat.core, HTTP/1.1 requests and the waiting loop; nothing of what is said.

local core = require "oaichat.core"
local http = require "oaichat.testing.http"
local json = require "oaichat.json"
local response_of = require "oaichat.testing.response"
local wait = require "oaichat.wait"

local M = {}

---@class oaichat.testing.Server
---@field url string "http://127.0.0.1:PORT/v1"
---@field port integer
---@field requests oaichat.testing.Request[] all so far, or the last options.keep, by their numbers
---@field count integer requests so far
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
  local response = response_of.new {
    peer = connection.peer,
    version = request.version,
    closes = request.version == "1.0"
      or (request.headers.connection or ""):lower() == "close",
  }
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
  self.count = self.count + 1
  request.number, request.connection = self.count, connection.number
  self.requests[request.number] = request
  if self.options.keep then self.requests[request.number - self.options.keep] = nil end
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
  for _, request in pairs(self.requests) do request.peer = nil end
end

--- Starts a server. Callbacks run inside the waiting loop; what they raise is
--- kept in server.errors, and the client gets a 500 or the connection's end.
---@param handler fun(request: oaichat.testing.Request, response: oaichat.testing.Response)|table or the options
---@param options table|nil host, port, path (a unix socket), no_continue, keep (how many requests stay in
--- server.requests: all by default); on_connect(peer), on_data(peer, bytes) and
--- on_close(peer) get the raw peer; with on_data there is no HTTP
---@return oaichat.testing.Server|nil server
---@return string|nil message
function M.new(handler, options)
  if type(handler) == "table" then handler, options = nil, handler end
  options = options or {}
  local listener, message = core.listen {
    host = options.host, port = options.port, path = options.path,
  }
  if not listener then return nil, message end
  local self = setmetatable({
    listener = listener, handler = handler or options.handler,
    options = options, connections = {}, finished = {}, requests = {},
    errors = {}, count = 0, accepted = 0, open = 0, port = listener:port(),
  }, Server)
  local host = options.host or "127.0.0.1"
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  self.url = options.path and "http://localhost/v1"
    or ("http://%s:%d/v1"):format(host, self.port)
  self.pump = function() self:step() end
  wait.watch(listener:fd(), self.pump)
  return self
end

return M
