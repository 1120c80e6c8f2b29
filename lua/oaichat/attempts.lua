--- attempts: from one request to its answer, by as many attempts as the policy
--- allows. An attempt is one exchange of the C core, which also says whether another
--- is worth it; what each met is noted, and what the last one left becomes a reply or
--- an err object.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local keys = require "oaichat.keys"
local observe = require "oaichat.observe"
local ratelimits = require "oaichat.ratelimit"
local reply = require "oaichat.reply"
local later = require "oaichat.later"
local source = require "oaichat.source"
local tables = require "oaichat.tables"
local transfers = later "oaichat.transfer"
local wait = require "oaichat.wait"

local M = {}

local key_sources = keys.sources

local Call = {}
Call.__index = Call

local function notify(call, hook, fields)
  if call.hooks then observe.call(call.log, "hook", call.hooks[hook], fields) end
  observe.tell(call.log, "debug", hook, fields)
end

-- Goes on with an answer where the last exchange stopped.
local function resume(call, wire_options)
  wire_options.method, wire_options.path, wire_options.resume = "GET", call.rest, call.exchange
  return call.session:stream("", wire_options)
end

-- One attempt's exchange. May wait where there is an account: for its limits.
local function exchange_of(call)
  local options = call.options
  if key_sources[call.session] then
    local ok, text, err = keys.ready(call.session)
    if not ok then return nil, text, err end
    if call.canceled then return errors.fail { kind = "canceled", code = "canceled" } end
    if options.stop_at and core.now() >= options.stop_at then
      return errors.fail { kind = "timeout", code = "timeout", phase = "total", message = "the key came too late" }
    end
  end
  if options.account then
    local ticket, text, err = options.account:enter(call)
    if not ticket then return nil, text, err end
    if call.canceled then
      ticket:release()
      return errors.fail { kind = "canceled", code = "canceled" }
    end
    call.ticket = ticket
  end
  local left = options.stop_at and math.max(options.stop_at - core.now(), 0)
  local granted = call.ticket and call.ticket:left()
  if granted then left = math.min(left or granted, granted) end
  local wire_options
  if options.timeouts or call.headers or left or options.resume or options.path then
    wire_options = {
      timeouts = options.timeouts, headers = call.headers, deadline = left, resumable = options.resume ~= nil,
      method = options.method, path = options.path, form = options.form, pull = options.sink ~= nil,
    }
  end
  local exchange, why, failure
  if call.rest then
    exchange, why, failure = resume(call, wire_options)
  elseif options.stream then
    exchange, why, failure = call.session:stream(call.parts, wire_options)
  else
    exchange, why, failure = call.session:send(call.parts, wire_options)
  end
  if exchange then return exchange end
  if call.ticket then call.ticket:release() end
  call.ticket = nil
  return errors.fail { kind = failure.kind, code = failure.code, message = why }
end

-- The server may know the attempts for one: by a key that is the same in all.
local function headers_of(options)
  if not options.idempotency then return options.headers end
  return tables.merged({ ["Idempotency-Key"] = "oaichat-" .. core.random(16) }, options.headers)
end

local function tell_start(call)
  local feeds = call.ticket and call.ticket.feed ~= nil
  local told = call.hooks ~= nil or call.log ~= nil
  -- who must see each piece stands in the way of the fast one
  if feeds or told then
    call.text, call.poll = source.text, Call.seen_poll
    -- what has a receiver is drained into it
    if not (call.options.sink or call.options.progress) then call.drain = source.drain end
  end
  call.untold, call.fed = told, feeds
  if told then notify(call, "attempt", { number = call.made + 1, model = call.model, origin = call.origin }) end
end

--- A call that has not begun: nothing is sent, nothing waits.
--- @param session table of the core
--- @param parts string[] the body
--- @param options table stream, timeouts, stop_at, headers, hooks, log, origin, model, engine, retries,
---   idempotency, read(raw, origin, facts): makes the answer; method, path, form: of the core; sink (write(bytes),
---   rewind()), progress(table): transfer.lua; account (enter(call) -> ticket), attempts: the list to
---   go on with
--- @return table call
function M.new(session, parts, options)
  return setmetatable({
    session = session, parts = parts, options = options, origin = options.origin, hooks = options.hooks,
    log = options.log, model = options.model, attempts = options.attempts or {}, made = 0, fresh = 0,
    headers = headers_of(options),
    exchange = nil, untold = nil, fed = nil, raw = nil, request_id = nil, -- room for them
  }, Call)
end

--- A call whose first exchange somebody else began, with these parts and options.
--- @param exchange table of the core
--- @return table call
function M.adopt(session, parts, options, exchange)
  local call = M.new(session, parts, options)
  call.exchange = exchange
  return call
end

--- Sends the first request. Waits only where the account does.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Call:begin()
  local exchange, why, err = exchange_of(self)
  if not exchange then
    self.refused = err
    return nil, why, err
  end
  self.exchange = exchange
  if self.hooks or self.log then
    notify(self, "request", { model = self.model, origin = self.origin, stream = self.options.stream or false })
  end
  tell_start(self)
  return true
end

--- The next piece of the first choice's text; nil at the end. Waits.
--- @return string|nil
function Call:text()
  local exchange = self.exchange
  while true do
    local text, over = exchange:text()
    if text or over then return text end
    wait.ready(exchange)
  end
end

--- What has come, as exchange:next() gives it; nothing when nothing is there now.
function Call:poll()
  local exchange = self.exchange
  if exchange then return exchange:next() end
end

--- Ended, and nothing is left to read.
function Call:done()
  return not self.exchange or self.exchange:done()
end

local CONTENT = { text = true, reasoning = true, refusal = true, tool_call = true }

-- The same for those who are told of the first content, or of all.
function Call:seen_poll()
  local kind, a, b, c, d, e, f = Call.poll(self)
  if not CONTENT[kind] then return kind, a, b, c, d, e, f end
  if self.untold then
    self.untold = false
    notify(self, "first_content", { kind = kind })
  end
  if self.fed then
    local ok, _, err = self.ticket:feed(kind == "tool_call" and e or a)
    if not ok then
      self.refused = err
      self.exchange:cancel()
    end
  else
    self.text, self.poll, self.drain = nil, nil, nil
  end
  return kind, a, b, c, d, e, f
end

--- What a reader waits for.
function Call:waitable()
  return self.exchange
end

--- Waits until there is something to poll, or the end.
function Call:await()
  wait.ready(self.exchange)
end

--- From now on poll gives the server's own chunks.
function Call:chunks()
  self.exchange:chunks()
end

--- The exchange, where readers may go to it themselves: nobody needs to see what it gives.
function Call:open()
  return not self.fed and self.exchange or nil
end

--- Reads on to the end, handing nothing out but to the call's own receiver.
function Call:drain()
  local exchange = self.exchange
  if self.options.sink or self.options.progress then return transfers.run(self) end
  while not exchange:drain() do wait.ready(exchange) end
end

function Call:cancel()
  self.canceled = true
  if self.exchange then self.exchange:cancel() end
  -- between two attempts, or before the first
  if self.failure or not self.exchange then self.failure = { kind = "canceled", code = "canceled" } end
  if self.timer then self.timer:fire() end
end

-- ---- how an attempt ended ------------------------------------------------------------

-- What broke on the way; what the answer itself says with its 200 it would say again.
local BROKE = { network = true, timeout = true, incomplete_stream = true }
local function broke(failure)
  return failure.phase ~= "total" and (BROKE[failure.kind] or (failure.status or 0) >= 429)
end

-- Where the rest of the answer can be read, after it broke. What came since the last time
-- makes the count of attempts start over. True: what had a rest has none, since it has
-- itself failed.
local function note_rest(call, raw, failure)
  local rest = call.options.resume and broke(failure) and call.options.resume(raw)
  -- what was begun is never asked anew: a 401 or 409 to the GET says nothing of the answer
  if not rest and (failure.status or 0) >= 300 then rest = call.rest end
  if rest and rest ~= call.rest then call.fresh = call.made - 1 end
  local over = call.rest ~= nil and not rest
  call.rest = rest or nil
  return over
end

-- Reads what the exchange left, once, and notes the attempt.
local function conclude(call)
  if call.raw or not call.exchange then return end
  local exchange = call.exchange
  local raw, failure = exchange:result()
  call.raw, call.failure, call.wait, call.asked = raw, failure, nil, nil
  call.request_id = exchange:header("x-request-id", "request-id")
  call.ratelimit = ratelimits.of(exchange)
  call.made = call.made + 1
  local entry = {
    request_id = call.request_id, timing = raw.timing, model = call.model, origin = call.origin, usage = raw.usage,
  }
  if failure then
    entry.kind, entry.code, entry.status, entry.phase = failure.kind, failure.code, failure.status, failure.phase
  end
  call.attempts[#call.attempts + 1] = entry
  if call.fed and entry.phase == "total" then -- whose time is over, the caller's or the budget's?
    local _
    _, _, call.refused = call.ticket:feed()
  end
  local over
  if failure then
    over = note_rest(call, raw, failure)
    local again = call.options.idempotency or call.rest or call.options.method == "GET"
    local rewinds = call.options.sink and call.options.sink.rewind ~= nil
    call.wait, call.asked = exchange:retry(call.made - call.fresh, again, call.rest or rewinds)
    if over then call.wait = nil end
  end
  -- once: with another key the answer may be another, and the attempt does not count
  local begun = over or raw.timing.first_content and not call.rest
  if failure and failure.kind == "authentication" and not begun and not call.rotated and key_sources[call.session] then
    call.rotated, call.rotating = true, true
  end
  if call.ticket then call.ticket:leave(entry, call) end
  call.ticket = nil
end

--- After the exchange's end: what went wrong in the last attempt.
--- @return table|nil failure kind, code, status, phase, message of the core
function Call:failed()
  conclude(self)
  return self.failure
end

--- After the exchange's end: seconds until the next attempt; nil: there is none.
--- @return number|nil
function Call:pause()
  conclude(self)
  local options = self.options
  if self.rotating and not self.canceled and not self.refused then return 0 end
  if not self.wait or self.canceled or self.refused or self.made - self.fresh > options.retries then return nil end
  if options.stop_at and core.now() + self.wait >= options.stop_at then return nil end
  if self.delivered and not options.sink.rewind then return nil end
  return self.wait
end

--- Waits, and starts the next attempt.
--- @return boolean|nil true; nil when it was canceled, or could not start: result() says how it went
function Call:again()
  local pause = self:pause()
  if not pause then return nil end
  if self.rotating then
    self.rotating = nil
    -- another call may have changed it meanwhile
    if not self.exchange:rekeyed() and not keys.rotate(self.session) or self.canceled then return nil end
    self.fresh = self.made
  end
  self.attempts[#self.attempts].waited = pause
  self.timer = self.options.engine.core:timer(pause)
  local ok = self.options.engine:await(self.timer)
  self.timer:close()
  self.timer = nil
  if not ok or self.canceled then
    self.failure = { kind = "canceled", code = "canceled" }
    return nil
  end
  if self.delivered and not transfers.again(self) then return nil end
  local exchange, _, err = exchange_of(self)
  if not exchange then
    self.refused = err
    return nil
  end
  self.exchange:close()
  self.exchange, self.raw, self.failure = exchange, nil, nil
  tell_start(self)
  return true
end

local function error_of(call)
  local err = call.refused or errors.new(call.failure or { kind = "canceled", code = "canceled" })
  err.request_id, err.attempts, err.ratelimit = call.request_id, call.attempts, call.ratelimit
  err.retry_after = err.retry_after or call.asked
  local choices = call.raw and call.raw.choices
  if choices and choices[1] then err.partial = reply.new(call.raw, call.origin, call) end
  return err
end

--- What came of it; once, after the end. Frees the exchange.
--- @param awaited boolean|nil somebody is parked on it: it must stay
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Call:result(awaited)
  conclude(self)
  local answer, err
  if not self.raw or self.failure or self.refused then
    err = error_of(self)
  elseif self.options.read then
    answer = self.options.read(self.raw, self.origin, {
      request_id = self.request_id, ratelimit = self.ratelimit, attempts = self.attempts,
    })
  else
    answer = reply.new(self.raw, self.origin, self)
  end
  -- at once: the next request takes over what it leaves ready. A closed one would never
  -- wake the reader that is parked on it
  if self.exchange and not awaited then
    self.exchange:done_with()
    self.exchange = nil
  end
  if self.hooks or self.log then
    notify(self, "done", { reply = answer, err = err and err.safe_message, kind = err and err.kind })
  end
  if err then return errors.fail(err) end
  return answer
end

return M
