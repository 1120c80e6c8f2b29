--- Counts and encodes the texts of tokens_reference.js, and times it.
--   lua tokens_count.lua FOLDER_OF_RANKS < texts > ours

local core = require "oaichat.core"
local json = require "oaichat.json"

local names = { "cl100k_base", "o200k_base" }
local encoders, estimator = {}, assert(core.bpe "o200k_base")
for _, name in ipairs(names) do
  local file = assert(io.open(arg[1] .. "/" .. name .. ".tiktoken", "rb"))
  encoders[name] = assert(core.bpe(name, file:read "*a"))
  file:close()
end

local rows = {}
for line in io.lines() do rows[#rows + 1] = assert(json.decode(line)) end

local function time(run)
  local best = math.huge
  for _ = 1, 3 do
    local from = os.clock()
    run()
    best = math.min(best, os.clock() - from)
  end
  return best
end

for _, row in ipairs(rows) do
  local out = { estimate = estimator:count(row.text) }
  for _, name in ipairs(names) do
    out[name .. "_count"] = encoders[name]:count(row.text)
    out[name] = json.array(row.long and {} or encoders[name]:encode(row.text))
  end
  io.write(assert(json.encode(out)), "\n")
end

local speeds = {}
for _, name in ipairs(names) do
  local encoder = encoders[name]
  speeds[name] = { ["short texts"] = time(function()
    for _, row in ipairs(rows) do
      if not row.long then encoder:count(row.text) end
    end
  end) }
  for _, row in ipairs(rows) do
    if row.long then speeds[name][row.long] = time(function() encoder:count(row.text) end) end
  end
end
io.write(assert(json.encode(speeds)), "\n")
