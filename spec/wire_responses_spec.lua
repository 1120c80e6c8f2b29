--- The Responses API: what a session sends and reads over it; the examples of the API's
-- own specification, at any split.
-- luacheck: no max line length

local chat = require "oaichat"
local dialects = require "spec.support.dialects"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local R = dialects.responses
local server

local function event(text)
  return "data: " .. text .. "\n\n"
end

-- The end of a response out of its items' JSON.
local function ended(id, items, more)
  return event(('{"type":"response.completed","response":{"id":"%s","model":"m-1","status":"completed","output":[%s]%s}}')
    :format(id, items, more or ""))
end

local function message_item(text)
  return ('{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"%s","annotations":[]}]}'):format(text)
end

local function streamed(body)
  return function(_, response) response:raw(play.HEAD .. R.open .. body):close() end
end

-- A session over a server that gives the answers one after the other, then good ones.
local function session(opts, ...)
  server = play.server { ... }
  local own = { api = "responses" }
  for name, value in pairs(opts or {}) do own[name] = value end
  return play.session(server, own)
end

local function sent(number)
  return server.requests[number or #server.requests]:json()
end

local REASONING = '{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"why"}],"encrypted_content":"c2VjcmV0"}'
local SEARCH = '{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"q"}}'
local CALL = '{"id":"fc_1","type":"function_call","status":"completed","call_id":"c1","name":"f","arguments":"{\\"x\\": 9007199254740993}"}'

local F = { name = "f", parameters = { type = "object" }, run = function() return "result" end }

describe("a session over the Responses API", function()
  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  it("sends input, instructions, and nothing of chat completions", function()
    local s = session { system = "terse", params = { temperature = 0, max_output_tokens = 5, stream_options = { include_obfuscation = false } } }
    assert.equal("good", s:send("a").text)
    assert.same({
      model = "any", instructions = "terse", temperature = 0, max_output_tokens = 5,
      input = { { role = "user", content = "a" } },
    }, sent())
    assert.equal("good", s:stream("b"):result().text)
    assert.is_true(sent().stream)
    assert.same({ include_obfuscation = false }, sent().stream_options)
    assert.same({
      { role = "user", content = "a" }, { role = "assistant", content = "good" }, { role = "user", content = "b" },
    }, sent().input)
    assert.equal("/v1/responses", server.requests[1].path)
  end)

  it("refuses parameters that are the session's, an api that is none, and a state that is none", function()
    for _, name in ipairs { "input", "instructions", "previous_response_id" } do
      local ok, why = pcall(chat.new, { api = "responses", api_key = "k", params = { [name] = "x" } })
      assert.is_false(ok)
      assert.truthy(tostring(why):find("params." .. name, 1, true))
    end
    local ok, why = pcall(chat.new, { api = "soap" })
    assert.is_false(ok)
    assert.truthy(tostring(why):find("api: soap is none of ", 1, true))
    local _, text, err = chat.new { api = "responses", api_key = "k", state = "cloud" }
    assert.equal("config", err.kind)
    assert.truthy(text:find("state", 1, true))
    assert.equal("config", select(3, chat.new { api_key = "k", state = "server" }).kind)
    assert.equal("config", select(3, chat.new { api = "responses", api_key = "k", state = "server", context = { window = 1000 } }).kind)
  end)

  it("sends what a user shows in the API's words", function()
    local s = session()
    s:send {
      "look", { type = "image_url", image_url = { url = "data:image/png;base64,AA==", detail = "low" } },
      { type = "file", file = { file_id = "file-1" } },
    }
    assert.same({
      { type = "input_text", text = "look" },
      { type = "input_image", image_url = "data:image/png;base64,AA==", detail = "low" },
      { type = "input_file", file_id = "file-1" },
    }, sent().input[1].content)
  end)

  it("says that it takes no audio, with the place, and sends nothing", function()
    local s = session()
    local reply, text, err = s:send { { type = "input_audio", input_audio = { data = "AA==", format = "wav" } } }
    assert.is_nil(reply)
    assert.equal("invalid_request", err.kind)
    assert.equal("encode", err.code)
    assert.equal("messages[1].content[1]", err.path)
    assert.truthy(text:find("audio", 1, true))
    assert.equal(0, #server.requests)
  end)

  it("runs tools, and sends an answer's items back as they came, to the digit", function()
    local body = R.reasoning "why" .. R.call(2, "c1", "f", '{\\"x\\": 9007', '199254740993}')
      .. ended("r-1", REASONING .. "," .. SEARCH .. "," .. CALL)
    local s = session({ tools = { F } }, streamed(body))
    local reply = assert(s:stream("go"):result())
    assert.equal("good", reply.text)
    assert.equal("why", reply.rounds[1].reasoning)
    assert.equal("tool_calls", reply.rounds[1].finish_reason)
    local raw = server.requests[2].body
    assert.truthy(raw:find('"arguments":"{\\"x\\": 9007199254740993}"', 1, true))
    local input = sent(2).input
    assert.same(json.decode(REASONING), input[2])
    assert.same(json.decode(SEARCH), input[3])
    assert.equal("fc_1", input[4].id)
    assert.same({ type = "function_call_output", call_id = "c1", output = "result" }, input[5])
    assert.equal("function", sent(2).tools[1].type)
    assert.equal("f", sent(2).tools[1].name)
    assert.is_false(sent(2).tools[1].strict)
    -- and in the next turn, from the history
    s:send "more"
    assert.same(json.decode(REASONING), sent(3).input[2])
  end)

  it("sends items to no other origin and over no other API", function()
    local s = session(nil, streamed(R.text "a" .. ended("r-1", REASONING .. "," .. message_item "a")))
    s:stream("go"):result()
    local history = s:messages()
    assert.equal("rs_1", history[2].meta.items[1].id)
    local other = assert(testing.server(play.good))
    local elsewhere = play.session(other, { api = "responses", messages = history })
    elsewhere:send "more"
    assert.falsy(other.requests[1].body:find("encrypted", 1, true))
    assert.same({ role = "assistant", content = "a" }, other.requests[1]:json().input[2])
    other:close()
    local plain = play.session(server, { messages = history })
    plain:send "more"
    assert.same({ role = "assistant", content = "a" }, sent().messages[2])
  end)

  it("sends calls and results of another API's history, pictures too", function()
    local s = session {
      messages = {
        { role = "user", content = "go" },
        { role = "assistant", content = "well", tool_calls = { { id = "c1", type = "function", ["function"] = { name = "f", arguments = "{}" } } } },
        { role = "tool", tool_call_id = "c1", content = { { type = "text", text = "see" }, { type = "image_url", image_url = { url = "https://x.test/p.png" } } } },
        { role = "assistant", refusal = "no" },
      },
    }
    s:send "more"
    assert.same({
      { role = "user", content = "go" },
      { role = "assistant", content = "well" },
      { type = "function_call", call_id = "c1", name = "f", arguments = "{}" },
      { type = "function_call_output", call_id = "c1", output = { { type = "input_text", text = "see" }, { type = "input_image", image_url = "https://x.test/p.png", detail = "auto" } } },
      { role = "assistant", content = "no" },
      { role = "user", content = "more" },
    }, sent().input)
  end)

  it("never sends back a call that nobody can answer", function()
    local custom = '{"id":"ct_1","type":"custom_tool_call","call_id":"x","name":"t","input":"i"}'
    local s = session(nil, streamed(R.text "a" .. ended("r-1", message_item "a" .. "," .. custom)))
    local reply = s:stream("go"):result()
    assert.equal("ct_1", reply:raw().output[2].id)
    s:send "more"
    assert.falsy(server.requests[2].body:find("custom_tool_call", 1, true))
  end)

  it("tells what a tool of the server is doing", function()
    local s = session(nil, streamed(event '{"type":"response.web_search_call.searching","item_id":"ws_1","output_index":0}' .. R.text "a" .. R.stop))
    local seen = {}
    for e in s:stream("go"):events() do seen[#seen + 1] = e end
    assert.same({ type = "progress", tool = "web_search", status = "searching", id = "ws_1",
      data = { type = "response.web_search_call.searching", item_id = "ws_1", output_index = 0 } }, seen[1])
    assert.equal("text", seen[2].type)
  end)

  it("asks for a schema, and proves the answer", function()
    local s = session(nil, streamed(R.text '{\\"n\\":1}' .. R.stop))
    local reply = assert(s:stream("go", { schema = { type = "object", properties = { n = { type = "integer" } }, required = { "n" } } }):result())
    assert.same({ n = 1 }, reply.data)
    local format = sent().text.format
    assert.equal("json_schema", format.type)
    assert.equal("answer", format.name)
    assert.equal("integer", format.schema.properties.n.type)
    assert.is_nil(sent().response_format)
  end)

  it("forces a tool by its name, in the API's form", function()
    local s = session { tools = { F }, tool_choice = "f" }
    s:send "go"
    assert.same({ type = "function", name = "f" }, sent().tool_choice)
  end)

  it("gives the server's own object, with what came of an answer that was cut", function()
    local s = session(nil, streamed(R.text "a" .. ended("r-1", message_item "a", ',"service_tier":"flex"')),
      streamed(event('{"type":"response.output_item.done","output_index":0,"item":' .. REASONING .. "}") .. R.text "a"))
    local reply = s:stream("go"):result()
    assert.equal("flex", reply:raw().service_tier)
    assert.equal("a", reply:raw().output[1].content[1].text)
    local _, _, err = s:stream("more"):result()
    assert.equal("incomplete_stream", err.kind)
    assert.equal("rs_1", err.partial:raw().output[1].id)
  end)

  describe("whose state the server keeps", function()
    it("sends what is new alone, behind the last answer's id", function()
      local s = session({ state = "server", system = "terse", tools = { F } }, streamed(R.call(0, "c1", "f", "{}") .. ended("r-7", CALL)))
      s:stream("go"):result()
      assert.is_nil(sent(1).previous_response_id)
      assert.equal("r-7", sent(2).previous_response_id)
      assert.same({ { type = "function_call_output", call_id = "c1", output = "result" } }, sent(2).input)
      s:send "more"
      assert.equal("r-1", sent(3).previous_response_id)
      assert.same({ { role = "user", content = "more" } }, sent(3).input)
      assert.equal("terse", sent(3).instructions)
      local fork = s:fork()
      fork:rewind(1)
      fork:send "other"
      assert.equal("other", sent(4).input[#sent(4).input].content)
    end)

    it("sends the whole where the server has lost it", function()
      local lost = function(_, response)
        response:json(400, { error = { message = "Previous response with id 'r-1' not found.", type = "invalid_request_error", param = "previous_response_id", code = "previous_response_not_found" } })
      end
      local s = session({ state = "server" }, nil, lost)
      s:send "a"
      assert.equal("good", s:send("b").text)
      assert.equal(3, #server.requests)
      assert.is_nil(sent(3).previous_response_id)
      assert.same({ { role = "user", content = "a" }, { role = "assistant", content = "good" }, { role = "user", content = "b" } }, sent(3).input)
      s:send "c" -- the next turn trusts the server again
      assert.equal("r-1", sent(4).previous_response_id)
    end)

    it("sends what is new alone to a conversation that the server holds", function()
      local s = session { params = { conversation = "conv_1" } }
      s:send "a"
      s:send "b"
      assert.equal("conv_1", sent(2).conversation)
      assert.is_nil(sent(2).previous_response_id)
      assert.same({ { role = "user", content = "b" } }, sent(2).input)
    end)
  end)

  describe("without a store", function()
    it("asks for encrypted reasoning, and leaves out what came without", function()
      local bare = '{"id":"rs_2","type":"reasoning","summary":[]}'
      local s = session({ params = { store = false } }, streamed(R.text "a" .. ended("r-1", REASONING .. "," .. bare .. "," .. message_item "a")))
      s:stream("go"):result()
      assert.same({ "reasoning.encrypted_content" }, sent(1).include)
      s:send "more"
      assert.equal("rs_1", sent(2).input[2].id)
      assert.equal("msg_1", sent(2).input[3].id)
    end)

    it("asks no more where the model has none to encrypt", function()
      local refuse = function(_, response)
        response:json(400, { error = { message = "Encrypted content is not supported with this model.", type = "invalid_request_error", param = "include" } })
      end
      local s = session({ params = { store = false } }, refuse)
      assert.equal("good", s:send("a").text)
      s:send "b"
      assert.equal(3, #server.requests)
      assert.is_nil(sent(2).include)
      assert.is_nil(sent(3).include)
      local own = play.session(server, { api = "responses", params = { store = false, include = { "file_search_call.results" } } })
      own:send "c"
      assert.same({ "file_search_call.results" }, sent().include)
    end)
  end)

  describe("in the background", function()
    local function numbered(name, members, number)
      return event(('{"type":"response.%s","sequence_number":%d,%s}'):format(name, number, members))
    end
    local BEGUN = numbered("created", '"response":{"id":"resp_1","model":"m","status":"queued","output":[]}', 0)
    local function delta(text, number) return numbered("output_text.delta", '"output_index":0,"delta":"' .. text .. '"', number) end
    local function finished(number) return numbered("completed", '"response":{"id":"resp_1","status":"completed","output":[]}', number) end

    local function broken(body)
      return function(_, response) response:raw(play.HEAD .. body):pause(0.01):reset() end
    end

    it("goes on where the stream broke, and says no piece twice", function()
      for _, mode in ipairs { "send", "stream" } do
        local s = session({ params = { background = true }, retry = { max = 2 } },
          broken(BEGUN .. delta("a\\ud83d", 1)),
          broken(delta("a\\ud83d", 1) .. delta("\\ude80b", 2)),
          function(_, response) response:json(502, { error = { message = "gateway" } }) end,
          function(_, response) response:raw(play.HEAD .. delta("c", 3) .. finished(4)):close() end)
        local heard, reply = {}
        if mode == "send" then
          reply = assert(s:send "go")
        else
          local stream = s:stream "go"
          for text in stream do heard[#heard + 1] = text end
          reply = stream:result()
          assert.equal(reply.text, table.concat(heard))
        end
        assert.equal("a\240\159\154\128bc", reply.text)
        assert.equal(4, #reply.attempts)
        assert.is_true(sent(1).stream)
        assert.is_true(sent(1).background)
        assert.equal("GET", server.requests[2].method)
        assert.equal("/v1/responses/resp_1?stream=true&starting_after=1", server.requests[2].target)
        assert.equal("/v1/responses/resp_1?stream=true&starting_after=2", server.requests[3].target)
        assert.equal("/v1/responses/resp_1?stream=true&starting_after=2", server.requests[4].target)
        assert.equal("Bearer sk-spec-key", server.requests[2].headers.authorization)
        assert.equal(2, #s:messages())
        if mode == "send" then server:close() end
      end
    end)

    it("gives up after retry.max attempts that bring nothing, with what came", function()
      local cut = broken(BEGUN .. delta("a", 1))
      local nothing = broken ""
      local s = session({ params = { background = true }, retry = { max = 1 } }, cut, nothing, nothing)
      local reply, _, err = s:send "go"
      assert.is_nil(reply)
      assert.equal(2, #server.requests)
      assert.equal("a", err.partial.text)
      assert.equal("resp_1", err.partial.id)
    end)

    it("goes on with a key that is new, and asks for no second answer", function()
      local asked = 0
      local s = session({ params = { background = true }, retry = { max = 2 }, api_key = function()
        asked = asked + 1
        return asked < 3 and "old-key-1" or "new-key-1"
      end }, broken(BEGUN .. delta("a", 1)), function(_, response)
        response:json(401, { error = { message = "expired", code = "invalid_api_key" } })
      end, function(_, response) response:raw(play.HEAD .. delta("b", 2) .. finished(3)):close() end)
      local heard, stream = {}, s:stream "go"
      for text in stream do heard[#heard + 1] = text end
      assert.equal("ab", assert(stream:result()).text)
      assert.equal("ab", table.concat(heard))
      assert.equal(3, #server.requests)
      assert.equal("GET", server.requests[3].method)
      assert.equal("Bearer new-key-1", server.requests[3].headers.authorization)
    end)

    it("does not go on with an answer that failed", function()
      local failed = numbered("failed", '"response":{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"m"}}', 2)
      local s = session({ params = { background = true } }, function(_, response) response:raw(play.HEAD .. BEGUN .. delta("a", 1) .. failed):close() end)
      local _, _, err = s:send "go"
      assert.equal("server", err.kind)
      assert.equal(1, #server.requests)
    end)
  end)
end)

-- ---- the specification's examples --------------------------------------------------

local SPEC = "../shared/openapi/openapi.yaml"

local function read(path)
  local file = io.open(path, "rb")
  if not file then
    assert(not os.getenv "CI", path .. " is missing")
    return nil
  end
  local text = file:read "*a"
  file:close()
  return text
end

-- The streams that stand in it as they are on the wire.
local function streams_of(text)
  local out = {}
  for block in text:gmatch "response: |\n(%s+event: response%.created.-)\n%s+%- title" do
    out[#out + 1] = (block:gsub("\n +", "\n"):gsub("^ +", ""):gsub("\n%.%.%.\n", "\n")) .. "\n\n"
  end
  return out
end

-- Each event's own example.
local function examples_of(text)
  local out, at = {}, 1
  while true do
    local _, stop, name = text:find("\n    (Response%w+Event):\n", at)
    if not stop then return out end
    at = stop -- the line's end begins the next one
    local body = text:sub(stop, (text:find("\n    %u", stop) or 0) - 1)
    local example = body:match "example: [|>]%-?\n(.+)$"
    local value = example and json.decode((example:match "^%s*(%b{})" or ""))
    if value then out[#out + 1] = { name = name, value = value } end
  end
end

describe("the specification's Responses", function()
  local text = read(SPEC)
  if not text then return end

  it("streams read the same at every split, and cut nowhere are they a success", function()
    local streams = streams_of(text)
    assert.is_true(#streams >= 2, #streams .. " streams found")
    for _, stream in ipairs(streams) do
      play.events(stream, function(out)
        assert.is_nil(out.err and out.err.message)
        assert.is_true(#out.reply.text > 0 or #out.reply.tool_calls > 0)
        assert.equal("completed", out.reply:raw().status)
      end, { new = { api = "responses" } })
      local last = stream:find("event: response.completed", 1, true)
      for _, at in ipairs { 200, math.floor(last / 2), last, last + 100 } do
        play.failed(play.run(play.HEAD .. stream:sub(1, at), { new = { api = "responses" } }), "incomplete_stream")
      end
    end
    print(("streams of the specification: %d"):format(#streams))
  end)

  it("events do no harm, one by one, in the middle of a stream", function()
    local examples, ends = examples_of(text), { ["response.failed"] = true, error = true }
    assert.is_true(#examples >= 40, #examples .. " examples found")
    local count = 0
    for _, example in ipairs(examples) do
      local kind = example.value.type
      local body = play.HEAD .. R.open .. R.text "a" .. event(json.encode(example.value)) .. R.stop
      local out = play.run(body, { new = { api = "responses" } })
      count = count + 1
      if ends[kind] then
        assert.truthy(out.err, example.name)
      elseif kind == "response.function_call_arguments.delta" then -- of a call that nobody named
        assert.equal("tool", out.err.kind)
      else
        assert.is_nil(out.err and example.name .. ": " .. out.err.message)
        assert.equal("a", out.reply.text:sub(1, 1))
      end
    end
    print(("events of the specification: %d of %d"):format(count, #examples))
  end)
end)
