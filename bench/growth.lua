--- bench/growth: how CPU time grows with the number of streams, the size of an event, and the
--- length of a conversation; bare libcurl and oaichat in turns, in one run.
--
--   lua5.4 bench/growth.lua [rounds [docs/growth.svg]]
--
-- Prints a markdown table for each and draws the plots. Wants what `make bench-tools` builds,
-- and oaichat built for lua5.4, luajit or both.

local lab = require "bench.lab"
local svg = require "bench.svg"

local rounds, target = tonumber(arg[1] or 5), arg[2] or "docs/growth.svg"
local KB, MB = 1000, 1000000

local function bytes_text(n)
  if n >= MB then return ("%g MB"):format(n / MB) end
  if n >= KB then return ("%g kB"):format(n / KB) end
  return ("%d B"):format(n)
end

local function settings_of(mode, base, streams, chunks, params, bytes)
  return {
    MODE = mode, STREAMS = streams, CHUNKS = chunks, EXPECT = lab.length(chunks, bytes),
    BASE = ("%s/chunks=%d,%s/v1"):format(base, chunks, params), WARM = ("%s/chunks=10,%s/v1"):format(base, params),
  }
end

-- ---- what is measured ------------------------------------------------------------------

-- Each has points and measure(client, base, point, round) -> the figure.
local streams = {
  points = { 1, 3, 10, 30, 100, 300, 1000 }, label = "streams at once, their opening included", unit = "us a chunk",
  plot = "Streams at once", x = { name = "streams", log = true, ticks = { 1, 10, 100, 1000 } },
  y = { name = "CPU a chunk, µs" }, factor = 1e6, show = tostring,
}

function streams.measure(client, base, n)
  local chunks = math.floor(1e5 / n)
  local result = lab.run(client, settings_of("stream", base, n, chunks, "coalesce=20"))
  return result.cpu / (n * chunks)
end

local events = {
  points = { 100, 500, 2 * KB, 8 * KB, 32 * KB, 128 * KB, 500 * KB, 2 * MB, 8 * MB }, label = "text of an event",
  unit = "ns a byte", plot = "Size of an event", factor = 1e9, show = bytes_text,
  x = { name = "text of one event", log = true, ticks = { 100, 10 * KB, MB }, text = bytes_text },
  y = { name = "CPU a byte of text, ns", log = true },
}

-- Small events by the ten thousand, some 16 kB a write, so that system calls are not what
-- is measured; the largest are some, an answer may have 64 MB.
function events.measure(client, base, size)
  local chunks = math.max(4, math.min(100000, math.floor(32e6 / size)))
  local params = ("bytes=%d,coalesce=%d"):format(size, math.max(1, math.floor(16 * KB / (size + 200))))
  local settings = settings_of("stream", base, 1, chunks, params, size)
  settings.WARM = base .. "/chunks=10/v1"
  return lab.run(client, settings).cpu / (chunks * size)
end

local history = {
  points = { 10, 40, 60, 80, 100, 120, 140, 160, 180, 200 }, label = "messages before, on average", unit = "us a turn",
  plot = "Length of a conversation", factor = 1e6,
  x = { name = "messages before, 1 kB an answer", ticks = { 0, 100, 200, 300, 400 } },
  y = { name = "CPU a turn, µs" },
}

local USER = ("Please explain streams, step by step. "):rep(3)
local EDGE = 20

-- So few turns take so little that there are more rounds of them.
history.rounds = 4

-- The mean of the last 20 turns of so many; the first 20 are the beginning of 40. The rounds
-- are some turns apart, so that a collection of garbage is not in all of them or in none.
function history.measure(client, base, turns, round)
  local first = turns < 2 * EDGE
  local shift = round % 4 * 4 - 6
  local settings = settings_of("turns", base, first and 2 * EDGE or turns + shift, 1, "bytes=" .. KB, KB)
  settings.USER_JSON = USER
  local result = lab.run(client, settings, true)
  return (first and result.cpu_us_first or result.cpu_us_last) * 1e-6
end

-- A turn adds two messages.
local function before(turns)
  if turns < 2 * EDGE then return EDGE - 1 end
  return 2 * turns - EDGE - 1
end

history.place, history.show = before, function(turns) return ("%d"):format(before(turns)) end

-- ---- rounds, tables, plots -------------------------------------------------------------

local function measure(what, clients, base)
  local samples = lab.samples()
  for round = 1, rounds * (what.rounds or 1) do
    for _, point in ipairs(what.points) do
      for _, client in ipairs(clients) do
        samples.add(client.name .. point, what.measure(client, base, point, round))
      end
    end
  end
  return samples
end

local function print_table(what, clients, samples)
  local head, rows = { what.label }, {}
  for _, client in ipairs(clients) do head[#head + 1] = ("%s, %s"):format(client.name, what.unit) end
  for i, point in ipairs(what.points) do
    rows[i] = { what.show(point) }
    for _, client in ipairs(clients) do
      local key = client.name .. point
      table.insert(rows[i], ("%s ±%.0f%%"):format(lab.number(samples.median(key) * what.factor), samples.spread(key)))
    end
  end
  lab.print_table(head, rows)
end

local function plot_of(what, clients, samples)
  local plot = { name = what.plot, x = what.x, y = what.y, series = {} }
  for i, client in ipairs(clients) do
    local points = {}
    for j, point in ipairs(what.points) do
      local place = what.place and what.place(point) or point
      points[j] = { place, samples.median(client.name .. point) * what.factor }
    end
    plot.series[i] = { name = client.name, points = points }
  end
  return plot
end

local clients, plots = lab.clients(), {}
local base, stop = lab.mock()
print(("Medians of %d rounds, the clients in turns; ±: half of the rounds are that near.\n"):format(rounds))
for i, what in ipairs { streams, events, history } do
  local samples = measure(what, clients, base)
  print_table(what, clients, samples)
  plots[i] = plot_of(what, clients, samples)
end
stop()

local out = assert(io.open(target, "wb"))
out:write(svg.plots {
  title = "CPU time as things grow", plots = plots,
  desc = "Three plots of CPU time, of bare libcurl and of oaichat: for a chunk with 1 to 1000 streams at once, for a "
    .. "byte of text in events of 100 bytes to 8 MB, and for a turn with 0 to 400 messages before it.",
})
out:close()
