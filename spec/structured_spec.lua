--- structured: answers as data that a schema proves; servers that lack the means;
-- refusals and cuts that are never data (FAULTS rows 123, 124).
-- luacheck: no max line length

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local script = require "spec.support.script"

local schema = chat.schema

local PERSON = schema.object {
  name = schema.string "Full name", age = schema.integer { min = 0, optional = true },
}

local function refuse(param, text)
  return function(_, response)
    response:json(400, { error = { message = text or ("Invalid parameter: " .. param), param = param, type = "invalid_request_error" } })
  end
end

describe("an answer with a schema", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    leaks.check()
  end)

  local function ask(answers, opts, new)
    server = script.serve(answers)
    local session = play.session(server, new)
    opts = opts or {}
    opts.schema = opts.schema or PERSON
    local reply, _, err = session:send("who?", opts)
    return reply, err, session
  end

  it("is data, validated, and the history keeps its text", function()
    local reply, _, session = ask { '{"name":"Ada","age":36}' }
    assert.same({ name = "Ada", age = 36 }, reply.data)
    assert.is_nil(reply.via)
    local format = server.bodies[1].response_format
    assert.equal("json_schema", format.type)
    assert.is_true(format.json_schema.strict)
    assert.is_false(format.json_schema.schema.additionalProperties)
    assert.equal('{"name":"Ada","age":36}', session:messages()[2].content)
  end)

  it("gives nil for what strict mode makes null", function()
    assert.same({ name = "Ada" }, (ask { '{"name":"Ada","age":null}' }).data)
  end)

  it("may be a list or a word: it is carried in an object", function()
    local reply = ask({ '{"value":["a","b"]}' }, { schema = schema.array(schema.string()) })
    assert.same({ "a", "b" }, reply.data)
    assert.equal("object", server.bodies[1].response_format.json_schema.schema.type)
    server:close()
    assert.equal("red", ask({ '{"value":"red"}' }, { schema = { name = "colour", schema = schema.enum { "red", "blue" } } }).data)
    assert.equal("colour", server.bodies[1].response_format.json_schema.name)
  end)

  it("row 124: that does not match is sent back to be mended, a bounded number of times", function()
    local reply, _, session = ask { '{"name":7}', "oops", '{"name":"Ada"}' }
    assert.same({ name = "Ada" }, reply.data)
    assert.same({ { step = "repair", count = 2 } }, reply.via)
    assert.matches("name", server.bodies[2].messages[3].content)
    assert.equal(2, #session:messages()) -- what was mended leaves no trace
    assert.equal(2, #reply.rounds)
    server:close()
    local none, err
    none, err, session = ask({ '{"name":7}', '{"name":8}', '{"name":9}', '{"name":10}' }, { repairs = 1 })
    assert.is_nil(none)
    assert.equal("validation", err.kind)
    assert.equal("/name", err.path)
    assert.equal("8", err.value)
    assert.equal('{"name":8}', err.partial.text)
    assert.equal(0, #session:messages())
    assert.equal(2, #server.bodies)
  end)

  it("rows 77, 78, 124: is never read from a refusal, a cut or a filtered answer", function()
    local _, err = ask { { refusal = "I will not" } }
    assert.equal("content_filter", err.kind)
    assert.equal("refusal", err.code)
    server:close()
    _, err = ask { { text = '{"name":"Ada"}', finish = "length" } }
    assert.equal("validation", err.kind)
    assert.equal("length", err.code)
    server:close()
    _, err = ask { { text = '{"name":"Ada"}', finish = "content_filter" } }
    assert.equal("content_filter", err.kind)
    assert.equal(1, #server.bodies)
  end)

  it("degrades to JSON mode, then to words, and remembers what the server takes", function()
    local reply, _, session = ask {
      refuse "response_format", '{"name":"Ada"}', '{"name":"Bob"}',
    }
    assert.same({ { step = "schema", mode = "json_object" } }, reply.via)
    assert.equal("json_object", server.bodies[2].response_format.type)
    assert.matches("JSON Schema", server.bodies[2].messages[1].content)
    assert.equal("Bob", session:send("and?", { schema = PERSON }).data.name)
    assert.equal("json_object", server.bodies[3].response_format.type)
    server:close()
    reply = ask {
      refuse("response_format.type", "json_schema is not supported"), refuse(nil, "unknown field response_format"),
      'Sure!\n```json\n{"name":"Ada"}\n```\nAnything else?',
    }
    assert.equal("Ada", reply.data.name)
    assert.equal("prompt", reply.via[1].mode)
    assert.is_nil(server.bodies[3].response_format)
  end)

  it("does not take another refusal for a missing feature", function()
    local _, err = ask { refuse("temperature", "temperature is too hot") }
    assert.equal("invalid_request", err.kind)
    assert.equal(1, #server.bodies)
  end)

  it("goes with tools: they run first", function()
    local reply = ask({ { calls = { { "look" } } }, '{"name":"Ada"}' }, nil,
      { tools = { { name = "look", run = function() return "Ada" end } } })
    assert.equal("Ada", reply.data.name)
  end)

  it("grows while it streams, and is proved at the end", function()
    server = script.serve { '{"name":"Ada Lovelace","age":36}' }
    local stream, sizes = play.session(server):stream("who?", { schema = PERSON }), {}
    for event in stream:events() do
      if event.type == "text" then
        local value = event.partial
        sizes[#sizes + 1] = value and value.name and #value.name or 0
      end
    end
    for i = 2, #sizes do assert.is_true(sizes[i] >= sizes[i - 1]) end
    assert.is_true(#sizes > 5)
    assert.equal(12, sizes[#sizes])
    assert.equal(36, stream:result().data.age)
  end)

  it("row 124: in a stream is not mended: what was shown cannot be taken back", function()
    server = script.serve { '{"name":7}', '{"name":"Ada"}' }
    local stream = play.session(server):stream("who?", { schema = PERSON })
    local reply, _, err = stream:result()
    assert.is_nil(reply)
    assert.equal("validation", err.kind)
    assert.equal(1, #server.bodies)
  end)

  it("hands out a list's elements as they become whole", function()
    server = script.serve { json.encode { people = { { name = "Ada" }, { name = "Bob" }, { name = "Cy" } } } }
    local items = {}
    local stream = play.session(server):stream("who?", { schema = schema.object { people = schema.array(PERSON) } })
    for event in stream:events() do
      if event.type == "item" then
        items[#items + 1] = event.index .. event.value.name .. tostring(event.valid)
      end
    end
    assert.same({ "1Adatrue", "2Bobtrue", "3Cytrue" }, items)
  end)

  it("row 123: names what is wrong with the schema before anything is sent", function()
    local _, err = ask({ "x" }, { schema = { type = "objekt" } })
    assert.equal("config", err.kind)
    assert.matches("schema", err.message)
    assert.equal(0, #server.bodies)
  end)
end)
