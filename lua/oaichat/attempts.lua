--- attempts: from one request to its answer, by as many attempts as the policy
--- allows (today: one). An attempt is one exchange of the C core; what each met
--- is noted, and what an exchange left becomes a reply or an err object.

local errors = require "oaichat.errors"
local reply = require "oaichat.reply"
local wait = require "oaichat.wait"

local M = {}

local Call = {}
Call.__index = Call

local function notify(call, hook, fields)
  local hooks, log = call.hooks, call.log
  if hooks and hooks[hook] then
    local ok, why = pcall(hooks[hook], fields)
    if not ok and log then pcall(log, "error", "hook", { hook = hook, error = tostring(why) }) end
  end
  if log then pcall(log, "debug", hook, fields) end
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

local function retry_after(exchange)
  local ms = tonumber(exchange:header("retry-after-ms") or "")
  local seconds = ms and ms / 1000 or tonumber(exchange:header("retry-after") or "")
  if seconds and seconds >= 0 and seconds < 1e9 then return seconds end
end

--- Starts a call.
--- @param core table session of the core
--- @param parts string[] the body
--- @param options table stream, timeouts, deadline, headers, hooks, log, origin, model
--- @return table|nil call, string|nil message, oaichat.Error|nil err
function M.start(core, parts, options)
  local exchange, why, failure
  if options.stream then
    exchange, why, failure = core:stream(parts, options.wire_options)
  else
    exchange, why, failure = core:send(parts, options.wire_options)
  end
  if not exchange then
    return errors.fail { kind = failure.kind, code = failure.code, message = why }
  end
  local call = setmetatable({
    exchange = exchange, origin = options.origin, hooks = options.hooks, log = options.log,
    model = options.model, attempts = {},
  }, Call)
  if call.hooks or call.log then
    call.text, call.poll = Call.first_text, Call.first_poll
    notify(call, "request", { model = call.model, origin = call.origin, stream = options.stream or false })
    notify(call, "attempt", { number = 1, model = call.model, origin = call.origin })
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
  self.exchange:cancel()
end

local function error_of(call, raw, failure, facts)
  local err = errors.new(failure)
  err.request_id = facts.request_id
  err.attempts = facts.attempts
  err.retry_after = retry_after(call.exchange)
  err.ratelimit = facts.ratelimit
  if raw.choices[1] then err.partial = reply.new(raw, call.origin, facts) end
  return err
end

--- What came of it; once, after the end. Frees the exchange.
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Call:result(awaited)
  local exchange = self.exchange
  local raw, failure = exchange:result()
  local facts = {
    request_id = exchange:header "x-request-id" or exchange:header "request-id",
    ratelimit = ratelimit(exchange),
    attempts = self.attempts,
  }
  self.attempts[1] = {
    kind = failure and failure.kind, code = failure and failure.code, status = failure and failure.status,
    phase = failure and failure.phase, request_id = facts.request_id, timing = raw.timing,
    model = self.model, origin = self.origin,
  }
  local answer, err
  if failure then err = error_of(self, raw, failure, facts) else answer = reply.new(raw, self.origin, facts) end
  -- a closed one would never wake the reader that is parked on it
  if failure and not awaited then exchange:close() end
  if self.hooks or self.log then
    notify(self, "done", { reply = answer, err = err and err.safe_message, kind = err and err.kind })
  end
  if err then return errors.fail(err) end
  return answer
end

return M
