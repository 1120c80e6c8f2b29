--- limiter_worker: one of several processes that share a limit in Redis: 25 tasks ask, a
-- line for each grant: when, by Redis's clock, and in which place.
--   lua limiter_worker.lua redis-url prefix requests per algorithm skew
-- skew: how far this process's own clocks are off, in seconds.

local core = require "oaichat.core"
local url, prefix, requests, per, algorithm = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), arg[5]
local skew = tonumber(arg[6])

local now, time = core.now, core.time
function core.now() return now() + skew end
function core.time() return time() + skew end

local chat = require "oaichat"
local loop = require "oaichat.loop.default"

local limiter = assert(chat.limiter {
  requests = requests, per = per, algorithm = algorithm, burst = 0.1, redis = url, prefix = prefix, timeout = 5,
})
for i = 1, 25 do
  chat.spawn(function()
    local ticket = assert(limiter:acquire(("a"):rep(64), 0, { engine = loop.scheduler() }))
    print(("%.6f %d"):format(ticket.at.time, i))
  end)
end
assert(chat.run())
