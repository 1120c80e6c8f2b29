--- A session: its history, what it takes, what it hands out, what it leaves alone.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

-- A server that gives the answers one after the other (functions, or a text); then good ones.
local function serve(...)
  local answers = { ... }
  return assert(testing.server(function(request, response)
    local answer = answers[request.number]
    if type(answer) == "function" then return answer(request, response) end
    play.good(request, response, answer)
  end))
end

local function events(body)
  return function(_, response) response:raw(play.HEAD .. body):close() end
end

local function brief(messages)
  local out = {}
  for i, m in ipairs(messages) do out[i] = m.role .. ": " .. tostring(m.content) end
  return out
end

local function raises(words, fn, ...)
  local ok, why = pcall(fn, ...)
  assert.is_false(ok, "an error was expected")
  assert.truthy(tostring(why):find(words, 1, true), tostring(why))
end

local CALL = play.chunk '{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"x\\":1}"}}]}'
  .. play.chunk("{}", "tool_calls") .. play.DONE

local server
local function session(opts, ...)
  server = serve(...)
  return play.session(server, opts)
end

local function sent(number)
  return server.requests[number or #server.requests]:json()
end

describe("a session", function()
  it("has every method of conversation, which is loaded when one is called", function()
    local one = assert(chat.new { base_url = "http://127.0.0.1:1", api_key = false })
    for name in pairs(require "oaichat.conversation") do assert.is_function(one[name], name) end
  end)

  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  it("remembers, and sends what it remembers", function()
    local s = session({ system = "terse" }, "one", "two")
    assert.equal("one", s:send("a").text)
    assert.equal("two", s:stream("b"):result().text)
    assert.same({ "user: a", "assistant: one", "user: b", "assistant: two" }, brief(s:messages()))
    assert.same({ "system: terse", "user: a", "assistant: one", "user: b" }, brief(sent(2).messages))
    assert.equal("any", sent(2).model)
    assert.is_true(sent(2).stream)
    assert.is_true(sent(2).stream_options.include_usage)
    assert.is_nil(sent(1).stream)
    assert.is_nil(sent(2).messages[3].meta)
  end)

  it("hands out its messages as a deep copy", function()
    local s = session(nil, "one")
    s:send "a"
    local copy = s:messages()
    copy[1].content, copy[3] = "changed", {}
    copy[2].meta.origin = "changed"
    assert.equal("a", s:messages()[1].content)
    assert.equal(2, #s:messages())
    assert.are_not.equal("changed", s:messages()[2].meta.origin)
  end)

  it("copies what it is given", function()
    local s = session()
    local message = { role = "user", content = { { type = "text", text = "a" } } }
    s:append(message)
    message.content[1].text = "changed"
    assert.equal("a", s:messages()[1].content[1].text)
  end)

  it("appends, rewinds, resets", function()
    local s = session(nil)
    s:append("a"):append { role = "assistant", content = "b" }
    s:append { { role = "user", content = "c" }, { role = "assistant", content = "d" } }
    assert.same({ "user: c", "assistant: d" }, brief(s:rewind()))
    assert.same({ "user: a", "assistant: b" }, brief(s:messages()))
    s:append "x"
    assert.equal(3, #s:rewind(2))
    assert.same({}, s:rewind(5))
    s:append("y"):reset()
    assert.same({}, s:messages())
  end)

  it("forks: the twin goes its own way", function()
    local s = session(nil, "one", "two")
    s:append "a"
    local twin = s:fork()
    twin:send "b"
    assert.same({ "user: a" }, brief(s:messages()))
    assert.same({ "user: a", "user: b", "assistant: one" }, brief(twin:messages()))
  end)

  it("takes a string, a message, a list of messages, a list of parts", function()
    local s = session()
    s:send "a"
    s:send { role = "developer", content = "b" }
    s:send { { role = "user", content = "c" }, { role = "user", content = "d", name = "ann" } }
    s:send { "look:", { type = "image_url", image_url = { url = "https://x.example/i.png", detail = "low" } } }
    local messages = sent().messages
    assert.same({ role = "user", content = "a" }, messages[1])
    assert.same({ role = "developer", content = "b" }, messages[3])
    assert.same({ role = "user", content = "d", name = "ann" }, messages[6])
    assert.equal(json.encode(json.array { { type = "text", text = "look:" },
      { type = "image_url", image_url = { url = "https://x.example/i.png", detail = "low" } } }),
      json.encode(messages[8].content))
  end)

  it("refuses wrong input by raising, and sends nothing", function()
    local s = session()
    for _, input in ipairs { 1, true, print, {}, { role = "nobody", content = "x" }, { { type = "nothing" } }, { 1 },
      { role = "user" }, { role = "tool", content = "x" }, { { role = "user", content = "a" }, "b" } } do
      assert.is_false((pcall(s.send, s, input)))
      assert.is_false((pcall(s.stream, s, input)))
      assert.is_false((pcall(s.append, s, input)))
    end
    raises("empty", s.send, s)
    assert.equal(0, server.accepted)
    assert.same({}, s:messages())
  end)

  it("goes on without input", function()
    local s = session(nil, "one")
    s:append "a"
    assert.equal("one", s:send().text)
    assert.same({ "user: a", "assistant: one" }, brief(s:messages()))
  end)

  it("sends a file as a part, its type told by the content", function()
    local s = session()
    local cases = {
      { "\137PNG\r\n\26\nrest", "image_url" }, { "\255\216\255\224rest", "image_url" },
      { "RIFF\1\2\3\4WAVEfmt ", "input_audio" }, { "%PDF-1.7 rest", "file" },
    }
    local parts, path = { "look" }, os.tmpname()
    for _, case in ipairs(cases) do
      local file = assert(io.open(path, "wb"))
      file:write(case[1])
      file:close()
      local part = assert(chat.file(path))
      assert.equal(case[2], part.type)
      parts[#parts + 1] = part
    end
    local file = assert(io.open(path, "wb"))
    file:write "plain"
    file:close()
    local none, why = chat.file(path)
    assert.is_nil(none)
    assert.truthy(why:find(path, 1, true))
    os.remove(path)
    assert.is_nil((chat.file(path)))
    s:send(parts)
    local content = sent().messages[1].content
    assert.equal("data:image/png;base64," .. core.base64(cases[1][1]), content[2].image_url.url)
    assert.equal("data:image/jpeg;base64," .. core.base64(cases[2][1]), content[3].image_url.url)
    assert.same({ data = core.base64(cases[3][1]), format = "wav" }, content[4].input_audio)
    assert.equal("data:application/pdf;base64," .. core.base64(cases[4][1]), content[5].file.file_data)
    assert.equal(path:match "[^/]+$", content[5].file.filename)
  end)

  it("sends params untouched, 0 and false among them, and those of one turn for one turn", function()
    local s = session { params = { temperature = 0, logprobs = false, seed = 9007199254740991, x = { y = json.null } } }
    s:send("a", { params = { temperature = 0.1, top_p = 0 } })
    s:send "b"
    local first, second = sent(1), sent(2)
    assert.equal(0.1, first.temperature)
    assert.equal(0, first.top_p)
    assert.equal(0, second.temperature)
    assert.is_nil(second.top_p)
    assert.is_false(second.logprobs)
    assert.equal(json.null, second.x.y)
    assert.truthy(server.requests[2].body:find('"seed":9007199254740991', 1, true))
  end)

  it("raises for unknown options, wrong types and reserved params", function()
    raises("temperatur", chat.new, { temperatur = 1 })
    raises("did you mean model", chat.new, { modell = "x" })
    raises("timeouts.conect", chat.new, { timeouts = { conect = 1 } })
    raises("model", chat.new, { model = 1 })
    raises("timeouts.connect", chat.new, { timeouts = { connect = "1" } })
    raises("retry", chat.new, { retry = 2 })
    raises("api_key", chat.new, { api_key = true })
    for _, name in ipairs { "messages", "stream", "model" } do
      raises("params." .. name, chat.new, { params = { [name] = 1 } })
    end
    local s = session()
    raises("unknown option", s.send, s, "a", { temperature = 1 })
    raises("params.stream", s.send, s, "a", { params = { stream = true } })
    raises("model", s.stream, s, "a", { model = false })
    raises("table expected", s.send, s, "a", 1)
    assert.equal(0, server.accepted)
  end)

  it("finds bad values before any connection: config", function()
    for _, opts in ipairs { { timeouts = { connect = -1 } }, { timeouts = { attempt = 0 } }, { deadline = 0 / 0 }, { retry = { max = -1 } },
      { limits = { event_bytes = 0 } }, { model = "" }, { base_url = "x" } } do
      opts.api_key = false
      opts.base_url = opts.base_url or "http://127.0.0.1:9"
      local none, message, err = chat.new(opts)
      assert.is_nil(none)
      assert.equal("config", err.kind)
      assert.equal(message, tostring(err))
    end
    local s = session()
    local _, _, err = s:send("a", { deadline = -1 })
    assert.equal("config", err.kind)
    assert.equal(0, server.accepted)
  end)

  it("keeps the choices of n > 1 apart, and takes the first into the history", function()
    local s = session(nil, function(_, response)
      response:json(200, { id = "x", choices = {
        { index = 1, message = { role = "assistant", content = "second" }, finish_reason = "length" },
        { index = 0, message = { role = "assistant", content = "first" }, finish_reason = "stop" },
      } })
    end)
    local reply = s:send("a", { params = { n = 2 } })
    assert.equal(2, sent().n)
    assert.equal("first", reply.text)
    assert.equal("second", reply.choices[2].text)
    assert.equal("length", reply.choices[2].finish_reason)
    assert.same({ "user: a", "assistant: first" }, brief(s:messages()))
  end)

  it("streams events", function()
    local s = session(nil, events(play.chunk '{"reasoning_content":"hm"}' .. play.text "a" .. play.chunk '{"refusal":"no"}'
      .. CALL:gsub("data: %[DONE%]\n\n", "") .. 'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n' .. play.DONE))
    local seen, whole = {}, nil
    local stream = s:stream "x"
    for event in stream:events() do
      seen[event.type] = event
      if event.type == "tool_call" and not event.partial then whole = event end
    end
    assert.same({ type = "reasoning", text = "hm", choice = 0 }, seen.reasoning)
    assert.same({ type = "text", text = "a", choice = 0 }, seen.text)
    assert.same({ type = "refusal", text = "no", choice = 0 }, seen.refusal)
    assert.equal(7, seen.usage.usage.prompt_tokens)
    assert.equal("tool_calls", seen.finish.finish_reason)
    assert.equal("f", whole.name)
    assert.equal("c1", whole.id)
    assert.equal('{"x":1}', whole.arguments)
    assert.equal("a", stream:result().text)
  end)

  it("streams the server's own chunks", function()
    local s = session(nil, events('data: {"x_new":{"y":[1]},"choices":[]}\n\n' .. play.text "a" .. play.END))
    local list, stream = {}, s:stream "x"
    for chunk in stream:chunks() do list[#list + 1] = chunk end
    assert.equal(3, #list)
    assert.equal(1, list[1].x_new.y[1])
    assert.equal("a", list[2].choices[1].delta.content)
    assert.equal("a", stream:result().text)
  end)

  it("lets the first pull choose the view; another raises", function()
    local s = session(nil, events(play.text "a" .. play.text "b" .. play.END))
    local stream = s:stream "x"
    assert.equal("a", stream:next())
    raises("next", stream.events, stream)
    raises("next", stream.chunks, stream)
    assert.equal("b", stream:next())
    stream = s:stream "y"
    stream:events()
    raises("events", stream.next, stream)
    assert.equal("good", stream:result().text)
  end)

  it("raises the err object from the for loop, and returns it from next", function()
    local failing = function(_, response) response:json(401, { error = { message = "who are you" } }) end
    local s = session(nil, failing, failing)
    local ok, err = pcall(function()
      for _ in s:stream "x" do error "no text was expected" end
    end)
    assert.is_false(ok)
    assert.equal("authentication", err.kind)
    local text, message
    local stream = s:stream "x"
    text, message, err = stream:next()
    assert.is_nil(text)
    assert.equal("authentication", err.kind)
    assert.equal(message, err.message)
    local _, _, again = stream:result()
    assert.equal(err, again)
  end)

  it("cancels the unread stream when a new turn begins, and keeps the history valid", function()
    local s = session(nil, events(play.text "a" .. play.END))
    local first = s:stream "x"
    assert.equal("a", first:next())
    assert.equal("good", s:send("y").text)
    local _, _, err = first:result()
    assert.equal("canceled", err.kind)
    assert.same({ "user: y", "assistant: good" }, brief(s:messages()))
  end)

  it("commits nothing of a failed turn, and gives back input and partial", function()
    local s = session(nil, events(play.text "half"))
    local _, _, err = s:stream("x"):result()
    assert.equal("incomplete_stream", err.kind)
    assert.same({ "user: x" }, brief(err.input))
    assert.equal("half", err.partial.text)
    assert.same({}, s:messages())
    assert.equal("good", s:send(err.input).text)
    assert.same({ "user: x" }, brief(sent().messages))
  end)

  it("commits the user's turn and the partial with keep_partial, marked incomplete", function()
    local s = session(nil, events(play.text "half"), events(play.text "half"))
    s:stream("x", { keep_partial = true }):result()
    assert.same({ "user: x", "assistant: half" }, brief(s:messages()))
    assert.is_true(s:messages()[2].meta.incomplete)
    local stream = s:fork():stream("y", { keep_partial = false })
    stream:result()
    assert.equal(2, #s:messages())
    s:send "z"
    assert.same({ "user: x", "assistant: half", "user: z" }, brief(sent().messages))
  end)

  it("row 118: returns tool calls, and closes them when a new input comes without results", function()
    local s = session(nil, events(CALL))
    local reply = s:stream("x"):result()
    assert.same({ { id = "c1", name = "f", arguments = '{"x":1}', args = { x = 1 } } }, reply.tool_calls)
    s:send "never mind"
    local messages = sent().messages
    assert.equal("tool", messages[3].role)
    assert.equal("c1", messages[3].tool_call_id)
    assert.equal("never mind", messages[4].content)
    assert.equal('{"x":1}', messages[2].tool_calls[1]["function"].arguments)
    assert.equal(5, #s:messages())
  end)

  it("takes a tool's result as input", function()
    local s = session(nil, events(CALL))
    s:stream("x"):result()
    s:send { role = "tool", tool_call_id = "c1", content = "42" }
    assert.equal(3, #sent().messages)
    assert.equal("42", sent().messages[3].content)
  end)

  it("row 118: closes open calls also when it goes on without input", function()
    local s = session(nil, events(CALL))
    s:stream("x"):result()
    s:send()
    local messages = sent().messages
    assert.equal("tool", messages[3] and messages[3].role, "a call without a result was sent")
  end)

  it("closes the calls that a list of results leaves open", function()
    local two = play.chunk('{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{}"}},'
      .. '{"index":1,"id":"c2","function":{"name":"g","arguments":"{}"}}]}') .. play.chunk("{}", "tool_calls") .. play.DONE
    local s = session(nil, events(two))
    s:stream("x"):result()
    s:send { { role = "tool", tool_call_id = "c1", content = "1" }, { role = "user", content = "go on" } }
    local answered = {}
    for _, m in ipairs(sent().messages) do
      if m.role == "tool" then answered[m.tool_call_id] = true end
    end
    assert.same({ c1 = true, c2 = true }, answered)
  end)

  it("replays opaque fields at their origin and nowhere else", function()
    local body = play.chunk '{"reasoning_content":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"S1","index":0}]}'
      .. play.chunk('{"tool_calls":[{"index":0,"id":"c1","type":"function","extra_content":{"google":{"thought_signature":"S2"}},'
      .. '"function":{"name":"f","arguments":"{}"}}]}') .. play.chunk("{}", "tool_calls") .. play.DONE
    local s = session(nil, events(body))
    s:stream("x"):result()
    local result = { role = "tool", tool_call_id = "c1", content = "1" }
    s:send(result)
    local home = sent().messages[2]
    assert.equal("hm", home.reasoning_content)
    assert.equal("S1", home.reasoning_details[1].signature)
    assert.equal("S2", home.tool_calls[1].extra_content.google.thought_signature)
    local other = serve()
    local abroad = play.session(other, { messages = s:messages() })
    abroad:send "y"
    local away = other.requests[1].body
    other:close()
    for _, word in ipairs { "S1", "S2", "reasoning", "extra_content", "meta" } do
      assert.is_nil(away:find(word, 1, true), word .. " went elsewhere")
    end
  end)

  it("sends equal bytes for an equal history", function()
    local s = session({ system = "s", params = { b = 1, a = 2, c = { z = 1, y = 2 } } }, "one", "one")
    local twin = s:fork()
    s:send "a"
    twin:send "a"
    assert.equal(server.requests[1].body, server.requests[2].body)
  end)

  it("tells its observers", function()
    local log, hooked = {}, {}
    local function hook(name) return function(fields) hooked[#hooked + 1] = name .. (fields and "" or "?") end end
    local s = session { log = function(level, event) log[#log + 1] = level .. " " .. event end,
      hooks = { request = hook "request", attempt = hook "attempt", first_content = hook "first_content", done = hook "done" } }
    s:stream("a"):result()
    assert.equal("request", hooked[1])
    assert.equal("attempt", hooked[2])
    assert.equal("done", hooked[#hooked])
    assert.truthy(#log >= 3)
    s:send("b", nil)
    local stream = s:stream "c"
    while stream:next() do end
    assert.truthy(table.concat(hooked, " "):find("first_content", 1, true))
  end)

  it("says what it is", function()
    assert.truthy(tostring(session()):find("oaichat.Session", 1, true))
    assert.is_nil(tostring(play.session(server)):find("sk-spec", 1, true))
  end)
end)
