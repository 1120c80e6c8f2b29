--- What budgets let pass, hold, count and refuse.

local budget = require "oaichat.budget"
local errors = require "oaichat.errors"

local time
local function clock() return time end

local function new(opts)
  opts.clock = clock
  return assert(budget.new(opts))
end

local function usage(input, output)
  return { prompt_tokens = input, completion_tokens = output, total_tokens = input + output }
end

local function refused(code, hold, message, err)
  assert.is_nil(hold)
  assert.is_true(errors.is(err))
  assert.same({ "budget", code, message }, { err.kind, err.code, err.message })
  assert.is_false(err.retryable)
  return err
end

local function near(expected, got)
  local close = type(got) == "number" and math.abs(expected - got) < 1e-9
  assert.is_true(close, ("%s, not %s"):format(expected, tostring(got)))
end

local S = { session = "s", user = "u" }

describe("a budget", function()
  before_each(function() time = 1000 end)

  it("lets so many requests pass, and names the limit and what was spent", function()
    local b = new { requests = 2 }
    b:reserve(S):settle(usage(1, 1))
    b:reserve(S):settle(nil)
    local err = refused("requests", b:reserve(S))
    assert.same({ 2, 2, 0, 1 }, { err.limit, err.spent, err.reserved, err.wanted })
    assert.equal("the budget of 2 requests a session is used up: 2 requests spent, 1 requests wanted", err.message)
    assert.equal(err.message, err.safe_message)
  end)

  it("counts the tokens that were used in the place of the estimate", function()
    local b = new { tokens = 100 }
    local hold = assert(b:reserve(S, { tokens = 90 }))
    refused("tokens", b:reserve(S, { tokens = 20 }))
    hold:settle(usage(30, 20))
    assert.equal(50, b:spent(S).tokens)
    assert(b:reserve(S, { tokens = 50 })):settle(usage(50, 0))
    refused("tokens", b:reserve(S, { tokens = 1 }))
    refused("tokens", b:reserve(S))
  end)

  it("counts dollars by the price of the model", function()
    local b = new { money = 1 }
    b:reserve(S, { model = "gpt-4o-mini" }):settle(usage(1e6, 1e6))
    near(0.75, b:spent(S).money)
    local err = refused("money", b:reserve(S, { model = "gpt-4o", tokens = 200000 }))
    near(0.5, err.wanted)
    assert.truthy(err.message:find("$0.75 spent, $0.5 wanted", 1, true))
    assert(b:reserve(S, { model = "gpt-4o-mini", tokens = 200000 })):release()
  end)

  it("lets no fifty calls pass on the same remainder", function()
    local b, passed = new { tokens = 1000 }, {}
    for _ = 1, 50 do passed[#passed + 1] = b:reserve(S, { tokens = 100 }) end
    assert.equal(10, #passed)
    assert.equal(1000, b:spent(S).reserved.tokens)
    for _, hold in ipairs(passed) do hold:settle(usage(100, 0)) end
    assert.same({ 1000, 0 }, { b:spent(S).tokens, b:spent(S).reserved.tokens })

    b, passed = new { requests = 7 }, {}
    for _ = 1, 50 do passed[#passed + 1] = b:reserve(S) end
    assert.equal(7, #passed)

    b, passed = new { money = 0.10, prices = { m = { input = 1, output = 10 } } }, {}
    for _ = 1, 50 do passed[#passed + 1] = b:reserve(S, { model = "m", tokens = 5000, output = 500 }) end
    assert.equal(10, #passed)
  end)

  it("gives back what was never sent", function()
    local b = new { tokens = 100, requests = 1 }
    local hold = b:reserve(S, { tokens = 100 })
    refused("tokens", b:reserve(S, { tokens = 100 }))
    hold:release()
    hold:release()
    hold:settle(usage(50, 50))
    assert.same({ 0, 0, 0 }, { b:spent(S).tokens, b:spent(S).requests, b:spent(S).reserved.requests })
    assert(b:reserve(S, { tokens = 100 })):settle(usage(1, 1))
    assert.equal(1, b:spent(S).requests)
  end)

  it("lets the estimate stand where nobody knows the usage", function()
    local b = new { tokens = 1000, money = 5 }
    b:reserve(S, { tokens = 100, output = 50, model = "gpt-4o" }):settle(nil)
    assert.equal(150, b:spent(S).tokens)
    near((100 * 2.5 + 50 * 10) / 1e6, b:spent(S).money)
    local hold = b:reserve(S, { tokens = 100, output = 500, model = "gpt-4o" })
    assert(hold:feed(("x"):rep(80))) -- canceled after 20 tokens
    hold:settle(nil)
    assert.equal(150 + 120, b:spent(S).tokens)
  end)

  it("stops a stream whose answer goes beyond it", function()
    local b = new { tokens = 100 }
    local hold = b:reserve(S, { tokens = 50 })
    for _ = 1, 50 do assert(hold:feed "four") end
    local err = refused("tokens", hold:feed "four")
    assert.truthy(err.message:find("100 tokens a session is used up", 1, true))
    refused("tokens", hold:feed "more")
    hold:settle(nil)
    assert.equal(101, b:spent(S).tokens)
  end)

  it("stops a stream at its dollars, each stream by all", function()
    local b = new { money = 0.01, prices = { m = { input = 1, output = 10 } } }
    local one, two = b:reserve(S, { model = "m" }), b:reserve(S, { model = "m" })
    assert(one:feed(("x"):rep(2000))) -- 500 tokens: half a cent
    assert(two:feed(("x"):rep(1996)))
    refused("money", two:feed "12345678")
    refused("money", one:feed "1")
    one:settle(usage(0, 500))
    two:settle(usage(0, 500))
    near(0.01, b:spent(S).money)
  end)

  it("stops a stream at its time, and says how much of it is left", function()
    local b = new { seconds = 10 }
    local hold = b:reserve(S)
    assert.equal(10, hold:left())
    time = 1009
    assert(hold:feed "x")
    assert.equal(1, hold:left())
    time = 1011
    refused("seconds", hold:feed(nil))
    assert.equal(0, hold:left())
    hold:settle(nil)
    local err = refused("seconds", b:reserve(S))
    assert.equal("the budget of 10 s a session is used up: 11 s spent", err.message)
    assert.is_nil(new({ tokens = 1 }):reserve(S):left())
  end)

  it("counts the time of calls under way, each of them", function()
    local b = new { seconds = 10 }
    local one, two = b:reserve(S), b:reserve(S)
    time = 1004
    assert.equal(8, b:spent(S).reserved.seconds)
    assert.equal(1, one:left())
    one:settle(nil)
    time = 1006
    refused("seconds", b:reserve(S))
    two:release()
    near(4, b:spent(S).seconds)
  end)

  it("is each session's, each user's or each turn's own", function()
    local by_session, by_user, by_turn = new { requests = 1 }, new { requests = 1, per = "user" },
      new { requests = 1, per = "turn" }
    local turn, other_turn = {}, {}
    local function scope(session, user, at) return { session = session, user = user, turn = at } end
    for _, b in ipairs { by_session, by_user, by_turn } do assert(b:reserve(scope("a", "u", turn))) end
    assert(by_session:reserve(scope("b", "u", turn)))
    refused("requests", by_session:reserve(scope("b", "v", other_turn)))
    assert(by_user:reserve(scope("a", "v", turn)))
    assert.truthy(refused("requests", by_user:reserve(scope("b", "u", turn))).message:find("a user", 1, true))
    assert(by_turn:reserve(scope("a", "u", other_turn)))
    refused("requests", by_turn:reserve(scope("b", "v", turn)))
  end)

  it("is shared by those who have no name", function()
    local b = new { requests = 1, per = "user" }
    assert(b:reserve { session = "a" })
    refused("requests", b:reserve { session = "b" })
    assert(b:reserve { session = "b", user = "u" })
  end)

  it("refuses a model without a price when there is a limit of money, unless that is allowed", function()
    local b = new { money = 1 }
    local err = refused("unknown_price", b:reserve(S, { model = "llama3", tokens = 5 }))
    assert.truthy(err.message:find("llama3", 1, true))
    refused("unknown_price", b:reserve(S))
    assert.equal(0, b:spent(S).requests)
    b = new { money = 1, requests = 1, unknown = "allow" }
    local hold = assert(b:reserve(S, { model = "llama3", tokens = 5 }))
    assert(hold:feed "text")
    hold:settle(usage(1e9, 1e9))
    assert.equal(0, b:spent(S).money)
    refused("requests", b:reserve(S, { model = "llama3" }))
    assert(new({ tokens = 10 }):reserve(S, { model = "llama3" }))
  end)

  it("lets a model that costs nothing go on when the money is gone", function()
    local b = new { money = 1, prices = { paid = { input = 1, output = 1 }, free = { input = 0, output = 0 } } }
    b:reserve(S, { model = "paid" }):settle(usage(1e6, 1e6))
    refused("money", b:reserve(S, { model = "paid" }))
    assert(b:reserve(S, { model = "free", tokens = 1000 }))
  end)

  it("takes sums of dollars for what they are", function()
    local b = new { money = 0.3, prices = { m = { input = 1, output = 1 } } }
    for _ = 1, 3 do assert(b:reserve(S, { model = "m", tokens = 1e5 })):settle(usage(1e5, 0)) end
    refused("money", b:reserve(S, { model = "m", tokens = 1 }))
  end)

  it("forgets what left the window, not earlier and one step later at most", function()
    local b = new { requests = 2, per = "user", window = 60 }
    b:reserve(S):settle(nil)
    time = 1030
    b:reserve(S):settle(nil)
    local err = refused("requests", b:reserve(S))
    assert.truthy(err.message:find("a user in 60 s", 1, true))
    assert.is_true(err.retry_after >= 30 and err.retry_after <= 31)
    time = 1059.9
    refused("requests", b:reserve(S))
    time = 1030 + err.retry_after
    assert(b:reserve(S)):settle(nil)
    refused("requests", b:reserve(S))
    time = 5000
    assert.equal(0, b:spent(S).requests)
  end)

  it("is never beyond its limit in any window", function()
    local b, passed, state = new { requests = 10, window = 7 }, {}, 12345
    for _ = 1, 2000 do
      state = (state * 1103515245 + 12345) % 2147483648
      time = time + state / 2147483648 * 0.5
      local hold = b:reserve(S)
      if hold then
        passed[#passed + 1] = time
        hold:settle(nil)
      end
    end
    for i = 11, #passed do assert.is_true(passed[i] - passed[i - 10] >= 7) end
    -- and does not waste it: ten in each window and a step
    assert.is_true(#passed > (time - 1000) / (7 + 7 / 60 + 0.5) * 10 * 0.9)
  end)

  it("keeps a window in a bounded number of steps", function()
    local b = new { tokens = 1e9, window = 86400 }
    for _ = 1, 5000 do
      time = time + 100
      b:reserve(S, { tokens = 1 }):settle(usage(1, 0))
    end
    local entry = b._entries:peek "s"
    assert.is_true(#entry.spent._steps <= 62)
    local count = b:spent(S).tokens
    assert.is_true(count >= 864 and count <= 864 + 15, tostring(count))
  end)

  it("charges what a hold that was dropped may have used, and goes on", function()
    local b = new { tokens = 100 }
    b:reserve(S, { tokens = 30 })
    local kept = b:reserve(S, { tokens = 30 })
    collectgarbage()
    collectgarbage()
    assert.same({ 30, 30 }, { b:spent(S).tokens, b:spent(S).reserved.tokens })
    kept:settle(usage(1, 1))
    assert.same({ 32, 0 }, { b:spent(S).tokens, b:spent(S).reserved.tokens })
  end)

  it("stays bounded, and forgets nobody who has calls under way", function()
    local b = new { requests = 1, scopes = 10 }
    local hold = b:reserve { session = "busy" }
    for i = 1, 1000 do b:reserve({ session = "s" .. i }):settle(nil) end
    assert.is_true(b._entries.count <= 10)
    refused("requests", b:reserve { session = "busy" })
    refused("requests", b:reserve { session = "s1000" })
    hold:settle(nil)
    b = new { requests = 1, per = "turn" }
    for _ = 1, 100 do b:reserve({ turn = {} }):settle(nil) end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(b._objects))
  end)

  it("takes over what was spent before, and begins anew when told to", function()
    local b = new { money = 1, requests = 5 }
    b:spend(S, { money = 0.99, requests = 4 })
    assert(b:reserve(S, { model = "gpt-4o" })):release()
    refused("money", b:reserve(S, { model = "gpt-4o", tokens = 10000 }))
    b:forget(S)
    assert(b:reserve(S, { model = "gpt-4o", tokens = 10000 }))
  end)

  it("lets nothing pass at a limit of zero", function()
    for _, name in ipairs { "money", "tokens", "requests", "seconds" } do
      refused(name, new({ [name] = 0 }):reserve(S, { model = "gpt-4o" }))
    end
  end)

  it("can be one of several, of which each must have room", function()
    local session, user = new { requests = 2 }, new { requests = 3, per = "user" }
    local both = budget.all { session, user }
    both:reserve(S):settle(usage(1, 1))
    both:reserve(S):settle(usage(1, 1))
    refused("requests", both:reserve(S))
    assert.same({ 2, 0 }, { user:spent(S).requests, user:spent(S).reserved.requests })
    both:reserve({ session = "t", user = "u" }):settle(nil)
    assert.truthy(refused("requests", both:reserve { session = "v", user = "u" }).message:find("a user", 1, true))
    assert.equal(0, session:spent({ session = "v" }).reserved.requests)
    local streams = budget.all { new { tokens = 100 }, new { tokens = 10, per = "user" }, new { seconds = 5 } }
    local hold = streams:reserve(S)
    assert.equal(5, hold:left())
    assert(hold:feed(("x"):rep(40)))
    assert.equal(10, refused("tokens", hold:feed "x").limit)
    hold:release()
  end)

  it("raises on what it does not know, and says what no budget is", function()
    assert.has_error(function() budget.new { monney = 1 } end)
    assert.has_error(function() budget.new {} end)
    assert.has_error(function() budget.new { tokens = 1, per = "week" } end)
    assert.has_error(function() budget.new { tokens = 1, unknown = "guess" } end)
    assert.has_error(function() new({ tokens = 1 }):reserve(S, { token = 1 }) end)
    for _, opts in ipairs { { money = -1 }, { tokens = 0 / 0 }, { tokens = 1, window = 0 } } do
      local b, message, err = budget.new(opts)
      assert.is_nil(b)
      assert.equal("string", type(message))
      assert.equal("config", err.kind)
    end
  end)
end)
