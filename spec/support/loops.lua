--- loops: what every adapter of loop/ promises, told once. A host is a table:
--   attach()     puts the default engine into its loop, gives the handle
--   go(fn)       starts fn where it may wait
--   turn()       turns the host's loop about once
--   after(s, fn) calls fn from the host's loop, s seconds later
--   blocks       what a wait outside of go does: "raises" or "blocks"

local assert = require "luassert"
local busted = require "busted"
local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local peer = require "spec.support.ws_peer"
local testing = require "oaichat.testing"
local websocket = require "oaichat.websocket"

local M = {}

local TURNS_FOR = 5 -- seconds

local function answer(request, response)
  if not request:json().stream then return response:json(200, testing.completion "whole") end
  if request:json().messages[1].content == "endless" then return response:event(testing.chunk "a") end
  response:event(testing.chunk "a"):pause(0.02):event(testing.chunk "b"):pause(0.02)
  response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
end

--- Turns the loop until done() says so.
function M.turn_until(host, done)
  local stop = core.now() + TURNS_FOR
  while not done() do
    assert.is_true(core.now() < stop, "it took too long")
    host.turn()
  end
end

--- The cases; gives functions that make a session and a busted context's world.
function M.describe(host)
  local it, server, handle = busted.it, nil, nil
  local world = {}

  busted.before_each(function()
    leaks.remember()
    server = testing.server(answer)
    world.server = server
    handle = host.attach()
    world.handle = handle
  end)
  busted.after_each(function()
    handle:detach()
    server:close()
    for _ = 1, 3 do host.turn() end -- the host lets go of what is over
    handle, server, world.server, world.handle = nil, nil, nil, nil
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  function world.session()
    return assert(chat.new { base_url = server.url })
  end
  local session = world.session

  it("runs two tasks at once", function()
    local order, done = {}, 0
    for i = 1, 2 do
      host.go(function()
        local stream = session():stream "x"
        while true do
          local text = stream:next()
          if not text then break end
          order[#order + 1] = text .. i
        end
        assert.equal("ab", stream:result().text)
        done = done + 1
      end)
    end
    M.turn_until(host, function() return done == 2 end)
    table.sort(order, function(a, b) return a < b end)
    assert.same({ "a1", "a2", "b1", "b2" }, order)
  end)

  it("lets a task send, sleep and stream again and again", function()
    local texts
    host.go(function()
      local one, found = session(), {}
      for i = 1, 5 do
        found[i] = assert(one:send "x").text
        chat.sleep(0.001)
        one:reset()
      end
      texts = table.concat(found, " ")
    end)
    M.turn_until(host, function() return texts end)
    assert.equal("whole whole whole whole whole", texts)
  end)

  it("carries a WebSocket connection, whose wait can be canceled", function()
    local url = peer.play(function(key) return peer.yes(key) .. peer.frame(1, "hello") end, function(one, bytes)
      one:write(#bytes == 8 and peer.frame(1, "ab") or peer.frame(8, "\3\232"), 60)
    end)
    local heard = {}
    host.go(function()
      local socket = assert(websocket.connect { url = url, close_timeout = 0.02 })
      heard[1] = socket:receive()
      local reader = chat.spawn(function() return socket:receive() end)
      chat.sleep(0.01)
      reader:cancel()
      reader:wait()
      assert(socket:send_text "ab")
      heard[2] = socket:receive()
      heard[3] = socket:close()
    end)
    M.turn_until(host, function() return heard[3] end)
    peer.stop()
    assert.same({ "hello", "ab", true }, heard)
  end)

  it("tells callbacks, without a task", function()
    local told, text, replied = 0, "", nil
    session():stream("x", {
      on_event = function(event) if event.type == "text" then text = text .. event.text end end,
      on_done = function(reply)
        told = told + 1
        replied = reply
      end,
    })
    M.turn_until(host, function() return told > 0 end)
    assert.same({ 1, "ab", "ab" }, { told, text, replied.text })
  end)

  it("survives an error in a callback: it is logged, and the stream canceled", function()
    local logged, kind
    local one = assert(chat.new {
      base_url = server.url, log = function(_, _, fields) logged = logged or fields.error end,
    })
    one:stream("x", {
      on_event = function() error("mine", 0) end,
      on_done = function(_, _, err) kind = err.kind end,
    })
    M.turn_until(host, function() return kind end)
    assert.same({ "canceled", "mine" }, { kind, logged })
  end)

  it("cancels from an event of the host, a reader and a callback's stream", function()
    local read, told
    local first = session():stream "endless"
    host.go(function()
      local text, err
      repeat
        text, _, err = first:next() -- luacheck: ignore
      until not text
      read = err.kind
    end)
    local second = session():stream("endless", { on_done = function(_, _, err) told = err.kind end })
    local canceled
    host.after(0.05, function()
      first:cancel()
      second:cancel()
      assert.equal("canceled", told) -- inside cancel
      canceled = true
    end)
    M.turn_until(host, function() return canceled and read end)
    assert.same({ "canceled", "canceled" }, { read, told })
    M.turn_until(host, function() return chat.pending() == 0 end)
  end)

  it("says what a wait outside of its tasks does", function()
    if host.blocks == "blocks" then
      assert.equal("whole", assert(session():send "x").text)
      return
    end
    assert.error_matches(function() session():send "x" end, "would block the host %(" .. host.name)
    assert.error_matches(function() session():stream("x"):next() end, "would block the host")
    assert.error_matches(function() chat.sleep(1) end, "would block the host")
  end)

  it("is refused twice for one engine", function()
    assert.error_matches(host.attach, "attach: this engine is in a loop already")
  end)

  it("goes on where a loop of ours takes over after detach, and back again", function()
    local text = ""
    local stream = session():stream("x", {
      on_event = function(event) if event.type == "text" then text = text .. event.text end end,
    })
    M.turn_until(host, function() return text == "a" end)
    handle:detach()
    handle:detach()
    assert.is_true(chat.run())
    assert.equal("ab", stream:result().text)
    assert.equal("whole", assert(session():send "y").text) -- blocks, as everywhere
    handle = host.attach()
    local again
    host.go(function() again = assert(session():send "z").text end)
    M.turn_until(host, function() return again end)
    assert.equal("whole", again)
  end)

  it("has an idle loop: nothing pending, nothing turns", function()
    local steps, engine = 0, handle.engine
    local step = engine.step
    function engine.step(...)
      steps = steps + 1
      return step(...)
    end
    local over
    host.after(0.1, function() over = true end)
    M.turn_until(host, function() return over end)
    engine.step = nil
    -- without a descriptor a loop has to tick
    assert.is_true(steps < (chat.fd() and 10 or 40), steps .. " steps")
  end)

  return world
end

return M
