--- context: what is sent stays within the model's window: rounds left out, summarised,
-- or an error; the history keeps everything.
-- luacheck: no max line length

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local script = require "spec.support.script"

local LONG = ("word "):rep(200) -- about 200 tokens

local function contents(messages)
  local out = {}
  for i, one in ipairs(messages) do out[i] = one.content:sub(1, 8) end
  return table.concat(out, "|")
end

describe("a session with a context window", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    server:close()
    leaks.check()
  end)

  local function talk(opts, answers)
    server = script.serve(answers or setmetatable({}, { __index = function(_, n) return "answer" .. n .. " " .. LONG end }))
    return play.session(server, { system = "be kind", context = opts })
  end

  it("leaves the oldest rounds out of the request, and keeps them in the history", function()
    local session = talk { max_tokens = 2000, reserve = 500 }
    for i = 1, 6 do assert(session:send(("input%d %s"):format(i, LONG))) end
    assert.equal(12, #session:messages())
    local sent = server.bodies[6].messages
    assert.equal("be kind", sent[1].content)
    assert.is_true(#sent < 10)
    assert.equal("input6 w", sent[#sent].content:sub(1, 8))
    assert.equal("user", sent[2].role) -- whole rounds
    assert.is_true(session._context.used.dropped > 0)
    assert.is_true((session:tokens()) > 1500)
  end)

  it("keeps what is pinned", function()
    local session = talk { max_tokens = 2000, reserve = 500, pinned = function(one) return one.content:find "^input1 " ~= nil end }
    for i = 1, 6 do assert(session:send(("input%d %s"):format(i, LONG))) end
    assert.matches("^be kind|input1 w|answer1 ", contents(server.bodies[6].messages))
  end)

  it("warns once before it is full", function()
    local warned = {}
    server = script.serve(setmetatable({}, { __index = function() return LONG end }))
    local session = play.session(server, {
      context = { max_tokens = 2500, reserve = 500 },
      log = function(level, event, fields) if level == "warn" and event == "context" then warned[#warned + 1] = fields.share end end,
    })
    for i = 1, 5 do session:send("input" .. i .. LONG) end
    assert.equal(1, #warned)
    assert.is_true(warned[1] >= 0.8)
  end)

  it("fails before anything is sent where that is asked for, or where nothing can be left out", function()
    local session = talk { max_tokens = 700, reserve = 100, strategy = "error" }
    assert(session:send("one " .. LONG))
    local reply, _, err = session:send("two " .. LONG)
    assert.is_nil(reply)
    assert.equal("context_length", err.kind)
    assert.equal(1, #server.bodies)
    server:close()
    session = talk { max_tokens = 300, reserve = 200 }
    _, _, err = session:send(LONG)
    assert.equal("context_length", err.kind)
    assert.equal(0, #server.bodies)
    assert.equal(0, #session:messages())
  end)

  it("has the oldest rounds summarised by the model, and keeps the originals", function()
    local asked
    server = script.serve(setmetatable({}, { __index = function(_, n)
      return function(_, response, body)
        local last = body.messages[#body.messages].content
        local text = chat.json.encode { text = "answer" .. n .. " " .. LONG }
        if last:find "^Summarise" then
          asked = body
          text = "They greeted each other."
        end
        response:json(200, require "oaichat.testing".completion(text))
      end
    end }))
    local store = chat.history.memory {}
    local session = play.session(server, {
      schema = chat.schema.object { text = chat.schema.string() }, -- of answers, not of a summary
      history = store, id = "x", context = { max_tokens = 2000, reserve = 500, strategy = "summarise" },
    })
    for i = 1, 5 do assert(session:send(("input%d %s"):format(i, LONG))) end
    assert.is_table(asked)
    assert.is_nil(asked.tools)
    assert.is_nil(asked.response_format)
    local sent = server.bodies[#server.bodies].messages
    assert.matches("They greeted each other", sent[1].content)
    assert.is_true(#session:messages() < 10)
    assert.equal(10, #session:originals())
    assert.equal("input1 w", session:originals()[1].content:sub(1, 8))
    local again = play.session(server, { history = store, id = "x" })
    assert.equal(10, #again:originals())
    for _, one in ipairs(sent) do assert.is_nil(one.meta) end
  end)

  it("says what is wrong with its options", function()
    server = script.serve {}
    assert.has_error(function() play.session(server, { context = {} }) end)
    assert.has_error(function() play.session(server, { context = { max_tokens = 1, strategy = "guess" } }) end)
    local session, _, err = chat.new { base_url = server.url, context = { max_tokens = 9, ranks = "/nowhere", encoding = "o200k_base" } }
    assert.is_nil(session)
    assert.equal("config", err.kind)
  end)
end)
