--- loop/luv: the engine in libuv's loop: Neovim's vim.uv or vim.loop, or standalone
-- luv. One poll handle on the engine's descriptor is all; it keeps uv.run going
-- only while something is pending. From then on a call that would block the loop
-- raises, in a callback and outside of one: tasks (chat.spawn) and callbacks
-- (on_event, on_done) are the ways to wait.

local errors = require "oaichat.errors"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local M = {}

-- What a turn of the loop may take, in seconds: other handles have theirs then.
local BUDGET = 0.005

-- Where the platform has no descriptor for the engine: a turn this often, in ms.
local TICK = 5

--- @class oaichat.loop.Luv
local Handle = {}
Handle.__index = Handle

-- engine -> { uv, handle } of its last attach. Not closed: luv 1.44 crashes at the
-- state's end when the loop has not run since, and no collector takes it.
local idle = setmetatable({}, { __mode = "k" })

local function new_handle(engine, uv, fd)
  local last = idle[engine]
  if last and last.uv == uv then return last.handle end
  local handle = assert(fd and uv.new_poll(fd) or not fd and uv.new_timer())
  idle[engine] = { uv = uv, handle = handle }
  return handle
end

-- Ref'd while something is pending, so that uv.run ends when all is done.
local function hold(self)
  local handle = self.handle
  if not handle then return end
  if self.engine:pending() > 0 then handle:ref() else handle:unref() end
end

local function start(self)
  local handle = self.handle
  if not handle then return end
  if self.fd then handle:start("r", self.turn) else handle:start(TICK, TICK, self.turn) end
  hold(self)
end

local function step(self)
  if self.handle then self.engine:step(self.budget) end
  hold(self)
end

--- Takes the engine out of the loop; blocking is allowed again. What is under way
--- goes on when somebody steps the engine.
function Handle:detach()
  if not self.handle then return end
  self.engine.on_work = nil
  self.allow()
  self.handle:stop()
  self.handle, self.engine = nil, nil -- luv keeps the callback, and self with it
end

--- Puts an engine into luv's default loop.
--- @param opts { engine?: oaichat.Scheduler, uv?: table, schedule?: boolean, budget?: number }|nil
---   schedule: events go through vim.schedule, where the editor's API may be called
---   (true in Neovim); budget: seconds a turn, 0.005
--- @return oaichat.loop.Luv handle
function M.attach(opts)
  opts = opts or {}
  local vim = rawget(_G, "vim")
  local uv = opts.uv or vim and (vim.uv or vim.loop) or require "luv"
  local engine = opts.engine or loop.scheduler()
  if engine.on_work then errors.misuse("attach: this engine is in a loop already") end
  local self = setmetatable({ engine = engine, budget = opts.budget or BUDGET, fd = engine:fd() }, Handle)
  local schedule = opts.schedule
  if schedule == nil then schedule = vim ~= nil end
  if schedule then
    local later = vim.schedule_wrap(function()
      step(self)
      start(self)
    end)
    -- stopped until it was served: else the loop would spin on a readable fd
    self.turn = function()
      self.handle:stop()
      later()
    end
  else
    self.turn = function() step(self) end
  end
  self.handle = new_handle(engine, uv, self.fd)
  self.allow = wait.forbid(vim and "Neovim" or "luv")
  engine.on_work = function() hold(self) end
  start(self)
  return self
end

return M
