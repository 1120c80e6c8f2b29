-- oaichat.partial: a JSON value read while it arrives. Knows oaichat.json, which it
-- must agree with, and the JSON suite's folder beside the repository.

local json = require "oaichat.json"
local partial = require "oaichat.partial"

local folder = "../shared/fixtures/json-suite"
local in_ci = os.getenv "CI" == "1" or os.getenv "CI" == "true"

local OWN = {
  [=[{"city":"Bern","days":[1,22,-3.5e2,0],"deep":{"a":{"b":[[],{},[{}]]}},"ok":true,"no":false,"nil":null}]=],
  [=[ [ "a\"b\\c\/d\b\f\n\r\t" , "\u0041\u00e9\u20AC" , "\ud83d\ude00x\uD834\uDD1E" ] ]=],
  [=["lone \ud800 \ud800\u0041 \udc00 \ud800\ud83d\ude00 \ud800"]=],
  '{"\\u0061\\ud83d\\ude00":"\195\169\226\130\172\240\159\152\128","":""}',
  "[9007199254740993,9223372036854775807,-9223372036854775808,1e-7,0.1,123456789012345678901234567890]",
  "[[[[[[1],2],3],4],5],6]", "[true,false,null]", '"\127"', "[]", "{}", "12", "-0", "true", "null", '""', "  1.5e3  ",
  '[{"id":1,"text":"first"},{"id":2,"text":"second"}]',
}

local function read(name)
  local file = assert(io.open(folder .. "/" .. name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function names(prefix)
  local list = {}
  local pipe = assert(io.popen("ls " .. folder .. "/ 2>/dev/null"))
  for name in pipe:lines() do
    if name:sub(1, #prefix) == prefix then list[#list + 1] = name end
  end
  pipe:close()
  return list
end

local function fed(...)
  local p = partial.new()
  for _, piece in ipairs { ... } do p:feed(piece) end
  return p
end

local function same(a, b)
  return assert(json.encode(a)) == assert(json.encode(b)) and json.is_array(a) == json.is_array(b)
end

local is_prefix

local function is_prefix_table(part, whole)
  if json.is_array(part) ~= json.is_array(whole) then return false end
  for key, value in pairs(part) do
    local last = json.is_array(part) and key == #part
    local there = whole[key]
    if there == nil or not is_prefix(value, there) then return false end
    if json.is_array(part) and not last and not same(value, there) then return false end
  end
  return true
end

-- Whether `whole` can still grow out of `part`.
function is_prefix(part, whole)
  if part == nil then return true end
  if type(part) ~= type(whole) then return false end
  if type(part) == "string" then return whole:sub(1, #part) == part and json.encode(part) ~= nil end
  if type(part) == "table" then return is_prefix_table(part, whole) end
  return part == whole
end

-- Equal keys: the last wins, so that what was shown is replaced.
local function has_equal_keys(name)
  return name:find "duplicate" ~= nil
end

local function check_splits(text, name)
  local whole = json.decode(text)
  assert.is_not_nil(whole)
  local every = partial.new()
  for cut = 0, #text do
    local p = fed(text:sub(1, cut))
    assert.is_true(has_equal_keys(name) or is_prefix(p:value(), whole), ("%s cut at %d"):format(name, cut))
    p:feed(text:sub(cut + 1))
    assert.is_true(same(whole, (p:finish())), ("%s cut at %d"):format(name, cut))
    assert.is_true(p:done())
    every:feed(text:sub(cut + 1, cut + 1))
    assert.is_true(has_equal_keys(name) or is_prefix(every:value(), whole), ("%s byte %d"):format(name, cut + 1))
  end
  assert.is_true(same(whole, (every:finish())), name)
end

-- Never a value that json.decode would not give, and the same byte is named.
local function check_refusal(text, name)
  local _, _, expected = json.decode(text)
  for _, size in ipairs { #text, 1, 3 } do
    local p = partial.new()
    for at = 1, #text, math.max(1, size) do
      p:feed(text:sub(at, at + size - 1))
      p:value()
    end
    local value, message, err = p:finish()
    assert.is_nil(value, name)
    assert.is_string(message)
    assert.is_false(p:done())
    if expected.code == "decode" and err.code == "decode" then
      -- a number is judged when it ends, UTF-8 where json.decode looks at it
      assert.is_true(err.position <= #text + 1 and err.position >= 1, name)
    end
  end
end

describe("a value that arrives in pieces", function()
  it("is json.decode's value in the end, and a prefix of it before, at every split", function()
    for i, text in ipairs(OWN) do check_splits(text, "own " .. i) end
  end)

  it("is so for every valid text of the JSON suite, and no invalid one is taken", function()
    local valid, invalid = names "y_", names "n_"
    if #valid == 0 then
      assert(not in_ci, folder .. " is missing")
      return pending(folder .. " is not here")
    end
    for _, name in ipairs(valid) do check_splits(read(name), name) end
    for _, name in ipairs(invalid) do check_refusal(read(name), name) end
    assert.is_true(#valid == 95 and #invalid == 188)
  end)

  it("agrees with json.decode on texts that nobody defined", function()
    for _, name in ipairs(names "i_") do
      local text = read(name)
      local value, _, expected = json.decode(text)
      local p = fed(text)
      local got, _, err = p:finish()
      if value ~= nil and expected == nil and not (err and err.code == "too_deep") then
        assert.is_true(same(value, got), name)
      else
        assert.is_nil(got, name)
      end
    end
  end)

  it("agrees with json.decode on texts with one byte changed", function()
    local seed = 7
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    local bytes = '{}[]",:\\u0123e+-. tfn\240\159\0'
    for _ = 1, 3000 do
      local text = OWN[random(#OWN)]
      local at, by = random(#text), random(#bytes)
      text = text:sub(1, at - 1) .. bytes:sub(by, by) .. text:sub(at + 1)
      local cut = random(#text)
      local value = json.decode(text)
      local got = fed(text:sub(1, cut), text:sub(cut + 1)):finish()
      assert.equal(value == nil, got == nil, text)
      if value ~= nil then assert.is_true(same(value, got), text) end
    end
  end)

  it("grows in place", function()
    local p = fed '{"list":[1,2'
    local root = p:value()
    local list = root.list
    assert.same({ 1 }, list)
    p:feed '2,"ab'
    assert.equal(root, p:value())
    assert.equal(list, root.list)
    assert.same({ 1, 22, "ab" }, list)
    p:feed 'c"],'
    p:value()
    assert.same({ 1, 22, "abc" }, list)
    assert.equal(json.array_mt, getmetatable(list))
    assert.is_nil(getmetatable(root))
  end)

  it("holds back what could become something else", function()
    local function shown(text) return assert(json.encode((fed(text):value()))) end
    assert.equal("[1]", shown "[1,2")
    assert.equal("[1]", shown "[1,-")
    assert.equal("[]", shown "[tru")
    assert.equal("{}", shown '{"key"')
    assert.equal("{}", shown '{"key":')
    assert.equal('{"key":""}', shown '{"key":"')
    assert.equal('["a"]', shown '["a\\')
    assert.equal('["a"]', shown '["a\\u00e')
    assert.equal('["a"]', shown '["a\\ud83d')
    assert.equal('["a"]', shown '["a\\ud83d\\')
    assert.equal('["a"]', shown '["a\\ud83d\\ude0')
    assert.equal('["a\240\159\152\128"]', shown '["a\\ud83d\\ude00')
    assert.equal('["a"]', shown '["a\240\159\152')
    assert.is_nil(fed("12"):value())
    assert.is_nil(fed("nul"):value())
    assert.is_nil(fed(""):value())
    assert.is_nil(fed(" "):value())
  end)

  it("keeps integers exact, and null apart from nothing", function()
    local p = fed "[9007199254740993,null,7]"
    assert.equal(assert(json.encode(json.decode "[9007199254740993,null,7]")), json.encode(p:value()))
    assert.equal(json.null, p:value()[2])
    assert.equal(json.null, fed("null "):value())
    assert.is_false(fed("false"):value())
  end)

  it("knows a bare number is whole when white space or the end follows", function()
    local p = fed "12"
    assert.is_false(p:done())
    assert.equal(12, p:finish())
    assert.is_true(p:done())
    p = fed "12 "
    assert.is_true(p:done())
    assert.equal(12, p:value())
  end)
end)

describe("a value that is no JSON", function()
  it("stops the reader, which says where and keeps what was", function()
    local p = fed('{"a":[1,2', '],"b":x', '"more"}')
    local message, err = p:error()
    assert.equal("invalid JSON at byte 16: unexpected 'x'", message)
    assert.equal(16, err.position)
    assert.equal("protocol", err.kind)
    assert.equal("decode", err.code)
    assert.same({ a = { 1, 2 } }, p:value())
    assert.is_false(p:done())
    local value, again, same_err = p:finish()
    assert.is_nil(value)
    assert.equal(message, again)
    assert.equal(err, same_err)
  end)

  it("is named with the byte that json.decode names", function()
    for _, text in ipairs {
      '{"a" 1}', "[1,]", '["\\x"]', '["\\u12"]', "[truE]", "[01]", "[1.]", "[-]", "[1e999]", '["\1"]', '[1]x', "{,}",
      '["ab\255"]', '["\\ud800', "[1", "", "tru", "-", '{"a":1', "[1 2]", '{"a":1 "b"}', "[\0]",
    } do
      local _, expected, where = json.decode(text)
      for size = 1, #text + 1 do
        local p = partial.new()
        for at = 1, #text, size do p:feed(text:sub(at, at + size - 1)) end
        local value, message, err = p:finish()
        assert.is_nil(value)
        assert.equal(expected, message)
        assert.equal(where.position, err.position)
      end
    end
  end)

  it("is a text behind the value", function()
    local p = fed "[1] "
    assert.is_true(p:done())
    assert.is_nil(p:error())
    p:feed "2"
    assert.is_false(p:done())
    assert.equal("invalid JSON at byte 5: unexpected '2'", (p:error()))
  end)

  it("is cut short: finish says so", function()
    local value, message = fed('{"a":"b'):finish()
    assert.is_nil(value)
    assert.equal("invalid JSON at byte 8: the text ends too early", message)
  end)

  it("is too deep or too long", function()
    local p = fed(("["):rep(128))
    assert.is_nil(p:error())
    p:feed "["
    local message, err = p:error()
    assert.equal("invalid JSON at byte 129: more than 128 levels deep", message)
    assert.equal("too_large", err.kind)
    assert.equal("too_deep", err.code)

    p = partial.new { depth = 1, bytes = 6 }
    p:feed "[1,2]"
    assert.is_true(p:done())
    p:feed "  "
    message, err = p:error()
    assert.equal("invalid JSON at byte 6: more than 6 bytes", message)
    assert.equal("too_large", err.kind)
  end)

  it("is misuse when it is no string, or an option is unknown", function()
    assert.error_matches(function() partial.new():feed(1) end, "string expected, got number")
    assert.error_matches(function() partial.new { dept = 1 } end, "did you mean depth")
  end)
end)

describe("the items of an array", function()
  it("are handed out when they are whole, once", function()
    local p, got = partial.new(), {}
    for char in ('[{"a":1},"two",3,[4],null]'):gmatch "." do
      p:feed(char)
      for i, item in p:items() do
        assert.equal(#got + 1, i)
        got[i] = json.encode(item)
      end
    end
    assert.same({ '{"a":1}', '"two"', "3", "[4]", "null" }, got)
    assert.is_true(p:done())
  end)

  it("are found at a key", function()
    local p = fed '{"title":"x","steps":[{"n":1},{"n":'
    local got = {}
    for _, step in p:items "steps" do got[#got + 1] = step.n end
    assert.same({ 1 }, got)
    assert.equal(1, p:complete(p:value().steps))
    assert.equal(2, #p:value().steps)
    p:feed "2}]"
    for _, step in p:items "steps" do got[#got + 1] = step.n end
    assert.same({ 1, 2 }, got)
    assert.equal(2, p:complete(p:value().steps))
    for _ in p:items "title" do error "a string has no items" end
    for _ in p:items "other" do error "nothing has no items" end
  end)

  it("are not whole while a string grows, though it is shown", function()
    local p = fed '["a","b'
    assert.same({ "a", "b" }, p:value())
    assert.equal(1, p:complete(p:value()))
  end)
end)

describe("the reader's cost", function()
  local function seconds(count)
    local p, piece = partial.new(), ('"0123456789 \\n",'):rep(4)
    p:feed "["
    local start = os.clock()
    for _ = 1, count do
      for at = 1, #piece, 3 do p:feed(piece:sub(at, at + 2)) end
    end
    assert.is_nil(p:error())
    return os.clock() - start
  end

  it("grows with the bytes, not with their square", function()
    seconds(500)
    local few, many = seconds(1000), seconds(8000)
    assert.is_true(many < few * 30 + 0.05, ("%.3f s, then %.3f s"):format(few, many))
  end)

  it("grows so for one long string too", function()
    local function long(count)
      local p = fed '["'
      local start = os.clock()
      for _ = 1, count do p:feed "abcdefgh\\u00e9" end
      p:feed '"]'
      assert.equal(count * 10, #p:finish()[1])
      return os.clock() - start
    end
    long(1000)
    local few, many = long(5000), long(40000)
    assert.is_true(many < few * 30 + 0.05, ("%.3f s, then %.3f s"):format(few, many))
  end)
end)
