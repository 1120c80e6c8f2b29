--- mcp/link: the way to one server: started at need, greeted in the revision that
-- both know, many calls at a time told apart by id, made anew when it broke. Knows
-- requests and their ends; not what a tool is.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local greet = require "oaichat.mcp.greet"
local http = require "oaichat.mcp.http"
local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"
local stdio = require "oaichat.mcp.stdio"

local M = {}

--- Starts within a window of so many seconds.
local STARTS, WINDOW = 4, 60
--- @class oaichat.mcp.Link
local Link = {}
Link.__index = Link

--- @param options table of mcp.connect, with defaults
--- @param reactor oaichat.loop.Reactor
--- @param hooks table on_notification(method, params), on_request(request): taken, on_log(level, event, fields)
function M.new(options, reactor, hooks)
  return setmetatable({
    options = options, reactor = reactor, hooks = hooks, state = "idle", pending = {}, queue = {}, starts = {},
    last_id = 0, era = options.version == rpc.MODERN and "modern" or options.version and "legacy" or nil,
    capabilities = {},
  }, Link)
end

-- ---- calls ---------------------------------------------------------------------------

local function settle(link, call, response, err)
  if call.done then return end
  call.done, call.response, call.err = true, response, err
  call.answered = response ~= nil or call.rpc_error ~= nil
  if call.id then link.pending[call.id] = nil end
  link.reactor:stop(call.clock)
  call.clock = nil
  if link.transport then link.transport:drop(call) end
  if call.after then call.after(response, err, call.rpc_error) else call:ring() end
end

local function expire(link, call)
  local hint = link.transport and link.transport:hint()
  link:abandon(call, errors.new {
    kind = "timeout", code = "timeout", phase = "attempt", retryable = true, detail = hint,
    message = ("the MCP server did not answer %s within %g s"):format(call.method, call.timeout),
  }, "timeout")
end

local function dispatch(link, call)
  if not call.method then return settle(link, call, {}) end -- wanted the start alone
  link.last_id = link.last_id + 1
  call.id = link.last_id
  if call.modern == nil then call.modern = link.modern end
  call.capabilities = json.object(link.options.capabilities or {})
  call.log_level = link.options.log_level
  call.session = link.session
  link.pending[call.id] = call
  call.clock = link.reactor:after(call.timeout, function()
    call.clock = nil
    expire(link, call)
  end)
  local ok, _, err = link.transport:send(rpc.request(call), call)
  if not ok then settle(link, call, nil, err) end
end

--- Starts a call: method (nil: only the server's start is wanted), params, timeout,
--- ring (called at its end), on_progress, mirrored. It ends with done, and response
--- or err.
function Link:submit(call)
  self.reactor:pump() -- a server that has died is known then
  if self.state == "ready" then return dispatch(self, call) end
  self.queue[#self.queue + 1] = call
  if self.state == "idle" then self:_start() end
end

--- Ends a call whose caller wants no answer any more; the server is told.
function Link:abandon(call, err, reason)
  if call.done then return end
  local told = call.id and self.pending[call.id] and self.state == "ready"
    and not (call.modern and self.options.url)
  settle(self, call, nil, err)
  for i = #self.queue, 1, -1 do
    if self.queue[i] == call then table.remove(self.queue, i) end
  end
  if told then self:tell("notifications/cancelled", { requestId = call.id, reason = reason }) end
end

--- @return boolean sent
function Link:tell(method, params, done)
  local ok, why = self.transport:send(rpc.notification(method, params), nil, done)
  if not ok then self.hooks.on_log("warn", "mcp_send", { error = why }) end
  return ok
end

local function fail_all(link, err)
  local list = {}
  for _, call in pairs(link.pending) do list[#list + 1] = call end
  for _, call in ipairs(link.queue) do list[#list + 1] = call end
  link.queue = {}
  for _, call in ipairs(list) do settle(link, call, nil, err) end
end

-- ---- what comes ------------------------------------------------------------------------

local function take_response(link, message, call)
  local id, err = rpc.get(message, "id"), rpc.get(message, "error")
  if type(id) == "string" then id = tonumber(id) or id end -- ours are numbers, whatever comes back
  local known = id ~= nil and link.pending[id]
  -- an error before the id could be read
  if not known and id == nil and err and call then known = call end
  if not known or (call and known ~= call) then
    return link.hooks.on_log("debug", "mcp_unknown_response", { id = tostring(id) })
  end
  if err ~= nil then
    known.rpc_error = err
    return settle(link, known, nil, rpc.error_of(err, link.options.secret))
  end
  if type(rpc.get(message, "result")) ~= "table" then
    return settle(link, known, nil, rpc.bad "the MCP server's response has neither a result nor an error")
  end
  settle(link, known, message.result)
end

function Link:reply(request, result, code, text)
  if not self.transport or self.state == "closed" or self.modern then return end
  local message = code and rpc.refusal(request.id, code, text) or rpc.result(request.id, result)
  local ok, why = self.transport:send(message)
  if not ok then self.hooks.on_log("warn", "mcp_send", { error = why }) end
end

local function take_request(link, message)
  local id, kind = message.id, type(message.id)
  if kind ~= "string" and kind ~= "number" then return end
  local request = { id = id, method = message.method, params = rpc.typed(message, "params", "table") or {} }
  if request.method == "ping" then return link:reply(request, {}) end
  if link.hooks.on_request(request) then return end
  link:reply(request, nil, -32601, "Method not found")
end

local function take(link, message, call)
  if json.is_array(message) then -- a batch, in 2025-03-26
    for _, one in ipairs(message) do
      if type(one) == "table" then take(link, one, call) end
    end
  elseif type(message.method) == "string" then
    if rpc.get(message, "id") ~= nil then return take_request(link, message) end
    if message.method == "notifications/progress" then
      local params = rpc.typed(message, "params", "table") or {}
      local about = link.pending[rpc.get(params, "progressToken")]
      if about and about.on_progress then about:progress(params) end
    else
      link.hooks.on_notification(message.method, rpc.typed(message, "params", "table") or {})
    end
  else
    take_response(link, message, call)
  end
end

-- ---- start -----------------------------------------------------------------------------

local function is_recent(link, now)
  local kept = {}
  for _, at in ipairs(link.starts) do
    if now - at < WINDOW then kept[#kept + 1] = at end
  end
  link.starts = kept
  return #kept >= STARTS
end

function Link:_open()
  if self.transport and self.options.url then return true end -- a URL needs no second one
  local transport, why, err = (self.options.url and http or stdio).open(self.options, self.reactor, {
    on_message = function(message, call) take(self, message, call) end,
    on_bad = function(bad, call) self:_bad(bad, call) end,
    on_fail = function(call, failure) settle(self, call, nil, failure) end,
    on_lost = function(call, failure) self:_lost(call, failure) end,
    on_end = function(failure) self:_ended(failure) end,
    on_log = self.hooks.on_log,
  })
  self.transport = transport
  if transport then return true end
  return nil, why, err
end

-- What cannot be read may have been the answer to anything.
function Link:_bad(err, call)
  if call then return settle(self, call, nil, err) end
  local list = {}
  for _, one in pairs(self.pending) do list[#list + 1] = one end
  for _, one in ipairs(list) do settle(self, one, nil, err) end
end

function Link:_start()
  local now = core.now()
  if is_recent(self, now) then
    return fail_all(self, errors.new {
      kind = "network", code = "restarts", detail = self.last_err and self.last_err.message,
      message = ("the MCP server was started %d times in %d s and does not stay"):format(STARTS, WINDOW),
    })
  end
  self.starts[#self.starts + 1] = now
  self.state = "starting"
  local ok, _, err = self:_open()
  if not ok then return self:failed(err) end
  self.startup = self.reactor:after(self.options.start_timeout, function()
    self.startup = nil
    local hint = self.transport and self.transport:hint()
    self:failed(errors.new {
      kind = "timeout", code = "timeout", phase = "connect", retryable = true, detail = hint,
      message = ("the MCP server did not start within %g s"):format(self.options.start_timeout),
    })
  end)
  if self.era == "legacy" then greet.initialize(self) else greet.discover(self) end
end

-- The start came to nothing.
function Link:failed(err)
  self:_halt()
  fail_all(self, err)
end

function Link:_halt()
  self.reactor:stop(self.startup)
  self.reactor:stop(self.probe)
  self.startup, self.probe, self.state = nil, nil, "idle"
  self.discovering, self.greeting, self.refused = nil, nil, nil
  if self.options.url then
    if self.transport then self.transport:reset() end
  elseif self.transport then
    self.transport:close()
    self.transport = nil
  end
end

--- The server and we know each other.
function Link:ready()
  self.reactor:stop(self.startup)
  self.reactor:stop(self.probe)
  self.startup, self.probe, self.discovering, self.greeting = nil, nil, nil, nil
  self.state = "ready"
  self.session = (self.session or 0) + 1
  self.hooks.on_log("info", "mcp_ready", { version = self.version, server = rpc.get(self.info, "name") })
  local queue = self.queue
  self.queue = {}
  if not self.modern and self.options.log_level and rpc.get(self.capabilities, "logging") then
    self:ask("logging/setLevel", { level = self.options.log_level }, false, function() end)
  end
  for _, call in ipairs(queue) do
    if not call.done then self:submit(call) end
  end
end

--- A request of our own: after(result, err, rpc_error) is called at its end.
function Link:ask(method, params, modern, after)
  local call = {
    method = method, params = params, timeout = self.options.start_timeout, after = after, modern = modern,
  }
  dispatch(self, call)
  return call
end

--- Ends a request of our own that is not wanted any more.
function Link:forget(call)
  if call then settle(self, call, nil, errors.new { kind = "canceled", code = "canceled" }) end
end

-- ---- ends --------------------------------------------------------------------------------

-- The server has ended. One that was asked by the newer revision and cannot bear it
-- gets a second start.
function Link:_ended(err)
  self.last_err = err
  self.transport = nil
  local probing = self.state == "starting" and self.era == nil and self.discovering and not self.greeting
  local queue = self.queue
  if probing then self.queue = {} end
  self:_halt()
  fail_all(self, err)
  self.hooks.on_log("warn", "mcp_ended", { error = err.safe_message })
  if not probing then return end
  self.era, self.queue = "legacy", queue
  self:_start()
end

-- The HTTP session is gone (404): made anew once for each call.
function Link:_lost(call, err)
  err = err or errors.new { kind = "not_found", code = "session" }
  if call.again or call.after then return settle(self, call, nil, err) end
  call.again = true
  self.pending[call.id] = nil
  self.reactor:stop(call.clock)
  call.clock, call.entry = nil, nil
  if self.state == "ready" and call.session == self.session then
    self.hooks.on_log("warn", "mcp_session_lost", {})
    self:_halt()
  end
  self:submit(call)
end

--- Ends it all; done is called when the server has ended, or knows.
function Link:close(done)
  local transport = self.transport
  self.reactor:stop(self.startup)
  self.reactor:stop(self.probe)
  self.state = "closed"
  fail_all(self, errors.new { kind = "canceled", code = "canceled", message = "the MCP client was closed" })
  if not transport then return done() end
  transport:finish(done)
end

--- Lets go of what is left, at once.
function Link:release()
  if self.transport then self.transport:close() end
  self.transport = nil
  self.reactor:clear()
end

return M
