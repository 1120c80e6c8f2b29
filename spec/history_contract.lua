--- history_contract: what every history store promises, as specs. A store's own spec
-- calls it inside a describe:
--
--   local contract = require "spec.history_contract"
--   contract(function()
--     return store, function() return another_store_on_the_same_data end, function() clean up end
--   end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
--
-- (busted gives those four to spec files alone.)
-- The second value opens the same data again, as another process would; stores that
-- cannot be shared give the same one. All stores are closed by the specs.

local assert = require "luassert"
local errors = require "oaichat.errors"
local json = require "oaichat.json"

local function user(text)
  return { role = "user", content = text }
end

local function assistant(text)
  return { role = "assistant", content = text }
end

local function texts(messages)
  local out = {}
  for i, one in ipairs(messages) do out[i] = one.content end
  return out
end

local function fails(kind, code, ok, text, err)
  assert.is_nil(ok)
  assert.equal("string", type(text))
  assert.is_true(errors.is(err), "an oaichat.Error expected: " .. tostring(err))
  assert.same({ kind, code }, { err.kind, err.code }, text)
  return err
end

return function(make, busted)
  local describe, it = busted.describe, busted.it
  local store, reopen, finish, opened

  local function again()
    local other = assert(reopen())
    if other ~= store then opened[#opened + 1] = other end
    return other
  end

  busted.before_each(function()
    store, reopen, finish = make()
    assert(store)
    opened = { store }
  end)

  busted.after_each(function()
    for _, one in ipairs(opened) do one:close() end
    if finish then finish() end
    store, reopen, finish, opened = nil, nil, nil, nil
  end)

  describe("conversations", function()
    it("loads nil alone for what is not there", function()
      assert.same({ n = 1 }, { n = select("#", store:load "nobody"), (store:load "nobody") })
    end)

    it("keeps what append wrote, in order, for the next process", function()
      local v1 = assert(store:append("a", 0, { user "one", assistant "two" }))
      local v2 = assert(store:append("a", v1, { user "three" }))
      assert.is_true(v2 > v1)
      local record = assert(again():load "a")
      assert.equal("a", record.id)
      assert.equal(v2, record.version)
      assert.same({ "one", "two", "three" }, texts(record.messages))
      assert.is_nil(record.unanswered)
      assert.is_nil(record.mended)
    end)

    it("has versions that are integers and grow with every write", function()
      local v, last = 0, 0
      for i = 1, 5 do
        v = assert(store:append("a", v, { user(tostring(i)) }))
        assert.is_true(v % 1 == 0 and v > last)
        last = v
      end
      assert.equal(v, store:load("a").version)
    end)

    it("says when it was made and when it was changed, in Unix seconds", function()
      assert(store:append("a", 0, { user "x" }))
      local record = store:load "a"
      assert.is_true(math.abs(record.created - os.time()) < 10)
      assert.is_true(math.abs(record.updated - os.time()) < 10 and record.updated >= record.created)
    end)

    it("hands out copies that nobody shares", function()
      local mine = { user "x" }
      assert(store:append("a", 0, mine))
      mine[1].content = "changed"
      store:load("a").messages[1].content = "changed too"
      assert.same({ "x" }, texts(store:load("a").messages))
    end)

    it("replaces the whole conversation", function()
      local v = assert(store:append("a", 0, { user "one", assistant "two", user "three" }, { title = "t" }))
      local v2 = assert(store:replace("a", v, { user "new" }))
      assert.is_true(v2 > v)
      local record = again():load "a"
      assert.same({ "new" }, texts(record.messages))
      assert.equal("t", record.meta.title)
      v = assert(store:replace("a", v2, {}))
      assert.same({}, store:load("a").messages)
      assert(store:append("a", v, { user "after" }))
      assert.same({ "after" }, texts(store:load("a").messages))
    end)

    it("makes a new conversation by replace at version 0", function()
      assert(store:replace("a", 0, { user "one" }, { user = "u" }))
      local record = store:load "a"
      assert.same({ "one" }, texts(record.messages))
      assert.equal("u", record.meta.user)
    end)

    it("keeps hundreds of conversations apart", function()
      for i = 1, 200 do assert(store:append("c" .. i, 0, { user("number " .. i) })) end
      local other = again()
      for i = 1, 200, 17 do assert.same({ "number " .. i }, texts(other:load("c" .. i).messages)) end
    end)

    it("deletes, and says whether there was one", function()
      assert(store:append("a", 0, { user "x" }))
      assert.is_true(store:delete "a")
      assert.is_false((store:delete "a"))
      assert.is_nil(again():load "a")
      assert.same({}, (store:list()))
      assert(store:append("a", 0, { user "anew" }))
      assert.same({ "anew" }, texts(store:load("a").messages))
    end)
  end)

  describe("turns", function()
    it("keeps the input before there is an answer, and marks it", function()
      local v = assert(store:append("a", 0, { user "q1", assistant "a1" }))
      local v2 = assert(store:begin("a", v, { user "q2" }))
      assert.is_true(v2 > v)
      local record = again():load "a"
      assert.same({ "q1", "a1", "q2" }, texts(record.messages))
      assert.is_true(record.unanswered)
      assert.is_true(record.messages[3].meta.unanswered)
      assert.is_nil(record.messages[1].meta)
      assert.equal(v2, record.version)
    end)

    it("replaces the input by the round on commit", function()
      local v = assert(store:begin("a", 0, { user "q" }))
      v = assert(store:commit("a", v, { user "q", assistant "a" }, { title = "t" }))
      local record = again():load "a"
      assert.equal(v, record.version)
      assert.same({ "q", "a" }, texts(record.messages))
      assert.is_nil(record.unanswered)
      assert.is_nil(record.messages[1].meta)
      assert.equal("t", record.meta.title)
    end)

    it("is as before begin after an abort", function()
      local v = assert(store:append("a", 0, { user "q1", assistant "a1" }))
      v = assert(store:begin("a", v, { user "q2" }))
      local v2 = assert(store:abort("a", v))
      assert.is_true(v2 > v)
      local record = again():load "a"
      assert.same({ "q1", "a1" }, texts(record.messages))
      assert.is_nil(record.unanswered)
    end)

    it("commits round after round", function()
      local call = { role = "assistant", tool_calls = {
        { id = "c1", type = "function", ["function"] = { name = "f", arguments = "{}" } },
      } }
      local result = { role = "tool", tool_call_id = "c1", content = "42" }
      local v = assert(store:begin("a", 0, { user "q" }))
      v = assert(store:commit("a", v, { user "q", call, result }))
      v = assert(store:begin("a", v, {}))
      assert.is_true(again():load("a").unanswered)
      assert(store:commit("a", v, { assistant "a" }))
      local record = again():load "a"
      assert.equal(4, #record.messages)
      assert.same({ "user", "assistant", "tool", "assistant" }, {
        record.messages[1].role, record.messages[2].role, record.messages[3].role, record.messages[4].role,
      })
      assert.same(call.tool_calls, record.messages[2].tool_calls)
      assert.is_nil(record.unanswered)
    end)

    for _, name in ipairs { "begin", "append" } do
      it("goes on behind a turn that a crash left open: " .. name, function()
        assert(store:begin("a", 0, { user "lost" }))
        local other = again()
        local record = other:load "a"
        local v = assert(other[name](other, "a", record.version, { user "next" }))
        record = again():load "a"
        assert.equal(v, record.version)
        assert.same({ "lost", "next" }, texts(record.messages))
        assert.is_nil(record.messages[1].meta)
        assert.equal(name == "begin" or nil, record.unanswered)
      end)
    end

    it("keeps an earlier open input when a later turn is aborted", function()
      local v = assert(store:begin("a", 0, { user "lost" }))
      v = assert(store:begin("a", v, { user "next" }))
      assert(store:abort("a", v))
      assert.same({ "lost" }, texts(store:load("a").messages))
    end)

    it("answers a turn that a crash left open", function()
      assert(store:begin("a", 0, { user "q" }))
      local other = again()
      local record = other:load "a"
      assert(other:commit("a", record.version, { record.messages[1], assistant "late" }))
      record = again():load "a"
      assert.same({ "q", "late" }, texts(record.messages))
      assert.is_nil(record.messages[1].meta, "the mark is the store's and not kept")
      assert.is_nil(record.unanswered)
    end)

    it("closes an open turn by replace", function()
      local v = assert(store:begin("a", 0, { user "q" }))
      assert(store:replace("a", v, { user "edited" }))
      local record = again():load "a"
      assert.same({ "edited" }, texts(record.messages))
      assert.is_nil(record.unanswered)
    end)

    it("raises on a commit or abort without a turn", function()
      local v = assert(store:append("a", 0, { user "x" }))
      assert.has_error(function() store:commit("a", v, { assistant "y" }) end)
      assert.has_error(function() store:abort("a", v) end)
    end)
  end)

  describe("versions", function()
    local writes = {
      begin = function(s, v) return s:begin("a", v, { user "mine" }) end,
      append = function(s, v) return s:append("a", v, { user "mine" }) end,
      replace = function(s, v) return s:replace("a", v, { user "mine" }) end,
      commit = function(s, v) return s:commit("a", v, { user "mine" }) end,
      abort = function(s, v) return s:abort("a", v) end,
    }
    for name, write in pairs(writes) do
      it(name .. " with another's version is a conflict and changes nothing", function()
        local v = assert(store:append("a", 0, { user "theirs" }))
        local v2 = assert(store:begin("a", v, { user "open" }))
        local other = again()
        for _, stale in ipairs { 0, v, v2 + 1 } do
          local err = fails("conflict", "version", write(other, stale))
          assert.equal(v2, err.version)
        end
        local record = again():load "a"
        assert.equal(v2, record.version)
        assert.same({ "theirs", "open" }, texts(record.messages))
        assert.is_true(record.unanswered)
      end)

      it(name .. " to a conversation that was deleted is a conflict", function()
        local v = assert(store:append("a", 0, { user "x" }))
        store:delete "a"
        local err = fails("conflict", "version", write(again(), v))
        assert.equal(0, err.version)
        assert.is_nil(store:load "a")
      end)
    end

    it("tells a conversation made anew from the deleted one", function()
      local v = assert(store:append("a", 0, { user "old" }))
      store:delete "a"
      local v2 = assert(store:append("a", 0, { user "new" }))
      assert.is_true(v2 > v)
      fails("conflict", "version", store:append("a", v, { user "late" }))
      assert.same({ "new" }, texts(store:load("a").messages))
    end)

    it("lets the later of two writers reload and go on", function()
      local other = again()
      local v = assert(store:append("a", 0, { user "1" }))
      local theirs = assert(other:load "a").version
      assert(store:append("a", v, { user "2" }))
      fails("conflict", "version", other:append("a", theirs, { user "3" }))
      assert(other:append("a", other:load("a").version, { user "3" }))
      assert.same({ "1", "2", "3" }, texts(store:load("a").messages))
    end)
  end)

  describe("values", function()
    local function kept(one)
      assert(store:append("a", 0, { one }))
      return again():load("a").messages[1]
    end

    it("keeps every character of a text, NUL and line ends too", function()
      local all = {}
      for byte = 0, 127 do all[#all + 1] = string.char(byte) end
      local text = table.concat(all) .. "\r\n\\u0000'\"%;-- \226\130\172 \240\159\152\128 \239\187\191 \239\191\191"
      assert.equal(text, kept(user(text)).content)
    end)

    it("keeps a text of a megabyte", function()
      local text = ("0123456789abcde\n"):rep(65536)
      assert.is_true(kept(user(text)).content == text)
    end)

    it("keeps 64-bit integers as far as this Lua has them", function()
      local one = user "x"
      one.meta = { small = 7, big = 9007199254740991, negative = -9007199254740991, half = 0.5, t = 1790000000.123456 }
      if math.type then one.meta.max, one.meta.min = math.maxinteger, math.mininteger end
      assert.same(one.meta, kept(one).meta)
    end)

    it("keeps parts, calls, opaque fields, [] against {} and null", function()
      local one = {
        role = "assistant", content = { { type = "text", text = "t" }, { type = "text", text = "" } },
        tool_calls = json.array {}, refusal = json.null,
        meta = { origin = "https://api.example.com", signature = "AAA=", empty = json.object {}, list = json.array {} },
      }
      assert.equal(json.encode(one), json.encode(kept(one)))
    end)

    it("refuses what is not JSON, and changes nothing", function()
      local _, _, err = store:append("a", 0, { user "fine", user "\255\254" })
      assert.is_true(errors.is(err))
      assert.truthy(err.message:find("messages[2]", 1, true))
      assert.is_nil(store:load "a")
      local bad = user "x"
      bad.meta = { bad = 0 / 0 }
      assert.is_nil((store:append("a", 0, { bad })))
      assert.is_nil(store:load "a")
    end)

    it("raises on what is no message, no version, no id", function()
      assert.has_error(function() store:append("a", 0, "text") end)
      assert.has_error(function() store:append("a", 0, { { role = "nobody", content = "x" } }) end)
      assert.has_error(function() store:append("a", "1", { user "x" }) end)
      assert.has_error(function() store:append("a", nil, { user "x" }) end)
      assert.has_error(function() store:append(1, 0, { user "x" }) end)
      assert.has_error(function() store:append("a", 0, { user "x" }, "meta") end)
    end)
  end)

  describe("meta", function()
    it("is merged key by key; null removes", function()
      local v = assert(store:append("a", 0, { user "x" }, { user = "u", title = "t", deep = { a = 1 } }))
      v = assert(store:append("a", v, {}, { title = json.null, deep = { b = 2 }, more = true }))
      local meta = again():load("a").meta
      assert.same({ user = "u", deep = { b = 2 }, more = true }, meta)
      assert(store:append("a", v, { user "y" }))
      assert.same(meta, store:load("a").meta)
    end)

    it("is refused where it is not JSON, and nothing changes", function()
      local loop = {}
      loop.loop = loop
      for _, value in ipairs { 0 / 0, print, "\255", loop } do
        local ok, text, err = store:append("a", 0, { user "x" }, { fine = 1, bad = value })
        assert.is_nil(ok)
        assert.equal("invalid_request", err.kind, text)
        assert.truthy(text:find("meta", 1, true))
        assert.is_nil(store:load "a")
      end
    end)

    it("is an empty table where none was given", function()
      assert(store:append("a", 0, { user "x" }))
      assert.same({}, store:load("a").meta)
    end)

    it("survives turns, aborts and replacements", function()
      local v = assert(store:append("a", 0, {}, { title = "t\0" }))
      v = assert(store:begin("a", v, { user "x" }))
      v = assert(store:abort("a", v))
      v = assert(store:begin("a", v, { user "x" }))
      v = assert(store:commit("a", v, { user "x", assistant "y" }, { user = "u" }))
      assert(store:replace("a", v, { user "z" }, { extra = 1 }))
      assert.same({ title = "t\0", user = "u", extra = 1 }, again():load("a").meta)
    end)
  end)

  describe("ids", function()
    it("take letters, digits and ._:@- up to 200 bytes", function()
      local ids = { "a", "0", "-", "_x", "user@example.com", "tenant:7:chat", "a..b", "A", ("x"):rep(200) }
      for i, id in ipairs(ids) do assert(store:append(id, 0, { user(tostring(i)) })) end
      local other = again()
      for i, id in ipairs(ids) do assert.same({ tostring(i) }, texts(other:load(id).messages), id) end
      assert.equal(#ids, #other:list())
    end)

    local bad = {
      "", ".", "..", ".hidden", "../../etc/x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a b", "a\nb", "\195\164", "a%",
      "a*", "a'b", "%2e%2e", "~", "a{b}", ("x"):rep(201), ("x"):rep(300),
    }
    it("row 116: refuse everything else in every call", function()
      for _, id in ipairs(bad) do
        fails("storage", "bad_id", store:load(id))
        fails("storage", "bad_id", store:begin(id, 0, { user "x" }))
        fails("storage", "bad_id", store:commit(id, 0, { user "x" }))
        fails("storage", "bad_id", store:abort(id, 0))
        fails("storage", "bad_id", store:append(id, 0, { user "x" }))
        fails("storage", "bad_id", store:replace(id, 0, { user "x" }))
        fails("storage", "bad_id", store:delete(id))
        fails("storage", "bad_id", store:lock(id))
      end
      assert.same({}, (store:list()))
    end)
  end)

  describe("list", function()
    local function ids(rows)
      local out = {}
      for i, row in ipairs(rows) do out[i] = row.id end
      return out
    end

    it("gives id, version, count, updated and meta, ordered by id", function()
      assert(store:append("b", 0, { user "1", assistant "2" }, { user = "u", title = "t" }))
      local v = assert(store:begin("a", 0, { user "1" }))
      assert(store:append("C", 0, {}))
      local rows, after = again():list()
      assert.is_nil(after)
      assert.same({ "C", "a", "b" }, ids(rows))
      assert.same({ 0, 1, 2 }, { rows[1].count, rows[2].count, rows[3].count })
      assert.equal(v, rows[2].version)
      assert.same({ user = "u", title = "t" }, rows[3].meta)
      assert.same({}, rows[1].meta)
      assert.is_true(math.abs(rows[1].updated - os.time()) < 10)
    end)

    it("pages by limit and after", function()
      for i = 1, 7 do assert(store:append("c" .. i, 0, { user "x" })) end
      local seen, after, pages = {}, nil, 0
      repeat
        local rows
        rows, after = store:list { limit = 3, after = after }
        for _, id in ipairs(ids(rows)) do seen[#seen + 1] = id end
        pages = pages + 1
      until not after
      assert.same({ "c1", "c2", "c3", "c4", "c5", "c6", "c7" }, seen)
      assert.equal(3, pages)
      local rows
      rows, after = store:list { limit = 7 }
      assert.equal(7, #rows)
      assert.is_nil(after)
    end)

    it("picks by prefix, taken as it is, and by user", function()
      for _, id in ipairs { "a:1", "a:2", "ab", "a_1", "b:1" } do
        assert(store:append(id, 0, { user "x" }, { user = id:sub(-1) }))
      end
      assert.same({ "a:1", "a:2" }, ids((store:list { prefix = "a:" })))
      assert.same({ "a_1" }, ids((store:list { prefix = "a_" })))
      assert.same({ "a:1", "a_1", "b:1" }, ids((store:list { user = "1" })))
      assert.same({ "a:1", "a_1" }, ids((store:list { user = "1", prefix = "a" })))
      local rows, after = store:list { user = "1", limit = 2 }
      assert.same({ "a:1", "a_1" }, ids(rows))
      assert.same({ "b:1" }, ids((store:list { user = "1", limit = 2, after = after })))
      assert.same({}, (store:list { user = "nobody" }))
      assert.has_error(function() store:list { usr = "x" } end)
    end)
  end)

  describe("search", function()
    it("finds words in any case, with the place and a snippet", function()
      assert(store:append("a", 0, { user "Where is the Eiffel Tower?", assistant "In Paris." }))
      assert(store:append("b", 0, { user "nothing here" }))
      local found = again():search "eiffel"
      assert.equal(1, #found)
      assert.same({ "a", 1, "user" }, { found[1].id, found[1].index, found[1].role })
      assert.truthy(found[1].snippet:find("Eiffel", 1, true))
      found = store:search "PARIS"
      assert.same({ "a", 2, "assistant" }, { found[1].id, found[1].index, found[1].role })
    end)

    it("wants all words in one message", function()
      assert(store:append("a", 0, { user "red apple", user "green pear", user "a green apple" }))
      local found = store:search "green apple"
      assert.equal(1, #found)
      assert.equal(3, found[1].index)
      assert.same({}, (store:search "green plum"))
    end)

    it("looks into text parts and into an open input", function()
      assert(store:append("a", 0, { { role = "user", content = { { type = "text", text = "hidden zebra" } } } }))
      assert(store:begin("b", 0, { user "an okapi" }))
      assert.equal("a", store:search("zebra")[1].id)
      assert.equal("b", store:search("okapi")[1].id)
    end)

    it("forgets what was replaced, aborted or deleted", function()
      local v = assert(store:append("a", 0, { user "walrus" }))
      v = assert(store:replace("a", v, { user "seal" }))
      v = assert(store:begin("a", v, { user "dolphin" }))
      assert(store:abort("a", v))
      assert(store:append("b", 0, { user "orca" }))
      store:delete "b"
      assert.same({}, (store:search "walrus"))
      assert.same({}, (store:search "dolphin"))
      assert.same({}, (store:search "orca"))
      assert.equal(1, #store:search "seal")
    end)

    it("is bounded, and picks by user", function()
      for i = 1, 5 do
        assert(store:append("c" .. i, 0, { user "common word" }, { user = i % 2 == 0 and "even" or "odd" }))
      end
      assert.equal(2, #store:search("common", { limit = 2 }))
      assert.equal(5, #store:search "common")
      local found = store:search("common", { user = "even" })
      assert.equal(2, #found)
      for _, one in ipairs(found) do assert.truthy(one.id == "c2" or one.id == "c4") end
    end)

    it("takes quotes and operators as text, and an empty query as none", function()
      assert(store:append("a", 0, { user [[say "hello" (world) AND 100% NOT* it's a_b]] }))
      for _, query in ipairs { '"', "'", "(", "*", "AND", "NOT*", "100%", '"hello"', "it's", "-", ":", "NEAR(" } do
        local found, text = store:search(query)
        assert.equal("table", type(found), query .. ": " .. tostring(text))
      end
      assert.equal(1, #store:search "hello")
      assert.same({}, (store:search ""))
      assert.same({}, (store:search "  "))
    end)
  end)

  describe("locks", function()
    it("are exclusive until released", function()
      local other = again()
      local lock = assert(store:lock "a")
      fails("conflict", "locked", other:lock "a")
      fails("conflict", "locked", store:lock "a")
      assert(other:lock "b"):release()
      lock:release()
      lock:release()
      local theirs = assert(other:lock "a")
      lock:release()
      fails("conflict", "locked", store:lock "a")
      theirs:release()
    end)

    it("need no conversation, and none appears", function()
      local lock = assert(store:lock "a")
      assert.is_nil(store:load "a")
      assert.same({}, (store:list()))
      assert(store:append("a", 0, { user "x" }))
      lock:release()
      assert.same({ "x" }, texts(store:load("a").messages))
    end)
  end)

  it("raises once it is closed, and closes twice without harm", function()
    local other = again()
    if other == store then other = nil end
    store:close()
    store:close()
    assert.has_error(function() store:load "a" end)
    assert.has_error(function() store:append("a", 0, { user "x" }) end)
    assert.has_error(function() store:list() end)
    if other then assert.is_nil(other:load "a") end
  end)
end
