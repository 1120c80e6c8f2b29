--- bench/tls_client: oaichat as bench/tls.lua runs it: many streams over TLS, each step of the loop timed.
-- Settings and result line are those of bench/client.lua, and:
--   BENCH_CA      the CA file            BENCH_HTTP2=1   with HTTP/2
--   BENCH_KEPT    a base URL for as many streams before, whose connections are kept
--   BENCH_BUDGET  seconds that a step may take

local chat = require "oaichat"
local core = require "oaichat.core"

local function number(name) return tonumber(os.getenv(name) or "") end

local streams, expect, budget = number "BENCH_STREAMS", number "BENCH_EXPECT", number "BENCH_BUDGET"

local function session(url)
  return assert(chat.new {
    base_url = url, api_key = "sk-bench", system = "You are a helpful assistant.", ca_file = os.getenv "BENCH_CA",
    http2 = os.getenv "BENCH_HTTP2" == "1", retry = { max = 0 },
  })
end

local function percentile(values, q)
  table.sort(values)
  return values[math.floor(q * (#values - 1) + 0.5) + 1] * 1e3
end

-- Until every stream has ended; the longest step, on the processor and on the clock.
local function drive(left)
  local cpu, wall = 0, 0
  while left() > 0 do
    local cpu_before, wall_before = os.clock(), core.now()
    chat.step(budget)
    cpu, wall = math.max(cpu, os.clock() - cpu_before), math.max(wall, core.now() - wall_before)
    chat.wait(1)
  end
  return { cpu = cpu * 1e3, wall = wall * 1e3 }
end

local function run(url, n)
  local latency, bytes, left, from = {}, 0, n, core.now()
  for _ = 1, n do
    chat.spawn(function()
      local first
      for text in session(url):stream "Write a long text about streams of tokens." do
        first = first or core.now() - from
        bytes = bytes + #text
      end
      left = left - 1
      latency[#latency + 1] = first
    end)
  end
  local longest = drive(function() return left end)
  return bytes, latency, longest
end

run(os.getenv "BENCH_WARM", 1)
if os.getenv "BENCH_KEPT" then run(os.getenv "BENCH_KEPT", streams) end
collectgarbage()
local cpu, wall = os.clock(), core.now()
local bytes, latency, longest = run(os.getenv "BENCH_BASE", streams)
print(chat.json.encode {
  ok = bytes == streams * expect, streams = streams, bytes_of_text = bytes, user_s = os.clock() - cpu, sys_s = 0,
  wall_s = core.now() - wall, ttft_ms_p50 = percentile(latency, 0.5), ttft_ms_p99 = percentile(latency, 0.99),
  step_ms_cpu = longest.cpu, step_ms_wall = longest.wall,
})
