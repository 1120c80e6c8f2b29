--- the gate: guards and moderation: what they refuse is neither sent, shown nor kept;
-- what they let through is what everybody sees.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local routes = require "spec.support.routes"
local testing = require "oaichat.testing"

local MODES = { "send", "next", "events", "callbacks" }

-- Answers "/moderations" by flagging what has the word "bad", and the rest by `text` in
-- pieces of four bytes.
local function serve(text, moderate)
  local server
  server = assert(testing.server(function(request, response)
    if request.path:find "/moderations$" then
      server.moderated = server.moderated + 1
      if moderate then return moderate(request, response) end
      local input = request:json().input
      if type(input) == "table" then input = input[1].text or "" end
      local bad = input:find("bad", 1, true) ~= nil
      return response:json(200, { results = { { flagged = bad, categories = { violence = bad, hate = false } } } })
    end
    server.asked = server.asked + 1
    if not request:json().stream then return response:json(200, testing.completion(text)) end
    for at = 1, #text, 4 do response:event(testing.chunk(text:sub(at, at + 3))):pause(0) end
    response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
  end))
  server.moderated, server.asked = 0, 0
  return server
end

describe("a guarded session", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    routes.close(server)
    server = nil
    leaks.check()
  end)

  local function each(text, opts, check, moderate)
    for _, mode in ipairs(opts.modes or MODES) do
      if server then server:close() end
      server = serve(text, moderate)
      local session = play.session(server, opts.new)
      local ok, why = pcall(check, routes.read(session, mode, opts.input or "hi"), session, mode)
      if not ok then error(mode .. ": " .. tostring(type(why) == "table" and why.message or why), 0) end
    end
  end

  it("sends no input that its guard refuses", function()
    local guards = { input = function(messages) return not messages[1].content:find "secret", "no secrets" end }
    each("never", { new = { guards = guards }, input = "a secret" }, function(out, session)
      assert.equal("validation", out.err.kind)
      assert.equal("input_guard", out.err.code)
      assert.truthy(out.err.message:find("no secrets", 1, true))
      assert.equal(0, server.asked)
      assert.same({}, session:messages())
      assert.equal("a secret", out.err.input[1].content)
    end)
    each("fine", { new = { guards = guards } }, function(out) routes.answered(out, "fine") end)
  end)

  it("sends what its guard puts in the input's place, and keeps that", function()
    local function hide(messages)
      messages[1].content = messages[1].content:gsub("%d", "#")
      return messages
    end
    each("ok", { new = { guards = { input = hide } }, input = "my card is 4711" }, function(out, session)
      routes.answered(out, "ok")
      assert.equal("my card is ####", server.requests[1]:json().messages[1].content)
      assert.equal("my card is ####", session:messages()[1].content)
    end)
  end)

  it("shows no window that its guard refuses, and keeps nothing of the turn", function()
    local text = ("good "):rep(10) .. "BAD " .. ("more "):rep(10)
    local guards = { window = 16, output = function(piece) return not piece:find "BAD" end }
    each(text, { new = { guards = guards } }, function(out, session, mode)
      assert.equal("validation", out.err.kind)
      assert.equal("output_guard", out.err.code)
      assert.is_nil(out.heard:find "BAD")
      assert.same({}, session:messages())
      if mode == "send" then
        assert.is_nil(out.err.partial)
      else
        assert.equal(out.heard, out.err.partial.text)
        assert.is_true(#out.heard >= 16)
      end
    end)
  end)

  it("tells its guard what was shown before, and when it is the end", function()
    local seen = {}
    local guards = {
      window = 8,
      output = function(piece, info) seen[#seen + 1] = { piece, info.so_far, info.final } end,
    }
    each("0123456789abcdef+", { new = { guards = guards }, modes = { "events" } }, function(out)
      routes.answered(out, "0123456789abcdef+")
      assert.same({ "01234567", "", false }, seen[1])
      assert.same({ "89abcdef", "01234567", false }, seen[2])
      assert.same({ "+", "0123456789abcdef", true }, seen[#seen])
    end)
  end)

  it("shows and keeps what its guard puts in a text's place", function()
    local guards = { window = 4, output = function(piece) return (piece:gsub("%d", "#")) end }
    each("ab12cd34ef", { new = { guards = guards } }, function(out, session)
      routes.answered(out, "ab##cd##ef")
      assert.equal("ab##cd##ef", session:messages()[2].content)
    end)
  end)

  it("takes a guard that raises for one that refuses", function()
    each("text", { new = { guards = { output = function() error "oops" end } } }, function(out)
      assert.equal("output_guard", out.err.code)
      assert.truthy(out.err.message:find("oops", 1, true))
    end)
  end)

  it("lets a guard wait", function()
    local guards = { output = function() return chat.sleep(0.005) end }
    each("text", { new = { guards = guards } }, function(out) routes.answered(out, "text") end)
  end)

  it("sends and shows nothing that the moderation flags", function()
    each("never", { new = { moderation = true }, input = "bad words" }, function(out)
      assert.equal("content_filter", out.err.kind)
      assert.equal("moderation", out.err.code)
      assert.same({ "violence" }, out.err.categories)
      assert.equal(0, server.asked)
      assert.equal("Bearer sk-spec-key", server.requests[1].headers.authorization)
    end)
    local text = ("good "):rep(8) .. "bad " .. ("more "):rep(8)
    each(text, { new = { moderation = { window = 20 } } }, function(out, session)
      assert.equal("content_filter", out.err.kind)
      assert.is_nil(out.heard:find "bad")
      assert.same({}, session:messages())
    end)
    each("all is good", { new = { moderation = { window = 4 } } }, function(out, _, mode)
      routes.answered(out, "all is good")
      assert.is_true(server.moderated >= (mode == "send" and 2 or 3)) -- pieces that waited come as one
    end)
  end)

  it("refuses what the moderation cannot judge, unless it may stay open", function()
    local function broken(_, response)
      response:json(500, { error = { message = "down" } }, { ["retry-after-ms"] = "1" })
    end
    each("never", { new = { moderation = true } }, function(out)
      assert.equal("server", out.err.kind)
      assert.truthy(out.err.message:find("moderation", 1, true))
      assert.equal(0, server.asked)
      assert.equal(3, server.moderated)
    end, broken)
    each("shown", { new = { moderation = { fail = "open" } } }, function(out) routes.answered(out, "shown") end, broken)
    local function empty(_, response) response:json(200, {}) end
    each("never", { new = { moderation = true } }, function(out) assert.equal("protocol", out.err.kind) end, empty)
  end)

  it("can be canceled while a guard waits", function()
    server = serve "never"
    local entered, session
    local guards = { output = function()
      entered = true
      return chat.sleep(100)
    end }
    for _, how in ipairs { "task", "session", "stream" } do
      entered, session = false, play.session(server, { guards = guards })
      local stream
      local task = chat.spawn(function()
        if how ~= "stream" then return session:send "hi" end
        stream = session:stream "hi"
        return stream:result()
      end)
      while not entered do
        chat.wait(1)
        chat.step()
      end
      local start = core.now()
      if how == "task" then task:cancel() elseif how == "session" then session:cancel() else stream:cancel() end
      local _, _, err = task:wait()
      assert.equal("canceled", err.kind, how)
      assert.is_true(core.now() - start < 0.5)
      assert.same({}, session:messages())
    end
  end)

  it("keeps of an answer that was cut or canceled only what its guard let through", function()
    local guards = { window = 10, output = function(text) return (text:gsub("%d%d%d%d", "####")) end }
    for _, how in ipairs { "close", "hold" } do
      server = routes.serve { first = { routes.cut("my pin is 1234", how) } }
      local options = { retry = { max = 0 }, fallbacks = {}, keep_partial = true, guards = guards }
      local session = routes.session(server, options)
      local stream, heard = session:stream "hi", ""
      for event in stream:events() do
        heard = heard .. event.text
        if how == "hold" then stream:cancel() end
      end
      local _, _, err = stream:result()
      assert.equal(how == "hold" and "canceled" or "incomplete_stream", err.kind)
      assert.equal("my pin is ####", heard)
      assert.equal("my pin is ####", err.partial.text)
      assert.is_nil(err.partial.finish_reason)
      assert.equal("my pin is ####", session:messages()[2].content)
      routes.close(server)
    end
    -- nothing was let through yet
    server = routes.serve { first = { routes.cut "1234" } }
    local session = routes.session(server, { retry = { max = 0 }, fallbacks = {}, keep_partial = true, guards = {
      window = 100, output = function() return false end,
    } })
    local out = routes.read(session, "send", "hi")
    assert.is_nil(out.err.partial)
    assert.same({}, session:messages())
  end)

  it("lets no fallback begin anew behind what next has shown", function()
    local models = { first = { routes.cut("half a sentence", "reset") }, second = { "whole" } }
    server = routes.serve(models)
    local session = routes.session(server, { guards = { window = 4, output = function() end } })
    local out = routes.read(session, "next", "hi")
    assert.equal("incomplete_stream", out.err.kind)
    assert.equal("half a sentence", out.heard)
    routes.answered(routes.read(session, "events", "hi"), "whole", "fallback")
  end)

  it("can be canceled while the moderation is asked", function()
    server = serve("never", function() end)
    local session = play.session(server, { moderation = true })
    local task = chat.spawn(function() return session:send "hi" end)
    while server.moderated == 0 do
      chat.wait(1)
      chat.step()
    end
    session:cancel()
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    assert.equal(0, server.asked)
  end)

  it("refuses chunks, which no guard has seen", function()
    server = serve "x"
    local stream = play.session(server, { guards = { output = function() end } }):stream "hi"
    assert.has_error(function()
      for _ in stream:chunks() do error "a chunk" end
    end)
    stream:cancel()
  end)

  it("refuses a request beyond limits.request_bytes before it is sent", function()
    server = serve "x"
    local session = play.session(server, { limits = { request_bytes = 1000 } })
    local reply, text, err = session:send(("x"):rep(2000))
    assert.is_nil(reply)
    assert.equal("too_large", err.kind)
    assert.truthy(text:find("request_bytes", 1, true))
    assert.equal(0, server.asked)
    assert.equal("x", session:send("short").text)
  end)
end)
