--- Sessions over the Responses and the Messages API against answers that are odd, or end
-- oddly: nothing is shown twice or paid for twice, nothing cut passes for whole, and no
-- answer makes the turns behind it impossible.
-- luacheck: no max line length

local dialects = require "spec.support.dialects"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local R = dialects.responses
local server

-- A session over a server that gives the answers one after the other, then good ones.
local function session(opts, ...)
  if server then server:close() end
  server = play.server { ... }
  local own = { api = "responses", model = "m" }
  for name, value in pairs(opts or {}) do own[name] = value end
  return play.session(server, own)
end

local function sent(number) return server.requests[number or #server.requests]:json() end
local function event(text) return "data: " .. text .. "\n\n" end
local function streamed(body) return function(_, response) response:raw(play.HEAD .. body):close() end end
local function broken(body) return function(_, response) response:raw(play.HEAD .. body):pause(0.01):reset() end end

local function whole(body, status)
  return function(_, response) response:body(status or 200, body, { ["Content-Type"] = "application/json" }) end
end

local function answered(items, more)
  return whole(('{"id":"r1","object":"response","status":"completed","output":[%s]%s}'):format(items, more or ""))
end

local MESSAGE = '{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"abcdef","annotations":[]}]}'
local REASONING = '{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAA"}'
local CUSTOM = '{"id":"ct_1","type":"custom_tool_call","call_id":"c","name":"x","input":"y"}'

local function numbered(name, members, number)
  return event(('{"type":"response.%s","sequence_number":%d,%s}'):format(name, number, members))
end
local BEGUN = numbered("created", '"response":{"id":"resp_1","model":"m","status":"queued","output":[]}', 0)
local function delta(text, number)
  return numbered("output_text.delta", '"output_index":0,"delta":"' .. text .. '"', number)
end
local function finished(number, items)
  return numbered("completed", '"response":{"id":"resp_1","status":"completed","output":[' .. (items or "") .. "]}", number)
end

-- What a reader of a stream hears, and what comes of it.
local function read(s)
  local heard, stream = {}, s:stream "go"
  for text in function() return (stream:next()) end do heard[#heard + 1] = text end
  local reply, _, err = stream:result()
  return table.concat(heard, "|"), reply, err
end

-- The types of the items that a request sends behind the first.
local function input_types(number)
  local out = {}
  for i, item in ipairs(sent(number).input) do out[i] = item.type or item.role end
  return out
end

describe("an odd answer", function()
  before_each(leaks.remember)
  after_each(function()
    server:close()
    assert.same({}, server.errors)
    server = nil
    leaks.check()
  end)

  it("that fails after it was gone on with is not asked for anew", function()
    for _, code in ipairs { "rate_limit_exceeded", "server_error", "invalid_api_key" } do
      local asked = 0
      local failed = numbered("failed", '"response":{"id":"resp_1","status":"failed","error":{"code":"' .. code .. '","message":"m"}}', 2)
      local heard, reply, err = read(session({ params = { background = true }, retry = { max = 2 }, api_key = function()
        asked = asked + 1
        return "sk-key-number-" .. asked
      end }, broken(BEGUN .. delta("ab", 1)), streamed(failed)))
      assert.equal("ab", heard)
      assert.is_nil(reply)
      assert.equal("ab", err.partial.text)
      assert.equal(2, #server.requests)
    end
  end)

  it("that refuses the key behind its first content is not repeated with another key", function()
    for api, body in pairs {
      responses = R.open .. R.text "ab" .. R.error("invalid_api_key", "x"),
      anthropic = dialects.anthropic.open .. dialects.anthropic.text "ab" .. dialects.anthropic.error("authentication_error", "x"),
      chat = 'data: {"choices":[{"index":0,"delta":{"content":"ab"}}]}\n\n' .. event '{"error":{"code":"invalid_api_key","message":"x"}}',
    } do
      local asked = 0
      local heard, reply, err = read(session({ api = api, retry = { max = 2 }, api_key = function()
        asked = asked + 1
        return "sk-key-number-" .. asked
      end }, streamed(body)))
      assert.equal("ab", heard)
      assert.is_nil(reply)
      assert.equal("authentication", err.kind)
      assert.equal(1, #server.requests)
    end
  end)

  it("of reasoning that leads to nothing, or to a call that nobody answers, goes no further", function()
    for _, items in ipairs { REASONING, REASONING .. "," .. CUSTOM } do
      local s = session({}, answered(items))
      assert(s:send "x")
      assert(s:send "y")
      assert.same({ "user", "user" }, input_types())
      s = session({ state = "server" }, answered(items))
      assert(s:send "x")
      assert(s:send "y")
      assert.is_nil(sent().previous_response_id)
      assert.same({ "user", "user" }, input_types())
    end
    local s = session({}, answered(REASONING .. "," .. MESSAGE))
    assert(s:send "x")
    assert(s:send "y")
    assert.same({ "user", "reasoning", "message", "user" }, input_types())
  end)

  it("whose reasoning the server cannot decrypt any more is told in words", function()
    local refused = whole('{"error":{"message":"The encrypted content gAAA could not be verified.","type":"invalid_request_error","code":"invalid_encrypted_content"}}', 400)
    local s = session({ params = { store = false } }, answered(REASONING .. "," .. MESSAGE), function(request, response)
      assert.is_truthy(request.body:find("gAAA", 1, true))
      refused(request, response)
    end)
    assert(s:send "x")
    assert(s:send "y")
    assert.same({ "user", "assistant", "user" }, input_types(3))
    assert(s:send "z")
    assert.equal(4, #server.requests)
    assert.is_nil(server.requests[4].body:find("gAAA", 1, true))
  end)

  it("that ends by name as failed, incomplete or cancelled is so without a status as well", function()
    local function ending(name)
      return R.open .. R.text "par" .. event('{"type":"response.' .. name .. '","response":{"id":"r1","output":[]}}')
    end
    for _, name in ipairs { "failed", "cancelled" } do
      local _, reply, err = read(session({}, streamed(ending(name))))
      assert.is_nil(reply)
      assert.equal("par", err.partial.text)
    end
    local _, reply = read(session({}, streamed(ending "incomplete")))
    assert.same({ "length", "par" }, { reply.finish_reason, reply.text })
    _, reply = read(session({}, streamed(ending "completed")))
    assert.equal("stop", reply.finish_reason)
  end)

  it("whose end the whole object alone has is completed by it: a text, arguments", function()
    local heard, reply = read(session({ params = { background = true }, retry = { max = 2 } }, broken(BEGUN .. delta("ab", 1)), answered(MESSAGE)))
    assert.equal("ab|cdef", heard)
    assert.equal("abcdef", reply.text)
    local got
    local tools = { { name = "f", parameters = { type = "object" }, run = function(args) got = args.x return "done" end } }
    local function call(arguments)
      return '{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","status":"completed","arguments":"' .. arguments .. '"}'
    end
    local s = session({ tools = tools }, streamed(R.open .. event('{"type":"response.output_item.added","output_index":0,"item":' .. call "" .. "}")
      .. event [[{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"x\""}]]
      .. event('{"type":"response.output_item.done","output_index":0,"item":' .. call [[{\"x\":\"a\\nb\"}]] .. "}")
      .. event('{"type":"response.completed","response":{"id":"r1","status":"completed","output":[' .. call [[{\"x\":\"a\\nb\"}]] .. "]}}")))
    read(s)
    assert.equal("a\nb", got)
  end)

  it("with an item that is no object does no harm", function()
    local s = session({}, answered("null," .. MESSAGE .. ',1,"x"'))
    assert.equal("abcdef", assert(s:send "x").text)
    assert(s:send "y")
    assert.same({ "user", "assistant", "user" }, input_types())
    s = session({}, answered(REASONING .. ",null," .. MESSAGE .. ',1,"x"'))
    assert(s:send "x")
    assert(s:send "y")
    assert.same({ "user", "reasoning", "message", "user" }, input_types())
  end)

  it("whose events count its items in another way has each of them once", function()
    local call = '{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","status":"completed","arguments":"{}"}'
    local tools = { { name = "f", parameters = { type = "object" }, run = function() return "done" end } }
    local s = session({ tools = tools }, streamed(R.open
      .. event('{"type":"response.output_item.done","output_index":1,"item":' .. REASONING .. "}")
      .. event('{"type":"response.output_item.done","output_index":2,"item":' .. call .. "}")
      .. event('{"type":"response.completed","response":{"id":"r1","status":"completed","output":[' .. REASONING .. "," .. call .. "]}}")))
    read(s)
    assert.same({ "user", "reasoning", "function_call", "function_call_output" }, input_types(2))
  end)

  it("whose events are numbered out of order is gone on with behind the highest", function()
    local heard = read(session({ params = { background = true }, retry = { max = 2 } }, broken(BEGUN .. delta("b", 2) .. delta("a", 1)),
      streamed(delta("b", 2) .. delta("c", 3) .. finished(4))))
    assert.equal("/v1/responses/resp_1?stream=true&starting_after=2", server.requests[2].target)
    assert.is_truthy(heard:find "c$")
    assert.is_nil(heard:find "b.*b")
  end)

  it("that breaks its schema is corrected where the server has it, not sent to it again", function()
    local schema = { type = "object", properties = { a = { type = "integer" } }, required = { "a" } }
    local wrong = answered('{"id":"m1","type":"message","role":"assistant","content":[{"type":"output_text","text":"nope","annotations":[]}]}')
    for _, opts in ipairs { { state = "server" }, { params = { conversation = "conv_1" } } } do
      opts.schema = schema
      session(opts, wrong):send "x"
      assert.equal(opts.state and "r1" or nil, sent(2).previous_response_id)
      assert.same({ "user" }, input_types(2))
    end
  end)

  it("of Anthropic that waits for our results keeps what a tool of the server has begun", function()
    local content = '[{"type":"server_tool_use","id":"srvtoolu_1","name":"code_execution","input":{}},{"type":"tool_use","id":"toolu_1","name":"q","input":{},"caller":{"type":"code_execution_20250825","tool_id":"srvtoolu_1"}}]'
    local s = session({ api = "anthropic", tools = { { name = "q", parameters = { type = "object" }, run = function() return "R" end } } },
      whole('{"id":"m1","type":"message","role":"assistant","content":' .. content .. ',"stop_reason":"tool_use"}'))
    assert(s:send "x")
    assert.equal("srvtoolu_1", sent(2).messages[2].content[1].id)
    assert.equal("toolu_1", sent(2).messages[3].content[1].tool_use_id)
  end)
end)

describe("a question", function()
  after_each(function()
    server:close()
    server = nil
  end)

  it("with a file whose data URL has parameters reaches Anthropic", function()
    local s = session { api = "anthropic" }
    assert(s:send { { type = "file", file = { file_data = "data:text/plain;charset=utf-8;base64,aGk=" } } })
    assert.equal("hi", sent(1).messages[1].content[1].source.data)
  end)

  it("to a fallback over another API has that API's parameters", function()
    local other = assert(testing.server(play.good))
    local function asked(opts, fallback)
      fallback.base_url, fallback.model, fallback.api_key = other.url, "m2", "sk-other-key"
      opts.fallbacks, opts.retry = { fallback }, { max = 0 }
      assert(session(opts, whole('{"error":{"message":"down"}}', 500)):send "x")
      return other.requests[#other.requests]:json()
    end
    local params = { max_output_tokens = 50, temperature = 0.5, store = false, reasoning = { effort = "low" } }
    local body = asked({ params = params }, { api = "anthropic" })
    assert.same({ 50, 0.5 }, { body.max_tokens, body.temperature })
    for _, name in ipairs { "max_output_tokens", "store", "reasoning", "include" } do assert.is_nil(body[name]) end
    body = asked({ params = params }, { api = "chat", params = { seed = 7 } })
    assert.same({ 50, 7 }, { body.max_tokens, body.seed })
    body = asked({ api = "chat", params = { max_completion_tokens = 60, seed = 7 } }, { api = "responses" })
    assert.equal(60, body.max_output_tokens)
    assert.is_nil(body.seed)
    body = asked({ params = params }, { api = "responses" })
    assert.equal("low", body.reasoning.effort)
    other:close()
  end)
end)
