--- The store in Redis: the contract of all stores, two processes, faults.

local appender = require "spec.support.appender"
local contract = require "spec.history_contract"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local history = require "oaichat.history.redis"
local redis = require "spec.support.redis"
local resp = require "oaichat.resp"
local scheduler = require "oaichat.loop.scheduler"
local wait = require "oaichat.wait"

local missing = redis.missing()
if missing then
  describe("history in Redis", function() pending(missing) end)
  return
end

local function user(text)
  return { role = "user", content = text }
end

describe("history in Redis", function()
  local server, admin

  setup(function()
    server = redis.start()
    admin = assert(resp.new { url = server:url() })
  end)
  teardown(function()
    admin:close()
    server:stop()
  end)

  local function open(opts)
    opts = opts or {}
    opts.url = opts.url or server:url()
    return assert(history.new(opts))
  end

  describe("keeps the contract:", function()
    contract(function()
      assert(admin:call { "FLUSHALL" })
      return open(), open
    end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
  end)

  describe("and more:", function()
    before_each(function() assert(admin:call { "FLUSHALL" }) end)

    it("loses and mixes nothing when two processes append", function()
      local store = open()
      print("\n" .. appender.run("redis", server:url(), store, 1000))
      store:close()
    end)

    it("is shared by many tasks, which do not block each other", function()
      local store, s = open(), scheduler.new(core.engine())
      for i = 1, 50 do
        s:spawn(function()
          local v = assert(store:begin("c" .. i, 0, { user "q" }))
          assert(store:commit("c" .. i, v, { user "q", { role = "assistant", content = "a" } }))
        end)
      end
      s:run()
      assert.equal(50, #store:list())
      store:close()
    end)

    it("lets conversations expire, and their ids go from the lists", function()
      local store = open { expire = 0.05 }
      assert(store:append("a", 0, { user "x" }, { user = "u" }))
      assert.equal(1, #store:list { user = "u" })
      local stop = core.now() + 5
      while store:load "a" and core.now() < stop do core.engine():wait(0.01) end
      assert.same({}, (store:list { user = "u" }))
      assert.same({}, (store:list()))
      assert.same(0, admin:call { "EXISTS", "oaichat:ids", "oaichat:u:u" })
      store:close()
    end)

    it("follows a conversation to its new user", function()
      local store = open()
      local v = assert(store:append("a", 0, { user "x" }, { user = "u" }))
      v = assert(store:append("a", v, {}, { user = "w" }))
      assert.same({}, (store:list { user = "u" }))
      assert.equal("a", store:list({ user = "w" })[1].id)
      assert(store:append("a", v, {}, { user = require("oaichat.json").null }))
      assert.same({}, (store:list { user = "w" }))
      store:close()
    end)

    it("keeps prefixes apart", function()
      local one, two = open { prefix = "one:" }, open { prefix = "two:" }
      assert(one:append("a", 0, { user "1" }))
      assert(two:append("a", 0, { user "2" }))
      assert.equal("1", one:load("a").messages[1].content)
      one:delete "a"
      assert.equal("2", two:load("a").messages[1].content)
      one:close()
      two:close()
    end)

    it("pages beyond what one script reads", function()
      local store = open()
      for i = 1, 250 do
        assert(store:append(("c%03d"):format(i), 0, { user "x" }, { user = i % 2 == 0 and "u" or "w" }))
      end
      local rows, after = store:list { limit = 240 }
      assert.equal(240, #rows)
      assert.equal("c240", after)
      assert.equal(125, #store:list { user = "u", limit = 1000 })
      assert.equal(250, #store:search("x", { limit = 1000 }))
      store:close()
    end)

    it("searches so many conversations and no more", function()
      local store = open { scan = 32 }
      for i = 1, 50 do assert(store:append(("c%02d"):format(i), 0, { user "word" })) end
      assert.equal(32, #store:search("word", { limit = 100 }))
      store:close()
    end)

    it("knows a write again whose answer was lost", function()
      local store = open()
      local client = store._client
      local resp_eval = client.eval
      local v = assert(store:append("a", 0, { user "one" }))
      local written
      function client:eval(...)
        written = { ... }
        return resp_eval(self, ...)
      end
      local v2 = assert(store:append("a", v, { user "two" }))
      client.eval = nil
      local again = client:eval(written[1], written[2], written[3], written[4])
      assert.same({ "done", ("%.0f"):format(v2) }, again)
      assert.equal(2, #store:load("a").messages)
      local other = open()
      local v3 = assert(other:append("a", v2, { user "three" }))
      other:close()
      again = client:eval(written[1], written[2], written[3], written[4])
      assert.equal("done", again[1])
      assert.equal(3, #store:load("a").messages)
      assert.is_true(v3 > v2)
      store:close()
    end)

    it("outlives a connection that the server ends", function()
      local store = open()
      local v = assert(store:append("a", 0, { user "one" }))
      assert(admin:call { "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes" })
      v = assert(store:append("a", v, { user "two" }))
      assert.equal(v, store:load("a").version)
      store:close()
    end)

    it("gives an error, and goes on, when the server goes and comes back", function()
      local store = open { timeout = 0.3 }
      assert(store:append("a", 0, { user "one" }))
      server:kill()
      local v, text, err = store:append("b", 0, { user "two" })
      assert.is_nil(v)
      assert.same({ "storage", "unavailable", true }, { err.kind, err.code, err.retryable }, text)
      assert.is_true(errors.is(select(3, store:load "a")))
      assert.is_nil((store:list()))
      assert.is_nil((store:search "x"))
      assert.is_nil((store:delete "a"))
      assert.is_nil((store:lock "a"))
      server:launch()
      local later = open()
      assert(later:append("b", 0, { user "three" }))
      later:close()
      store:close()
    end)

    it("names a full server, and changes nothing", function()
      local store = open()
      assert(store:append("a", 0, { user "one" }))
      assert(admin:call { "CONFIG", "SET", "maxmemory", "1" })
      local _, _, err = store:append("b", 0, { user "two" })
      assert(admin:call { "CONFIG", "SET", "maxmemory", "0" })
      assert.same({ "storage", "full" }, { err.kind, err.code })
      assert.equal(1, #store:list())
      store:close()
    end)

    it("names messages that the server has dropped", function()
      local store = open()
      local v = assert(store:append("a", 0, { user "one" }))
      assert(admin:call { "DEL", "oaichat:m:a" })
      local record, _, err = store:load "a"
      assert.is_nil(record)
      assert.same({ "storage", "corrupt" }, { err.kind, err.code })
      assert.equal("corrupt", select(3, store:append("a", v, { user "two" })).code)
      assert.is_true(store:delete "a")
      store:close()
    end)

    it("parks in a host that must not be blocked", function()
      local store, s = open(), scheduler.new(core.engine())
      local undo = wait.forbid "luv"
      local ok, why = pcall(store.load, store, "a")
      local v
      s:spawn(function() v = store:append("a", 0, { user "x" }) end)
      local stop = core.now() + 5
      while not v and core.now() < stop do
        s:step()
        s:wait(0.1)
      end
      undo()
      assert.is_false(ok)
      assert.truthy(tostring(why):find("would block the host", 1, true))
      assert.equal(v, store:load("a").version)
      store:close()
    end)

    it("lets a lock be taken over when its owner is gone", function()
      local store, other = open(), open()
      assert(store:lock("a", 0.02))
      local lock
      local stop = core.now() + 5
      while not lock and core.now() < stop do lock = other:lock("a", 5) end
      assert(lock)
      lock:release()
      store:close()
      other:close()
    end)
  end)

  it("raises on options it does not know", function()
    assert.has_error(function() history.new { ulr = "x" } end)
    assert.has_error(function() history.new { expire = -1 } end)
    local none, _, err = history.new { url = "ftp://x" }
    assert.is_nil(none)
    assert.equal("config", err.kind)
  end)
end)
