--- What the ledger notes, sums, forgets, keeps.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local ledger = require "oaichat.ledger"

local function usage(input, output, cached, reasoning)
  return {
    prompt_tokens = input, completion_tokens = output, total_tokens = input + output,
    prompt_tokens_details = cached and { cached_tokens = cached } or nil,
    completion_tokens_details = reasoning and { reasoning_tokens = reasoning } or nil,
  }
end

local function near(expected, got)
  local close = type(got) == "number" and math.abs(expected - got) < 1e-9
  assert.is_true(close, ("%s, not %s"):format(expected, tostring(got)))
end

describe("the ledger", function()
  it("makes tokens and a cost of the wire's usage", function()
    local row = ledger.new():add { model = "gpt-4o-2024-08-06", usage = usage(1000, 200, 400, 50) }
    assert.same({ 1000, 200, 400, 50, 1200 }, { row.input, row.output, row.cached, row.reasoning, row.tokens })
    near((600 * 2.5 + 400 * 1.25 + 200 * 10) / 1e6, row.cost)
    assert.is_nil(row.usage)
    assert.is_true(math.abs(row.at - os.time()) < 5)
  end)

  it("has a row for each attempt, oldest first, with what each met", function()
    local l = ledger.new()
    l:add { session = "s", attempt = 1, kind = "rate_limit", status = 429, seconds = 0.1, route = "r1" }
    l:add { session = "s", attempt = 2, kind = "canceled", seconds = 0.2, route = "r1" }
    l:add { session = "s", attempt = 1, status = 200, model = "gpt-4o", usage = usage(10, 5), route = "r2" }
    local rows = l:rows { session = "s" }
    assert.same({ 429, nil, 200 }, { rows[1].status, rows[2].status, rows[3].status })
    assert.same({ "rate_limit", "canceled", nil }, { rows[1].kind, rows[2].kind, rows[3].kind })
    assert.same({ "r1", "r1", "r2" }, { rows[1].route, rows[2].route, rows[3].route })
  end)

  it("leaves nil what nobody knows, and counts it", function()
    local l = ledger.new()
    local row = l:add { session = "s", model = "gpt-4o", kind = "canceled" }
    assert.same({}, { row.input, row.output, row.tokens, row.cost, row.cached, row.reasoning })
    local sum = l:totals { session = "s" }
    assert.same({ 1, 1, 0 }, { sum.requests, sum.unknown, sum.unpriced })
    assert.is_nil(sum.tokens)
    assert.is_nil(sum.cost)
    l:add { session = "s", model = "gpt-4o", usage = json.null }
    l:add { session = "s", model = "gpt-4o", usage = usage(10, 5) }
    sum = l:totals { session = "s" }
    assert.same({ 3, 2, 15 }, { sum.requests, sum.unknown, sum.tokens })
    near((10 * 2.5 + 5 * 10) / 1e6, sum.cost)
    assert.is_nil(sum.cached)
  end)

  it("tells a usage without a price from no usage", function()
    local l = ledger.new()
    assert.is_nil(l:add({ model = "llama3", usage = usage(10, 5) }).cost)
    assert.same({ 0, 1 }, { l:totals().unknown, l:totals().unpriced })
    assert.is_nil(l:totals().cost)
    assert.equal(15, l:totals().tokens)
  end)

  it("charges nothing for an answer of the cache", function()
    local l = ledger.new()
    local row = l:add { session = "s", model = "gpt-4o", usage = usage(1000, 500), cached_reply = true }
    assert.same({ 0, 0, 0 }, { row.input, row.output, row.cost })
    local sum = l:totals { session = "s" }
    assert.same({ 0, 1, 0, 0, 0 }, { sum.requests, sum.hits, sum.cost, sum.unknown, sum.tokens })
  end)

  it("sums by session, by user, by both, and over all", function()
    local l = ledger.new()
    l:add { session = "a", user = "ann", model = "gpt-4o", usage = usage(1, 1) }
    l:add { session = "b", user = "ann", model = "gpt-4o", usage = usage(10, 10) }
    l:add { session = "b", user = "bob", model = "gpt-4o", usage = usage(100, 100) }
    l:add { model = "gpt-4o", usage = usage(1000, 1000) }
    assert.equal(22, l:totals({ user = "ann" }).tokens)
    assert.equal(220, l:totals({ session = "b" }).tokens)
    assert.equal(20, l:totals({ session = "b", user = "ann" }).tokens)
    assert.equal(2222, l:totals().tokens)
    assert.same({ 0, 0, 0 }, { l:totals({ user = "x" }).requests, l:totals({ user = "x" }).tokens,
      l:totals({ user = "x" }).cost })
  end)

  it("takes no two sessions and users for one", function()
    local l = ledger.new()
    l:add { session = "a:b", user = "c", input = 1, output = 0 }
    l:add { session = "a", user = "b:c", input = 10, output = 0 }
    l:add { session = "a\0b", input = 100, output = 0 }
    l:add { user = "-", input = 1000, output = 0 }
    l:add { session = "-", input = 10000, output = 0 }
    assert.equal(1, l:totals({ session = "a:b", user = "c" }).input)
    assert.equal(10, l:totals({ session = "a" }).input)
    assert.equal(100, l:totals({ session = "a\0b" }).input)
    assert.equal(1000, l:totals({ user = "-" }).input)
    assert.equal(10000, l:totals({ session = "-" }).input)
    assert.equal(11111, l:totals().input)
  end)

  it("keeps the last rows only, and the sums of all", function()
    local l = ledger.new { keep = 10 }
    for i = 1, 25 do l:add { session = "s", attempt = i, input = 1, output = 1 } end
    local rows = l:rows()
    assert.equal(10, #rows)
    assert.same({ 16, 25 }, { rows[1].attempt, rows[10].attempt })
    assert.same({ 25, 50 }, { l:totals({ session = "s" }).requests, l:totals().tokens })
    assert.equal(0, #ledger.new({ keep = 0 }):rows())
  end)

  it("stays bounded whatever sessions come, and says what may be incomplete", function()
    local l = ledger.new { scopes = 100, keep = 5 }
    for i = 1, 1000 do l:add { session = "s" .. i, input = 1, output = 0 } end
    assert.is_true(l._sums.count <= 100)
    assert.equal(1000, l:totals().requests)
    assert.is_nil(l:totals().partial)
    assert.is_true(l:totals({ session = "s1" }).partial)
    l:add { session = "s1", input = 1, output = 0 }
    assert.same({ 1, true }, { l:totals({ session = "s1" }).requests, l:totals({ session = "s1" }).partial })
  end)

  it("filters its rows", function()
    local l = ledger.new()
    for i = 1, 6 do l:add { at = i, user = i % 2 == 0 and "even" or "odd", kind = i > 4 and "server" or nil } end
    assert.equal(3, #l:rows { user = "even" })
    assert.equal(2, #l:rows { since = 5 })
    assert.equal(1, #l:rows { since = 5, user = "odd", kind = "server" })
    local last = l:rows { limit = 2 }
    assert.same({ 5, 6 }, { last[1].at, last[2].at })
    assert.has_error(function() l:rows { usr = "x" } end)
  end)

  it("hands out copies that nobody shares", function()
    local mine, told = { session = "s", input = 1, output = 1 }, nil
    local l = ledger.new { sink = function(row) told = row end }
    local row = l:add(mine)
    mine.input, row.input = 50, 60
    assert.equal(1, told.input)
    told.input = 70
    l:rows()[1].input = 80
    l:totals().input = 90
    assert.equal(1, l:rows()[1].input)
    assert.equal(1, l:totals().input)
  end)

  it("tells its sink of each row, and does not fall when that does", function()
    local seen, said = {}, {}
    local l = ledger.new {
      sink = function(row)
        seen[#seen + 1] = row.attempt
        error "the disk is full"
      end,
      log = function(level, event, fields) said[#said + 1] = { level, event, fields.error } end,
    }
    l:add { attempt = 1 }
    l:add { attempt = 2 }
    assert.same({ 1, 2 }, seen)
    assert.equal("ledger.sink", said[2][2])
    assert.truthy(said[2][3]:find "the disk is full")
    assert.equal(2, l:totals().requests)
  end)

  it("goes on where it was exported, through JSON", function()
    local l = ledger.new { keep = 3 }
    for i = 1, 5 do
      l:add { at = i, session = "s", user = "u", attempt = i, model = "gpt-4o", usage = usage(i, i, 1) }
    end
    l:add { at = 6, session = "t", kind = "network" }
    local data = assert(json.decode(assert(json.encode(l:export()))))
    local other = assert(ledger.import(data, { keep = 3 }))
    assert.same(l:rows(), other:rows())
    for _, of in ipairs { {}, { session = "s" }, { user = "u" }, { session = "t" }, { session = "s", user = "u" } } do
      assert.same(l:totals(of), other:totals(of))
    end
    other:add { at = 7, session = "s", user = "u", input = 1, output = 0 }
    assert.equal(6, other:totals({ session = "s" }).requests)
    assert.same({ 5, 6, 7 }, { other:rows()[1].at, other:rows()[2].at, other:rows()[3].at })
    assert.equal(5, l:totals({ session = "s" }).requests)
  end)

  it("refuses what no ledger exported", function()
    local good = ledger.new():export()
    assert.truthy(ledger.import(good))
    for _, data in ipairs {
      {}, { format = 99, rows = {}, sums = {}, all = good.all }, { format = 1, rows = {}, sums = {} },
      { format = 1, rows = { { at = "x" } }, sums = {}, all = good.all },
      { format = 1, rows = { {} }, sums = {}, all = good.all },
      { format = 1, rows = {}, sums = { { session = "s" } }, all = good.all }, json.null, "x", 5,
    } do
      local l, message, err = ledger.import(data)
      assert.is_nil(l)
      assert.equal("string", type(message))
      assert.is_true(errors.is(err))
      assert.same({ "storage", "corrupt" }, { err.kind, err.code })
    end
  end)

  it("forgets a session or a user", function()
    local l = ledger.new()
    l:add { session = "s", user = "u", input = 1, output = 1 }
    l:add { session = "t", user = "v", input = 10, output = 1 }
    assert.equal(1, l:forget { user = "u" })
    assert.equal(0, l:totals({ user = "u" }).requests)
    assert.equal(0, l:totals({ session = "s", user = "u" }).requests)
    assert.same({ 1, "v" }, { #l:rows(), l:rows()[1].user })
    assert.equal(1, l:forget { session = "t" })
    l:add { session = "w", input = 5, output = 1 }
    assert.same({ "w" }, { l:rows()[1].session })
    assert.equal(3, l:totals().requests)
    assert.has_error(function() l:forget {} end)
  end)

  it("takes prices of the user, and raises on names it does not know", function()
    local l = ledger.new { prices = { llama3 = { input = 1, output = 2 } } }
    near(3, l:add({ model = "llama3", input = 1e6, output = 1e6 }).cost)
    assert.has_error(function() l:add { sesion = "x" } end)
    assert.has_error(function() l:add { session = 5 } end)
    assert.has_error(function() ledger.new { kep = 1 } end)
    assert.has_error(function() ledger.new { prices = { x = {} } } end)
    assert.has_error(function() ledger.new { keep = -1 } end)
  end)
end)
