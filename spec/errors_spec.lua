--- The err object: its words, its shape, its three values.
-- luacheck: no max line length

local errors = require "oaichat.errors"

local KINDS = {
  "authentication", "permission", "not_found", "invalid_request", "context_length", "content_filter", "rate_limit", "quota",
  "conflict", "server", "overloaded", "timeout", "network", "canceled", "protocol", "incomplete_stream", "too_large", "budget",
  "tool", "validation", "storage", "config",
}

describe("errors", function()
  it("has a sentence of its own for every kind", function()
    local seen = {}
    for _, kind in ipairs(KINDS) do
      local text = errors.new({ kind = kind }).message
      assert.is_true(#text > 10)
      assert.is_nil(seen[text], kind)
      seen[text] = true
    end
  end)

  it("puts the provider's words into the message, not into safe_message", function()
    local err = errors.new { kind = "invalid_request", status = 400, detail = "no such model" }
    assert.equal("the server refused the request (HTTP 400): no such model", err.message)
    assert.equal("the server refused the request (HTTP 400)", err.safe_message)
    assert.is_nil(err.detail)
    assert.equal(400, err.status)
  end)

  it("names the deadline that passed", function()
    for _, phase in ipairs { "connect", "first_byte", "first_content", "content_idle", "attempt" } do
      assert.truthy(errors.new({ kind = "timeout", phase = phase }).message:find("timeouts." .. phase, 1, true))
    end
    assert.truthy(errors.new({ kind = "timeout", phase = "total" }).message:find("deadline", 1, true))
  end)

  it("reads as its message, and joins with strings on either side", function()
    local err = errors.new { kind = "config", message = "model is empty" }
    assert.equal("model is empty", tostring(err))
    assert.equal("oops: model is empty", "oops: " .. err)
    assert.equal("model is empty!", err .. "!")
    assert.equal("model is emptymodel is empty", err .. err)
  end)

  it("fails with nil, the message and the object, and keeps an object that is one", function()
    local none, message, err = errors.fail { kind = "network", code = "dns" }
    assert.is_nil(none)
    assert.equal(err.message, message)
    assert.is_false(err.retryable)
    assert.same({}, err.attempts)
    local _, _, again = errors.fail(err)
    assert.equal(err, again)
    assert.is_true(errors.is(err))
    assert.is_false(errors.is { kind = "network" })
    assert.is_false(errors.is "network")
  end)
end)
