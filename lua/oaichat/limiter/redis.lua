--- limiter/redis: a route's count in Redis, for machines that share one limit. Each
-- decision is one script, by the server's clock; what it keeps expires, and its key
-- holds nothing but the route's identity (a SHA-256). When Redis fails, the count of
-- this process holds until it is back, or nothing goes (fail = "closed").

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local resp = require "oaichat.resp"
local script = require "oaichat.limiter.script"

local M = {}

--- Seconds in which Redis is not asked again after it failed.
M.PAUSE = 1

local PREFIX, TIMEOUT = "oaichat:limit:", 0.1
local OWED_MAX = 1000

local Store = {}
Store.__index = Store

local Count = {}
Count.__index = Count

-- One connection an engine; it fails at once where the server is known to be down.
local function client_of(store, scheduler)
  if store.given then return store.given end
  local engine = scheduler.core
  local client = store.clients[engine]
  if client then return client end
  client = resp.new {
    url = store.url, engine = engine, timeout = store.timeout, connect_timeout = store.timeout, fail_fast = true,
  }
  store.clients[engine] = client
  return client
end

local function whole(number)
  return ("%.0f"):format(number)
end

local function run(count, scheduler, op, ...)
  local store = count.store
  return client_of(store, scheduler):eval(script, { count.key }, {
    op, whole(store.per), store.requests, store.tokens, store.window, store.burst, ...,
  }, { timeout = store.timeout })
end

-- Says what is owed, in order; what is lost on the way expires by itself.
local function flush(count, scheduler)
  while count.owed[1] and core.now() >= count.store.down_until do
    local one = table.remove(count.owed, 1)
    local _, _, err = run(count, scheduler, one[1], one[2], one[3], one[4])
    if err and err.kind ~= "canceled" then count.store.down_until = core.now() + M.PAUSE end
  end
end

-- For who must not wait: said by a task of its own, or before the next question.
local function owe(count, scheduler, ...)
  if count.owed[OWED_MAX] then table.remove(count.owed, 1) end
  count.owed[#count.owed + 1] = { ... }
  if #count.owed == 1 then scheduler:spawn(flush, count, scheduler)._observed = true end
end

-- Redis cannot be asked: the rule of this process, or none.
local function alone(count, tokens, err)
  if not count.store.closed then return count.own:take(tokens) end
  local failure = errors.new {
    kind = "rate_limit", code = "limiter_down",
    message = "the limiter cannot ask Redis: " .. (err and err.safe_message or "it failed a moment ago"),
  }
  failure.retry_after = math.max(count.store.down_until - core.now(), 0)
  return false, failure
end

--- @return number|nil|false seconds 0: it is counted; nil: never; false: nobody can say
--- @return any at for give_back, or why
function Count:take(tokens, scheduler)
  local store = self.store
  if core.now() < store.down_until then return alone(self, tokens) end
  flush(self, scheduler)
  local reply, _, err = run(self, scheduler, "take", whole(math.ceil(tokens)))
  if err then
    if err.kind == "canceled" then return 1 end -- the caller sees it when it sleeps
    store.down_until = core.now() + M.PAUSE
    if store.log then store.log("warn", "limiter", { error = err.safe_message }) end
    return alone(self, tokens, err)
  end
  local micros = tonumber(reply[1])
  if micros < 0 then return nil end
  if micros > 0 then return micros / 1e6 end
  local _, own = self.own:take(tokens) -- so that it knows when it stands alone
  return 0, { slot = reply[2], time = tonumber(reply[3]) / 1e6, own = own, scheduler = scheduler }
end

function Count:eta(requests, tokens)
  return self.own:eta(requests, tokens)
end

function Count:give_back(at, requests, tokens)
  if type(at) ~= "table" then return self.own:give_back(at, requests, tokens) end
  self.own:give_back(at.own, requests, tokens)
  if requests ~= 0 or tokens ~= 0 then
    owe(self, at.scheduler, "back", at.slot, whole(requests), whole(tokens))
  end
end

--- What the server says is left is for this machine; that nothing is left, for all.
function Count:learn(kind, left, reset, scheduler)
  self.own:learn(kind, left, reset)
  if left == 0 and scheduler then self:cool(math.min(reset, 3600), scheduler) end
end

function Count:cool(seconds, scheduler)
  self.own:cool(seconds)
  if scheduler then owe(self, scheduler, "cool", whole(seconds * 1e6)) end
end

--- A route's count.
--- @param own table the count of this process
function Store:count(identity, own)
  return setmetatable({ store = self, key = self.prefix .. identity, own = own, owed = {} }, Count)
end

--- @param opts table of limiter.new: redis, prefix, timeout, fail
--- @param rule table requests, tokens, per, window, burst
--- @return table|nil store, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts, rule)
  local given = type(opts.redis) == "table" and opts.redis or nil
  if not given then
    local client, why, err = resp.new { url = opts.redis }
    if not client then return nil, why, err end
    client:close()
  end
  return setmetatable({
    given = given, url = opts.redis, clients = setmetatable({}, { __mode = "k" }), prefix = opts.prefix or PREFIX,
    timeout = opts.timeout or TIMEOUT, closed = opts.fail == "closed", down_until = 0,
    per = (rule.per or 1) * 1e6, requests = rule.requests and ("%.17g"):format(rule.requests) or "-1",
    tokens = rule.tokens and ("%.17g"):format(rule.tokens) or "-1", window = rule.window and "1" or "0",
    burst = ("%.17g"):format(rule.burst or 1),
  }, Store)
end

return M
