--- Anthropic's Messages API: what a session sends and reads over it, and how a
-- conversation moves between this API and others.
-- luacheck: no max line length

local chat = require "oaichat"
local dialects = require "spec.support.dialects"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local ratelimit = require "oaichat.ratelimit"
local testing = require "oaichat.testing"

local A = dialects.anthropic
local server, answers

local function event(kind, members)
  return ('event: %s\ndata: {"type":"%s",%s}\n\n'):format(kind, kind, members)
end

-- A block as a stream has it: how it begins, and its deltas.
local function block(place, start, ...)
  local out = { event("content_block_start", ('"index":%d,"content_block":%s'):format(place, start)) }
  for _, delta in ipairs { ... } do
    out[#out + 1] = event("content_block_delta", ('"index":%d,"delta":%s'):format(place, delta))
  end
  return table.concat(out) .. event("content_block_stop", '"index":' .. place)
end

local function ended(reason)
  return event("message_delta", ('"delta":{"stop_reason":"%s","stop_sequence":null},"usage":{"output_tokens":2}'):format(reason))
    .. 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
end

local START = event("message_start", '"message":{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[],"stop_reason":null,"usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}')

local function streamed(...)
  local body = START .. table.concat { ... }
  return function(_, response) response:raw(play.HEAD .. body):close() end
end

-- A session over a server that gives the answers one after the other, then good ones.
local function session(opts, ...)
  answers = { ... }
  server = play.server(answers)
  local own = { api = "anthropic" }
  for name, value in pairs(opts or {}) do own[name] = value end
  return play.session(server, own)
end

local function sent(number)
  return server.requests[number or #server.requests]:json()
end

local function user(text) return { role = "user", content = { { type = "text", text = text } } } end
local function assistant(text) return { role = "assistant", content = { { type = "text", text = text } } } end

local THINKING = block(0, '{"type":"thinking","thinking":"","signature":""}',
  '{"type":"thinking_delta","thinking":"why \\u00e9\\n"}', '{"type":"thinking_delta","thinking":"so"}',
  '{"type":"signature_delta","signature":"EqQB/+=="}')
local REDACTED = block(1, '{"type":"redacted_thinking","data":"Emw="}')
local CALL = block(2, '{"type":"tool_use","id":"toolu_1","name":"f","input":{}}',
  '{"type":"input_json_delta","partial_json":""}', '{"type":"input_json_delta","partial_json":"{\\"x\\": 90071992"}',
  '{"type":"input_json_delta","partial_json":"54740993, \\"y\\": 1.0}"}')

local F = { name = "f", description = "does f", parameters = { type = "object" }, run = function() return "result" end }

describe("a session over the Messages API", function()
  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  it("sends what the API takes, and nothing of chat completions", function()
    local s = session { system = "terse", params = { temperature = 0, stop = "x", user = "u", top_k = 5, stream_options = { include_usage = true } } }
    assert.equal("good", s:send("a").text)
    assert.same({
      model = "any", system = "terse", temperature = 0, stop_sequences = { "x" }, metadata = { user_id = "u" }, top_k = 5,
      max_tokens = 4096, messages = { user "a" },
    }, sent())
    assert.equal("good", s:stream("b"):result().text)
    assert.is_true(sent().stream)
    assert.same({ user "a", assistant "good", user "b" }, sent().messages)
    local request = server.requests[1]
    assert.equal("/v1/messages", request.path)
    assert.equal("sk-spec-key", request.headers["x-api-key"])
    assert.is_nil(request.headers.authorization)
    assert.equal("2023-06-01", request.headers["anthropic-version"])
  end)

  it("lets the user say the version and who he is", function()
    local s = session { headers = { ["Anthropic-Version"] = "2099-01-01", Authorization = "Bearer mine", ["anthropic-beta"] = "x" } }
    s:send "a"
    local headers = server.requests[1].headers
    assert.equal("2099-01-01", headers["anthropic-version"])
    assert.equal("Bearer mine", headers.authorization)
    assert.equal("x", headers["anthropic-beta"])
    assert.is_nil(headers["x-api-key"])
  end)

  it("says how long an answer may be, also behind the thoughts", function()
    local s = session { params = { thinking = { type = "enabled", budget_tokens = 10000 } } }
    s:send "a"
    assert.equal(14096, sent().max_tokens)
    s:send("b", { params = { max_completion_tokens = 7 } })
    assert.equal(7, sent().max_tokens)
    assert.is_nil(sent().max_completion_tokens)
    s:send("c", { params = { max_tokens = 8 } })
    assert.equal(8, sent().max_tokens)
  end)

  it("needs a model and, at the official address, a key; refuses parameters that are the session's", function()
    local _, why, err = chat.new { api = "anthropic", api_key = "k" }
    assert.equal("config", err.kind)
    assert.truthy(why:find("model", 1, true))
    if not os.getenv "ANTHROPIC_API_KEY" then
      _, why = chat.new { api = "anthropic", model = "m" }
      assert.truthy(why:find("ANTHROPIC_API_KEY", 1, true))
    end
    assert.truthy(tostring(assert(chat.new { api = "anthropic", model = "m", api_key = "k" })):find("https://api.anthropic.com:443", 1, true))
    for _, name in ipairs { "messages", "system" } do
      assert.is_false((pcall(chat.new, { api = "anthropic", model = "m", api_key = "k", params = { [name] = "x" } })))
    end
    _, _, err = chat.new { api = "anthropic", model = "m", api_key = "k", state = "server" }
    assert.equal("config", err.kind)
  end)

  it("sends what a user shows in the API's words", function()
    local s = session()
    s:send {
      "look", { type = "text", text = " " },
      { type = "image_url", image_url = { url = "data:image/png;base64,AA==" } },
      { type = "image_url", image_url = { url = "https://x.test/p.png" }, cache_control = { type = "ephemeral" } },
      { type = "file", file = { filename = "a.pdf", file_data = "data:application/pdf;base64,AAAA" } },
      { type = "file", file = { filename = "a.txt", file_data = "data:text/plain;base64,aGk=" } },
      { type = "file", file = { file_id = "file_1" } },
    }
    assert.same({
      { type = "text", text = "look" },
      { type = "image", source = { type = "base64", media_type = "image/png", data = "AA==" } },
      { type = "image", source = { type = "url", url = "https://x.test/p.png" }, cache_control = { type = "ephemeral" } },
      { type = "document", source = { type = "base64", media_type = "application/pdf", data = "AAAA" }, title = "a.pdf" },
      { type = "document", source = { type = "text", media_type = "text/plain", data = "hi" }, title = "a.txt" },
      { type = "document", source = { type = "file", file_id = "file_1" } },
    }, sent().messages[1].content)
    local own = { type = "document", source = { type = "url", url = "https://x.test/d.pdf" }, citations = { enabled = true } }
    s:send { role = "user", content = { own } }
    assert.same({ own }, sent().messages[3].content)
  end)

  it("refuses before it sends what the API would not take, with its place", function()
    local s = session()
    local cases = {
      { { { type = "input_audio", input_audio = { data = "", format = "wav" } } }, "messages[1].content[1]" },
      { { "x", { type = "image_url", image_url = { url = "file:///etc/passwd" } } }, "messages[1].content[2]" },
      { " \n", "messages[1].content" },
      { { role = "function", name = "f", content = "x" }, "messages[1].role" },
    }
    for _, case in ipairs(cases) do
      local _, why, err = s:send(case[1])
      assert.equal("invalid_request", err.kind)
      assert.equal("encode", err.code)
      assert.equal(case[2], err.path)
      assert.truthy(why:find(case[2], 1, true), why)
    end
    local _, _, err = s:send("bad \255")
    assert.equal("invalid_request", err.kind)
    assert.equal(0, #server.requests)
    assert.same({}, s:messages())
  end)

  it("runs tools, and gives thoughts back with their signature, byte for byte", function()
    local s = session({ tools = { F }, params = { thinking = { type = "adaptive" } } }, streamed(THINKING, REDACTED, CALL, ended "tool_use"))
    local reply = assert(s:stream("go"):result())
    assert.equal("good", reply.text)
    local first = reply.rounds[1]
    assert.equal("why é\nso", first.reasoning)
    assert.equal("tool_calls", first.finish_reason)
    assert.equal("tool_use", first:raw().stop_reason)
    assert.same({ name = "f", description = "does f", input_schema = { type = "object" } }, sent(1).tools[1])
    local content = sent(2).messages[2].content
    assert.same({ type = "thinking", thinking = "why é\nso", signature = "EqQB/+==" }, content[1])
    assert.same({ type = "redacted_thinking", data = "Emw=" }, content[2])
    assert.equal("toolu_1", content[3].id)
    assert.is_nil(content[4])
    -- no number became another one
    assert.truthy(server.requests[2].body:find('"input":{"x": 9007199254740993, "y": 1.0}', 1, true))
    assert.same({ role = "user", content = { { type = "tool_result", tool_use_id = "toolu_1", content = "result" } } }, sent(2).messages[3])
    -- and in the next turn, from the history
    s:send "more"
    assert.same(content, sent(3).messages[2].content)
  end)

  it("sends blocks to no other origin and over no other API", function()
    local s = session({ tools = { F } }, streamed(THINKING, REDACTED, CALL, ended "tool_use"))
    s:stream("go"):result()
    local history = s:messages()
    assert.equal("thinking", history[2].meta.items[1].type)
    for _, api in ipairs { "chat", "responses", "anthropic" } do
      local other = assert(testing.server(play.good))
      local elsewhere = play.session(other, { api = api, messages = history })
      assert.equal("good", elsewhere:send("more").text)
      for _, secret in ipairs { "EqQB", "Emw=", "why" } do assert.falsy(other.requests[1].body:find(secret, 1, true), api .. " " .. secret) end
      assert.truthy(other.requests[1].body:find("9007199254740993", 1, true))
      other:close()
      assert.same({}, other.errors)
    end
    -- back at home they are
    local home = play.session(server, { api = "anthropic", messages = history })
    home:send "more"
    assert.truthy(server.requests[#server.requests].body:find("EqQB", 1, true))
  end)

  it("sends calls and results of another API's history, results first, and tells what they are of", function()
    local s = session {
      messages = {
        { role = "developer", content = "first" },
        { role = "assistant", content = "hello " },
        { role = "user", content = "go" },
        { role = "assistant", content = "", tool_calls = {
          { id = "functions.f:0", type = "function", ["function"] = { name = "f", arguments = '{"n": 1.50}' } },
          { id = "c2", type = "function", ["function"] = { name = "g", arguments = "nonsense" } },
        } },
        { role = "tool", tool_call_id = "functions.f:0", content = { { type = "text", text = "see" }, { type = "image_url", image_url = { url = "https://x.test/p.png" } } } },
        { role = "tool", tool_call_id = "c2", content = "error: bad", meta = { is_error = true } },
        { role = "user", content = "and" },
        { role = "system", content = "be brief" },
        { role = "assistant", refusal = "no" },
      },
    }
    s:send "more"
    local request = sent()
    assert.equal("first", request.system)
    assert.same({
      user "(the conversation goes on)",
      assistant "hello ",
      user "go",
      { role = "assistant", content = {
        { type = "tool_use", id = "functions_2ef_3a0", name = "f", input = { n = 1.5 } },
        { type = "tool_use", id = "c2", name = "g", input = { invalid_json = "nonsense" } },
      } },
      { role = "user", content = {
        { type = "tool_result", tool_use_id = "functions_2ef_3a0", content = {
          { type = "text", text = "see" }, { type = "image", source = { type = "url", url = "https://x.test/p.png" } },
        } },
        { type = "tool_result", tool_use_id = "c2", content = "error: bad", is_error = true },
        { type = "text", text = "and" },
        { type = "text", text = "<system>\nbe brief\n</system>" },
      } },
      assistant "no",
      user "more",
    }, request.messages)
    assert.truthy(server.requests[1].body:find('"input":{"n": 1.50}', 1, true))
    -- calls need a definition of their tools, also where none can be called
    assert.same({ { name = "f", input_schema = { type = "object" } }, { name = "g", input_schema = { type = "object" } } }, request.tools)
    assert.same({ type = "none" }, request.tool_choice)
  end)

  it("begins an answer for the model, without the blank that the API refuses", function()
    local s = session { messages = { { role = "user", content = "go" }, { role = "assistant", content = "It is: \n" } } }
    s:send()
    assert.same({ user "go", assistant "It is:" }, sent().messages)
    s:send "more" -- in the middle nothing is taken off
    assert.same({ { type = "text", text = "It is: \n" }, { type = "text", text = "good" } }, sent().messages[2].content)
  end)

  it("goes on where the model has paused", function()
    local search = block(0, '{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}', '{"type":"input_json_delta","partial_json":"{\\"query\\":\\"q\\"}"}')
    local s = session({ tools = { { type = "web_search_20250305", name = "web_search", max_uses = 5 } } }, streamed(search, ended "pause_turn"))
    local seen = {}
    local stream = s:stream "go"
    for e in stream:events() do
      if e.type == "progress" then seen[#seen + 1] = e.tool .. " " .. e.status .. " " .. e.id end
    end
    assert.same({ "web_search in_progress srvtoolu_1", "web_search running srvtoolu_1" }, seen)
    assert.equal("pause_turn", stream:result().finish_reason)
    assert.same({ { type = "web_search_20250305", name = "web_search", max_uses = 5 } }, sent(1).tools)
    assert.equal("good", s:send().text)
    local used = { type = "server_tool_use", id = "srvtoolu_1", name = "web_search", input = { query = "q" } }
    assert.same({ user "go", { role = "assistant", content = { used } } }, sent(2).messages)
    s:send "more"
    assert.same({ role = "assistant", content = { used, { type = "text", text = "good" } } }, sent(3).messages[2])
    -- who says something else leaves the search where it was
    local messages = s:messages()
    play.session(server, { api = "anthropic", messages = { messages[1], messages[2] } }):send "never mind"
    assert.same({ { role = "user", content = { { type = "text", text = "go" }, { type = "text", text = "never mind" } } } }, sent().messages)
  end)

  it("never sends back what a tool of the server began and never ended, nor thoughts without a signature", function()
    local s = session(nil, streamed(
      block(0, '{"type":"thinking","thinking":"cut"}'), block(1, '{"type":"text","text":""}'),
      block(2, '{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"a"}}'),
      block(3, '{"type":"web_search_tool_result","tool_use_id":"s1","content":[]}'),
      block(4, '{"type":"text","text":"","citations":[]}', '{"type":"text_delta","text":"sun"}', '{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"u"}}'),
      block(5, '{"type":"server_tool_use","id":"s2","name":"web_search","input":{}}'), ended "max_tokens"))
    local reply = s:stream("go"):result()
    assert.equal("length", reply.finish_reason)
    assert.equal("u", reply:raw().content[5].citations[1].url)
    s:send "more"
    local kinds = {}
    for i, one in ipairs(sent().messages[2].content) do kinds[i] = one.type .. " " .. (one.id or one.tool_use_id or one.text) end
    assert.same({ "server_tool_use s1", "web_search_tool_result s1", "text sun" }, kinds)
  end)

  it("forces tools in the API's form", function()
    local s = session { tools = { F } }
    local cases = {
      { "auto", { type = "auto" } }, { "none", { type = "none" } }, { "required", { type = "any" } },
      { "f", { type = "tool", name = "f" } }, { { type = "any" }, { type = "any" } },
    }
    for _, case in ipairs(cases) do
      s:send("go", { tool_choice = case[1] })
      assert.same(case[2], sent().tool_choice)
    end
    s:send("go", { parallel_tool_calls = false })
    assert.same({ type = "auto", disable_parallel_tool_use = true }, sent().tool_choice)
    s:send("go", { parallel_tool_calls = false, tool_choice = "required" })
    assert.same({ type = "any", disable_parallel_tool_use = true }, sent().tool_choice)
    assert.is_nil(sent().parallel_tool_calls)
  end)

  describe("with a schema", function()
    local NUMBER = { type = "object", properties = { n = { type = "integer" } }, required = { "n" } }

    it("asks for it, and proves the answer", function()
      local s = session(nil, streamed(A.text '{\\"n\\":1}', A.stop))
      local reply = assert(s:stream("go", { schema = NUMBER }):result())
      assert.same({ n = 1 }, reply.data)
      local format = sent().output_config.format
      assert.equal("json_schema", format.type)
      assert.equal("integer", format.schema.properties.n.type)
      assert.is_false(format.schema.additionalProperties)
      assert.is_nil(sent().response_format)
    end)

    it("asks with words where the model has no such thing", function()
      local refuse = function(_, response)
        response:json(400, { type = "error", error = { type = "invalid_request_error", message = "output_config.format: Extra inputs are not permitted" } })
      end
      local s = session({ system = "terse" }, refuse, streamed(A.text '{\\"n\\":1}', A.stop))
      local reply = assert(s:stream("go", { schema = NUMBER }):result())
      assert.same({ n = 1 }, reply.data)
      assert.is_nil(sent(2).output_config)
      assert.truthy(sent(2).system:find("^terse\n\nAnswer with one JSON object"))
    end)
  end)

  describe("with a cache", function()
    local MARK = { type = "ephemeral" }

    it("leaves it to the API what to cache, where asked", function()
      local s = session { system = "long", params = { cache_control = MARK } }
      s:send "a"
      assert.same(MARK, sent().cache_control)
      assert.equal("long", sent().system)
      assert.same({ user "a" }, sent().messages)
    end)

    it("marks what a user marks", function()
      local hour = { type = "ephemeral", ttl = "1h" }
      local s = session {
        tools = { { type = "function", ["function"] = { name = "f", parameters = { type = "object" }, cache_control = MARK } } },
        messages = { { role = "system", content = "a" }, { role = "system", content = "b", meta = { cache_control = hour } } },
      }
      s:send { role = "user", content = "c", meta = { cache_control = MARK } }
      assert.same({ { type = "text", text = "a" }, { type = "text", text = "b", cache_control = hour } }, sent().system)
      assert.same({ { type = "text", text = "c", cache_control = MARK } }, sent().messages[1].content)
      assert.same(MARK, sent().tools[1].cache_control)
      s:send "d"
      assert.same(MARK, sent().messages[1].content[1].cache_control)
    end)

    it("counts what was read from it and written to it, and what that costs", function()
      local price = { input = 3, cached = 0.3, written = 3.75, output = 15 }
      local s = session({ ledger = true, prices = { any = price } }, streamed(A.text "a", ended "end_turn"))
      local reply = s:stream("go"):result()
      assert.equal(7, reply.usage.input_tokens)
      assert.equal(2, reply.usage.output_tokens)
      assert.same(reply.usage, reply:raw().usage)
      local sum = s:usage()
      assert.equal(127, sum.input)
      assert.equal(100, sum.cached)
      assert.equal(129, sum.tokens)
      assert.is_true(math.abs(sum.cost - (7 * 3 + 100 * 0.3 + 20 * 3.75 + 2 * 15) / 1e6) < 1e-12)
      local prices = require "oaichat.prices"
      local usage = { input_tokens = 1, output_tokens = 1, cache_creation_input_tokens = 5 }
      assert.is_nil(prices.cost("m", usage, { m = { input = 1, output = 1 } }))
      usage.cache_creation = { ephemeral_1h_input_tokens = 5 }
      assert.is_nil(prices.cost("m", usage, { m = price }))
    end)
  end)

  it("gives the server's own object, with what came of an answer that was cut", function()
    local s = session(nil, streamed(THINKING, A.text "a", A.stop), streamed(THINKING, A.text "b"))
    local raw = s:stream("go"):result():raw()
    assert.equal("msg_1", raw.id)
    assert.equal("end_turn", raw.stop_reason)
    assert.equal("EqQB/+==", raw.content[1].signature)
    local _, _, err = s:stream("more"):result()
    assert.equal("incomplete_stream", err.kind)
    assert.equal("b", err.partial.text)
    assert.equal("EqQB/+==", err.partial:raw().content[1].signature)
  end)

  it("takes a stop reason and the body's clean end for the end, and neither alone", function()
    local finish = event("message_delta", '"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}')
    play.events(A.open .. A.text "a" .. finish, function(out)
      assert.equal("stop", play.succeeded(out, "a").finish_reason)
    end, { new = { api = "anthropic" } })
    play.failed(play.run(function(_, response) response:raw(play.HEAD .. A.open .. A.text "a" .. finish):pause(0.02):reset() end, { new = { api = "anthropic" } }),
      "incomplete_stream", "stream_interrupted", "a")
    play.failed(play.run(play.HEAD .. A.open .. A.text "a", { new = { api = "anthropic" } }), "incomplete_stream", "incomplete", "a")
  end)

  it("does not take pings for an answer", function()
    local out = play.run(function(_, response)
      response:raw(play.HEAD .. START)
      for _ = 1, 30 do response:pause(0.02):raw(A.ping) end
    end, { new = { api = "anthropic", timeouts = { first_content = 0.2 } } })
    assert.equal("first_content", play.failed(out, "timeout").phase)
    assert.is_true(out.seconds < 0.5, out.seconds)
  end)

  it("sends nothing of a store's list of blocks that is none", function()
    local meta = { api = "anthropic", origin = "", items = { 7, {}, { type = 1 }, { type = "text", text = "a" }, { type = "tool_use", id = "x" } } }
    local s = session()
    meta.origin = s:send("x") and s:messages()[2].meta.origin
    local other = play.session(server, { api = "anthropic", messages = { { role = "user", content = "go" }, { role = "assistant", content = "b", meta = meta } } })
    assert.equal("good", other:send("more").text)
    assert.same({ user "go", assistant "a", user "more" }, sent().messages)
  end)

  it("takes the messages of the Responses API without its items", function()
    local R = dialects.responses
    local item = '{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"c2VjcmV0"}'
    local body = R.open .. R.text "a" .. ('data: {"type":"response.output_item.done","output_index":0,"item":%s}\n\n'):format(item) .. R.stop
    local s = session({ api = "responses" }, function(_, response) response:raw(play.HEAD .. body):close() end)
    assert(s:stream("go"):result())
    assert.equal("rs_1", s:messages()[2].meta.items[1].id)
    play.session(server, { api = "anthropic", messages = s:messages() }):send "more"
    assert.same({ user "go", assistant "a", user "more" }, sent().messages)
  end)

  it("says what its errors are, and tries again where that helps", function()
    local function refusal(status, kind, message)
      return function(_, response) response:json(status, { type = "error", error = { type = kind, message = message } }) end
    end
    local s = session(nil, refusal(400, "invalid_request_error", "prompt is too long: 2 tokens > 1 maximum"), refusal(402, "billing_error", "pay"), refusal(413, "request_too_large", "big"))
    assert.equal("context_length", select(3, s:send "a").kind)
    assert.equal("quota", select(3, s:send "a").kind)
    assert.equal("invalid_request", select(3, s:send "a").kind)
    local again = play.session(server, { api = "anthropic", retry = { max = 1 } })
    local busy = play.http(529, A.refused("overloaded_error", "x"), "Content-Type: application/json\r\nretry-after-ms: 1\r\n")
    answers[4] = function(_, response) response:raw(busy):close() end
    local reply = assert(again:send "a")
    assert.equal("overloaded", reply.attempts[1].kind)
  end)

  it("reads the limits that the headers tell", function()
    local s = session(nil, function(_, response)
      local headers = "Content-Type: application/json\r\nrequest-id: req_1\r\nanthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 49\r\n"
        .. "anthropic-ratelimit-requests-reset: 1999-01-01T00:00:00Z\r\nanthropic-ratelimit-input-tokens-remaining: 7\r\nanthropic-ratelimit-tokens-reset: 2999-01-01T00:00:00+01:00\r\n"
      response:raw(play.http(200, A.whole "x", headers)):close()
    end)
    local reply = assert(s:send "a")
    assert.equal("req_1", reply.request_id)
    assert.equal(50, reply.ratelimit.limit_requests)
    assert.equal(49, reply.ratelimit.remaining_requests)
    assert.equal(0, reply.ratelimit.reset_requests)
    assert.equal(7, reply.ratelimit.remaining_input_tokens)
    assert.is_true(reply.ratelimit.reset_tokens > 1e10)
    local instants = {
      ["1970-01-01T00:00:00Z"] = 0, ["2000-03-01T00:00:00Z"] = 951868800, ["2024-02-29T12:30:15.5Z"] = 1709209815.5,
      ["2026-11-23T15:00:00-05:30"] = 1795465800,
    }
    for text, seconds in pairs(instants) do assert.equal(seconds, ratelimit.instant(text), text) end
    for _, text in ipairs { "", "soon", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "6m0s" } do assert.is_nil(ratelimit.instant(text), text) end
  end)

  it("asks another endpoint of the same API where the first one fails, with its own key", function()
    local other = assert(testing.server(play.good))
    local far = session({ fallbacks = { { model = "far", base_url = other.url, api_key = "sk-other-key" } } }, function(_, response)
      response:json(529, { type = "error", error = { type = "overloaded_error", message = "x" } })
    end)
    assert.equal("good", far:send("a").text)
    assert.equal("sk-other-key", other.requests[1].headers["x-api-key"])
    assert.equal("2023-06-01", other.requests[1].headers["anthropic-version"])
    other:close()
  end)

  it("keeps its blocks in a store, and its redactor sees their texts", function()
    local secrets, seen = { "EqQB/+==", "Emw=" }, {}
    local redact = require "oaichat.history.redact"
    local s = session({ tools = { F } }, streamed(THINKING, REDACTED, CALL, ended "tool_use"))
    s:stream("go"):result()
    local messages = redact.messages(function(text)
      seen[text] = true
      return (text:gsub("why", "***"))
    end, s:messages())
    assert.equal("*** é\nso", messages[2].meta.items[1].thinking)
    for _, secret in ipairs(secrets) do assert.is_nil(seen[secret]) end
    assert.is_nil(messages[2].meta.items[1].signature) -- it signed other words: the thought is not sent back
    assert.same(s:messages(), json.decode(json.encode(s:messages())))
  end)
end)
