--- The store in memory keeps the contract of all stores.

local contract = require "spec.history_contract"
local memory = require "oaichat.history.memory"

describe("history in memory", function()
  contract(function()
    local store = memory.new()
    return store, function() return store end
  end, { describe = describe, it = it, before_each = before_each, after_each = after_each })

  it("lets a lock be taken over when its time is over", function()
    local store = memory.new {}
    local lock = assert(store:lock("a", 0))
    assert(store:lock("a", 10))
    lock:release()
    assert.is_nil((store:lock "a"))
  end)

  it("raises on options it does not know", function()
    assert.has_error(function() memory.new { path = "x" } end)
  end)
end)
