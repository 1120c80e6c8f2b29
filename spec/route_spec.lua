--- the ladder of fallbacks: who answers when the first route does not, what is seen of
-- it, and what is never tried elsewhere.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local routes = require "spec.support.routes"
local testing = require "oaichat.testing"

local SOON = { ["retry-after-ms"] = "5" }
local MODES = { "send", "next", "events", "callbacks" }

describe("fallbacks", function()
  local servers
  before_each(function()
    servers = {}
    leaks.remember()
  end)
  after_each(function()
    for _, server in ipairs(servers) do
      assert.same({}, server.errors)
      server:close()
    end
    servers = nil
    chat.run()
    leaks.check()
  end)

  local function serve(models)
    servers[#servers + 1] = routes.serve(models)
    return servers[#servers]
  end

  local function each(models, opts, check)
    for _, mode in ipairs(opts.modes or MODES) do
      local server = serve(models)
      local session = routes.session(server, opts.new)
      local ok, why = pcall(check, routes.read(session, mode, "hi", opts.turn), server, session, mode)
      if not ok then error(mode .. ": " .. tostring(type(why) == "table" and why.message or why), 0) end
    end
  end

  local NEXT = {
    server = { 500, nil, SOON }, overloaded = { 503, nil, SOON }, rate_limit = { 429, nil, SOON },
    authentication = { 401 }, permission = { 403 }, not_found = { 404 },
    quota = { 429, { message = "no credit", code = "insufficient_quota" } },
    context_length = { 400, { message = "too long", code = "context_length_exceeded" } },
  }
  for kind, answer in pairs(NEXT) do
    it("answers by the next route after " .. kind .. ", and says so", function()
      each({ first = { answer }, second = { "from the second" } }, {}, function(out, server, session)
        local reply = routes.answered(out, "from the second", "fallback")
        assert.equal(kind, reply.via[1].reason)
        assert.equal("second", reply.via[1].model)
        assert.equal(server.asked.first + 1, #reply.attempts)
        assert.equal(kind, reply.attempts[1].kind)
        assert.same({ "user", "assistant" }, { session:messages()[1].role, session:messages()[2].role })
      end)
    end)
  end

  it("answers by the next route when nobody listens at the first", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    local server = serve { second = { "here" } }
    local session = routes.session(server, {
      base_url = ("http://127.0.0.1:%d/v1"):format(port), retry = { max = 0 },
      fallbacks = { { base_url = server.url, model = "second" } },
    })
    routes.answered(routes.read(session, "send", "hi"), "here", "fallback")
  end)

  local NEVER = {
    invalid_request = { 400 }, conflict = { 409, nil, SOON },
    content_filter = { 400, { message = "no", code = "content_filter" } },
  }
  for kind, answer in pairs(NEVER) do
    it("are not asked after " .. kind, function()
      each({ first = { answer }, second = { "never" } }, {}, function(out, server)
        assert.equal(kind, out.err and out.err.kind)
        assert.is_nil(server.asked.second)
      end)
    end)
  end

  it("are asked when a model refuses a conversation that ends with its own words", function()
    local refusal = { 400, { message = "This model does not support assistant message prefill." } }
    local server = serve { first = { refusal }, second = { "and so on" } }
    local session = routes.session(server, {
      messages = { { role = "user", content = "Once" }, { role = "assistant", content = "upon" } },
    })
    routes.answered(routes.read(session, "send", nil), "and so on", "fallback")
    local plain = routes.session(server)
    assert.equal("invalid_request", routes.read(plain, "send", "hi").err.kind)
  end)

  it("row 8: take over in the middle of a stream where the text can be withdrawn", function()
    each({ first = { routes.cut("half", "reset") }, second = { "whole" } }, { modes = { "events", "callbacks" } },
      function(out)
        routes.answered(out, "whole", "fallback")
        local restart
        for i, event in ipairs(out.events) do
          if event.type == "restart" then restart = i end
        end
        assert.equal("half", out.events[1].text)
        assert.equal("second", out.events[restart].via.model)
        assert.equal("string", type(out.events[restart].message))
        assert.equal("incomplete_stream", out.reply.attempts[1].kind)
      end)
  end)

  it("keep nothing of a text that was withdrawn", function()
    local server = serve { first = { routes.cut "abc" }, second = { { 500, nil, SOON } } }
    local session = routes.session(server, { retry = { max = 0 }, keep_partial = true })
    local out = routes.read(session, "events", "hi")
    assert.equal("restart", out.events[2].type)
    assert.equal("", out.heard)
    assert.is_nil(out.err.partial)
    assert.same({}, session:messages())
  end)

  it("leave what next has shown alone: the failure comes with its partial", function()
    local models = { first = { routes.cut("half", "close") }, second = { "never" } }
    each(models, { modes = { "next" } }, function(out, server)
      assert.equal("incomplete_stream", out.err.kind)
      assert.equal("half", out.err.partial.text)
      assert.equal("half", out.heard)
      assert.is_nil(server.asked.second)
    end)
  end)

  it("switch unseen within the commit window", function()
    local models = { first = { routes.cut("half", "close") }, second = { "whole" } }
    each(models, { new = { commit = { chars = 20 } }, modes = { "next", "events", "callbacks" } }, function(out)
      routes.answered(out, "whole", "fallback")
      for _, event in ipairs(out.events) do assert.not_equal("restart", event.type) end
    end)
  end)

  it("hand out at once what is beyond the window, and all of an answer that is shorter", function()
    each({ first = { "a short answer" } }, { new = { commit = { chars = 400 } } }, function(out)
      routes.answered(out, "a short answer", nil)
    end)
    local server = serve {
      first = { function(_, response)
        response:event(testing.chunk "twelve bytes"):pause(0):event(testing.chunk " and more")
        response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
      end },
    }
    local stream = routes.session(server, { commit = { chars = 12 } }):stream "hi"
    assert.equal("twelve bytes", stream:next())
    assert.equal(" and more", stream:next())
    assert.is_nil(stream:next())
  end)

  it("hand out what came when the window's time is over, although nothing follows", function()
    local server = serve { first = { routes.cut("waiting", "hold") } }
    local session = routes.session(server, { commit = { chars = 400, seconds = 0.03 } })
    local stream = session:stream "hi"
    assert.equal("waiting", stream:next())
    stream:cancel()
    local events, canceled = {}, nil
    local other = session:stream("hi", {
      on_event = function(event) events[#events + 1] = event.text end,
      on_done = function(_, _, err) canceled = err.kind end,
    })
    while not events[1] do
      chat.wait(1)
      chat.step()
    end
    assert.same({ "waiting" }, events)
    other:cancel()
    assert.equal("canceled", canceled)
  end)

  it("do not ask a silent route again where another one is there", function()
    local models = { first = { function(_, response) response:head(200) end }, second = { "here" } }
    each(models, { new = { timeouts = { first_content = 0.03, attempt = 0.03 } } }, function(out, server)
      routes.answered(out, "here", "fallback")
      assert.equal("timeout", out.reply.via[1].reason)
      assert.equal(1, server.asked.first)
    end)
  end)

  it("do not wait as long as a server asks where another one is there", function()
    local models = { first = { { 429, nil, { ["retry-after"] = "5" } }, "back" }, second = { "here" } }
    local server = serve(models)
    local session = routes.session(server)
    local start = core.now()
    routes.answered(routes.read(session, "send", "hi"), "here", "fallback")
    assert.is_true(core.now() - start < 2)
    -- row 109: it cools down meanwhile, for every session of this process
    routes.answered(routes.read(routes.session(server), "send", "hi"), "here", "fallback")
    assert.equal(1, server.asked.first)
  end)

  it("row 110: all cooling: rate_limit with the shortest wait, whichever route's that is", function()
    local long, short = { 429, nil, { ["retry-after"] = "50" } }, { 429, nil, { ["retry-after"] = "5" } }
    for _, order in ipairs { { long, short }, { short, long } } do
      local server = serve { first = { order[1] }, second = { order[2] } }
      local session = routes.session(server, { retry = { max = 0 } })
      assert.equal("rate_limit", routes.read(session, "send", "hi").err.kind)
      local out = routes.read(session, "send", "hi")
      assert.equal("cooling", out.err.code)
      assert.is_true(out.err.retry_after <= 5 and out.err.retry_after > 4, tostring(out.err.retry_after))
      assert.truthy(out.err.message:find " [45]%.%d seconds", out.err.message)
      assert.same({ first = 1, second = 1 }, server.asked)
    end
  end)

  it("tell what the route that was asked said, not that another one cools down", function()
    local server = serve { first = { { 401 } }, second = { { 429, nil, { ["retry-after"] = "50" } } } }
    local session = routes.session(server, { retry = { max = 0 } })
    assert.equal("rate_limit", routes.read(session, "send", "hi").err.kind)
    assert.equal("authentication", routes.read(session, "send", "hi").err.kind)
  end)

  it("row 110: all cooling: a wait where it is allowed", function()
    local server = serve {
      first = { { 429, nil, { ["retry-after"] = "50" } } },
      second = { { 429, nil, { ["retry-after"] = "0.2" } }, "back" },
    }
    local session = routes.session(server, { retry = { max = 0 } })
    assert.equal("rate_limit", routes.read(session, "send", "hi").err.kind)
    local out = routes.read(session, "send", "hi")
    assert.equal("rate_limit", out.err.kind)
    assert.equal("cooling", out.err.code)
    assert.is_true(out.err.retry_after <= 0.2 and out.err.retry_after > 0)
    assert.same({ first = 1, second = 1 }, server.asked)
    local patient = routes.session(server, { retry = { max = 0 }, route_wait = 1 })
    routes.answered(routes.read(patient, "send", "hi"), "back", "fallback")
  end)

  it("open a circuit after three failures in a row, and close it by one probe", function()
    local server = serve { first = { { 500, nil, SOON } }, second = { "here" } }
    for _ = 1, 3 do routes.answered(routes.read(routes.session(server), "send", "hi"), "here", "fallback") end
    assert.equal(3, server.asked.first)
    assert.equal(3, server.asked.second)
  end)

  it("end where all have failed, with what each attempt met", function()
    each({ first = { { 500, nil, SOON } }, second = { { 404 } } }, {}, function(out, _, session)
      assert.equal("not_found", out.err.kind)
      assert.equal(4, #out.err.attempts)
      assert.same({ "first", "first", "first", "second" }, {
        out.err.attempts[1].model, out.err.attempts[2].model, out.err.attempts[3].model, out.err.attempts[4].model,
      })
      assert.equal(0, #session:messages())
      assert.equal("hi", out.err.input[1].content)
    end)
  end)

  it("keep one deadline over all routes", function()
    local hold = function(_, response) response:head(200) end
    each({ first = { hold }, second = { hold } }, { turn = { deadline = 0.1 } }, function(out, server)
      assert.equal("timeout", out.err.kind)
      assert.equal("total", out.err.phase)
      assert.is_nil(server.asked.second)
    end)
  end)

  it("never get another origin's key or headers, and inherit the key at home", function()
    local home, away = serve { first = { { 404 } }, home = { "home" } }, serve { away = { "away" } }
    local session = routes.session(home, { fallbacks = { { base_url = home.url .. "/other", model = "home" } } })
    local reply = session:send("hi", { headers = { ["X-Mine"] = "secret" } })
    assert.equal("home", reply.text)
    assert.equal("Bearer sk-spec-key", home.requests[2].headers.authorization)
    assert.equal("/v1/other/chat/completions", home.requests[2].path)
    assert.equal("secret", home.requests[2].headers["x-mine"])
    session = routes.session(home, { fallbacks = { { base_url = away.url, model = "away" } } })
    assert.equal("away", session:send("hi", { headers = { ["X-Mine"] = "secret" } }).text)
    assert.is_nil(away.requests[1].headers.authorization)
    assert.is_nil(away.requests[1].headers["x-mine"])
  end)

  it("ask a person, who may answer later; then a fixed text", function()
    local later
    local function person(handoff)
      assert.equal("hi", handoff.messages[#handoff.messages].content)
      assert.equal("not_found", handoff.error.kind)
      later = chat.spawn(function()
        chat.sleep(0.01)
        return handoff:answer "a human word"
      end)
    end
    each({ first = { { 404 } } }, { new = { human = person, fallbacks = { "human" } } }, function(out, _, session)
      routes.answered(out, "a human word", "human")
      assert.is_true(later:wait())
      assert.equal("a human word", session:messages()[2].content)
    end)
    each({ first = { { 404 } } }, {
      new = { fallbacks = { { human = function() end, timeout = 0.01 }, { apology = "Sorry." } } },
    }, function(out)
      routes.answered(out, "Sorry.", "apology")
    end)
    each({ first = { { 404 } } }, {
      new = { fallbacks = { { human = function(handoff) handoff:decline() end } } },
    }, function(out) assert.equal("not_found", out.err.kind) end)
  end)

  it("can be canceled while a person thinks, and while a pause is waited out", function()
    local server = serve { first = { { 404 } }, slow = { { 500 } } }
    local session = routes.session(server, { fallbacks = { { human = function() end } } })
    local task = chat.spawn(function() return session:send "hi" end)
    local other = chat.spawn(function() return routes.session(server, { model = "slow" }):send "hi" end)
    while not (server.asked.first and server.asked.slow) do
      chat.wait(1)
      chat.step()
    end
    chat.sleep(0.01)
    local start = core.now()
    task:cancel()
    other:cancel()
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    _, _, err = other:wait()
    assert.equal("canceled", err.kind)
    assert.is_true(core.now() - start < 0.1)
    -- from outside, and a stream
    task = chat.spawn(function() return session:send "hi" end)
    local done
    local stream = routes.session(server, { fallbacks = { { human = function() end } } }):stream("hi", {
      on_done = function(_, _, why) done = why.kind end,
    })
    local asked = server.asked.first
    while server.asked.first < asked + 2 do
      chat.wait(1)
      chat.step()
    end
    chat.sleep(0.01)
    session:cancel()
    stream:cancel()
    assert.equal("canceled", select(3, task:wait()).kind)
    assert.equal("canceled", done)
    -- and while all routes cool down
    servers[#servers + 1] = routes.serve { first = { { 429, nil, { ["retry-after"] = "20" } } } }
    local cooling = routes.session(servers[#servers], { retry = { max = 0 }, route_wait = 60, fallbacks = {
      { model = "first", base_url = servers[#servers].url .. "/other" },
    } })
    assert.equal("rate_limit", select(3, cooling:send "hi").kind)
    cooling:stream("hi", { on_done = function(_, _, why) done = "all " .. why.kind end })
    chat.sleep(0.02)
    cooling:cancel()
    assert.equal("all canceled", done)
  end)

  it("hedge: ask the next route when the first is slow, and take who speaks first", function()
    local slow = function(request, response)
      response:head(200):pause(0.2)
      if request:json().stream then
        response:event(testing.chunk "slow"):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
      end
    end
    local opts = { new = { hedge = 0.02 }, modes = { "next", "events", "callbacks" } }
    each({ first = { slow }, second = { "quick" } }, opts, function(out, server)
      routes.answered(out, "quick", "hedge")
      assert.same({ first = 1, second = 1 }, server.asked)
      assert.equal(2, #out.reply.attempts)
    end)
    each({ first = { "at once" }, second = { "never" } }, { new = { hedge = 0.5 } }, function(out, server)
      routes.answered(out, "at once", nil)
      assert.is_nil(server.asked.second)
    end)
    local whole = function(_, response) response:pause(0.2):json(200, testing.completion "slow") end
    each({ first = { whole }, second = { "quick" } }, { new = { hedge = 0.02 }, modes = { "send" } }, function(out)
      routes.answered(out, "quick", "hedge")
    end)
  end)

  it("hedge: are both canceled together", function()
    local server = serve {
      first = { function() end },
      second = { function(_, response) response:pause(0.1):json(200, testing.completion "late") end },
    }
    local session = routes.session(server, { hedge = 0.01 })
    local task = chat.spawn(function() return session:send "hi" end)
    while not server.asked.second do
      chat.wait(1)
      chat.step()
    end
    session:cancel()
    assert.equal("canceled", select(3, task:wait()).kind)
    assert.equal(0, #session:messages())
  end)

  it("name what is wrong with them", function()
    local function wrong(entry, opts)
      local options = { base_url = "http://127.0.0.1:1", api_key = false, fallbacks = { entry } }
      for name, value in pairs(opts or {}) do options[name] = value end
      local session, text, err = chat.new(options)
      assert.is_nil(session)
      assert.equal("config", err.kind)
      assert.truthy(text:find("fallbacks[1]", 1, true), text)
    end
    wrong "cache"
    wrong "human"
    wrong "gpt-4o"
    wrong {}
    wrong { base_url = "ftp://x", model = "m" }
    for _, entry in ipairs { 1, { modle = "m" } } do
      assert.has_error(function() chat.new { base_url = "http://127.0.0.1:1", fallbacks = { entry } } end)
    end
  end)
end)
