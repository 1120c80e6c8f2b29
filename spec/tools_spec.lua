--- tools: what a model may call, and what it gets back; the loop from the question to
-- the answer, by send and by stream (FAULTS rows 80 to 83, 93, 118).
-- luacheck: no max line length

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local script = require "spec.support.script"
local tools = require "oaichat.tools"

local schema = chat.schema

local weather = {
  name = "weather", description = "The weather of a city",
  parameters = schema.object { city = schema.string "City", days = schema.integer { min = 1, max = 7, optional = true } },
  run = function(args) return { city = args.city, degrees = 20 } end,
}

-- What the last request said to the model about each call.
local function results(server)
  local out, bodies = {}, server.bodies
  for _, message in ipairs(bodies[#bodies].messages) do
    if message.role == "tool" then out[#out + 1] = message.content end
  end
  return out
end

local function names(session)
  local out = {}
  for i, message in ipairs(session:messages()) do out[i] = message.role end
  return table.concat(out, " ")
end

describe("tools", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    chat.run() -- what was canceled ends at its next turn
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  local function ask(answers, list, opts, input)
    server = script.serve(answers)
    local session = play.session(server, { tools = list })
    local reply, message, err = session:send(input or "go", opts)
    assert.same({}, server.errors)
    return reply, err, session, message
  end

  it("run the loop to the final answer", function()
    local reply, _, session = ask({ { text = "let me see", calls = { { "weather", '{"city":"Rome"}' } } }, "20 degrees" },
      { weather })
    assert.equal("20 degrees", reply.text)
    assert.equal("user assistant tool assistant", names(session))
    assert.same({ '{"city":"Rome","degrees":20}' }, results(server))
    assert.equal("weather", reply.rounds[1].tool_calls[1].name)
    assert.equal("function", server.bodies[1].tools[1].type)
  end)

  it("answer in the order of the calls, though they run side by side", function()
    local order, running, most = {}, 0, 0
    local function slow(name, seconds)
      return {
        name = name,
        run = function()
          running = running + 1
          most = math.max(most, running)
          chat.sleep(seconds)
          running = running - 1
          order[#order + 1] = name
          return name
        end,
      }
    end
    local list = { slow("a", 0.06), slow("b", 0.03), slow("c", 0) }
    local calls = { calls = { { "a" }, { "b" }, { "c" } } }
    ask({ calls, "x" }, list)
    assert.same({ "c", "b", "a" }, order)
    assert.equal(3, most)
    assert.same({ "a", "b", "c" }, results(server))
    server:close()
    order, most = {}, 0
    ask({ calls, "x" }, list, { parallel_tool_calls = false })
    assert.same({ "a", "b", "c" }, order)
    assert.equal(1, most)
    assert.is_false(server.bodies[1].parallel_tool_calls)
  end)

  it("rows 82, 83: tell the model what is wrong with its call, and run nothing", function()
    local ran = 0
    local list = { { name = "weather", parameters = weather.parameters, run = function() ran = ran + 1 end } }
    local reply = ask({ { calls = {
      { "weather", '{"city":' }, { "weather", '{"city":7}' }, { "weather", '{"city":"x","days":9}' }, { "weather", "[]" },
      { "wether", "{}" }, { "weather", '{"city":"x","more":1}' },
    } }, "sorry" }, list)
    assert.equal("sorry", reply.text)
    assert.equal(0, ran)
    local said = results(server)
    assert.matches("^error: the arguments are not valid JSON: .*byte 9", said[1])
    assert.matches("^error: the arguments do not match the schema: .*city", said[2])
    assert.matches("days", said[3])
    assert.matches("not a JSON object", said[4])
    assert.equal("error: there is no tool wether; the tools are: weather", said[5])
    assert.matches("more", said[6])
  end)

  it("row 77: never run a call that the output limit cut", function()
    local ran = false
    local list = { { name = "go", run = function() ran = true end } }
    ask({ { calls = { { "go", "{}" } }, finish = "length" }, "ok" }, list)
    assert.is_false(ran)
    assert.matches("was cut", results(server)[1])
  end)

  it("may return text, tables, pictures, nothing, errors and garbage", function()
    local picture = { type = "image_url", image_url = { url = "data:image/png;base64,AA==" } }
    local cycle = {}
    cycle.me = cycle
    local values = {
      text = { "plain" }, number = { 7 }, yes = { true }, list = { json.array {} }, none = {}, bad = { nil, "no such city" },
      picture = { { { type = "text", text = "see" }, picture } }, cycle = { cycle }, fn = { print },
      bytes = { "a\255b" }, long = { ("x"):rep(tools.RESULT_MAX + 1) },
    }
    local list, calls, order = {}, {}, {}
    for name, value in pairs(values) do
      list[#list + 1] = { name = name, run = function() return value[1], value[2] end }
      calls[#calls + 1], order[name] = { name }, #calls + 1
    end
    list[#list + 1] = { name = "raises", run = function() error "out of cheese" end }
    calls[#calls + 1] = { "raises" }
    ask({ { calls = calls }, "x" }, list)
    local said = results(server)
    assert.equal("plain", said[order.text])
    assert.equal("7", said[order.number])
    assert.equal("true", said[order.yes])
    assert.equal("[]", said[order.list])
    assert.equal("ok", said[order.none])
    assert.equal("error: no such city", said[order.bad])
    assert.equal("see", said[order.picture][1].text)
    assert.equal(2, #said[order.picture]) -- the picture itself follows as a user message
    local last = server.bodies[2].messages[#server.bodies[2].messages]
    assert.equal("user", last.role)
    assert.same(picture, last.content[2])
    assert.matches("^error: the tool returned a value that cannot be sent", said[order.cycle])
    assert.matches("cannot be sent", said[order.fn])
    assert.equal("a\239\191\189b", said[order.bytes])
    assert.matches("^error: the result has 1000001 bytes", said[order.long])
    assert.equal("error: the tool failed: out of cheese", said[#said])
  end)

  it("that take too long, or for ever, are given up; the others' results are kept", function()
    local canceled
    local list = {
      { name = "quick", run = function() return "quick" end },
      { name = "stuck", timeout = 0.05, run = function() repeat canceled = select(3, chat.sleep(100)) until canceled end },
      { name = "deaf", run = function() while true do pcall(chat.sleep, 0.01) end end },
    }
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then list[3].run = list[2].run end
    ask({ { calls = { { "quick" }, { "stuck" }, { "deaf" } } }, "x" }, list, { tool_timeout = 0.08 })
    local said = results(server)
    assert.equal("quick", said[1])
    assert.equal("error: the tool took longer than 0.05 seconds", said[2])
    assert.equal("error: the tool took longer than 0.08 seconds", said[3])
    assert.equal("canceled", canceled.kind)
  end)

  it("may wait, send and call tools themselves", function()
    server = script.serve { { calls = { { "outer", [[{"input":"x"}]] } } }, { calls = { { "inner" } } }, "inner says", "outer says" }
    local inner = play.session(server, { tools = { { name = "inner", run = function()
      chat.sleep(0.001)
      return "x"
    end } } })
    local outer = play.session(server, { tools = { inner:as_tool { name = "outer", description = "asks another" } } })
    local reply = outer:send "go"
    assert.equal("outer says", reply.text)
    assert.equal(0, #inner:messages())
  end)

  it("made of a session that parks a call tell the model, and lose no approval silently", function()
    server = script.serve { { calls = { { "outer", [[{"input":"x"}]] } } }, { calls = { { "rm" } } }, "sorry" }
    local inner = play.session(server, { tools = { { name = "rm", approve = true, run = print } } })
    local outer = play.session(server, { tools = { inner:as_tool { name = "outer" } } })
    assert.equal("sorry", outer:send("go").text)
    assert.matches("^error: a call of its own needs approval", results(server)[1])
  end)

  it("stop after max_rounds and max_calls, and keep the rounds that were complete", function()
    local again = { calls = { { "weather", '{"city":"x"}' } } }
    local reply, err, session = ask({ again, again, again, again }, { weather }, { max_rounds = 3 })
    assert.is_nil(reply)
    assert.equal("tool", err.kind)
    assert.equal("max_rounds", err.code)
    assert.equal(3, #server.bodies)
    assert.equal("user assistant tool assistant tool", names(session))
    assert.same({}, err.input)
    server:close()
    reply, err = ask({ { calls = { { "weather", '{"city":"x"}' }, { "weather", '{"city":"x"}', id = "b" } } } }, { weather },
      { max_calls = 1 })
    assert.is_nil(reply)
    assert.equal("max_rounds", err.code)
  end)

  it("keep a complete round when the next request fails; send() without input goes on", function()
    local reply, err, session = ask({
      { calls = { { "weather", '{"city":"x"}' } } },
      function(_, response) response:json(500, { error = { message = "down" } }) end,
      "it is 20",
    }, { weather })
    assert.is_nil(reply)
    assert.equal("server", err.kind)
    assert.equal("user assistant tool", names(session))
    assert.equal("it is 20", session:send().text)
    assert.equal("user assistant tool assistant", names(session))
  end)

  it("of one turn may differ from the next; a function is asked each round", function()
    local asked = {}
    server = script.serve { { calls = { { "one" } } }, { calls = { { "two" } } }, "done", "plain" }
    local session = play.session(server)
    session:send("go", { tools = function(_, n)
      asked[#asked + 1] = n
      local name = n == 0 and "one" or "two"
      return { { name = name, run = function() return name end } }
    end })
    assert.same({ 0, 1, 2 }, asked)
    assert.equal("two", server.bodies[2].tools[1]["function"].name)
    session:send "and now"
    assert.is_nil(server.bodies[4].tools)
  end)

  it("can be forced once, by name, and the model may answer then", function()
    ask({ { calls = { { "weather", '{"city":"x"}' } } }, "x" }, { weather }, { tool_choice = "weather" })
    assert.same({ type = "function", ["function"] = { name = "weather" } }, server.bodies[1].tool_choice)
    assert.is_nil(server.bodies[2].tool_choice)
    assert.is_table(server.bodies[2].tools)
  end)

  it("without run are the caller's: the calls come back, and nothing is sent", function()
    local own = { type = "function", ["function"] = { name = "mine", parameters = { type = "object" } } }
    local reply, _, session = ask({ { calls = { { "mine", '{"a":1}' }, { "weather", '{"city":"x"}' } } }, "thanks" },
      { own, weather })
    assert.equal("mine", reply.tool_calls[1].name)
    assert.equal(1, #server.bodies)
    assert.equal("thanks", session:send({
      { role = "tool", tool_call_id = "call_1", content = "1" }, { role = "tool", tool_call_id = "call_2", content = "2" },
    }).text)
    assert.same({ "1", "2" }, results(server))
  end)

  it("are driven a step at a time by advance", function()
    server = script.serve { { calls = { { "weather", '{"city":"x"}' } } }, { calls = { { "weather", '{"city":"y"}' } } }, "end" }
    local session = play.session(server, { tools = { weather } })
    local steps, reply = 0, session:advance "go"
    while reply.tool_calls[1] do
      steps = steps + 1
      assert.equal(steps, #server.bodies)
      reply = session:advance()
    end
    assert.equal(2, steps)
    assert.equal("end", reply.text)
    assert.equal("user assistant tool assistant tool assistant", names(session))
  end)

  it("are seen by on_call and on_result, whose errors only reach the log", function()
    local seen, logged = {}, 0
    server = script.serve { { calls = { { "weather", '{"city":"x"}' }, { "none" } } }, "x" }
    local session = play.session(server, {
      tools = { weather },
      on_call = function(call) seen[#seen + 1] = call.name .. call.args.city end,
      on_result = function(call, content, is_error)
        seen[#seen + 1] = call.name .. (is_error and "!" or "=")
        if content then error "in the hook" end
      end,
      log = function(level) if level == "error" then logged = logged + 1 end end,
    })
    assert.equal("x", session:send("go").text)
    assert.same({ "none!", "weatherx", "weather=" }, seen)
    assert.equal(2, logged)
  end)

  it("are refused at the start when they cannot be right", function()
    local function raised(list)
      local ok, why = pcall(chat.new, { api_key = false, base_url = "http://127.0.0.1:1/v1", tools = list })
      if ok then
        ok, why = pcall(function() why:send "x" end)
      end
      assert.is_false(ok)
      return why
    end
    assert.matches("two tools are named weather", raised { weather, weather })
    assert.matches("letters, digits", raised { { name = "a b", run = print } })
    assert.matches("unknown option", raised { { name = "a", run = print, parmeters = {} } })
    assert.matches("parameters", raised { { name = "a", run = print, parameters = { type = "objekt" } } })
    assert.has_error(function() chat.tool { name = "x y" } end)
  end)

  it("row 93: send {} and [] where the schema means them", function()
    local raw
    server = script.serve { function(request, response)
      raw = request.body
      response:json(200, require "oaichat.testing".completion "x")
    end }
    play.session(server, { tools = { chat.tool { name = "none", run = print },
      chat.tool { name = "strict", strict = true, parameters = schema.object {}, run = print } } }):send "x"
    assert.matches('"properties":{}', raw, 1, true)
    assert.matches('"required":[]', raw, 1, true)
    assert.is_nil(raw:find('"properties":[]', 1, true))
  end)

  -- ---- streams -----------------------------------------------------------------

  it("go on with the next round's text in the same loop", function()
    server = script.serve { { text = "let me see. ", calls = { { "weather", '{"city":"x"}' } } }, "It is 20." }
    local session = play.session(server, { tools = { weather } })
    local heard = {}
    for text in session:stream "go" do heard[#heard + 1] = text end
    assert.equal("let me see. It is 20.", table.concat(heard))
    assert.equal("user assistant tool assistant", names(session))
  end)

  it("are seen as events: the calls as they form, and the results", function()
    server = script.serve { { calls = { { "weather", '{"city":"x"}' } } }, "It is 20." }
    local session = play.session(server, { tools = { weather } })
    local stream, kinds, fragments, result = session:stream "go", {}, {}, nil
    for event in stream:events() do
      if kinds[#kinds] ~= event.type then kinds[#kinds + 1] = event.type end
      if event.type == "tool_call" and event.partial then fragments[#fragments + 1] = event.arguments end
      if event.type == "tool_result" then result = event end
    end
    assert.same({ "tool_call", "finish", "tool_result", "text", "finish" }, kinds)
    assert.equal('{"city":"x"}', table.concat(fragments))
    assert.equal("call_1", result.id)
    assert.equal('{"city":"x","degrees":20}', result.content)
    assert.equal("It is 20.", stream:result().text)
  end)

  it("work for callbacks, where no coroutine runs", function()
    server = script.serve { { calls = { { "weather", '{"city":"x"}' } } }, "It is 20." }
    local session = play.session(server, { tools = { {
      name = "weather",
      run = function()
        chat.sleep(0.01)
        return "20"
      end,
    } } })
    local heard, ended = {}, 0
    session:stream("go", {
      on_event = function(event) if event.type == "text" then heard[#heard + 1] = event.text end end,
      on_done = function(reply) ended = ended + (reply.text == "It is 20." and 1 or 100) end,
    })
    chat.run()
    assert.equal("It is 20.", table.concat(heard))
    assert.equal(1, ended)
    assert.equal("user assistant tool assistant", names(session))
  end)

  it("end with the stream that is canceled while they run", function()
    local ended, stopped
    server = script.serve { { calls = { { "slow" } } } }
    local session = play.session(server, { tools = { { name = "slow", run = function()
      stopped = select(3, chat.sleep(100))
      return "never taken"
    end } } })
    local stream
    stream = session:stream("go", { on_done = function(_, _, err) ended = err end })
    chat.spawn(function()
      while not (stream._turn and stream._turn.round) do chat.sleep(0.001) end
      stream:cancel()
      assert.equal("canceled", ended.kind) -- inside cancel
    end)
    chat.run()
    assert.equal("canceled", stopped.kind)
    assert.equal("", names(session))
    -- a reader in a task hears of it too
    server:close()
    server = script.serve { { calls = { { "slow" } } }, "fine" }
    session = play.session(server, { tools = { { name = "slow", run = function() chat.sleep(100) end } } })
    local task = chat.spawn(function() return session:send "go" end)
    chat.spawn(function()
      chat.sleep(0.05)
      task:cancel()
    end)
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    assert.equal("", names(session))
    chat.run()
    assert.equal("fine", session:send("again").text)
  end)

  it("may end the turn from anywhere: a hook, a call, an approval", function()
    local list = { { name = "one", run = function() return "x" end } }
    for _, where in ipairs { "request", "on_call", "on_result", "run" } do
      server = script.serve { { calls = { { "one" } } }, "two" }
      local session
      local function stop() session:cancel() end
      session = play.session(server, {
        tools = where == "run" and { { name = "one", run = stop } } or list,
        hooks = where == "request" and { request = stop } or nil,
        on_call = where == "on_call" and stop or nil, on_result = where == "on_result" and stop or nil,
      })
      local _, _, err = session:send "go"
      assert.equal("canceled", err and err.kind, where)
      assert.equal("", names(session))
      chat.run()
      server:close()
    end
  end)

  it("must not ask the session that they are run for", function()
    local raised
    server = script.serve { { calls = { { "again" } } }, "x" }
    local session
    session = play.session(server, { tools = { { name = "again", run = function()
      local ok, why = pcall(session.send, session, "more")
      raised = not ok and why
      return "tried"
    end } } })
    local reply
    session:stream("go", { on_done = function(got) reply = got end })
    chat.run()
    assert.matches("session is busy", raised)
    assert.equal("x", reply.text)
  end)

  it("may return or raise what nobody can read", function()
    local bad = setmetatable({}, { __tostring = function() error "no" end, __index = function() error "no" end })
    ask({ { calls = { { "a" }, { "b" }, { "c" } } }, "x" }, {
      { name = "a", run = function() error(bad) end }, { name = "b", run = function() return nil, bad end },
      { name = "c", run = function() return bad end },
    })
    for _, said in ipairs(results(server)) do assert.matches("^error: the tool", said) end
  end)

  it("count against the deadline of the turn", function()
    local _, err, session = ask({ { calls = { { "slow" } } }, "x" }, { { name = "slow", run = function() chat.sleep(9) end } },
      { deadline = 0.15 })
    assert.equal("timeout", err.kind)
    assert.equal("total", err.phase)
    assert.equal("", names(session))
    chat.run()
  end)
end)
