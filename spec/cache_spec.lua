--- Answers that are kept: keys, the contract of the stores, what is each one's own.

local cache = require "oaichat.cache"
local common = require "oaichat.cache.common"
local contract = require "spec.cache_contract"
local core = require "oaichat.core"
local json = require "oaichat.json"
local reply = require "oaichat.reply"
local sqlite = require "oaichat.cache.sqlite"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

local BUSTED = { describe = describe, it = it, after_each = after_each }

local function answer(text)
  return { choices = { { index = 0, text = text or "hello", tool_calls = {}, finish_reason = "stop" } }, timing = {} }
end

local function text_of(raw)
  return raw and raw.choices[1].text
end

describe("the key of an answer", function()
  it("is a SHA-256 that does not change from process to process", function()
    local key = cache.key({ '{"model":"m"}' }, "route", "ann")
    assert.truthy(key:find("^" .. ("%x"):rep(64) .. "$"))
    assert.equal(core.sha256 'oaichat cache3:ann5:route13:{"model":"m"}', key)
  end)

  it("is of the bytes of the body, wherever it was cut", function()
    local key = cache.key({ "abc", "def" }, "r")
    assert.equal(key, cache.key({ "abcdef" }, "r"))
    assert.equal(key, cache.key({ "", "a", "bcdef", "" }, "r"))
    assert.are_not.equal(key, cache.key({ "abcdeg" }, "r"))
  end)

  it("takes no two requests, routes and tenants for one", function()
    local seen, list = {}, {
      { { "b" }, "r" }, { { "b" }, "r", "" }, { { "b" }, "r", "t" }, { { "b" }, "rt" }, { { "rb" }, "" },
      { { "" }, "rb" },
      { { "b" }, "", "r" }, { { "b" }, "t", "r" }, { { "1:b" }, "r" }, { { "b" }, "r1:" }, { { "b" }, "1:r" },
      { { "" }, "", "" }, { { "" }, "" }, { { "b" }, "r", "t\0" }, { { "b" }, "r", "-" }, { { "1:r1:b" }, "" },
      { { "b\0" }, "r" }, { { "0:" }, "" }, { { "" }, "0:" }, { { "" }, "", "0:" },
    }
    for i, one in ipairs(list) do
      local key = cache.key(one[1], one[2], one[3])
      assert.is_nil(seen[key], ("%d is %s"):format(i, tostring(seen[key])))
      seen[key] = i
    end
  end)

  it("raises without a route, and on a tenant that is no string", function()
    assert.has_error(function() cache.key({ "b" }) end)
    assert.has_error(function() cache.key({ "b" }, "r", 5) end)
  end)
end)

describe("a cache in memory keeps the contract:", function()
  contract(function(opts)
    local store, message, err = cache.memory(opts)
    return store, store and function() return store end or message, err
  end, BUSTED)
end)

describe("a cache in memory", function()
  it("lets go of what was asked for longest ago", function()
    local store = cache.memory { entries = 3 }
    for _, name in ipairs { "a", "b", "c" } do store:put(name, answer(name)) end
    assert.equal("a", text_of(store:get "a"))
    store:put("d", answer "d")
    assert.is_nil(store:get "b")
    for _, name in ipairs { "a", "c", "d" } do assert.equal(name, text_of(store:get(name))) end
    assert.is_nil(store:get("a", "another tenant"))
    store:put("e", answer "e")
    assert.is_nil(store:get "a")
  end)

  it("has no bytes left when all is gone", function()
    local store = cache.memory { ttl = 1, stale = 1 }
    for i = 1, 100 do store:put("k" .. i, answer(("x"):rep(i)), i % 2 == 0 and "t" or nil, 1000) end
    store:forget "t"
    for i = 1, 100 do store:get("k" .. i, nil, 2000) end
    assert.same({ 0, 0 }, { store:size() })
  end)

  it("takes a damaged entry and one of another version for none", function()
    local store = cache.memory()
    for _, change in ipairs {
      function(text) return (text:gsub("hello", "hullo")) end,
      function(text) return (text:gsub("^oaichat 1", "oaichat 2")) end,
      function(text) return text:sub(1, -2) end,
      function() return "" end,
      function() return "\255\0" end,
    } do
      store:put("k", answer())
      local entry = store._entries:peek "k"
      entry.text = change(entry.text)
      assert.same({ n = 1 }, { n = select("#", store:get "k") })
      assert.equal(0, (store:size()))
    end
  end)
end)

local found, luasql = pcall(require, "luasql.sqlite3")
if not found then
  describe("a cache in SQLite", function()
    if os.getenv "CI" then error "luasql.sqlite3 is not installed: sh scripts/deps.sh stores" end
    pending "luasql.sqlite3 is not installed"
  end)
  return
end

local function folder()
  local pipe = assert(io.popen "mktemp -d")
  local dir = pipe:read "*l"
  pipe:close()
  return dir
end

describe("a cache in SQLite keeps the contract:", function()
  local dirs = {}
  teardown(function()
    for _, dir in ipairs(dirs) do os.execute("rm -rf " .. dir) end
  end)

  contract(function(opts)
    dirs[#dirs + 1] = folder()
    opts.path = dirs[#dirs] .. "/c.db"
    local store, message, err = cache.sqlite(opts)
    return store, store and function() return cache.sqlite(opts) end or message, err
  end, BUSTED)
end)

describe("a cache in SQLite", function()
  local dir, path, stores

  before_each(function()
    dir, stores = folder(), {}
    path = dir .. "/c.db"
  end)
  after_each(function()
    for _, store in ipairs(stores) do store:close() end
    os.execute("rm -rf " .. dir)
  end)

  local function open(opts)
    opts = opts or {}
    if not opts.connection then opts.path = opts.path or path end
    local store = assert(cache.sqlite(opts))
    stores[#stores + 1] = store
    return store
  end

  local function bytes_of(name)
    local file = io.open(dir .. "/" .. name, "rb")
    if not file then return "" end
    local bytes = file:read "*a"
    file:close()
    return bytes
  end

  it("is there for the process that comes after", function()
    open():put("k", answer "kept", "ann")
    stores[1]:close()
    assert.equal("kept", text_of(open():get("k", "ann")))
  end)

  it("makes a file for this user alone", function()
    local store = open()
    store:put("k", answer())
    local pipe = assert(io.popen("ls -l " .. dir))
    local lines = pipe:read "*a"
    pipe:close()
    assert.is_true(select(2, lines:gsub("%-rw%-%-%-%-%-%-%-", "")) >= 2 and not lines:find "%-rw%-r", lines)
  end)

  it("is opened and written by two processes at once, and loses nothing", function()
    local lua = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "[%d.]+"
    local script = ([[
      local cache, path, name = require "oaichat.cache", "%s", arg[1]
      require "oaichat.cache.sqlite"
      print "ready"
      io.stdout:flush()
      io.read "*l"
      for i = 1, 20 do assert(cache.sqlite { path = path .. i, timeout = 30 }):close() end
      local store = assert(cache.sqlite { path = path, timeout = 30 })
      for i = 1, 200 do
        assert(store:put(name .. i, { choices = { { text = name .. i } } }, name))
        assert(store:put("shared" .. i, { choices = { { text = name } } }))
        local raw = assert(store:get("shared" .. i))
        assert(raw.choices[1].text == "first" or raw.choices[1].text == "second")
      end
      print "done"
      store:close()
    ]]):format(path)
    local file = assert(io.open(dir .. "/writer.lua", "w"))
    file:write(script)
    file:close()
    local children = {}
    for i, name in ipairs { "first", "second" } do
      children[i] = assert(core.spawn { argv = { lua, dir .. "/writer.lua", name } })
    end
    local function hear(pattern)
      for _, child in ipairs(children) do
        local said, stop = "", core.now() + 60
        while not said:find(pattern) do
          local bytes = child:read()
          assert.truthy(bytes and core.now() < stop, said .. (child:stderr() or ""))
          said = said .. bytes
          if bytes == "" then child:wait(1) end
        end
      end
    end
    hear "ready"
    for _, child in ipairs(children) do child:write "go\n" end
    hear "done"
    for _, child in ipairs(children) do child:close() end
    local store = open()
    for i = 1, 200 do
      assert.equal("first" .. i, text_of(store:get("first" .. i, "first")))
      assert.equal("second" .. i, text_of(store:get("second" .. i, "second")))
    end
    assert.equal(600, (store:size()))
  end)

  it("sweeps away what is too old, as others come and when it is opened", function()
    local store = open { ttl = 10, stale = 20 }
    for i = 1, 50 do store:put("k" .. i, answer(), nil, 1000) end
    store:put("new", answer(), nil, 1029)
    assert.equal(51, (store:size()))
    store:put("newer", answer(), nil, 1031)
    assert.equal(2, (store:size()))
    assert.equal(0, (open():size()))
  end)

  it("leaves nothing of a tenant in the file once it is forgotten", function()
    local store = open()
    for i = 1, 20 do
      store:put("k" .. i, answer("canary of ann " .. ("x"):rep(i * 500)), "ann@example.org")
      store:put("b" .. i, answer "text of bob", "bob")
    end
    assert.equal(20, store:forget "ann@example.org")
    for _, name in ipairs { "c.db", "c.db-wal" } do
      assert.is_nil(bytes_of(name):find("canary", 1, true), name)
      assert.is_nil(bytes_of(name):find("example", 1, true), name)
    end
    assert.truthy(bytes_of("c.db"):find("text of bob", 1, true))
  end)

  it("takes a damaged entry, one moved to another key and one of another version for none", function()
    local store = open()
    local function spoil(change)
      store:put("k", answer(), "ann")
      assert(store._con:execute("UPDATE oaichat_cache1_entries SET " .. change))
      local got = { n = select("#", store:get "k") }
      assert.same({ n = 1 }, got)
    end
    spoil "data = replace(data, 'hello', 'hullo')"
    spoil "data = 'oaichat 2' || substr(data, 10)"
    spoil "data = substr(data, 1, length(data) - 1)"
    spoil "data = ''"
    spoil "data = x'ff00'"
    spoil "at = 'soon'"
    spoil "tenant = ''"
    assert(store:put("other", answer "secret"))
    assert(store._con:execute "DELETE FROM oaichat_cache1_entries WHERE key = 'k'")
    assert(store._con:execute "UPDATE oaichat_cache1_entries SET key = 'k' WHERE key = 'other'")
    assert.is_nil(store:get "k")
    assert(store:put("k", answer "good"))
    assert.equal("good", text_of(store:get "k"))
    assert.equal(1, (store:size()))
  end)

  it("says as a value what its file cannot do", function()
    local store, _, err = cache.sqlite { path = dir .. "/none/c.db" }
    assert.is_nil(store)
    assert.same({ "storage", "io" }, { err.kind, err.code })
    local file = assert(io.open(dir .. "/bad.db", "w"))
    file:write(("no database "):rep(200))
    file:close()
    store, _, err = cache.sqlite { path = dir .. "/bad.db" }
    assert.is_nil(store)
    assert.same({ "storage", "corrupt" }, { err.kind, err.code })
  end)

  it("does not wait for ever for another writer, and reads meanwhile", function()
    local store, other = open { timeout = 0.05 }, open()
    store:put("k", answer())
    assert(other._con:execute "BEGIN IMMEDIATE")
    local ok, _, err = store:put("k", answer "new")
    assert.is_nil(ok)
    assert.same({ "storage", "unavailable", true }, { err.kind, err.code, err.retryable })
    assert.equal("hello", text_of(store:get "k"))
    assert(other._con:execute "ROLLBACK")
    assert(store:put("k", answer "new"))
    assert.equal("new", text_of(store:get "k"))
  end)

  it("works on a connection that the host opened, and leaves it open", function()
    local env = luasql.sqlite3()
    local con = env:connect(path)
    local store = open { connection = con, prefix = "mine" }
    store:put("k", answer())
    assert.equal(1, store:clear())
    store:put("k", answer())
    store:close()
    local cursor = assert(con:execute "SELECT count(*) FROM mine1_entries")
    assert.equal(1, tonumber((cursor:fetch())))
    cursor:close()
    con:close()
    env:close()
  end)

  it("raises where the host must not be blocked, unless that is allowed", function()
    local store, bold = open(), open { allow_blocking = true }
    local undo = wait.forbid "luv"
    local ok, why = pcall(store.get, store, "k")
    local fine = pcall(bold.get, bold, "k")
    undo()
    assert.is_false(ok)
    assert.truthy(tostring(why):find("would block the host (luv)", 1, true))
    assert.is_true(fine)
  end)

  it("raises on options it does not know", function()
    assert.has_error(function() sqlite.new {} end)
    assert.has_error(function() sqlite.new { path = path, pth = "y" } end)
    assert.has_error(function() sqlite.new { path = path, prefix = "a;b" } end)
    assert.has_error(function() sqlite.new { path = "" } end)
  end)
end)

describe("the text of an answer", function()
  it("is read under its own key and tenant alone", function()
    local mark = common.mark "ann"
    local text = common.pack("k", mark, answer())
    assert.is_table(common.unpack("k", mark, text))
    assert.is_nil(common.unpack("l", mark, text))
    assert.is_nil(common.unpack("k", common.mark "bob", text))
    assert.is_nil(common.unpack("k", "", text))
  end)
end)

local BODY = [[{"id":"chatcmpl-9","object":"chat.completion","model":"m-2026-01-01","created":1700000000123,
  "system_fingerprint":"fp","empty":[],"none":{},"nothing":null,"big":9223372036854775807,
  "bigger":123456789012345678901234,
  "choices":[{"index":1,"message":{"role":"assistant","content":"two\u0000 \ud83d\ude00","refusal":null,
      "annotations":[],"reasoning_content":"thought"},"logprobs":{"content":[{"token":"t","logprob":-0.1}]},
      "finish_reason":"stop"},
    {"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
      "function":{"name":"f","arguments":"{\"id\": 9007199254740993, \"l\":[] }"},"extra_content":{"s":[{}]}}]},
      "finish_reason":"tool_calls"}],
  "usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"cost":0.00012,
    "prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":7}}}]]

describe("an answer of a server", function()
  it("makes the same reply when it comes out of a cache", function()
    local server = testing.server(function(_, response)
      response:head(200, { ["Content-Type"] = "application/json", ["Content-Length"] = tostring(#BODY) })
      response:write(BODY)
      response:finish()
    end)
    local session = assert(core.new { base_url = server.url, api_key = false })
    local exchange = assert(session:send { "{}" })
    while not exchange:done() do wait.ready(exchange) end
    local raw, failure = exchange:result()
    server:close()
    exchange:close()
    assert.is_nil(failure)
    local path = os.tmpname()
    local stores = { cache.memory(), assert(cache.sqlite { path = path }) }
    for _, store in ipairs(stores) do
      assert(store:put("k", raw))
      local got = store:get "k"
      assert.same(raw, got)
      local facts = { attempts = {} }
      local one, other = reply.new(raw, "origin", facts), reply.new(got, "origin", facts)
      assert.equal(json.encode(one:raw()), json.encode(other:raw()))
      assert.equal(json.encode(one.message), json.encode(other.message))
      assert.same(one.tool_calls, other.tool_calls)
      assert.equal("two\0 \240\159\152\128", other.choices[2].text)
      store:close()
    end
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(path .. ending) end
  end)
end)
