--- The reply: raw() merges what the server said.
-- luacheck: no max line length

local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

describe("a reply", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("reads as its text", function()
    local out = play.run(play.http(200, play.completion '{"content":"a"}'), { mode = "send" })
    assert.equal("a", tostring(out.reply))
  end)

  it("has a message and choices that are one thing, and the caller's alone", function()
    local server = testing.server(play.good)
    local s = play.session(server)
    local reply = assert(s:send "x")
    assert.equal(reply.message, reply.message)
    assert.equal(reply.message, reply.choices[1].message)
    assert.equal(reply.tool_calls, reply.choices[1].tool_calls)
    assert.same(s:messages()[2], reply.message)
    reply.message.content, reply.message.meta.model = "changed", "changed"
    assert.equal("good", s:messages()[2].content)
    assert.equal("test-model", s:messages()[2].meta.model)
    local again = assert(s:send "y")
    assert.is_nil(server.requests[2].body:find("changed", 1, true))
    assert.equal("good", again.message.content)
    server:close()
  end)

  it("follows what the session says between two turns", function()
    local server = testing.server(play.good)
    local s = play.session(server)
    assert(s:send "x")
    s.model = "other"
    assert(s:send "y")
    assert(s:stream("z"):result())
    assert(s:send("w", { params = { seed = 7 } }))
    assert(s:send "v")
    local sent = {}
    for i, request in ipairs(server.requests) do sent[i] = request:json() end
    assert.same({ "any", "other", "other", "other", "other" },
      { sent[1].model, sent[2].model, sent[3].model, sent[4].model, sent[5].model })
    assert.same({ nil, nil, true, nil, nil }, { sent[1].stream, sent[2].stream, sent[3].stream, sent[4].stream, sent[5].stream })
    assert.equal(7, sent[4].seed)
    assert.is_nil(sent[5].seed)
    server:close()
  end)

  it("has the unknown fields of a whole answer in raw()", function()
    local body = '{"id":"x","model":"m","system_fingerprint":"fp","created":1700000000,"x_new":{"y":[1,2],"e":[],"o":{}},'
      .. '"choices":[{"index":0,"logprobs":{"content":[{"token":"a"}]},"message":{"role":"assistant","content":"a",'
      .. '"annotations":[{"type":"url"}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'
    play.each(play.http(200, body), {}, function(out)
      local raw = out.reply:raw()
      assert.equal("fp", raw.system_fingerprint)
      assert.equal(1700000000, raw.created)
      assert.equal('{"e":[],"o":{},"y":[1,2]}', json.encode(raw.x_new))
      assert.equal("a", raw.choices[1].logprobs.content[1].token)
      assert.equal("url", raw.choices[1].message.annotations[1].type)
      assert.equal("a", raw.choices[1].message.content)
      assert.equal("stop", raw.choices[1].finish_reason)
      assert.equal(3, raw.usage.prompt_tokens)
      assert.are_not.equal(raw, out.reply:raw())
    end)
  end)

  it("merges chunks: arrays appended, scalars last, objects by key", function()
    local function chunk(extra) return 'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}],' .. extra .. "}\n\n" end
    local body = chunk '"seq":1,"list":[1],"obj":{"a":1,"b":1}' .. chunk '"seq":2,"list":[2,3],"obj":{"b":2}' .. play.DONE
    play.events(body, function(out)
      local raw = play.succeeded(out, "aa"):raw()
      assert.equal(2, raw.seq)
      assert.equal("[1,2,3]", json.encode(raw.list))
      assert.equal('{"a":1,"b":2}', json.encode(raw.obj))
      assert.equal("aa", raw.choices[1].message.content)
    end)
  end)

  it("keeps 64-bit integers of unknown fields", function()
    local body = 'data: {"big":9007199254740993,"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n' .. play.DONE
    play.events(body, function(out)
      assert.equal("9007199254740993", tostring(play.succeeded(out, "a"):raw().big))
    end)
  end)

  it("joins the text of reasoning_details by index", function()
    local function detail(text, more)
      return play.chunk('{"reasoning_details":[{"index":0,"type":"reasoning.text","text":"' .. text .. '"' .. (more or "") .. "}]}")
    end
    play.events(detail "hm " .. detail("well", ',"signature":"S"') .. play.text "a" .. play.END, function(out)
      local details = play.succeeded(out, "a"):raw().choices[1].message.reasoning_details
      assert.same({ { index = 0, type = "reasoning.text", text = "hm well", signature = "S" } }, { details[1] })
      assert.equal(1, #details)
    end)
  end)

  it("is there on err.partial too", function()
    play.events('data: {"x":1,"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', function(out)
      assert.equal("a", out.err.partial.text)
      assert.equal(1, out.err.partial:raw().x)
    end)
  end)
end)
