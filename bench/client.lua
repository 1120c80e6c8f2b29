--- bench/client: oaichat as a client of a benchmark, by its public API only.
-- Settings come from the environment (BENCH_MODE, BENCH_BASE, …), the result is one
-- JSON line; the protocol is that of the harness in ../shared/bench/README.md.
--
--   BENCH_MODE=stream BENCH_BASE=http://127.0.0.1:8091/chunks=100/v1 \
--   BENCH_WARM=$BENCH_BASE lua5.4 bench/client.lua

local chat = require "oaichat"
local core = require "oaichat.core"

local function env(name, default)
  local value = os.getenv(name)
  if value and value ~= "" then return value end
  return default
end

local mode = env("BENCH_MODE", "stream")
local n, chunks = tonumber(env("BENCH_STREAMS", "1")), tonumber(env("BENCH_CHUNKS", "50"))
local expect = tonumber(env("BENCH_EXPECT", "0"))
local base, warm = env "BENCH_BASE", env "BENCH_WARM"
local QUESTION = "Write a long text about streams of tokens."

local function session(url)
  return assert(chat.new { base_url = url, api_key = "sk-bench", system = "You are a helpful assistant." })
end

local function max_rss()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmHWM:%s*(%d+)"
    if kb then return tonumber(kb) end
  end
end

local function percentile(values, q)
  if #values == 0 then return 0 end
  table.sort(values)
  return values[math.floor(q * (#values - 1) + 0.5) + 1] * 1e3
end

-- os.clock is user and system time of the process together.
local function report(streams, total, bytes, want, from, latency, extra)
  local cpu, wall = os.clock() - from.cpu, core.now() - from.wall
  local line = {
    client = env("BENCH_NAME", "oaichat"), streams = streams, chunks = total, bytes_of_text = bytes,
    ok = bytes == want, wall_s = wall, user_s = cpu, sys_s = 0, maxrss_kb = max_rss(),
    ttft_ms_p50 = percentile(latency, 0.5), ttft_ms_p99 = percentile(latency, 0.99),
  }
  for name, value in pairs(extra or {}) do line[name] = value end
  print(chat.json.encode(line))
end

local function mark()
  return { cpu = os.clock(), wall = core.now() }
end

local function one(talk, since)
  local bytes, first = 0, nil
  for text in talk:stream(QUESTION) do
    if not first then first = core.now() - since end
    bytes = bytes + #text
  end
  return bytes, first
end

local modes = {}

function modes.cold()
  assert(session(base):send(QUESTION))
end

function modes.stream()
  one(session(warm), 0)
  local from, latency, bytes = mark(), {}, 0
  local function run(i)
    local got, first = one(session(base), from.wall)
    bytes, latency[i] = bytes + got, first
  end
  if n == 1 then
    run(1)
  else
    for i = 1, n do chat.spawn(run, i) end
    assert(chat.run())
  end
  report(n, n * chunks, bytes, n * expect, from, latency)
end

local function rss()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmRSS:%s*(%d+)"
    if kb then return tonumber(kb) end
  end
end

-- Streams that got some tokens and wait: what an open one costs.
function modes.idle()
  one(session(warm), 0)
  collectgarbage()
  collectgarbage()
  local before, from, open, hold = rss(), mark(), 0, tonumber(env("BENCH_HOLD", "1"))
  local talk = session(base)
  for _ = 1, n do
    chat.spawn(function()
      local got = 0
      for _ in talk:fork():stream(QUESTION) do
        got = got + 1
        if got == hold then open = open + 1 end
      end
    end)
  end
  while open < n do
    chat.step()
    chat.wait(1)
  end
  local after = rss()
  report(n, 0, 0, 0, from, {}, { rss_base_kb = before, rss_open_kb = after, kb_per_stream = (after - before) / n })
  os.exit(0)
end

function modes.oneshot()
  assert(session(warm):send(QUESTION))
  local talk, from, latency, bytes = session(base), mark(), {}, 0
  for i = 1, n do
    local t = core.now()
    bytes = bytes + #assert(talk:send(QUESTION)).text
    latency[i] = core.now() - t
    talk:reset()
  end
  report(1, n, bytes, n * expect, from, latency)
end

function modes.turns()
  assert(session(warm):send(QUESTION))
  local user = assert(chat.json.decode('"' .. env("BENCH_USER_JSON", "hi") .. '"'))
  local talk = assert(chat.new { base_url = base, api_key = "sk-bench" })
  local edge, bytes, total, first, last = math.min(20, math.floor(n / 2)), 0, 0, 0, 0
  local from = mark()
  local before = from.cpu
  for i = 1, n do
    bytes = bytes + #assert(talk:send(user)).text
    local now = os.clock()
    local cpu = now - before
    total = total + cpu
    if i <= edge then first = first + cpu / edge end
    if i > n - edge then last = last + cpu / edge end
    before = now
  end
  report(1, n, bytes, n * expect, from, {}, {
    turns = n, cpu_us_turn = total / n * 1e6, cpu_us_first = first * 1e6, cpu_us_last = last * 1e6,
  })
end

local run = modes[mode]
if not run then
  io.stderr:write(mode, ": not a mode of this client\n")
  os.exit(3)
end
run()
