-- core.sse: the event-stream parser as Lua sees it. What it makes of bytes is
-- tested in sse_test.c; here the face and its caps.
local core = require "oaichat.core"

local function all(parser)
  local events = {}
  for data, event, id, retry in parser.next, parser do
    events[#events + 1] = { data, event or "-", id, retry or "-" }
  end
  return events
end

local function read(bytes, size)
  local parser, events = core.sse {}, {}
  for i = 1, #bytes, size do
    parser:feed(bytes:sub(i, i + size - 1))
    for _, event in ipairs(all(parser)) do events[#events + 1] = event end
  end
  local data, event, id, retry = parser:finish()
  if data then
    events[#events + 1] = { data, event or "-", id, retry or "-", "cut" }
  end
  return events
end

local cases = {
  { "\239\187\191data: a\n\ndata:b\r\n\r\ndata\r\r",
    { { "a", "-", "", "-" }, { "b", "-", "", "-" }, { "", "-", "", "-" } } },
  { ": ping\n\ndata: a\ndata:  b\nfoo: c\n\n", { { "a\n b", "-", "", "-" } } },
  { "event: x\nid: 1\nretry: 250\ndata: a\n\ndata: b\n\nid: 23\ndata: c\n\n",
    { { "a", "x", "1", 250 }, { "b", "-", "1", "-" }, { "c", "-", "23", "-" } } },
  { "data: a\0b\n\ndata: \255\n\n",
    { { "a\0b", "-", "", "-" }, { "\239\191\189", "-", "", "-" } } },
  { "data: a\n\nevent: y\ndata: [DONE]",
    { { "a", "-", "", "-" }, { "[DONE]", "y", "", "-", "cut" } } },
  { "data: a\n\n: nothing", { { "a", "-", "", "-" } } },
}

describe("core.sse", function()
  it("gives the same events at any split", function()
    for _, case in ipairs(cases) do
      for size = 1, #case[1] do
        assert.same(case[2], read(case[1], size))
      end
    end
  end)

  it("gives an event at its CR, without waiting for the next byte", function()
    local parser = core.sse()
    parser:feed "data: a\r\r"
    assert.same({ { "a", "-", "", "-" } }, all(parser))
    parser:feed "\ndata: b\r\n\r"
    assert.same({ { "b", "-", "", "-" } }, all(parser))
  end)

  it("returns nothing while there is no event", function()
    local parser = core.sse()
    assert.is_nil(parser:next())
    assert.is_nil(parser:finish())
    assert.equal(parser, parser:feed "")
    assert.is_nil(parser:next())
  end)

  it("refuses an event above its cap, keeps what was whole and is spent", function()
    local parser = core.sse { max_event_bytes = 10 }
    assert.equal(parser, parser:feed "data: 0123456789\n\n")
    local ok, message, err = parser:feed "data: 0123456789a"
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("too_large", err.kind)
    assert.same({ { "0123456789", "-", "", "-" } }, all(parser))
    ok, message, err = parser:feed "\n\ndata: b\n\n"
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("too_large", err.kind)
  end)

  it("counts an event's lines together", function()
    local parser = core.sse { max_event_bytes = 10 }
    local ok
    for _ = 1, 12 do ok = parser:feed "data\n" end
    assert.is_nil(ok)
  end)

  it("lets comments go on for ever", function()
    local parser = core.sse { max_event_bytes = 10 }
    parser:feed ":"
    for _ = 1, 100 do assert(parser:feed(("x"):rep(1000))) end
    parser:feed "\ndata: a\n\n"
    assert.same({ { "a", "-", "", "-" } }, all(parser))
  end)

  it("raises on misuse", function()
    assert.has_error(function() core.sse { max_event_bytes = 0 } end)
    assert.has_error(function() core.sse { max_event_bytes = 0 / 0 } end)
    assert.has_error(function() core.sse { max_event_bytes = "many" } end)
    assert.has_error(function() core.sse "10" end)
    assert.has_error(function() core.sse():feed() end)
    assert.has_error(function() core.sse():feed {} end)
    assert.has_error(function() core.sse().feed({}, "data") end)
  end)

  it("raises once it is closed, and closes twice", function()
    local parser = core.sse()
    parser:close()
    parser:close()
    assert.has_error(function() parser:feed "data" end)
    assert.has_error(function() parser:next() end)
    assert.has_error(function() parser:finish() end)
  end)
end)
