--- round: runs the tool calls of one answer, side by side, and makes the messages
-- that answer them, in the order of the calls. A call that waits for a person parks
-- the round. It sends nothing and touches no history.

local approval = require "oaichat.approval"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local observe = require "oaichat.observe"

local unpack = table.unpack or unpack

local M = {}

--- Seconds a call may take when its tool says nothing.
M.TIMEOUT = 60

--- @class oaichat.Round
local Round = {}
Round.__index = Round

-- ---- one call ------------------------------------------------------------------

local function settle(round, item, content, problem)
  if item.content ~= nil then return end
  item.content = problem and ("error: " .. problem) or content
  item.is_error = problem ~= nil
  observe.call(round.log, "on_result", round.on_result, item.call, item.content, item.is_error)
  if round.on_event then
    round.on_event {
      type = "tool_result", id = item.call.id, name = item.call.name, content = item.content,
      is_error = item.is_error,
    }
  end
end

-- A raised value in the words that the model may read: no place in our files, no
-- traceback.
local function raised(why)
  if errors.is(why) then return why.safe_message end
  return (errors.text(why):match("^[^\n]*"):gsub("^%S+:%d+: ", ""))
end

local function take(round, item, task)
  if item.content ~= nil or item.parked then return end
  if not task._ok then
    local why = raised(task._results)
    observe.tell(round.log, "error", "tool", { name = item.call.name, id = item.call.id, error = why })
    return settle(round, item, nil, "the tool failed: " .. why)
  end
  -- metamethods of a user's value may raise
  local ok, content, problem = pcall(round.content, unpack(task._results, 1, 2))
  if not ok then content, problem = nil, "the tool returned a value that cannot be read" end
  settle(round, item, content, problem)
end

-- May it run? true, false and why, or "park".
local function decide(round, item)
  local kept, rule = item.kept, item.tool.approve
  if kept and kept.state == "approved" then return true end
  if kept and kept.state == "denied" then return false, kept.reason end
  if not rule then return true end
  if rule == true then rule = round.approve end
  if not rule then return "park" end
  return rule(item.call, round.session)
end

-- The body of a call's task.
local function perform(round, item)
  local verdict, reason = decide(round, item)
  if verdict == "park" then
    item.parked = true
    return nil
  elseif not verdict then
    reason = type(reason) == "string" and reason ~= "" and ": " .. reason or ""
    return nil, "the user did not allow this call" .. reason
  end
  item.stop_at = core.now() + (item.tool.timeout or round.tool_timeout or M.TIMEOUT)
  round:_ring()
  observe.call(round.log, "on_call", round.on_call, item.call)
  return item.tool.run(item.args, item.call)
end

-- What is wrong with a call before anything of it runs.
local function refuse(round, item, seen)
  local call = item.call
  if seen[call.id] then return "two calls have the id " .. call.id end
  seen[call.id] = true
  item.tool = round.tools:find(call.name)
  if not item.tool then
    return ("there is no tool %s; the tools are: %s"):format(call.name, round.tools:names())
  end
  if round.cut then return "the answer was cut before its end, so the call was not run" end
  local problem
  item.args, problem = item.tool:read(call)
  return problem
end

local function start(round, item)
  item.call.args = item.args
  item.task = round.engine:spawn(perform, round, item)
  item.task._observed = true
  item.task._on_end = function(task)
    take(round, item, task)
    round:_ring()
  end
end

-- ---- all of them ---------------------------------------------------------------

--- @param message table the assistant message
--- @param context table engine, session, tools, content, cut, parallel, stop_at, tool_timeout, approve, on_call,
---   on_result, on_event, log
--- @return oaichat.Round
function M.new(message, context)
  local round = setmetatable({ message = message, items = {} }, Round)
  for name, value in pairs(context) do round[name] = value end
  for i, call in ipairs(message.tool_calls) do
    local fn, kept = call["function"], approval.of(message, call.id)
    local item = {
      call = { id = call.id, name = fn.name, arguments = fn.arguments, session = round.session },
      kept = kept, content = kept and kept.content,
    }
    if kept and kept.hash ~= approval.hash(fn.name, fn.arguments) then
      item.changed = true
    end
    round.items[i] = item
  end
  return round
end

-- Wakes whoever runs the round.
function Round:_ring()
  if self._alarm then self._alarm:fire() end
end

-- Starts what may start; without parallel, one at a time.
function Round:_start()
  for _, item in ipairs(self.items) do
    if item.content == nil and not item.parked then
      if not item.task then start(self, item) end
      if self.parallel == false then return end
    end
  end
end

-- Gives up the calls whose time is over; the time of the next one, and whether
-- any is under way.
function Round:_overdue(now)
  local nearest, busy = self.stop_at or math.huge, false
  for _, item in ipairs(self.items) do
    if item.task and item.content == nil and not item.parked then
      if item.stop_at and now >= item.stop_at then
        settle(self, item, nil, ("the tool took longer than %g seconds")
          :format(item.tool.timeout or self.tool_timeout or M.TIMEOUT))
        item.task:cancel()
      else
        busy = true
        nearest = math.min(nearest, item.stop_at or math.huge)
      end
    end
  end
  return nearest, busy
end

local function fail(round, fields)
  round:cancel()
  return errors.fail(fields)
end

--- Runs the calls; waits.
--- @return string|nil "done" or "parked"
--- @return string|nil message
--- @return oaichat.Error|nil err canceled, the deadline, or a parked call that was changed
function Round:run()
  local seen = {}
  for _, item in ipairs(self.items) do
    if item.changed then
      return fail(self, {
        kind = "tool", code = "arguments_changed",
        message = ("call %s of %s is not what was approved: refused"):format(item.call.id, item.call.name),
      })
    end
    local problem = refuse(self, item, seen)
    if problem then settle(self, item, nil, problem) end
  end
  while true do
    self:_start()
    local now = core.now()
    local nearest, busy = self:_overdue(now)
    if not busy and not self:_more() then return self:_parked() and "parked" or "done" end
    local err = self:_await(busy and math.min(math.max(nearest - now, 0), 1e6) or 0)
    if err then return fail(self, err) end
  end
end

-- Waits until a call has something to say, or for so many seconds.
function Round:_await(seconds)
  self._alarm = self.engine.core:timer(seconds)
  local ok, _, err = self.engine:await(self._alarm)
  self._alarm:close()
  self._alarm = nil
  if self.canceled or not ok then return err or errors.new { kind = "canceled", code = "canceled" } end
  if self.stop_at and core.now() >= self.stop_at then return errors.new { kind = "timeout", phase = "total" } end
end

-- Some call has not begun.
function Round:_more()
  for _, item in ipairs(self.items) do
    if item.content == nil and not item.parked and not item.task then return true end
  end
  return false
end

function Round:_parked()
  for _, item in ipairs(self.items) do
    if item.parked then return true end
  end
  return false
end

--- Ends the calls that are under way; what they return is not taken.
function Round:cancel()
  self.canceled = true
  for _, item in ipairs(self.items) do
    if item.task and item.content == nil then
      item.content = "error: canceled"
      item.task:cancel()
    end
  end
  self:_ring()
end

--- The results, in the order of the calls.
--- @return table[] messages
function Round:messages()
  local out = {}
  for i, item in ipairs(self.items) do
    out[i] = { role = "tool", tool_call_id = item.call.id, content = item.content }
    if item.is_error then out[i].meta = { is_error = true } end
  end
  return out
end

--- What is kept of a parked round, for the message's meta.calls.
--- @return table[]
function Round:kept()
  local out = {}
  for i, item in ipairs(self.items) do
    out[i] = { id = item.call.id, hash = approval.hash(item.call.name, item.call.arguments) }
    if item.content ~= nil then
      out[i].state, out[i].content = "done", item.content
    else
      out[i].state = "waiting"
    end
  end
  return out
end

return M
