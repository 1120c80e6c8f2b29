--- account: what a request is held against before it is sent, and where its end is
--- noted: the limiter, the budget, the circuit of its route, the ledger. An attempt gets
--- a ticket and gives it back. Knows none of their policies.

local core = require "oaichat.core"
local prices = require "oaichat.prices"

local M = {}

local Account = {}
Account.__index = Account

local Ticket = {}
Ticket.__index = Ticket

-- What another attempt of this route would meet too. A conversation that is too long
-- says nothing of the route.
local FAULT_OF_ROUTE = {
  network = true, timeout = true, server = true, overloaded = true, rate_limit = true, quota = true,
  authentication = true, permission = true, not_found = true, protocol = true, incomplete_stream = true,
}

--- @param of table identity, model, origin, scope { session, user, turn }, input and output (tokens, estimated),
---   engine, stop_at; and limiter, budget, circuit, ledger: each may be missing
function M.new(of)
  return setmetatable(of, Account)
end

local function feed(ticket, text)
  return ticket.hold:feed(text)
end

-- Fills the ticket; what it holds when it fails is released by the caller.
local function admit(account, ticket, call)
  local why, err
  if account.limiter then
    local patience = call.options.patience
    ticket.grant, why, err = account.limiter:acquire(account.identity, account.input + account.output, {
      engine = account.engine, stop_at = patience and core.now() + patience or account.stop_at, waiter = call,
    })
    if not ticket.grant then return nil, why, err end
  end
  if account.budget then
    ticket.hold, why, err = account.budget:reserve(account.scope, {
      tokens = account.input, output = account.output, model = account.model,
    })
    if not ticket.hold then return nil, why, err end
    ticket.feed = feed
  end
  return true
end

--- The right to send one request. Waits for the limiter.
--- @param call table of attempts: its cancel ends the wait
--- @return table|nil ticket, string|nil message, oaichat.Error|nil err
function Account:enter(call)
  local ticket = setmetatable({ account = self, at = core.now() }, Ticket)
  local ok, why, err = admit(self, ticket, call)
  if ok then return ticket end
  ticket:release()
  return nil, why, err
end

--- Seconds that the budget leaves the attempt; nil: as many as it takes.
--- @return number|nil
function Ticket:left()
  return self.hold and self.hold:left()
end

--- It was never sent.
function Ticket:release()
  if self.grant then self.grant:release() end
  if self.hold then self.hold:release() end
  local circuit = self.account.circuit
  if circuit then circuit:leave() end
end

-- What a budget is charged: a refusal is a request that used no tokens; what never
-- reached the server is none. Of all else without a usage the estimate stands.
local NOTHING = { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 }

local UNSENT = { connect = true, dns = true, tls = true, proxy = true }

local function settle(hold, entry)
  if entry.kind == "network" and UNSENT[entry.code] or entry.phase == "connect" then return hold:release() end
  hold:settle(entry.usage or entry.status and entry.status >= 400 and NOTHING or nil)
end

local function judge(circuit, entry, call)
  if not entry.kind then
    circuit:succeeded()
  elseif FAULT_OF_ROUTE[entry.kind] and not call.canceled then
    circuit:failed()
    if call.asked then circuit:cool(call.asked) end
  else
    circuit:leave()
  end
end

local function row_of(account, entry, call, seconds)
  local scope = account.scope
  return {
    session = scope.session, user = scope.user, route = account.identity, model = account.model,
    origin = account.origin, attempt = call.made, kind = entry.kind, code = entry.code, status = entry.status,
    request_id = entry.request_id, seconds = seconds, usage = entry.usage, via = account.via,
  }
end

--- The attempt has ended.
--- @param entry table of reply.attempts
--- @param call table
function Ticket:leave(entry, call)
  local account = self.account
  if self.grant then self.grant:settle(prices.read(entry.usage).tokens) end
  if self.hold then settle(self.hold, entry) end
  if account.limiter then
    account.limiter:learn(account.identity, {
      status = entry.status, ratelimit = call.ratelimit, retry_after = entry.kind and call.asked or nil,
    }, account.engine)
  end
  if account.circuit then judge(account.circuit, entry, call) end
  if account.ledger then account.ledger:add(row_of(account, entry, call, core.now() - self.at)) end
end

return M
