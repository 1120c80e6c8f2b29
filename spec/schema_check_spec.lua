--- schema: what a model reads when its value is wrong, and that a check always ends.
-- luacheck: no max line length

local core = require "oaichat.core"
local json = require "oaichat.json"
local schema = require "oaichat.schema"

local function check(s, source)
  if type(s) == "string" then s = assert(json.decode(s)) end
  return assert(schema.compile(s)):check(assert(json.decode(source)))
end

local function message(s, source)
  local ok, text, err = check(s, source)
  assert.is_nil(ok)
  assert.equal("validation", err.kind)
  assert.equal(text, err.message)
  return text, err
end

describe("a validator's errors", function()
  local trip = schema.object {
    city = schema.string(), days = schema.integer { min = 1, max = 7, optional = true },
    stops = schema.array(schema.object { name = schema.string { max = 5 } }, { optional = true }),
  }

  it("say the place, what is expected and what was found", function()
    local text, err = message(trip, '{"city":"x","stops":[{"name":"abc"},{"name":"abcdefg"}]}')
    assert.equal("stops[1].name must have at most 5 characters, not 7", text)
    assert.equal("/stops/1/name", err.path)
    assert.equal('string "abcdefg"', err.value)
    assert.equal("maxLength", err.keyword)
    assert.equal("#/properties/stops/items/properties/name/maxLength", err.schema_path)
    assert.equal("schema", err.code)
    assert.equal("the value does not match its schema", err.safe_message)
  end)

  it("are all told at once, so that a model can mend them together", function()
    local text, err = message(trip, '{"days":"9","stop":1}')
    assert.equal('city is required but missing; days must be an integer, not string "9"; '
      .. "stop is not an allowed property; allowed: city, days, stops", text)
    assert.equal(3, #err.errors)
    assert.same({ "/city", "/days", "/stop" }, { err.errors[1].path, err.errors[2].path, err.errors[3].path })
    assert.same({ "required", "type", "additionalProperties" },
      { err.errors[1].keyword, err.errors[2].keyword, err.errors[3].keyword })
    assert.is_nil(err.errors[1].value)
  end)

  it("are ten at most", function()
    local text, err = message('{"items":{"type":"string"}}', "[" .. ("1,"):rep(5000) .. "1]")
    assert.equal(10, #err.errors)
    assert.is_true(#text < 1000)
  end)

  it("name members as JSON pointers have them (RFC 6901)", function()
    local text, err = message('{"additionalProperties":{"items":{"type":"null"}}}', '{"a/b~c d":[null,1]}')
    assert.equal('["a/b~c d"][1] must be null, not 1', text)
    assert.equal("/a~1b~0c d/1", err.path)
    text, err = message('{"type":"string"}', "[1,2]")
    assert.equal("the value must be a string, not an array of 2", text)
    assert.equal("", err.path)
  end)

  it("quote a long value cut between its characters", function()
    local text = message('{"type":"integer"}', '"' .. ("é"):rep(1000) .. '"')
    assert.equal('the value must be an integer, not string "' .. ("é"):rep(30) .. '..."', text)
  end)

  it("say what each keyword wants", function()
    local cases = {
      { '{"type":["string","null"]}', "true", "must be a string or null, not true" },
      { '{"enum":["a",1,null,{"b":[]}]}', "2", 'must be one of "a", 1, null, {"b":[]}, not 2' },
      { '{"const":"x"}', '"y"', 'must be "x", not string "y"' },
      { '{"minimum":1}', "0.5", "must be at least 1, not 0.5" },
      { '{"exclusiveMaximum":1}', "1", "must be less than 1, not 1" },
      { '{"multipleOf":0.1}', "0.25", "must be a multiple of 0.1, not 0.25" },
      { '{"minLength":1}', '""', "must have at least 1 character, not 0" },
      { '{"pattern":"^[a-z]+$"}', '"A"', "must match the pattern ^[a-z]+$" },
      { '{"minItems":2}', "[1]", "must have at least 2 items, not 1" },
      { '{"maxProperties":1}', '{"a":1,"b":2}', "must have at most 1 property, not 2" },
      { '{"not":{}}', "1", "matches what it must not match" },
      { '{"oneOf":[{},true]}', "1", "matches alternatives 1 and 2 where only one may match" },
      { '{"contains":{"const":1}}', "[2]", "must contain at least 1 of a kind, not 0" },
    }
    for _, case in ipairs(cases) do assert.equal("the value " .. case[3], (message(case[1], case[2]))) end
    assert.equal("[2] repeats [0]; items must be unique", (message('{"uniqueItems":true}', "[[1],2,[1.0]]")))
    assert.equal("b is required where a is given", (message('{"dependentRequired":{"a":["b"]}}', '{"a":1}')))
    assert.equal("abc has a name that is not allowed", (message('{"propertyNames":{"maxLength":2}}', '{"abc":1}')))
  end)

  it("follow the alternative that was meant", function()
    local shape = schema.any_of {
      schema.object { type = schema.const "circle", r = schema.number() },
      schema.object { type = schema.const "box", w = schema.number(), h = schema.number() },
    }
    assert.equal("h is required but missing", (message(shape, '{"type":"box","w":1}')))
    assert.equal('a must be an integer, not string "x"',
      (message(schema.nullable(schema.any_of { schema.object { a = schema.integer() } }), '{"a":"x"}')))
    assert.equal("the value matches none of 2 alternatives: (1) the value must be a string, not 1, "
      .. "(2) the value must be null, not 1", (message('{"anyOf":[{"type":"string"},{"type":"null"}]}', "1")))
  end)
end)

describe("a validator's values", function()
  it("are equal as JSON has it: 1 is 1.0, true is not 1", function()
    assert.is_true(check('{"const":1}', "1.0"))
    assert.is_true(check('{"enum":[[1,{"a":0}]]}', '[1.0,{"a":-0.0}]'))
    assert.is_nil(check('{"const":1}', "true"))
    assert.is_nil(check('{"const":[]}', "{}"))
    assert.is_true(check('{"type":"integer"}', "1e3"))
    assert.is_nil(check('{"type":"integer"}', "1e-3"))
  end)

  it("have lengths in code points", function()
    assert.is_true(check('{"minLength":2,"maxLength":2}', '"🐲é"'))
    assert.is_nil(check('{"maxLength":1}', '"🐲é"'))
  end)

  it("of another kind are not what a keyword is for", function()
    assert.is_true(check('{"minItems":2,"uniqueItems":false}', '"x"'))
    assert.is_true(check('{"pattern":"^a","format":"nobody knows"}', "5"))
    assert.is_true(check('{"minLength":2,"required":["a"],"minimum":7,"items":false}', "true"))
    assert.is_nil((check('{"pattern":"^a","format":"nobody knows"}', '"b"')))
  end)

  it("are multiples by their decimal texts, without a double's noise", function()
    assert.is_true(check('{"multipleOf":0.1}', "0.3"))
    assert.is_true(check('{"multipleOf":0.01}', "19.99"))
    assert.is_nil(check('{"multipleOf":0.01}', "19.995"))
    assert.is_true(check('{"multipleOf":1e-8}', "12391239123"))
    assert.is_nil(check('{"multipleOf":0.123456789}', "1e308"))
    assert.is_true(check('{"multipleOf":3}', "-9"))
    assert.is_true(check('{"multipleOf":0.5}', "1e300"))
  end)

  it("are exact integers up to 64 bits, and numbers beyond", function()
    assert.is_true(check('{"type":"integer","minimum":0}', "12345678901234567890123"))
    assert.is_nil(check('{"type":"integer","maximum":0}', "12345678901234567890123"))
    assert.is_true(check('{"type":"integer"}', "9007199254740993"))
    assert.is_true(check('{"const":9007199254740993}', "9007199254740993"))
    assert.is_true(check('{"enum":[9007199254740993],"type":"integer"}', "9007199254740993"))
    assert.is_nil(check('{"type":"integer"}', '"12"'))
    assert.is_nil(check('{"type":"integer"}', '"1234567890123456.5"'))
  end)

  it("may be plain tables; an empty one without a mark is an object, as json.encode has it", function()
    local validator = assert(schema.compile(schema.object { list = schema.array(schema.any()) }))
    assert.is_true(validator:check { list = { 1, 2 } })
    assert.is_true(validator:check { list = json.array {} })
    assert.is_nil(validator:check { list = {} })
    assert.is_nil(validator:check { list = print })
  end)

  it("ask no metamethod", function()
    local s = schema.object({ a = schema.any() }, { additional = true })
    local trap = setmetatable({ b = 1 }, { __index = function() error "asked" end })
    assert.is_nil(assert(schema.compile(s)):check(trap))
  end)
end)

describe("a check", function()
  -- far above what it takes, far below what it would without bounds
  local function within(seconds, run)
    local began = os.clock()
    run()
    local took = os.clock() - began
    assert.is_true(took < seconds, ("took %.1f s"):format(took))
  end

  it("row 123: is bounded for a catastrophic pattern on 100 kB", function()
    within(5, function()
      for _, pattern in ipairs { "^(a+)+$", "(a|a)*$", "^(([a-z])+.)+[A-Z]([a-z])+$" } do
        local ok = assert(schema.compile { pattern = pattern }):check(("a"):rep(100000) .. "!")
        assert.equal(pattern == "(a|a)*$", ok == true)
      end
    end)
  end)

  it("is bounded for a pattern that needs many states at once", function()
    within(5, function()
      local _, text, err = assert(schema.compile { pattern = "a{0,9000}!" }):check(("a"):rep(1e6))
      assert.equal("the value takes too much work to check", text)
      assert.equal("too_complex", err.code)
    end)
  end)

  it("is bounded for alternatives in alternatives", function()
    local _, text, err
    within(5, function()
      _, text, err = check('{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}],"not":{"const":1}}',
        ("["):rep(60) .. "1" .. ("]"):rep(60))
    end)
    assert.is_true(#text < 2100)
    assert.equal("validation", err.kind)
  end)

  it("is bounded for branches that repeat each other", function()
    local s = { ["$defs"] = { d0 = { type = "string" } }, ["$ref"] = "#/$defs/d60" }
    for i = 1, 60 do
      local ref = { ["$ref"] = ("#/$defs/d%d"):format(i - 1) }
      s["$defs"]["d" .. i] = { allOf = { ref, { ["$ref"] = ref["$ref"] } } }
    end
    within(5, function()
      local validator = assert(schema.compile(s))
      local _, _, err = validator:check(1)
      assert.equal("validation", err.kind)
      validator:check "x"
    end)
  end)

  it("is bounded for values deeper than a stack, and for ones without an end", function()
    local validator = assert(schema.compile(json.decode '{"anyOf":[{"type":"string"},{"items":{"$ref":"#"}}]}'))
    local _, text, err = validator:check(json.decode(("["):rep(999) .. ("]"):rep(999)))
    assert.equal("the value is nested too deep to check", text)
    assert.equal("too_deep", err.code)
    local round = {}
    round[1] = round
    assert.is_nil(validator:check(round))
    assert.is_nil(assert(schema.compile { uniqueItems = true }):check { round, round })
    assert.is_nil(assert(schema.compile { const = { a = { 1 } } }):check(round))
  end)

  it("takes values as deep as the default of limits.depth", function()
    local validator = assert(schema.compile(json.decode
      '{"anyOf":[{"type":"null"},{"allOf":[{"$ref":"#/$defs/list"}]}],"$defs":{"list":{"type":"array","items":{"$ref":"#"}}}}'))
    assert.is_true(validator:check(json.decode(("["):rep(128) .. ("]"):rep(128))))
  end)

  it("row 123: takes 5,000 properties", function()
    local fields, value = {}, {}
    for i = 1, 5000 do
      fields["p" .. i] = schema.integer { min = 0 }
      value["p" .. i] = i
    end
    within(5, function()
      local validator = assert(schema.compile(schema.object(fields)))
      assert.is_true(validator:check(value))
      value.p77 = -1
      assert.equal("p77 must be at least 0, not -1", select(2, validator:check(value)))
      assert.is_truthy(schema.strict(schema.object(fields)))
    end)
  end)

  it("takes 100,000 items that must be unique", function()
    local list = {}
    for i = 1, 100000 do list[i] = "item " .. i end
    within(5, function()
      local validator = assert(schema.compile { uniqueItems = true, items = { type = "string" } })
      assert.is_true(validator:check(list))
      list[100001] = "item 5"
      assert.equal("[100000] repeats [4]; items must be unique", select(2, validator:check(list)))
    end)
  end)
end)

describe("core.regex", function()
  it("tests a text and counts its steps", function()
    local regex = assert(core.regex "^(a|b)+$")
    local found, steps = regex:test "abab"
    assert.is_true(found)
    assert.is_true(steps > 0)
    assert.is_false((regex:test "abc"))
    assert.matches("^oaichat%.regex %(", tostring(regex))
  end)

  it("gives up after as many steps as it may take", function()
    local found, text = assert(core.regex "a{0,900}!"):test(("a"):rep(10000), 5000)
    assert.is_nil(found)
    assert.equal("the pattern takes too long on this text", text)
  end)

  it("says why a pattern is refused", function()
    local regex, text = core.regex "(a)\\1"
    assert.is_nil(regex)
    assert.equal("backreferences are not supported (at byte 5)", text)
  end)

  it("raises once closed", function()
    local regex = assert(core.regex "a")
    regex:close()
    regex:close()
    assert.error_matches(function() regex:test "a" end, "oaichat%.regex is closed")
  end)
end)
