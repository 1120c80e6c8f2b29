--- policy: cache, ledger and budget as a session has them: what is answered without a
-- request, what each attempt costs, and what stops before it is too much.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local routes = require "spec.support.routes"
local testing = require "oaichat.testing"

local MODES = { "send", "next", "events", "callbacks" }
local SOON = { ["retry-after-ms"] = "5" }
local PRICES = { first = { input = 1, output = 10 }, second = { input = 2, output = 20 } }

local function json(text, usage)
  return function(request, response)
    if not request:json().stream then return response:json(200, testing.completion(text, { usage = usage })) end
    response:event(testing.chunk(text)):event(testing.chunk({}, { finish_reason = "stop" }))
    response:event { choices = {}, usage = usage }:done():finish()
  end
end

local USAGE = { prompt_tokens = 1000, completion_tokens = 100, total_tokens = 1100 }

describe("a session with", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    routes.close(server)
    server = nil
    leaks.check()
  end)

  local function open(models, opts)
    if server then server:close() end
    server = routes.serve(models)
    return routes.session(server, opts)
  end

  describe("a cache", function()
    it("answers the same question once more without a request, in every way of reading", function()
      local text = ("words of \228\189\160\229\165\189, "):rep(20)
      local cache = chat.cache.memory {}
      local session = open({ first = { text } }, { cache = cache, fallbacks = {} })
      routes.answered(routes.read(session, "send", "hi"), text)
      for _, mode in ipairs { "send", "next" } do
        local out = routes.read(routes.session(server, { cache = cache }), mode, "hi")
        if mode == "send" then
          local reply = routes.answered(out, text, "cache")
          assert.is_true(reply.via[1].age >= 0)
          assert.equal(0, #reply.attempts)
          assert.equal("stop", reply.finish_reason)
        end
      end
      -- a stream's request is another request; its answer comes as a stream
      assert.equal(2, server.asked.first)
      for _, mode in ipairs { "next", "events", "callbacks" } do
        local out = routes.read(routes.session(server, { cache = cache }), mode, "hi")
        routes.answered(out, text, "cache")
        if mode ~= "next" then assert.is_true(#out.events > 5) end
      end
      assert.equal(2, server.asked.first)
      for chunk in routes.session(server, { cache = cache }):stream("hi"):chunks() do
        assert.equal(text, chunk.choices[1].message.content)
      end
    end)

    it("asks when told to, for tools, and never gives one user's answer to another", function()
      local cache = chat.cache.memory {}
      local function ask(opts, turn)
        return assert(routes.session(server, opts):send("hi", turn))
      end
      local all = { cache = cache, user = "ada" }
      open({ first = { "answer" } }, all)
      ask(all)
      assert.equal("cache", ask(all).via[1].step)
      assert.is_nil(ask(all, { cache = false }).via)
      assert.is_nil(ask({ cache = cache, user = "bob" }).via)
      assert.is_nil(ask({ cache = cache, user = "ada", model = "first", api_key = "sk-other" }).via)
      local tool = chat.tool { name = "t", description = "d", parameters = chat.schema.object {}, run = function() end }
      assert.is_nil(ask({ cache = cache, user = "ada", tools = { tool } }).via)
      assert.equal(5, server.asked.first)
    end)

    it("keeps nothing that was cut, canceled or refused", function()
      local cache = chat.cache.memory {}
      local session = open({ first = { routes.cut("half", "close"), { 400 }, "whole" } }, {
        cache = cache, fallbacks = {}, retry = { max = 0 },
      })
      assert.is_nil(routes.read(session, "events", "hi").reply)
      assert.is_nil(routes.read(session, "events", "hi").reply)
      routes.answered(routes.read(session, "events", "hi"), "whole")
      assert.equal(1, cache:size())
    end)

    it("gives a stale answer as a step of the ladder, and says so", function()
      for _, mode in ipairs(MODES) do
        local cache = chat.cache.memory { ttl = 0.001, stale = 60 }
        local opts = { cache = cache, fallbacks = { "cache", { apology = "Sorry." } }, retry = { max = 0 } }
        local session = open({ first = { "an answer", { 500 } } }, opts)
        routes.answered(routes.read(session, mode, "hi"), "an answer")
        chat.sleep(0.01)
        local reply = routes.answered(routes.read(routes.session(server, opts), mode, "hi"), "an answer", "cache")
        assert.equal("server", reply.via[1].reason)
        assert.is_true(reply.via[1].age > 0.001)
        routes.answered(routes.read(routes.session(server, opts), mode, "unknown"), "Sorry.", "apology")
      end
    end)
  end)

  describe("a ledger", function()
    it("knows what an answer, a session and a user cost, retries and fallbacks too", function()
      for _, mode in ipairs(MODES) do
        local ledger = chat.ledger { prices = PRICES }
        local session = open({ first = { { 500, nil, SOON } }, second = { json("yes", USAGE) } }, {
          ledger = ledger, user = "ada",
        })
        local reply = routes.answered(routes.read(session, mode, "hi"), "yes", "fallback")
        assert.near(0.004, reply.cost, 1e-9)
        assert.near(0.004, session:usage().cost, 1e-9)
        local totals = ledger:totals { user = "ada" }
        assert.equal(4, totals.requests)
        assert.equal(1100, totals.tokens)
        assert.equal(3, totals.unknown)
        assert.near(0.004, session:fork():usage().cost, 1e-9)
      end
    end)

    it("counts a cached answer for its session, also where the history gave the id", function()
      local ledger, cache = chat.ledger { prices = PRICES }, chat.cache.memory {}
      local opts = { ledger = ledger, cache = cache, history = chat.history.memory {} }
      assert(open({ first = { json("yes", USAGE) } }, opts):send "one")
      local second = routes.session(server, opts)
      assert(second:send "one")
      assert.equal(second.id, ledger:rows()[2].session)
      assert.equal(1, second:usage().hits)
    end)

    it("counts a cached answer, a canceled and a cut stream as what they are", function()
      local ledger, cache = chat.ledger { prices = PRICES }, chat.cache.memory {}
      local opts = { ledger = ledger, cache = cache, fallbacks = {}, retry = { max = 0 } }
      local session = open({ first = { json("yes", USAGE), routes.cut("half", "hold"), routes.cut("half") } }, opts)
      assert(session:send "one")
      assert.equal(0, assert(routes.session(server, opts):send "one").cost)
      local stream = session:stream "two"
      stream:next()
      stream:cancel()
      routes.read(session, "events", "three")
      local rows = ledger:rows()
      assert.equal(4, #rows)
      assert.is_true(rows[2].cached_reply)
      assert.equal(0, rows[2].cost)
      assert.equal("canceled", rows[3].kind)
      assert.is_nil(rows[3].cost)
      assert.equal("incomplete_stream", rows[4].kind)
      assert.equal(1, ledger:totals().hits)
      assert.equal(2, ledger:totals().unknown)
    end)
  end)

  describe("a budget", function()
    it("refuses what does not fit before it is sent", function()
      for _, mode in ipairs(MODES) do
        local session = open({ first = { json("yes", USAGE) } }, { budget = { requests = 2 }, prices = PRICES })
        routes.answered(routes.read(session, mode, "one"), "yes")
        routes.answered(routes.read(session, mode, "two"), "yes")
        local out = routes.read(session, mode, "three")
        assert.equal("budget", out.err.kind)
        assert.equal("requests", out.err.code)
        assert.is_nil(server.asked.second) -- no way around it
        assert.equal(2, server.asked.first)
        assert.equal(4, #session:messages())
      end
    end)

    it("stops a stream that goes beyond it, and keeps the part that came", function()
      local function flood(_, response)
        for _ = 1, 200 do response:event(testing.chunk(("word "):rep(8))):pause(0) end
      end
      for _, mode in ipairs { "next", "events", "callbacks" } do
        local session = open({ first = { flood } }, { budget = { tokens = 300 }, fallbacks = {} })
        local out = routes.read(session, mode, "hi")
        assert.equal("budget", out.err.kind)
        assert.equal("tokens", out.err.code)
        assert.equal(out.heard, out.err.partial.text)
        assert.is_true(#out.heard > 400 and #out.heard < 4000)
        assert.equal(1, #out.err.attempts)
      end
    end)

    it("stops in time although nothing comes", function()
      local session = open({ first = { function() end } }, { budget = { seconds = 0.05 }, fallbacks = {} })
      for _, mode in ipairs { "send", "events" } do
        local start = core.now()
        local out = routes.read(session, mode, "hi")
        assert.equal("budget", out.err.kind)
        assert.equal("seconds", out.err.code)
        assert.is_true(core.now() - start < 1)
      end
    end)

    it("is shared by tasks side by side: none passes on what another holds", function()
      local budget = chat.budget { requests = 5, per = "user" }
      open({ first = { "yes" } }, { budget = budget })
      local tasks = {}
      for i = 1, 20 do
        local session = routes.session(server, { budget = budget, user = "ada", fallbacks = {} })
        tasks[i] = function() return session:send "hi" end
      end
      local replies, errs = chat.gather(tasks)
      local fine, refused = 0, 0
      for i = 1, 20 do
        if replies[i] then fine = fine + 1 elseif errs[i].kind == "budget" then refused = refused + 1 end
      end
      assert.same({ 5, 15, 5 }, { fine, refused, server.asked.first })
    end)

    it("of money needs a price that is known", function()
      local session = open({ first = { "yes" } }, { budget = { money = 1 }, fallbacks = {} })
      assert.equal("unknown_price", routes.read(session, "send", "hi").err.code)
      local text, err = select(2, chat.new { base_url = server.url, budget = { money = -1 } })
      assert.equal("config", err.kind, text)
    end)
  end)
end)
