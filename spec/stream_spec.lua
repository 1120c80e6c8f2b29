--- stream: views of one queue, the callback form, and all the ways it can end.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

-- The traces of LuaJIT hold closures that they were made of.
local function check_leaks()
  local jit = rawget(_G, "jit")
  if jit then jit.flush() end
  leaks.check()
end

local function three(_, response)
  response:head(200):write(play.text "a" .. play.text "b" .. play.text "c" .. play.END):finish()
end

local function endless(_, response) response:event(testing.chunk "a") end

local function pump(done)
  local stop = core.now() + 5
  while not done() do
    assert.is_true(core.now() < stop, "it took too long")
    chat.wait(0.02)
    chat.step()
  end
end

-- Exchanges that live, once the collector has been.
local function exchanges()
  for _ = 1, 4 do collectgarbage() end
  return core.live()["oaichat.exchange"] or 0
end

describe("a stream", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    assert.equal(0, chat.pending())
    check_leaks()
  end)

  it("is one queue: the first pull chooses the view, another raises", function()
    server = testing.server(three)
    local session = play.session(server)
    for _, first in ipairs { "next", "events", "chunks" } do
      for _, second in ipairs { "next", "events", "chunks" } do
        local stream = session:stream "x"
        stream[first](stream)
        local ok, message = pcall(stream[second], stream)
        assert.equal(first == second, ok)
        if not ok then assert.matches("is read by " .. first, message) end
        stream:cancel()
      end
    end
  end)

  it("hands out what waited through a step as fewer, longer pieces, and nothing else", function()
    server = testing.server(function(_, response)
      local body = play.text("a"):rep(50) .. play.chunk '{"reasoning_content":"r"}' .. play.text("b"):rep(50)
      response:head(200):write(body .. play.END, 700):finish()
    end)
    local session = play.session(server)
    local stream = session:stream "x"
    local first = stream:next()
    for _ = 1, 40 do chat.step() end -- the consumer sleeps, the bytes come
    local pieces = { first }
    for text in stream do pieces[#pieces + 1] = text end
    assert.equal("a", first)
    assert.equal(("a"):rep(50) .. ("b"):rep(50), table.concat(pieces))
    assert.is_true(#pieces < 30, #pieces .. " pieces")
    for _, piece in ipairs(pieces) do assert.is_nil(piece:find "ab") end
    assert.equal("r", stream:result().reasoning)
  end)

  it("hands out each delta by itself to a consumer that keeps up", function()
    local body = ""
    for i = 1, 40 do body = body .. play.text(tostring(i)) end
    server = testing.server(function(_, response) response:head(200):write(body .. play.END):finish() end)
    local count = 0
    for text in play.session(server):stream "x" do
      count = count + 1
      assert.equal(tostring(count), text)
    end
    assert.equal(40, count)
  end)

  it("ends at break: by the second value everywhere, by __close in 5.4, else by the collector", function()
    server = testing.server(endless)
    local session = play.session(server)
    for _, stream in session:stream "x" do -- luacheck: ignore 512
      stream:cancel()
      assert.is_false(stream:active())
      break
    end
    if _VERSION >= "Lua 5.4" then
      local kept
      for _, stream in session:stream "x" do -- luacheck: ignore 512
        kept = stream
        break
      end
      assert.is_false(kept:active())
    end
    play.session(server):stream("x"):next()
    assert.equal(0, exchanges()) -- nobody holds it
  end)

  it("that is unread is canceled by the next turn", function()
    server = testing.server(function(request, response)
      if request.number == 1 then endless(request, response) else play.good(request, response) end
    end)
    local session = play.session(server)
    local first = session:stream "x"
    assert.equal("a", first:next())
    assert.equal("good", assert(session:send "y").text)
    local _, _, err = first:result()
    assert.equal("canceled", err.kind)
    assert.equal("a", err.partial.text)
    assert.equal(2, #session:messages())
  end)

  it("that a task waits on makes its session busy; a second reader is refused", function()
    server = testing.server(endless)
    local session = play.session(server)
    local stream = session:stream "x"
    local task = chat.spawn(function()
      while stream:next() do end -- luacheck: ignore
      return select(2, stream:next()), true
    end)
    pump(function() return stream._waiting and #server.requests == 1 end)
    assert.error_matches(function() session:send "y" end, "session is busy")
    assert.error_matches(function() stream:next() end, "read elsewhere")
    stream:cancel()
    task:wait()
    assert.is_true(task:done())
  end)

  it("is not busy any more when the wait was refused", function()
    local wait = require "oaichat.wait"
    server = testing.server(play.good)
    local session = play.session(server)
    local undo = wait.forbid "spec"
    assert.error_matches(function() session:stream("x"):next() end, "would block the host")
    undo()
    assert.equal("good", assert(session:send "y").text)
  end)
end)

describe("the callback form", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    assert.equal(0, chat.pending())
    check_leaks()
  end)

  -- Notes all that is called, in order; fails after on_done.
  local function start(handler, extra, options, on_event, on_done)
    server = testing.server(handler)
    local log = {}
    options = options or {}
    options.log = function(level, event) if level == "error" then log[#log + 1] = event end end
    local session = play.session(server, options)
    local out = { events = {}, done = 0, log = log, session = session, after = 0 }
    local opts = extra or {}
    opts.on_event = function(event)
      if out.done > 0 then out.after = out.after + 1 end
      out.events[#out.events + 1] = event
      if on_event then on_event(out, event) end
    end
    opts.on_done = function(reply, message, err)
      out.done = out.done + 1
      out.reply, out.message, out.err = reply, message, err
      if on_done then on_done(out) end
    end
    out.stream = session:stream("x", opts)
    assert.equal(0, out.done)
    assert.equal(0, #out.events)
    return out
  end

  local function finish(out)
    pump(function() return out.done > 0 end)
    for _ = 1, 5 do
      chat.wait(0.005)
      chat.step()
    end
    assert.equal(1, out.done)
    assert.equal(0, out.after)
    return out
  end

  it("tells every event and then the reply", function()
    local out = finish(start(three))
    assert.equal("abc", out.reply.text)
    assert.is_nil(out.err)
    assert.equal("text", out.events[1].type)
    assert.equal("finish", out.events[#out.events].type)
    assert.equal(2, #out.session:messages())
  end)

  it("tells a failure before the start from step", function()
    local out = finish(start(three, { params = { n = 0 / 0 } }))
    assert.is_nil(out.reply)
    assert.equal(out.message, out.err.message)
    assert.equal(0, #server.requests)
  end)

  it("tells a failure in the middle, with what came", function()
    local out = finish(start(function(_, response) response:event(testing.chunk "a"):close() end))
    assert.is_nil(out.reply)
    assert.equal("a", out.err.partial.text)
    assert.same({}, out.session:messages())
  end)

  it("tells inside cancel, from on_event and from outside; nothing after it", function()
    local out = finish(start(three, nil, nil, function(out)
      out.stream:cancel()
      assert.equal(1, out.done)
    end))
    assert.equal(1, #out.events)
    assert.equal("canceled", out.err.kind)
    server:close()
    out = start(endless)
    pump(function() return #out.events > 0 end)
    out.stream:cancel()
    assert.equal(1, out.done)
    out.stream:cancel()
    finish(out)
    assert.equal("canceled", out.err.kind)
    assert.equal("a", out.err.partial.text)
    server:close()
    out = start(endless) -- before anything came
    out.stream:cancel()
    finish(out)
  end)

  it("row 104: logs an error in on_event, cancels and still tells the end", function()
    local out = finish(start(three, nil, nil, function() error "mine" end))
    assert.same({ "callback" }, out.log)
    assert.equal(1, #out.events)
    assert.equal("canceled", out.err.kind)
  end)

  it("logs an error in on_done", function()
    local out = finish(start(three, nil, nil, nil, function() error "mine" end))
    assert.same({ "callback" }, out.log)
  end)

  for name, handler in pairs {
    success = three,
    failure = function(_, response) response:event(testing.chunk "a"):close() end,
  } do
    it("tells the end once when result is called meanwhile: " .. name, function()
      local out = start(handler)
      out.stream:result()
      finish(out)
    end)
  end

  it("row 104: may start another request in a callback, callbacks or not", function()
    local second
    local out = start(three, nil, nil, nil, function(out)
      out.session:stream("again", { on_done = function(reply) second = reply.text end })
      out.blocking = play.session(server):send "z"
    end)
    server.handler = function(request, response)
      if request:json().stream then three(request, response) else play.good(request, response) end
    end
    finish(out)
    pump(function() return second end)
    assert.equal("abc", second)
    assert.equal("good", out.blocking.text)
  end)

  it("may start the session's next turn in on_event: that cancels this one", function()
    local second
    local out = finish(start(three, nil, nil, function(out)
      out.session:stream("again", { on_done = function(reply) second = reply.text end })
      assert.equal(1, out.done)
    end))
    assert.equal("canceled", out.err.kind)
    pump(function() return second end)
    assert.equal(2, #out.session:messages())
  end)

  it("row 104: has a clear error for a callback that waits for tasks", function()
    local why
    finish(start(three, nil, nil, nil, function() why = select(2, pcall(chat.run)) end))
    assert.matches("cannot wait for tasks", why)
  end)

  it("row 71: 100,000 tiny events in one read come all, in order", function()
    local body = {}
    for i = 1, 100000 do body[i] = play.text(i .. " ") end
    local want = {}
    for i = 1, 100000 do want[i] = i .. " " end
    local heard = {}
    local out = finish(start(function(_, response)
      response:head(200):write(table.concat(body) .. play.END):finish()
    end, nil, nil, function(_, event) heard[#heard + 1] = event.text end))
    assert.is_nil(out.err)
    assert.is_true(table.concat(heard) == table.concat(want))
  end)

  it("row 71: a cancel in the first callback stops the rest", function()
    local out = finish(start(function(_, response)
      response:head(200):write(play.text("x"):rep(100000) .. play.END):finish()
    end, nil, nil, function(out) out.stream:cancel() end))
    assert.equal(1, #out.events)
  end)

  it("row 25: a callback that blocks causes no idle timeout and no loss", function()
    local out = finish(start(function(_, response)
      response:event(testing.chunk "a"):pause(0.01):event(testing.chunk "b"):pause(0.01)
      response:event(testing.chunk "c"):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end, nil, { timeouts = { first_byte = 0.2, first_content = 0.2, content_idle = 0.2 } }, function()
      local stop = core.now() + 0.35
      repeat until core.now() > stop
    end))
    assert.is_nil(out.err and out.err.message)
    assert.equal("abc", out.reply.text)
  end)
end)
