--- attempts: from one request to its answer, by as many attempts as the policy
--- allows. An attempt is one exchange of the C core, which also says whether another
--- is worth it; what each met is noted, and what the last one left becomes a reply or
--- an err object.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local observe = require "oaichat.observe"
local reply = require "oaichat.reply"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local M = {}

local Call = {}
Call.__index = Call

local function notify(call, hook, fields)
  if call.hooks then observe.call(call.log, "hook", call.hooks[hook], fields) end
  observe.tell(call.log, "debug", hook, fields)
end

-- Go's duration grammar as the API uses it: "6m0s", "1m30.951s", "20ms", "1s".
local UNITS = { h = 3600, m = 60, s = 1, ms = 1e-3, us = 1e-6, ns = 1e-9 }

--- @param text string|nil
--- @return number|nil seconds
function M.duration(text)
  if not text or text == "" then return nil end
  local total, at = 0, 1
  while at <= #text do
    local number, unit, stop = text:match("^(%d+%.?%d*)(%a+)()", at)
    if not number or not UNITS[unit] then return nil end
    total = total + tonumber(number) * UNITS[unit]
    at = stop
  end
  return total
end

local function ratelimit(exchange)
  local out
  for _, what in ipairs { "requests", "tokens" } do
    for _, field in ipairs { "limit", "remaining", "reset" } do
      local text = exchange:header(("x-ratelimit-%s-%s"):format(field, what))
      local value = field == "reset" and M.duration(text) or tonumber(text)
      if value then
        out = out or {}
        out[("%s_%s"):format(field, what)] = value
      end
    end
  end
  return out
end

-- One attempt's exchange.
local function exchange_of(call)
  local options = call.options
  local left = options.stop_at and math.max(options.stop_at - core.now(), 0)
  local wire_options = { timeouts = options.timeouts, headers = call.headers, deadline = left }
  local exchange, why, failure
  if options.stream then
    exchange, why, failure = call.session:stream(call.parts, wire_options)
  else
    exchange, why, failure = call.session:send(call.parts, wire_options)
  end
  if not exchange then return errors.fail { kind = failure.kind, code = failure.code, message = why } end
  return exchange
end

-- The server may know the attempts for one: by a key that is the same in all.
local function headers_of(options)
  if not options.idempotency then return options.headers end
  return tables.merged({ ["Idempotency-Key"] = "oaichat-" .. core.random(16) }, options.headers)
end

local function tell_start(call)
  if not call.hooks and not call.log then return end
  call.text, call.poll = Call.first_text, Call.first_poll
  notify(call, "attempt", { number = #call.attempts + 1, model = call.model, origin = call.origin })
end

--- Starts a call.
--- @param session table of the core
--- @param parts string[] the body
--- @param options table stream, timeouts, stop_at, headers, hooks, log, origin, model, engine, retries,
---   idempotency
--- @return table|nil call, string|nil message, oaichat.Error|nil err
function M.start(session, parts, options)
  local call = setmetatable({
    session = session, parts = parts, options = options, origin = options.origin, hooks = options.hooks,
    log = options.log, model = options.model, attempts = {}, headers = headers_of(options),
  }, Call)
  local exchange, why, err = exchange_of(call)
  if not exchange then return nil, why, err end
  call.exchange = exchange
  if call.hooks or call.log then
    notify(call, "request", { model = call.model, origin = call.origin, stream = options.stream or false })
    tell_start(call)
  end
  return call
end

--- The next piece of the first choice's text; nil at the end. Waits.
--- @return string|nil
function Call:text()
  local exchange = self.exchange
  while true do
    local text = exchange:text()
    if text then return text end
    if exchange:done() then return nil end
    wait.ready(exchange)
  end
end

--- What has come, as exchange:next() gives it; nothing when nothing is there now.
function Call:poll()
  return self.exchange:next()
end

--- Ended, and nothing is left to read.
function Call:done()
  return self.exchange:done()
end

-- The same for those who are told of the first content: then the plain ones.
function Call:first_text()
  local text = Call.text(self)
  self.text, self.poll = nil, nil
  if text then notify(self, "first_content", { kind = "text" }) end
  return text
end

local CONTENT = { text = true, reasoning = true, refusal = true, tool_call = true }

function Call:first_poll()
  local kind, a, b, c, d, e, f = Call.poll(self)
  if CONTENT[kind] then
    self.text, self.poll = nil, nil
    notify(self, "first_content", { kind = kind })
  end
  return kind, a, b, c, d, e, f
end

--- Reads on to the end, handing nothing out.
function Call:drain()
  local exchange = self.exchange
  while not exchange:drain() do wait.ready(exchange) end
end

function Call:cancel()
  self.canceled = true
  self.exchange:cancel()
  if self.failure then self.failure = { kind = "canceled", code = "canceled" } end -- between two attempts
  if self.timer then self.timer:fire() end
end

-- ---- how an attempt ended ------------------------------------------------------------

-- Reads what the exchange left, once, and notes the attempt.
local function conclude(call)
  if call.raw then return end
  local exchange = call.exchange
  local raw, failure = exchange:result()
  call.raw, call.failure, call.wait, call.asked = raw, failure, nil, nil
  call.request_id = exchange:header "x-request-id" or exchange:header "request-id"
  call.ratelimit = ratelimit(exchange)
  local attempts = call.attempts
  attempts[#attempts + 1] = {
    kind = failure and failure.kind, code = failure and failure.code, status = failure and failure.status,
    phase = failure and failure.phase, request_id = call.request_id, timing = raw.timing, model = call.model,
    origin = call.origin,
  }
  if failure then call.wait, call.asked = exchange:retry(#attempts, call.options.idempotency) end
end

--- After the exchange's end: seconds until the next attempt; nil: there is none.
--- @return number|nil
function Call:pause()
  conclude(self)
  local options = self.options
  if not self.wait or self.canceled or #self.attempts > options.retries then return nil end
  if options.stop_at and core.now() + self.wait >= options.stop_at then return nil end
  return self.wait
end

--- Waits, and starts the next attempt.
--- @return boolean|nil true; nil when it was canceled, or could not start: result() says how it went
function Call:again()
  local pause = self:pause()
  if not pause then return nil end
  self.attempts[#self.attempts].waited = pause
  self.timer = self.options.engine.core:timer(pause)
  local ok = self.options.engine:await(self.timer)
  self.timer:close()
  self.timer = nil
  if not ok or self.canceled then
    self.failure = { kind = "canceled", code = "canceled" }
    return nil
  end
  local exchange = exchange_of(self)
  if not exchange then return nil end
  self.exchange:close()
  self.exchange, self.raw, self.failure = exchange, nil, nil
  tell_start(self)
  return true
end

local function error_of(call, facts)
  local err = errors.new(call.failure)
  err.request_id, err.attempts, err.ratelimit = facts.request_id, facts.attempts, facts.ratelimit
  err.retry_after = call.asked
  if call.raw.choices[1] then err.partial = reply.new(call.raw, call.origin, facts) end
  return err
end

--- What came of it; once, after the end. Frees the exchange.
--- @param awaited boolean|nil somebody is parked on it: it must stay
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Call:result(awaited)
  conclude(self)
  local facts = { request_id = self.request_id, ratelimit = self.ratelimit, attempts = self.attempts }
  local answer, err
  if self.failure then err = error_of(self, facts) else answer = reply.new(self.raw, self.origin, facts) end
  -- a closed one would never wake the reader that is parked on it
  if self.failure and not awaited then self.exchange:close() end
  if self.hooks or self.log then
    notify(self, "done", { reply = answer, err = err and err.safe_message, kind = err and err.kind })
  end
  if err then return errors.fail(err) end
  return answer
end

return M
