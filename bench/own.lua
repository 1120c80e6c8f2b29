--- bench/own: what oaichat costs against bare libcurl that throws away what it receives.
-- Starts bench/mock.c on a free port and CPU 0, runs every client in every scenario on CPU 1,
-- interleaved over the rounds, and prints the medians. `make bench` builds what it needs.
--
--   ROUNDS=5 SCENARIOS="S1 S4" CLIENTS="limit oaichat:luajit" OUT=runs.jsonl lua5.4 bench/own.lua

local BUILD = os.getenv "BUILD" or "build/bench"
local LIMIT = "limit"

local function option(name, default)
  local value = os.getenv(name)
  if value and value ~= "" then return value end
  return default
end

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

local rounds = tonumber(option("ROUNDS", "5"))
local out = option("OUT")

-- ---- what is measured --------------------------------------------------------------------

local function cpu_us(r) return (r.user_s + r.sys_s) * 1e6 / r.chunks end
local function field(name) return function(r) return r[name] end end

local SCENARIOS = {
  S1 = { mode = "stream", streams = 1, chunks = 100000, about = "1 stream, a write a chunk" },
  S1c = { mode = "stream", streams = 1, chunks = 100000, params = "coalesce=50", about = "1 stream, 50 a write" },
  S2 = { mode = "stream", streams = 100, chunks = 1000, about = "100 streams, a write a chunk" },
  S2c = { mode = "stream", streams = 100, chunks = 1000, params = "coalesce=20", about = "100 streams, 20 a write" },
  S2p = { mode = "stream", streams = 100, chunks = 200, params = "delay=10000", about = "100 streams, 100/s each" },
  S3 = { mode = "stream", streams = 1000, chunks = 100, about = "1,000 streams" },
  S4 = { mode = "oneshot", streams = 2000, chunks = 50, about = "2,000 completions" },
  S5 = { mode = "idle", streams = 1000, chunks = 50, params = "hold=1", hold = 1, about = "1,000 streams wait" },
  S5b = {
    mode = "idle", streams = 1000, chunks = 100, params = "hold=60,coalesce=60", hold = 60,
    about = "1,000 wait, behind a burst",
  },
  S6 = { mode = "cold", streams = 1, chunks = 2, about = "from exec to the first request" },
  S7 = { mode = "turns", streams = 200, chunks = 250, about = "200 turns of one conversation" },
}
local MEASURES = {
  stream = { unit = "CPU us/chunk", of = cpu_us },
  oneshot = { unit = "CPU us/request", of = cpu_us },
  idle = { unit = "kB/stream", of = field "kb_per_stream" },
  cold = { unit = "CPU ms", of = field "start_cpu_ms" },
  turns = { unit = "CPU us/turn", of = field "cpu_us_turn" },
}

-- The user's text of every turn, as it stands in JSON: 300 bytes.
local USER = [[How does a client notice that a \"slow\" server has stopped in the middle of an answer?\n\n]]
  .. [[List the timeouts that it should have, from the connection to the last byte, and say for each one which ]]
  .. [[failure it catches.\nThen write a short example in Lua that reads tokens as they come, and name the limits.\n]]

-- ---- processes ---------------------------------------------------------------------------

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function works(command) return output_of(command .. " >/dev/null 2>&1 && echo yes") ~= "" end

local pinned = works "taskset -c 1 true"
local function on_cpu(n) return pinned and ("taskset -c %d "):format(n) or "" end

-- Gives its base URL and a function that ends it: a mock server ends with its reader.
local function start_mock()
  local pipe = assert(io.popen(("exec %s%s/mock -p 0"):format(on_cpu(0), quote(BUILD))))
  local port = assert((pipe:read "*l" or ""):match "^port (%d+)", "the mock server did not start")
  return "http://127.0.0.1:" .. port, function() pipe:close() end
end

local expected = {}
local function text_bytes(chunks)
  expected[chunks] = expected[chunks] or tonumber(output_of(("%s/mock -e %d"):format(quote(BUILD), chunks)))
  return expected[chunks]
end

-- The command of a client and its own environment; nothing when it cannot run here.
local function find_client(name)
  local interpreter = name:match "^oaichat:(.+)"
  if name == LIMIT then return { name = name, command = quote(BUILD .. "/limit"), env = {} } end
  if not interpreter or not works("command -v " .. quote(interpreter)) then return nil end
  local abi = interpreter == "luajit" and "5.1" or interpreter:match "^lua(.+)"
  local cpath = ("build/%s/?.so"):format(abi)
  if not works(("test -f build/%s/oaichat/core.so"):format(quote(abi))) then return nil end
  return {
    name = name, command = quote(interpreter) .. " bench/client.lua",
    env = { LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = cpath .. ";;" },
  }
end

local function command_of(client, case, base)
  local env = {
    BENCH_NAME = client.name, BENCH_MODE = case.mode, BENCH_STREAMS = case.streams, BENCH_CHUNKS = case.chunks,
    BENCH_EXPECT = text_bytes(case.chunks), BENCH_WARM = base .. "/chunks=10/v1", BENCH_HOLD = case.hold or 1,
    BENCH_BASE = ("%s/chunks=%d,%s/v1"):format(base, case.chunks, case.params or "delay=0"), BENCH_USER_JSON = USER,
  }
  local parts = { "ulimit -n 20000 2>/dev/null;" }
  for _, set in ipairs { env, client.env } do
    for name, value in pairs(set) do parts[#parts + 1] = name .. "=" .. quote(tostring(value)) end
  end
  parts[#parts + 1] = "timeout 120 " .. on_cpu(1)
  if case.mode == "cold" then parts[#parts + 1] = quote(BUILD .. "/cold") end
  parts[#parts + 1] = client.command
  return table.concat(parts, " ")
end

-- ---- runs --------------------------------------------------------------------------------

-- A result line is flat: no parser is asked to be there.
local function read_result(line)
  local result = { ok = line:find '"ok":%s*true' ~= nil }
  for name, value in line:gmatch '"([%w_]+)":%s*(-?[%d.eE+-]+)' do result[name] = tonumber(value) end
  return result
end

local function write_run(scenario, round, client, line)
  if not out then return end
  local file = assert(io.open(out, "a"))
  file:write(('{"scenario":"%s","round":%d,"client":"%s","result":%s}\n'):format(scenario, round, client, line))
  file:close()
end

local function measure(client, scenario, round, base)
  local case = SCENARIOS[scenario]
  local line = output_of(command_of(client, case, base)):match "(%b{})%s*$"
  write_run(scenario, round, client.name, line or "null")
  local result = line and read_result(line)
  return result and result.ok and MEASURES[case.mode].of(result) or nil
end

local function run_all(clients, scenarios, base)
  local values = {}
  for round = 1, rounds do
    for _, scenario in ipairs(scenarios) do
      values[scenario] = values[scenario] or {}
      for _, client in ipairs(clients) do
        local list = values[scenario][client.name] or { bad = 0 }
        values[scenario][client.name] = list
        local value = measure(client, scenario, round, base)
        if value then list[#list + 1] = value else list.bad = list.bad + 1 end
      end
    end
    io.stderr:write(("round %d of %d, %s\n"):format(round, rounds, os.date "%H:%M:%S"))
  end
  return values
end

-- ---- the table ---------------------------------------------------------------------------

local function median(list)
  table.sort(list)
  local n = #list
  if n == 0 then return nil end
  return (list[math.floor((n + 1) / 2)] + list[math.floor(n / 2) + 1]) / 2
end

local function number(x)
  if not x then return "-" end
  return (x >= 100 and "%.0f" or x >= 10 and "%.1f" or "%.2f"):format(x)
end

local function print_row(scenario, client, list, base)
  local case, value = SCENARIOS[scenario], median(list)
  local cells = {
    scenario .. ": " .. case.about, client.name .. (list.bad > 0 and (" (%d bad)"):format(list.bad) or ""),
    MEASURES[case.mode].unit, number(value), value and number(list[1]) .. " - " .. number(list[#list]) or "-",
    value and base and ("%.2f"):format(value / base) or "-",
  }
  print("| " .. table.concat(cells, " | ") .. " |")
end

local function print_table(clients, scenarios, values)
  print "| scenario | client | unit | median | min - max | x limit |"
  print "| --- | --- | --- | ---: | ---: | ---: |"
  for _, scenario in ipairs(scenarios) do
    local of = values[scenario]
    for _, client in ipairs(clients) do
      print_row(scenario, client, of[client.name], of[LIMIT] and median(of[LIMIT]))
    end
  end
end

local function bad_runs(values)
  local n = 0
  for _, of in pairs(values) do
    for _, list in pairs(of) do n = n + list.bad end
  end
  return n
end

-- ---- main --------------------------------------------------------------------------------

local clients, scenarios = {}, words(option("SCENARIOS", "S1 S1c S2 S2c S2p S3 S4 S5 S5b S6 S7"))
for _, scenario in ipairs(scenarios) do assert(SCENARIOS[scenario], scenario .. ": not a scenario") end
for _, name in ipairs(words(option("CLIENTS", "limit oaichat:lua5.4 oaichat:luajit"))) do
  local client = find_client(name)
  if client then
    clients[#clients + 1] = client
  else
    io.stderr:write(name, ": left out, it is not here or not built\n")
  end
end
if not pinned then io.stderr:write "no taskset or a single CPU: server and client disturb each other\n" end
local base, stop = start_mock()
local values = run_all(clients, scenarios, base)
stop()
print_table(clients, scenarios, values)
os.exit(bad_runs(values) == 0)
