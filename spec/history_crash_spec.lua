--- Crashes and faults: from the recorded writes, syncs and renames of saves the disks
-- are rebuilt that a crash may leave, and each must hold the old or the new
-- conversation. Then each single operation is made to fail.

local crashfs = require "spec.support.crashfs"
local errors = require "oaichat.errors"
local file = require "oaichat.history.file"
local folder = require "spec.support.folder"
local json = require "oaichat.json"

local function user(text)
  return { role = "user", content = text }
end

local function assistant(text)
  return { role = "assistant", content = text }
end

local function open(fs, durable)
  return assert(file.new { path = "/d", fs = fs.api, durable = durable })
end

-- A conversation as text, so that two can be compared. Deleted: "none".
local function picture(store)
  local record, text, err = store:load "a"
  if err then return "error: " .. text end
  if not record then return "none" end
  return assert(json.encode {
    version = record.version, messages = json.array(record.messages), meta = record.meta,
    unanswered = record.unanswered or false,
  })
end

local long = ("The quick brown fox jumps over the lazy dog. "):rep(60) -- more than five blocks

-- The saves of a life: each gets the store and the version, and gives the next.
local function life()
  local steps = {
    function(s) return s:append("a", 0, { user "first" }, { user = "u" }) end,
    function(s, v) return s:begin("a", v, { user("short question") }) end,
    function(s, v) return s:commit("a", v, { user "short question", assistant(long) }) end,
    function(s, v) return s:begin("a", v, { user(long) }) end,
    function(s, v) return s:abort("a", v) end,
    function(s, v) return s:append("a", v, { user(long), assistant "x" }, { title = "t" }) end,
    function(s, v) return s:begin("a", v, { user "lost" }) end,
    function(s, v) return s:begin("a", v, { user(long .. "again") }) end,
    function(s, v) return s:commit("a", v, { user(long .. "again"), assistant(long) }) end,
    function(s, v) return s:replace("a", v, { user "edited", assistant(long) }) end,
    function(s, v) return s:append("a", v, { user "behind it" }) end,
  }
  for _ = 1, 3 do -- enough waste to be compacted
    steps[#steps + 1] = function(s, v) return s:begin("a", v, { user(long:rep(10)) }) end
    steps[#steps + 1] = function(s, v) return s:abort("a", v) end
  end
  steps[#steps + 1] = function(s, v) return s:append("a", v, { user "after compaction" }) end
  steps[#steps + 1] = function(s)
    local ok, text, err = s:delete "a"
    return ok and 0 or nil, text, err
  end
  steps[#steps + 1] = function(s) return s:append("a", 0, { user "reborn" }) end
  return steps
end

-- A life by chance: texts of up to twelve blocks, turns that end in every way.
local function chance(seed)
  local choose, steps, open_turn = crashfs.random(seed), {}, false
  local function message()
    return user(long:sub(1, choose(#long)):rep(choose(2)))
  end
  for i = 1, 16 do
    local kind, one, two = choose(6), message(), message()
    if i == 1 then
      steps[i] = function(s) return s:begin("a", 0, { one }) end
      open_turn = true
    elseif open_turn and kind <= 3 then
      steps[i] = function(s, v) return s:commit("a", v, { one, two }, { step = i }) end
      open_turn = false
    elseif open_turn and kind == 4 then
      steps[i] = function(s, v) return s:abort("a", v) end
      open_turn = false
    elseif kind == 5 then
      steps[i] = function(s, v) return s:replace("a", v, { one }) end
      open_turn = false
    elseif kind == 6 then
      steps[i] = function(s, v) return s:append("a", v, { one }) end
      open_turn = false
    else
      steps[i] = function(s, v) return s:begin("a", v, { two }) end
      open_turn = true
    end
  end
  return steps
end

-- Runs the saves; gives, for each, the log's length before it and the pictures.
local function record(fs, steps, version, durable)
  local store = open(fs, durable)
  local marks, pictures = { #fs.log }, { picture(store) }
  for i, step in ipairs(steps) do
    local text, err
    version, text, err = step(store, version)
    assert(version, ("step %d: %s"):format(i, tostring(text or err)))
    marks[i + 1], pictures[i + 1] = #fs.log, picture(store)
  end
  store:close()
  return marks, pictures
end

-- Visits every disk that a crash may leave behind each point of the log.
local function crashes(fs, marks, per_point, visit)
  local seen, count, step = {}, 0, 1
  for n = marks[1], #fs.log do
    while step < #marks - 1 and n > marks[step + 1] do step = step + 1 end
    local choices = { crashfs.always(1), crashfs.always(2), crashfs.always(3) }
    for i = 1, per_point do choices[#choices + 1] = crashfs.random(n * 1000 + i) end
    for _, choose in ipairs(choices) do
      local disk = crashfs.crash(fs, n, choose)
      local key = n .. "\0" .. crashfs.key(disk)
      if not seen[key] then
        seen[key], count = true, count + 1
        -- at a step's end its state is promised: the one before is lost
        visit(disk, n, step, n == marks[step + 1])
      end
    end
  end
  return count
end

local function check(disk, n, step, ended, pictures)
  local found = picture(open(crashfs.new(disk)))
  local fine = found == pictures[step + 1] or not ended and found == pictures[step]
  if not fine then
    error(("crash behind entry %d of the log, in save %d: %s"):format(n, step, found:sub(1, 300)), 0)
  end
  return found
end

describe("row 112: after a crash", function()
  it("a conversation is as before or as after the save that it met, in every state", function()
    local count, saves, entries, mended = 0, 0, 0, 0
    for seed = 0, 12 do
      local fs = crashfs.new()
      local marks, pictures = record(fs, seed == 0 and life() or chance(seed))
      saves, entries = saves + #marks - 1, entries + #fs.log
      count = count + crashes(fs, marks, 30, function(disk, n, step, ended)
        check(disk, n, step, ended, pictures)
        local got = open(crashfs.new(disk)):load "a"
        if got and got.mended then mended = mended + 1 end
      end)
    end
    io.write(("\n%d states after a crash, in %d saves of %d writes, syncs and names; %d of them with a torn tail\n")
      :format(count, saves, entries, mended))
    assert.is_true(count >= 1000, count .. " states")
    assert.is_true(mended > 20)
  end)

  it("the next save goes on from there, and may crash itself", function()
    local turn, again = 0, 0
    for seed = 0, 6 do
      local fs = crashfs.new()
      local marks = record(fs, seed == 0 and life() or chance(100 + seed))
      crashes(fs, marks, 12, function(disk)
        turn = turn + 1
        if turn % 12 ~= 0 then return end
        local second = crashfs.new(disk)
        local store = open(second)
        local got = store:load "a"
        local input = user(long:sub(1, 200 + turn * 97 % 2500))
        local next_marks, pictures = record(second, {
          function(s, v) return s:begin("a", v, { input }) end,
          function(s, v) return s:commit("a", v, { input, assistant(long) }) end,
        }, got and got.version or 0)
        again = again + crashes(second, next_marks, 12, function(after, n, step, ended)
          check(after, n, step, ended, pictures)
        end)
      end)
    end
    io.write(("\n%d states after a crash of the first save behind a crash\n"):format(again))
    assert.is_true(again >= 1000, again .. " states")
  end)

  it("what a failed save had written does not mix with the next one", function()
    local count = 0
    for seed = 1, 20 do
      local fs = crashfs.new()
      local store = open(fs)
      local v = assert(store:append("a", 0, { user "kept" }))
      local failed = false
      fs.fault = function(op)
        if op == "sync" and not failed then
          failed = true
          return "EIO"
        end
      end
      assert.is_nil((store:begin("a", v, { user(long:sub(1, 900 + seed * 90)) })))
      fs.fault = nil
      local marks, pictures = record(fs, {
        function(s) return s:begin("a", v, { user(long:sub(1, 600 + seed * 80)) }) end,
        function(s, v2) return s:abort("a", v2) end,
      })
      count = count + crashes(fs, marks, 40, function(disk, n, step, ended)
        check(disk, n, step, ended, pictures)
      end)
    end
    assert.is_true(count > 300, count .. " states")
  end)

  it("would lose turns without the syncs: the states do tell", function()
    local fs = crashfs.new()
    local marks, pictures = record(fs, life(), nil, false)
    local lost = 0
    crashes(fs, marks, 5, function(disk, _, step)
      local found = picture(open(crashfs.new(disk)))
      if found ~= pictures[step] and found ~= pictures[step + 1] then lost = lost + 1 end
    end)
    assert.is_true(lost > 10)
  end)

  it("nothing of another conversation is touched", function()
    local fs = crashfs.new()
    local store = open(fs)
    assert(store:append("b", 0, { user "mine" }))
    local before = store:load "b"
    local marks = record(fs, life())
    crashes(fs, marks, 3, function(disk)
      local after = assert(open(crashfs.new(disk)):load "b")
      assert(after.version == before.version and after.messages[1].content == "mine")
    end)
  end)
end)

local CODES = { ENOSPC = "full", EDQUOT = "full", EIO = "io", EROFS = "read_only", EACCES = "read_only" }

describe("row 113: when the disk fails", function()
  for errno, code in pairs(CODES) do
    it(("each operation once with %s: an error, the old conversation, and the next try"):format(errno), function()
      local steps = life()
      local failures = 0
      for number, save in ipairs(steps) do
        -- the state before this save, on a disk of its own each time
        local function prepared()
          local fs = crashfs.new()
          local store, version = open(fs), 0
          for i = 1, number - 1 do version = assert(steps[i](store, version)) end
          return fs, store, version
        end
        local at = 0
        repeat
          at = at + 1
          local fs, store, version = prepared()
          local old, first, hit = picture(store), fs.steps, nil
          local old_version = version
          fs.fault = function(op, n)
            if n == first + at then
              hit = op
              return errno, 0.6
            end
          end
          local ok, text, err = save(store, version)
          fs.fault = nil
          local now = picture(store)
          if hit and not ok then
            failures = failures + 1
            assert.is_true(errors.is(err))
            assert.same({ "storage", code }, { err.kind, err.code }, text)
            -- a name that was given cannot be taken back: then it is all new
            local given = hit == "sync_dir" and old ~= "none"
            if not given then assert.equal(old, now) end
            assert.falsy(now:find "^error", now)
            if now == old then
              assert(save(store, old_version), "the next try of save " .. number)
            else
              local _, _, conflict = save(store, old_version)
              assert.truthy(now == "none" or conflict and conflict.kind == "conflict")
            end
          elseif hit then -- compaction, or a file that was not there: nothing was lost
            assert.falsy(now:find "^error", now)
          end
        until not hit
      end
      assert.is_true(failures > 40, failures .. " failures")
    end)
  end

  it("a disk that stays full leaves what was there readable", function()
    local fs = crashfs.new()
    local store = open(fs)
    local v = assert(store:append("a", 0, { user "kept" }))
    local old = picture(store)
    fs.fault = function(op)
      if op == "write" or op == "truncate" or op == "sync" then return "ENOSPC", 0.5 end
    end
    for _ = 1, 3 do
      local ok, _, err = store:begin("a", v, { user(long) })
      assert.is_nil(ok)
      assert.equal("full", err.code)
    end
    assert.equal(old, picture(store))
    local _, _, err = store:append("b", 0, { user "x" })
    assert.equal("full", err.code)
    assert.is_nil(store:load "b")
    fs.fault = nil
    assert(store:begin("a", v, { user "now" }))
    assert.is_nil(store:load("a").mended)
  end)
end)

-- A file system of 64 kB in memory; only root may mount one.
local function with_small_disk(work)
  local path = folder.new()
  local mounted = folder.run(("mount -t tmpfs -o size=64k,mode=0700 none %s 2>/dev/null"):format(folder.quoted(path)))
  if not mounted then
    folder.remove(path)
    return false
  end
  local ok, why = pcall(work, path)
  folder.run("umount " .. folder.quoted(path))
  folder.remove(path)
  if not ok then error(why, 0) end
  return true
end

describe("row 113: when a real file system fails", function()
  it("a full one: nothing is lost, and there is room again after a deletion", function()
    local done = with_small_disk(function(path)
      local store = assert(file.new { path = path })
      assert(store:append("b", 0, { user(("b"):rep(8000)) }))
      local v = assert(store:append("a", 0, { user "kept" }))
      local old = picture(store)
      for _ = 1, 3 do
        local ok, _, err = store:begin("a", v, { user(("x"):rep(80000)) })
        assert.is_nil(ok)
        assert.same({ "storage", "full" }, { err.kind, err.code }, err.message)
        assert.equal(old, picture(store))
        ok, _, err = store:replace("a", v, { user(("x"):rep(80000)) })
        assert.is_nil(ok)
        assert.equal("full", err.code)
        assert.equal(old, picture(store))
        ok, _, err = store:append("c", 0, { user(("x"):rep(80000)) })
        assert.is_nil(ok)
        assert.equal("full", err.code)
      end
      local n = 0
      repeat -- to the last byte
        local now, _, err = store:append("a", v, { user(("y"):rep(100)) })
        if now then v, n = now, n + 1 else assert.equal("full", err.code) end
      until not now
      local got = store:load "a"
      assert.same({ v, n + 1 }, { got.version, #got.messages })
      assert.is_nil(got.mended)
      assert.is_true(store:delete "b")
      assert(store:append("a", v, { user "goes on" }))
      store:close()
    end)
    if not done then pending "needs root: a tmpfs of 64 kB" end
  end)

  it("a read-only one: what is there is read, writes say so", function()
    local done = with_small_disk(function(path)
      local store = assert(file.new { path = path })
      local v = assert(store:append("a", 0, { user "kept" }))
      local old = picture(store)
      assert(folder.run("mount -o remount,ro " .. folder.quoted(path)))
      local reader = assert(file.new { path = path })
      for _, call in ipairs {
        function(s) return s:append("a", v, { user "x" }) end,
        function(s) return s:begin("a", v, { user "x" }) end,
        function(s) return s:replace("a", v, { user "x" }) end,
        function(s) return s:append("b", 0, { user "x" }) end,
        function(s) return s:delete "a" end,
        function(s) return s:lock "a" end,
        function() return file.new { path = path .. "/below" } end,
      } do
        local ok, _, err = call(reader)
        assert.is_nil(ok)
        assert.same({ "storage", "read_only" }, { err.kind, err.code }, err.message)
      end
      assert.equal(old, picture(reader))
      assert.equal(1, #reader:list())
      assert(folder.run("mount -o remount,rw " .. folder.quoted(path)))
      assert(store:append("a", v, { user "again" }))
      reader:close()
      store:close()
    end)
    if not done then pending "needs root: a file system mounted read-only" end
  end)
end)
