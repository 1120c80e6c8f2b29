--- websocket: a client of RFC 6455 over a byte stream of the core: the opening
-- handshake, messages both ways, pings, the closing handshake. Knows the reactor and
-- frames; not what a message means. No extension is offered.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local handshake = require "oaichat.websocket.handshake"
local keepalives = require "oaichat.websocket.keepalive"
local options = require "oaichat.options"
local reactor_of = require "oaichat.loop.reactor"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local M = {}

local OPCODES = { text = 1, binary = 2, close = 8, ping = 9, pong = 10 }
local PIECE = 65536 -- bytes of one read
--- Room in the queue of unsent bytes that pongs and the close may use beyond messages.
local CONTROL_ROOM = 65536
local ROOM_EVERY = 0.01 -- seconds

local ALLOWED = {
  url = "string", headers = "table", protocols = "table", session = "userdata", engine = "table|userdata",
  ca_file = "string", proxy = "string", timeout = "number", keepalive = "number", close_timeout = "number",
  message_bytes = "number", frame_bytes = "number", queue_bytes = "number", header_bytes = "number",
}

--- @class oaichat.WebSocket
--- @field protocol string|nil the subprotocol that was agreed
local Socket = {}
Socket.__index = Socket
Socket.__name = "oaichat.WebSocket"

function Socket:__tostring()
  return ("oaichat.WebSocket (%s)"):format(self.state)
end

local function failure(kind, code, message, more)
  local fields = more or {}
  fields.kind, fields.code, fields.message = kind, code, message
  return errors.new(fields)
end

-- ---- its end -------------------------------------------------------------------

local function wake(self)
  for gate in pairs(self.gates) do gate:open() end
end

local function stop_clocks(self)
  for name, clock in pairs(self.clocks) do
    self.reactor:stop(clock)
    self.clocks[name] = nil
  end
end

local function clock(self, name, seconds, fn)
  self.reactor:stop(self.clocks[name])
  self.clocks[name] = self.reactor:after(seconds, function()
    self.clocks[name] = nil
    fn()
  end)
end

-- err nil: it ended as it should.
local function ended(self, err)
  if self.state == "closed" then return end
  self.state, self.err = "closed", err
  stop_clocks(self)
  self.reactor:close(self.conn)
  self.reader:close()
  wake(self)
end

local function write(self, frame)
  local ok, text, err = self.conn:write(frame)
  if ok then self.written = self.written + #frame end
  return ok, text, err
end

local function put(self, kind, bytes)
  return write(self, core.websocket_frame(OPCODES[kind], bytes))
end

local function close_frame(self, code, reason)
  if self.close_sent then return end
  self.close_sent = true
  put(self, "close", code and string.char(math.floor(code / 256), code % 256) .. (reason or "") or "")
end

-- After both closes are out the server ends the connection (7.1.1); one that does not
-- is left.
local function linger(self, err)
  self.state, self.last_err = "closing", err
  clock(self, "close", self.close_timeout, function() ended(self, self.last_err) end)
end

local KINDS = { [1009] = { "too_large", "too_large" }, [1007] = { "protocol", "invalid_utf8" } }

-- ---- what comes ------------------------------------------------------------------

local function broken(self, why, status)
  local kind = KINDS[status] or { "protocol", "websocket" }
  close_frame(self, status)
  self.over = true
  linger(self, failure(kind[1], kind[2], "the WebSocket connection broke its rules: " .. why))
  wake(self)
end

local function take(self, kind, data, status)
  if kind == "ping" then
    if not self.close_sent then put(self, "pong", data) end
  elseif kind == "pong" then
    self.pongs = self.pongs + 1
  elseif kind == "broken" then
    broken(self, data, status)
  elseif kind == "close" then
    self.close_status, self.close_reason, self.over = status, data, true
    -- 1005 stands for none: it is never sent
    close_frame(self, status ~= 1005 and status or nil)
    linger(self)
    wake(self)
  elseif not self.dropping then
    local queue = self.queue
    queue[#queue + 1] = { data, kind }
    self.queued = self.queued + #data + 64
    wake(self)
  end
end

local function feed(self, bytes)
  local at = 1
  while not self.over do
    local after, kind, data, status = self.reader:read(bytes, at)
    if not kind then return end
    at = after
    take(self, kind, data, status)
  end
end

local function lost(self, why, err)
  if self.over then return ended(self, self.last_err) end
  if err then return ended(self, failure(err.kind, err.code, "the WebSocket connection broke", { detail = why })) end
  ended(self, failure("network", "connection_closed", "the server ended the WebSocket connection without a close"))
end

local function keep_alive(self)
  if not self.keepalive then return end
  clock(self, "alive", self.keepalive, function()
    local verdict, silent = keepalives.look(self, core.now())
    if verdict == "dead" then
      return ended(self, failure("timeout", "timeout", ("the server has been silent for %g s and answers no ping")
        :format(silent), { phase = "content_idle" }))
    end
    if verdict == "ask" then put(self, "ping", "") end
    keep_alive(self)
  end)
end

local function begin(self, rest)
  self.state = "open"
  self.reactor:stop(self.clocks.connect)
  self.clocks.connect = nil
  keep_alive(self)
  wake(self)
  feed(self, rest)
end

local function greet(self, bytes, ends)
  local done, err, rest = self.greeting:take(bytes, ends)
  if err then return ended(self, err) end
  if not done then return end
  self.protocol = self.greeting.protocol
  begin(self, rest)
end

local function turn(self)
  if self.state == "connecting" and self.conn:state() == "open" then
    self.state = "greeting"
    local ok, err = self.greeting:send(self.conn)
    if not ok then return ended(self, err) end
  end
  if self.conn:pending() == 0 then wake(self) end
  while self.state ~= "closed" do
    if self.queued > self.queue_bytes then
      -- what the reader has no room for waits with the server
      self.paused = true
      return self.reactor:unwatch(self.conn)
    end
    local bytes, why, err = self.conn:read(PIECE)
    if not bytes then
      if self.state == "greeting" and not err then greet(self, "", true) end
      if self.state ~= "closed" then lost(self, why, err) end
      return
    end
    if bytes == "" then return end
    self.heard, self.pinged = core.now(), nil
    if self.state == "greeting" then
      greet(self, bytes)
    elseif not self.over then
      feed(self, bytes)
    end
  end
end

local function resume(self)
  if not self.paused or self.queued > self.queue_bytes / 2 then return end
  self.paused, self.heard = false, core.now()
  self.reactor:watch(self.conn, function() turn(self) end)
end

-- Waits until something happened; false: the task was canceled.
local function pause(self)
  local gate = self.reactor:gate()
  self.gates[gate] = true
  wait.ready(gate)
  self.gates[gate] = nil
  local canceled = gate.canceled
  gate:close()
  return not canceled
end

-- The wait of a task ends with it; the connection may be others'.
local function canceled()
  return errors.fail(failure("canceled", "canceled", "the wait for the WebSocket connection was canceled"))
end

local function why(self)
  if self.err then return errors.fail(self.err) end
  return errors.fail(self.last_err or failure("network", "connection_closed", "the WebSocket connection is closed"))
end

-- ---- what its user calls ---------------------------------------------------------

local function send(self, kind, bytes)
  if type(bytes) ~= "string" then errors.misuse "a WebSocket message is a string" end
  local frame = core.websocket_frame(OPCODES[kind], bytes)
  if #frame > self.send_bytes then
    return errors.fail(failure("too_large", "too_large", "the message is larger than message_bytes"))
  end
  self.reactor:pump()
  while self.state == "open" and not self.close_sent and self.conn:pending() + #frame > self.send_bytes do
    -- nobody watches a connection whose reader has no room
    if self.paused then clock(self, "room", ROOM_EVERY, function() wake(self) end) end
    if not pause(self) then return canceled() end
  end
  if self.state ~= "open" or self.close_sent then return why(self) end
  local ok, text, err = write(self, frame)
  if ok then return true end
  return errors.fail(failure(err.kind, err.code, text))
end

--- Sends a message; waits while there is no room for it.
--- @param text string UTF-8 (RFC 6455, 5.6)
--- @return true|nil, string|nil message, oaichat.Error|nil err
function Socket:send_text(text)
  if type(text) == "string" and core.utf8_repair(text) ~= text then
    return errors.fail(failure("validation", "invalid_utf8", "a text message has to be UTF-8"))
  end
  return send(self, "text", text)
end

--- @param bytes string
--- @return true|nil, string|nil message, oaichat.Error|nil err
function Socket:send_binary(bytes)
  return send(self, "binary", bytes)
end

--- The next message. nil alone: the server closed, with close_status and close_reason.
--- @return string|nil data
--- @return string|nil kind "text" or "binary"; without data: what went wrong
--- @return oaichat.Error|nil err
function Socket:receive()
  while true do
    self.reactor:pump()
    local entry = self.queue[self.first]
    if entry then
      self.queue[self.first] = nil
      self.first = self.first + 1
      if not self.queue[self.first] then self.queue, self.first = {}, 1 end
      self.queued = self.queued - #entry[1] - 64
      if self.state ~= "closed" then resume(self) end
      return entry[1], entry[2]
    end
    local err = self.err or self.last_err
    if err then return errors.fail(err) end
    if self.over or self.state == "closed" then return nil end
    if not pause(self) then return canceled() end
  end
end

--- Sends a ping and waits for a pong.
--- @param seconds number|nil 10
--- @return true|nil, string|nil message, oaichat.Error|nil err kind "timeout" when none came
function Socket:ping(seconds)
  local pongs, late = self.pongs, false
  self.reactor:pump()
  if self.state ~= "open" then return why(self) end
  put(self, "ping", "")
  local own = {} -- each that waits has a clock of its own
  local function stop()
    self.reactor:stop(self.clocks[own])
    self.clocks[own] = nil
  end
  clock(self, own, seconds or 10, function()
    late = true
    wake(self)
  end)
  while self.pongs == pongs and self.state == "open" and not late do
    if not pause(self) then
      stop()
      return canceled()
    end
  end
  stop()
  if self.pongs > pongs then return true end
  if self.state ~= "open" then return why(self) end
  return errors.fail(failure("timeout", "timeout", "no pong came", { phase = "content_idle" }))
end

-- 1004 to 1006 and 1015 stand for what was not said.
local function sendable(code)
  if type(code) ~= "number" or code % 1 ~= 0 then return false end
  return code >= 1000 and code <= 1003 or code >= 1007 and code <= 1014 or code >= 3000 and code <= 4999
end

--- The closing handshake: messages that still come are dropped. Ends after
--- close_timeout at the latest; closed already: nothing.
--- @param code integer|nil 1000
--- @param reason string|nil at most 123 bytes
--- @return true
function Socket:close(code, reason)
  if code and not sendable(code) then errors.misuse "no code of a close that may be sent (RFC 6455, 7.4)" end
  if reason and #reason > 123 then errors.misuse "the reason of a close has at most 123 bytes" end
  if self.state == "connecting" or self.state == "greeting" then ended(self) end
  if self.state == "closed" then return true end
  self.dropping, self.queue, self.first, self.queued = true, {}, 1, 0
  resume(self)
  close_frame(self, code or 1000, reason)
  if self.state == "open" then linger(self) end
  while self.state ~= "closed" do
    if not pause(self) then break end
  end
  ended(self)
  return true
end

--- Lets go of the connection at once.
function Socket:cancel()
  ended(self, failure("canceled", "canceled", "the WebSocket connection was canceled"))
end

--- Connects. Options: url (ws:// or wss://), headers, protocols, session (of the core,
--- whose key goes along to its own origin), timeout (seconds to the end of the opening
--- handshake, 10), keepalive (seconds of silence until a ping, and from there until the
--- peer is taken for dead; 30, 0: never), close_timeout (5), message_bytes, frame_bytes,
--- queue_bytes (16e6), header_bytes (64e3), ca_file, proxy, engine.
--- @param opts table
--- @return oaichat.WebSocket|nil socket, string|nil message, oaichat.Error|nil err
function M.connect(opts)
  options.check(opts, ALLOWED)
  local engine = opts.engine or loop.scheduler()
  engine = engine.core or engine
  local greeting, message, err = handshake.new(opts)
  if not greeting then return nil, message, err end
  local most = opts.message_bytes or 16e6
  local timeout = opts.timeout or 10
  local conn, text, fault = core.connect {
    url = greeting.stream_url, ca_file = opts.ca_file, proxy = opts.proxy, timeout = timeout, engine = engine,
    write_cap = most + 2 * CONTROL_ROOM,
  }
  if not conn then return errors.fail(failure(fault.kind, fault.code, text)) end
  local self = setmetatable({
    reactor = reactor_of.new(engine), conn = conn, greeting = greeting, state = "connecting", clocks = {},
    -- a task that is canceled by an error leaves its gate to the collector
    gates = setmetatable({}, { __mode = "k" }),
    queue = {}, first = 1, queued = 0, queue_bytes = opts.queue_bytes or 16e6, pongs = 0, heard = core.now(),
    written = 0, -- bytes given to the connection
    send_bytes = most + CONTROL_ROOM, keepalive = opts.keepalive ~= 0 and (opts.keepalive or 30) or nil,
    close_timeout = opts.close_timeout or 5,
    reader = core.websocket_reader { message_bytes = most, frame_bytes = opts.frame_bytes or most },
  }, Socket)
  self.reactor:watch(conn, function() turn(self) end)
  clock(self, "connect", timeout, function()
    ended(self, greeting:refusal() or failure("timeout", "timeout",
      ("no WebSocket connection within %g s"):format(timeout), { phase = "connect", retryable = true }))
  end)
  while self.state == "connecting" or self.state == "greeting" do
    if not pause(self) then
      self:cancel()
      return canceled()
    end
  end
  if self.state == "closed" then return why(self) end
  return self
end

return M
