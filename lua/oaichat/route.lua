--- route: the ladder: when a route has failed for good, the next one answers in its
--- place: another model, another provider, the cache, a person, a fixed text. It looks
--- like a call of attempts; how each step does its part is in route/kinds.lua.
--
-- In a stream what comes is held back until the commit window is over: a switch before
-- that is invisible. After it a switch happens only where a restart event can say so.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local hedges = require "oaichat.route.hedge"
local kinds = require "oaichat.route.kinds"
local source = require "oaichat.source"
local wait = require "oaichat.wait"

local unpack = table.unpack or unpack

local M = {}

--- A pause that the server asked for is not waited out, seconds, where another route is there.
M.PATIENCE = 2

local Ladder = {}
Ladder.__index = Ladder
Ladder.drain = source.drain

local NEXT = {
  network = true, timeout = true, server = true, overloaded = true, rate_limit = true, quota = true,
  authentication = true, permission = true, not_found = true, context_length = true, protocol = true,
  incomplete_stream = true,
}

local CONTENT = { text = true, reasoning = true, refusal = true, tool_call = true, chunk = true }

-- Some models refuse a conversation that ends with words of the assistant; others
-- go on with them.
local function prefill_refused(plan, failure)
  if failure.kind ~= "invalid_request" or not plan.prefilled then return false end
  local text = (failure.detail or failure.message or ""):lower()
  return text:find("prefill", 1, true) ~= nil or text:find "assistant" ~= nil
end

local function moves_on(ladder, failure)
  if failure.phase == "total" then return false end
  return NEXT[failure.kind] or prefill_refused(ladder.plan, failure)
end

-- ---- which step ----------------------------------------------------------------------

-- A call that has begun while it was canceled.
local function drop(call)
  if not call then return end
  call:cancel()
  call:result()
end

-- The first step from `from` on that can be entered; when none can, `refused` says why.
local function enter(ladder, from, failure)
  local cooling
  for at = from, #ladder.plan.steps do
    local step = ladder.plan.steps[at]
    local call, err, seconds = kinds[step.kind](ladder, step, failure)
    if ladder.canceled then
      drop(call)
      break
    end
    if call then
      ladder.at, ladder.cur, ladder.refused = at, call, nil
      return true
    end
    -- what was asked says more than what was not; of those that cool down the first one back
    if not seconds then
      failure = err or failure
    elseif not failure or failure.code == "cooling" and seconds < failure.retry_after then
      failure = err
    end
    if seconds then cooling = math.min(cooling or seconds, seconds) end
    if err and not moves_on(ladder, err) then break end
  end
  if ladder.canceled then failure = errors.new { kind = "canceled", code = "canceled" } end
  ladder.refused = failure
  return nil, cooling
end

-- All that is left cools down: waits for the first of them where that is allowed.
local function enter_or_wait(ladder, from, failure)
  local ok, cooling = enter(ladder, from, failure)
  if ok or not cooling or ladder.canceled then return ok end
  local plan = ladder.plan
  local left = plan.options.stop_at and plan.options.stop_at - core.now()
  if cooling > (plan.route_wait or 0) or left and cooling >= left then return nil end
  if not ladder:sleep(cooling) then return nil end
  return enter(ladder, from, failure)
end

--- Waits; cancel ends it.
--- @return boolean|nil true, nil: canceled
function Ladder:sleep(seconds)
  if self.canceled then return nil end
  local engine = self.plan.options.engine
  self.timer = engine.core:timer(seconds)
  local ok = engine:await(self.timer)
  self.timer:close()
  self.timer = nil
  if not ok or self.canceled then
    self.canceled = true
    self.refused = errors.new { kind = "canceled", code = "canceled" }
    return nil
  end
  return true
end

--- Sends the first request. May wait.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Ladder:begin()
  if enter_or_wait(self, 1) then
    hedges.arm(self)
    return true
  end
  self.refused.attempts = self.attempts
  return errors.fail(self.refused)
end

-- ---- reading -------------------------------------------------------------------------

local function pop(ladder)
  local event = table.remove(ladder.queue, 1)
  return unpack(event, 1, event.n)
end

-- Nothing is held back any more.
local function commit(ladder)
  ladder.committed = true
  if ladder.window then ladder.window:close() end
  ladder.window = nil
end

-- What comes is kept until the window is over.
local function hold(ladder, kind, a, b, c, d, e, f)
  local window = ladder.plan.commit
  ladder.queue[#ladder.queue + 1] = { n = 7, kind, a, b, c, d, e, f }
  if kind == "text" then ladder.held = ladder.held + #a end
  if not ladder.window and window.seconds then
    ladder.window = ladder.plan.options.engine.core:timer(window.seconds)
  end
  local over = ladder.window and ladder.window:ready()
  if over or ladder.held >= (window.chars or (window.seconds and math.huge or 0)) then commit(ladder) end
end

local function note(ladder, kind, ...)
  if CONTENT[kind] then
    ladder.delivered = true
    if kind == "chunk" then ladder.shown = true end
  end
  return kind, ...
end

--- What comes next, as exchange:next() gives it, or "event" and a table.
function Ladder:poll()
  while true do
    if self.queue[1] and (self.committed or self.queue[1].told) then return note(self, pop(self)) end
    if not self.cur then return nil end
    local kind, a, b, c, d, e, f = self.cur:poll()
    if self.hedge or self.second then kind, a, b, c, d, e, f = hedges.turn(self, kind, a, b, c, d, e, f) end
    if self.committed then return note(self, kind, a, b, c, d, e, f) end
    if kind then
      hold(self, kind, a, b, c, d, e, f)
    elseif self.window and self.window:ready() or self.queue[1] and hedges.done(self) and not self:_next() then
      commit(self)
    else
      return nil
    end
  end
end

--- The next piece of the first choice's text; what has been shown stays. Waits.
function Ladder:text()
  local text = source.text(self)
  if text then self.shown = true end
  return text
end

--- Ended, and nothing is left to read; or pause and again have something to do.
function Ladder:done()
  if not self.cur or hedges.due(self) then return true end
  return hedges.done(self) and (self.queue[1] == nil or not self.committed)
end

--- From now on poll gives the server's own chunks.
function Ladder:chunks()
  self.plan.chunks = true
  if self.cur and self.cur.chunks then self.cur:chunks() end
end

--- What a reader waits for.
function Ladder:waitable()
  if not self.cur then return nil end
  if self.canceled and self.pair then return self.pair end -- who is parked on it is woken by its id
  local other = self.window or self.hedge or self.second and self.second:waitable()
  local mine = self.cur:waitable()
  if self.pair and self.other ~= other or self.pair and self.first ~= mine then
    self.pair:close()
    self.pair = nil
  end
  if not other or not mine then return mine end
  if not self.pair then
    self.pair, self.first, self.other = self.plan.options.engine.core:either(mine, other), mine, other
  end
  return self.pair
end

function Ladder:await()
  local object = self:waitable()
  if not object then return end
  wait.ready(object)
  if object == self.pair and object:canceled() then self:cancel() end
end

--- The exchange, where readers may go to it themselves.
function Ladder:open()
  if not self.committed or self.queue[1] or self.second or self.hedge then return nil end
  return self.cur and self.cur:open()
end

function Ladder:cancel()
  self.canceled = true
  hedges.drop(self)
  if self.cur then self.cur:cancel() end
  if self.timer then self.timer:fire() end
  if self.aside then self.aside:cancel() end
end

-- ---- after the end of a route ----------------------------------------------------------

local function failure_of(ladder)
  return ladder.refused or ladder.cur and (ladder.cur.refused or ladder.cur:failed())
end

-- The number of the step that may answer in place of this one. What `next` or a `for`
-- loop has shown nobody can take back.
function Ladder:_next()
  local failure = failure_of(self)
  if not failure or self.canceled or self.shown or not moves_on(self, failure) then return nil end
  return self.plan.steps[self.at + 1] and self.at + 1
end

-- Asked in vain: it is silent, or it wants us to wait.
local function impatient(cur, failure)
  if failure.kind == "timeout" then return failure.phase == "first_byte" or failure.phase == "first_content" end
  return (cur.asked or 0) > M.PATIENCE
end

-- "again": the same route; "next": another one.
local function decide(ladder)
  if not ladder.cur then return nil end
  if hedges.due(ladder) then return "hedge", 0 end
  local failure = ladder.cur:failed()
  local other = ladder:_next()
  local pause = ladder.cur:pause()
  if pause and not (other and failure and impatient(ladder.cur, failure)) then return "again", pause end
  if other then return "next", 0, other end
end

--- After the end: seconds until something else is tried; nil: this is how it went.
--- @return number|nil
function Ladder:pause()
  local _, pause = decide(self)
  return pause
end

-- What was delivered must be withdrawn; what was held is forgotten.
local function forget(ladder, err)
  ladder.queue, ladder.held = {}, 0
  local restart = ladder.delivered
  ladder.delivered = false
  if ladder.window then ladder.window:close() end
  ladder.window, ladder.committed = nil, ladder.plan.commit == nil
  if restart then
    ladder.partial = nil -- withdrawn
    ladder.queue[1] = {
      n = 2, told = true, "event",
      { type = "restart", via = ladder.via[#ladder.via], message = err.safe_message },
    }
  end
end

--- Waits, and tries the same route again, or the next one, or that one too.
--- @return boolean|nil true; nil: result() says how it went
--- @return boolean|nil same it is the same answer that goes on
function Ladder:again()
  local how, _, other = decide(self)
  if how == "hedge" then
    hedges.start(self)
    return true, true
  end
  if how == "again" then
    if self.cur:again() then
      hedges.arm(self)
      return true
    end
    other = self:_next()
  end
  if not other then return nil end
  local _, _, err = self.cur:result()
  self.partial, self.cur = err.partial, nil
  if not enter_or_wait(self, other, err) then return nil end
  forget(self, err)
  return true
end

-- ---- how it went -----------------------------------------------------------------------

--- @param awaited boolean|nil somebody is parked on it
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Ladder:result(awaited)
  local answer, err = nil, self.refused
  if err and self.canceled then err = errors.new { kind = "canceled", code = "canceled" } end
  hedges.drop(self)
  if self.cur and not err then
    local _
    answer, _, err = self.cur:result(awaited)
  end
  if self.window then self.window:close() end
  if self.pair and not awaited then self.pair:close() end
  if err or not answer then
    err = err or errors.new { kind = "canceled", code = "canceled" }
    err.attempts, err.partial = self.attempts, err.partial or self.partial
    return errors.fail(err)
  end
  if self.via[1] then answer.via = self.via end
  kinds.keep(self, answer)
  return answer
end

--- A ladder that has not begun.
--- @param plan table steps; options (of attempts); model(step); render(step) -> parts | nil, message, err;
---   account(step, model, circuit, parts) -> account; commit { chars, seconds }; hedge, route_wait (seconds); cache,
---   tenant; note_cached(step); prefilled; conversation()
function M.new(plan)
  return setmetatable({
    plan = plan, attempts = {}, via = {}, queue = {}, held = 0,
    committed = not plan.options.stream or plan.commit == nil,
  }, Ladder)
end

return M
