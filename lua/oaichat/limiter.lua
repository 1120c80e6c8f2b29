--- limiter: how many requests and tokens may go out, shared by all sessions that are
--- given it. Each route (base URL with its path, key, model) has its own count. Who must
--- wait parks; the order is that of asking, so that nobody is overtaken. What real
--- answers say of the server's own limits is heeded.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local later = require "oaichat.later"
local lru = require "oaichat.lru"
local options = require "oaichat.options"
local shared = later "oaichat.limiter.redis"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local M = {}

--- Routes whose counts are remembered.
M.KEPT = 10000

-- Nobody sleeps longer without looking again, seconds.
local LOOK = 60

--- @class oaichat.Limiter
local Limiter = {}
Limiter.__index = Limiter
Limiter.__name = "oaichat.Limiter"

--- The right to send one request.
local Ticket = {}
Ticket.__index = Ticket

-- ---- the count of this process ---------------------------------------------------------

local Count = {}
Count.__index = Count

local function new_count(rule)
  return setmetatable({ limit = core.limit(rule), cool_until = 0 }, Count)
end

-- Seconds to wait, 0: it is counted; nil: never.
function Count:take(tokens)
  local now = core.now()
  if now < self.cool_until then return self.cool_until - now end
  return self.limit:take(now, tokens), now
end

function Count:eta(requests, tokens)
  local now = core.now()
  return math.max(self.limit:eta(now, requests, tokens), self.cool_until - now)
end

function Count:give_back(at, requests, tokens)
  self.limit:give_back(core.now(), at, requests, tokens)
end

function Count:learn(kind, left, reset)
  self.limit:learn(core.now(), kind, left, reset)
end

function Count:cool(seconds)
  self.cool_until = math.max(self.cool_until, core.now() + seconds)
end

-- ---- waiting -----------------------------------------------------------------------------

local function entry_of(limiter, identity)
  local entry = limiter._entries:get(identity)
  if entry then return entry end
  local count = new_count(limiter._rule)
  if limiter._shared then count = limiter._shared:count(identity, count) end
  entry = { count = count, queue = {} }
  limiter._entries:put(identity, entry)
  local old, last = limiter._entries:oldest()
  if limiter._entries.count > M.KEPT and not last.queue[1] then limiter._entries:remove(old) end
  return entry
end

local function refuse(limiter, seconds)
  local err = errors.new {
    kind = "rate_limit", code = "limit",
    message = ("our limit of %s is used up: it would take %.3g s"):format(limiter._words, seconds),
  }
  err.retry_after = seconds
  return errors.fail(err)
end

local function too_small(limiter, tokens)
  return errors.fail {
    kind = "rate_limit", code = "limit_too_small",
    message = ("a request of some %d tokens is more than our limit of %s ever lets through")
      :format(tokens, limiter._words),
  }
end

local function leave(entry, place)
  for i, one in ipairs(entry.queue) do
    if one == place then table.remove(entry.queue, i) end
  end
  local first = entry.queue[1]
  if first and first.timer then first.timer:fire() end
end

-- What all who came before want, and the place itself.
local function wanted_before(entry, place)
  local tokens = 0
  for i, one in ipairs(entry.queue) do
    tokens = tokens + one.tokens
    if one == place then return i, tokens end
  end
end

-- Parks; false: canceled.
local function sleep(place, seconds)
  local engine, waiter = place.engine, place.waiter
  place.timer = engine.core:timer(math.min(seconds, LOOK))
  waiter.timer = place.timer -- what cancels the waiter fires it
  local ok = engine:await(place.timer)
  place.timer:close()
  place.timer, waiter.timer = nil, nil
  return ok and not waiter.canceled
end

-- Seconds to wait: of the first in the queue those that the count says.
local function look(entry, place)
  if entry.queue[1] == place then
    local seconds, at = entry.count:take(place.tokens, place.engine)
    return seconds, at, seconds
  end
  return LOOK, nil, entry.count:eta(wanted_before(entry, place))
end

-- Waits for the place's turn.
local function await(limiter, entry, place, stop_at)
  while true do
    local seconds, at, least = look(entry, place)
    if place.waiter.canceled then
      if seconds == 0 then entry.count:give_back(at, 1, place.tokens) end
      return errors.fail { kind = "canceled", code = "canceled" }
    end
    if seconds == false then return errors.fail(at) end -- nobody can say
    if not seconds then return too_small(limiter, place.tokens) end
    if seconds == 0 then return at end
    local left = stop_at - core.now()
    if least > left or left <= 0 then return refuse(limiter, least) end
    if not sleep(place, math.min(seconds, left)) then return errors.fail { kind = "canceled", code = "canceled" } end
  end
end

--- Asks for one request; waits for its turn.
--- @param identity string of the route
--- @param tokens number of the request and its answer, estimated
--- @param opts table engine (scheduler), stop_at (monotonic seconds; nil: max_wait alone), waiter: { canceled, timer }:
---   who cancels it sets canceled and fires the timer
--- @return table|nil ticket settle(tokens) when the answer is there, release() when nothing was sent
--- @return string|nil message
--- @return oaichat.Error|nil err kind "rate_limit" at once when the wait would be too long, with retry_after, code
---   "limit"; or never ends, "limit_too_small"; "canceled"
function Limiter:acquire(identity, tokens, opts)
  local entry = entry_of(self, identity)
  local place = { tokens = tokens, engine = opts.engine, waiter = opts.waiter or {} }
  entry.queue[#entry.queue + 1] = place
  local stop_at = math.min(opts.stop_at or math.huge, core.now() + (self._max_wait or math.huge))
  local fine, at, text, err = wait.pcall(await, self, entry, place, stop_at)
  leave(entry, place)
  if not fine then error(at, 0) end
  if not at then return nil, text, err end
  return setmetatable({ count = entry.count, at = at, tokens = tokens }, Ticket)
end

--- The answer is there.
--- @param used number|nil tokens; nil: nobody knows, the estimate stands
function Ticket:settle(used)
  if not self.over and used then self.count:give_back(self.at, 0, self.tokens - used) end
  self.over = true
end

--- Nothing was sent.
function Ticket:release()
  if not self.over then self.count:give_back(self.at, 1, self.tokens) end
  self.over = true
end

--- What an answer said of the server's limits.
--- @param identity string
--- @param facts table ratelimit (of a reply), retry_after (seconds, of a refusal)
--- @param engine table|nil the scheduler that tells the others, where the count is shared
function Limiter:learn(identity, facts, engine)
  local entry, told = entry_of(self, identity), facts.ratelimit or {}
  for _, kind in ipairs { "requests", "tokens" } do
    local left, reset = told["remaining_" .. kind], told["reset_" .. kind]
    if left and reset then entry.count:learn(kind, left, reset, engine) end
  end
  if facts.retry_after and facts.retry_after > 0 then entry.count:cool(facts.retry_after, engine) end
end

-- ---- new -----------------------------------------------------------------------------------

local KNOWN = {
  requests = "number", tokens = "number", per = "number", algorithm = "string", burst = "number", max_wait = "number",
  redis = "string|table", prefix = "string", fail = "string", timeout = "number",
}

local function words_of(opts)
  local parts = {}
  for _, kind in ipairs { "requests", "tokens" } do
    if opts[kind] then parts[#parts + 1] = ("%g %s"):format(opts[kind], kind) end
  end
  return ("%s in %g s"):format(table.concat(parts, " and "), opts.per or 1)
end

local function wrong_value(opts)
  local wrong = options.bad_number({
    requests = opts.requests, tokens = opts.tokens, per = opts.per, burst = opts.burst, timeout = opts.timeout,
  }, "limiter.", true) or options.bad_number({ max_wait = opts.max_wait }, "limiter.")
  if wrong then return wrong end
  if not opts.requests and not opts.tokens then return "limiter: requests or tokens expected" end
  if opts.burst and opts.burst > 1 then return "limiter.burst is a part of the limit, more than 0 and up to 1" end
  if opts.algorithm and opts.algorithm ~= "window" and opts.algorithm ~= "bucket" then
    return 'limiter.algorithm is "window" or "bucket"'
  end
  if opts.fail and opts.fail ~= "open" and opts.fail ~= "closed" then return 'limiter.fail is "open" or "closed"' end
end

--- @param opts table requests and tokens in `per` seconds (1); algorithm "window" (default: never more in any `per`
---   seconds) or "bucket" (refills evenly; burst: the part of a limit that may go at once, 1); max_wait: seconds that
---   anyone waits at most; redis (URL, or a client of oaichat.resp): the count is shared by all machines, prefix
---   ("oaichat:limit:"), timeout of a question (0.1 s), fail "open" (default: then the count of this process holds) or
---   "closed"
--- @return oaichat.Limiter|nil limiter, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  options.check(opts, KNOWN, "limiter.")
  local wrong = wrong_value(opts)
  if wrong then return errors.fail { kind = "config", code = "config", message = wrong } end
  local rule = tables.merged(opts)
  rule.window = opts.algorithm ~= "bucket"
  local self = setmetatable({
    _rule = rule, _max_wait = opts.max_wait, _words = words_of(opts), _entries = lru.new(),
  }, Limiter)
  if opts.redis then
    local why, err
    self._shared, why, err = shared.new(opts, rule)
    if not self._shared then return nil, why, err end
  end
  return self
end

return M
