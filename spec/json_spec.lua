-- oaichat.json: reading, writing, marks, refusals, and the differential against
-- lua-cjson. Knows no network and no other part of oaichat.

local json = require "oaichat.json"

local has_cjson, cjson = pcall(require, "cjson")
local math_type = rawget(math, "type") -- nil where every number is a double
local integers = math_type ~= nil
local rep = string.rep

local function nested(levels)
  local value = {}
  for _ = 2, levels do value = { value } end
  return value
end

local function refuses(text)
  local value, message, err = json.decode(text)
  assert.is_nil(value)
  assert.equal(message, tostring(err.message))
  assert.is_string(message)
  return message, err
end

local function cannot_encode(value)
  local text, message, err = json.encode(value)
  assert.is_nil(text)
  assert.equal("invalid_request", err.kind)
  assert.equal("encode", err.code)
  assert.equal(1, (message:find(err.path, 1, true)))
  return err.path, message
end

describe("json.decode", function()
  it("reads every kind of value", function()
    local value = json.decode ' {"a":[1,-2.5,true,false,null,"x"],"b":{}} '
    assert.same({ 1, -2.5, true, false, json.null, "x" }, value.a)
    assert.same({}, value.b)
    assert.equal("x", json.decode '"x"')
    assert.is_false(json.decode "false")
    assert.equal(json.null, json.decode "null")
  end)

  it("says what is wrong and at which byte", function()
    local message, err = refuses '{"a":1,}'
    assert.equal("invalid JSON at byte 8: unexpected '}'", message)
    assert.equal("protocol", err.kind)
    assert.equal("decode", err.code)
    assert.equal(8, err.position)
    assert.equal("invalid JSON at byte 1: the text is empty", refuses "")
    assert.equal("invalid JSON at byte 3: the text ends too early", refuses "[1")
    assert.equal("invalid JSON at byte 3: unexpected byte 10", refuses '"a\n"')
  end)

  it("refuses a byte order mark by its name", function()
    assert.truthy(refuses "\239\187\191{}":find("byte order mark", 1, true))
  end)

  it("raises on what is no string", function()
    assert.has_error(function() json.decode(nil) end)
    assert.has_error(function() json.decode(12) end)
    assert.has_error(function() json.decode {} end)
  end)

  it("row 85: joins a surrogate pair inside one string", function()
    assert.equal("\240\159\154\128", json.decode [["\ud83d\ude80"]])
    assert.equal("a\240\159\154\128b", json.decode [["a\uD83D\uDE80b"]])
  end)

  it("row 86: turns lone surrogates into U+FFFD and keeps NUL", function()
    local bad = "\239\191\189"
    assert.equal(bad, json.decode [["\ud83d"]])
    assert.equal("a" .. bad .. "b", json.decode [["a\ud83db"]])
    assert.equal(bad .. "\n", json.decode [["\ud83d\n"]])
    assert.equal(bad .. bad, json.decode [["\ude80\ud83d"]])
    assert.equal(bad .. "\240\159\154\128", json.decode [["\ud83d\ud83d\ude80"]])
    assert.equal("a\0b", json.decode [["a\u0000b"]])
    assert.equal(1, json.decode [[{"\u0000":1}]]["\0"])
  end)

  it("row 87: last duplicate key wins, 1e400 is refused, integers stay exact", function()
    assert.same({ a = 3 }, json.decode '{"a":1,"a":2,"a":3}')
    for _, text in ipairs { "1e400", "-1e400", "[1e99999999999999999999]" } do
      assert.truthy(refuses(text):find("out of range", 1, true))
    end
    assert.equal(0, json.decode "1e-400")
    assert.equal(-math.huge, 1 / json.decode "-0")
    local fifty = rep("1234567890", 5)
    assert.equal(fifty, json.decode(fifty))
    assert.equal("-" .. fifty, json.decode("-" .. fifty))
    assert.equal("9223372036854775808", json.decode "9223372036854775808")
    assert.equal("-9223372036854775809", json.decode "-9223372036854775809")
    for _, text in ipairs { "9007199254740991", "9007199254740992", "-9007199254740992" } do
      assert.is_number(json.decode(text))
      assert.equal(text, json.encode(json.decode(text)))
    end
    local kind = integers and "number" or "string"
    for _, text in ipairs {
      "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808",
    } do
      local value = json.decode(text)
      assert.equal(kind, type(value))
      assert.equal(text, kind == "string" and value or json.encode(value))
    end
  end)

  it("gives integers the integer subtype where Lua has one", function()
    if not integers then return end
    assert.equal("integer", math_type(json.decode "12"))
    assert.equal("float", math_type(json.decode "12.0"))
    assert.equal("float", math_type(json.decode "12e1"))
    assert.equal("float", math_type(json.decode "-0"))
  end)

  it("rounds doubles correctly", function()
    local halfway = "9007199254740993.0" -- between 2^53 and 2^53 + 2: to even
    assert.equal(2 ^ 53, json.decode(halfway))
    assert.equal(2 ^ 53 + 2, json.decode(halfway .. rep("0", 800) .. "1"))
    assert.equal(2 ^ 53, json.decode("9007199254740992." .. rep("9", 800)))
    assert.equal(0.1, json.decode "0.1")
    assert.equal(0.1, json.decode("0.1" .. rep("0", 100000)))
    assert.equal(1, json.decode("0." .. rep("0", 5000) .. "1e5001"))
    assert.equal(1, json.decode("1" .. rep("0", 5000) .. "e-5000"))
    assert.equal(2 ^ -1074, json.decode "4.9e-324")
    assert.equal(2 ^ -1022, json.decode "2.2250738585072014e-308")
  end)

  it("row 88: refuses depth 100,000 and 200 MB of [ as too deep", function()
    for _, text in ipairs { rep("[", 100000), rep("[", 200e6), rep('{"a":', 100000) } do
      local _, err = refuses(text)
      assert.equal("too_large", err.kind)
      assert.equal("too_deep", err.code)
    end
    collectgarbage()
    assert.is_table(json.decode(rep("[", 1000) .. rep("]", 1000)))
    assert.is_table(json.decode(rep('{"a":', 999) .. "[]" .. rep("}", 999)))
  end)

  it("reads the deepest text inside a coroutine", function()
    local value = coroutine.wrap(function()
      return json.decode(rep("[", 1000) .. rep("]", 1000))
    end)()
    assert.equal(rep("[", 1000) .. rep("]", 1000), json.encode(value))
  end)

  it("row 89: refuses what only looks like JSON", function()
    for _, text in ipairs {
      "Infinity", "-Infinity", "NaN", "nan", "0x10", "01", "-01", "+1", ".5", "5.", "1e", "1e+", "-",
      "[1,]", '{"a":1,}', "[1 2]", "[,1]", "{,}", "/* a */ 1", "1 // a", "{a:1}", "{'a':1}", "'a'",
      "True", "nul", "tru", "undefined", "1 2", '"\\x41"', '"\\u12g4"', '"a', '"\t"', "[1", '{"a"', "]",
      "\0", "[1]\0", "\194\160[]",
    } do
      refuses(text)
    end
  end)

  it("row 95: refuses invalid UTF-8 with its byte, in values and in keys", function()
    local _, err = refuses '{"a":"abc\255"}'
    assert.equal(10, err.position)
    for _, bytes in ipairs {
      "\128", "\192\128", "\193\191", "\224\128\128", "\237\160\128", "\240\128\128\128",
      "\244\144\128\128", "\245\128\128\128", "\226\130", "\240\159\154", "\254",
    } do
      refuses('"' .. bytes .. '"')
      refuses('{"' .. bytes .. '":1}')
      refuses('"\\n' .. rep("x", 20) .. bytes .. rep("y", 20) .. '"')
    end
  end)

  it("keeps long strings with escapes whole", function()
    local text = rep("line \\n \\\"quoted\\\" \\u00e9 \195\169 ", 5000)
    local plain = rep("line \n \"quoted\" \195\169 \195\169 ", 5000)
    assert.equal(plain, json.decode('"' .. text .. '"'))
    assert.equal(plain, json.decode(json.encode(plain)))
  end)
end)

describe("json.encode", function()
  it("sorts keys by their bytes", function()
    local value = { b = 1, a = 2, B = 3, ab = 4, [""] = 5, ["\195\169"] = 6, ["a\0"] = 7, a1 = 8 }
    assert.equal('{"":5,"B":3,"a":2,"a\\u0000":7,"a1":8,"ab":4,"b":1,"\195\169":6}', json.encode(value))
  end)

  it("sorts many keys with long common beginnings", function()
    local value, keys = {}, {}
    for i = 1, 500 do
      local key = "common_beginning_" .. rep("x", i % 7) .. i
      value[key], keys[i] = i, key
    end
    table.sort(keys)
    for i, key in ipairs(keys) do keys[i] = ('"%s":%d'):format(key, value[key]) end
    assert.equal("{" .. table.concat(keys, ",") .. "}", json.encode(value))
  end)

  it("writes equal bytes for equal values, whatever order they were made in", function()
    local one, other = {}, {}
    for i = 1, 100 do one["k" .. i] = { x = i, y = { z = i } } end
    for i = 100, 1, -1 do other["k" .. i] = { y = { z = i }, x = i } end
    assert.equal(json.encode(one), json.encode(other))
  end)

  it("escapes what must be escaped and nothing else", function()
    assert.equal('"\\b\\t\\n\\f\\r\\u0000\\u000b\\u001f\\"\\\\"', json.encode "\b\t\n\f\r\0\11\31\"\\")
    local raw = "/\127\226\128\168\226\128\169\195\169\240\159\154\128<>&'"
    assert.equal('"' .. raw .. '"', json.encode(raw))
    for i = 0, 40 do
      local text = rep("a", i) .. '"' .. rep("\195\169", i) .. "\n" .. rep("b", i)
      assert.equal(text, json.decode(json.encode(text)))
    end
  end)

  it("writes numbers as short as they read back", function()
    local cases = {
      { 0, "0" }, { -0.0, integers and "-0" or nil }, { 500.0, "500" }, { -1.5, "-1.5" }, { 0.1, "0.1" },
      { 0.1 + 0.2, "0.30000000000000004" }, { 1 / 3, "0.3333333333333333" }, { 123456789012345, "123456789012345" },
      { 2 ^ 53, "9007199254740992" }, { -2 ^ 53, "-9007199254740992" }, { 2.0 ^ 60, "1.152921504606847e18" },
      { 1e15, "1000000000000000" }, { 1e21, "1e21" }, { 1e23, "1e23" }, { 1e300, "1e300" }, { 1e-6, "0.000001" },
      { 1e-7, "1e-7" }, { 1.5e-10, "1.5e-10" }, { 2 ^ -1074, "5e-324" }, { 2 ^ -1022, "2.2250738585072014e-308" },
      { 1.7976931348623157e308, "1.7976931348623157e308" }, { 2 ^ -44, "5.684341886080802e-14" },
      { 0.7, "0.7" }, { 3.14159265358979, "3.14159265358979" }, { 1727000000.123456, "1727000000.123456" },
    }
    for _, case in ipairs(cases) do
      if case[2] then assert.equal(case[2], json.encode(case[1])) end
    end
    assert.equal("-0", json.encode(json.decode "-0"))
  end)

  it("writes 64-bit integers exactly", function()
    if not integers then return end
    assert.equal("9223372036854775807", json.encode(rawget(math, "maxinteger")))
    assert.equal("-9223372036854775808", json.encode(rawget(math, "mininteger")))
    assert.equal("9007199254740993", json.encode(rawget(math, "tointeger")(2 ^ 53) + 1))
  end)

  it("row 93: keeps {} and [] apart by their marks, read or made", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array {}))
    assert.equal("[]", json.encode(json.array()))
    assert.equal("{}", json.encode(json.object {}))
    local schema = '{"messages":[],"parameters":{"properties":{},"required":[]}}'
    assert.equal(schema, json.encode(json.decode(schema)))
  end)

  it("takes keys 1 to n for an array, wherever the table keeps them", function()
    local backwards = {}
    for i = 20, 1, -1 do backwards[i] = i end
    assert.equal("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]", json.encode(backwards))
    assert.equal('[[1],{"a":1},null]', json.encode { { 1 }, { a = 1 }, json.null })
  end)

  it("row 94: refuses with the path what JSON cannot hold", function()
    local function at(path, reason, value)
      local got, message = cannot_encode(value)
      assert.equal(path, got)
      assert.truthy(message:find(reason, 1, true), message)
    end
    local loop = { list = {} }
    loop.list[1] = loop
    at("list[1]", "cycle", loop)
    at("messages[3].content[1].x", "function", { messages = { 1, 2, { content = { { x = print } } } } })
    at("f", "userdata", { f = io.stdout })
    at("c", "thread", { c = coroutine.create(function() end) })
    at("[2]", "NaN", { 1, 0 / 0 })
    at("a.b", "infinite", { a = { b = math.huge } })
    at("a.b", "infinite", { a = { b = -math.huge } })
    at("a", "array with holes", { a = { 1, 2, nil, 4 } })
    at("a", "array with holes", { a = { [1] = 1, [20] = 2 } })
    at("a", "array with holes", { a = { [0] = 1 } })
    at("a", "array with holes", { a = json.array { 1, nil, 3 } })
    at("a", "mixes items with string keys", { a = { 1, 2, x = 3 } })
    at("a", "mixes items with string keys", { a = { [2] = 1, x = 3 } })
    at("a", "mixes items with string keys", { a = json.array { x = 3 } })
    at("a", "number as a key", { a = json.object { 1 } })
    at("a", "neither a string nor a number", { a = { [true] = 1 } })
    at("a", "holes or stray numbers", { a = { [1.5] = 1 } })
    at('["a b"]', "function", { ["a b"] = print })
    at('["\\n1"].x', "function", { ["\n1"] = { x = print } })
    at("", "the value is a function", print)
    local path, message = cannot_encode(nested(1001))
    assert.truthy(message:find("nests too deep", 1, true))
    assert.equal("[1][1]", path:sub(1, 6))
    assert.is_string(json.encode(nested(1000)))
  end)

  it("row 94: refuses a function from LuaJIT's ffi too", function()
    local found, ffi = pcall(require, "ffi")
    if not found then return end
    assert.equal("n", (cannot_encode { n = ffi.new("int64_t", 1) }))
  end)

  it("row 95: refuses invalid UTF-8 in values and keys, with the path", function()
    assert.equal("messages[1].content", (cannot_encode { messages = { { content = "caf\233" } } }))
    assert.equal("a", (cannot_encode { a = { ["\255"] = 1 } }))
    assert.equal("a", (cannot_encode { a = rep("x", 1000) .. "\237\160\128" }))
  end)

  it("writes a table that occurs twice, but is no cycle, twice", function()
    local shared = { 1 }
    assert.equal('{"a":[1],"b":[[1],[1]]}', json.encode { a = shared, b = { shared, shared } })
  end)

  it("calls no metamethods", function()
    local function never() error "called" end
    local metatable = { __index = never, __len = never, __pairs = never, __ipairs = never, __tostring = never }
    assert.equal('{"a":[1,2]}', json.encode(setmetatable({ a = setmetatable({ 1, 2 }, metatable) }, metatable)))
  end)

  it("takes nil for a mistake and json.null for null", function()
    assert.equal("", (cannot_encode(nil)))
    assert.equal("null", json.encode(json.null))
  end)

  it("works after a refusal as before it", function()
    for _ = 1, 100 do
      cannot_encode { a = { b = { print } } }
      assert.equal('{"a":1}', json.encode { a = 1 })
    end
  end)
end)

describe("json's marks", function()
  it("are what json.array and json.object set on the table itself", function()
    local t = { 1 }
    assert.equal(t, json.array(t))
    assert.equal(json.array_mt, getmetatable(t))
    assert.equal(json.object_mt, getmetatable(json.object()))
    assert.has_error(function() json.array "x" end)
    assert.has_error(function() json.object(1) end)
  end)

  it("are carried by decoded arrays and by no decoded object", function()
    local value = json.decode '{"a":[],"b":[1],"c":{}}'
    assert.equal(json.array_mt, getmetatable(value.a))
    assert.equal(json.array_mt, getmetatable(value.b))
    assert.is_nil(getmetatable(value))
    assert.is_nil(getmetatable(value.c))
  end)

  it("decide json.is_array together with the keys", function()
    for _, value in ipairs { json.array {}, { 1 }, { {}, {} }, json.decode "[]" } do
      assert.is_true(json.is_array(value))
    end
    for _, value in ipairs { {}, json.object {}, { a = 1 }, { 1, x = 1 }, { [2] = 1 }, "x", 1, json.null } do
      assert.is_false(json.is_array(value))
    end
    assert.is_false(json.is_array(nil))
  end)

  it("of OpenResty's lua-cjson are understood, and its array_mt is used", function()
    local core = require "oaichat.core"
    local fake = { array_mt = {}, empty_array_mt = {}, empty_array = io.stdout }
    local kept, loaded = core.json_markers.array_mt, package.loaded.cjson
    package.loaded.cjson, package.loaded["oaichat.json"] = fake, nil
    local again = require "oaichat.json"
    assert.equal(fake.array_mt, getmetatable(again.decode "[]"))
    assert.equal("[]", again.encode(setmetatable({}, fake.array_mt)))
    assert.equal("[]", again.encode(setmetatable({}, kept)))
    assert.equal("[]", again.encode(setmetatable({}, fake.empty_array_mt)))
    assert.equal("[1]", again.encode(setmetatable({ 1 }, fake.empty_array_mt)))
    assert.equal('{"a":1}', again.encode(setmetatable({ a = 1 }, fake.empty_array_mt)))
    assert.equal('{"a":[]}', again.encode { a = fake.empty_array })
    core.json_markers.array_mt, core.json_markers[fake.empty_array] = kept, nil
    package.loaded.cjson, package.loaded["oaichat.json"] = loaded, json
  end)
end)

-- Random documents: the same ones on every Lua.

local seed

local function random(n)
  seed = seed * 16807 % 2147483647
  return seed % n + 1
end

local pieces = {
  "a", "Lua", " ", "\195\169", "\226\130\172", "\240\159\154\128", "\n", "\"", "\\", "/", "\0", "\127",
  "\226\128\168", "<b>", "0", "\31",
}

local function random_string()
  local parts = {}
  for i = 1, random(12) - 1 do parts[i] = pieces[random(#pieces)] end
  return table.concat(parts)
end

local function random_number()
  local n = random(2147483646) * (random(2) == 1 and 1 or -1)
  local kind = random(4)
  if kind == 1 then return n end
  if kind == 2 then return n % 100 end
  if kind == 3 then return n / 1e4 end
  return n * 10 ^ (random(40) - 20)
end

-- lua-cjson writes 14 digits: then digits says to stay within them.
local function random_value(depth, digits)
  local kind = random(depth > 0 and 8 or 5)
  if kind == 1 then return random_string() end
  if kind == 2 then return digits and random(1e9) / 64 or random_number() end
  if kind == 3 then return random(2) == 1 end
  if kind == 4 then return json.null end
  if kind == 5 then return random(1e9) end
  local value = {}
  for i = 1, random(6) do
    value[kind == 6 and i or "k" .. random_string()] = random_value(depth - 1, digits)
  end
  return value
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

describe("json against lua-cjson", function()
  local function check(sentence, test)
    it(sentence, function()
      if not has_cjson then pending "lua-cjson is not here" end
      seed = 20260101
      for _ = 1, 2000 do test() end
    end)
  end

  check("writes texts that lua-cjson reads as the same value", function()
    local value = random_value(5)
    local text = assert(json.encode(value))
    assert.is_true(same(value, cjson.decode("[" .. text .. "]")[1]), text)
    assert.is_true(same(value, json.decode(text)), text)
  end)

  check("reads the texts of lua-cjson as the same value", function()
    local value = random_value(5, true)
    local text = cjson.encode { value }
    assert.is_true(same({ value }, json.decode(text)), text)
    assert.is_true(same(cjson.decode(text), json.decode(text)), text)
  end)

  check("reads any escapes and white space as lua-cjson does", function()
    local text = assert(json.encode { random_value(5) })
    text = text:gsub("[,:%[%]{}]", function(c)
      return ({ c, " " .. c, c .. "\n\t" })[random(3)]
    end)
    text = text:gsub("[<b>k]", function(c)
      return random(2) == 1 and c or ("\\u%04x"):format(c:byte())
    end)
    assert.is_true(same(cjson.decode(text), json.decode(text)), text)
  end)

  check("passes values from lua-cjson to json and back", function()
    local value = { random_value(4, true) }
    local text = json.encode(value)
    assert.equal(text, json.encode(cjson.decode(text)))
    assert.is_true(same(value, cjson.decode(cjson.encode(json.decode(text)))), text)
  end)

  it("shares its null", function()
    if not has_cjson then pending "lua-cjson is not here" end
    assert.equal(cjson.null, json.null)
    assert.equal("[null]", json.encode { cjson.null })
    assert.equal("[null]", cjson.encode { json.null })
  end)
end)

describe("json's doubles", function()
  local function digits_of(text)
    text = text:gsub("e.*", ""):gsub("[-.]", ""):gsub("^0+", ""):gsub("0+$", "")
    return #text
  end

  it("read back equal and have no digit too many", function()
    seed = 4711
    for _ = 1, 3000 do
      local mantissa = random(2147483646) * 2 ^ 22 + random(4194304)
      local v = mantissa * 2.0 ^ (random(1900) - 1000)
      if random(4) == 1 then v = 2.0 ^ (random(2000) - 1000) end
      local text = assert(json.encode(v))
      assert.equal(v, tonumber(text))
      assert.equal(v, json.decode(text))
      for precision = 1, digits_of(text) - 1 do
        local shorter = ("%%.%dg"):format(precision):format(v)
        assert.not_equal(v, tonumber(shorter), text)
      end
    end
  end)

  it("read and write the same in a locale with a decimal comma", function()
    local before = os.setlocale(nil, "numeric")
    local found = os.setlocale("de_DE.UTF-8", "numeric") or os.setlocale("de_DE.utf8", "numeric") or
      os.setlocale("fr_FR.UTF-8", "numeric") or os.setlocale("de_DE", "numeric")
    if not found then pending "no locale with a decimal comma is installed" end
    local text = json.encode { 0.5, 0.1 + 0.2, 1e-320, 5.684341886080802e-14 }
    local value = json.decode "[0.5,0.12345678901234567,1.7976931348623157e308]"
    os.setlocale(before, "numeric")
    assert.equal("[0.5,0.30000000000000004,1e-320,5.684341886080802e-14]", text)
    assert.same({ 0.5, 0.12345678901234567, 1.7976931348623157e308 }, value)
  end)
end)
