--- Rows 101-105: what the process keeps, the collector, errors in callbacks, signals
-- and descriptors. (A malloc that fails is tried by the C specs.)

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

local PRELUDE = [[
local chat, core, testing = require "oaichat", require "oaichat.core", require "oaichat.testing"
local server = testing.server(function(_, r) r:event(testing.chunk "a") end)
local session = chat.new { base_url = server.url, model = "m", api_key = false }
]]

-- Runs a script in an interpreter of its own, after a shell command; gives what it
-- printed, with its exit status behind.
local function child(script, before)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath), PRELUDE, script)
  file:close()
  local handle = io.popen(("{ %s timeout 20 %s %s; echo =$?; } 2>&1"):format(before or "", interpreter, name))
  local out = handle:read "*a"
  handle:close()
  os.remove(name)
  return out
end

-- Exchanges that live, once the collector has been.
local function exchanges()
  for _ = 1, 4 do collectgarbage() end
  return core.live()["oaichat.exchange"] or 0
end

describe("row 102: 10,000 streams, half of them canceled,", function()
  -- in an interpreter of its own: this one's heap grows with the runner's reports
  it("leave memory and descriptors flat", function()
    local out = child [[
      local function look()
        collectgarbage()
        collectgarbage()
        local kb = io.open "/proc/self/status":read "*a":match "VmRSS:%s+(%d+)"
        local fds = io.popen "ls /proc/$PPID/fd | wc -l":read "*a"
        return tonumber(kb), tonumber(fds)
      end
      server:close()
      server = testing.server(function(_, r)
        r:event(testing.chunk "a"):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
      end)
      session = chat.new { base_url = server.url, model = "m", api_key = false }
      local function some(n)
        for i = 1, n do
          local stream = session:stream "x"
          if i % 4 == 0 then stream:next() end
          if i % 2 == 0 then stream:cancel() else assert(stream:result()) end
          session:reset()
          server.requests = {}
        end
      end
      some(1000)
      local kb, fds = look()
      some(core.engine():fd() and 9000 or 900) -- where there is no fd, servers tick
      local kb_after, fds_after = look()
      print(kb_after - kb, fds_after - fds)]]
    local kb, fds = out:match "^(-?%d+)%s+(-?%d+)\n=0"
    assert.is_truthy(kb, out)
    assert.is_true(tonumber(kb) < 1000, kb .. " kB more")
    assert.is_true(tonumber(fds) <= 4, fds .. " descriptors more")
  end)
end)

describe("row 103:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("the collector ends an unfinished stream", function()
    local server = testing.server(function(_, response) response:event(testing.chunk "a") end)
    play.session(server):stream("x"):next()
    assert.equal(0, exchanges())
    server:close()
  end)

  it("an engine that is closed under running streams frees all, and calls nothing back", function()
    assert.matches("^closed 0\n=0", child [[
      local engine = chat.engine()
      local own = chat.new { base_url = server.url, model = "m", api_key = false, engine = engine }
      local told = 0
      own:stream("x", { on_event = function() told = told + 1 end, on_done = function() told = told + 1 end })
      engine.core:close()
      for _ = 1, 5 do chat.wait(0.01) chat.step() end
      print("closed " .. told) io.stdout:flush()]])
  end)

  it("lua_close inside a task is clean", function()
    local close = _VERSION == "Lua 5.1" and not rawget(_G, "jit") and "os.exit(3)" or "os.exit(3, true)"
    assert.equal("=3\n", child([[
      chat.spawn(function()
        local stream = session:stream "x"
        stream:next()
        session:fork():stream("y", { on_event = print, on_done = print })
        ]] .. close .. [[ end)
      chat.run()]]))
  end)

  it("the end of the program with open streams is clean", function()
    assert.equal("=0\n", child [[kept = session:stream "x" kept:next() chat.spawn(chat.sleep, 9) chat.step()]])
  end)
end)

describe("row 104:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("an error in the loop's body leaves the session usable", function()
    local server = testing.server(play.good)
    local session = play.session(server)
    assert.error_matches(function()
      for _ in session:stream "x" do error "mine" end
    end, "mine")
    assert.equal("good", assert(session:send "y").text)
    server:close()
  end)

  it("a generator around a stream works across a nested coroutine, in a task and outside", function()
    local server = testing.server(play.good)
    local function read()
      local out = {}
      local generator = coroutine.wrap(function()
        local stream = play.session(server):stream "x"
        for text in stream.next, stream do coroutine.yield(text) end
      end)
      for text in generator do out[#out + 1] = text end
      return table.concat(out)
    end
    assert.equal("good", read())
    assert.equal("good", (chat.spawn(read):wait()))
    server:close()
  end)

  it("an error in on_event is logged with its text; the stream ends, the session goes on", function()
    local server = testing.server(play.good)
    local said, err = {}, nil
    local session = play.session(server, { log = function(level, _, fields)
      if level ~= "debug" then said[#said + 1] = tostring(fields.error) end
    end })
    session:stream("x", { on_event = function() error "mine" end, on_done = function(_, _, why) err = why end })
    while chat.pending() > 0 do
      chat.wait(0.01)
      chat.step()
    end
    assert.equal("canceled", err.kind)
    assert.equal(1, #said)
    assert.matches("mine", said[1])
    assert.equal("good", assert(session:send "y").text)
    server:close()
  end)

  it("a yield that would cross C is a clear error, and the session goes on", function()
    local server = testing.server(play.good)
    local session = play.session(server)
    local function within(fn)
      return chat.spawn(function()
        return (("x"):gsub("x", function() return fn() and "y" end))
      end):wait()
    end
    local ways = {
      function() return session:send "x" end,
      function() return session:stream("x"):result() end,
      function() return chat.sleep(0.01) end,
    }
    for _, way in ipairs(ways) do
      local none, message = within(way)
      assert.is_nil(none)
      assert.matches("attempt to yield across", message)
      assert.equal("good", assert(session:send "y").text)
    end
    chat.spawn(chat.sleep, 0.05):wait() -- the timer that nobody waits for any more is over
    server:close()
  end)
end)

describe("row 105:", function()
  it("a fork in the middle of a stream does it no harm", function()
    local server = testing.server(function(_, response)
      response:event(testing.chunk "a"):pause(0.02):event(testing.chunk "b")
      response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end)
    local stream = play.session(server):stream "x"
    assert.equal("a", stream:next())
    local handle = io.popen "echo hello"
    assert.equal("hello\n", handle:read "*a")
    handle:close()
    assert.equal("ab", assert(stream:result()).text)
    server:close()
  end)

  it("a peer that resets while we write raises no SIGPIPE", function()
    assert.matches("^network\n=0", child [[
      local rude = testing.server { on_data = function(peer) peer:reset() end }
      local s = chat.new { base_url = rude.url, model = "m", api_key = false }
      local _, _, err = s:send(("x"):rep(20000000))
      print(err.kind)]])
  end)

  it("descriptors above 1024 work", function()
    assert.matches("^a true\n=0", child([[
      local held = {}
      for i = 1, 1100 do held[i] = assert(io.open "/dev/null") end
      local engine = chat.engine()
      local late = testing.server(function(_, r) r:event(testing.chunk "a") end)
      local s = chat.new { base_url = late.url, model = "m", api_key = false, engine = engine }
      print(s:stream("x"):next(), (engine:fd() or 1025) > 1024)]], "ulimit -n 4096;"):gsub("\t", " "))
  end)

  it("no descriptors left is network/connect, and it goes on when there are some", function()
    assert.matches("^network connect\na\n=0", child([[
      chat.step()
      local held = {}
      collectgarbage() -- or it frees one in the middle
      collectgarbage()
      repeat
        local file = io.open "/dev/null"
        held[#held + 1] = file
      until #held > 200 or not file
      local _, _, err = session:send "x"
      print(err.kind .. " " .. tostring(err.phase or err.code))
      for _, file in ipairs(held) do file:close() end
      collectgarbage()
      print((session:stream("x"):next()))]], "ulimit -n 64;"))
  end)
end)
