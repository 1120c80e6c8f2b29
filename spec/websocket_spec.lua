--- websocket: the client against a peer in the same thread that says exact bytes.

local core = require "oaichat.core"
local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local peer_of = require "spec.support.ws_peer"
local websocket = require "oaichat.websocket"

local play, yes, frame = peer_of.play, peer_of.yes, peer_of.frame
local sockets

-- A connection whose server says these bytes after its yes.
local function hearing(bytes, opts, heard)
  opts = opts or {}
  opts.url = play(function(key) return yes(key) .. bytes end, heard)
  opts.close_timeout = opts.close_timeout or 0.02
  local socket = assert(websocket.connect(opts))
  sockets[#sockets + 1] = socket
  return socket
end

local function refusal(text, opts)
  opts = opts or {}
  opts.url = play(function(key) return type(text) == "function" and text(key) or text end)
  local socket, message, err = websocket.connect(opts)
  assert.is_nil(socket)
  assert.equal(message, err.message)
  return err
end

describe("websocket", function()
  before_each(function()
    sockets = {}
    leaks.remember()
  end)
  after_each(function()
    for _, socket in ipairs(sockets) do socket:cancel() end
    sockets = {}
    peer_of.stop()
    leaks.check()
  end)

  it("knows the handshake's example of RFC 6455, 1.3", function()
    assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", peer_of.accept "dGhlIHNhbXBsZSBub25jZQ==")
  end)

  it("asks as section 4.1 wants it", function()
    local asked
    local url = play(function(key, head)
      asked = head
      return yes(key, "Sec-WebSocket-Protocol: b\r\n")
    end)
    local socket = assert(websocket.connect { url = url, protocols = { "a", "b" }, headers = { ["X-Y"] = "z" } })
    sockets[1] = socket
    assert.equal("b", socket.protocol)
    assert.is_truthy(asked:find("^GET /v1%?a=b HTTP/1%.1\r\nHost: 127%.0%.0%.1:%d+\r\nUpgrade: websocket\r\n"))
    assert.is_truthy(asked:find("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\nX-Y: z\r\n", 1, true))
    assert.equal(24, #asked:match "Sec%-WebSocket%-Key: (%S+)")
    assert.is_nil(asked:find "Extensions")
  end)

  it("reads messages that came with the yes, fragments and pings between them", function()
    local heard = ""
    local said = frame(1, "Hel", true) .. frame(9, "p") .. frame(0, "lo") .. frame(2, "\255") .. frame(1, "")
    local socket = hearing(said, nil, function(_, bytes) heard = heard .. bytes end)
    assert.same({ "Hello", "text" }, { socket:receive() })
    assert.same({ "\255", "binary" }, { socket:receive() })
    assert.same({ "", "text" }, { socket:receive() })
    local reader = core.websocket_reader { from_client = true }
    repeat
      core.engine():step()
      peer_of.turn()
      local _, kind, data = reader:read(heard)
      if kind then assert.same({ "pong", "p" }, { kind, data }) end
    until kind
    reader:close()
  end)

  local breaches = {
    { "\193\0", "protocol", "websocket", "reserved bit" }, { "\131\0", "protocol", "websocket", "reserved opcode" },
    { "\129\128\1\2\3\4", "protocol", "websocket", "masked" }, { "\9\0", "protocol", "websocket", "fragmented" },
    { "\137\126\0\126", "protocol", "websocket", "too long" }, { "\128\0", "protocol", "websocket", "no message" },
    { "\1\0\129\0", "protocol", "websocket", "inside another" },
    { "\130\126\0\1", "protocol", "websocket", "shortest" },
    { "\136\2\3\237", "protocol", "websocket", "status" }, { "\136\1\3", "protocol", "websocket", "half a status" },
    { "\129\1\255", "protocol", "invalid_utf8", "UTF%-8" },
    { "\1\1\237\128\1\160", "protocol", "invalid_utf8", "UTF%-8" },
    { "\130\126\4\0", "too_large", "too_large", "frame" },
    { "\2\1x\128\126\3\232", "too_large", "too_large", "message" },
  }
  for i, case in ipairs(breaches) do
    it(("ends a connection that breaks the rules, %d: %s"):format(i, case[4]), function()
      local heard = ""
      local socket = hearing(case[1], { frame_bytes = 1000, message_bytes = 1000 },
        function(_, bytes) heard = heard .. bytes end)
      local data, message, err = socket:receive()
      assert.is_nil(data)
      assert.same({ case[2], case[3] }, { err.kind, err.code })
      assert.is_truthy(message:find(case[4]), message)
      local again = { socket:send_text "x" }
      assert.equal(err, again[3])
      socket:close()
      local reader = core.websocket_reader { from_client = true }
      local _, kind, _, status = reader:read(heard)
      reader:close()
      assert.same({ "close", case[2] == "too_large" and 1009 or case[3] == "invalid_utf8" and 1007 or 1002 },
        { kind, status })
    end)
  end

  it("ends without an error where the server closes, and says its status", function()
    local socket = hearing(frame(1, "a") .. frame(8, "\3\232bye"))
    assert.equal("a", (socket:receive()))
    assert.same({ n = 1 }, { n = select("#", socket:receive()), socket:receive() })
    assert.same({ 1000, "bye" }, { socket.close_status, socket.close_reason })
    socket:close()
    assert.equal("network", (select(3, socket:send_text "x")).kind)
  end)

  it("closes with a status and waits for the server's close", function()
    local heard = ""
    local socket = hearing("", { close_timeout = 5 }, function(peer, bytes)
      heard = heard .. bytes
      peer:write(frame(8, "\3\232"), 60)
      peer:close()
    end)
    assert.is_true(socket:close(4000, "done"))
    local reader = core.websocket_reader { from_client = true }
    assert.same({ "close", "done", 4000 }, { select(2, reader:read(heard)) })
    reader:close()
  end)

  it("takes a server that answers no ping for dead", function()
    local socket = hearing("", { keepalive = 0.03 })
    local data, _, err = socket:receive()
    assert.is_nil(data)
    assert.same({ "timeout", "content_idle" }, { err.kind, err.phase })
  end)

  it("gets a pong for its ping", function()
    local reader = core.websocket_reader { from_client = true }
    local socket = hearing("", nil, function(peer, bytes)
      local _, kind, data = reader:read(bytes)
      if kind == "ping" then peer:write(frame(10, data), 60) end
    end)
    assert.is_true(socket:ping(5))
    reader:close()
  end)

  it("says that a connection ended without a close", function()
    local socket = hearing("", nil, function(peer) peer:close() end)
    assert(socket:send_text "x")
    local _, _, err = socket:receive()
    assert.equal("network", err.kind)
  end)

  it("refuses to send what is no UTF-8 as text", function()
    local socket = hearing ""
    local _, _, err = socket:send_text "\255"
    assert.same({ "validation", "invalid_utf8" }, { err.kind, err.code })
  end)

  it("lets a task that is canceled go, and stays usable for others", function()
    local socket = hearing("", nil, function(peer) peer:write(frame(1, "late"), 60) end)
    local task = chat.spawn(function() return socket:receive() end)
    chat.step()
    assert.is_false(task:done())
    task:cancel()
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
    assert.equal("open", socket.state)
    assert(socket:send_text "x")
    assert.equal("late", (socket:receive()))
  end)

  it("stops reading when its reader has no room, and sends all the same", function()
    local heard = 0
    local socket = hearing(frame(1, ("x"):rep(600)):rep(5), { queue_bytes = 1000, message_bytes = 8e6 },
      function(_, bytes) heard = heard + #bytes end)
    local big, sent = ("b"):rep(7e6), 0
    local sender = chat.spawn(function()
      for _ = 1, 3 do
        assert(socket:send_binary(big))
        sent = sent + 1
      end
      return true
    end)
    local stop = core.now() + 5
    while sent < 3 and core.now() < stop do chat.wait(0.01) chat.step() end
    assert.equal(3, sent)
    assert.is_true(socket.paused)
    assert.is_true(sender:wait())
    for _ = 1, 5 do assert.equal(600, #socket:receive()) end
    assert.is_false(socket.paused)
    while heard < 21e6 do assert(core.now() < stop) chat.wait(0.01) chat.step() end
  end)

  it("takes nothing but a whole yes", function()
    for _, case in ipairs {
      { function(key) return (yes(key):gsub("WebSocket\r", "h2c\r", 1)) end, "upgrade" },
      { function(key) return (yes(key):gsub("keep%-alive, Upgrade", "keep-alive")) end, "Connection" },
      { function(key) return yes("x" .. key) end, "Accept" },
      { function(key) return yes(key, "Sec-WebSocket-Extensions: permessage-deflate\r\n") end, "extension" },
      { function(key) return yes(key, "Sec-WebSocket-Protocol: c\r\n") end, "subprotocol" },
      { "SSH-2.0-OpenSSH\r\n\r\n", "not HTTP" },
    } do
      local err = refusal(case[1])
      assert.same({ "protocol", "handshake" }, { err.kind, err.code })
      assert.is_truthy(err.message:find(case[2]), err.message)
      peer_of.stop()
    end
  end)

  it("gives a refusal the kind of its status and its body", function()
    local function answer(status, body)
      return ("HTTP/1.1 %d No\r\nContent-Length: %d\r\nX-Request-Id: req_1\r\n\r\n%s"):format(status, #body, body)
    end
    local err = refusal(answer(401, '{"error":{"message":"who?","code":"invalid_api_key"}}'))
    assert.same({ "authentication", "invalid_api_key", 401 }, { err.kind, err.code, err.status })
    assert.equal("req_1", err.request_id)
    assert.is_truthy(err.message:find "who%?")
  end)

  it("reads a refusal however its body ends, and what comes ahead of the answer", function()
    local body = '{"error":{"message":"who?","code":"invalid_api_key"}}'
    for _, fields in ipairs {
      ("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\n\r\n")
        :format(10, body:sub(1, 10), #body - 10, body:sub(11)),
      ("Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s"):format(#body, #body, body),
      "\r\n" .. body, -- no end is said, and none comes
    } do
      local err = refusal("HTTP/1.1 401 No\r\n" .. fields, { timeout = 0.3 })
      assert.same({ "authentication", "invalid_api_key", 401 }, { err.kind, err.code, err.status })
      assert.is_falsy(err.retryable)
      peer_of.stop()
    end
    assert.equal("handshake", refusal("HTTP/1.1 204 No\r\n\r\n").code)
    peer_of.stop()
    local url = play(function(key) return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" .. yes(key) end)
    sockets[1] = assert(websocket.connect { url = url })
  end)

  it("has a clock for each of two pings, and none for one that is canceled", function()
    local socket = hearing("", { keepalive = 0 })
    local codes = {}
    for i = 1, 2 do
      chat.spawn(function() codes[i] = select(3, socket:ping(0.05)).code end)
    end
    local canceled = chat.spawn(function() socket:ping(0.05) end)
    canceled:cancel()
    chat.run()
    assert.same({ "timeout", "timeout" }, codes)
    assert.is_nil(next(socket.clocks))
  end)

  it("does not take a server for dead that still reads what is sent", function()
    local url = play(function(key) return yes(key) end, nil, 0.02)
    local socket = assert(websocket.connect { url = url, keepalive = 0.04, close_timeout = 0.02, message_bytes = 6e7 })
    sockets[1] = socket
    local start = core.now()
    assert(socket:send_binary(("x"):rep(5e7)))
    while socket.conn:pending() > 0 and core.now() < start + 5 do chat.wait(0.01) chat.step() end
    assert.equal("open", socket.state)
    assert.equal(0, socket.conn:pending())
  end)

  it("sends no status that stands for none", function()
    local socket = hearing ""
    for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 2000, 5000, -1, 1000.5, "1000" } do
      assert.has_error(function() socket:close(code) end)
    end
    assert.equal("open", socket.state)
    assert.is_true(socket:close(4999))
  end)

  it("gives up a handshake that stays half open, and one with endless headers", function()
    assert.same("connect", refusal(nil, { timeout = 0.03 }).phase)
    peer_of.stop()
    assert.equal("header_too_large", refusal("HTTP/1.1 101 x\r\nA: " .. ("a"):rep(2000), { header_bytes = 1000 }).code)
  end)

  it("sends a key to its own origin alone, and never over plain ws to another host", function()
    local asked
    local url = play(function(key, head)
      asked = head
      return yes(key)
    end)
    local session = assert(core.new { base_url = (url:gsub("^ws", "http"):gsub("/v1.*", "")), api_key = "sk-secret-1" })
    local socket = assert(websocket.connect { url = url, session = session })
    sockets[1] = socket
    assert.is_truthy(asked:find("Authorization: Bearer sk-secret-1\r\n", 1, true))
    assert.is_nil(tostring(socket):find "secret")
    session:close()
    session = assert(core.new { base_url = "https://example.com", api_key = "sk-secret-1" })
    asked = nil
    local none, message, err = websocket.connect { url = url, session = session }
    session:close()
    assert.is_nil(none)
    assert.is_nil(asked)
    assert.equal("config", err.kind)
    assert.is_nil(message:find "secret")
  end)
end)
