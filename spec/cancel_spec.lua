--- Row 26: cancel from anywhere returns at once; the server sees the end; the
-- session goes on.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

describe("row 26: cancel", function()
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
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  local function timed(fn)
    local start = core.now()
    fn()
    assert.is_true(core.now() - start < 0.1, "it took too long")
  end

  local function turn_until(done)
    local stop = core.now() + 5
    while not done() do
      assert.is_true(core.now() < stop, "it took too long")
      chat.wait(0.01)
      chat.step()
    end
  end

  -- What every way has to end with.
  local function hold(err)
    assert.equal("canceled", err.kind)
    assert.equal("a", err.partial.text)
    assert.equal("x", err.input[1].content)
    assert.same({}, session:messages())
    turn_until(function() return peer:closed() or peer:read() == nil end)
    assert.equal("good", assert(session:send "again").text)
    assert.equal(2, #session:messages())
  end

  it("from the reader itself", function()
    local stream = session:stream "x"
    assert.equal("a", stream:next())
    timed(function() stream:cancel() end)
    hold(select(3, stream:result()))
  end)

  it("from a callback", function()
    local err
    local stream
    stream = session:stream("x", {
      on_event = function() timed(function() stream:cancel() end) end,
      on_done = function(_, _, why) err = why end,
    })
    turn_until(function() return err end)
    hold(err)
  end)

  -- The reader is a task; somebody else cancels its stream.
  local function read_in_task(from)
    local stream, err, canceled_at, ended_at = session:stream "x", nil, nil, nil
    local got
    chat.spawn(function()
      got = stream:next()
      err = select(3, stream:next())
      ended_at = core.now()
    end)
    turn_until(function() return got end)
    from(function()
      canceled_at = core.now()
      stream:cancel()
    end)
    assert.is_true((chat.run()))
    assert.is_true(ended_at - canceled_at < 0.1)
    hold(err)
  end

  it("from another task, while the reader waits", function()
    read_in_task(function(cancel) chat.spawn(cancel) end)
  end)

  it("from another task's timer", function()
    read_in_task(function(cancel)
      chat.spawn(function()
        chat.sleep(0.02)
        cancel()
      end)
    end)
  end)

  it("from main", function()
    read_in_task(function(cancel) cancel() end)
  end)

  it("from another descriptor's event", function()
    local listener = assert(core.listen {})
    local client
    local canceled
    read_in_task(function(cancel)
      wait.watch(listener:fd(), function()
        listener:step()
        local new = listener:accept()
        if new and not canceled then
          canceled = true
          new:abort()
          cancel()
        end
      end)
      client = core.new { base_url = ("http://127.0.0.1:%d"):format(listener:port()), api_key = false }
      client = { client, client:send "{}" }
    end)
    assert.is_true(canceled)
    wait.unwatch(listener:fd())
    listener:close()
    client[2]:close()
    client[1]:close()
  end)
end)

describe("back-pressure", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("holds a stream that nobody pulls at a cap, while others go on", function()
    local pieces = play.text(("x"):rep(1000)):rep(1000) -- 1 MB
    local server = testing.server(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      response:head(200)
      for _ = 1, 30 do response:write(pieces) end
    end)
    local unread = play.session(server):stream "x"
    assert.is_string(unread:next())
    for _ = 1, 100 do
      chat.wait(0.002)
      chat.step()
    end
    -- what is not sent stands in the server's queue: 30 MB less the cap and the sockets
    assert.is_true(server.requests[1].peer:pending() > 15e6)
    assert.equal("good", assert(play.session(server):send "y").text)
    unread:cancel()
    server:close()
  end)
end)
