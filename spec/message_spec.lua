--- Messages: what may stand in a conversation, copies, open calls, parts.
-- luacheck: no max line length

local json = require "oaichat.json"
local message = require "oaichat.message"

local function call(id) return { id = id, type = "function", ["function"] = { name = "f", arguments = "{}" } } end

local function ids(calls)
  local out = {}
  for i, c in ipairs(calls) do out[i] = c.id end
  return out
end

describe("messages", function()
  it("are made of a string, a message, a list, parts, nothing", function()
    assert.same({ { role = "user", content = "a" } }, message.from_input "a")
    assert.same({ { role = "user", content = "" } }, message.from_input "")
    assert.same({}, message.from_input(nil))
    assert.same({ { role = "system", content = "a" } }, message.from_input { role = "system", content = "a" })
    assert.same({ { role = "user", content = { { type = "text", text = "a" }, { type = "text", text = "b" } } } },
      message.from_input { "a", { type = "text", text = "b" } })
    assert.equal(2, #message.from_input { { role = "user", content = "a" }, { role = "assistant" } })
  end)

  it("name the place of what is wrong", function()
    local cases = {
      { { role = "nobody", content = "a" }, "input.role" }, { { role = "user" }, "input.content" },
      { { { role = "user", content = "a" }, { role = "tool", content = "x" } }, "input[2].tool_call_id" },
      { { "a", { type = "odd" } }, "input[2]" }, { {}, "empty" }, { 1, "number" }, { { role = "user", content = 1 }, "input.content" },
    }
    for _, case in ipairs(cases) do
      local ok, why = pcall(message.from_input, case[1])
      assert.is_false(ok)
      assert.truthy(why:find(case[2], 1, true), why)
    end
  end)

  it("are refused where JSON would take them and no API, with their place", function()
    local function user(content, fields)
      local one = { role = "user", content = content }
      for name, value in pairs(fields or {}) do one[name] = value end
      return one
    end
    local function asks(calls) return { role = "assistant", content = "", tool_calls = calls } end
    local cases = {
      { user {}, "input.content: an empty table is no content" }, { user { text = "a" }, "input.content: a string or a list of parts" },
      { user { { text = "a" } }, "input.content[1]: a part with a type" }, { user { { type = "text" } }, "input.content[1].text: a string" },
      { { { type = "text", text = 7 } }, "input[1].text: a string" }, { user(json.null), "input.content is missing" },
      { user("a", { name = 7 }), "input.name: a string" }, { user("a", { meta = "x" }), "input.meta: a table" },
      { user("a", { tool_calls = {} }), "input.tool_calls: the assistant's alone" }, { asks(7), "input.tool_calls: a list" },
      { asks "x", "input.tool_calls: a list" }, { asks { 7 }, "input.tool_calls[1].id" }, { asks { { id = "c" } }, "input.tool_calls[1].function" },
      { { role = "function", content = "x" }, "input.name is missing" }, { { content = "x" }, "input.role: nil is no role" },
      { { user "a", [3] = user "b" }, "input: a message or a list expected; it has the key 3" },
      { { user "a", more = 1 }, "input: a message or a list expected; it has the key more" },
    }
    for _, case in ipairs(cases) do
      local ok, why = pcall(message.from_input, case[1])
      assert.is_false(ok, case[2])
      assert.truthy(why:find(case[2], 1, true), why)
    end
    message.from_input { user(json.array {}), asks(json.null), asks { call "c" }, user { { type = "video_url", video_url = {} } },
      asks { { id = "c", type = "custom", custom = { name = "f", input = "" } } }, user("a", { name = json.null, meta = {} }) }
    assert.same({ { role = "user", content = { { type = "text", text = "a" } } } }, message.from_input { role = "user", content = { "a" } })
  end)

  it("are copied deeply, with metatables, and in their shape", function()
    local old = { a = { 1, 2 }, list = json.array {} }
    old.again = old.a
    local new = message.copy(old)
    assert.are_not.equal(old.a, new.a)
    assert.same({ 1, 2 }, new.a)
    assert.equal(new.a, new.again)
    assert.equal(json.array_mt, getmetatable(new.list))
    old.self = old
    new = message.copy(old)
    assert.equal(new, new.self)
  end)

  it("are copied as pairs gives them: a proxy is what it stands for", function()
    if _VERSION == "Lua 5.1" then return end -- no __pairs
    local function proxy(t)
      return setmetatable({}, { __index = t, __pairs = function() return next, t, nil end })
    end
    assert.equal("hi", rawget(message.copy(proxy { role = "user", content = "hi" }), "content"))
    local copy = message.copy { proxy { type = "text", text = "part" }, { 1 } }
    assert.equal("part", rawget(copy[1], "text"))
  end)

  it("know the calls that no result answers", function()
    local asked = { role = "assistant", tool_calls = { call "a", call "b" } }
    local function result(id) return { role = "tool", tool_call_id = id, content = "x" } end
    local user = { role = "user", content = "x" }
    assert.same({}, message.open_calls {})
    assert.same({}, message.open_calls { user })
    assert.same({ "a", "b" }, ids(message.open_calls { user, asked }))
    assert.same({ "b" }, ids(message.open_calls { user, asked, result "a" }))
    assert.same({}, message.open_calls { user, asked, result "b", result "a" })
    local closing = message.close_call(call "b", "stopped")
    assert.equal("b", closing.tool_call_id)
    assert.equal("tool", closing.role)
    assert.truthy(closing.content:find("stopped", 1, true))
    assert.is_true(closing.meta.synthesised)
  end)

  it("tell media types by content", function()
    local cases = {
      ["\137PNG\r\n\26\n"] = "image/png", ["\255\216\255\219"] = "image/jpeg", ["GIF89a"] = "image/gif",
      ["RIFF\0\0\0\0WEBP"] = "image/webp", ["RIFF\0\1\2\3WAVE"] = "audio/wav", ["ID3\4"] = "audio/mp3", ["\255\251x"] = "audio/mp3",
      ["%PDF-1.4"] = "application/pdf",
    }
    for bytes, media in pairs(cases) do assert.equal(media, message.media_type(bytes), media) end
    for _, bytes in ipairs { "", "hello", "GIF8", " %PDF-", "RIFF" } do assert.is_nil(message.media_type(bytes)) end
  end)

  it("refuse a part of an unknown type, and keep only a file's last name", function()
    local none, why = message.part("hello", "a/b.txt")
    assert.is_nil(none)
    assert.truthy(why:find("a/b.txt", 1, true))
    assert.equal("c.pdf", message.part("%PDF-1", "a/b/c.pdf").file.filename)
    assert.equal("c.pdf", message.part("%PDF-1", "a\\c.pdf").file.filename)
  end)
end)
