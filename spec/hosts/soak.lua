--- soak: many exchanges through two providers that misbehave by a seed, with retries,
-- fallbacks and deadlines on. Each must end in the right text or a typed error, none
-- behind its deadline; memory and descriptors stay flat.
--   lua5.4 spec/hosts/soak.lua [exchanges [seed]]

local chat = require "oaichat"
local core = require "oaichat.core"
local testing = require "oaichat.testing"

local TOTAL, SEED = tonumber(arg[1]) or 10000, tonumber(arg[2]) or 1
local TASKS, DEADLINE, LATE = 100, 3, 0.5
local TIMEOUTS = { connect = 1, first_byte = 0.15, first_content = 0.15, content_idle = 0.15, attempt = 0.3 }
local WEIGHTS = {
  ok = 8, slow = 2, reset = 2, cut = 2, stall = 1, garbage = 2, ["429"] = 1, ["500"] = 2, ["503"] = 1, ["404"] = 1,
}

local KINDS = {}
for kind in ("authentication permission not_found invalid_request context_length content_filter rate_limit quota "
  .. "conflict server overloaded timeout network protocol incomplete_stream too_large"):gmatch "%S+" do
  KINDS[kind] = true
end

local function provider(seed, name)
  local chaos = testing.chaos {
    seed = seed, weights = WEIGHTS, pause = 0.01, text = function() return name .. ": every word of the answer" end,
  }
  return testing.provider(chaos), chaos
end

local first, first_chaos, second, second_chaos
local TEXTS = {
  ["first: every word of the answer"] = true, ["second: every word of the answer"] = true, ["Sorry."] = true,
}

-- Nothing that the providers note may count as our memory.
local function forget()
  for _, one in ipairs { first, second } do
    for i in pairs(one.requests) do one.requests[i] = nil end
  end
  for _, chaos in ipairs { first_chaos, second_chaos } do
    for i in pairs(chaos.log) do chaos.log[i] = nil end
  end
end

local counts, wrong, slowest = {}, {}, 0

local function note(what)
  counts[what] = (counts[what] or 0) + 1
end

local function judge(n, reply, err, seconds)
  slowest = math.max(slowest, seconds)
  if seconds > DEADLINE + LATE then wrong[#wrong + 1] = ("%d took %.2f s"):format(n, seconds) end
  if reply then
    note(reply.via and reply.via[#reply.via].step or "first")
    if not TEXTS[reply.text] then wrong[#wrong + 1] = ("%d: %q"):format(n, reply.text) end
  elseif type(err) == "table" and KINDS[err.kind] then
    note(err.kind)
  else
    wrong[#wrong + 1] = ("%d: %s"):format(n, tostring(err))
  end
end

local function exchange(n, engine)
  local fallbacks = { { base_url = second.url, api_key = "sk-second", model = "s" .. n % 1500 } }
  if n % 5 == 0 then fallbacks[2] = { apology = "Sorry." } end
  local session = assert(chat.new {
    engine = engine, base_url = first.url, api_key = "sk-first", model = "f" .. n % 1500, timeouts = TIMEOUTS,
    deadline = DEADLINE, fallbacks = fallbacks,
    commit = n % 3 == 0 and { chars = 10 } or nil, hedge = n % 7 == 0 and 0.05 or nil,
  })
  local start = core.now()
  local reply, err, _
  if n % 2 == 0 then
    reply, _, err = session:send "Say it"
  else
    local stream, heard = session:stream "Say it", ""
    for event in stream:events() do
      if event.type == "text" then heard = heard .. event.text end
      if event.type == "restart" then heard = "" end
    end
    reply, _, err = stream:result()
    if reply and reply.text ~= heard then wrong[#wrong + 1] = ("%d: heard %q, got %q"):format(n, heard, reply.text) end
  end
  judge(n, reply, err, core.now() - start)
  local size = #session:messages()
  if size ~= (reply and 2 or 0) then wrong[#wrong + 1] = ("%d: %d messages"):format(n, size) end
end

local function rss()
  local file = io.open "/proc/self/statm"
  if not file then return 0 end
  local pages = file:read "*a":match "^%d+ (%d+)"
  file:close()
  return tonumber(pages) * 4
end

local function descriptors()
  local pipe = assert(io.popen "ls /proc/$PPID/fd 2>/dev/null | wc -l")
  local n = tonumber(pipe:read "*a")
  pipe:close()
  return n
end

-- With an engine and providers of its own: what is open afterwards has leaked.
local function run(from, to)
  first, first_chaos = provider(SEED + from, "first")
  second, second_chaos = provider(SEED + from + 1, "second")
  local at, engine = from - 1, chat.engine()
  for _ = 1, TASKS do
    engine:spawn(function()
      while at < to do
        at = at + 1
        exchange(at, engine)
        if at % 200 == 0 then forget() end
      end
    end)
  end
  assert(engine:run())
  forget()
  first:close()
  second:close()
  first, first_chaos, second, second_chaos = nil, nil, nil, nil
  engine.core:close()
  collectgarbage()
  collectgarbage()
end

local start, cpu = core.now(), os.clock()
-- LuaJIT still compiles traces in its first thousand
local warm = math.max(math.floor(TOTAL / 4), math.min(1000, math.floor(TOTAL / 2)))
run(1, warm)
local rss_warm, fds_warm = rss(), descriptors()
run(warm + 1, TOTAL)
local rss_end, fds_end = rss(), descriptors()

local names, total = {}, 0
for what, n in pairs(counts) do
  names[#names + 1] = ("%s %d"):format(what, n)
  total = total + n
end
table.sort(names)
print(("soak, seed %d: %d exchanges in %.0f s (%.0f s of processor): %s"):format(SEED, total, core.now() - start,
  os.clock() - cpu, table.concat(names, ", ")))
print(("slowest %.2f s (deadline %g), RSS %d kB -> %d kB, descriptors %d -> %d"):format(slowest, DEADLINE, rss_warm,
  rss_end, fds_warm, fds_end))
for i = 1, math.min(#wrong, 10) do print("WRONG " .. wrong[i]) end
local flat = rss_end - rss_warm < 2048 and fds_end <= fds_warm
os.exit(#wrong == 0 and total == TOTAL and flat and 0 or 1)
