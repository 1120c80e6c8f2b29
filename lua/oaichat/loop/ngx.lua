--- loop/ngx: the engine in an nginx worker (OpenResty, ngx_http_lua_module). A request
-- handler may then call session:send and stream:next as they are: it polls by
-- ngx.sleep, and the worker serves others meanwhile. nginx's loop takes no foreign
-- descriptor from Lua, hence the polling. Attach once a worker, in init_worker_by_lua,
-- never in init_by_lua: an engine must not live across nginx's fork.
--
-- A coroutine belongs to one request there: use ngx.thread.spawn, not chat.spawn.
-- on_event and on_done are called from a timer: no ngx.say in them.
--
-- A client that goes away: lua_check_client_abort, and stream:cancel() in ngx.on_abort.
-- Proved in nginx 1.22 with ngx_http_lua 0.10.23 (spec/hosts/ngx.sh).

local errors = require "oaichat.errors"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"

local M = {}

-- Between two looks, in seconds.
local PERIOD = 0.005

-- Where ngx.sleep may yield.
local YIELDS = { rewrite = true, access = true, content = true, timer = true, preread = true, ssl_cert = true }

--- @class oaichat.loop.Ngx
local Handle = {}
Handle.__index = Handle

-- Moves transfers on but calls nobody: callbacks must not run in a stranger's request.
local function park(self, object)
  while self.attached do
    self.engine.core:step()
    if object:ready() then return end
    self.ngx.sleep(self.period)
  end
end

-- The timer: for streams with callbacks, while there are any.
local function drive(self)
  while self.attached and self.engine:pending() > 0 and not self.ngx.worker.exiting() do
    self.engine:step()
    self.ngx.sleep(self.period)
  end
  self.driving = false
end

local function start(self)
  if self.driving or not self.attached then return end
  self.driving = true
  assert(self.ngx.timer.at(0, function() drive(self) end))
end

--- Takes the engine out of the worker: from then on a wait blocks.
function Handle:detach()
  if not self.attached then return end
  self.attached = false
  self.engine.on_work = nil
  self.forget()
end

--- @param opts { engine?: oaichat.Scheduler, period?: number, ngx?: table }|nil period: seconds, 0.005
--- @return oaichat.loop.Ngx handle
function M.attach(opts)
  opts = opts or {}
  local ngx = opts.ngx or rawget(_G, "ngx") or errors.misuse("attach: this is not nginx")
  local engine = opts.engine or loop.scheduler()
  local self = setmetatable({ engine = engine, ngx = ngx, period = opts.period or PERIOD, attached = true }, Handle)
  self.forget = wait.register {
    owns = function() return YIELDS[ngx.get_phase()] or false end,
    park = function(object) return park(self, object) end,
    turn = function()
      engine.core:step()
      ngx.sleep(self.period)
    end,
  }
  engine.on_work = function() start(self) end
  return self
end

return M
