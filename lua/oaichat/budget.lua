--- budget: how much money, how many tokens, requests and seconds a session, a user or a
-- turn may use. A call holds what it may need before it is sent, so that calls side by
-- side cannot all pass on the same remainder; what streams in is counted as it comes;
-- the end puts what it was in the place of the estimate. Lives in this process.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local lru = require "oaichat.lru"
local options = require "oaichat.options"
local prices = require "oaichat.prices"
local spent = require "oaichat.budget.spent"
local tables = require "oaichat.tables"

local M = {}

--- What a token is taken for while an answer streams in: bytes of UTF-8 (OpenAI's help
--- centre, "What are tokens and how to count them?": about 4 characters of English).
M.BYTES_PER_TOKEN = 4

local Budget = {}
Budget.__index = Budget
Budget.__name = "oaichat.Budget"

local Hold = {}
Hold.__index = Hold
Hold.__name = "oaichat.Hold"

-- ---- whose -------------------------------------------------------------------------

local function new_entry(budget)
  return {
    spent = spent.new(budget._window), money = 0, tokens = 0, requests = 0, starts = 0, live = {},
  }
end

-- Lets go of those unused for longest; never of one with calls under way.
local function shrink(budget, entries, newest)
  for key, entry in entries:each() do
    if entries.count <= budget._scopes then return end
    if entry.requests == 0 and entry ~= newest then entries:remove(key) end
  end
end

-- A table as a scope lives as long as its owner holds it. Those without a name share one.
local function entry_of(budget, scope)
  local key = scope[budget._per]
  if key == nil then key = "" end
  if type(key) == "table" then
    local entry = budget._objects[key] or new_entry(budget)
    budget._objects[key] = entry
    return entry
  end
  local entry = budget._entries:get(key)
  if entry then return entry end
  entry = new_entry(budget)
  budget._entries:put(key, entry)
  shrink(budget, budget._entries, entry)
  return entry
end

-- ---- calls under way -----------------------------------------------------------------

-- What a call is held for: tokens that go in, tokens that come out, or came so far.
local function estimate(record)
  local output = math.max(record.output, math.ceil(record.bytes / M.BYTES_PER_TOKEN))
  local price = record.price
  return record.input + output, price and (record.input * price.input + output * price.output) / 1e6 or 0
end

local function hold_back(entry, record)
  local tokens, money = estimate(record)
  entry.tokens, entry.money = entry.tokens + tokens - record.tokens, entry.money + money - record.money
  record.tokens, record.money = tokens, money
end

local function let_go(entry, record)
  entry.live[record] = nil
  entry.requests, entry.starts = entry.requests - 1, entry.starts - record.start
  entry.tokens, entry.money = entry.tokens - record.tokens, entry.money - record.money
  -- so that no remainder of many additions stays
  if entry.requests == 0 then entry.tokens, entry.money, entry.starts = 0, 0, 0 end
end

-- What was not used, or is known, does not count as it was held; where an answer has
-- begun, what came stands for the output that was held.
local function charge(budget, entry, record, stop, usage)
  let_go(entry, record)
  if record.bytes > 0 then record.output = 0 end
  local tokens, money = estimate(record)
  entry.spent:add(budget._clock(), {
    money = record.price and prices.cost("this", usage, { this = record.price }) or money,
    tokens = prices.read(usage).tokens or tokens, requests = 1, seconds = math.max(0, stop - record.start),
  })
end

-- A hold that was dropped unsettled: its request may have gone out, the estimate stands.
local function sweep(budget, entry)
  for record in pairs(entry.live) do
    if not record.hold[1] then charge(budget, entry, record, record.seen) end
  end
end

local function used(entry, now)
  local sum = entry.spent:sum(now)
  return {
    money = sum.money + entry.money, tokens = sum.tokens + entry.tokens, requests = sum.requests + entry.requests,
    seconds = sum.seconds + entry.requests * now - entry.starts,
  }
end

-- ---- limits --------------------------------------------------------------------------

local SHOWN = {
  money = function(value) return ("$%.6g"):format(value) end,
  tokens = function(value) return ("%.0f tokens"):format(value) end,
  requests = function(value) return ("%.0f requests"):format(value) end,
  seconds = function(value) return ("%.4g s"):format(value) end,
}

local function refuse(budget, entry, name, wanted, now)
  local limit, gone, show = budget._limits[name], entry.spent:sum(now)[name], SHOWN[name]
  local all = used(entry, now)[name]
  local message = ("the budget of %s a %s%s is used up: %s spent"):format(show(limit), budget._per,
    budget._window and (" in %g s"):format(budget._window) or "", show(gone))
  if all - gone > 0 then message = ("%s, %s in calls under way"):format(message, show(all - gone)) end
  if wanted > 0 then message = ("%s, %s wanted"):format(message, show(wanted)) end
  return errors.fail {
    kind = "budget", code = name, message = message, limit = limit, spent = gone, reserved = all - gone,
    wanted = wanted, retry_after = wanted <= limit and limit > 0
      and entry.spent:wait(now, name, math.max(all + wanted - limit, limit * 1e-9)) or nil,
  }
end

-- Sums of dollars are not exact.
local function beyond(value, limit)
  return value > limit * (1 + 1e-9)
end

local function first_beyond(budget, entry, wanted, now)
  local sum = used(entry, now)
  for _, name in ipairs(spent.NAMES) do
    local limit, more = budget._limits[name], wanted[name]
    if limit and more and (beyond(sum[name] + more, limit) or not beyond(limit, sum[name])) then return name end
  end
end

local UNKNOWN = "the model %s has no price that is known, and there is a budget of money: give it one in prices, "
  .. "or set unknown = \"allow\""

local FREE = { input = 0, output = 0 }

-- The price a call is held at; nil alone: it does not count.
local function price_of(budget, model)
  if not budget._limits.money then return nil end
  local price = prices.of(model, budget._prices)
  if price or budget._allow then return price end
  local shown = #tostring(model) > 60 and tostring(model):sub(1, 60) .. "..." or tostring(model)
  return errors.fail {
    kind = "budget", code = "unknown_price",
    message = UNKNOWN:format((shown:gsub("[%c\128-\255]", "?"))),
  }
end

local WANTED = { tokens = "number", output = "number", model = "string" }

--- Holds what a call may need, until it is settled or released.
--- @param scope table session, user, turn: strings, or tables of the caller; what is missing shares one budget
--- @param wanted table|nil tokens: what goes in (and comes out, where the caller knows), estimated; output: tokens to
---   hold for the answer; model
--- @return oaichat.Hold|nil hold, string|nil message, oaichat.Error|nil err kind "budget"; code "money", "tokens",
---   "requests", "seconds" (with limit, spent, reserved, wanted; retry_after where a window will let go) or
---   "unknown_price"
function Budget:reserve(scope, wanted)
  wanted = wanted or {}
  options.check(wanted, WANTED)
  local price, why, err = price_of(self, wanted.model)
  if err then return nil, why, err end
  local entry, now = entry_of(self, scope), self._clock()
  local record = {
    input = wanted.tokens or 0, output = wanted.output or 0, bytes = 0, price = price, start = now, seen = now,
    tokens = 0, money = 0,
  }
  local tokens, money = estimate(record)
  local need = { tokens = tokens, requests = 1, seconds = 0 }
  -- what costs nothing goes on when the money is gone
  local paid = price or FREE
  if paid.input > 0 or paid.output > 0 then need.money = money end
  local name = first_beyond(self, entry, need, now)
  if name then
    sweep(self, entry)
    name = first_beyond(self, entry, need, now)
    if name then return refuse(self, entry, name, need[name], now) end
  end
  entry.live[record] = true
  entry.requests, entry.starts = entry.requests + 1, entry.starts + now
  hold_back(entry, record)
  local hold = setmetatable({ _budget = self, _entry = entry, _record = record }, Hold)
  record.hold = setmetatable({ hold }, { __mode = "v" })
  return hold
end

--- A piece of the answer has come, of whatever kind.
--- @param text string|nil nil: only the time is looked at
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err the answer has gone beyond the budget: stop it
function Hold:feed(text)
  if self._over then return errors.fail(self._over) end
  if self._ended then return true end
  local budget, entry, record = self._budget, self._entry, self._record
  local now = budget._clock()
  record.bytes, record.seen = record.bytes + #(text or ""), now
  hold_back(entry, record)
  local sum, limits = used(entry, now), budget._limits
  for _, name in ipairs { "money", "tokens", "seconds" } do
    local counts = name ~= "money" or record.price
    if counts and limits[name] and beyond(sum[name], limits[name]) then
      local _, _, err = refuse(budget, entry, name, 0, now)
      self._over = err
      return errors.fail(err)
    end
  end
  return true
end

--- Seconds until the budget's time is over, the other calls under way counted.
--- @return number|nil seconds nil: it has no limit of time
function Hold:left()
  local budget, entry = self._budget, self._entry
  local limit, now = budget._limits.seconds, budget._clock()
  if not limit then return nil end
  return math.max(0, limit - used(entry, now).seconds) / math.max(1, entry.requests)
end

--- The call has ended. Without a usage, or where it has no price, the estimate stands.
--- @param usage table|nil the wire's
function Hold:settle(usage)
  if self._ended then return end
  self._ended = true
  charge(self._budget, self._entry, self._record, self._budget._clock(), usage)
end

--- The call was never sent: nothing is spent.
function Hold:release()
  if self._ended then return end
  self._ended = true
  let_go(self._entry, self._record)
end

--- @param scope table
--- @return table amounts money (US dollars), tokens, requests, seconds: what is spent; reserved: the same of the calls
---   under way
function Budget:spent(scope)
  local entry, now = entry_of(self, scope), self._clock()
  sweep(self, entry)
  local sum, all, out = entry.spent:sum(now), used(entry, now), { reserved = {} }
  for _, name in ipairs(spent.NAMES) do out[name], out.reserved[name] = sum[name], all[name] - sum[name] end
  return out
end

--- Counts what was spent elsewhere: before this process began, say, by a ledger's sums.
--- @param scope table
--- @param amounts table money, tokens, requests, seconds
function Budget:spend(scope, amounts)
  options.check(amounts, { money = "number", tokens = "number", requests = "number", seconds = "number" })
  entry_of(self, scope).spent:add(self._clock(), amounts)
end

--- Begins anew for one session, user or turn. Calls under way do not count any more.
--- @param scope table
function Budget:forget(scope)
  local key = scope[self._per]
  if type(key) == "table" then self._objects[key] = nil else self._entries:remove(key == nil and "" or key) end
end

local KNOWN = {
  money = "number", tokens = "number", requests = "number", seconds = "number", per = "string", window = "number",
  unknown = "string", prices = "table", scopes = "number", clock = "function",
}

--- @param opts table the limits: money (US dollars), tokens, requests, seconds (of calls, each counted where they run
---   side by side); per "session" (default), "user" or "turn"; window: seconds, only what was spent in them counts
---   (it slides in steps of 1/60); unknown "refuse" (default) or "allow": calls to models without a price under a
---   limit of money; prices: instead of ours; scopes: of how many to remember what they spent, 100000; clock: seconds
--- @return oaichat.Budget|nil budget, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  options.check(opts, KNOWN)
  local per, unknown = opts.per or "session", opts.unknown or "refuse"
  if per ~= "session" and per ~= "user" and per ~= "turn" then
    errors.misuse('per: "session", "user" or "turn" expected')
  end
  if unknown ~= "refuse" and unknown ~= "allow" then errors.misuse 'unknown: "refuse" or "allow" expected' end
  local limits = { money = opts.money, tokens = opts.tokens, requests = opts.requests, seconds = opts.seconds }
  if next(limits) == nil then errors.misuse "one of money, tokens, requests and seconds expected" end
  local wrong = options.bad_number(limits, "budget.")
    or options.bad_number({ window = opts.window, scopes = opts.scopes }, "budget.", true)
  if wrong then return errors.fail { kind = "config", message = wrong } end
  return setmetatable({
    _limits = limits, _per = per, _window = opts.window, _allow = unknown == "allow",
    _prices = opts.prices and prices.check(opts.prices), _scopes = opts.scopes or 100000,
    _clock = opts.clock or core.now, _entries = lru.new(), _objects = setmetatable({}, { __mode = "k" }),
  }, Budget)
end

-- ---- several at once -------------------------------------------------------------------

local Both = {}
Both.__index = Both

local Holds = {}
Holds.__index = Holds

--- Holds of all, or of none.
function Both:reserve(scope, wanted)
  local holds = setmetatable({}, Holds)
  for i, budget in ipairs(self) do
    local hold, why, err = budget:reserve(scope, wanted)
    if not hold then
      holds:release()
      return nil, why, err
    end
    holds[i] = hold
  end
  return holds
end

function Holds:feed(text)
  local message, err
  for _, hold in ipairs(self) do
    local ok, why, failure = hold:feed(text)
    if not ok then message, err = message or why, err or failure end
  end
  if err then return nil, message, err end
  return true
end

function Holds:left()
  local least
  for _, hold in ipairs(self) do
    local seconds = hold:left()
    if seconds and (not least or seconds < least) then least = seconds end
  end
  return least
end

function Holds:settle(usage)
  for _, hold in ipairs(self) do hold:settle(usage) end
end

function Holds:release()
  for _, hold in ipairs(self) do hold:release() end
end

--- Several budgets as one: each must have room, the first that has none says so.
--- @param budgets oaichat.Budget[]
--- @return table budget with reserve
function M.all(budgets)
  return setmetatable(tables.merged(budgets), Both)
end

return M
