--- bench/own: what oaichat costs against bare libcurl that throws away what it receives: every
-- client in every scenario, interleaved over the rounds, and the medians. `make bench`.
--
--   ROUNDS=5 SCENARIOS="S1 S4" CLIENTS="limit oaichat:luajit" RUNS=runs.jsonl lua5.4 bench/own.lua

local json = require "oaichat.json"
local lab = require "bench.lab"

local function option(name, default)
  local value = os.getenv(name)
  return value and value ~= "" and value or default
end

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

local function stream(streams, chunks, params)
  return { mode = "stream", streams = streams, chunks = chunks, params = params }
end

local SCENARIOS = {
  S1 = stream(1, 100000), S1c = stream(1, 100000, "coalesce=50"),
  S2 = stream(100, 1000), S2c = stream(100, 1000, "coalesce=20"), S2p = stream(100, 200, "delay=10000"),
  S3 = stream(1000, 100),
  S4 = { mode = "oneshot", streams = 2000, chunks = 50 },
  S5 = { mode = "idle", streams = 1000, chunks = 50, params = "hold=1", hold = 1 },
  S5b = { mode = "idle", streams = 1000, chunks = 100, params = "hold=60,coalesce=60", hold = 60 },
  S6 = { mode = "cold", streams = 1, chunks = 2 },
  S7 = { mode = "turns", streams = 200, chunks = 250 },
}

-- The user's text of every turn, as it stands in JSON: 300 bytes.
local USER = [[How does a client notice that a \"slow\" server has stopped in the middle of an answer?\n\n]]
  .. [[List the timeouts that it should have, from the connection to the last byte, and say for each one which ]]
  .. [[failure it catches.\nThen write a short example in Lua that reads tokens as they come, and name the limits.\n]]

local function settings_of(case, base)
  return {
    MODE = case.mode, STREAMS = case.streams, CHUNKS = case.chunks, EXPECT = lab.length(case.chunks),
    WARM = base .. "/chunks=10/v1", HOLD = case.hold or 1, USER_JSON = USER,
    BASE = ("%s/chunks=%d,%s/v1"):format(base, case.chunks, case.params or "delay=0"),
  }
end

-- A start is measured by a program that starts the client.
local function in_case(client, case)
  if case.mode ~= "cold" then return client end
  return { name = client.name, env = client.env, command = lab.COLD .. " " .. client.command }
end

local function run_all(clients, scenarios, base, file)
  local bad = 0
  for round = 1, tonumber(option("ROUNDS", "5")) do
    for _, scenario in ipairs(scenarios) do
      local case = SCENARIOS[scenario]
      for _, client in ipairs(clients) do
        local ok, result = pcall(lab.run, in_case(client, case), settings_of(case, base))
        if not ok then
          bad = bad + 1
          io.stderr:write(tostring(result), "\n")
        end
        file:write(json.encode {
          scenario = scenario, round = round, client = client.short, result = ok and result or json.null,
        }, "\n")
      end
    end
    io.stderr:write(("round %d, %s\n"):format(round, os.date "%H:%M:%S"))
  end
  return bad
end

local scenarios = words(option("SCENARIOS", "S1 S1c S2 S2c S2p S3 S4 S5 S5b S6 S7"))
for _, scenario in ipairs(scenarios) do assert(SCENARIOS[scenario], scenario .. ": not a scenario") end
local wanted, clients = option "CLIENTS", {}
for _, client in ipairs(lab.clients()) do
  local named = not wanted or (" " .. wanted .. " "):find(" " .. client.short .. " ", 1, true)
  if named then clients[#clients + 1] = client end
end
local path = option("RUNS", "build/bench/runs.jsonl")
local file = assert(io.open(path, "wb"))
local base, stop = lab.mock()
local bad = run_all(clients, scenarios, base, file)
stop()
file:close()
arg = { [0] = "bench/table.lua", path } -- luacheck: globals arg
dofile "bench/table.lua"
os.exit(bad == 0)
