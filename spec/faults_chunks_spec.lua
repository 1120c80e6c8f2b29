--- FAULTS E: what chunks hold, over a socket, at any split. Of rows 71, 77, 78, 82
--- and 83 the reading side.
-- luacheck: no max line length

local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"

local A, B = play.text "a", play.text "b"

local function reads(body, text, check)
  play.events(body, function(out)
    local reply = play.succeeded(out, text)
    if check then check(reply, out) end
  end)
end

local function fails(body, kind, code, partial, check)
  play.events(body, function(out)
    local err = play.failed(out, kind, code, partial)
    if check then check(err, out) end
  end)
end

-- A whole answer's message, by `send`, and as the whole answer to a stream.
local function whole(message, text, check, finish)
  play.each(play.http(200, play.completion(message, finish)), {}, function(out)
    local reply = play.succeeded(out, text)
    if check then check(reply, out) end
  end)
end

-- A chunk of tool calls out of their JSON.
local function calls(list) return play.chunk('{"tool_calls":[' .. list .. "]}") end

local function call(index, id, name, arguments)
  local fields = {}
  if index then fields[#fields + 1] = '"index":' .. index end
  if id then fields[#fields + 1] = '"id":' .. id end
  local inner = {}
  if name then inner[#inner + 1] = '"name":' .. name end
  if arguments then inner[#inner + 1] = '"arguments":' .. arguments end
  if inner[1] then fields[#fields + 1] = '"function":{' .. table.concat(inner, ",") .. "}" end
  return "{" .. table.concat(fields, ",") .. "}"
end

local CALLED = play.chunk("{}", "tool_calls") .. play.DONE

local function brief(reply)
  local out = {}
  for i, c in ipairs(reply.tool_calls) do out[i] = ("%s %s %s"):format(c.id, c.name, c.arguments) end
  return out
end

local function gives(body, want)
  reads(body .. CALLED, "", function(reply) assert.same(want, brief(reply)) end)
end

describe("faults of chunks:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 72: data that is not JSON fails the stream, and is not in the message", function()
    for _, data in ipairs { "SECRETWORD", '{"choices":[{"index":0,"delta":{"content":"SECRETWORD', "{'a':1}", "{} {}", "nul" } do
      fails(A .. "data: " .. data .. "\n\n" .. B .. play.END, "protocol", "malformed_event", "a", function(err)
        assert.is_nil(err.message:find("SECRETWORD", 1, true))
      end)
    end
  end)

  it("row 72: JSON of other types is ignored", function()
    reads(A .. "data: {}\n\ndata: []\n\ndata: null\n\ndata: 1\n\ndata: \"x\"\n\ndata: true\n\n" .. B .. play.END, "ab")
  end)

  it("row 72: a tool call before a malformed chunk is not handed over as a success", function()
    fails(calls(call(0, '"c1"', '"f"', '"{}"')) .. "data: {oops\n\n" .. CALLED, "protocol", "malformed_event")
  end)

  it("row 73: an error object after tokens, beside choices, before [DONE] is never a success", function()
    local object = '{"message":"it broke","type":"server_error","code":"oops","param":"p"}'
    local bodies = {
      A .. 'data: {"error":' .. object .. "}\n\n",
      A .. 'data: {"error":' .. object .. "}\n\n" .. play.DONE,
      A .. 'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":' .. object .. "}\n\n"
        .. play.DONE,
      A .. 'data: {"error":' .. object .. ',"choices":[]}\n\n' .. play.END,
      A .. play.FINISH .. 'data: {"error":' .. object .. "}\n\n" .. play.DONE,
    }
    for _, body in ipairs(bodies) do
      fails(body, "server", "oops", "a", function(err)
        assert.truthy(err.message:find("it broke", 1, true))
        assert.equal("p", err.param)
      end)
    end
  end)

  it("row 73: an in-band error's known code decides its kind", function()
    local kinds = {
      context_length_exceeded = "context_length", insufficient_quota = "quota", rate_limit_exceeded = "rate_limit",
      content_filter = "content_filter", server_is_overloaded = "overloaded",
    }
    for code, kind in pairs(kinds) do
      fails(A .. 'data: {"error":{"message":"no","code":"' .. code .. '"}}\n\n', kind, code, "a")
    end
  end)

  it("row 74: choices missing, empty, null; delta missing, null; content null", function()
    reads('data: {"id":"x"}\n\ndata: {"choices":[]}\n\ndata: {"choices":null}\n\n'
      .. 'data: {"choices":[{"index":0}]}\n\ndata: {"choices":[{"index":0,"delta":null}]}\n\n'
      .. A .. play.chunk '{"content":null}' .. play.chunk '{"role":null,"content":null,"tool_calls":null,"refusal":null}'
      .. B .. play.END, "ab", function(reply)
      assert.is_nil(reply.refusal)
      assert.same({}, reply.tool_calls)
    end)
  end)

  it("row 74: content parts are joined, and an object is no text", function()
    reads(play.chunk '{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}' .. play.text "c"
      .. play.chunk '{"content":[]}' .. play.chunk '{"content":{"x":"no"}}' .. play.END, "abc")
    whole('{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}', "ab")
    whole('{"role":"assistant","content":null}', "")
    whole('{"role":"assistant"}', "")
  end)

  it("row 75: of several usages the last that is not null counts; unknown usage is nil", function()
    local function usage(n) return ('data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":1}}\n\n'):format(n) end
    local function has(n)
      return function(reply)
        assert.equal(n, reply.usage and reply.usage.prompt_tokens)
      end
    end
    local null = 'data: {"choices":[],"usage":null}\n\n'
    reads(A .. play.END, "a", has(nil))
    reads(A .. null .. play.END, "a", has(nil))
    reads(A .. play.FINISH .. usage(7) .. play.DONE, "a", has(7))
    reads(usage(3) .. A .. usage(5) .. B .. usage(7) .. null .. play.END, "ab", has(7))
    reads(A .. 'data: {"choices":[],"x_groq":{"usage":{"prompt_tokens":9,"completion_tokens":1}}}\n\n' .. play.END, "a", has(9))
  end)

  it("row 75: usage is made of integers", function()
    reads(A .. 'data: {"choices":[],"usage":{"prompt_tokens":9007199254740991,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
      .. play.END, "a", function(reply)
      assert.equal("9007199254740991", json.encode(reply.usage.prompt_tokens))
      assert.equal(4, reply.usage.prompt_tokens_details.cached_tokens)
    end)
  end)

  it("row 76: finish_reason never, twice, on every chunk, unknown", function()
    local function finish(want)
      return function(reply) assert.equal(want, reply.finish_reason) end
    end
    reads(A .. play.DONE, "a", finish(nil))
    reads(A .. play.chunk("{}", "length") .. play.chunk("{}", "stop") .. play.DONE, "a", finish "stop")
    reads(play.chunk('{"content":"a"}', "stop") .. play.chunk('{"content":"b"}', "stop") .. play.DONE, "ab", finish "stop")
    reads(A .. play.chunk("{}", "eos_or_so") .. play.DONE, "a", finish "eos_or_so")
  end)

  it("row 77: length and content_filter are successes with that reason", function()
    for _, reason in ipairs { "length", "content_filter" } do
      reads(A .. play.chunk("{}", reason) .. play.DONE, "a", function(reply) assert.equal(reason, reply.finish_reason) end)
      whole('{"role":"assistant","content":"a"}', "a", function(reply) assert.equal(reason, reply.finish_reason) end, reason)
    end
  end)

  it("row 78: refusal deltas become the refusal", function()
    reads(play.chunk '{"refusal":"I "}' .. play.chunk '{"refusal":"won\'t"}' .. play.END, "", function(reply, out)
      assert.equal("I won't", reply.refusal)
      assert.equal("I won't", out.history[#out.history].refusal)
      assert.equal("", out.heard)
    end)
    whole('{"role":"assistant","content":null,"refusal":"no"}', "", function(reply) assert.equal("no", reply.refusal) end)
  end)

  it("row 79: reasoning has several names, and is told once", function()
    local function thought(reply) assert.equal("hm well", reply.reasoning) end
    local function both(first, second) return play.chunk(first) .. play.chunk(second) .. A .. play.END end
    for _, field in ipairs { "reasoning_content", "reasoning" } do
      reads(both('{"' .. field .. '":"hm "}', '{"' .. field .. '":"well","content":null}'), "a", thought)
      whole('{"role":"assistant","content":"a","' .. field .. '":"hm well"}', "a", thought)
    end
    reads(both('{"reasoning":"hm ","reasoning_content":"hm "}', '{"reasoning":"well","reasoning_content":"well"}'), "a", thought)
    reads(both('{"reasoning":"hm ","reasoning_details":[{"type":"reasoning.text","text":"hm ","index":0}]}',
      '{"reasoning":"well","reasoning_details":[{"type":"reasoning.text","text":"well","index":0}]}'), "a", thought)
    reads(both('{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm "}]}]}',
      '{"content":[{"type":"thinking","thinking":[{"type":"text","text":"well"}]}]}'), "a", thought)
  end)

  it("row 79: reasoning_details alone are the reasoning", function()
    reads(play.chunk '{"reasoning_details":[{"type":"reasoning.text","text":"hm ","index":0}]}'
      .. play.chunk '{"reasoning_details":[{"type":"reasoning.text","text":"well","index":0}]}' .. A .. play.END, "a",
      function(reply) assert.equal("hm well", reply.reasoning) end)
  end)

  it("row 80: calls without an index, or with a strange one, are kept apart by id", function()
    local two = { 'c1 f {"x":1}', 'c2 g {"y":2}' }
    for _, index in ipairs { false, '"0"', "0.5", "-1", "0", "100000000", "null" } do
      gives(calls(call(index, '"c1"', '"f"', '"{\\"x\\":"')) .. calls(call(index, '"c1"', nil, '"1}"'))
        .. calls(call(index, '"c2"', '"g"', '"{\\"y\\":"')) .. calls(call(index, '"c2"', nil, '"2}"')), two)
    end
  end)

  it("row 80: fragments without an id go to the current call", function()
    for _, index in ipairs { false, "0" } do
      gives(calls(call(index, '"c1"', '"f"', '"{\\"x\\":"')) .. calls(call(index, nil, nil, '"1}"'))
        .. calls(call(index, '"c2"', '"g"', '"{\\"y\\":"')) .. calls(call(index, nil, nil, '"2}"')),
        { 'c1 f {"x":1}', 'c2 g {"y":2}' })
    end
  end)

  it("row 80: calls are ordered by index, then by arrival", function()
    gives(calls(call(2, '"c3"', '"h"', '"{}"')) .. calls(call(1, '"c2"', '"g"', '""')) .. calls(call(0, '"c1"', '"f"', '"{"'))
      .. calls(call(1, nil, nil, '"{\\"k\\":1}"')) .. calls(call(0, nil, nil, '"}"')),
      { "c1 f {}", 'c2 g {"k":1}', "c3 h {}" })
    gives(calls(call(1, '"c1"', '"f"', '"{}"') .. "," .. call(2, '"c2"', '"g"', '"{}"')), { "c1 f {}", "c2 g {}" })
    gives(calls(call(100000000, '"c2"', '"g"', '"{}"')) .. calls(call(3, '"c1"', '"f"', '"{}"')), { "c1 f {}", "c2 g {}" })
  end)

  it("rows 80, 83: more calls than limits.tool_calls are too_large", function()
    local list = {}
    for i = 1, 129 do list[i] = calls(call(i - 1, '"c' .. i .. '"', '"f"', '"{}"')) end
    fails(table.concat(list) .. CALLED, "too_large", "too_many_tool_calls")
    list[129] = nil
    play.events(table.concat(list) .. CALLED, function(out) assert.equal(128, #play.succeeded(out, "").tool_calls) end)
    play.events(table.concat(list, "", 1, 3) .. CALLED, function(out)
      play.failed(out, "too_large", "too_many_tool_calls")
    end, { new = { limits = { tool_calls = 2 } } })
  end)

  it("row 81: id, name and type missing, repeated, empty or later are merged", function()
    local want = { 'c1 f {"x":1}' }
    gives(calls(call(0, '"c1"', '"f"', '"{\\"x\\":"')) .. calls(call(0, '"c1"', '"f"', '"1}"')), want)
    gives(calls(call(0, '"c1"', '"f"', '"{\\"x\\":"')) .. calls(call(0, '""', '""', '"1}"')), want)
    gives(calls(call(0, '"c1"', '"f"', '"{\\"x\\":"')) .. calls(call(0, "null", "null", '"1}"')), want)
    gives(calls(call(0, '"c1"')) .. calls(call(0, nil, '"f"')) .. calls(call(0, nil, nil, '"{\\"x\\":1}"')), want)
    gives(calls(call(0, nil, '"f"', '"{\\"x\\":"')) .. calls(call(0, '"c1"', nil, '"1}"')), want)
  end)

  it("row 81: a call without any id still has one, of its own", function()
    reads(calls(call(0, nil, '"f"', '"{}"')) .. calls(call(1, nil, '"g"', '"{}"')) .. CALLED, "", function(reply)
      local first, second = reply.tool_calls[1], reply.tool_calls[2]
      assert.equal("f", first.name)
      assert.equal("g", second.name)
      assert.truthy(#first.id > 0 and #second.id > 0 and first.id ~= second.id)
    end)
  end)

  it("row 81: a call that is never named is invalid_tool_call", function()
    fails(calls(call(0, '"c1"', nil, '"{}"')) .. CALLED, "tool", "invalid_tool_call")
    play.each(play.http(200, play.completion('{"role":"assistant","tool_calls":[{"id":"c1","function":{"arguments":"{}"}}]}',
      "tool_calls")), {}, function(out) play.failed(out, "tool", "invalid_tool_call") end)
  end)

  it("row 82: arguments null, empty, an object", function()
    gives(calls(call(0, '"c1"', '"f"', "null")), { "c1 f {}" })
    gives(calls(call(0, '"c1"', '"f"', '""')), { "c1 f {}" })
    gives(calls(call(0, '"c1"', '"f"')), { "c1 f {}" })
    reads(calls(call(0, '"c1"', '"f"', '{"x": 1}')) .. CALLED, "", function(reply)
      assert.same({ x = 1 }, reply.tool_calls[1].args)
    end)
  end)

  it("row 82: arguments that are not one JSON object have no args, and the raw text is kept", function()
    for _, raw in ipairs { "{}{}", "oops", '{"x":', "[1]", "1" } do
      local text = json.encode(raw)
      reads(calls(call(0, '"c1"', '"f"', text)) .. CALLED, "", function(reply)
        assert.equal(raw, reply.tool_calls[1].arguments)
        assert.is_nil(reply.tool_calls[1].args)
      end)
    end
  end)

  it("row 82: arguments that are JSON too early wait for the end", function()
    reads(calls(call(0, '"c1"', '"f"', '"1"')) .. calls(call(0, nil, nil, '"2"')) .. CALLED, "", function(reply)
      assert.equal("12", reply.tool_calls[1].arguments)
    end)
    gives(calls(call(0, '"c1"', '"f"', '"{}"')) .. calls(call(0, nil, nil, '" "')), { "c1 f {} " })
  end)

  it("row 82: arguments nested 10,000 deep are kept raw, without args", function()
    local raw = ('{"a":'):rep(10000) .. "1" .. ("}"):rep(10000)
    local body = calls(call(0, '"c1"', '"f"', json.encode(raw))) .. CALLED
    local reply = play.succeeded(play.run(play.HEAD .. body), "")
    assert.equal(raw, reply.tool_calls[1].arguments)
    assert.is_nil(reply.tool_calls[1].args)
  end)

  it("row 83: an unknown tool and one id in two places do no harm", function()
    reads(calls(call(0, '"c1"', '"no_such_tool"', '"{}"')) .. CALLED, "", function(reply, out)
      assert.equal("no_such_tool", reply.tool_calls[1].name)
      assert.equal("no_such_tool", out.history[#out.history].tool_calls[1]["function"].name)
    end)
    whole('{"role":"assistant","content":null,"tool_calls":[' .. call(0, '"c1"', '"f"', '"{}"') .. ","
      .. call(1, '"c1"', '"g"', '"{}"') .. "]}", "", function(reply) assert.truthy(#reply.tool_calls >= 1) end, "tool_calls")
  end)

  local function at(index, text)
    return ('data: {"choices":[{"index":%s,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'):format(index, text)
  end

  it("row 84: the choices of n > 1 are kept apart", function()
    reads(at(0, "a") .. at(1, "x") .. at(5, "q") .. at(0, "b") .. at(1, "y") .. play.DONE, "ab", function(reply, out)
      local texts = {}
      for _, choice in ipairs(reply.choices) do texts[choice.index] = choice.text end
      assert.same({ [0] = "ab", [1] = "xy", [5] = "q" }, texts)
      assert.equal("ab", out.heard)
    end)
  end)

  it("row 84: a lone choice 5 is not choice 0", function()
    play.events(at(5, "q") .. play.DONE, function(out)
      assert.is_nil(out.err)
      assert.equal(5, out.reply.choices[1].index)
      assert.equal("q", out.reply.choices[1].text)
    end)
  end)

  it("row 85: a surrogate pair split over two deltas is one character", function()
    reads(play.text "a\\ud83d" .. play.text "\\ude80b" .. play.END, "a\240\159\154\128b", function(_, out)
      for _, piece in ipairs(out.pieces) do
        assert.is_nil(piece:find "[\194-\244]$")
        assert.is_nil(piece:find("\239\191\189", 1, true))
      end
    end)
  end)

  it("row 86: a lone surrogate is U+FFFD, and NUL is kept", function()
    local bad = "\239\191\189"
    reads(play.text "a\\ud83d" .. play.text "b" .. play.END, "a" .. bad .. "b")
    reads(play.text "a\\ude80b" .. play.END, "a" .. bad .. "b")
    reads(play.text "a\\ud83d" .. play.END, "a" .. bad)
    reads(play.text "a\\u0000b" .. play.END, "a\0b")
    whole('{"role":"assistant","content":"a\\ud83d \\u0000b"}', "a" .. bad .. " \0b")
  end)

  it("row 87: of duplicate keys the last wins", function()
    reads(play.chunk '{"content":"no","content":"a"}' .. play.END, "a")
  end)

  it("row 87: 1e400 is refused, other numbers are exact", function()
    local function arguments(text) return calls(call(0, '"c1"', '"f"', json.encode(text))) .. CALLED end
    reads(arguments '{"x":1e400}', "", function(reply) assert.is_nil(reply.tool_calls[1].args) end)
    reads(arguments '{"a":9007199254740993,"b":9223372036854775807,"c":-0}', "", function(reply)
      local args = reply.tool_calls[1].args
      assert.equal("9007199254740993", tostring(args.a))
      assert.equal("9223372036854775807", tostring(args.b))
      assert.equal(0, args.c)
    end)
    local digits = ("1234567890"):rep(5)
    reads(arguments('{"x":' .. digits .. "}"), "", function(reply) assert.equal(digits, reply.tool_calls[1].args.x) end)
    reads(arguments '{"a":1,"a":2}', "", function(reply) assert.equal(2, reply.tool_calls[1].args.a) end)
    fails(A .. 'data: {"created":1e400,"choices":[]}\n\n' .. play.END, "protocol", "malformed_event", "a")
  end)

  it("row 88: a chunk nested 100,000 deep is too_deep", function()
    for _, open in ipairs { "[", '{"a":' } do
      local body = play.HEAD .. A .. 'data: {"x":' .. open:rep(100000) .. "\n\n" .. play.END
      play.failed(play.run(body), "too_large", "too_deep", "a")
      play.failed(play.run(body, { split = 997 }), "too_large", "too_deep", "a")
    end
    local deep = play.http(200, '{"x":' .. ("["):rep(100000))
    play.failed(play.run(deep, { mode = "send" }), "too_large", "too_deep")
  end)

  it("row 88: limits.depth is the limit", function()
    local function nested(n) return A .. 'data: {"x":' .. ("["):rep(n) .. ("]"):rep(n) .. ',"choices":[]}\n\n' .. play.END end
    local shallow = { limits = { depth = 20 } }
    play.succeeded(play.run(play.HEAD .. nested(15), { new = shallow }), "a")
    play.failed(play.run(play.HEAD .. nested(25), { new = shallow }), "too_large", "too_deep", "a")
    play.succeeded(play.run(play.HEAD .. nested(100)), "a")
  end)

  it("row 89: Infinity, NaN, hex, 01, +1, comments and trailing commas are refused", function()
    for _, value in ipairs { "Infinity", "-Infinity", "NaN", "0x10", "01", "+1", "1.", ".5", "/* c */ 1", "[1,]", "'x'", "True" } do
      fails(A .. 'data: {"x":' .. value .. ',"choices":[]}\n\n' .. play.END, "protocol", "malformed_event", "a")
      local out = play.run(play.http(200, '{"x":' .. value .. "," .. play.completion '{"content":"a"}':sub(2)), { mode = "send" })
      play.failed(out, "protocol")
    end
  end)
end)
