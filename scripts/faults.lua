--- faults: runs every spec and C test that claims a row of the fault table, prints
-- "row -> spec -> result" and writes docs/FAULTS.md. The exit code is 1 when a row
-- has no spec or a failing one.
--   make faults              all
--   lua5.4 scripts/faults.lua 31 32   these rows: printed, not written

package.path = "./?.lua;" .. package.path

local faults = require "spec.support.faults"

local PAGE = "docs/FAULTS.md"
local MAKE = os.getenv "MAKE" or "make"

local HEAD = [[
# Faults

What can go wrong, by number, and the test that plays it: over a real socket, or against the
real file, store or allocator. A title that begins with `row 7: ` claims row 7; `make faults`
runs all that claim one, prints "row -> spec -> result" and writes this page. Durations are
divided by up to 100, with the timeouts scaled alike. The results are those of Lua 5.4 on
Linux, with nginx, Redis and Neovim installed.

| row | fault | kept by | result |
|---|---|---|---|
]]

-- ---- running ---------------------------------------------------------------------

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local function interpreter()
  local lowest = 0
  for i in pairs(arg) do lowest = math.min(lowest, i) end
  return arg[lowest]
end

-- `busted` asks for whichever interpreter is called lua: name it. A wrapper made by
-- LuaRocks is a shell script and takes the name as an option.
local function busted()
  local path = assert(lines_of("command -v busted")[1], "busted is not installed")
  local first = read(path):match "^[^\n]*"
  if first:find("lua", 1, true) then return interpreter() .. " " .. path end
  return ("%s --lua=%s"):format(path, interpreter())
end

-- Nothing of the machine may decide a test: no key, no endpoint, no proxy.
local CLEAN = "env -u OPENAI_API_KEY -u OPENAI_BASE_URL -u OPENAI_MODEL -u http_proxy -u https_proxy -u all_proxy"
  .. " -u no_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY"

-- Files that claim a row (that is wanted), by their source.
local function sources(pattern, wanted)
  local list = {}
  for _, path in ipairs(lines_of("ls " .. pattern)) do
    for _, literal in ipairs(faults.literals(read(path))) do
      local claims = not wanted
      for _, row in ipairs(literal.rows) do claims = claims or wanted[row] end
      if claims then
        list[#list + 1] = path
        break
      end
    end
  end
  return list
end

-- Cases: { row -> { file, line, title, status }[] }
local function note(cases, rows, case)
  for row in rows:gmatch "%d+" do
    row = tonumber(row)
    cases[row] = cases[row] or {}
    table.insert(cases[row], case)
  end
end

local function run_specs(cases, wanted)
  local files = sources("spec/*_spec.lua spec/history_contract.lua", wanted)
  for i, path in ipairs(files) do -- the contract is asked by those who keep it
    if path == "spec/history_contract.lua" then files[i] = "spec/history_file_spec.lua" end
  end
  if not files[1] then return true end
  local told = os.tmpname()
  local out = "spec/support/faults_output.lua"
  os.execute(("%s %s -o %s -Xoutput %s --filter='rows? %%d' %s </dev/null 1>&2")
    :format(CLEAN, busted(), out, told, table.concat(files, " ")))
  local ended, good = false, true
  for line in read(told):gmatch "[^\n]+" do
    local status, file, at, rows, title = line:match "^(%a+)\t([^\t]*)\t(%d*)\t([%d,]*)\t(.*)$"
    ended = ended or line == "end"
    if status and rows ~= "" then
      note(cases, rows, { file = file, line = tonumber(at), title = title, status = status })
    elseif status then
      good = false
    end
  end
  os.remove(told)
  return ended and good
end

local function run_c(cases, wanted)
  for _, path in ipairs(sources("spec/*_test.c", wanted)) do
    local program = "build-asan/c/" .. path:match "([%w_]+)%.c$"
    local command = ("%s -s %s </dev/null 1>&2 && TEST_VERBOSE=1 %s 2>&1 </dev/null"):format(MAKE, program, program)
    for i, line in ipairs(lines_of(command)) do
      local verdict, title = line:match "^(%a+)%s+(rows? .*)$"
      local rows, words = faults.claims(title or "")
      if rows then
        note(cases, table.concat(rows, ","), { file = path, line = i, title = words,
          status = verdict == "ok" and "success" or "failure" })
      end
    end
  end
end

-- ---- telling ---------------------------------------------------------------------

local function before(a, b)
  if a.file ~= b.file then return a.file < b.file end
  if a.line ~= b.line then return a.line < b.line end
  return a.title < b.title
end

local WORDS = { success = "kept", pending = "was not run", failure = "fails", error = "fails" }
local RANK = { pending = 1, success = 2, failure = 3, error = 3 }

-- One entry for the cases that a loop made of one `it`.
local function grouped(list)
  table.sort(list, before)
  local groups = {}
  for _, case in ipairs(list) do
    local last = groups[#groups]
    if last and last.file == case.file and last.line == case.line then
      last.more = last.more + 1
      if RANK[case.status] > RANK[last.status] then last.status = case.status end
    else
      groups[#groups + 1] = {
        file = case.file, line = case.line, title = case.title, status = case.status, more = 0,
      }
    end
  end
  for _, group in ipairs(groups) do
    if group.more > 0 then group.title = ("%s (and %d more)"):format(group.title, group.more) end
  end
  return groups
end

-- kept | unkept: why | fails | was not run | has no spec; and whether that will do
local function verdict(row, list)
  local ran = 0
  for _, case in ipairs(list) do
    if case.status == "failure" or case.status == "error" then return "fails", false end
    if case.status == "success" then ran = ran + 1 end
  end
  if faults.UNKEPT[row] then return "unkept: " .. faults.UNKEPT[row], true end
  if ran > 0 then return "kept", true end
  return list[1] and "was not run" or "has no spec", false
end

local function tell(cases, wanted)
  local page, bad, group = { HEAD }, 0, 1
  for row, fault in ipairs(faults.ROWS) do
    local list = cases[row] or {}
    local result, good = verdict(row, list)
    local by = {}
    if faults.GROUPS[group] and faults.GROUPS[group][1] == row then
      page[#page + 1] = ("| | **%s** | | |\n"):format(faults.GROUPS[group][2])
      group = group + 1
    end
    for _, one in ipairs(grouped(list)) do
      by[#by + 1] = ("`%s`: %s"):format(one.file, faults.markdown(one.title))
      if not wanted or wanted[row] then
        print(("%d -> %s: %s -> %s"):format(row, one.file, one.title, WORDS[one.status]))
      end
    end
    page[#page + 1] = ("| %d | %s | %s | %s |\n"):format(row, faults.markdown(fault), table.concat(by, "<br>"), result)
    if not good and (not wanted or wanted[row]) then
      bad = bad + 1
      if not by[1] then print(("%d -> %s"):format(row, result)) end
    end
  end
  return table.concat(page), bad
end

local wanted
for _, number in ipairs(arg) do
  wanted = wanted or {}
  wanted[assert(tonumber(number), "a row's number expected")] = true
end
local cases = {}
local ended = run_specs(cases, wanted)
run_c(cases, wanted)
local page, bad = tell(cases, wanted)
if not wanted and _VERSION ~= "Lua 5.4" then
  print(PAGE .. " is written by Lua 5.4 alone")
elseif not wanted then
  local file = assert(io.open(PAGE, "w"))
  file:write(page)
  file:close()
end
print(("%d rows, %d without a spec that keeps them"):format(#faults.ROWS, bad))
if not ended then print "the specs did not end well" end
os.exit(bad == 0 and ended and 0 or 1)
