--- route/kinds: how each kind of step of the ladder answers: a request, the cache, a
--- person, a fixed text. A step gives a call, or nothing and why not.

local aside = require "oaichat.aside"
local attempts = require "oaichat.attempts"
local later = require "oaichat.later"
local caches = later "oaichat.cache"
local canned = require "oaichat.canned"
local circuits = require "oaichat.circuit"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local observe = require "oaichat.observe"
local tables = require "oaichat.tables"

local M = {}

-- How it came that this step answers: reply.via.
local function note(ladder, step, failure, facts)
  facts = tables.merged({ step = step.kind, reason = failure and failure.kind }, facts)
  ladder.via[#ladder.via + 1] = facts
  if failure then observe.tell(ladder.plan.options.log, "warn", "fallback", facts) end
end

local function canned_call(ladder, raw)
  local call = canned.new(raw, ladder.plan.steps[1].origin, { attempts = ladder.attempts })
  if ladder.plan.chunks then call:chunks() end
  return call
end

local function cooling(seconds)
  local err = errors.new {
    kind = "rate_limit", code = "cooling",
    message = ("every route cools down after failures; the first is back in %.1f seconds"):format(seconds),
  }
  err.retry_after = seconds
  return nil, err, seconds
end

-- ---- the cache -------------------------------------------------------------------------

local function key_of(ladder, parts, step)
  local plan = ladder.plan
  return caches.key(parts, step.core:identity(plan.model(step)), plan.tenant)
end

-- A fresh answer to the same question; the key is kept for who asks later.
local function fresh(ladder, step, parts)
  local plan = ladder.plan
  if not plan.cache then return nil end
  ladder.key = key_of(ladder, parts, step)
  local raw, age, is_fresh = plan.cache:get(ladder.key, plan.tenant)
  if not raw or not is_fresh then return nil end
  plan.note_cached(step)
  note(ladder, { kind = "cache" }, nil, { age = age })
  return canned_call(ladder, raw)
end

--- An answer that may be given again: whole, by the first route, and no calls in it.
function M.keep(ladder, answer)
  local plan = ladder.plan
  if not plan.cache or not ladder.key or ladder.via[1] or answer.tool_calls[1] then return end
  if answer.finish_reason == "stop" then plan.cache:put(ladder.key, answer._raw, plan.tenant) end
end

function M.cache(ladder, step, failure)
  local plan = ladder.plan
  if not plan.cache or not ladder.key then return nil, failure end
  local raw, age = plan.cache:get(ladder.key, plan.tenant)
  if not raw then return nil, failure end
  plan.note_cached(plan.steps[1])
  note(ladder, step, failure, { age = age })
  return canned_call(ladder, raw)
end

-- ---- a request -------------------------------------------------------------------------

-- Headers of one call are meant for the endpoint that its user knows.
local function options_of(ladder, step, model, account)
  local plan = ladder.plan
  local options = tables.merged(plan.options, {
    model = model, origin = step.origin, attempts = ladder.attempts, account = account,
  })
  options.timeouts = tables.merged(step.timeouts, options.timeouts)
  if step.origin ~= plan.steps[1].origin then options.headers = nil end
  return options
end

--- A call of attempts for a step, not begun; nothing where it must not be asked now.
--- @return table|nil call, oaichat.Error|nil err, number|nil seconds until it may be asked
function M.prepare(ladder, step)
  local plan = ladder.plan
  local model = plan.model(step)
  local parts, _, err = plan.render(step)
  if not parts then return nil, err end
  local cached = step == plan.steps[1] and fresh(ladder, step, parts)
  if cached then return cached end
  local circuit = plan.steps[2] and circuits.of(step.core:identity(model))
  if circuit then
    local now = core.now()
    local seconds = circuit:wait(now)
    if seconds > 0 then return cooling(seconds) end
    if not circuit:enter(now, ladder) then return cooling(1) end -- somebody else tries it
  end
  return attempts.new(step.core, parts, options_of(ladder, step, model, plan.account(step, model, circuit, parts)))
end

function M.request(ladder, step, failure)
  local call, err, seconds = M.prepare(ladder, step)
  if not call then return nil, err, seconds end
  if call.answer then return call end -- of the cache
  ladder.cur = call -- for a cancel while it waits
  local ok, _
  ok, _, err = call:begin()
  ladder.cur = nil
  if not ok then return nil, err end
  if ladder.plan.chunks then call:chunks() end
  if step ~= ladder.plan.steps[1] then
    note(ladder, { kind = "fallback" }, failure, { model = call.model, origin = step.origin })
  end
  return call
end

-- ---- a person --------------------------------------------------------------------------

--- What a person gets: the conversation, why nobody else answers, and `answer(text)` or
--- `decline()`, at once or later.
--- @class oaichat.Handoff
--- @field messages table[] a copy
--- @field error oaichat.Error
local Handoff = {}
Handoff.__index = Handoff

local function settle(handoff, text)
  if handoff.closed then return false end
  handoff.closed, handoff.text = true, text
  if handoff.ladder.timer then handoff.ladder.timer:fire() end
  return true
end

--- @param text string
--- @return boolean taken false: nobody waits for it any more
function Handoff:answer(text)
  if type(text) ~= "string" then errors.misuse("answer: string expected, got " .. type(text)) end
  return settle(self, text)
end

--- The next step answers.
function Handoff:decline()
  return settle(self, nil)
end

-- Nobody waits longer without a word of how long.
local DAY = 86400

function M.human(ladder, step, failure)
  local plan = ladder.plan
  local handoff = setmetatable({ messages = plan.conversation(), error = failure, ladder = ladder }, Handoff)
  local task = aside.call(plan.options.engine, ladder, step.ask, handoff)
  if not task then
    ladder.canceled = true
    return nil, failure
  end
  if not task._ok then error(task._results, 0) end
  if type(task._results[1]) == "string" then handoff:answer(task._results[1]) end
  local stop_at = plan.options.stop_at
  local left = math.min(step.timeout or DAY, stop_at and math.max(stop_at - core.now(), 0) or DAY)
  while not handoff.closed and ladder:sleep(left) and handoff.text == nil do handoff:decline() end
  handoff.closed = true
  if ladder.canceled or not handoff.text then return nil, failure end
  note(ladder, step, failure)
  return canned_call(ladder, canned.raw(handoff.text, "stop"))
end

function M.apology(ladder, step, failure)
  note(ladder, step, failure)
  return canned_call(ladder, canned.raw(step.text, "stop"))
end

return M
