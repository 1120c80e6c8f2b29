--- mcp/http: a server behind a URL: streamable HTTP (2025-03-26 to 2026-07-28). A
-- message is a POST; the answer is a JSON body or a stream of events, which can be
-- resumed up to 2025-11-25. Knows requests and bodies; not what a message means.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local headers_of = require "oaichat.mcp.headers"
local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"

local M = {}

local ACCEPT = "application/json, text/event-stream"

--- Seconds in which a stream may end by itself after its answer, to keep the socket.
local LINGER = 1
--- Times a broken stream is taken up again without an event in between.
local RESUMES = 3
--- Seconds until then: what the server says (retry), within these.
local RESUME_FIRST, RESUME_MAX = 1, 30

--- @class oaichat.mcp.Http
local Http = {}
Http.__index = Http

--- Prepares a server; nothing is sent.
--- @param options table url, headers, api_key, message_bytes, depth and the options of core.new about the route
--- @param reactor oaichat.loop.Reactor
--- @param hooks table on_message(message, call), on_bad(err, call), on_fail(call, err), on_lost(call, err), on_log
--- @return oaichat.mcp.Http|nil transport, string|nil message, oaichat.Error|nil err kind "config"
function M.open(options, reactor, hooks)
  local origin, path = options.url:match "^(%a[%w+.-]*://[^/?#]+)(.*)$"
  if not origin then
    return errors.fail { kind = "config", code = "config", message = "url must be http://… or https://…" }
  end
  local limits = { response_bytes = options.message_bytes, event_bytes = options.message_bytes }
  local session, why, err = core.new {
    base_url = origin, wire = "raw", path = "", api_key = options.api_key or false, headers = options.headers,
    engine = reactor.engine, limits = limits, redirects = true, allow_http = options.allow_http,
    ca_file = options.ca_file, proxy = options.proxy, unix_socket = options.unix_socket,
  }
  if not session then return errors.fail { kind = err.kind, code = err.code, message = why } end
  return setmetatable({
    core = session, path = path ~= "" and path or "/", reactor = reactor, hooks = hooks, depth = options.depth,
    entries = {},
  }, Http)
end

-- ---- one exchange ----------------------------------------------------------------

function Http:_headers(accept, call)
  local headers = { Accept = accept }
  if self.version then headers["MCP-Protocol-Version"] = self.version end
  if call and call.modern then
    headers["MCP-Protocol-Version"] = call.modern
    headers_of.add(headers, call)
  elseif self.session then
    headers["Mcp-Session-Id"] = self.session
  end
  return headers
end

-- The clock of a call is the client's; these only keep a dead one from staying.
local function patience(call)
  local seconds = (call and call.timeout or 30) + 60
  return { first_byte = seconds, first_content = seconds, content_idle = seconds, attempt = seconds }
end

function Http:_start(entry, body, method, headers)
  local exchange, why, err = self.core:stream(body, {
    method = method, path = self.path, headers = headers, timeouts = patience(entry.call),
  })
  if not exchange then return errors.fail { kind = err.kind, code = err.code, message = why } end
  entry.exchange = exchange
  self.entries[entry] = true
  if entry.call then entry.call.entry = entry end
  self.reactor:watch(exchange, function() self:_turn(entry) end)
  return true
end

function Http:_release(entry)
  self.entries[entry] = nil
  if entry.exchange then self.reactor:close(entry.exchange) end
  entry.exchange = nil
  self.reactor:stop(entry.linger)
  entry.linger = nil
end

--- Sends a message.
--- @param message table
--- @param call table|nil the request it is
--- @param done fun()|nil called when a message that is no request was taken, or not
--- @return true|nil, string|nil message, oaichat.Error|nil err
function Http:send(message, call, done)
  local text, _, err = json.encode(message)
  if not text then return errors.fail(err) end
  return self:_start({ call = call, done = done, session = self.session }, text, "POST", self:_headers(ACCEPT, call))
end

-- ---- the answer ------------------------------------------------------------------

function Http:_take(entry, text)
  local message, why, code = rpc.decode(text, self.depth)
  if message then return self.hooks.on_message(message, entry.call) end
  self.hooks.on_bad(errors.new {
    kind = code == "too_deep" and "too_large" or "protocol", code = code,
    message = "the MCP server sent what is not JSON: " .. why, detail = rpc.quote(text),
  }, entry.call)
end

function Http:_adopt(entry)
  if not entry.call or entry.call.method ~= "initialize" then return end
  self.session = entry.exchange:header "mcp-session-id" or self.session
end

function Http:_turn(entry)
  while entry.exchange do
    local kind, data, name, id, retry = entry.exchange:next()
    if kind then
      entry.last_id, entry.retry, entry.resumes = id or entry.last_id, retry or entry.retry, 0
      self:_adopt(entry)
      -- an event without data tells its id alone
      if data ~= "" and (not name or name == "message") then self:_take(entry, data) end
    elseif entry.exchange:done() then
      return self:_end(entry)
    else
      return
    end
  end
end

local function is_json(exchange, body)
  local label = exchange:header "content-type"
  return body:find "^%s*[{%[]" and (not label or label:lower():find "json" ~= nil)
end

function Http:_end(entry)
  local call, exchange = entry.call, entry.exchange
  local reply, failure = exchange:result()
  self:_adopt(entry)
  local readable = reply.body ~= "" and is_json(exchange, reply.body)
  local retry_after = tonumber(exchange:header "retry-after" or "")
  self:_release(entry)
  if not call then
    if failure then self.hooks.on_log("warn", "mcp_send", { error = errors.new(failure).safe_message }) end
    return entry.done and entry.done()
  end
  local err = failure and errors.new(failure)
  if err then err.retry_after = retry_after end
  if reply.status == 404 and entry.session and not call.modern then return self.hooks.on_lost(call, err) end
  if readable and (not err or self:_says(err)) then
    self:_take(entry, reply.body)
    if call.done then return end
  end
  self:_unanswered(entry, call, err, reply.status)
end

-- Where the body says more than the status: what is wrong with the request, not with
-- its sender.
function Http._says(_, err)
  return err.kind == "invalid_request" or err.kind == "not_found"
end

function Http:_unanswered(entry, call, err, status)
  local broke = not err or err.kind == "incomplete_stream" or err.kind == "network" and status
  if broke and entry.last_id and not call.modern then return self:_resume(entry, call, err) end
  if not err then
    local text = status == 202 and "the MCP server took the request but answered nothing"
      or "the MCP server's answer has no response to the request"
    err = rpc.bad(text, nil, "empty_response")
  end
  err.status = err.status or status
  self.hooks.on_fail(call, err)
end

-- Takes the stream up behind the last event (2025-11-25, basic/transports,
-- Resumability); the server says when by `retry`.
function Http:_resume(entry, call, err)
  local resumes = (entry.resumes or 0) + 1
  if resumes > RESUMES then
    return self.hooks.on_fail(call, err or errors.new { kind = "incomplete_stream", code = "incomplete" })
  end
  local wait = entry.retry and entry.retry / 1000 or RESUME_FIRST
  local next_one = {
    call = call, last_id = entry.last_id, retry = entry.retry, resumes = resumes, session = entry.session,
  }
  call.entry = next_one
  next_one.linger = self.reactor:after(math.min(wait, RESUME_MAX), function()
    next_one.linger = nil
    if call.done then return end
    local headers = self:_headers("text/event-stream", call)
    headers["Last-Event-ID"] = entry.last_id
    local ok, _, why = self:_start(next_one, "", "GET", headers)
    if not ok then self.hooks.on_fail(call, why) end
  end)
end

-- ---- ends --------------------------------------------------------------------------

--- A call that ended. What was answered may end by itself, the rest is closed: that
--- is how a modern server hears of it.
function Http:drop(call)
  local entry = call.entry
  if not entry then return end
  call.entry = nil
  if not call.answered or not entry.exchange then return self:_release(entry) end
  entry.call = nil
  entry.linger = self.reactor:after(LINGER, function()
    entry.linger = nil
    self:_release(entry)
  end)
end

--- The version that was agreed on.
function Http:agree(version)
  self.version = version
end

--- The session is gone.
function Http:reset()
  self.session, self.version = nil, nil
end

--- What is known of a server that does not answer.
function Http.hint() end

--- Ends the session; done is called when the server knows, or cannot be told.
function Http:finish(done)
  if not self.session then return done() end
  local entry = { done = done }
  local headers = self:_headers "*/*"
  local ok = self:_start(entry, "", "DELETE", headers)
  if not ok then done() end
end

function Http:close()
  for entry in pairs(self.entries) do self:_release(entry) end
  self.core:close()
end

return M
