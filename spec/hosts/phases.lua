--- phases: the timeouts at their true scale: one exchange for each phase with the
-- library's own defaults, all side by side, ten minutes. Each must end within 10 % of
-- what is promised (FAULTS rows 3, 19, 21, 22).

local chat = require "oaichat"
local core = require "oaichat.core"
local testing = require "oaichat.testing"

local function hold() end

local function head(_, response)
  response:head(200)
end

local function half(_, response)
  response:event(testing.chunk "half")
end

-- Comments are no content.
local function comments(_, response)
  response:event(testing.chunk "half")
  for _ = 1, 60 do response:pause(5):write ": keep-alive\n\n" end
end

-- A listener whose queue is full drops what comes, as a firewall does.
local function black_hole()
  local socket = require "socket"
  local hole = { socket.tcp() }
  assert(hole[1]:bind("127.0.0.1", 0))
  assert(hole[1]:listen(0))
  local _, port = hole[1]:getsockname()
  for i = 2, 4 do
    hole[i] = socket.tcp()
    hole[i]:settimeout(0)
    hole[i]:connect("127.0.0.1", port)
  end
  return ("http://127.0.0.1:%d/v1"):format(port), hole
end

local nowhere, hole = black_hole()

local CASES = {
  { "connect", 10, false, url = nowhere },
  { "first_byte", 120, hold },
  { "first_content", 300, head },
  { "content_idle", 120, half },
  { "content_idle", 120, comments },
  { "attempt", 600, hold, send = true },
}

local failed = 0
for _, case in ipairs(CASES) do
  local phase, seconds = case[1], case[2]
  local server = case[3] and assert(testing.server(case[3]))
  chat.spawn(function()
    local session = assert(chat.new {
      base_url = case.url or server.url, api_key = false, model = "m", retry = { max = 0 },
    })
    local start = core.now()
    local err, _
    if case.send then _, _, err = session:send "hi" else _, _, err = session:stream("hi"):result() end
    local took = core.now() - start
    local fine = err and err.kind == "timeout" and err.phase == phase and math.abs(took - seconds) <= seconds / 10
    print(("%-14s %6.1f s of %d: %s"):format(phase, took, seconds, fine and "ok" or "WRONG, " .. tostring(err)))
    if not fine then failed = failed + 1 end
  end)
end
assert(chat.run())
for _, one in ipairs(hole) do one:close() end
os.exit(failed == 0 and 0 or 1)
