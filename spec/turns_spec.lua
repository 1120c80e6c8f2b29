--- Turns that meet: one session used by several tasks, and what a reply shares with
-- the history (nothing).

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"

local function serve(fn)
  local server = testing.server(fn)
  return server, assert(chat.new { base_url = server.url, model = "m", api_key = false })
end

local function slow(_, response)
  response:pause(0.03)
  response:json(200, testing.completion "re")
end

describe("a session whose answer is awaited", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("is busy for every other turn, and keeps its history in order", function()
    local server, session = serve(slow)
    local first = chat.spawn(function() return session:send "one" end)
    chat.step()
    for _, other in ipairs {
      function() session:send "two" end, function() session:stream "two" end, function() session:append "mid" end,
      function() session:reset() end, function() session:rewind() end,
    } do
      local ok, why = pcall(other)
      assert.is_false(ok)
      assert.matches("session is busy", why)
    end
    assert.equal("re", first:wait().text)
    assert.equal("re", session:send("two").text)
    local said = {}
    for i, message in ipairs(session:messages()) do said[i] = message.content end
    assert.same({ "one", "re", "two", "re" }, said)
    server:close()
  end)

  it("is free again when the waiting task was canceled", function()
    local server, session = serve(slow)
    local task = chat.spawn(function() return session:send "one" end)
    chat.step()
    task:cancel()
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    assert.equal("re", session:send("two").text)
    server:close()
  end)

  it("refuses a task of another engine, which would wait for ever", function()
    local server, session = serve(slow)
    local engine = chat.engine()
    local _, message = engine:spawn(function() return session:send "x" end):wait()
    assert.matches("another engine", message)
    server:close()
  end)
end)

describe("a session", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("shares nothing with the reply it gave", function()
    local server, session = serve(function(_, response) response:json(200, testing.completion "re") end)
    local reply = session:send "one"
    reply.message.content = "changed"
    assert.equal("re", session:messages()[2].content)
    session:send "two"
    assert.equal("re", server.requests[2]:json().messages[2].content)
    server:close()
  end)

  it("takes an empty conversation, and a refused input leaves its stream alone", function()
    local server = testing.server(function(_, response) response:event(testing.chunk "a"):done():finish() end)
    local session = assert(chat.new { base_url = server.url, model = "m", api_key = false, messages = {} })
    local stream = session:stream "x"
    assert.is_false((pcall(session.append, session, {})))
    assert.equal("a", stream:result().text)
    server:close()
  end)

  it("sends stream_options with streams alone", function()
    local server, session = serve(function(_, response) response:json(200, testing.completion "re") end)
    session:send("x", { params = { stream_options = { include_usage = true } } })
    assert.is_nil(server.requests[1]:json().stream_options)
    server:close()
  end)
end)

describe("a server that misbehaves", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("cannot make thousands of unknown fields cost their square", function()
    local fields = {}
    for i = 1, 5000 do fields[i] = ('"k%d":1'):format(i) end
    local server, session = serve(function(_, response)
      response:event('{"choices":[{"index":0,"delta":{' .. table.concat(fields, ",") .. "}}]}")
      response:done():finish()
    end)
    local _, _, err = session:stream("x"):result()
    assert.equal("too_large", err.kind)
    server:close()
  end)

  it("does not choose our words by its code", function()
    local server, session = serve(function(_, response)
      response:json(500, { error = { message = "m", code = "connect" } })
    end)
    local _, _, err = session:send "x"
    assert.equal("connect", err.code)
    assert.equal("the server failed (HTTP 500)", err.safe_message)
    server:close()
  end)

  it("cannot bring the key into an error by a header", function()
    local server = testing.server(function(_, response)
      response:body(200, "<html>", { ["content-type"] = "text/html; zq-canary-77", ["x-request-id"] = "zq-canary-77" })
    end)
    local session = assert(chat.new { base_url = server.url, model = "m", api_key = "zq-canary-77" })
    local _, message, err = session:send "x"
    assert.equal("bad_response", err.code)
    assert.equal("[masked]", err.request_id)
    for _, text in ipairs { message, err.safe_message, err.type } do assert.is_nil(text:find("canary", 1, true)) end
    server:close()
  end)

  it("does not lose a stream behind much white space", function()
    local server, session = serve(function(_, response)
      response:write((" \n"):rep(50000))
      response:event(testing.chunk "a"):done():finish()
    end)
    assert.equal("a", session:stream("x"):result().text)
    server:close()
  end)

  it("is silent after the finish only when no byte comes", function()
    local server = testing.server(function(_, response)
      response:event(testing.chunk("a", { finish_reason = "stop" }))
      for _ = 1, 5 do -- longer than the 2 s of silence that would end it
        response:pause(0.5)
        response:write ": ka\n\n"
      end
      response:event(json.encode { choices = json.array {}, usage = { total_tokens = 7 } })
      response:done():finish()
    end)
    local session = assert(chat.new {
      base_url = server.url, model = "m", api_key = false, timeouts = { content_idle = 10 },
    })
    local reply = assert(session:stream("x"):result())
    assert.equal(7, reply.usage.total_tokens)
    server:close()
  end)
end)
