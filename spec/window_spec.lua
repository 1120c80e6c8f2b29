--- The context window: what is dropped, what stays, and that what is left is a
--- conversation that an API takes.

local message = require "oaichat.message"
local strict = require "spec.support.strict"
local window = require "oaichat.window"

-- One token a byte of the content, so that sums are easy to see.
local counter = {}
function counter.message(_, one)
  local n = type(one.content) == "string" and #one.content or 0
  return n + 10 * #(one.tool_calls or {}), one.role == "tool"
end
function counter.messages(_, list)
  local sum, estimated = 3, false
  for _, one in ipairs(list) do
    local n, guessed = counter.message(counter, one)
    sum, estimated = sum + n, estimated or guessed
  end
  return sum, estimated
end

local function user(text, meta) return { role = "user", content = text, meta = meta } end
local function says(text, meta) return { role = "assistant", content = text, meta = meta } end
local function system(text) return { role = "system", content = text } end
local function calls(...)
  local list = {}
  for i, id in ipairs { ... } do
    list[i] = { id = id, type = "function", ["function"] = { name = "f", arguments = "{}" } }
  end
  return { role = "assistant", tool_calls = list }
end
local function result(id, text) return { role = "tool", tool_call_id = id, content = text or "ok" } end

local function texts(list)
  local out = {}
  for i, one in ipairs(list) do out[i] = one.content or "(" .. #one.tool_calls .. ")" end
  return table.concat(out, " ")
end

local function fit(list, max, more)
  local opts = { max = max, counter = counter }
  for name, value in pairs(more or {}) do opts[name] = value end
  return window.fit(list, opts)
end

describe("window.fit", function()
  local four = {
    system "sys", user "aaaa", says "AAAA", user "bbbb", says "BBBB", user "cccc", says "CCCC", user "dddd",
  }

  it("returns the same list when all fits", function()
    local list, info = fit(four, 34)
    assert.equal(four, list)
    assert.same({ tokens = 34, estimated = false, dropped = 0, left_out = 0, room = 34 }, info)
  end)

  it("drops whole rounds, the oldest first, never the system prompt", function()
    local list, info = fit(four, 33)
    assert.equal("sys bbbb BBBB cccc CCCC dddd", texts(list))
    assert.same({ tokens = 26, estimated = false, dropped = 1, left_out = 2, room = 33 }, info)
    assert.equal("sys cccc CCCC dddd", texts((fit(four, 25))))
    assert.equal("sys dddd", texts((fit(four, 10))))
    assert.equal(8, #four)
  end)

  it("keeps room for the answer, the tools and a system prompt of the session's", function()
    assert.equal("sys bbbb BBBB cccc CCCC dddd", texts((fit(four, 40, { reserve = 7 }))))
    assert.equal("sys bbbb BBBB cccc CCCC dddd", texts((fit(four, 40, { overhead = 7 }))))
    local list, info = fit(four, 40, { system = "1234567" })
    assert.equal("sys bbbb BBBB cccc CCCC dddd", texts(list))
    assert.equal(33, info.tokens)
    assert.equal(33, select(2, fit(four, 40, { system = { role = "developer", content = "1234567" } })).tokens)
  end)

  it("fails when the last turn does not fit", function()
    local list, why, err = fit(four, 9)
    assert.is_nil(list)
    assert.equal("what must be sent takes 10 tokens, and there is room for 9", why)
    assert.equal("context_length", err.kind)
    assert.is_nil((fit(four, 40, { reserve = 40 })))
  end)

  it("keeps a round with a pinned message, and more of the last rounds if told to", function()
    local list = { user "aaaa", says("AAAA", { pinned = true }), user "bbbb", says "BBBB", user "cccc" }
    assert.equal("aaaa AAAA cccc", texts((fit(list, 15))))
    assert.is_nil((fit(list, 14)))
    local function pinned(one) return one.content == "bbbb" end
    assert.equal("aaaa AAAA bbbb BBBB cccc", texts((fit(list, 23, { pinned = pinned }))))
    assert.equal("bbbb BBBB cccc", texts((fit({ user "aaaa", says "A", user "bbbb", says "BBBB", user "cccc" }, 15,
      { keep_last = 2 }))))
    assert.is_nil((fit(four, 25, { keep_last = 3 })))
  end)

  it("takes a call with its results", function()
    local list = { user "aaaa", calls("1", "2"), result "1", result "2", says "A", user "bbbb", calls "3", result "3" }
    assert.equal("bbbb (1) ok", texts((fit(list, 19))))
    local _, why = fit(list, 18)
    assert.equal("what must be sent takes about 19 tokens, and there is room for 18", why)
  end)

  it("takes messages of users in a row for one turn, and what is before them for a round", function()
    local list = { says "hello", user "aaaa", says "A", user "bbbb", user "cccc" }
    assert.equal("aaaa A bbbb cccc", texts((fit(list, 20))))
    assert.equal("bbbb cccc", texts((fit(list, 12))))
    assert.is_nil((fit(list, 10)))
  end)

  it("keeps a system prompt in the middle of a dropped round", function()
    local list = { user "aaaa", system "sys", says "AAAA", user "bbbb" }
    assert.equal("sys bbbb", texts((fit(list, 10))))
  end)

  it("mends what no API would take, and says so", function()
    local list, info = fit({ user "a", calls "1", user "b", result "9" }, 1000)
    assert.is_nil(strict.problem { list[1], list[2], { role = "tool", tool_call_id = "1", content = "" }, list[4] })
    assert.equal(4, #list)
    assert.equal(2, #info.notes)
  end)

  it("raises on what it does not know", function()
    for _, opts in ipairs {
      {}, { max = 0 }, { max = -1 }, { max = 0 / 0 }, { max = "1" }, { max = 10, reserve = -1 }, { max = 10, maxx = 1 },
    } do
      assert.has_error(function() window.fit({}, opts) end)
    end
    assert.has_error(function() window.fit(nil, { max = 1 }) end)
    assert.has_error(function() window.fit({}) end)
  end)

  it("estimates by itself without a counter", function()
    local list, info = window.fit(four, { max = 1000 })
    assert.equal(four, list)
    assert.is_true(info.estimated)
    assert.same({}, (window.fit({}, { max = 10 })))
  end)
end)

describe("a summary", function()
  local list = {
    system "sys", user "aaaaaaaa", says "AAAAAAAA", user "bbbbbbbb", says("BBBBBBBB", { pinned = true }),
    user "cccccccc", says "CCCCCCCC", user "dddd",
  }
  local function plan(of, opts)
    opts.counter = counter
    return window.compact_plan(of, opts)
  end

  it("is not planned while there is no need", function()
    local none, why = plan(list, { max = 200 })
    assert.is_nil(none)
    assert.equal("nothing needs to be summarised", why)
    none, why = plan({ user "aaaaaaaaaaaaa" }, { max = 10 })
    assert.is_nil(none)
    assert.truthy(why:find "nothing can be summarised")
  end)

  it("takes the place of the oldest rounds that are not pinned", function()
    local made = assert(plan(list, { max = 100, target = 50, summary = 5 }))
    assert.equal("aaaaaaaa AAAAAAAA", texts(made.messages))
    assert.equal("sys", texts(made.before))
    assert.equal(1, made.rounds)
    made = assert(plan(list, { max = 100, target = 35, summary = 5 }))
    assert.equal("aaaaaaaa AAAAAAAA cccccccc CCCCCCCC", texts(made.messages))
    assert.equal("sys bbbbbbbb BBBBBBBB", texts(made.before))
    assert.equal("dddd", texts(made.after))
    assert.equal(2, made.first)
    assert.equal(7, made.last)
    assert.equal(31, made.tokens)
  end)

  it("is put in, with what it stands for, and can be summarised again", function()
    local made = assert(plan(list, { max = 100, target = 50, summary = 5 }))
    local short = window.apply_summary(list, made, "they spoke")
    assert.equal("sys " .. window.HEADING .. "they spoke bbbbbbbb BBBBBBBB cccccccc CCCCCCCC dddd", texts(short))
    assert.same({ summary_of = { messages = 2 } }, short[2].meta)
    assert.equal(list[4], short[3])
    local again = assert(plan(short, { max = 100, target = 35, summary = 5 }))
    assert.equal(window.HEADING .. "they spoke cccccccc CCCCCCCC", texts(again.messages))
    local shorter = window.apply_summary(short, again, "more")
    assert.equal("sys bbbbbbbb BBBBBBBB " .. window.HEADING .. "more dddd", texts(shorter))
    assert.same({ summary_of = { messages = 4 } }, shorter[4].meta)
    assert.equal("sys bbbbbbbb BBBBBBBB dddd", texts((fit(shorter, 30))))
  end)

  it("keeps what was said since the plan", function()
    local made = assert(plan(list, { max = 100, target = 35, summary = 5 }))
    local longer = {}
    for i, one in ipairs(list) do longer[i] = one end
    longer[#longer + 1] = says "DDDD"
    local short = window.apply_summary(longer, made, "x")
    assert.equal("DDDD", short[#short].content)
    assert.has_error(function() window.apply_summary({ user "other" }, made, "x") end)
    assert.has_error(function() window.apply_summary(list, made, nil) end)
    assert.has_error(function() window.apply_summary(list, {}, "x") end)
  end)
end)

describe("random conversations", function()
  local function random_conversation(random)
    local list, id = {}, 0
    if random(2) == 1 then list[1] = system(("s"):rep(random(20))) end
    if random(4) == 1 then list[#list + 1] = says "greeting" end
    for _ = 1, random(8) do
      list[#list + 1] = user(("u"):rep(random(30)), random(10) == 1 and { pinned = true } or nil)
      if random(8) == 1 then list[#list + 1] = system "more" end
      for _ = 1, random(3) - 1 do
        local ids = {}
        for k = 1, random(3) do
          id = id + 1
          ids[k] = "c" .. id
        end
        list[#list + 1] = calls((table.unpack or unpack)(ids))
        for _, one in ipairs(ids) do
          if random(12) > 1 then list[#list + 1] = result(one, ("r"):rep(random(30))) end
        end
      end
      if random(6) > 1 then list[#list + 1] = says(("a"):rep(random(30))) end
    end
    if random(3) == 1 then table.remove(list, random(#list)) end
    return list
  end

  -- What is sent: no meta, calls at the end closed as the session closes them.
  local function sent(list)
    local out = {}
    for i, one in ipairs(list) do
      out[i] = message.copy(one)
      out[i].meta = nil
    end
    for _, call in ipairs(message.open_calls(list)) do
      out[#out + 1] = { role = "tool", tool_call_id = call.id, content = "" }
    end
    return out
  end

  local function last_user(list)
    for i = #list, 1, -1 do
      if list[i].role == "user" then return list[i] end
    end
  end

  local function check(before, after)
    if after[1] then assert.is_nil(strict.problem(sent(after))) end
    local there = {}
    for _, one in ipairs(after) do there[one] = true end
    for _, one in ipairs(before) do
      if one.role == "system" or (one.meta and one.meta.pinned) or one == last_user(before) then
        assert.is_true(there[one] or false, "a message that must stay is gone")
      end
    end
  end

  it("stay valid and within the window, and lose nothing that must stay", function()
    local state = 12345
    local function random(n)
      state = (state * 16807) % 2147483647
      return state % n + 1
    end
    local seen = { dropped = 0, refused = 0, summarised = 0 }
    for _ = 1, 3000 do
      local list = random_conversation(random)
      local max = random(250) + 20
      local fitting, info = fit(list, max, { keep_last = random(2) })
      if fitting then
        assert.is_true(info.tokens <= max)
        assert.equal(info.tokens, (counter:messages(fitting)))
        check(list, fitting)
        seen.dropped = seen.dropped + info.dropped
      else
        seen.refused = seen.refused + 1
      end
      local made = window.compact_plan(list, { max = max, counter = counter })
      if made then
        local short = window.apply_summary(list, made, "summary")
        check(list, short)
        assert.is_true(#short <= #(message.mend(list)))
        seen.summarised = seen.summarised + 1
      end
    end
    assert.is_true(seen.dropped > 300 and seen.refused > 100 and seen.summarised > 300)
  end)
end)
