--- A session whose conversation is kept in a store: what is written when, what a
-- failure and a crash leave, branches (FAULTS rows 113, 115, 117, 118).
-- luacheck: no max line length

local chat = require "oaichat"
local errors = require "oaichat.errors"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local script = require "spec.support.script"

local function down(_, response) response:json(500, { error = { message = "down" } }) end

local function texts(messages)
  local out = {}
  for i, one in ipairs(messages) do out[i] = one.role:sub(1, 1) .. ":" .. tostring(one.content) end
  return table.concat(out, " ")
end

-- A store in front of another that fails, or waits, when told.
local function wrap(inner, before)
  return setmetatable({ waits = before.waits }, {
    __index = function(_, name)
      return function(_, ...)
        local refused = before[name] and before[name](...)
        if refused then return errors.fail { kind = "storage", code = "io", message = refused } end
        if before.waits then chat.sleep(0.002) end
        return inner[name](inner, ...)
      end
    end,
  })
end

describe("a stored session", function()
  local server, store
  before_each(function()
    leaks.remember()
    store = chat.history.memory {}
  end)
  after_each(function()
    if server then server:close() end
    server = nil
    chat.run()
    leaks.check()
  end)

  local function open(opts)
    local all = { history = store, id = "talk" }
    for name, value in pairs(opts or {}) do all[name] = value end
    return play.session(server, all)
  end

  local function kept() return texts((store:load "talk" or { messages = {} }).messages) end

  it("is there again in the next one", function()
    server = script.serve { "hello", "again" }
    assert.equal("hello", open():send("hi").text)
    local next_one = open()
    assert.equal("u:hi a:hello", texts(next_one:messages()))
    assert.equal("again", next_one:send("and").text)
    assert.equal("u:hi a:hello u:and a:again", kept())
    assert.equal(4, #server.bodies[2].messages + 1)
  end)

  it("has the input before the request, and is as it was when that fails or is canceled", function()
    local seen
    server = script.serve { function(_, response)
      seen = store:load "talk"
      down(nil, response)
    end, "fine" }
    local session = open()
    assert.is_nil(session:send "hi")
    assert.is_true(seen.unanswered)
    assert.equal("u:hi", texts(seen.messages))
    assert.equal("", kept())
    local stream = session:stream "hi"
    stream:cancel()
    assert.equal("", kept())
    assert.equal("fine", session:send("hi").text)
  end)

  it("row 117: tells of an input that a crash left without an answer, and goes on with it", function()
    server = script.serve { "hello" }
    assert(store:begin("talk", 0, { { role = "user", content = "hi" } })) -- the process ended here
    local session = open()
    assert.is_true(session.unanswered)
    assert.equal("hello", session:send().text)
    assert.equal("u:hi a:hello", kept())
  end)

  it("keeps each round of tools before the next request", function()
    local between
    server = script.serve { { calls = { { "look" } } }, function(_, response)
      between = kept()
      down(nil, response)
    end, "done" }
    local session = open { tools = { { name = "look", run = function() return "seen" end } } }
    assert.is_nil(session:send "go")
    assert.equal("u:go a:nil t:seen", between)
    assert.equal("u:go a:nil t:seen", kept())
    assert.equal("done", open { tools = { { name = "look", run = print } } }:send().text)
  end)

  it("keeps the part of a broken answer when asked to", function()
    server = script.serve { function(_, response)
      response:event(require "oaichat.testing".chunk "par"):reset()
    end }
    local session = open { keep_partial = true }
    local stream = session:stream "hi"
    stream:result()
    assert.equal("u:hi a:par", kept())
    assert.is_true(store:load("talk").messages[2].meta.incomplete)
  end)

  it("row 115: reports a conflict to the later writer, who reads again", function()
    server = script.serve { "one", "two", "three" }
    local first, second = open(), open()
    assert.equal("one", first:send("a").text)
    local reply, _, err = second:send "b"
    assert.is_nil(reply)
    assert.equal("conflict", err.kind)
    assert.equal(1, #server.bodies) -- before any money was spent
    assert.equal("two", assert(second:reload()):send("b").text)
    assert.equal("u:a a:one u:b a:two", kept())
  end)

  it("row 113: sends nothing when the input cannot be kept; an answer is there whatever the store says", function()
    server = script.serve { "one", "two" }
    local broken = {}
    local inner = store
    store = wrap(inner, broken)
    local session = open()
    broken.begin = function() return "the disk is full" end
    local reply, message, err = session:send "a"
    assert.is_nil(reply)
    assert.equal("storage", err.kind)
    assert.matches("disk is full", message)
    assert.equal(0, #server.bodies)
    broken.begin, broken.commit = nil, function() return "the disk is full" end
    reply = session:send "a"
    assert.equal("one", reply.text)
    assert.equal("storage", reply.unsaved.kind)
    assert.equal("u:a a:one", texts(session:messages()))
    broken.commit = nil
    reply = session:send "b"
    assert.equal("two", reply.text)
    assert.is_nil(reply.unsaved)
    store = inner
    assert.equal("u:a a:one u:b a:two", kept())
  end)

  it("works with a store that waits: in a script, in tasks, in streams, with callbacks", function()
    server = script.serve { "one", "two", "three", down, "four" }
    local inner = store
    store = wrap(inner, { waits = true })
    local session = open()
    assert.equal("one", session:send("a").text)
    assert.equal("two", chat.spawn(function() return session:send "b" end):wait().text)
    local heard = ""
    for text in session:stream "c" do heard = heard .. text end
    assert.equal("three", heard)
    local failed
    session:stream("d", { on_done = function(_, _, err) failed = err end })
    chat.run()
    assert.equal("server", failed.kind)
    assert.equal("four", session:send("e").text)
    store = inner
    assert.equal("u:a a:one u:b a:two u:c a:three u:e a:four", kept())
  end)

  it("leaves no turn open when something raises before the request", function()
    server = script.serve { "one" }
    local session = open()
    assert.has_error(function() session:send("hi", { tools = function() error "boom" end }) end, nil)
    assert.is_nil(store:load "talk")
    assert.equal("one", session:send("again").text)
    assert.equal("u:again a:one", kept())
  end)

  it("can be canceled while a store waits: nothing is sent, nothing stays", function()
    server = script.serve { "one" }
    local inner, ended = store, 0
    store = wrap(inner, { waits = true })
    local session = open()
    local stream
    stream = session:stream("hi", { on_done = function(_, _, err) ended = ended + (err.kind == "canceled" and 1 or 9) end })
    chat.spawn(function()
      chat.sleep(0.0005)
      stream:cancel()
    end)
    chat.run()
    assert.equal(1, ended)
    assert.equal(0, #server.bodies)
    assert.equal("one", session:send("again").text)
    store = inner
    assert.equal("u:again a:one", kept())
  end)

  it("ends a turn well although its store was closed", function()
    server = script.serve { "one" }
    local session = open()
    local stream = session:stream "hi"
    store:close()
    assert.equal("one", stream:result().text)
    assert.equal("storage", stream:result().unsaved.kind)
    store = chat.history.memory {}
  end)

  it("keeps what is done to it without asking: append, rewind, reset, meta, fork", function()
    server = script.serve { "one", "two" }
    local session = open()
    session:append "note"
    assert.equal("u:note", kept())
    session:send "a"
    assert(session:set_meta { title = "A talk", user = "ada" })
    assert.equal("A talk", open().meta.title)
    local twin = assert(session:fork "other")
    twin:send "b"
    assert.equal("u:note u:a a:one", kept())
    assert.equal("u:note u:a a:one u:b a:two", texts(store:load("other").messages))
    assert.equal("exists", select(3, session:fork "other").code)
    assert.equal("u:a a:one", texts(session:rewind()))
    assert.equal("u:note", kept())
    session:reset()
    assert.equal("", kept())
  end)

  it("branches: another answer, another question, and back; failures lose nothing", function()
    server = script.serve { "one", "two", "three", down, "four" }
    local session = open()
    session:send "a"
    assert.equal("two", session:regenerate().text)
    assert.equal("three", session:regenerate().text)
    assert.equal("u:a a:three", kept())
    assert.is_nil((session:regenerate()))
    assert.equal("u:a a:three", kept())
    local others = open():alternatives()
    assert.equal("a:one", texts(others[1]))
    assert.equal("a:two", texts(others[2]))
    session:choose(1)
    assert.equal("u:a a:one", kept())
    assert.equal(2, #session:alternatives())
    assert.equal("four", session:edit("b").text)
    assert.equal("u:b a:four", kept())
    assert.equal("u:a a:one", texts(session:alternatives()[#session:alternatives()]))
    assert.is_nil(server.bodies[2].messages[1].meta)
    assert.equal(1, #server.bodies[2].messages)
    assert.has_error(function() session:regenerate { nonsense = 1 } end)
    assert.equal("u:b a:four", kept())
  end)

  it("keeps a parked call, which another session resumes", function()
    local tool = chat.tool { name = "rm", approve = true, run = function() return "gone" end }
    server = script.serve { { calls = { { "rm" } } }, "done" }
    open { tools = { tool } }:send "go"
    local other = open { tools = { tool } }
    assert.equal("rm", other:parked()[1].name)
    assert.is_true(other:approve())
    assert.equal("done", open { tools = { tool } }:send().text)
    assert.equal("u:go a:nil t:gone a:done", kept())
  end)
end)
