--- loop/copas: the engine in copas's loop. While it is attached, chat.spawn starts a
-- copas thread: inside, session:send and stream:next park, and copas's own calls
-- (copas.receive, copas.send) work as in any thread of copas. copas cannot say
-- whose coroutine is running, so that elsewhere, its servers' handlers included,
-- a wait blocks. Only copas's public functions are used, through objects that
-- look like sockets to it.
--
-- Tested with Debian 12's copas 1.2.0-2 on LuaJIT, driven by copas.step. select()
-- serves descriptors below 1024 only: LuaSocket's limit.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local copas = require "copas"
local loop = require "oaichat.loop.default"

local M = {}

-- Looks like a socket: readable when its descriptor is, or when it was rung.
local Bell = {}
Bell.__index = Bell

function Bell:getfd() return self.fd end
function Bell:dirty() return self.rung end
function Bell:settimeout() return 1 end
function Bell:close() return 1 end

function Bell:receive()
  if not self.rung and not self.slept then
    self.slept = true
    return nil, "timeout", ""
  end
  self.rung, self.slept = false, false
  return "!"
end

--- @class oaichat.loop.Copas
local Handle = {}
Handle.__index = Handle

-- Runs a task in a thread of copas and hands on what copas's calls yield in it.
local function host(self, advance)
  local bell = setmetatable({ fd = self.idle:fd(), rung = false }, Bell)
  local function go(ended, ...)
    if ended then return false end
    if select("#", ...) == 0 then
      copas.receive(bell, 1)
      return true, advance()
    end
    return true, advance(coroutine.yield(...))
  end
  local function run(more, ...)
    if more then return run(go(...)) end
  end
  copas.addthread(function()
    copas.receive(bell, 1)
    run(true, advance())
  end)
  return function() bell.rung = true end
end

local function drive(self)
  local bell = self.bell
  while self.attached and self.engine:pending() > 0 do
    copas.receive(bell, 1)
    if self.attached then self.engine:step(self.budget) end
  end
  self.driving = false
end

local function start(self)
  if self.driving then return end
  self.driving = true
  copas.addthread(function() drive(self) end)
end

--- Takes the engine out of the loop: chat.spawn makes plain tasks again. Tasks that
--- run in copas's threads end there, if somebody steps the engine.
function Handle:detach()
  if not self.attached then return end
  self.attached = false
  self.engine.on_work, self.engine.host = nil, nil
  self.bell.rung = true
end

--- @param opts { engine?: oaichat.Scheduler, budget?: number }|nil budget: seconds a turn, 0.005
--- @return oaichat.loop.Copas handle
function M.attach(opts)
  opts = opts or {}
  local engine = opts.engine or loop.scheduler()
  if engine.on_work then errors.misuse("attach: this engine is in a loop already") end
  if not engine:fd() then errors.misuse "attach: copas needs a descriptor, and this platform has none" end
  local self = setmetatable({
    engine = engine, budget = opts.budget or 0.005, attached = true, idle = core.engine(true),
    bell = setmetatable({ fd = engine:fd(), rung = false }, Bell),
  }, Handle)
  engine.on_work = function() start(self) end
  engine.host = function(advance) return host(self, advance) end
  if engine:pending() > 0 then start(self) end
  return self
end

return M
