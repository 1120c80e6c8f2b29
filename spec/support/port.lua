--- port: `port.lua free` prints a free loopback port; `port.lua await N` waits until
-- somebody answers HTTP there, a minute at most.

local core = require "oaichat.core"

local function free()
  local listener = core.listen {}
  print(listener:port())
  listener:close()
end

local function answers(session)
  local exchange = session:send "{}"
  while not exchange:done() do exchange:wait(1) end
  local _, failure = exchange:result()
  exchange:close()
  return not failure or failure.kind ~= "network"
end

local function await(port)
  local session = core.new { base_url = "http://127.0.0.1:" .. port, api_key = false }
  local stop = core.now() + 60
  while core.now() < stop do
    if answers(session) then return end
    -- nothing tells when another process starts to listen
    core.engine():wait(0.05)
  end
  os.exit(1)
end

if arg[1] == "free" then free() else await(arg[2]) end
