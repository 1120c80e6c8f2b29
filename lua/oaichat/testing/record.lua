--- A server that hands each request on to an upstream, and the answer back as it comes,
-- and writes both to a cassette, without their secrets, with the edges and the times
-- of what came. One connection a request, by core.connect: so https works as it does
-- for sessions, and bytes are seen as the network gave them. It runs in the waiting
-- loop like every server of oaichat.testing. Knows the core's connections.

local answer_of = require "oaichat.testing.answer"
local cassette = require "oaichat.testing.cassette"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local options_of = require "oaichat.options"
local redact = require "oaichat.testing.redact"
local server_of = require "oaichat.testing.server"
local wait = require "oaichat.wait"

local M = {}

-- Each piece goes out in a step of its own.
local ALONE = 1e9

-- How long close waits for answers that are under way, in seconds.
local LINGER = 0.5

-- What belongs to a connection, not to a message.
local HOP = {
  connection = true, ["keep-alive"] = true, ["transfer-encoding"] = true, te = true, trailer = true, upgrade = true,
  ["proxy-connection"] = true,
}

-- Bodies come as they are: a cassette is to be read. The rest is written anew.
local OURS = { host = true, ["content-length"] = true, expect = true, ["accept-encoding"] = true }

--- @class oaichat.testing.Recorder
--- @field url string for base_url
--- @field port integer
--- @field requests oaichat.testing.Request[]
--- @field errors string[] what could not be recorded, and why
--- @field interactions integer in the file so far
local Recorder = {}
Recorder.__index = Recorder

local function request_bytes(self, request)
  local tail = request.target:match "^/v1(.*)$" or request.target
  local lines = { ("%s %s HTTP/1.1"):format(request.method, self._base .. tail), "Host: " .. self._host }
  for name, value in pairs(request.headers) do
    if not HOP[name] and not OURS[name] then lines[#lines + 1] = name .. ": " .. value end
  end
  lines[#lines + 1] = "Content-Length: " .. #request.body
  lines[#lines + 1] = "Connection: close\r\n\r\n"
  return table.concat(lines, "\r\n") .. request.body, tail
end

local function hand_on_head(relay)
  local answer, headers = relay.answer, { ["Content-Type"] = false }
  for _, header in ipairs(answer.headers) do
    local name, value = header[1], header[2]
    if name:lower() == "content-type" then headers["Content-Type"] = nil end
    if not HOP[name:lower()] then
      local list = headers[name] or {}
      list[#list + 1] = value
      headers[name] = list
    end
  end
  for name, list in pairs(headers) do
    if list and not list[2] then headers[name] = list[1] end
  end
  relay.response:head {
    status = answer.status, reason = answer.reason ~= "" and answer.reason or nil, headers = headers,
    chunked = answer.framing == "chunked",
  }
end

-- ---- what is written -------------------------------------------------------------

local function kept_request(self, relay)
  local headers = {}
  for name, value in pairs(relay.request.headers) do
    if not HOP[name] and not OURS[name] then headers[name] = self._redactor:header(name, value) end
  end
  return {
    method = relay.request.method, target = self._redactor:target(relay.tail), headers = headers,
    body = self._redactor:text(relay.request.body),
  }
end

local function kept_response(self, relay, how)
  local answer, headers, pieces = relay.answer, {}, {}
  local kept = self._redactor:pieces(relay.pieces)
  local change = #table.concat(kept) - #table.concat(relay.pieces)
  for i, piece in ipairs(kept) do pieces[i] = { relay.times[i], piece } end
  for _, header in ipairs(answer.headers) do
    local name = header[1]:lower()
    if not HOP[name] and name ~= "content-length" then
      headers[#headers + 1] = { header[1], self._redactor:header(header[1], header[2]) }
    end
  end
  return {
    status = answer.status, reason = self._redactor:text(answer.reason), headers = headers, pieces = pieces,
    framing = answer.framing, length = answer.length and answer.length + change, ["end"] = how,
  }
end

local function write_line(self, line)
  local ok, why = self._file:write(self._size, line .. "\n")
  if ok then self._size = self._size + #line + 1 else self.errors[#self.errors + 1] = self._path .. ": " .. why end
  return ok
end

local function keep(self, relay, how)
  for name, value in pairs(relay.request.headers) do self._redactor:notice(name, value) end
  for _, header in ipairs(relay.answer.headers) do self._redactor:notice(header[1], header[2]) end
  local line = cassette.line { request = kept_request(self, relay), response = kept_response(self, relay, how) }
  if write_line(self, line) then self.interactions = self.interactions + 1 end
end

-- ---- one request -----------------------------------------------------------------

local function drop(self, relay)
  relay.conn:close()
  self._relays[relay] = nil
end

local function fail(self, relay, why)
  local message = ("oaichat.testing: %s: %s"):format(self._origin, why)
  self.errors[#self.errors + 1] = message
  drop(self, relay)
  if relay.response.started then return relay.response:reset() end
  relay.response:json(502, { error = { message = message, type = "oaichat_testing", code = "upstream" } },
    { ["x-should-retry"] = "false" })
end

local ENDINGS = { finish = "finish", cut = "close", reset = "reset" }

local function conclude(self, relay, how)
  drop(self, relay)
  keep(self, relay, how)
  local method = ENDINGS[how]
  if method then relay.response[method](relay.response) end
end

local function take(self, relay, bytes)
  local answer = relay.answer
  local pieces, wrong = answer:feed(bytes)
  if not pieces then return fail(self, relay, wrong) end
  if answer.status and not relay.response.started then hand_on_head(relay) end
  for _, piece in ipairs(pieces) do
    relay.pieces[#relay.pieces + 1] = piece
    relay.times[#relay.pieces] = core.now() - relay.start
    relay.response:write(piece, ALONE)
  end
  if answer.over then conclude(self, relay, "finish") end
end

-- Reads what came for one request; true when there may be more.
local function pump(self, relay)
  local bytes, why, err = relay.conn:read()
  if bytes == "" then
    if relay.response.peer:closed() then
      if relay.answer.status then conclude(self, relay, "left") else drop(self, relay) end
    end
    return false
  end
  if bytes then
    take(self, relay, bytes)
    return self._relays[relay]
  end
  if not relay.answer.status then
    fail(self, relay, why or "no answer")
  elseif relay.answer.framing == "close" and not err then
    conclude(self, relay, "finish")
  else
    conclude(self, relay, err and err.code == "connection_reset" and "reset" or "cut")
  end
end

function Recorder:_begin(request, response)
  local bytes, tail = request_bytes(self, request)
  local relay = {
    request = request, response = response, tail = tail, start = core.now(), pieces = {}, times = {},
    answer = answer_of.new(request.method),
  }
  local why
  relay.conn, why = core.connect {
    url = self._dial, ca_file = self._ca_file, engine = self._engine, write_cap = #bytes + 65536,
  }
  if not relay.conn then error(why) end
  self._relays[relay] = true
  relay.conn:write(bytes)
end

function Recorder:_pump()
  if not self._engine then return end
  self._engine:step()
  while self._own and self._engine:pop() do end
  local list = {}
  for relay in pairs(self._relays) do list[#list + 1] = relay end
  for _, relay in ipairs(list) do
    while self._engine and self._relays[relay] and pump(self, relay) do end
  end
end

-- A client has its answer a moment before the answer's end has come.
local function await_ends(self)
  local stop = core.now() + LINGER
  while next(self._relays) and core.now() < stop do
    wait.pump()
    self._engine:wait(0.002)
    self:_pump()
  end
  for relay in pairs(self._relays) do
    if relay.answer.status then conclude(self, relay, "left") else drop(self, relay) end
  end
end

--- Writes what is under way, ends all connections and the file. May be called twice.
function Recorder:close()
  if not self._engine then return end
  await_ends(self)
  wait.unwatch(self._pumping)
  self.server:close()
  if self._own then self._engine:close() end
  self._engine = nil
  self._file:close()
end

-- ---- making one ------------------------------------------------------------------

local function parse(self, upstream)
  local scheme, rest = upstream:match "^(https?)://(.+)$"
  if not scheme then return nil, "upstream must be http://... or https://..." end
  local authority, path = rest:match "^([^/?#]+)([^?#]*)$"
  if not authority or authority:find("@", 1, true) then return nil, "upstream: a host and a path expected" end
  local host, port = authority:match "^(.-):(%d+)$"
  if not host then host, port = authority, scheme == "https" and "443" or "80" end
  self._origin, self._host, self._base = scheme .. "://" .. authority, authority, path:gsub("/+$", "")
  self._dial = ("%s://%s:%s"):format(scheme == "https" and "tls" or "tcp", host, port)
  return true
end

--- @param options { upstream: string, file: string, secrets: string[]|nil, ca_file: string|nil } upstream: a base_url;
---   secrets: texts that must not be in the file, besides keys, cookies and the like
--- @return oaichat.testing.Recorder|nil recorder
--- @return string|nil message
function M.new(options)
  options_of.check(options, { upstream = "string", file = "string", secrets = "table", ca_file = "string" })
  if not options.upstream or not options.file then errors.misuse "record: upstream and file are needed" end
  local self = setmetatable({
    interactions = 0, _path = options.file, _size = 0, _ca_file = options.ca_file, _relays = {},
    _redactor = redact.new(options.secrets),
  }, Recorder)
  local ok, message = parse(self, options.upstream)
  if not ok then return nil, message end
  self._file, message = core.file.open(options.file, "ensure")
  if self._file then ok, message = self._file:truncate(0) end
  if not self._file or not ok then return nil, ("%s: %s"):format(options.file, message) end
  self.server, message = server_of.new(function(request, response) self:_begin(request, response) end)
  if not self.server then
    self._file:close()
    return nil, message
  end
  self.url, self.port = self.server.url, self.server.port
  self.requests, self.errors = self.server.requests, self.server.errors
  write_line(self, cassette.header(self._redactor:text(options.upstream)))
  -- whoever waits, on whatever engine, sees by its descriptor that this one has work;
  -- where the platform has none, the one engine that all wait on has to do
  self._own = core.engine():fd() ~= nil
  self._engine = core.engine(self._own)
  self._pumping = function() self:_pump() end
  wait.watch(self._engine:fd(), self._pumping)
  return self
end

return M
