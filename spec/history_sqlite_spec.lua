--- The store in SQLite: the contract of all stores, two processes, faults.

local appender = require "spec.support.appender"
local contract = require "spec.history_contract"
local core = require "oaichat.core"
local sqlite = require "oaichat.history.sqlite"
local wait = require "oaichat.wait"

local found, luasql = pcall(require, "luasql.sqlite3")
if not found then
  describe("history in SQLite", function()
    if os.getenv "CI" then error "luasql.sqlite3 is not installed: sh scripts/deps.sh stores" end
    pending "luasql.sqlite3 is not installed"
  end)
  return
end

local function user(text)
  return { role = "user", content = text }
end

describe("history in SQLite", function()
  local dir

  before_each(function()
    local pipe = assert(io.popen "mktemp -d")
    dir = pipe:read "*l"
    pipe:close()
  end)
  after_each(function() os.execute("rm -rf " .. dir) end)

  local function open(opts)
    opts = opts or {}
    opts.path, opts.synchronous = opts.path or dir .. "/x.db", opts.synchronous or "normal"
    return assert(sqlite.new(opts))
  end

  for _, fts in ipairs { true, false } do
    describe(fts and "keeps the contract, with FTS5:" or "keeps the contract, without FTS5:", function()
      contract(function()
        return open { fts = fts }, open
      end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
    end)
  end

  it("loses and mixes nothing when two processes append", function()
    local store = open { synchronous = "full", timeout = 30 }
    print("\n" .. appender.run("sqlite", dir .. "/x.db", store, 1000))
    store:close()
  end)

  it("writes ahead, and tells what is on disk by default", function()
    local store = assert(sqlite.new { path = dir .. "/x.db" })
    local function pragma(name)
      local cursor = assert(store._con:execute("PRAGMA " .. name))
      local value = cursor:fetch()
      cursor:close()
      return value
    end
    assert.equal("wal", pragma "journal_mode")
    assert.equal(2, tonumber(pragma "synchronous"))
    assert.equal(5000, tonumber(pragma "busy_timeout"))
    store:close()
  end)

  it("finds parts of words, in every script", function()
    local store = open()
    assert(store:append("a", 0, { user "Donaudampfschiff",
      user "\228\187\138\230\151\165\227\129\175\230\153\180\227\130\140" }))
    assert.equal(1, store:search("dampfschiff")[1].index)
    assert.equal(2, store:search("\230\153\180\227\130\140")[1].index)
    assert.equal(2, store:search("\228\187\138\230\151\165\227\129\175")[1].index)
    assert.equal(1, store:search("do ff dampf")[1].index)
    store:close()
  end)

  it("makes a file for this user alone", function()
    local store = open()
    assert(store:append("a", 0, { user "x" }))
    local pipe = assert(io.popen(("ls -l %s"):format(dir)))
    local lines = pipe:read "*a"
    pipe:close()
    local files = select(2, lines:gsub("%-rw%-%-%-%-%-%-%-", ""))
    assert.is_true(files >= 1 and not lines:find "%-rw%-r", lines)
    store:close()
  end)

  it("works on a connection that the host opened, and leaves it open", function()
    local env = luasql.sqlite3()
    local con = env:connect(dir .. "/own.db")
    local store = assert(sqlite.new { connection = con, prefix = "chat_" })
    assert(store:append("a", 0, { user "x" }))
    store:close()
    local cursor = assert(con:execute "SELECT count(*) FROM chat_messages")
    assert.equal(1, tonumber((cursor:fetch())))
    cursor:close()
    con:close()
    env:close()
  end)

  it("names a file that is no database, a folder that is not there, a newer schema", function()
    local file = assert(io.open(dir .. "/bad.db", "w"))
    file:write(("no database "):rep(200))
    file:close()
    local store, _, err = sqlite.new { path = dir .. "/bad.db" }
    assert.is_nil(store)
    assert.same({ "storage", "corrupt" }, { err.kind, err.code })
    store, _, err = sqlite.new { path = dir .. "/none/x.db" }
    assert.is_nil(store)
    assert.same({ "storage", "io" }, { err.kind, err.code })
    store = open()
    assert(store._con:execute "UPDATE oaichat_state SET version = 99")
    store:close()
    store, _, err = sqlite.new { path = dir .. "/x.db" }
    assert.is_nil(store)
    assert.same({ "storage", "corrupt" }, { err.kind, err.code })
  end)

  it("waits for another writer, and says so when that takes too long", function()
    local store, other = open { timeout = 0.05 }, open()
    assert(other._con:execute "BEGIN IMMEDIATE")
    local from = core.now()
    local v, _, err = store:append("a", 0, { user "x" })
    assert.is_nil(v)
    assert.same({ "storage", "unavailable", true }, { err.kind, err.code, err.retryable })
    assert.is_true(core.now() - from < 3)
    assert(other._con:execute "ROLLBACK")
    assert(store:append("a", 0, { user "x" }))
    store:close()
    other:close()
  end)

  it("names a full disk, and changes nothing", function()
    local store = open()
    local v = assert(store:append("a", 0, { user "x" }))
    local cursor = store._con:execute "PRAGMA page_count"
    local pages = cursor:fetch()
    cursor:close()
    cursor = store._con:execute(("PRAGMA max_page_count = %d"):format(tonumber(pages)))
    cursor:close()
    local after, _, err = store:append("a", v, { user(("x"):rep(100000)) })
    assert.is_nil(after)
    assert.same({ "storage", "full" }, { err.kind, err.code })
    assert.equal(v, store:load("a").version)
    assert.equal(1, #store:load("a").messages)
    store:close()
  end)

  it("survives a process that is killed in the middle of a transaction", function()
    local store = open()
    local v = assert(store:append("a", 0, { user "x" }))
    local pipe = io.popen(([[%s -e '
      local sqlite = require "luasql.sqlite3"
      local con = sqlite.sqlite3():connect("%s/x.db")
      con:execute "BEGIN IMMEDIATE"
      con:execute "DELETE FROM oaichat_messages"
      io.popen("kill -9 $PPID"):read "*a"
    ' 2>&1]]):format(rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "[%d.]+", dir))
    pipe:read "*a"
    pipe:close()
    local record = assert(store:load "a")
    assert.equal(v, record.version)
    assert.equal(1, #record.messages)
    assert(store:append("a", v, { user "y" }))
    store:close()
  end)

  it("raises where the host must not be blocked, unless that is allowed", function()
    local store, bold = open(), open { allow_blocking = true }
    local undo = wait.forbid "luv"
    local ok, why = pcall(store.load, store, "a")
    local opened = pcall(open)
    local loaded = pcall(bold.load, bold, "a")
    undo()
    assert.is_false(ok)
    assert.truthy(tostring(why):find("would block the host (luv)", 1, true))
    assert.is_false(opened)
    assert.is_true(loaded)
    store:close()
    bold:close()
  end)

  it("raises on options it does not know", function()
    assert.has_error(function() sqlite.new {} end)
    assert.has_error(function() sqlite.new { path = "x", pth = "y" } end)
    assert.has_error(function() sqlite.new { path = "x", prefix = "a;b" } end)
    assert.has_error(function() sqlite.new { path = "x", synchronous = "off" } end)
  end)
end)
