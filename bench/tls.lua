--- bench/tls: 100 streams at once over TLS, with fresh and with kept connections, HTTP/1.1 and
-- HTTP/2: bare libcurl and oaichat in turns, through nginx in front of the mock server.
--
--   lua5.4 bench/tls.lua [rounds]
--
-- Prints a markdown table. Wants what `make bench-tools` builds, nginx and openssl. A case is
-- run with short answers and with long ones: the difference is what a chunk costs, what
-- remains of the short ones is what it costs to open a stream. The CA file has been read
-- before, by a stream to another port.

local lab = require "bench.lab"
local nginx = require "spec.support.nginx"

local rounds = tonumber(arg[1] or 3)
local STREAMS, SHORT, LONG, BUDGET = 100, 10, 1010, 0.001

local CASES = {
  { name = "HTTP/1.1, fresh", site = "h1" },
  { name = "HTTP/1.1, kept", site = "h1", kept = true },
  { name = "HTTP/2, fresh", site = "h2", http2 = true },
  { name = "HTTP/2, kept", site = "h2", http2 = true, kept = true },
}

local front, runs = nil, 0

local function url(site, mark, params)
  return ("https://localhost:%d/%s,%s/v1"):format(front.sites[site], mark, params)
end

-- What is kept is opened by streams that last until the last of them has begun.
local function settings_of(case, chunks)
  runs = runs + 1
  local params = "coalesce=20,chunks=" .. chunks
  return {
    MODE = "stream", STREAMS = STREAMS, CHUNKS = chunks, EXPECT = lab.length(chunks), CA = front:file "ca.pem",
    HTTP2 = case.http2 and 1 or 0, BASE = url(case.site, "run" .. runs, params),
    WARM = url(case.site .. "warm", "warm", params),
    KEPT = case.kept and url(case.site, "before", "chunks=3,delay=400000") or nil,
  }
end

-- The connections that the last run opened for what was measured.
local function count_connections(from, requests)
  local log, known, count = front:requests(from + requests), {}, 0
  local mark = ("/run%d,"):format(runs)
  for i = from + 1, #log do
    local id = log[i]:match "^%d+"
    if log[i]:find(mark, 1, true) and not known[id] then count = count + 1 end
    known[id] = true
  end
  return count
end

local function measure_budget(case, client, samples, key)
  local settings = settings_of(case, LONG)
  settings.BUDGET = BUDGET
  local result = lab.run(client, settings)
  samples.add(key .. "brief cpu", result.step_ms_cpu)
  samples.add(key .. "brief wall", result.step_ms_wall)
end

local function measure(case, client, samples)
  local key, from = case.name .. client.name, #front:requests()
  local short = lab.run(client, settings_of(case, SHORT))
  samples.add(key .. "connections", count_connections(from, 1 + STREAMS * (case.kept and 2 or 1)))
  local long = lab.run(client, settings_of(case, LONG))
  local chunk = (long.cpu - short.cpu) / (STREAMS * (LONG - SHORT))
  samples.add(key .. "chunk", chunk * 1e6)
  samples.add(key .. "open", (short.cpu - STREAMS * SHORT * chunk) / STREAMS * 1e3)
  samples.add(key .. "p50", short.ttft_ms_p50)
  samples.add(key .. "p99", short.ttft_ms_p99)
  if client.bare then return end
  samples.add(key .. "cpu", long.step_ms_cpu)
  samples.add(key .. "wall", long.step_ms_wall)
  measure_budget(case, client, samples, key)
end

local COLUMNS = {
  { "connections opened", "connections" }, { "CPU us a chunk", "chunk", spread = true },
  { "CPU ms a stream opened", "open", spread = true }, { "first token ms, p50", "p50" }, { "p99", "p99" },
  { "longest step ms, CPU", "cpu", own = true }, { "wall", "wall", own = true },
  { "with a budget of 1 ms: CPU", "brief cpu", own = true }, { "wall", "brief wall", own = true },
}

local function cell(column, client, samples, key)
  if column.own and client.bare then return "-" end
  local text = lab.number(samples.median(key .. column[2]))
  return column.spread and ("%s ±%.0f%%"):format(text, samples.spread(key .. column[2])) or text
end

local function print_results(clients, samples)
  local head, rows = { "case", "client" }, {}
  for _, column in ipairs(COLUMNS) do head[#head + 1] = column[1] end
  for _, case in ipairs(CASES) do
    for _, client in ipairs(clients) do
      if not (client.bare and case.kept) then
        local row = { case.name, client.name }
        for _, column in ipairs(COLUMNS) do row[#row + 1] = cell(column, client, samples, case.name .. client.name) end
        rows[#rows + 1] = row
      end
    end
  end
  lab.print_table(head, rows)
end

local function each_round(clients, samples)
  for _ = 1, rounds do
    for _, case in ipairs(CASES) do
      for _, client in ipairs(clients) do
        -- bare libcurl keeps no connections from one run of streams to another
        if not (client.bare and case.kept) then measure(case, client, samples) end
      end
    end
  end
end

local missing = nginx.missing()
if missing then error(missing, 0) end
local MANY = "keepalive_requests 1000000;"
front = nginx.start {
  h1 = { cert = "good", extra = MANY }, h1warm = { cert = "good" },
  h2 = { cert = "good", http2 = true, extra = MANY }, h2warm = { cert = "good", http2 = true },
}
lab.beside_the_server(front.pid)
local _, stop = lab.mock(front.upstream)
local clients, samples = lab.clients "bench/tls_client.lua", lab.samples()
local ok, why = pcall(each_round, clients, samples)
stop()
front:stop()
if not ok then error(why, 0) end
print(("%d streams at once; medians of %d rounds, the clients in turns; ±: half of the rounds are that near.\n"):format(
  STREAMS, rounds))
print_results(clients, samples)
