--- cache_contract: what every cache of answers promises, as specs. cache_spec calls it
-- inside a describe, for each store:
--
--   contract(function(opts)
--     return store, function() return the same data opened again end
--   end, { describe = describe, it = it, after_each = after_each })
--
-- (busted gives those to spec files alone.)

local assert = require "luassert"
local cache = require "oaichat.cache"
local json = require "oaichat.json"

local function answer(text)
  return {
    id = "chatcmpl-1", model = "m", timing = { total = 0.25 },
    extras = { "reply", "system_fingerprint", '"fp"', false },
    usage = json.decode '{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"x":[],"y":{},"z":null}',
    choices = { { index = 0, text = text or "hello", tool_calls = {}, finish_reason = "stop" } },
  }
end

local function key(name, tenant)
  return cache.key({ name }, "route", tenant)
end

return function(make, busted)
  local describe, it = busted.describe, busted.it
  local opened = {}

  local function new(opts)
    local store, again = make(opts or {})
    opened[#opened + 1] = assert(store)
    return store, function()
      local other = assert(again())
      opened[#opened + 1] = other
      return other
    end
  end

  busted.after_each(function()
    for _, store in ipairs(opened) do store:close() end
    opened = {}
  end)

  local function missing(...)
    assert.same({ n = 1 }, { n = select("#", ...), (...) })
  end

  describe("answers", function()
    it("are nil alone where there are none", function()
      missing(new():get(key "a"))
    end)

    it("come back as they were put, for whoever opens the same data", function()
      local store, again = new()
      assert.is_true(store:put(key "a", answer()))
      for _, one in ipairs { store, again() } do
        local raw, age, fresh = one:get(key "a")
        assert.same(answer(), raw)
        assert.is_true(age >= 0 and age < 10)
        assert.is_true(fresh)
        assert.equal(json.encode(answer().usage), json.encode(raw.usage))
        assert.is_nil(getmetatable(raw.choices))
        assert.is_nil(getmetatable(raw.choices[1].tool_calls))
        assert.is_nil(getmetatable(raw.extras))
      end
    end)

    it("keep integers beyond 2^53, [] and {}, null and the bytes of what is unknown", function()
      local store = new()
      local raw = answer()
      raw.usage = assert(json.decode '{"a":9007199254740993,"b":[],"c":{},"d":null,"e":[{}],"f":0.1,"g":-5,"h":true}')
      local text = assert(json.encode(raw.usage))
      raw.choices[1].extras = { "choice", "logprobs", '{"n": 12345678901234567890123, "l":[ ]}', false }
      raw.choices[1].tool_calls = {
        { id = "c1", name = "f", arguments = '{"id": 9007199254740993, "e":[] }',
          extras = { "call", "x", "{}", true } },
      }
      assert(store:put(key "a", raw))
      local got = store:get(key "a")
      assert.equal(text, json.encode(got.usage))
      assert.same(raw, got)
      assert.is_true(json.is_array(got.usage.b))
      assert.is_false(json.is_array(got.usage.c))
    end)

    it("keep every byte of their texts", function()
      local store = new()
      local bytes = {}
      for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
      for i, text in ipairs {
        "", "\0", "a\0b", "it's; DROP TABLE @entries --", "%s %d @ @@", "\226\128\168\239\191\189\240\159\152\128",
        "\255\254", table.concat(bytes), "\0b64:AAAA", "\0b64:", "line\r\nline\n", "\\u0000\\", ("x"):rep(300000),
        "\237\160\128",
      } do
        local raw = answer(text)
        raw.choices[1].refusal, raw.body = text, text
        assert(store:put(key "a", raw))
        local got = store:get(key "a")
        assert.equal(text, got.choices[1].text, "text " .. i)
        assert.equal(text, got.body, "text " .. i)
      end
    end)

    it("keep choices without number, and none at all", function()
      local store = new()
      local raw = { choices = {}, timing = {}, extras = {} }
      assert(store:put(key "none", raw))
      assert.same(raw, (store:get(key "none")))
      for i = 1, 5 do raw.choices[i] = { index = i - 1, text = tostring(i), tool_calls = {}, extras = {} } end
      assert(store:put(key "five", raw))
      assert.same(raw, (store:get(key "five")))
    end)

    it("are nobody's table", function()
      local store = new()
      local raw = answer "mine"
      assert(store:put(key "a", raw))
      assert.is_nil(getmetatable(raw.choices[1].tool_calls))
      raw.choices[1].text = "changed"
      store:get(key "a").choices[1].text = "changed too"
      assert.equal("mine", store:get(key "a").choices[1].text)
    end)

    it("are replaced by what is put under their key", function()
      local store = new()
      assert(store:put(key "a", answer "one"))
      assert(store:put(key "a", answer "two"))
      assert.equal("two", store:get(key "a").choices[1].text)
      assert.equal(1, (store:size()))
    end)

    it("that no JSON can say are refused, and leave the cache as it is", function()
      local store = new()
      local raw = answer()
      raw.usage = { n = 0 / 0 }
      local ok, message, err = store:put(key "a", raw)
      assert.is_nil(ok)
      assert.equal("string", type(message))
      assert.same({ "storage", "encode" }, { err.kind, err.code })
      raw.usage = {}
      raw.usage.ring = raw.usage
      assert.is_nil((store:put(key "a", raw)))
      missing(store:get(key "a"))
    end)
  end)

  describe("ages", function()
    it("make an answer fresh, then stale, then nothing", function()
      local store = new { ttl = 60, stale = 600 }
      assert(store:put(key "a", answer(), nil, 1000))
      local function at(now)
        local raw, age, fresh = store:get(key "a", nil, now)
        return raw and { math.floor(age), fresh }
      end
      assert.same({ 0, true }, at(1000))
      assert.same({ 59, true }, at(1059))
      assert.same({ 60, false }, at(1060))
      assert.same({ 660, false }, at(1660))
      assert.is_nil(at(1661))
    end)

    it("begin anew when an answer is put again", function()
      local store = new { ttl = 60, stale = 0 }
      assert(store:put(key "a", answer(), nil, 1000))
      assert(store:put(key "a", answer(), nil, 1050))
      local _, age, fresh = store:get(key "a", nil, 1100)
      assert.same({ 50, true }, { age, fresh })
    end)

    it("stand a clock that was put back, for a while", function()
      local store = new { ttl = 60, stale = 600 }
      assert(store:put(key "a", answer(), nil, 1000))
      local raw, age, fresh = store:get(key "a", nil, 900)
      assert.is_table(raw)
      assert.same({ 0, true }, { age, fresh })
      missing(store:get(key "a", nil, 100))
    end)

    it("can be zero: then an answer is only better than none", function()
      local store = new { ttl = 0 }
      assert(store:put(key "a", answer(), nil, 1000))
      local _, age, fresh = store:get(key "a", nil, 1000)
      assert.same({ 0, false }, { age, fresh })
    end)
  end)

  describe("tenants", function()
    it("never see an answer of another, even with its key", function()
      local store = new()
      local ann = key("a", "ann")
      assert(store:put(ann, answer "for ann", "ann"))
      assert.equal("for ann", store:get(ann, "ann").choices[1].text)
      for _, other in ipairs { "bob", "", "an", "ann ", "ann\0" } do missing(store:get(ann, other)) end
      assert(store:put(key "shared", answer "for nobody"))
      missing(store:get(key "shared", "bob"))
      assert.is_table(store:get(key "shared"))
      assert.equal("for ann", store:get(ann, "ann").choices[1].text)
    end)

    it("are forgotten, each alone", function()
      local store, again = new()
      for _, tenant in ipairs { "ann", "bob", "it's", "a\0b", "\255" } do
        assert(store:put(key("a", tenant), answer(tenant .. "1"), tenant))
        assert(store:put(key("b", tenant), answer(tenant .. "2"), tenant))
      end
      assert(store:put(key "a", answer "all"))
      assert.equal(0, store:forget "nobody")
      assert.equal(2, store:forget "ann")
      assert.equal(2, store:forget "a\0b")
      for _, one in ipairs { store, again() } do
        missing(one:get(key("a", "ann"), "ann"))
        missing(one:get(key("b", "ann")))
        missing(one:get(key("a", "a\0b"), "a\0b"))
        for _, tenant in ipairs { "bob", "it's", "\255" } do
          assert.equal(tenant .. "2", one:get(key("b", tenant), tenant).choices[1].text)
        end
        assert.is_table(one:get(key "a"))
      end
      assert.equal(0, store:forget "ann")
    end)

    it("are all gone when the cache is cleared", function()
      local store = new()
      assert(store:put(key("a", "ann"), answer(), "ann"))
      assert(store:put(key "b", answer()))
      assert.equal(2, store:clear())
      assert.same({ 0, 0 }, { store:size() })
      missing(store:get(key "b"))
    end)
  end)

  describe("bounds", function()
    it("hold the number of answers: the oldest goes", function()
      local store = new { entries = 3 }
      for i = 1, 10 do assert(store:put(key("k" .. i), answer(), nil, 1000 + i)) end
      assert.equal(3, (store:size()))
      for i = 1, 7 do missing(store:get(key("k" .. i), nil, 1010)) end
      for i = 8, 10 do assert.is_table(store:get(key("k" .. i), nil, 1010)) end
    end)

    it("hold the bytes", function()
      local store = new { bytes = 20000 }
      for i = 1, 30 do
        assert(store:put(key("k" .. i), answer(("x"):rep(i % 5 * 500)), nil, 1000 + i))
        local _, bytes = store:size()
        assert.is_true(bytes <= 20000)
      end
      local count, bytes = store:size()
      assert.is_true(count > 5 and bytes > 10000)
      for i = 31 - count, 30 do assert.is_table(store:get(key("k" .. i), nil, 1030)) end
    end)

    it("refuse an answer that takes more than there is, and do not keep the old one", function()
      local store = new { bytes = 5000 }
      assert(store:put(key "a", answer()))
      local ok, _, err = store:put(key "b", answer(("x"):rep(6000)))
      assert.is_nil(ok)
      assert.same({ "storage", "too_large" }, { err.kind, err.code })
      assert.is_table(store:get(key "a"))
      assert.is_nil((store:put(key "a", answer(("x"):rep(6000)))))
      missing(store:get(key "a"))
    end)
  end)

  describe("misuse", function()
    it("raises: no key, no tenant, no answer, options that are not known", function()
      local store = new()
      for _, wrong in ipairs { {}, { 5 }, { "" }, { "a b" }, { "a'b" }, { key "a", 5 }, { key "a", {} } } do
        assert.has_error(function() store:get(wrong[1], wrong[2]) end)
        assert.has_error(function() store:put(wrong[1], answer(), wrong[2]) end)
      end
      assert.has_error(function() store:put(key "a", "text") end)
      assert.has_error(function() store:put(key "a", {}) end)
      assert.has_error(function() make { tll = 5 } end)
      assert.has_error(function() make { ttl = "5" } end)
      local none, _, err = make { ttl = -1 }
      assert.is_nil(none)
      assert.equal("config", err.kind)
    end)

    it("is a closed cache, but not to close it again", function()
      local store = new()
      store:close()
      store:close()
      assert.has_error(function() store:get(key "a") end)
      assert.has_error(function() store:put(key "a", answer()) end)
    end)
  end)
end
