--- bench/table: one table of medians, a row a client and a column a scenario, from runs as
-- bench/own.lua (OUT=) and bench/run.sh write them, a JSON line each; and the list of medians
-- that bench/chart.lua draws.
--
--   lua5.4 bench/table.lua RUNS.jsonl [RESULTS.json]

local json = require "oaichat.json"

local LIMIT = "limit"

local function cpu(r) return (r.user_s + r.sys_s) * 1e6 / math.max(r.chunks, 1) end
local function field(name) return function(r) return r[name] end end

local COLUMNS = {
  { "S1", "µs/chunk", cpu, "one stream" }, { "S1c", "µs/chunk", cpu, "one stream, 50 chunks a write" },
  { "S2", "µs/chunk", cpu, "100 streams" }, { "S2c", "µs/chunk", cpu, "100 streams, 20 chunks a write" },
  { "S2p", "µs/chunk", cpu, "100 streams at a model's pace" }, { "S3", "µs/chunk", cpu, "1,000 streams" },
  { "S4", "µs/request", cpu, "requests in a row" }, { "S5", "kB/stream", field "kb_per_stream", "an open stream" },
  { "S5b", "kB/stream", field "kb_per_stream", "an open stream behind a burst" },
  { "S6", "ms", field "start_cpu_ms", "start to the first request" },
  { "S7", "µs/turn", field "cpu_us_turn", "a turn of a long conversation" },
}

-- scenario -> client -> values; and the clients in the order in which they come.
local function read_runs(path)
  local values, clients, known = {}, {}, {}
  for line in io.lines(path) do
    local run = assert(json.decode(line))
    local name, result = run.name or run.client, run.r or run.result
    if not known[name] then clients[#clients + 1], known[name] = name, true end
    local of = values[run.scenario] or {}
    values[run.scenario] = of
    if type(result) == "table" and result.ok then
      of[name] = of[name] or {}
      table.insert(of[name], result)
    end
  end
  return values, clients
end

local function median(results, measure)
  local list = {}
  for _, result in ipairs(results or {}) do list[#list + 1] = measure(result) end
  table.sort(list)
  local n = #list
  return n > 0 and (list[math.floor((n + 1) / 2)] + list[math.floor(n / 2) + 1]) / 2 or nil
end

local function number(x)
  return x and (x >= 100 and "%.0f" or x >= 10 and "%.1f" or "%.2f"):format(x) or "–"
end

local function cell(value, limit, is_limit)
  if not value or not limit or is_limit then return number(value) end
  return ("%s (%s×)"):format(number(value), number(value / limit))
end

local values, clients = read_runs(arg[1])
local head, line, results = { "client" }, { "---" }, {}
local columns = {}
for _, column in ipairs(COLUMNS) do
  if values[column[1]] then
    columns[#columns + 1] = column
    head[#head + 1], line[#line + 1] = ("%s, %s"):format(column[1], column[2]), "---:"
  end
end
print("| " .. table.concat(head, " | ") .. " |\n|" .. table.concat(line, "|") .. "|")
for _, client in ipairs(clients) do
  local row = { client }
  for _, column in ipairs(columns) do
    local of = values[column[1]]
    local value = median(of[client], column[3])
    row[#row + 1] = cell(value, median(of[LIMIT], column[3]), client == LIMIT)
    if value then
      results[#results + 1] = { scenario = column[4], client = client, median = value, unit = column[2] }
    end
  end
  print("| " .. table.concat(row, " | ") .. " |")
end
if arg[2] then
  local file = assert(io.open(arg[2], "wb"))
  file:write(json.encode(results), "\n")
  file:close()
end
