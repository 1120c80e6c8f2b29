--- loop/task: what a task gives back, whom it waits for, and how it is canceled.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

-- A server whose first pieces come at once and whose end never comes.
local function endless()
  return testing.server(function(_, response) response:event(testing.chunk "a") end)
end

local function canceled(_, message, err)
  assert.equal("canceled", err.kind)
  assert.equal(err.message, message)
end

describe("a task", function()
  before_each(leaks.remember)
  after_each(function()
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  it("gives back what has an __eq of its own", function()
    local mt = { __eq = function() error "nobody compares it" end }
    local value = setmetatable({}, mt)
    local task = chat.spawn(function() return value end)
    assert.is_true(rawequal(value, task:wait()))
    task = chat.spawn(function() error(value, 0) end)
    assert.equal("task_error", select(3, task:wait()).code)
  end)

  it("reads on after a wait in a place where nobody can wait", function()
    if not coroutine.isyieldable then return end -- PUC 5.1 and 5.2 cannot tell
    local held
    local server = assert(testing.server(function(_, response)
      held = response
      response:event(testing.chunk "a")
    end))
    local stream = play.session(server):stream "hello"
    local reply = chat.spawn(function()
      assert.equal("a", stream:next())
      assert.is_false(pcall(table.sort, { 1, 2 }, function() return stream:next() ~= nil end))
      held:event(testing.chunk("b", { finish_reason = "stop" })):done():finish()
      assert.equal("b", stream:next())
      return stream:result()
    end):wait()
    assert.equal("ab", reply.text)
    server:close()
  end)

  it("begins at the next step, with its arguments, and gives all its values to wait, nils too", function()
    local begun = false
    local task = chat.spawn(function(...)
      begun = true
      return select("#", ...), nil, ..., nil
    end, "a", nil, nil)
    assert.is_false(begun)
    assert.is_false(task:done())
    assert.equal(4, select("#", task:wait()))
    assert.is_true(task:done())
    local n, none, first = task:wait()
    assert.same({ 3, "a" }, { n, first })
    assert.is_nil(none)
  end)

  it("is named with the place of its function in the error that it raised", function()
    local other = chat.spawn(function() chat.sleep(0.01) return "goes on" end)
    local task = chat.spawn(function() error "boom" end)
    local value, message, err = task:wait()
    assert.is_nil(value)
    assert.equal("tool", err.kind)
    assert.equal("task_error", err.code)
    assert.equal(message, tostring(err))
    assert.matches("task_spec.lua:%d+", message)
    assert.matches("boom", message)
    assert.equal("goes on", (other:wait()))
  end)

  it("that raises an err object gives that object", function()
    local server = testing.server(function(_, response) response:json(401, { error = { message = "no" } }) end)
    local task = chat.spawn(function()
      for _ in play.session(server):stream "x" do end -- luacheck: ignore
    end)
    local _, _, err = task:wait()
    assert.equal("authentication", err.kind)
    assert.is_nil(err.message:find("task #", 1, true))
    server:close()
  end)

  it("can be waited for by several tasks and by main", function()
    local slow = chat.spawn(function() chat.sleep(0.02) return 7 end)
    local heard = {}
    for i = 1, 3 do chat.spawn(function() heard[i] = slow:wait() end) end
    assert.equal(7, (slow:wait()))
    chat.run()
    assert.same({ 7, 7, 7 }, heard)
  end)

  it("cannot wait for itself", function()
    local task
    task = chat.spawn(function() return task:wait() end)
    local _, message = task:wait()
    assert.matches("cannot wait for itself", message)
  end)

  it("must not yield by itself", function()
    local _, message = chat.spawn(function() coroutine.yield(1) end):wait()
    assert.matches("must not yield", message)
  end)

  it("lets a coroutine inside it block, by identity", function()
    local server = testing.server(function(request, response)
      response:pause(0.03)
      play.good(request, response)
    end)
    local other, finished = 0, false
    chat.spawn(function()
      while not finished do
        chat.sleep(0.002)
        other = other + 1
      end
    end)
    local meanwhile
    local task = chat.spawn(function()
      local inner = coroutine.wrap(function()
        local before = other
        local text = play.session(server):send("x").text
        meanwhile = other - before
        coroutine.yield(text)
      end)
      local text = inner()
      finished = true
      return text
    end)
    assert.equal("good", (task:wait()))
    assert.equal(0, meanwhile)
    chat.run()
    server:close()
  end)

  it("has a clear error for a coroutine inside it that waits for another task", function()
    local slow = chat.spawn(function() chat.sleep(0.01) return 1 end)
    local task = chat.spawn(function() return coroutine.wrap(function() return slow:wait() end)() end)
    local _, message = task:wait()
    assert.matches("cannot wait for tasks", message)
    assert.equal(1, (slow:wait()))
  end)
end)

describe("cancel of a task", function()
  before_each(leaks.remember)
  after_each(function()
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  it("that never began: it never begins", function()
    local begun = false
    local task = chat.spawn(function() begun = true end)
    task:cancel()
    assert.is_true(task:done())
    canceled(task:wait())
    chat.step()
    assert.is_false(begun)
  end)

  it("in sleep ends the sleep, within 100 ms", function()
    local out
    local task = chat.spawn(function() out = { chat.sleep(60) } return "tidied" end)
    chat.step()
    local start = core.now()
    task:cancel()
    assert.equal("tidied", (task:wait()))
    assert.is_true(core.now() - start < 0.1)
    assert.equal("canceled", out[3].kind)
  end)

  it("in send and in a stream ends the request and closes the socket", function()
    local server = endless()
    local session = play.session(server)
    for _, way in ipairs { "send", "stream" } do
      local out, got
      local task = chat.spawn(function()
        if way == "send" then
          out = { session:send "x" }
        else
          local stream = session:stream "x"
          got = stream:next()
          out = { stream:next() }
        end
      end)
      local requests = #server.requests
      while #server.requests == requests or (way == "stream" and not got) do
        chat.wait(0.05)
        chat.step()
      end
      local start = core.now()
      task:cancel()
      task:wait()
      assert.is_true(core.now() - start < 0.1)
      assert.equal("canceled", out[3].kind)
      assert.same({}, session:messages())
      local stop = core.now() + 2
      while server.open > 0 and core.now() < stop do
        for _, request in ipairs(server.requests) do
          if request.peer:closed() then request.peer:close() server:forget { peer = request.peer } end
        end
        chat.wait(0.01)
        chat.step()
      end
      assert.is_true(core.now() < stop, "the server never saw the end")
    end
    server:close()
  end)

  it("that waits for another task leaves that one alone", function()
    local other = chat.spawn(function() chat.sleep(0.02) return "whole" end)
    local out
    local task = chat.spawn(function() out = { other:wait() } end)
    chat.step()
    task:cancel()
    task:wait()
    assert.equal("canceled", out[3].kind)
    assert.equal("whole", (other:wait()))
  end)

  it("that has finished changes nothing", function()
    local task = chat.spawn(function() return 1 end)
    task:wait()
    task:cancel()
    assert.equal(1, (task:wait()))
  end)

  it("by itself is told at its next wait", function()
    local task, out
    task = chat.spawn(function()
      task:cancel()
      out = { chat.sleep(60) }
    end)
    task:wait()
    assert.equal("canceled", out[3].kind)
  end)

  -- each way to wait for a second time, after a first that was told
  local server, other
  for name, again in pairs {
    sleep = function() chat.sleep(60) end,
    send = function() play.session(server):send "x" end,
    stream = function() play.session(server):stream("x"):next() end,
    result = function() play.session(server):stream("x"):result() end,
    ["wait for a task"] = function() other:wait() end,
  } do
    it("raises at a second wait: " .. name, function()
      server = endless()
      other = chat.spawn(function() chat.sleep(0.05) end)
      local rounds = 0
      local task = chat.spawn(function()
        chat.sleep(60)
        for _ = 1, 10 do
          rounds = rounds + 1
          again()
        end
      end)
      chat.step()
      task:cancel()
      local _, _, err = task:wait()
      assert.equal("canceled", err and err.kind)
      assert.equal(1, rounds)
      other:wait()
      server:close()
      server = nil
    end)
  end

  it("leaves nothing counted behind: a deadlock is still seen", function()
    local task = chat.spawn(function()
      chat.sleep(60)
      chat.sleep(60)
    end)
    chat.step()
    task:cancel()
    task:wait()
    local a, b
    a = chat.spawn(function() return b:wait() end)
    b = chat.spawn(function() return a:wait() end)
    local ok, message, err = chat.run()
    assert.is_nil(ok)
    assert.equal("deadlock", err.code)
    assert.matches("task_spec.lua", message)
    a:cancel()
    assert.is_true((chat.run()))
  end)
end)
