--- budget/spent: amounts by name, of all time or of a window that slides in steps.
-- What was spent leaves the window whole, at most one step late and never early.
-- The clock is passed in.

local M = {}

--- Steps of a window.
M.STEPS = 60

--- What is counted.
M.NAMES = { "money", "tokens", "requests", "seconds" }

local Spent = {}
Spent.__index = Spent

local function nothing()
  return { money = 0, tokens = 0, requests = 0, seconds = 0 }
end

local function add(sum, amounts)
  for _, name in ipairs(M.NAMES) do sum[name] = sum[name] + (amounts[name] or 0) end
end

--- Seconds from now until a step has left the window.
local function left(spent, step, now)
  return (step.at + 1) * spent._step + spent._window - now
end

local function advance(spent, now)
  local steps = spent._steps
  if not spent._window or not steps[1] or left(spent, steps[1], now) > 0 then return end
  local kept, sum = {}, nothing()
  for _, step in ipairs(steps) do
    if left(spent, step, now) > 0 then
      kept[#kept + 1] = step
      add(sum, step)
    end
  end
  spent._steps, spent._sum = kept, sum
end

--- @param amounts table of NAMES, each may be missing
function Spent:add(now, amounts)
  advance(self, now)
  add(self._sum, amounts)
  if not self._window then return end
  local at, steps = math.floor(now / self._step), self._steps
  local last = steps[#steps]
  if not last or last.at < at then
    last = nothing()
    last.at = at
    steps[#steps + 1] = last
  end
  add(last, amounts)
end

--- @return table sum not to be changed
function Spent:sum(now)
  advance(self, now)
  return self._sum
end

--- Seconds until so much of one amount has left the window; nil: never.
function Spent:wait(now, name, much)
  local gone = 0
  for _, step in ipairs(self._steps) do
    gone = gone + step[name]
    if gone >= much then return left(self, step, now) end
  end
end

--- @param window number|nil seconds; nil: all time
function M.new(window)
  return setmetatable({
    _window = window, _step = window and window / M.STEPS, _steps = {}, _sum = nothing(),
  }, Spent)
end

return M
