--- The store in PostgreSQL: the contract of all stores, two processes, faults.

local appender = require "spec.support.appender"
local contract = require "spec.history_contract"
local history = require "oaichat.history.postgres"
local postgres = require "spec.support.postgres"
local wait = require "oaichat.wait"

local missing = postgres.missing()
if missing then
  describe("history in PostgreSQL", function() pending(missing) end)
  return
end

local function user(text)
  return { role = "user", content = text }
end

describe("history in PostgreSQL", function()
  local server, admin

  local function fresh()
    assert(admin:execute "DROP SCHEMA public CASCADE")
    assert(admin:execute "CREATE SCHEMA public")
  end

  local function connect()
    local luasql = require "luasql.postgres"
    admin = assert(luasql.postgres():connect(server.conninfo))
    admin:execute "SET client_min_messages = error"
  end

  setup(function()
    server = postgres.start()
    connect()
  end)
  teardown(function()
    admin:close()
    server:stop()
  end)

  local function open(opts)
    opts = opts or {}
    opts.database = server.conninfo
    return assert(history.new(opts))
  end

  describe("keeps the contract:", function()
    contract(function()
      fresh()
      return open(), open
    end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
  end)

  describe("and more:", function()
    before_each(function() fresh() end)

    it("loses and mixes nothing when two processes append", function()
      local store = open()
      print("\n" .. appender.run("postgres", server.conninfo, store, 1000))
      store:close()
    end)

    it("finds words by their beginnings, and keeps texts too long to index", function()
      local store, words = open(), {}
      for i = 1, 200000 do words[i] = ("w%07d"):format(i) end
      local v = assert(store:append("a", 0, { user "Donaudampfschiff \195\132pfel" }))
      assert(store:append("a", v, { user(table.concat(words, " ")) }))
      assert.equal(1, store:search("donau")[1].index)
      assert.equal(1, store:search("\195\132pf")[1].index)
      assert.equal(2, store:search("w0000077")[1].index)
      assert.same({}, (store:search "schiff"))
      store:close()
    end)

    it("goes on after the server was restarted, and says so while it is away", function()
      local store = open()
      local v = assert(store:append("a", 0, { user "x" }))
      admin:close()
      server:halt()
      local after, text, err = store:append("a", v, { user "y" })
      assert.is_nil(after)
      assert.same({ "storage", "unavailable", true }, { err.kind, err.code, err.retryable }, text)
      assert.equal("unavailable", select(3, store:load "a").code)
      assert.equal("unavailable", select(3, history.new { database = server.conninfo }).code)
      server:launch()
      connect()
      assert.equal(v, store:load("a").version)
      v = assert(store:append("a", v, { user "y" }))
      -- a connection that dies while it is idle is made anew
      assert(admin:execute "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
      assert(store:append("a", v, { user "z" }))
      assert.equal(3, #store:load("a").messages)
      store:close()
    end)

    it("waits for another writer, and says so when that takes too long", function()
      local store = open { timeout = 0.1 }
      assert(admin:execute "BEGIN")
      assert(admin:execute "SELECT pg_advisory_xact_lock(hashtext('oaichat_'), hashtext('a'))")
      local v, text, err = store:append("a", 0, { user "x" })
      assert(admin:execute "ROLLBACK")
      assert.is_nil(v)
      assert.same({ "storage", "unavailable", true }, { err.kind, err.code, err.retryable }, text)
      assert(store:append("a", 0, { user "x" }))
      store:close()
    end)

    it("names a database that may only be read", function()
      local store = open()
      assert(store._con:execute "SET default_transaction_read_only = on")
      local v, text, err = store:append("a", 0, { user "x" })
      assert.is_nil(v)
      assert.same({ "storage", "read_only" }, { err.kind, err.code }, text)
      store:close()
    end)

    it("keeps prefixes apart", function()
      local one, two = open { prefix = "one_" }, open { prefix = "two_" }
      assert(one:append("a", 0, { user "1" }))
      assert.is_nil(two:load "a")
      one:close()
      two:close()
    end)

    it("never quotes the password", function()
      local store, text = history.new { database = "x", host = server.dir, username = "y", password = "hunter2" }
      assert.is_nil(store)
      assert.is_nil(text:find "hunter2")
    end)
  end)

  it("raises where the host must not be blocked, unless that is allowed", function()
    local store, bold = open(), open { allow_blocking = true }
    local undo = wait.forbid "luv"
    local ok, why = pcall(store.load, store, "a")
    local loaded = pcall(bold.load, bold, "a")
    undo()
    assert.is_false(ok)
    assert.truthy(tostring(why):find("would block the host (luv)", 1, true))
    assert.is_true(loaded)
    store:close()
    bold:close()
  end)
end)
