--- FAULTS D: the framing of event streams, over a socket, at any split.
-- luacheck: no max line length

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local A, B = play.text "a", play.text "b"

-- Whatever surrounds it, the text is `text`.
local function reads(body, text, opts)
  play.events(body, function(out) play.succeeded(out, text) end, opts)
end

local function fails(body, kind, code, partial, opts)
  play.events(body, function(out) play.failed(out, kind, code, partial) end, opts)
end

describe("faults of framing:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 52: any split gives the same events", function()
    local body = "\239\187\191" .. play.text "h\195\169llo \226\130\172 \240\159\154\128":gsub("\n", "\r\n") .. A:gsub("\n", "\r\n")
      .. play.END
    reads(body, "h\195\169llo \226\130\172 \240\159\154\128a")
    for size = 2, 9 do
      local out = play.run(play.HEAD .. body, { split = size })
      play.succeeded(out, "h\195\169llo \226\130\172 \240\159\154\128a")
      for _, piece in ipairs(out.pieces) do
        assert.is_nil(piece:find "^[\128-\191]", "a piece begins inside a character")
      end
    end
  end)

  it("row 53: lines end in LF, CRLF, CR or a mixture", function()
    for _, eol in ipairs { "\n", "\r\n", "\r" } do reads((A .. B .. play.END):gsub("\n", eol), "ab") end
    reads(A:gsub("\n\n", "\r\n\n") .. B:gsub("\n\n", "\n\r") .. play.FINISH:gsub("\n\n", "\r\r\n") .. play.DONE, "ab")
  end)

  it("row 53: an event that ends in CR is delivered without waiting for the next byte", function()
    local server = testing.server(function(_, response)
      response:raw(play.HEAD .. A:gsub("\n", "\r")):pause(0.4):raw(play.END):close()
    end)
    local stream = play.session(server):stream "hello"
    local start = core.now()
    assert.equal("a", stream:next())
    assert.is_true(core.now() - start < 0.2)
    assert.truthy(stream:result())
    server:close()
  end)

  it("row 54: a BOM is stripped at the start, once, and data later", function()
    reads("\239\187\191" .. A .. play.END, "a")
    -- the second makes the field's name unknown
    reads("\239\187\191\239\187\191" .. A .. B .. play.END, "b")
    reads(A .. "\239\187\191" .. B .. play.END, "a")
    reads(play.text "\239\187\191" .. play.END, "\239\187\191")
  end)

  it("row 55: data: without a space, with two, with a tab, without a colon", function()
    reads(A:gsub("data: ", "data:") .. B:gsub("data: ", "data:  ") .. play.text "c":gsub("data: ", "data:\t")
      .. "data\n\n" .. play.END, "abc")
  end)

  it("row 56: several data lines of one event are joined by a newline", function()
    local parts = 'data: {"choices":[{"index":0,\ndata: "delta":{"content":"a"},\ndata:\ndata: "finish_reason":null}]}\n\n'
    reads(parts .. play.END, "a")
    -- a newline inside of a JSON string is not JSON
    fails('data: {"choices":[{"index":0,"delta":{"content":"a\ndata: b"}}]}\n\n' .. play.END,
      "protocol", "malformed_event")
  end)

  it("row 57: comments of any kind are ignored", function()
    reads(": OPENROUTER PROCESSING\n\n" .. A .. ": ping\n\n:\n\n:\n" .. B .. ":\r\n" .. play.END, "ab")
    local many = (": ping\n\n"):rep(10000)
    play.succeeded(play.run(play.HEAD .. many .. A .. play.END), "a")
    play.succeeded(play.run(play.HEAD .. many .. A .. play.END, { split = 4096 }), "a")
  end)

  it("row 57: a comment of 1 MB costs no memory", function()
    local long = ":" .. ("x"):rep(2 ^ 20)
    local small = { limits = { event_bytes = 4096 } }
    play.succeeded(play.run(play.HEAD .. long .. "\n" .. A .. play.END, { new = small }), "a")
    play.succeeded(play.run(play.HEAD .. long .. "\n" .. A .. play.END, { new = small, split = 5000 }), "a")
    -- one that never ends
    play.failed(play.run(play.HEAD .. A .. long, { new = small }), "incomplete_stream", "incomplete", "a")
  end)

  it("row 58: unknown fields, an id with NUL, a retry that is no number are ignored", function()
    reads("foo: bar\nid: a\0b\nretry: soon\nevent\n" .. A .. "id\nretry: -5\nretry: 99999999999999999999\n" .. B .. "x\n\n"
      .. play.END, "ab")
  end)

  it("row 59: an error: line is the API's error", function()
    local line = 'error: {"code":500,"message":"slot unavailable","type":"server_error"}\n\n'
    for _, before in ipairs { "", A } do
      play.events(before .. line, function(out)
        local err = play.failed(out, "server", nil, before ~= "" and "a" or nil)
        assert.truthy(err.message:find("slot unavailable", 1, true))
      end)
    end
  end)

  it("row 60: event: error with flat, nested, string and null data", function()
    local cases = {
      ['{"error":{"message":"it broke","type":"server_error"}}'] = "it broke",
      ['{"message":"it broke"}'] = "it broke",
      ['"it broke"'] = "it broke",
      ["it broke"] = "it broke",
      ["null"] = "",
    }
    for data, words in pairs(cases) do
      for _, after in ipairs { "", play.DONE, play.END } do
        play.events(A .. "event: error\ndata: " .. data .. "\n\n" .. after, function(out)
          local err = play.failed(out, "server", nil, "a")
          assert.truthy(err.message:find(words, 1, true), data .. " gave " .. err.message)
        end)
      end
    end
  end)

  it("row 61: pings and keepalive JSON without choices are ignored", function()
    local ping = 'event: ping\ndata: {"type":"ping"}\n\n'
    reads(ping .. A .. ping .. 'data: {"type":"keepalive"}\n\ndata: {"id":"x","object":"ping"}\n\n' .. B .. play.END, "ab")
  end)

  it("row 62: the last event may lack its blank line or its newline", function()
    for _, cut in ipairs { 1, 2 } do
      reads(A .. play.FINISH:sub(1, -1 - cut), "a")
      reads(A .. play.END:sub(1, -1 - cut), "a")
      fails(A .. B:sub(1, -1 - cut), "incomplete_stream", "incomplete", "ab")
    end
    -- what does not decode was cut
    fails(A .. B:sub(1, -20), "incomplete_stream", "incomplete", "a")
    fails(A .. play.FINISH:sub(1, -8), "incomplete_stream", "incomplete", "a")
  end)

  it("row 63: [DONE] ends the stream without a blank line, with CRLF, with event: done", function()
    reads(A .. "data: [DONE]", "a")
    reads(A .. "data: [DONE]\n", "a")
    reads(A .. "data: [DONE]\r\n\r\n", "a")
    reads(A .. "data:[DONE]\n\n", "a")
    reads(A .. "event: done\ndata: [DONE]\n\n", "a")
  end)

  it("row 64: what only looks like [DONE] is no end", function()
    for _, data in ipairs { "[DONE]x", "[DONE] ", "[DONE]\ndata: {}", "[DONE]\ndata:", "[done]" } do
      fails(A .. "data: " .. data .. "\n\n" .. play.DONE, "protocol", "malformed_event", "a")
    end
  end)

  it("row 65: data and errors after [DONE] are ignored", function()
    reads(A .. play.END .. B .. play.END, "a")
    reads(A .. play.END .. 'data: {"error":{"message":"late"}}\n\n', "a")
    reads(A .. play.END .. 'event: error\ndata: "late"\n\nerror: late\n\ngarbage', "a")
  end)

  it("row 66: an event without data, empty data and blank lines are ignored", function()
    reads("\n\n\n\n\nevent: x\n\n" .. A .. "data:\n\ndata\n\ndata: \n\nevent:\nid:\n\n" .. B .. "\n\n\n\n\n" .. play.END, "ab")
  end)

  it("row 67: each broken UTF-8 sequence becomes U+FFFD, and no piece is half a character", function()
    local bad = "\239\191\189"
    local cases = {
      ["x\255y"] = "x" .. bad .. "y",
      ["x\195y"] = "x" .. bad .. "y", -- cut
      ["x\192\128y"] = "x" .. bad .. bad .. "y", -- overlong
      ["x\237\160\128y"] = "x" .. bad .. bad .. bad .. "y", -- a surrogate
      ["x\240\159\154y"] = "x" .. bad .. "y",
      ["x\244\144\128\128y"] = "x" .. bad .. bad .. bad .. bad .. "y",
    }
    for bytes, text in pairs(cases) do reads(play.text(bytes) .. play.END, text) end
  end)

  it("row 67: a character split over two deltas is handed out whole", function()
    play.events(play.text "a\226\130" .. play.text "\172b" .. play.END, function(out)
      for _, piece in ipairs(out.pieces) do
        assert.is_nil(piece:find "[\194-\244]$", "a piece ends inside a character")
        assert.is_nil(piece:find "^[\128-\191]", "a piece begins inside a character")
      end
    end)
  end)

  it("row 67: of a whole answer too, so that the history can be sent again", function()
    local server = assert(testing.server(function(_, response)
      response:body(200, play.completion('{"role":"assistant","content":"x\195y\255"}'))
    end))
    for _, opts in ipairs { false, {} } do -- a quick turn and a whole one
      local session = play.session(server)
      local reply = assert(session:send("q", opts or nil))
      assert.equal("x\239\191\189y\239\191\189", reply.text)
      assert.equal(reply.text, reply:raw().choices[1].message.content)
      assert(session:send("r", opts or nil))
      assert.equal(4, #session:messages())
    end
    server:close()
  end)

  it("row 68: NUL inside data is kept, or refused as JSON does", function()
    reads(play.chunk '{"content":"a\\u0000b"}' .. play.END, "a\0b")
    -- a raw NUL is a control character, which no JSON string may hold (RFC 8259, 7)
    fails(A .. 'data: {"choices":[{"index":0,"delta":{"content":"b\0c"}}]}\n\n' .. play.END,
      "protocol", "malformed_event", "a")
    reads("x\0y: z\n: comm\0ent\n" .. A .. play.END, "a")
  end)

  it("row 69: one event of 8 MB of tool arguments works", function()
    local function call(n)
      return play.chunk('{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"x\\":\\"'
        .. ("y"):rep(n) .. '\\"}"}}]}') .. play.chunk("{}", "tool_calls") .. play.DONE
    end
    local function long(n, split)
      local reply = play.succeeded(play.run(play.HEAD .. call(n), { split = split }), "")
      assert.equal(n + 8, #reply.tool_calls[1].arguments)
      assert.equal(n, #reply.tool_calls[1].args.x)
    end
    long(8e6, 65536)
    long(8e6)
    long(30000, 1)
  end)

  it("row 69: an event beyond limits.event_bytes is too_large", function()
    local small = { new = { limits = { event_bytes = 3000 } } }
    fails(A .. play.text(("x"):rep(3000)) .. play.END, "too_large", "too_large", "a", small)
    reads(A .. play.text(("x"):rep(2000)) .. play.END, "a" .. ("x"):rep(2000), small)
  end)

  it("row 70: a line without an end and data lines without a blank line are too_large", function()
    local small = { new = { limits = { event_bytes = 3000 } } }
    fails(A .. "data: " .. ("x"):rep(9000), "too_large", "too_large", "a", small)
    fails(A .. ("x"):rep(9000), "too_large", "too_large", "a", small)
    fails(A .. ("data: x\n"):rep(2000), "too_large", "too_large", "a", small)
  end)

  it("row 70: the socket is closed at the cap", function()
    local peer
    local server = testing.server(function(request, response)
      peer = request.peer
      response:raw(play.HEAD .. A .. "data: " .. ("x"):rep(9000))
    end)
    local session = play.session(server, { limits = { event_bytes = 3000 } })
    local _, _, err = session:stream("hello"):result()
    assert.equal("too_large", err.kind)
    for _ = 1, 100 do
      if peer:closed() then break end
      core.engine():wait(0.01)
      server:step()
    end
    assert.is_true(peer:closed())
    server:close()
  end)

  local function numbered(n)
    local list = {}
    for i = 1, n do list[i] = ('data: {"choices":[{"index":0,"delta":{"content":"%d "}}]}\n\n'):format(i) end
    return table.concat(list)
  end

  it("row 71: 100,000 tiny events in one read come all, in order", function()
    local want = {}
    for i = 1, 100000 do want[i] = i .. " " end
    play.succeeded(play.run(play.HEAD .. numbered(100000) .. play.END), table.concat(want))
  end)

  it("row 71: a cancel at the first stops the rest", function()
    local server = testing.server(function(_, response) response:raw(play.HEAD .. numbered(1000) .. play.END):close() end)
    local session = play.session(server)
    local stream = session:stream "hello"
    local events, seen = stream:events(), 0
    for _ in events, stream do
      seen = seen + 1
      stream:cancel()
    end
    assert.equal(1, seen)
    local reply, _, err = stream:result()
    assert.is_nil(reply)
    assert.equal("canceled", err.kind)
    assert.same({}, session:messages())
    server:close()
  end)
end)
