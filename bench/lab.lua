--- bench/lab: what measuring scripts share: the mock server, clients as child processes, medians, tables.
-- All of it is run from the repository's folder.

local json = require "oaichat.json"

local M = {}

--- What a command says.
function M.output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local output_of = M.output_of

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The server has one processor and the client another, where there are two.
local apart = output_of "command -v taskset >/dev/null && nproc 2>/dev/null":match "%d+"
apart = apart and tonumber(apart) > 1

local function pinned(cpu)
  return apart and ("taskset -c %d "):format(cpu) or ""
end

--- Moves a process that runs to the servers' processor.
function M.beside_the_server(pid)
  if apart then output_of(("taskset -a -c -p 0 %s 2>&1"):format(pid)) end
end

local MOCK = os.getenv "MOCK" or "build/bench/mock"
local LIMIT = os.getenv "LIMIT" or "build/bench/limit"

--- Starts a command and times it until its first request.
M.COLD = os.getenv "COLD" or "build/bench/cold"

--- Starts the mock server.
--- @param port integer|nil
--- @return string base its URL, without the parameters
--- @return fun() stop
function M.mock(port)
  local pipe = assert(io.popen(("ulimit -n 20000; %s%s -p %d & echo pid $!; wait"):format(pinned(0), MOCK, port or 0)))
  local facts = {}
  for _ = 1, 2 do
    local name, number = (pipe:read "*l" or error "the mock server did not start: make bench-tools"):match "(%a+) (%d+)"
    facts[name] = number
  end
  return "http://127.0.0.1:" .. facts.port, function()
    os.execute("kill " .. facts.pid)
    pipe:close()
  end
end

local lengths = {}

--- The text bytes of an answer of so many chunks; bytes = 0: the mock's own tokens.
function M.length(chunks, bytes)
  local key = ("-e %d -b %d"):format(chunks, bytes or 0)
  lengths[key] = lengths[key] or tonumber(output_of(MOCK .. " " .. key)) or error "the mock server does not start"
  return lengths[key]
end

local ABI = { luajit = "5.1", ["lua5.4"] = "5.4" }
local NAMES = { luajit = "oaichat, LuaJIT", ["lua5.4"] = "oaichat, Lua 5.4" }

--- The clients that are built: bare libcurl first, then oaichat on each interpreter.
--- @param script string|nil what oaichat runs, bench/client.lua by default
--- @return { name: string, short: string, env: string, command: string, bare: boolean|nil }[]
function M.clients(script)
  assert(exists(LIMIT), LIMIT .. " is not there: make bench-tools")
  local list = { { name = "bare libcurl", short = "limit", env = "", command = LIMIT, bare = true } }
  for _, lua in ipairs { "lua5.4", "luajit" } do
    local abi = ABI[lua]
    if exists(("build/%s/oaichat/core.so"):format(abi)) and output_of("command -v " .. lua) ~= "" then
      list[#list + 1] = {
        name = NAMES[lua], short = "oaichat:" .. lua,
        env = ("env LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/%s/?.so;;' "):format(abi),
        command = lua .. " " .. (script or "bench/client.lua"),
      }
    end
  end
  return list
end

--- Runs a client with settings (BENCH_…); its result line, CPU seconds as `cpu`. Where client
--- and server only ever take turns, they share a processor (`beside`): what it takes to wake
--- another one up is most of the noise there.
function M.run(client, settings, beside)
  local words = {}
  for name, value in pairs(settings) do words[#words + 1] = ("BENCH_%s='%s'"):format(name, value) end
  table.sort(words)
  local command = ("ulimit -n 20000; env %s timeout 120 %s%s%s"):format(table.concat(words, " "),
    pinned(beside and 0 or 1), client.env, client.command)
  local said = output_of(command)
  local result = json.decode(said:match "[^\n]+" or "")
  if not result or not result.ok then error(("%s failed: %s\n%s"):format(client.name, command, said), 0) end
  if result.user_s then result.cpu = result.user_s + result.sys_s end
  return result
end

-- ---- numbers ---------------------------------------------------------------------------

--- A set of samples by key: add(key, value), median(key), spread(key) in per cent of it.
function M.samples()
  local lists, Samples = {}, {}

  function Samples.add(key, value)
    lists[key] = lists[key] or {}
    table.insert(lists[key], value)
  end

  local function at(key, share)
    local list = assert(lists[key], key)
    table.sort(list)
    local place = 1 + share * (#list - 1)
    local low = math.floor(place)
    return list[low] + (place - low) * ((list[low + 1] or list[low]) - list[low])
  end

  function Samples.median(key) return at(key, 0.5) end

  --- Half of the samples are within so many per cent of the median, to both sides.
  function Samples.spread(key) return (at(key, 0.75) - at(key, 0.25)) / 2 / at(key, 0.5) * 100 end

  return Samples
end

--- Three digits, without an exponent.
function M.number(value)
  return (value >= 1000 and "%.0f" or "%.3g"):format(value)
end

--- A markdown table: numbers to the right, the first column to the left.
function M.print_table(head, rows)
  print("| " .. table.concat(head, " | ") .. " |")
  print("|---|" .. ("---:|"):rep(#head - 1))
  for _, row in ipairs(rows) do print("| " .. table.concat(row, " | ") .. " |") end
  print()
end

return M
