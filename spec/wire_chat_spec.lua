--- wire/chat renders: stable bytes, empty tables, errors with their path.
-- luacheck: no max line length

local json = require "oaichat.json"
local wire = require "oaichat.wire.chat"

local HOME = "https://a.example:443"

local function render(messages, options, system)
  options = options or {}
  options.model = options.model or "m"
  local parts, why, err = wire.render({ messages = messages, origin = HOME, system = system }, options)
  return parts and table.concat(parts), why, err
end

local HELLO = { role = "user", content = "hi" }

describe("the chat wire", function()
  it("renders model, messages and what was asked for", function()
    assert.equal('{"model":"m","messages":[{"content":"hi","role":"user"}]}', render { HELLO })
    assert.equal('{"model":"m","messages":[{"content":"s","role":"system"},{"content":"hi","role":"user"}],"stream":true,'
      .. '"stream_options":{"include_usage":true},"temperature":0}',
      render({ HELLO }, { params = { temperature = 0 }, stream = true }, "s"))
    assert.equal('{"model":"m","messages":[]}', render {})
  end)

  it("lets params.stream_options stand", function()
    local body = render({ HELLO }, { params = { stream_options = { include_usage = false } }, stream = true })
    assert.truthy(body:find('"stream_options":{"include_usage":false}', 1, true))
  end)

  it("gives the same bytes each time, and those of before for the messages of before", function()
    local params = {}
    for i = 1, 40 do params["p" .. i] = i end
    local first = render({ HELLO }, { params = params })
    for _ = 1, 5 do assert.equal(first, render({ { content = "hi", role = "user" } }, { params = params })) end
    local longer = render { HELLO, { role = "assistant", content = "yo" } }
    assert.equal(render({ HELLO }):sub(1, -3), longer:sub(1, #render { HELLO } - 2))
  end)

  it("gives a history that only grows the bytes of a list that is whole", function()
    for _, system in ipairs { "s", false } do
      local history, all = {}, {}
      for turn = 1, 60 do
        -- texts of very different lengths, so that pieces are joined and left alone
        local added = { { role = "user", content = ("é\n"):rep(turn % 7 == 0 and 40000 or turn) } }
        if turn == 9 then added[2] = { role = "user", content = "two at once" } end
        for _, one in ipairs(added) do all[#all + 1] = one end
        local parts = assert(wire.render({
          messages = history, added = added, origin = HOME, system = system or nil,
        }, { model = "m" }))
        assert.equal((render(all, nil, system or nil)), table.concat(parts))
        assert.is_true(#parts < 60, #parts)
        for _, one in ipairs(added) do history[#history + 1] = one end
        history[#history + 1] = { role = "assistant", content = "answer " .. turn }
        all[#all + 1] = history[#history]
      end
    end
  end)

  it("gives a growing history with pictures in a tool's result the same bytes too", function()
    local call = { id = "c", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    local picture = { type = "image_url", image_url = { url = "data:image/png;base64,AA==" } }
    local history = { HELLO, { role = "assistant", tool_calls = { call } } }
    local added = { { role = "tool", tool_call_id = "c", content = { picture } } }
    local function both()
      local all = {}
      for _, list in ipairs { history, added } do
        for _, one in ipairs(list) do all[#all + 1] = one end
      end
      local parts = assert(wire.render({ messages = history, added = added, origin = HOME }, { model = "m" }))
      assert.equal((render(all)), table.concat(parts))
    end
    both()
    history[3], added = added[1], { { role = "user", content = "and now?" } }
    both()
    history[4], added = added[1], {}
    both()
  end)

  it("is right again when an interrupt came while a history grew", function()
    if rawget(_G, "jit") then return end -- compiled code calls no hooks
    local history = {}
    for i = 1, 12 do history[i] = { role = "user", content = ("text %d "):format(i):rep(i * 30) } end
    local want = render(history)
    for at = 3, 900, 7 do
      local list = {}
      for i = 1, 6 do list[i] = history[i] end
      wire.render({ messages = list, added = {}, origin = HOME }, { model = "m" })
      for i = 7, 12 do list[i] = history[i] end
      pcall(function()
        debug.sethook(function()
          debug.sethook()
          error "interrupted"
        end, "", at)
        wire.render({ messages = list, added = {}, origin = HOME }, { model = "m" })
        debug.sethook()
      end)
      debug.sethook()
      local parts = assert(wire.render({ messages = list, added = {}, origin = HOME }, { model = "m" }))
      assert.equal(want, table.concat(parts), at)
    end
  end)

  it("names the place of a message behind a growing history", function()
    local _, _, err = wire.render({
      messages = { HELLO, HELLO }, added = { { role = "user", content = print } }, origin = HOME,
    }, { model = "m" })
    assert.equal("messages[3].content", err.path)
  end)

  it("never sends meta, and sends opaque fields to their origin alone", function()
    local message = { role = "assistant", content = "a", meta = { origin = HOME, opaque = { signature = "S" } } }
    assert.truthy(render({ message }):find('"signature":"S"', 1, true))
    assert.is_nil(render({ message }):find("meta", 1, true))
    message = { role = "assistant", content = "a", meta = { origin = "https://b.example:443", opaque = { signature = "S" } } }
    assert.is_nil(render({ message }):find("signature", 1, true))
  end)

  it("writes a call's message with null content, an empty one with empty content", function()
    local call = { id = "c", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    assert.truthy(render({ { role = "assistant", tool_calls = { call } } }):find('"content":null', 1, true))
    assert.truthy(render({ { role = "assistant" } }):find('"content":""', 1, true))
    assert.is_nil(render({ { role = "assistant", refusal = "no" } }):find('"content":""', 1, true))
  end)

  it("writes empty tables as {} or, marked, as []", function()
    local body = render({ HELLO }, { tools = { { parameters = { properties = {}, required = json.array {} } } } })
    assert.truthy(body:find('"properties":{},"required":[]', 1, true))
  end)

  it("names the path of what cannot be sent", function()
    local none, why, err = render { HELLO, { role = "user", content = { { type = "text", text = print } } } }
    assert.is_nil(none)
    assert.equal("messages[2].content[1].text", err.path)
    assert.equal("invalid_request", err.kind)
    assert.equal("encode", err.code)
    assert.equal(why, err.message)
    assert.truthy(why:find("messages[2].content[1].text", 1, true))
    none, why, err = render({ HELLO }, { params = { x = { 0 / 0 } } })
    assert.is_nil(none)
    assert.equal("x[1]", err.path)
    assert.equal(why, err.message)
  end)

  it("says that a model is missing, also in the first request", function()
    package.loaded["oaichat.wire.chat"] = nil
    local fresh = require "oaichat.wire.chat"
    package.loaded["oaichat.wire.chat"] = wire
    local parts, why, err = fresh.render({ messages = { HELLO }, origin = HOME }, {})
    assert.is_nil(parts)
    assert.equal(why, err.message)
  end)

  it("keeps three names to itself", function()
    for _, name in ipairs { "messages", "model", "stream" } do assert.is_true(wire.reserved(name)) end
    assert.is_false(wire.reserved "temperature")
  end)
end)
