--- bench/ratchet: instructions that core.so and the Lua VM take for a chunk, a request and
-- a turn, counted by callgrind, and the memory of an open stream, held against what
-- bench/ratchet.json says. Not libcurl, not libc: what is ours. What is counted hangs on
-- the compiler and on Lua, so another one of them is only told.
--
--   lua5.4 bench/ratchet.lua [update]

local json = require "oaichat.json"
local lab = require "bench.lab"

local output_of = lab.output_of

local FILE, SLACK = "bench/ratchet.json", 0.03
local interpreter = arg[-1]

-- The command of bench/client.lua with its settings.
local function client(base, case, count, before)
  local settings = {
    BENCH_MODE = case.mode, BENCH_WARM = base .. "/chunks=10/v1", BENCH_HOLD = case.hold, BENCH_USER_JSON = case.text,
    BENCH_STREAMS = case.per == "chunk" and 1 or count, BENCH_CHUNKS = case.per == "chunk" and count or 50,
  }
  settings.BENCH_BASE = ("%s/chunks=%d,%s/v1"):format(base, settings.BENCH_CHUNKS, case.params)
  local words = {}
  for name, value in pairs(settings) do words[#words + 1] = ("%s='%s'"):format(name, value) end
  return ("env %s %s %s bench/client.lua"):format(table.concat(words, " "), before, interpreter)
end

-- ---- instructions ----------------------------------------------------------------------

-- Callgrind's file: "ob=" names the object that the lines of costs behind it belong to, but
-- the line behind "calls=", which is the callee's.
local function ours(path)
  local names, sum, mine, skip = {}, 0, false, false
  for line in io.lines(path) do
    local id, name = line:match "^ob=(%(%d+%)) ?(.*)"
    if id then
      if name ~= "" then names[id] = name end
      mine = names[id]:find "core%.so$" ~= nil or names[id]:find "/[^/]*lua[^/]*$" ~= nil
    elseif line:find "^calls=" then
      skip = true
    elseif line:find "^[%d+*-]" then
      if mine and not skip then sum = sum + tonumber(line:match "(%d+)$") end
      skip = false
    else -- a callee's object is named too
      id, name = line:match "^cob=(%(%d+%)) ?(.*)"
      if id and name ~= "" then names[id] = name end
    end
  end
  return sum
end

local function count_instructions(base, case)
  local path, sums = os.tmpname(), {}
  for i, count in ipairs { case.from, case.to } do
    local valgrind = ("valgrind -q --tool=callgrind --callgrind-out-file=%s"):format(path)
    local said = output_of(client(base, case, count, valgrind) .. " 2>&1")
    assert(said:find '"ok":', said)
    sums[i] = ours(path)
  end
  os.remove(path)
  return (sums[2] - sums[1]) / (case.to - case.from)
end

local function weigh(base, case)
  local said = output_of(client(base, case, case.to, "") .. " 2>&1")
  return tonumber((said:match '"kb_per_stream":([%d.]+)')) or error(said)
end

-- Hashes are seeded by addresses and the time: one that is beyond the limit is measured twice
-- more, and the one in the middle counts.
local function figure(base, case, limit)
  local measure = case.measure or count_instructions
  local all = { measure(base, case) }
  if not limit or all[1] <= limit then return all[1], false end
  all[2], all[3] = measure(base, case), measure(base, case)
  table.sort(all)
  return all[2], all[2] > limit
end

local TEXT = ("Please explain streams, step by step. "):rep(8)
local CASES = {
  { name = "instructions a chunk", mode = "stream", per = "chunk", from = 1000, to = 11000, params = "coalesce=50" },
  { name = "instructions a request", mode = "oneshot", per = "request", from = 50, to = 250, params = "delay=0" },
  { name = "instructions a turn", mode = "turns", per = "turn", from = 20, to = 120, params = "delay=0", text = TEXT },
  { name = "kB a stream", mode = "idle", per = "stream", to = 500, params = "hold=1", hold = 1, measure = weigh },
  {
    name = "kB a stream behind a burst", mode = "idle", per = "stream", to = 500, params = "hold=40,coalesce=40",
    hold = 40, measure = weigh,
  },
}

-- ---- the comparison ----------------------------------------------------------------------

local function read_kept()
  local file = io.open(FILE, "rb")
  if not file then return { figures = {} } end
  local kept = assert(json.decode(file:read "*a"))
  file:close()
  return kept
end

local function write_kept(made_with, figures)
  local file = assert(io.open(FILE, "wb"))
  local lines = {}
  for _, case in ipairs(CASES) do
    lines[#lines + 1] = ('    "%s": %.4g'):format(case.name, figures[case.name])
  end
  file:write(('{\n  "made_with": "%s",\n  "figures": {\n%s\n  }\n}\n'):format(made_with, table.concat(lines, ",\n")))
  file:close()
end

local function made_with()
  local compiler = output_of "cc -dumpfullversion 2>&1":match "%S+"
  local lua = output_of(interpreter .. " -v 2>&1"):match "^%S+ %S+"
  return ("%s, cc %s"):format(lua, compiler)
end

local kept, here, figures, worse = read_kept(), made_with(), {}, 0
local base, stop = lab.mock()
local comparable = kept.made_with == here
for _, case in ipairs(CASES) do
  local was = kept.figures[case.name]
  local now, over = figure(base, case, comparable and was and was * (1 + SLACK))
  figures[case.name] = now
  if over then worse = worse + 1 end
  print(("%-28s %10.4g   kept %10.4g   %+.1f %%%s"):format(case.name, now, was or 0, (now / (was or now) - 1) * 100,
    over and "   MORE THAN 3 % ABOVE" or ""))
end
stop()
if arg[1] == "update" then
  write_kept(here, figures)
elseif not comparable then
  print(("not compared: kept are the figures of %s, this is %s"):format(kept.made_with, here))
elseif worse > 0 then
  local text = "%d figures are worse than kept in %s; where that is right: make ratchet-update\n"
  io.stderr:write(text:format(worse, FILE))
end
os.exit(worse == 0 or arg[1] == "update")
