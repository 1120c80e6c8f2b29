--- ws_cases: what RFC 6455 asks of a client, case by case, against npm's ws (ws_server.js, at
-- the port in arg 1; over TLS with the CA file in arg 2). Prints those that fail and "websocket: N of N".

-- luacheck: no max line length

local core = require "oaichat.core"
local websocket = require "oaichat.websocket"

local ca_file = arg[2]
local url = (ca_file and "wss" or "ws") .. "://127.0.0.1:" .. arg[1] .. "/"
local passed, all = 0, 0

local function connect(opts)
  local own = { url = url, ca_file = ca_file }
  for name, value in pairs(opts or {}) do own[name] = value end
  return assert(websocket.connect(own))
end

local function case(name, fn)
  all = all + 1
  local ok, why = pcall(fn)
  if ok then passed = passed + 1 else print(("%d %s: %s"):format(all, name, tostring(why))) end
end

local function equal(expected, got)
  if expected ~= got then error(("%s, not %s"):format(tostring(expected):sub(1, 60), tostring(got):sub(1, 60)), 2) end
end

local function last_close()
  local asking = connect()
  assert(asking:send_text "!last")
  local text = assert(asking:receive())
  asking:close()
  return tonumber(text:match '"code":(%d+)')
end

-- ---- 5.2, 5.6: lengths and kinds, both ways -----------------------------------------

local shared = connect()
for _, size in ipairs { 0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1048576 } do
  local bytes, text = ("\255\0z"):rep(math.ceil(size / 3)):sub(1, size), ("a"):rep(size)
  case("5.2 binary of " .. size, function()
    assert(shared:send_binary(bytes))
    local data, kind = shared:receive()
    equal("binary", kind)
    equal(bytes, data)
  end)
  case("5.2 text of " .. size, function()
    assert(shared:send_text(text))
    local data, kind = shared:receive()
    equal("text", kind)
    equal(text, data)
  end)
end

-- ---- 5.4: fragments ---------------------------------------------------------------

case("5.4 fragments that cut a character, a ping between them", function()
  assert(shared:send_text "!frag:\206\186\207\140\206\188\206\181 \240\159\154\128")
  equal("\206\186\207\140\206\188\206\181 \240\159\154\128", (shared:receive()))
end)
case("5.4 fragments without a byte", function()
  assert(shared:send_text "!empty:middle")
  equal("middle", (shared:receive()))
end)
case("5.4 two hundred fragments", function()
  assert(shared:send_text "!parts:200")
  equal(100000, #shared:receive())
end)

-- ---- 5.5: pings, pongs, closes -----------------------------------------------------

for _, size in ipairs { 0, 1, 125 } do
  case("5.5.2 a ping of " .. size .. " bytes gets its pong", function()
    local payload = ("p"):rep(size)
    assert(shared:send_text("!ping:" .. payload))
    equal("pong " .. payload, (shared:receive()))
  end)
end
for i = 1, 3 do
  case("5.5.3 our ping gets its pong, " .. i, function() assert(shared:ping(2)) end)
end
case("5.5.3 a pong that nobody asked for is ignored", function()
  assert(shared:send_text("!raw:" .. core.base64 "\138\3abc\129\2ok"))
  equal("ok", (shared:receive()))
end)
case("5.5.1 our close is answered, and the server hears its status", function()
  assert(shared:close(1000, "done"))
  equal(1000, last_close())
end)
for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
  case("7.4 the server closes with " .. code, function()
    local ws = connect()
    assert(ws:send_text("!close:" .. code))
    equal(1, select("#", ws:receive()))
    equal(code, ws.close_status)
    equal("bye", ws.close_reason)
    ws:close()
    equal(code, last_close())
  end)
end
case("7.1.5 a close without a status", function()
  local ws = connect()
  assert(ws:send_text "!close")
  equal(1, select("#", ws:receive()))
  equal(1005, ws.close_status)
  ws:close()
end)

-- ---- what breaks the rules -----------------------------------------------------------

local function breaks(name, bytes, status, kind)
  for _, how in ipairs { "raw", "drip" } do
    case(("%s (%s)"):format(name, how), function()
      local ws = connect { close_timeout = 1 }
      assert(ws:send_text(("!%s:%s"):format(how, core.base64(bytes))))
      local data, _, err = ws:receive()
      equal(nil, data)
      equal(kind or "protocol", err and err.kind)
      ws:close()
      equal(status or 1002, last_close())
    end)
  end
end

breaks("5.2 RSV1", "\193\2hi")
breaks("5.2 RSV2", "\161\2hi")
breaks("5.2 RSV3", "\145\2hi")
for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
  breaks("5.2 reserved opcode " .. opcode, string.char(128 + opcode, 0))
end
breaks("5.1 a masked frame of a server", "\129\130abcd\1\2")
breaks("5.2 a length of two bytes that one would do for", "\130\126\0\5hello")
breaks("5.2 a length of eight bytes that two would do for", "\130\127\0\0\0\0\0\0\0\5hello")
breaks("5.2 a length with its highest bit", "\130\127\128\0\0\0\0\0\0\0")
breaks("5.5 a ping of 126 bytes", "\137\126\0\126" .. ("p"):rep(126))
breaks("5.5 a ping in fragments", "\9\1a")
breaks("5.5 a close in fragments", "\8\0")
breaks("5.4 a continuation of nothing", "\128\2hi")
breaks("5.4 a message within another", "\1\1a\129\1b")
breaks("5.5.1 a close of one byte", "\136\1\3")
for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535 } do
  breaks("7.4 close status " .. code, "\136\2" .. string.char(math.floor(code / 256), code % 256))
end
breaks("5.5.1 a reason that is no UTF-8", "\136\4\3\232\255\255", 1007)

local BAD = {
  "\255", "\192\175", "\237\160\128", "\244\144\128\128", "\206\186\225", "\128", "\248\136\128\128\128", "\240\128\128\128",
}
for i, text in ipairs(BAD) do
  breaks("8.1 text that is no UTF-8, " .. i, string.char(129, #text) .. text, 1007)
end
breaks("8.1 a character cut at the message's end, over fragments", "\1\2\206\186\128\1\225", 1007)
breaks("8.1 told before the message is whole", "\1\2a\255", 1007)

for i, text in ipairs { "\0", "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128", "\239\191\191", "\240\144\128\128",
  "\244\143\191\191", "\239\191\189", "Hello-\194\181@\195\159\195\182\195\164\195\188\195\160\195\161-UTF-8!!" } do
  case("8.1 text that is UTF-8, " .. i, function()
    local ws = connect()
    assert(ws:send_text(text))
    equal(text, (ws:receive()))
    ws:close()
  end)
end
case("8.1 we send no text that is no UTF-8", function()
  local ws = connect()
  local ok, _, err = ws:send_text "a\255"
  equal(nil, ok)
  equal("validation", err.kind)
  assert(ws:send_text "b")
  equal("b", (ws:receive()))
  ws:close()
end)

-- ---- caps, dead peers, refusals --------------------------------------------------------

case("10.4 a frame over the cap", function()
  local ws = connect { message_bytes = 1000 }
  assert(ws:send_text "!big:1001")
  equal("too_large", select(3, ws:receive()).kind)
  ws:close()
  equal(1009, last_close())
end)
case("10.4 a frame at the cap", function()
  local ws = connect { message_bytes = 1000 }
  assert(ws:send_text "!big:1000")
  equal(1000, #ws:receive())
  ws:close()
end)
case("10.4 fragments over the cap together", function()
  local ws = connect { message_bytes = 1000 }
  assert(ws:send_text "!parts:3")
  equal("too_large", select(3, ws:receive()).kind)
  ws:close()
end)
for _, how in ipairs { "cut", "end" } do
  case("7.1.4 the connection ends without a close: " .. how, function()
    local ws = connect()
    assert(ws:send_text("!" .. how))
    equal("network", select(3, ws:receive()).kind)
    ws:close()
  end)
end
case("a peer that is dead", function()
  local ws = connect { keepalive = 0.2, close_timeout = 0.2 }
  assert(ws:send_text "!mute")
  equal("timeout", select(3, ws:receive()).kind)
  ws:close()
end)
for status, kind in pairs { [401] = "authentication", [403] = "permission", [404] = "not_found", [429] = "rate_limit", [503] = "overloaded" } do
  case("4.1 a handshake refused with " .. status, function()
    local ws, _, err = websocket.connect { url = url .. "refuse/" .. status, ca_file = ca_file }
    equal(nil, ws)
    equal(kind, err.kind)
    equal(status, err.status)
  end)
end
case("4.1 a subprotocol of those offered", function()
  local ws = connect { protocols = { "a", "b" } }
  equal("b", ws.protocol)
  ws:close()
end)
case("4.1 none, where none is offered", function()
  local ws = connect()
  equal(nil, ws.protocol)
  ws:close()
end)

if ca_file then
  case("a CA that did not sign the server's certificate", function()
    local ws, _, err = websocket.connect { url = url, ca_file = "/etc/ssl/certs/ca-certificates.crt" }
    equal(nil, ws)
    equal("network tls", err.kind .. " " .. err.code)
  end)
end

print(("websocket: %d of %d"):format(passed, all))
os.exit(passed == all and 0 or 1)
