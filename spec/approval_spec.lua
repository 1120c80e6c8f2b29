--- approval: calls that wait for a person: parked in the history, decided, resumed
-- here or in another process, refused when they were changed meanwhile.
-- luacheck: no max line length

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local script = require "spec.support.script"

local schema = chat.schema
local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

local deleted
local function delete(approve)
  return chat.tool {
    name = "delete", approve = approve, parameters = schema.object { path = schema.string "What to delete" },
    run = function(args)
      deleted[#deleted + 1] = args.path
      return "deleted " .. args.path
    end,
  }
end

local CALL = { calls = { { "delete", '{"path":"/tmp/x"}' } } }

local function results(session)
  local out = {}
  for _, message in ipairs(session:messages()) do
    if message.role == "tool" then out[#out + 1] = message.content end
  end
  return out
end

describe("a call that needs approval", function()
  local server
  before_each(function()
    leaks.remember()
    deleted = {}
  end)
  after_each(function()
    if server then server:close() end
    server = nil
    leaks.check()
  end)

  local function start(answers, opts)
    server = script.serve(answers)
    return play.session(server, opts)
  end

  it("waits, and is told on the reply", function()
    local session = start({ CALL, "it is gone" }, { tools = { delete(true) } })
    local reply = session:send "delete it"
    assert.same({}, deleted)
    assert.equal("tool_calls", reply.finish_reason)
    assert.equal('{"path":"/tmp/x"}', reply.parked[1].arguments)
    assert.same(reply.parked, session:parked())
    assert.equal(64, #reply.parked[1].hash)
    -- nobody decided: it waits again, and no request is made
    assert.equal("call_1", session:send().parked[1].id)
    assert.equal(1, #server.bodies)
    assert.is_true(session:approve("call_1", reply.parked[1].hash))
    assert.equal("it is gone", session:send().text)
    assert.same({ "/tmp/x" }, deleted)
    assert.same({ "deleted /tmp/x" }, results(session))
    assert.same({}, session:parked())
    assert.is_nil(server.bodies[2].messages[2].meta)
  end)

  it("is answered with the reason when it is denied", function()
    local session = start({ CALL, "as you like" }, { tools = { delete(true) } })
    session:send "delete it"
    assert.is_true(session:deny(nil, "not today"))
    assert.equal("as you like", session:send().text)
    assert.same({}, deleted)
    assert.same({ "error: the user did not allow this call: not today" }, results(session))
  end)

  it("waits alone: what needs no approval runs, once", function()
    local ran = 0
    local session = start({ { calls = { { "read" }, { "delete", '{"path":"a"}' }, { "delete", '{"path":"b"}' } } }, "done" },
      { tools = { delete(true), { name = "read", run = function()
        ran = ran + 1
        return "text"
      end } } })
    local reply = session:send "go"
    assert.equal(2, #reply.parked)
    session:approve "call_2"
    assert.equal(1, #session:send().parked)
    assert.same({ "a" }, deleted)
    session:deny "call_3"
    assert.equal("done", session:send().text)
    assert.equal(1, ran)
    assert.same({ "text", "deleted a", "error: the user did not allow this call" }, results(session))
  end)

  it("is decided by a function, which may wait", function()
    local asked = {}
    local session = start({ CALL, "done", { calls = { { "delete", '{"path":"b"}' } } }, "no" }, {
      tools = { delete(function(call, whose)
        asked[#asked + 1] = call.args.path .. tostring(whose ~= nil)
        chat.sleep(0.005)
        if call.args.path == "b" then return false, "too dear" end
        return true
      end) },
    })
    assert.equal("done", session:send("go").text)
    assert.equal("no", session:send("again").text)
    assert.same({ "/tmp/xtrue", "btrue" }, asked)
    assert.same({ "deleted /tmp/x", "error: the user did not allow this call: too dear" }, results(session))
  end)

  it("is decided by the session's approve where the tool says true", function()
    local session = start({ CALL, "done" }, { tools = { delete(true) }, approve = function(call)
      return call.name == "delete" and "park"
    end })
    assert.equal(1, #session:send("go").parked)
    session:approve()
    assert.equal("done", session:send(nil, { approve = function() error "was decided already" end }).text)
  end)

  it("is closed by a new input; what ran keeps its result", function()
    local session = start({ { calls = { { "read" }, { "delete", '{"path":"a"}' } } }, "fine" },
      { tools = { delete(true), { name = "read", run = function() return "text" end } } })
    session:send "go"
    assert.equal("fine", session:send("never mind").text)
    assert.same({ "text", "error: it was not run" }, results(session))
    assert.same({}, deleted)
    server:close()
    session = start({ { calls = { { "read" }, { "delete", '{"path":"a"}' } } }, "fine" },
      { tools = { delete(true), { name = "read", run = function() return "text" end } } })
    session:send "go"
    session:append "a note"
    assert.same({ "text", "error: it was not run" }, results(session))
  end)

  it("comes at the end of a stream, and goes on in the next one", function()
    local session = start({ { text = "May I? ", calls = CALL.calls }, "it is gone" }, { tools = { delete(true) } })
    local stream = session:stream "delete it"
    assert.equal("May", stream:next())
    assert.equal(1, #stream:result().parked)
    session:approve()
    local heard = ""
    for text in session:stream() do heard = heard .. text end
    assert.equal("it is gone", heard)
    assert.same({ "/tmp/x" }, deleted)
  end)

  it("is refused when its arguments are not those that were parked, or shown", function()
    local session = start({ CALL }, { tools = { delete(true) } })
    local shown = session:send("go").parked[1]
    local ok, _, err = session:approve(shown.id, ("0"):rep(64))
    assert.is_nil(ok)
    assert.equal("arguments_changed", err.code)
    local messages = session:messages()
    messages[2].tool_calls[1]["function"].arguments = '{"path":"/"}'
    local other = play.session(server, { messages = messages, tools = { delete(true) } })
    assert.equal("arguments_changed", select(3, other:approve()).code)
    -- changed after the approval: nothing runs, nothing is sent
    session:approve()
    messages = session:messages()
    messages[2].tool_calls[1]["function"].arguments = '{"path":"/"}'
    other = play.session(server, { messages = messages, tools = { delete(true) } })
    assert.equal("arguments_changed", select(3, other:send()).code)
    assert.equal(1, #server.bodies)
    assert.same({}, deleted)
    assert.equal("unknown_call", select(3, session:approve "nosuch").code)
  end)

  it("parked by one process is resumed by another; a changed one is refused", function()
    local session = start({ CALL, "it is gone", "as you like" }, { tools = { delete(true) } })
    session:send "delete it"
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write((json.encode(session:messages())))
    file:close()
    local function resume(how)
      local out = os.tmpname()
      local ended = false
      -- the server is in this process: it must turn while the other one runs
      os.execute(("(%s spec/support/resume.lua %s %s %s >%s 2>&1; echo end >>%s) &")
        :format(interpreter, server.url, path, how, out, out))
      local text
      while not ended do
        chat.wait(0.02)
        chat.step()
        local handle = assert(io.open(out))
        text = handle:read "*a"
        handle:close()
        ended = text:find "end\n$"
      end
      os.remove(out)
      return (text:gsub("end\n$", ""))
    end
    assert.matches("is not what was shown for approval: refused", resume "change")
    assert.equal("deleted /tmp/x\nit is gone\n", resume "approve")
    assert.equal("as you like\n", resume "deny")
    os.remove(path)
    assert.equal(3, #server.bodies)
  end)
end)
