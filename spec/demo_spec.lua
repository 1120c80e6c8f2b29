-- The demo: the bot, its server, and the terminal chat without a terminal.
-- Knows the examples; asks the chat through spec/support/offline.lua.

package.path = "examples/?.lua;" .. package.path

local bot = require "bot"
local chat = require "oaichat"
local server = require "server"

-- What the bot says to each of the lines, in one conversation.
local function talk(lines)
  local messages, answers = {}, {}
  for i, line in ipairs(lines) do
    messages[#messages + 1] = { role = "user", content = line }
    answers[i] = bot.reply(messages)
    messages[#messages + 1] = { role = "assistant", content = answers[i] }
  end
  return answers
end

describe("the bot", function()
  it("says something apt to one who is sad", function()
    assert.truthy(bot.reply { { role = "user", content = "I am sad" } }:find "sorry that you feel sad")
  end)

  it("remembers a name and uses it", function()
    local answers = talk { "hello, I'm Ada", "I like trains", "What is my name?", "what do you remember about me?" }
    assert.truthy(answers[3]:find "You are Ada")
    assert.truthy(answers[4]:find "Ada" and answers[4]:find "trains")
  end)

  it("says the same to the same conversation, and varies within it", function()
    local lines = { "tell me a joke", "another one", "tell me a joke" }
    assert.same(talk(lines), talk(lines))
    local answers = talk(lines)
    assert.not_equal(answers[1], answers[2])
    assert.not_equal(answers[2], answers[3])
  end)

  it("does sums and counts letters", function()
    assert.equal("12 * 7 is 84.", bot.reply { { role = "user", content = "What is 12 * 7?" } })
    assert.equal("15% of 80 is 12.", bot.reply { { role = "user", content = "what is 15% of 80?" } })
    assert.truthy(bot.reply { { role = "user", content = "how many r's are in strawberry?" } }:find "There are 3 r's")
  end)

  it("never runs out of words, whatever it is told", function()
    for _, line in ipairs { "", " ", "?", "%d {name} %", "\0\255\27[2J", ("x "):rep(5000), "1/0", "(((((", "2^^2" } do
      assert.truthy(bot.reply { { role = "user", content = line } }:find "%S")
    end
    assert.truthy(bot.reply {}:find "%S")
  end)

  it("takes its tone from the system message", function()
    local answer = bot.reply {
      { role = "system", content = "You are a pirate." },
      { role = "user", content = "hello" },
    }
    assert.truthy(answer:find "^Ahoy" and answer:find "Arr!$")
  end)
end)

describe("the bot's server", function()
  local running

  before_each(function() running = server.start() end)
  after_each(function() running:close() end)

  it("streams word by word and counts in integers", function()
    local session = assert(chat.new { base_url = running.url })
    local stream = session:stream "I am sad"
    local pieces = {}
    for text in stream do pieces[#pieces + 1] = text end
    local reply = assert(stream:result())
    assert.is_true(#pieces > 10)
    assert.equal(reply.text, table.concat(pieces))
    assert.equal("stop", reply.finish_reason)
    assert.equal(#pieces, reply.usage.completion_tokens)
    assert.same({}, running.errors)
  end)

  it("cuts at max_tokens and says so", function()
    local session = assert(chat.new { base_url = running.url, params = { max_tokens = 3 } })
    local reply = assert(session:send "I am sad")
    assert.equal("I am sorry", reply.text)
    assert.equal("length", reply.finish_reason)
  end)

  it("refuses as OpenAI does", function()
    local session = assert(chat.new { base_url = running.url, model = "no-such-model" })
    local reply, _, err = session:send "hi"
    assert.is_nil(reply)
    assert.equal("not_found", err.kind)
    assert.equal("model_not_found", err.code)
    session = assert(chat.new { base_url = running.url, params = { n = 0 } })
    reply, _, err = session:send "hi"
    assert.is_nil(reply)
    assert.equal("invalid_request", err.kind)
    assert.equal("n", err.param)
  end)
end)
