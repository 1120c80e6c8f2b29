--- route/hedge: two routes at once: when the first has given no content after a while
--- the next one is asked too, and whoever speaks first answers. The other is canceled.

local kinds = require "oaichat.route.kinds"
local tables = require "oaichat.tables"

local M = {}

local CONTENT = { text = true, reasoning = true, refusal = true, tool_call = true, chunk = true }

--- From now on the first route's silence is measured.
function M.arm(ladder)
  local plan = ladder.plan
  local behind = plan.steps[ladder.at + 1]
  if not plan.hedge or ladder.second or ladder.hedge or not ladder.cur.exchange then return end
  if not behind or behind.kind ~= "request" then return end
  ladder.hedge = plan.options.engine.core:timer(plan.hedge)
end

local function disarm(ladder)
  if ladder.hedge then ladder.hedge:close() end
  ladder.hedge = nil
end

--- The second one is not needed.
function M.drop(ladder)
  disarm(ladder)
  if ladder.starting then ladder.starting:cancel() end
  local second = ladder.second
  ladder.second = nil
  if not second then return end
  second:cancel()
  second:result()
end

-- The second one answers.
local function promote(ladder, reason)
  local loser, step = ladder.cur, ladder.plan.steps[ladder.at + 1]
  ladder.cur, ladder.second, ladder.at = ladder.second, nil, ladder.at + 1
  loser:cancel()
  loser:result()
  ladder.via[#ladder.via + 1] = {
    step = "hedge", reason = reason, model = ladder.cur.model, origin = step.origin,
  }
end

-- What the second one says is heard if it is content.
local function speak(ladder, kind, ...)
  if not CONTENT[kind] then return nil end
  promote(ladder, "silence")
  return kind, ...
end

--- The first one has been silent long enough.
function M.due(ladder)
  return ladder.hedge ~= nil and ladder.hedge:ready() and not ladder.cur:done()
end

--- Asks the second one. May wait: a limit is not waited for, but whom it is shared with is asked.
function M.start(ladder)
  disarm(ladder)
  local call = kinds.prepare(ladder, ladder.plan.steps[ladder.at + 1])
  if not call then return end
  call.options = tables.merged(call.options, { patience = 0 })
  ladder.starting = call -- for a cancel while it waits
  local begun = call:begin()
  ladder.starting = nil
  if not begun then return end
  ladder.second = call
  if ladder.canceled then return M.drop(ladder) end
  if ladder.plan.chunks then call:chunks() end
end

--- Takes what the first one has, or nothing, and gives what the reader gets.
function M.turn(ladder, kind, ...)
  if CONTENT[kind] then
    M.drop(ladder)
  elseif not kind and ladder.second then
    return speak(ladder, ladder.second:poll())
  end
  return kind, ...
end

--- Whether the answer has ended; one of two that has failed does not count.
function M.done(ladder)
  local cur, second = ladder.cur, ladder.second
  if not second then
    local done = cur:done()
    if done then disarm(ladder) end
    return done
  end
  if cur:done() then
    if not cur:failed() then
      M.drop(ladder)
      return true
    end
    promote(ladder, cur:failed().kind)
  elseif second:done() then
    if second:failed() then M.drop(ladder) else promote(ladder, "silence") end
  end
  return ladder.cur:done()
end

return M
