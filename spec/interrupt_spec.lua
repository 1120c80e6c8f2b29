--- Rows 104 and 105: what cuts in from outside: a signal while something waits, an
-- error in the middle of a step, and a block that is left (Lua 5.4's <close>).

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

-- Signals this very process from another one, a little later, while the shell's
-- caller sleeps.
local PRELUDE = [[
local chat, core, testing = require "oaichat", require "oaichat.core", require "oaichat.testing"
local function later(command) os.execute("(sleep 0.1; " .. command .. ") >/dev/null 2>&1 &") end
local server = testing.server(function(_, r)
  r:event(testing.chunk "a"):pause(0.5):event(testing.chunk "b")
  r:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
end)
local session = chat.new { base_url = server.url, model = "m", api_key = false }
]]

local function child(script)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath), PRELUDE, script)
  file:close()
  local handle = io.popen(("{ timeout 20 %s %s; echo =$?; } 2>&1"):format(interpreter, name))
  local out = handle:read "*a"
  handle:close()
  os.remove(name)
  return out
end

-- Stopped and continued: no handler, and yet the sleep is cut short.
local function on_linux()
  local pipe = io.popen "uname -s"
  local name = pipe:read "*l"
  pipe:close()
  return name == "Linux"
end

describe("row 105: a signal", function()
  it("ends chat.wait, and all goes on", function()
    if not on_linux() then return pending "Linux alone cuts a sleep short for SIGCONT" end
    assert.equal("true\na\nab\n=0\n", child [[
      local stream = session:stream "x"
      local first = stream:next()
      server:close() -- or its fd ends the wait
      server = testing.server(function(_, r) r:json(200, testing.completion "ab") end)
      session = chat.new { base_url = server.url, model = "m", api_key = false }
      later "kill -STOP $PPID; kill -CONT $PPID"
      local start = core.now()
      chat.wait(5)
      print(core.now() - start < 4)
      print(first)
      print(session:send "y")]])
  end)

  it("that comes again and again does no harm to a send and to a stream that block", function()
    assert.equal("ab\nab\n=0\n", child [[
      local often = "for i in 1 2 3 4 5 6 7 8 9; do kill -STOP $PPID; kill -CONT $PPID; sleep 0.02; done"
      later(often)
      local text = ""
      for piece in session:stream "x" do text = text .. piece end
      print(text)
      session:reset()
      later(often)
      print(assert(session:stream("x"):result()))]])
  end)

  it("that Lua makes an error of (Ctrl-C) can be caught; the stream under it goes on", function()
    assert.equal("false true true\nab\nab\n=0\n", (child [[
      local stream = session:stream "x"
      local text = stream:next()
      later "kill -INT $PPID"
      local start = core.now()
      local ok, why = pcall(function() while core.now() < start + 9 do chat.wait(9) end end)
      print(ok, tostring(why):find "interrupted" ~= nil, core.now() - start < 4)
      for piece in stream do text = text .. piece end
      print(text)
      session:reset()
      print(session:stream("x"):result())]]:gsub("\t", " ")))
  end)
end)

describe("an error in the middle of a step", function()
  it("leaves the scheduler in order: tasks get their turns, no budget stays", function()
    local server = testing.server(play.good)
    local engine = chat.engine()
    local session = assert(chat.new { base_url = server.url, engine = engine })
    local timer = engine.core:timer(0)
    local ran = 0
    for _ = 1, 3 do engine:spawn(function() ran = ran + 1 end) end
    engine:on_ready(timer, function() error("mine", 0) end)
    local ok, why
    for _ = 1, 5 do
      ok, why = pcall(engine.step, engine, 0.000001)
      if not ok then break end
      engine:wait(0.01)
    end
    timer:close()
    assert.same({ false, "mine" }, { ok, why })
    assert.is_false(engine.core:spent())
    assert.equal("new", (engine:spawn(function() return "new" end):wait()))
    assert.equal(3, ran)
    assert.equal("good", assert(session:send "x").text)
    server:close()
  end)
end)

describe("a cancel in a callback, the budget spent,", function()
  it("tells on_done at once", function()
    local server = testing.server(function(_, response)
      for _ = 1, 3 do response:event(testing.chunk "a") end
    end)
    local kind, stream
    stream = play.session(server):stream("x", {
      on_event = function() stream:cancel() end, on_done = function(_, _, err) kind = err.kind end,
    })
    local stop = core.now() + 2
    while not kind and core.now() < stop do
      chat.wait(0.01)
      chat.step(1e-9)
    end
    assert.equal("canceled", kind)
    server:close()
  end)
end)

describe("row 104: a block that is left", function()
  local server, peer, session
  before_each(function()
    leaks.remember()
    server = testing.server(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      peer = request.peer
      response:event(testing.chunk "a")
    end)
    session = play.session(server)
  end)
  after_each(function()
    server:close()
    server, peer, session = nil, nil, nil
    leaks.check()
  end)

  -- Held by others than the block, so that not the collector ends it.
  local kept
  local function keep(stream)
    kept = stream
    return stream
  end

  -- text: Lua 5.4's, which the others do not parse
  local function left(text, message)
    local run = assert(load("local session, keep = ... " .. text))
    local ok, why = pcall(run, session, keep)
    assert.equal(message == nil, ok)
    if message then assert.matches(message, why) end
    assert.is_false(kept:active())
    assert.equal("canceled", select(3, kept:result()).kind)
    local stop = core.now() + 5
    while not peer:closed() and peer:read() ~= nil do
      assert.is_true(core.now() < stop, "the server never saw the end")
      chat.wait(0.01)
      chat.step()
    end
    assert.equal("good", assert(session:send "y").text)
    kept = nil
  end

  local cases = {
    { "by break", "for _, s in session:stream 'x' do keep(s) break end" },
    { "by return", "for _, s in session:stream 'x' do keep(s) do return end end" },
    { "by goto", "for _, s in session:stream 'x' do keep(s) goto out end ::out::" },
    { "by an error", "for _, s in session:stream 'x' do keep(s) error 'mine' end", "mine" },
    { "by the end of a <close> variable", "do local s <close> = keep(session:stream 'x') s:next() end" },
    { "by an error under a <close> variable",
      "local s <close> = keep(session:stream 'x') s:next() error 'mine'", "mine" },
    { "by a coroutine that is closed",
      [[local thread = coroutine.create(function()
          for _, s in session:stream 'x' do keep(s) coroutine.yield() end
        end)
        coroutine.resume(thread)
        assert(coroutine.close(thread))]] },
  }
  for _, case in ipairs(cases) do
    it("closes the socket at once: " .. case[1], function()
      if _VERSION < "Lua 5.4" then return pending "Lua 5.4 has it" end
      left(case[2], case[3])
    end)
  end
end)
