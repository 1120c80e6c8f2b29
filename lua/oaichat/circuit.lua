--- circuit: whether a route may be asked now: it cools down for as long as its server
--- asked, and after failures in a row it is left alone for a while, then tried by one
--- request. One a route in this Lua state, whoever uses it. The clock may be passed in.

local core = require "oaichat.core"
local lru = require "oaichat.lru"

local M = {}

--- Failures in a row that open it; for how long at first and at most, seconds.
M.FAILURES, M.OPEN, M.OPEN_MAX = 3, 30, 300

--- A probe that never came back does not close the route for ever, seconds.
M.PROBE = 600

--- Routes that are remembered; those used last.
M.KEPT = 1000

--- @class oaichat.Circuit
local Circuit = {}
Circuit.__index = Circuit

local circuits = lru.new()

--- The circuit of a route.
--- @param identity string
--- @return oaichat.Circuit
function M.of(identity)
  local circuit = circuits:get(identity)
  if circuit then return circuit end
  circuit = setmetatable({ failures = 0, opened = 0, closed_until = 0, cool_until = 0 }, Circuit)
  circuits:put(identity, circuit)
  if circuits.count > M.KEPT then circuits:remove((circuits:oldest())) end
  return circuit
end

--- @param now number|nil monotonic seconds
--- @return number seconds until it may be asked; 0: now
function Circuit:wait(now)
  now = now or core.now()
  return math.max(self.cool_until - now, self.closed_until - now, 0)
end

--- Claims the right to ask: of a route that was open that is one at a time.
--- @param who table|nil once it is collected the claim is void
--- @return boolean
function Circuit:enter(now, who)
  now = now or core.now()
  if self:wait(now) > 0 then return false end
  if self.opened == 0 then return true end
  if self.probe and now - self.probe < M.PROBE and self.prober.who then return false end
  self.probe, self.prober = now, setmetatable({ who = who or self }, { __mode = "v" })
  return true
end

--- It answered.
function Circuit:succeeded()
  self.failures, self.opened, self.probe, self.closed_until = 0, 0, nil, 0
end

--- It failed; a probe that fails opens it for twice as long.
function Circuit:failed(now)
  now = now or core.now()
  self.failures = self.failures + 1
  if not self.probe and self.failures < M.FAILURES then return end
  if self.probe or self.opened == 0 then
    self.closed_until = now + math.min(M.OPEN * 2 ^ self.opened, M.OPEN_MAX)
    self.opened = self.opened + 1
  end
  self.probe = nil
end

--- The server asked to be left alone.
--- @param seconds number
function Circuit:cool(seconds, now)
  self.cool_until = math.max(self.cool_until, (now or core.now()) + seconds)
end

--- A request ended without a verdict: the next one may try.
function Circuit:leave()
  self.probe = nil
end

return M
