--- bench/chart: draws docs/performance.svg, each client against bare libcurl, from a file of results.
--
--   lua5.4 bench/chart.lua RESULTS.json [docs/performance.svg [scenario ...]]
--
-- RESULTS.json is a list of medians, all of one run:
--
--   [ { "scenario": "one stream", "client": "limit", "median": 0.10, "unit": "us/chunk" },
--     { "scenario": "one stream", "client": "oaichat, Lua 5.4", "median": 0.45, "unit": "us/chunk" } ]
--
-- Scenarios are drawn in the order in which they come first, the bars of one from the least
-- to the most. The client "limit" is what the others are divided by: it has no bar, a
-- scenario without it is left out. Names that begin with "oaichat" are drawn in colour.

local json = require "oaichat.json"
local svg = require "bench.svg"

local LIMIT = "limit"
local TITLE = "Against bare libcurl that receives and drops, on the same machine"
local NOTE = "1× is the limit: what libcurl itself costs. Less is better; the scale is logarithmic."

local function read_results(path)
  local file = assert(io.open(path, "rb"))
  local results = assert(json.decode(file:read "*a"))
  file:close()
  return results
end

local function check(row, i)
  assert(type(row.scenario) == "string" and type(row.client) == "string" and type(row.median) == "number"
    and row.median > 0, ("result %d: scenario, client and a median above 0 wanted"):format(i))
end

-- { name, limit, unit, bars }, in the order of the file.
local function by_scenario(results)
  local groups, known = {}, {}
  for i, row in ipairs(results) do
    check(row, i)
    local group = known[row.scenario]
    if not group then
      group = { name = row.scenario, unit = row.unit or "", bars = {} }
      groups[#groups + 1], known[row.scenario] = group, group
    end
    if row.client == LIMIT then group.limit = row.median else table.insert(group.bars, row) end
  end
  return groups
end

local function quantity(number, unit)
  return (number >= 1000 and "%.0f %s" or "%.3g %s"):format(number, unit)
end

local function as_bar(row, group)
  return {
    name = row.client, value = row.median / group.limit, own = row.client:find "^oaichat" ~= nil,
    note = quantity(row.median, group.unit),
  }
end

local function prepare(groups)
  local ready = {}
  for _, group in ipairs(groups) do
    if not group.limit then
      io.stderr:write(("%s: no %s, left out\n"):format(group.name, LIMIT))
    elseif group.bars[1] then
      local bars = {}
      for i, row in ipairs(group.bars) do bars[i] = as_bar(row, group) end
      table.sort(bars, function(a, b)
        if a.value ~= b.value then return a.value < b.value end
        return a.name < b.name
      end)
      ready[#ready + 1] = { name = group.name, note = "1× is " .. quantity(group.limit, group.unit), bars = bars }
    end
  end
  return ready
end

local function describe(groups)
  local lines = {}
  for _, group in ipairs(groups) do
    local parts = {}
    for i, bar in ipairs(group.bars) do parts[i] = ("%s %.3g"):format(bar.name, bar.value) end
    lines[#lines + 1] = ("%s: %s."):format(group.name, table.concat(parts, ", "))
  end
  return "Times what bare libcurl takes. " .. table.concat(lines, " ")
end

if not arg[1] then
  io.stderr:write "usage: lua5.4 bench/chart.lua RESULTS.json [OUT.svg [scenario ...]]\n"
  os.exit(2)
end
-- Those that are named, or all.
local function chosen(groups)
  if not arg[3] then return groups end
  local list = {}
  for i = 3, #arg do
    for _, group in ipairs(groups) do
      if group.name == arg[i] then list[#list + 1] = group end
    end
  end
  return list
end

local groups = prepare(chosen(by_scenario(read_results(arg[1]))))
assert(groups[1], "nothing to draw")
local out = assert(io.open(arg[2] or "docs/performance.svg", "wb"))
out:write(svg.bars { title = TITLE, note = NOTE, desc = describe(groups), groups = groups })
out:close()
