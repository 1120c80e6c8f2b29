--- schema.strict: the form that OpenAI's strict mode takes, and the way back.
-- luacheck: no max line length

local json = require "oaichat.json"
local schema = require "oaichat.schema"

local function strict(source)
  local s = type(source) == "string" and assert(json.decode(source)) or source
  local out, reason = schema.strict(s)
  return out and json.encode(out), reason
end

local function refused(source)
  local out, reason = strict(source)
  assert.is_nil(out)
  return (reason:gsub(", which strict mode does not support", ""))
end

local function in_object(source)
  return '{"type":"object","properties":{"x":' .. source .. '},"required":["x"]}'
end

-- What becomes of one optional property.
local function optional(source)
  local out = schema.strict(json.decode('{"type":"object","properties":{"x":' .. source .. '}}'))
  return out and json.encode(out.properties.x)
end

describe("schema.strict", function()
  it("closes every object and requires every property, the optional ones nullable", function()
    local s = schema.object({
      city = schema.string "City", days = schema.integer { min = 1, optional = true },
      at = schema.object({ x = schema.number { optional = true } }, { optional = true }),
    })
    assert.equal('{"additionalProperties":false,"properties":{'
      .. '"at":{"additionalProperties":false,"properties":{"x":{"type":["number","null"]}},"required":["x"],"type":["object","null"]},'
      .. '"city":{"description":"City","type":"string"},"days":{"minimum":1,"type":["integer","null"]}},'
      .. '"required":["at","city","days"],"type":"object"}', strict(s))
  end)

  it("row 93: takes a schema without properties", function()
    assert.equal('{"additionalProperties":false,"properties":{},"required":[],"type":"object"}', strict(schema.object {}))
    assert.equal('{"additionalProperties":false,"properties":{},"required":[],"type":"object"}',
      strict '{"type":"object","properties":{}}')
  end)

  it("lets null in whatever the property is", function()
    assert.equal('{"type":["string","null"]}', optional '{"type":"string"}')
    assert.equal('{"type":["string","null"]}', optional '{"type":["string","null"]}')
    assert.equal('{"type":"null"}', optional '{"type":"null"}')
    assert.equal('{"enum":["a",null],"type":["string","null"]}', optional '{"enum":["a"]}')
    assert.equal('{"enum":[1,"a",null],"type":["integer","string","null"]}', optional '{"enum":[1,"a"]}')
    assert.equal('{"enum":["a",null],"type":["string","null"]}', optional '{"const":"a"}')
    assert.equal('{"anyOf":[{"type":"string"},{"type":"null"}]}', optional '{"anyOf":[{"type":"string"}]}')
    assert.equal('{"anyOf":[{"type":["string","null"]}]}', optional '{"anyOf":[{"type":["string","null"]}]}')
  end)

  it("leaves out what only describes, and says a format it has not in words", function()
    assert.equal('{"additionalProperties":false,"properties":{"x":{"description":"format: uri","type":"string"}},"required":["x"],"type":"object"}',
      strict '{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["x"],"properties":{"x":{"type":"string","format":"uri","default":"","examples":["a"]}}}')
    assert.equal('{"additionalProperties":false,"properties":{"x":{"format":"date","type":"string"}},"required":["x"],"type":"object"}',
      strict(in_object '{"type":"string","format":"date"}'))
  end)

  it("keeps definitions and what refers to them, and puts nothing beside a $ref", function()
    local s = schema.object {
      head = schema.recursive("node", function(node)
        return schema.object { next = schema.optional(node), n = schema.integer() }
      end),
    }
    s.properties.head.description = "the first"
    assert.equal('{"$defs":{"node":{"additionalProperties":false,"properties":{"n":{"type":"integer"},'
      .. '"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["n","next"],"type":"object"}},'
      .. '"additionalProperties":false,"properties":{"head":{"anyOf":[{"$ref":"#/$defs/node"}],"description":"the first"}},'
      .. '"required":["head"],"type":"object"}', strict(s))
  end)

  it("drops definitions that no $ref into the root's can mean", function()
    assert.equal('{"additionalProperties":false,"properties":{"x":{"type":"string"}},"required":["x"],"type":"object"}',
      strict(in_object '{"type":"string","$defs":{"a":{"oneOf":[]}}}'))
  end)

  it("puts what a root's $ref names in the root", function()
    local out = schema.strict(schema.recursive("node", function(node)
      return schema.object { kids = schema.array(node) }
    end))
    assert.equal("object", out.type)
    assert.is_nil(out["$ref"])
    assert.equal("#/$defs/node", out.properties.kids.items["$ref"])
  end)

  it("says which keyword it cannot keep, and where", function()
    assert.equal("/properties/x has uniqueItems", refused(in_object '{"type":"array","items":{"type":"null"},"uniqueItems":true}'))
    assert.equal("/properties/x has arrays or objects in enum", refused(in_object '{"const":[1]}'))
    assert.equal("/properties/x has allOf, not", refused(in_object '{"allOf":[{}],"not":{}}'))
    assert.equal("/properties/x/items has oneOf", refused(in_object '{"type":"array","items":{"oneOf":[{}]}}'))
    assert.equal("/properties/x allows additionalProperties", refused(in_object '{"type":"object","additionalProperties":{"type":"string"}}'))
    assert.equal("/properties/x is an object without properties", refused(in_object '{"type":"object"}'))
    assert.equal("/properties/x is an array without a schema of its items", refused(in_object '{"type":"array"}'))
    assert.equal("/properties/x has no type, which strict mode requires", refused(in_object "{}"))
    assert.equal("/properties/x is true or false instead of a schema", refused(in_object "true"))
    assert.equal("/properties/x has a $ref that is not local", refused(in_object '{"$ref":"a","$defs":{"y":{"$id":"a"}}}'))
    assert.matches("^the schema's #/properties/x/%$ref \"a.json\" is in another", refused(in_object '{"$ref":"a.json"}'))
    assert.equal("/properties/x has minLength beside a $ref", refused(in_object '{"$ref":"#","minLength":1}'))
    assert.equal("the root requires y, which is not among its properties", refused '{"type":"object","properties":{},"required":["y"]}')
  end)

  it("wants an object as the root, not alternatives", function()
    assert.equal("the root must be of type object", refused '{"type":"array","items":{}}')
    assert.equal("the root must be of type object", refused '{"type":["object","null"],"properties":{}}')
    assert.equal("the root has anyOf there", refused(schema.any_of { schema.object {} }))
    assert.equal("the root must be of type object", refused(true))
  end)

  it("keeps the guide's limits", function()
    local fields = {}
    for i = 1, 5001 do fields["p" .. i] = schema.null() end
    assert.equal("the root has more than 5000 properties", refused(schema.object(fields)))
    local values = {}
    for i = 1, 1001 do values[i] = "v" .. i end
    assert.equal("the root has more than 1000 values in enums", refused(schema.object { x = schema.enum(values) }))
    assert.equal("the root has names and values of more than 120000 characters",
      refused(schema.object { x = schema.enum { ("a"):rep(120000) } }))
  end)

  it("makes a schema that takes all that the first one takes, and is strict already", function()
    local s = schema.object { a = schema.string { optional = true }, b = schema.enum { 1, 2 } }
    local first = schema.strict(s)
    assert.equal(json.encode(first), json.encode(schema.strict(first)))
    assert.is_true(schema.compile(first):check(json.decode '{"a":null,"b":1}'))
  end)
end)

describe("schema.unstrict", function()
  local function back(s, source)
    return json.encode(schema.unstrict(json.decode(source), s))
  end

  it("drops the nulls that stand for absent properties", function()
    local s = schema.object {
      a = schema.string { optional = true }, b = schema.string(),
      list = schema.array(schema.object { c = schema.integer { optional = true } }),
    }
    assert.equal('{"b":"x","list":[{},{"c":1}]}', back(s, '{"a":null,"b":"x","list":[{"c":null},{"c":1}]}'))
  end)

  it("keeps a null that the schema itself takes, and one that is wrong", function()
    local s = schema.object {
      a = schema.nullable(schema.string { optional = true }), b = schema.string(),
      c = schema.any { optional = true },
    }
    assert.equal('{"a":null,"b":null,"c":null}', back(s, '{"a":null,"b":null,"c":null}'))
  end)

  it("follows references, alternatives and maps", function()
    local node = schema.recursive("node", function(node)
      return schema.object { next = schema.optional(node), n = schema.integer() }
    end)
    assert.equal('{"n":1,"next":{"n":2}}', back(node, '{"n":1,"next":{"n":2,"next":null}}'))
    local either = schema.object {
      x = schema.any_of {
        schema.object { kind = schema.const "a", p = schema.string { optional = true } },
        schema.object { kind = schema.const "b", p = schema.string { optional = true } },
      },
    }
    assert.equal('{"x":{"kind":"b"}}', back(either, '{"x":{"kind":"b","p":null}}'))
    local map = schema.map(schema.object { p = schema.string { optional = true } })
    assert.equal('{"k":{}}', back(map, '{"k":{"p":null}}'))
  end)

  it("does not change the value, and copies only what differs", function()
    local s = schema.object {
      same = schema.object { x = schema.integer() }, a = schema.string { optional = true },
      list = schema.array(schema.any()),
    }
    local value = json.decode '{"same":{"x":1},"a":null,"list":[]}'
    local out = schema.unstrict(value, s)
    assert.equal(json.null, value.a)
    assert.is_nil(out.a)
    assert.equal(value.same, out.same)
    assert.equal("[]", json.encode(out.list))
    local whole = json.decode '{"same":{"x":1},"a":"x","list":[]}'
    assert.equal(whole, schema.unstrict(whole, s))
  end)

  it("gives back values that a round trip through strict mode has changed", function()
    local s = schema.object {
      a = schema.string { optional = true }, b = schema.array(schema.object { c = schema.boolean { optional = true } }),
      d = schema.object({ e = schema.enum({ "x" }, { optional = true }) }, { optional = true }),
    }
    local form = assert(schema.compile(schema.strict(s)))
    for _, source in ipairs {
      '{"a":null,"b":[],"d":null}', '{"a":"t","b":[{"c":null},{"c":true}],"d":{"e":null}}',
      '{"a":null,"b":[{"c":false}],"d":{"e":"x"}}',
    } do
      local value = json.decode(source)
      assert.is_true(form:check(value))
      assert.is_true(schema.compile(s):check(schema.unstrict(value, s)))
    end
  end)
end)
