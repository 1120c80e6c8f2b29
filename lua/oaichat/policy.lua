--- policy: what stands between a session and its requests where its options ask for
--- it: the ladder of fallbacks, the cache, the limiter, the budget, the ledger. Made once
--- a session; each request of a turn gets a call of it.

local accounts = require "oaichat.account"
local later = require "oaichat.later"
local budgets = later "oaichat.budget"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local ledgers = require "oaichat.ledger"
local limiters = later "oaichat.limiter"
local message = require "oaichat.message"
local route = require "oaichat.route"
local steps = require "oaichat.route.steps"
local tables = require "oaichat.tables"
local wires = require "oaichat.wires"

local M = {}

--- Bytes of a request that count as one token where only an estimate is needed.
local TOKEN_BYTES = 4

local Policy = {}
Policy.__index = Policy

-- An object, or the options of one.
local function made(module, given)
  if given == nil or getmetatable(given) then return given end
  return module.new(given)
end

-- The same; what the session knows of prices it knows too.
local function priced(module, given, opts)
  if type(given) ~= "table" or getmetatable(given) then return given or nil end
  return module.new(tables.merged({ prices = opts.prices }, given))
end

--- @param first table the session's own step
--- @param opts table of chat.new; none of it is kept that could be a secret
--- @return oaichat.Policy|nil policy, string|nil message, oaichat.Error|nil err kind "config"
function M.new(first, opts)
  local self = setmetatable({
    id = opts.id or core.random(8), _user = opts.user, _route_wait = opts.route_wait, _cache = opts.cache or nil,
  }, Policy)
  if opts.cache == true then errors.misuse "cache: a cache expected, as chat.cache.memory {} makes one" end
  local why, err
  self._steps, why, err = steps.new(first, opts)
  if not self._steps then return nil, why, err end
  self._limiter, why, err = made(limiters, opts.limiter)
  if err then return nil, why, err end
  local ledger = opts.ledger
  if ledger == nil or ledger == true then ledger = {} end
  self.ledger, why, err = priced(ledgers, ledger, opts)
  if err then return nil, why, err end
  self._budget, why, err = priced(budgets, opts.budget, opts)
  if err then return nil, why, err end
  return self
end

--- What the requests of one turn have in common.
--- @return table scope
function Policy:scope(turn)
  return { session = turn.session.id or self.id, user = self._user, turn = turn, cost = 0 }
end

--- Forgets a user: cached answers, rows and sums.
--- @param user string
function Policy:forget(user)
  if self._cache then self._cache:forget(user) end
  if self.ledger then self.ledger:forget { user = user } end
end

local function size_of(parts)
  local bytes = 0
  for _, part in ipairs(parts) do bytes = bytes + #part end
  return bytes
end

-- Tokens that go in, and that may come out where the request says so.
local function estimate(parts, params)
  local most = wires.most_tokens(params)
  return math.ceil(size_of(parts) / TOKEN_BYTES), type(most) == "number" and most or 0
end

local function asked_of(step, request)
  local asked = request.asked
  if not step.model and not step.params then return asked end
  local params = asked.params
  if step.format and step.format ~= request.wire then params = wires.carried(params, step.format) end
  return tables.merged(asked, { model = step.model or asked.model, params = tables.merged(params, step.params) })
end

-- The cost of an answer is that of all its attempts; an attempt that was refused cost
-- nothing, one that nobody knows the tokens of makes it unknown.
local function add_cost(scope, row)
  if row.cost then
    if scope.cost then scope.cost = scope.cost + row.cost end
  elseif not row.kind then
    scope.cost = nil
  end
end

-- What each attempt of a step is held against.
function Policy:_account(request, step, circuit, parts)
  local ledger, scope, asked = self.ledger, request.scope, asked_of(step, request)
  local input, output = estimate(parts, asked.params)
  return accounts.new {
    identity = step.core:identity(asked.model), model = asked.model, origin = step.origin, scope = scope,
    input = input, output = output, engine = request.options.engine, stop_at = request.options.stop_at,
    limiter = self._limiter, budget = self._budget, circuit = circuit, ledger = ledger and {
      add = function(_, row) add_cost(scope, ledger:add(row)) end,
    },
  }
end

function Policy:_note_cached(request, step)
  if not self.ledger then return end
  self.ledger:add {
    session = request.scope.session, user = self._user, model = asked_of(step, request).model,
    origin = step.origin, attempt = 0, cached_reply = true, cost = 0, via = "cache",
  }
end

local function prefilled(talk)
  local last = talk.added and talk.added[#talk.added] or talk.messages[#talk.messages]
  return last and last.role == "assistant"
end

--- A call for one request; it has not begun.
--- @param request table talk (conversation), asked (options of the wire), wire, options (of attempts), scope,
---   cache (false: not this one)
function Policy:call(request)
  local talk, asked = request.talk, request.asked
  local plan = {
    steps = self._steps, options = request.options, commit = request.commit, hedge = request.hedge,
    route_wait = self._route_wait, tenant = self._user, prefilled = prefilled(talk),
    cache = request.cache ~= false and not asked.tools and self._cache or nil,
  }
  if asked.tools then plan.hedge = nil end
  function plan.model(step) return asked_of(step, request).model end
  function plan.render(step)
    return (step.format or request.wire).render(tables.merged(talk, { origin = step.origin }), asked_of(step, request))
  end
  function plan.account(step, _, circuit, parts) return self:_account(request, step, circuit, parts) end
  function plan.note_cached(step) self:_note_cached(request, step) end
  function plan.conversation()
    local list = tables.add(message.copy(talk.messages), message.copy(talk.added or {}))
    if talk.system then table.insert(list, 1, { role = "system", content = talk.system }) end
    return list
  end
  return route.new(plan)
end

return M
