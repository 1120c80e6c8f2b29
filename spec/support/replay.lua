--- replay: sends the bodies recorded in a file (arg 1) to the server at a base URL
-- (arg 2), as the wire of a name (arg 3) does, and counts those that it takes; prints what it says of the others.

local core = require "oaichat.core"
local json = require "oaichat.json"

local wire = require("oaichat.wire." .. arg[3])
local session = assert(core.new { base_url = arg[2], api_key = "sk-replay", wire = wire.name, path = wire.path })
local seen, total, taken = {}, 0, 0

local function post(body)
  local exchange = assert(session:send(body))
  while not exchange:done() do exchange:wait() end
  local _, failure = exchange:result()
  -- the server invents the answer; only its verdict on the request counts
  local valid = exchange:header "x-steady-request-valid"
  return valid == "true", failure and failure.detail
end

for body in io.lines(arg[1]) do
  if not seen[body] then
    seen[body] = true
    total = total + 1
    local ok, why = post(body)
    if ok then taken = taken + 1 else print(("refused: %s\n  %s"):format(body:sub(1, 300), tostring(why))) end
  end
end

local streams = 0
for body in pairs(seen) do
  local request = json.decode(body)
  if request and request.stream then streams = streams + 1 end
end

print(("%s: requests accepted by the specification: %d of %d (%d of them streaming)")
  :format(wire.name, taken, total, streams))
os.exit(total > 0 and taken == total and streams > 0 and streams < total and 0 or 1)
