--- The store in a directory: the contract of all stores, then what only files meet:
-- damage, other things in their place, other processes, and their size.

local contract = require "spec.history_contract"
local core = require "oaichat.core"
local file = require "oaichat.history.file"
local folder = require "spec.support.folder"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local race = require "spec.support.history_race"

local unpack = table.unpack or unpack

local function user(text)
  return { role = "user", content = text }
end

local function assistant(text)
  return { role = "assistant", content = text }
end

describe("history in files", function()
  contract(function()
    local path = folder.new()
    return file.new { path = path, durable = false }, function() return file.new { path = path } end,
      function() folder.remove(path) end
  end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
end)

describe("a journal", function()
  local path, store, journal

  before_each(function()
    leaks.remember()
    path = folder.new()
    store = assert(file.new { path = path, durable = false })
    journal = path .. "/a.jsonl"
  end)

  after_each(function()
    store:close()
    folder.remove(path)
    leaks.check()
  end)

  local function fails(code, ok, text, err)
    assert.is_nil(ok)
    assert.equal("string", type(text))
    assert.same({ "storage", code }, { err.kind, err.code }, text)
    return err
  end

  -- Three lines behind the first: append, begin, commit.
  local function filled()
    local v = assert(store:append("a", 0, { user "one" }, { title = "t" }))
    v = assert(store:begin("a", v, { user "two" }))
    v = assert(store:commit("a", v, { user "two", assistant "three" }))
    return v, folder.read(journal)
  end

  local function lines(bytes)
    local out = {}
    for line in bytes:gmatch "[^\n]*\n" do out[#out + 1] = line end
    return out
  end

  it("row 116: is private: the directory 0700, files 0600, whatever the umask", function()
    local dir = path .. "/made/deep"
    local other = assert(file.new { path = dir .. "///" })
    assert(other:append("a", 0, { user "x" }))
    assert(other:replace("a", other:load("a").version, { user "y" }))
    local lock = assert(other:lock "a")
    local facts = core.file.stat(dir)
    assert.same({ "directory", 448 }, { facts.kind, facts.mode })
    assert.equal(448, core.file.stat(path .. "/made").mode)
    for _, name in ipairs { "a.jsonl", ".lock", ".a.lock" } do
      facts = core.file.stat(dir .. "/" .. name)
      assert.same({ "file", 384 }, { facts.kind, facts.mode }, name)
    end
    lock:release()
    other:close()
    assert.is_nil((core.file.stat(dir .. "/.a.lock")))
  end)

  it("is made of lines that are JSON and end in zlib's CRC-32 of what is before it", function()
    local v, bytes = filled()
    local all = lines(bytes)
    assert.equal(4, #all)
    local last = assert(json.decode(all[4]))
    assert.same({ v, "commit", 3 }, { last.v, last.op, last.n })
    assert.equal("two", last.messages[1].content)
    for _, line in ipairs(all) do
      local body, sum = line:match '^(.*),"sum":"(%x+)"}\n$'
      assert.equal(core.file.crc32(body), sum)
    end
    assert.equal("cbf43926", core.file.crc32 "123456789")
  end)

  it("row 114: loses a torn tail with a note, cut at whichever byte, and nothing else", function()
    local v, bytes = filled()
    local all = lines(bytes)
    local before = #bytes - #all[4]
    for size = before + 1, #bytes - 1 do
      folder.write(journal, bytes:sub(1, size))
      local record = assert(store:load "a")
      assert.equal(v - 1, record.version)
      assert.is_true(record.unanswered)
      assert.equal(1, #record.mended)
      assert.truthy(record.mended[1]:find(journal .. ":4", 1, true))
      assert.equal(bytes:sub(1, size), folder.read(journal), "loading writes nothing")
    end
    v = assert(store:commit("a", v - 1, { user "two", assistant "again" }))
    local record = store:load "a"
    assert.is_nil(record.mended)
    assert.equal(v, record.version)
    assert.equal("again", record.messages[3].content)
  end)

  it("row 114: loses NULs and garbage without an end behind the last line", function()
    local v, bytes = filled()
    local blocks = ('{"v":' .. ("x"):rep(600)):sub(1, 512)
    local nul = ("\0"):rep(512)
    for _, tail in ipairs { "\0", nul:rep(10), "garbage", "{}", blocks .. nul, blocks .. nul .. "\n" } do
      folder.write(journal, bytes .. tail)
      local record = assert(store:load "a")
      assert.equal(v, record.version)
      assert.equal(1, #record.mended)
      v = assert(store:append("a", v, { user "more" }))
      assert.is_nil(store:load("a").mended)
      bytes = folder.read(journal)
    end
  end)

  it("row 114: names damage with file and line, and nothing is overwritten", function()
    local v, bytes = filled()
    local all = lines(bytes)
    local function flipped(line, at)
      return line:sub(1, at - 1) .. string.char((line:byte(at) + 1) % 256) .. line:sub(at + 1)
    end
    local cases = {
      { "", 1, "empty" },
      { ("\0"):rep(#bytes), 1, "NUL" },
      { "\239\187\191" .. bytes, 1, "byte order mark" },
      { (bytes:gsub("\n", "\r\n")), 1, "CR LF" },
      { "\n" .. bytes, 1, "empty" },
      { "garbage", 1, "cut off" },
      { '{"role":"user"}\n', 1, "checksum" },
      { bytes:sub(10), 1, "checksum" },
      { all[2] .. all[3], 1, "does not begin" },
      { all[1]:sub(1, -9), 1, "cut off" },
      { all[1] .. flipped(all[2], 40) .. all[3] .. all[4], 2, "checksum" },
      { all[1] .. all[2] .. "garbage\n" .. all[3] .. all[4], 3, "checksum" },
      { all[1] .. all[2] .. ("\0"):rep(512) .. all[3] .. all[4], 3, "checksum" },
      { all[1] .. all[2] .. all[3]:sub(1, 30) .. "\n" .. all[4], 3, "checksum" },
      { all[1] .. all[3] .. all[4], 2, "follows version" },
      { all[1] .. all[2] .. all[2] .. all[3], 3, "follows version" },
      { all[1] .. all[2] .. all[4], 3, "follows version" },
      { bytes .. all[1], 5, "second beginning" },
      { bytes:sub(1, -#all[4] - 1) .. flipped(all[4], 30), 4, "checksum" },
      { bytes .. "garbage\nmore\n", 5, "checksum" },
      { bytes .. "garbage\0\nmore", 5, "checksum" },
      { bytes:gsub("\n", "\r\n", 2):sub(1, -1), 1, "CR LF" },
    }
    for i, case in ipairs(cases) do
      local damaged, line, why = case[1], case[2], case[3]
      folder.write(journal, damaged)
      local err = fails("corrupt", store:load "a")
      assert.same({ journal, line }, { err.file, err.line }, "case " .. i .. ": " .. err.message)
      assert.truthy(err.message:find(("%s:%d: "):format(journal, line), 1, true))
      assert.truthy(err.message:find(why, 1, true), ("case %d: %s"):format(i, err.message))
      fails("corrupt", store:replace("a", v, { user "over it" }))
      if line == 1 and #lines(damaged) < 2 then fails("corrupt", store:append("a", v, { user "behind it" })) end
      assert.equal(damaged, folder.read(journal), "case " .. i)
    end
  end)

  it("that is damaged stops neither the list nor a search of the others, and can be deleted", function()
    filled()
    folder.write(journal, "garbage\nmore\n")
    assert(store:append("b", 0, { user "two" }))
    local rows = assert(store:list())
    assert.same({ "a", "b" }, { rows[1].id, rows[2].id })
    assert.truthy(rows[1].damaged:find(journal, 1, true))
    assert.is_nil(rows[2].damaged)
    assert.equal(1, #store:search "two")
    assert.is_true(store:delete "a")
    assert.is_nil(store:load "a")
  end)

  it("of another id is refused", function()
    filled()
    os.rename(journal, path .. "/b.jsonl")
    local err = fails("corrupt", store:load "b")
    assert.truthy(err.message:find("that of a", 1, true))
  end)

  it("row 116: is not followed where a link, a pipe or a directory is in its place", function()
    local _, bytes = filled()
    local outside = path .. "/outside"
    os.rename(journal, outside)
    local things = {
      ("ln -s %s %s"):format(folder.quoted(outside), folder.quoted(journal)),
      ("ln -s %s/nowhere %s"):format(folder.quoted(path), folder.quoted(journal)),
      ("mkfifo %s"):format(folder.quoted(journal)),
      ("mkdir %s"):format(folder.quoted(journal)),
    }
    for _, command in ipairs(things) do
      assert(folder.run(command), command)
      fails("corrupt", store:load "a")
      fails("corrupt", store:append("a", 0, { user "x" }))
      fails("corrupt", store:replace("a", 0, { user "x" }))
      fails("corrupt", store:delete "a")
      assert.truthy(store:list()[1].damaged)
      folder.run("rm -rf " .. folder.quoted(journal))
    end
    assert.equal(bytes, folder.read(outside))
    assert.is_nil((core.file.stat(path .. "/nowhere")))
    -- the same for the files beside it
    folder.run(("ln -s %s %s/.a.tmp"):format(folder.quoted(outside), folder.quoted(path)))
    assert(store:append("a", 0, { user "x" }))
    assert.equal(bytes, folder.read(outside))
    folder.run(("ln -s %s %s/.a.lock"):format(folder.quoted(outside), folder.quoted(path)))
    fails("corrupt", store:lock "a")
  end)

  it("is not looked for in other files of the directory", function()
    for _, name in ipairs { "notes.txt", ".hidden.jsonl", "a b.jsonl", ".a.tmp", "x.jsonl.bak" } do
      folder.write(path .. "/" .. name, "text")
    end
    assert.same({}, (store:list()))
    assert.same({}, (store:search "text"))
  end)

  it("is compacted when most of it counts no more, with the same content", function()
    local v = assert(store:append("a", 0, { user "kept" }, { title = "t" }))
    local size, shrunk, largest = 0, 0, 0
    for i = 1, 60 do
      v = assert(store:begin("a", v, { user((("%d "):format(i)):rep(2000)) }))
      v = assert(store:abort("a", v))
      local now = core.file.stat(journal).size
      if now < size then shrunk = shrunk + 1 end
      size, largest = now, math.max(largest, now)
    end
    assert.is_true(shrunk >= 3 and largest < 90000, ("%d times, at most %d bytes"):format(shrunk, largest))
    local record = store:load "a"
    assert.same({ v, "t", 1 }, { record.version, record.meta.title, #record.messages })
    assert(store:append("a", v, { user "goes on" }))
    assert.equal("goes on", store:load("a").messages[2].content)
  end)

  it("does not grow by meta that changes for ever", function()
    local v = assert(store:append("a", 0, { user "kept" }))
    for i = 1, 2000 do v = assert(store:append("a", v, {}, { feedback = i })) end
    assert.is_true(core.file.stat(journal).size < 140000)
    assert.equal(2000, store:load("a").meta.feedback)
  end)

  it("is never larger than max_bytes", function()
    local small = assert(file.new { path = path, durable = false, max_bytes = 2000 })
    local v = assert(small:append("a", 0, { user "x" }))
    local bytes = folder.read(journal)
    fails("too_large", small:append("a", v, { user(("x"):rep(2000)) }))
    fails("too_large", small:replace("a", v, { user(("x"):rep(2000)) }))
    fails("too_large", small:append("b", 0, { user(("x"):rep(2000)) }))
    assert.equal(bytes, folder.read(journal))
    assert(store:append("a", v, { user(("x"):rep(2000)) }))
    fails("too_large", small:load "a")
  end)

  it("waits for another writer as long as lock_wait says, and no longer", function()
    filled()
    local impatient = assert(file.new { path = path, lock_wait = 0.05 })
    local held = assert(core.file.open(journal, "write"))
    assert(held:lock("exclusive", 0))
    for _, call in ipairs {
      function() return impatient:load "a" end,
      function() return impatient:append("a", 0, { user "x" }) end,
    } do
      local ok, _, err = call()
      assert.is_nil(ok)
      assert.same({ "conflict", "locked" }, { err.kind, err.code })
    end
    held:close()
    assert(impatient:load "a")
    impatient:close()
  end)

  it("leaves nothing behind when it is deleted, a crashed writer's file neither", function()
    filled()
    folder.write(path .. "/.a.tmp", "private words")
    assert.is_true(store:delete "a")
    local left = core.file.list(path)
    assert.same({ ".lock" }, left)
  end)

  it("needs no write permission to be read", function()
    filled()
    local calls = {}
    local fs = setmetatable({ open = function(name, mode)
      calls[#calls + 1] = mode
      return core.file.open(name, mode)
    end }, { __index = core.file })
    local reader = assert(file.new { path = path, fs = fs })
    assert(reader:load "a")
    assert(reader:list())
    assert(reader:search "two")
    for _, mode in ipairs(calls) do assert.equal("read", mode) end
    reader:close()
  end)

  it("row 112: survives kill -9 at every call to the file system", function()
    local seen, killed, n = {}, 0, 0
    repeat
      n = n + 1
      local dir = ("%s/victim%d"):format(path, n)
      local said = race.script("spec/support/history_victim.lua", dir, n)
      local done = said:find "done"
      if not done then killed = killed + 1 end
      local survivor = assert(file.new { path = dir, durable = false })
      local record, text, err = survivor:load "a"
      assert.is_nil(err, text)
      local state = record and ("%d%s"):format(#record.messages, record.unanswered and "?" or "") or "none"
      if record and record.messages[1].content == "edited" then state = "edited " .. state end
      seen[state] = true
      local fine = said:find "appended" and state == "edited 3"
        or not said:find "appended" and said:find "replaced" and (state == "edited 2" or state == "edited 3")
        or not said:find "replaced" and said:find "committed" and (state == "2" or state == "edited 2")
        or not said:find "committed" and said:find "begun" and (state == "1?" or state == "2")
        or not said:find "begun" and (state == "none" or state == "1?")
      assert.truthy(fine, ("killed at call %d, after saying %q: %s"):format(n, said, state))
      assert(survivor:append("a", record and record.version or 0, { user "on" }))
      survivor:close()
    until done
    assert.is_true(killed > 30, killed .. " kills")
    assert.same({ none = true, ["1?"] = true, ["2"] = true, ["edited 2"] = true, ["edited 3"] = true }, seen)
  end)

  it("row 115: is written by two processes, 1,000 turns each: none lost, none mixed", function()
    local seen = race.run(('require "oaichat.history.file".new { path = %q }'):format(path), 1000)
    race.check(assert(store:load "shared"), seen, 1000)
    io.write(("\ntwo processes, 1,000 turns each: %d and %d conflicts, all retried\n"):format(seen.left, seen.right))
  end)

  it("is made by one of two processes, and a lock is held by one", function()
    local one, two = race.twice("spec/support/history_hammer.lua", path, 400)
    local wins = { tonumber(one:match "^won (%d+)\n$"), tonumber(two:match "^won (%d+)\n$") }
    assert.truthy(wins[1] and wins[2], one .. two)
    -- each third is deleted again, and may then be made by both
    assert.is_true(wins[1] + wins[2] >= 400 and wins[1] + wins[2] <= 400 + 133, one .. two)
    assert.equal("800", folder.read(path .. "/number"))
    local other = assert(file.new { path = path .. "/store" })
    assert.equal(400 - 133, #other:list { limit = 1000 })
    other:close()
  end)

  it("is locked by nobody once the holder is dead", function()
    local said = race.script("-e", ([[
      local store = require "oaichat.history.file".new { path = %q }
      assert(store:lock "a")
      io.write(tostring(store:lock "a"))
      io.flush()
      os.execute "kill -9 $PPID"
      while true do end]]):format(path))
    assert.equal("nil", said:sub(1, 3)) -- the shell may say more
    assert(store:lock "a"):release()
  end)

  it("costs as much to add to with 100,000 messages as with 100", function()
    local function append_cost(id)
      local v = store:list({ prefix = id })[1].version
      local best = math.huge
      for _ = 1, 5 do
        local start = core.now()
        for _ = 1, 100 do v = assert(store:append(id, v, { user "a question of usual length, or so" })) end
        best = math.min(best, (core.now() - start) / 100)
      end
      return best
    end
    local thousand = {}
    for i = 1, 1000 do thousand[i] = i % 2 == 1 and user("question " .. i) or assistant("The answer is " .. i) end
    local v = assert(store:append("few", 0, { unpack(thousand, 1, 100) }))
    assert(v)
    v = 0
    for _ = 1, 100 do v = assert(store:append("many", v, thousand)) end
    local few, many = append_cost "few", append_cost "many"
    local start = core.now()
    local record = assert(store:load "many")
    local load = core.now() - start
    assert.equal(100500, #record.messages)
    start = core.now()
    local rows = assert(store:list())
    local list = core.now() - start
    assert.equal(100500, rows[2].count)
    io.write(("\n100,000 messages, %.1f MB: open %.0f ms, append %.0f us (with 100 messages %.0f us), list %.2f ms\n")
      :format(core.file.stat(path .. "/many.jsonl").size / 1e6, load * 1e3, many * 1e6, few * 1e6, list * 1e3))
    assert.is_true(many < 3 * few, ("%.0f us against %.0f us"):format(many * 1e6, few * 1e6))
    assert.is_true(list < load / 10)
  end)
end)
