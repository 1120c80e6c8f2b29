--- schema: its words make plain JSON Schema, compile refuses what is none.
-- luacheck: no max line length

local json = require "oaichat.json"
local schema = require "oaichat.schema"

local function text(s)
  return assert(json.encode(s))
end

local function raised(...)
  local ok, why = pcall(...)
  assert.is_false(ok)
  assert.matches("schema_spec%.lua:%d+: ", why) -- the caller's line, not one of ours
  return (why:gsub("^.-:%d+: ", ""))
end

describe("schema's words", function()
  it("make an object whose properties are required unless optional", function()
    local s = schema.object {
      city = schema.string "City and state", days = schema.integer { min = 1, max = 7, optional = true },
      alpha = schema.boolean(),
    }
    assert.equal('{"additionalProperties":false,"properties":{"alpha":{"type":"boolean"},'
      .. '"city":{"description":"City and state","type":"string"},"days":{"maximum":7,"minimum":1,"type":"integer"}},'
      .. '"required":["alpha","city"],"type":"object"}', text(s))
  end)

  it("row 93: write empty properties as {} and empty required as []", function()
    assert.equal('{"additionalProperties":false,"properties":{},"required":[],"type":"object"}', text(schema.object {}))
    assert.equal('{"additionalProperties":false,"properties":{"a":{}},"required":[],"type":"object"}',
      text(schema.object { a = schema.any { optional = true } }))
  end)

  it("name lengths, sizes and bounds as each type has them", function()
    assert.equal('{"format":"email","maxLength":9,"minLength":2,"pattern":"^a","type":"string"}',
      text(schema.string { min = 2, max = 9, pattern = "^a", format = "email" }))
    assert.equal('{"exclusiveMaximum":2,"exclusiveMinimum":1,"multipleOf":0.5,"type":"number"}',
      text(schema.number { above = 1, below = 2, multiple_of = 0.5 }))
    assert.equal('{"items":{"type":"null"},"maxItems":3,"minItems":0,"type":"array","uniqueItems":true}',
      text(schema.array(schema.null(), { min = 0, max = 3, unique = true })))
    assert.equal('{"additionalProperties":{"type":"integer"},"description":"votes","maxProperties":4,"type":"object"}',
      text(schema.map(schema.integer(), { max = 4, description = "votes" })))
    assert.equal('{"default":"a","enum":["a","b"],"examples":["b"],"title":"T","type":"string"}',
      text(schema.string { enum = { "a", "b" }, title = "T", default = "a", examples = { "b" } }))
  end)

  it("make enums, constants and alternatives", function()
    assert.equal('{"enum":["a","b"],"type":"string"}', text(schema.enum { "a", "b" }))
    assert.equal('{"description":"either","enum":["a",1]}', text(schema.enum({ "a", 1 }, "either")))
    assert.equal('{"const":{"a":[]}}', text(schema.const { a = json.array {} }))
    assert.equal('{"const":null}', text(schema.const(json.null)))
    assert.equal('{"anyOf":[{"type":"string"},{"type":"integer"}],"description":"id"}',
      text(schema.any_of({ schema.string(), schema.integer() }, "id")))
    assert.equal("{}", text(schema.any()))
  end)

  it("make a schema nullable without changing it", function()
    local s = schema.enum { "a" }
    assert.equal('{"enum":["a",null],"type":["string","null"]}', text(schema.nullable(s)))
    assert.equal('{"enum":["a"],"type":"string"}', text(s))
    assert.equal('{"anyOf":[{"anyOf":[{"type":"string"}]},{"type":"null"}]}',
      text(schema.nullable(schema.any_of { schema.string() })))
    assert.equal('{"type":"null"}', text(schema.nullable(schema.null())))
    local o = schema.object { a = schema.nullable(schema.string { optional = true }) }
    assert.same({}, o.required)
  end)

  it("open an object when asked", function()
    assert.is_true(schema.object({}, { additional = true }).additionalProperties)
    assert.same({ type = "string" }, schema.object({}, { additional = schema.string() }).additionalProperties)
    assert.equal("A thing", schema.object({}, "A thing").description)
  end)

  it("take schemas made by hand, optional ones too", function()
    local by_hand = { type = "string", minLength = 1 }
    local s = schema.object { a = by_hand, b = schema.optional(by_hand), c = true }
    assert.same({ "a", "c" }, s.required)
    assert.equal(by_hand, s.properties.a)
    assert.same({ type = "string", minLength = 1 }, by_hand)
  end)

  it("make schemas that have themselves as a part, at any place", function()
    local node = schema.recursive("node", function(node)
      return schema.object { value = schema.integer(), kids = schema.array(node) }
    end)
    assert.equal("#/$defs/node", node["$ref"])
    local tree = schema.object { left = node, right = schema.nullable(node) }
    assert.same({ ["$ref"] = "#/$defs/node" }, tree.properties.left)
    assert.equal(node["$defs"].node, tree["$defs"].node)
    local validator = assert(schema.compile(tree))
    assert.is_true(validator:check(json.decode '{"left":{"value":1,"kids":[{"value":2,"kids":[]}]},"right":null}'))
    local ok, why = validator:check(json.decode '{"left":{"value":1,"kids":[{"value":"x","kids":[]}]},"right":null}')
    assert.is_nil(ok)
    assert.equal('left.kids[0].value must be an integer, not string "x"', why)
  end)

  it("raise for a wrong option, and guess what was meant", function()
    assert.equal("unknown option schema.string.patern (did you mean schema.string.pattern?)",
      raised(schema.string, { patern = "a" }))
    assert.equal("unknown option schema.integer.unique", raised(schema.integer, { unique = true }))
    assert.equal("schema.integer.min: number expected, got string", raised(schema.integer, { min = "1" }))
    assert.equal("unknown option schema.object.required", raised(schema.object, {}, { required = {} }))
    assert.equal("schema.boolean: a description or a table of options expected, got number", raised(schema.boolean, 1))
  end)

  it("raise for what is no schema", function()
    assert.equal("schema.object: a: a schema expected, got a function: write schema.string(), not schema.string",
      raised(schema.object, { a = schema.string }))
    assert.equal("schema.object: a: a schema expected, got string", raised(schema.object, { a = "string" }))
    assert.equal("schema.object: properties have names", raised(schema.object, { schema.string() }))
    assert.equal("schema.object: a table of properties expected, got nil", raised(schema.object))
    assert.equal("schema.array: a schema expected, got nil", raised(schema.array))
    assert.equal("schema.enum: a list of values expected", raised(schema.enum, {}))
    assert.equal("schema.any_of: a list of schemas expected", raised(schema.any_of, {}))
    assert.equal("schema.const: a value expected; null is json.null", raised(schema.const))
    assert.equal("schema.ref: a name of letters, digits, _ and - expected", raised(schema.ref, "a/b"))
    assert.equal("schema.recursive: a function expected", raised(schema.recursive, "a"))
    assert.equal("schema.compile: a schema expected, got nil", raised(schema.compile))
  end)

  it("raise for two schemas of one name", function()
    local function named() return schema.recursive("x", function() return schema.any() end) end
    assert.equal("schema.object: b: two different schemas are called x",
      raised(function()
        local one, two = named(), named()
        -- properties are taken in no order
        local ok, why = pcall(schema.object, { b = two, c = one })
        error((tostring(why):gsub("object: c", "object: b")), ok and 1 or 0)
      end))
  end)
end)

describe("schema.wire", function()
  it("row 93: marks empty tables by what they stand for", function()
    local by_hand = { type = "object", properties = {}, required = {}, ["$defs"] = {}, items = {}, enum = {},
      anyOf = { {} }, dependentRequired = { a = {} }, const = {} }
    assert.equal('{"$defs":{},"anyOf":[{}],"const":{},"dependentRequired":{"a":[]},"enum":[],"items":{},'
      .. '"properties":{},"required":[],"type":"object"}', text(schema.wire(by_hand)))
    assert.is_nil(getmetatable(by_hand.required))
  end)
end)

describe("schema.compile", function()
  local function refused(source)
    local validator, message, err = schema.compile(assert(json.decode(source)))
    assert.is_nil(validator)
    assert.equal("config", err.kind)
    assert.equal(message, err.message)
    return (message:gsub("^the schema's ", ""))
  end

  it("refuses what is no schema, with its place", function()
    assert.equal("#/type \"strin\" is no type", refused '{"type":"strin"}')
    assert.equal("#/properties/a~1b/minimum must be a number", refused '{"properties":{"a/b":{"minimum":"3"}}}')
    assert.equal("#/required must be a list", refused '{"required":"a"}')
    assert.equal("#/required must be a list of names", refused '{"required":[1]}')
    assert.equal("#/minLength must be an integer of 0 or more", refused '{"minLength":-1}')
    assert.equal("#/multipleOf must be above 0", refused '{"multipleOf":0}')
    assert.equal("#/anyOf must be a list of schemas", refused '{"anyOf":[]}')
    assert.equal("#/properties/x must be a schema: an object, true or false", refused '{"properties":{"x":1}}')
    assert.equal("#/items must be a schema: an object, true or false; a list of schemas is prefixItems",
      refused '{"items":[{}]}')
    assert.equal("#/uniqueItems must be true or false", refused '{"uniqueItems":1}')
    assert.equal("root must be a schema: an object, true or false", refused "[1]")
  end)

  it("row 123: refuses a pattern that takes more than linear time", function()
    assert.equal('#/pattern "(?=a)" cannot be used: lookahead is not supported (at byte 3)', refused '{"pattern":"(?=a)"}')
    assert.equal('#/patternProperties/( "(" cannot be used: a group is not closed (at byte 2)',
      refused '{"patternProperties":{"(":{}}}')
  end)

  it("row 123: never fetches a $ref", function()
    assert.equal('#/$ref "http://127.0.0.1:1/s.json" is in another document, which is not fetched',
      refused '{"$ref":"http://127.0.0.1:1/s.json"}')
    assert.equal('#/items/$ref "other.json#/a" is in another document, which is not fetched',
      refused '{"items":{"$ref":"other.json#/a"}}')
    assert.equal('#/$ref "#/$defs/none" points at nothing', refused '{"$ref":"#/$defs/none"}')
    assert.equal('#/$ref "#none" points at nothing', refused '{"$ref":"#none"}')
  end)

  it("row 123: refuses a $ref that would never end", function()
    assert.equal("root has a $ref that comes back to itself and would never end", refused '{"$ref":"#"}')
    assert.matches("comes back to itself", refused '{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"not":{"$ref":"#"}}}}')
    assert.matches("comes back to itself", refused '{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}')
    assert.is_truthy(schema.compile(json.decode '{"properties":{"next":{"$ref":"#"}},"additionalProperties":{"$ref":"#"}}'))
  end)

  it("reads a schema that says it is of an older draft", function()
    local tuple = '"items":[{"type":"string"},{"type":"integer"}],"additionalItems":false'
    local old = assert(schema.compile(json.decode('{"$schema":"http://json-schema.org/draft-07/schema#",' .. tuple .. "}")))
    assert.is_true(old:check(json.decode '["a",1]'))
    assert.equal('[1] must be an integer, not string "b"; [2] is not allowed', select(2, old:check(json.decode '["a","b",1]')))
    old = assert(schema.compile(json.decode '{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"n":{"minimum":1,"exclusiveMinimum":true}},"dependencies":{"a":["b"],"c":{"required":["d"]}}}'))
    assert.equal("n must be more than 1, not 1", select(2, old:check { n = 1 }))
    assert.equal("b is required where a is given; d is required but missing", select(2, old:check { a = 1, c = 1 }))
    assert.equal("#/items must be a schema: an object, true or false; a list of schemas is prefixItems",
      refused('{"$schema":"https://json-schema.org/draft/2020-12/schema",' .. tuple .. "}"))
  end)

  it("refuses a schema that is nested too deep", function()
    local s = { type = "string" }
    for _ = 1, 2000 do s = { ["not"] = s } end
    local validator, message = schema.compile(s)
    assert.is_nil(validator)
    assert.matches("is nested too deep$", message)
  end)

  it("takes true and false", function()
    assert.is_true(schema.compile(true):check(1))
    assert.equal("the value is not allowed", select(2, schema.compile(false):check(1)))
  end)

  it("compiles a schema once, and does not keep it", function()
    local s = schema.object { a = schema.enum { "x" } }
    assert.equal(schema.compile(s), schema.compile(s))
    assert.not_equal(schema.compile(s), schema.compile(s, { formats = true }))
    local weak = setmetatable({ s }, { __mode = "v" })
    local validator = schema.compile(s)
    s = nil -- luacheck: ignore
    if rawget(_G, "jit") then require "jit".flush() end
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.is_true(validator:check { a = "x" })
  end)

  it("does not change the schema", function()
    local source = '{"$defs":{"a":{"type":"integer"}},"items":{"$ref":"#/$defs/a"},"minItems":1,"required":[]}'
    local s = json.decode(source)
    assert.is_true(schema.compile(s):check(json.decode "[1]"))
    schema.strict(s)
    assert.equal(source, text(s))
  end)

  it("takes no format for a rule unless asked", function()
    local s = schema.string { format = "date" }
    assert.is_true(schema.compile(s):check "x")
    local ok, message = schema.compile(s, { formats = true }):check "2024-02-30"
    assert.is_nil(ok)
    assert.equal('the value must be a valid date, not string "2024-02-30"', message)
    assert.is_true(schema.compile(s, { formats = true }):check "2024-02-29")
  end)
end)
