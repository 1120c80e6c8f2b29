-- What an open stream costs: resident memory with 1,000 of them waiting for more.

local chat = require "oaichat"
local support = require "spec.hosts.support"

local STREAMS = 1000
local sessions, streams, seen = {}, {}, 0

local function open(n, pause)
  for _ = 1, n do
    local session = assert(chat.new { base_url = support.url })
    sessions[#sessions + 1] = session
    streams[#streams + 1] = session:stream((support.ask("m", 2, pause)), {
      on_event = function(event) if event.type == "text" then seen = seen + 1 end end,
      on_done = function() end,
    })
  end
end

local function forget()
  for _, stream in ipairs(streams) do stream:cancel() end
  sessions, streams, seen = {}, {}, 0
  collectgarbage() collectgarbage()
end

-- The first ones pay for libraries and the engine.
open(20, 0.01)
assert(chat.run())
forget()
local before = support.resident()
open(STREAMS, 30)
while seen < STREAMS do
  chat.step()
  chat.wait(1)
end
collectgarbage() collectgarbage()
local each = (support.resident() - before) / STREAMS
forget()
support.figure("memory an open stream", each, "kB", 20)
