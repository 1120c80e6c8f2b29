-- How a program that uses oaichat tests itself, without a key and without a network:
--   busted examples/testing_spec.lua

local chat = require "oaichat"
local testing = require "oaichat.testing"

-- What is tested: a summary in one line, or why there is none.
local function summary_of(session, text)
  local reply, message, err = session:send("Sum up in one line: " .. text)
  if reply then return reply.text end
  if err.kind == "timeout" then return nil, "The model did not answer in time." end
  return nil, message
end

describe("summary_of", function()
  local provider, clock

  local function session(steps)
    provider = assert(testing.provider(steps))
    return assert(chat.new { base_url = provider.url, api_key = "any", model = "any" })
  end

  before_each(function() clock = testing.clock() end)

  after_each(function()
    clock:close()
    provider:close()
  end)

  it("asks the model and gives its answer", function()
    assert.equal("Short.", summary_of(session { "Short." }, "A long text."))
    assert.equal("Sum up in one line: A long text.", provider:body().messages[1].content)
    provider:verify()
  end)

  it("waits as long as a busy server asks", function()
    local busy = { status = 429, headers = { ["Retry-After"] = "30" } }
    assert.equal("Short.", summary_of(session { busy, busy, "Short." }, "A long text."))
    assert.equal(60, clock:elapsed())
  end)

  it("says so when the model never answers", function()
    local text, why = summary_of(session(function() return { silence = true } end), "A long text.")
    assert.is_nil(text)
    assert.equal("The model did not answer in time.", why)
  end)
end)
