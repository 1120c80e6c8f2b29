--- ws_peer: a WebSocket server in the same thread that says exact bytes, one at a time:
--   local url = peer.play(answer, heard)   the address of a new one
--   peer.stop()                            the end of it
-- answer(key, head) gives what is said to the handshake, heard(peer, bytes) gets what
-- comes after it.

local core = require "oaichat.core"
local wait = require "oaichat.wait"

local M = {}

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" -- RFC 6455, 1.3
local listener, pump

--- Sec-WebSocket-Accept for a key.
function M.accept(key) return core.base64(core.sha1(key .. GUID)) end

--- A yes to the handshake with this key, with more fields (each ends in CRLF).
function M.yes(key, more)
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    .. "Sec-WebSocket-Accept: " .. M.accept(key) .. "\r\n" .. (more or "") .. "\r\n"
end

--- A server's frame, unmasked; more: it is not the last of its message.
function M.frame(opcode, data, more) return core.websocket_frame(opcode, data or "", more, true) end

--- slowly: seconds between two reads.
function M.play(answer, heard, slowly)
  listener = assert(core.listen {})
  local own, peers, next_read = listener, {}, 0
  local function read(peer)
    if not slowly then return peer:read() or "" end
    if core.now() < next_read then return "" end
    next_read = core.now() + slowly
    return peer:read() or ""
  end
  pump = function()
    own:step()
    local peer = own:accept()
    if peer then peers[peer] = "" end
    for one, head in pairs(peers) do
      local bytes = read(one)
      if head == true then
        if bytes ~= "" and heard then heard(one, bytes) end
      else
        head = head .. bytes
        peers[one] = head
        if head:find "\r\n\r\n" then
          peers[one] = true
          local said = answer(head:match "Sec%-WebSocket%-Key: (%S+)", head)
          if said then one:write(said, 60) end
        end
      end
    end
    own:step()
  end
  wait.watch(listener:fd(), pump)
  return ("ws://127.0.0.1:%d/v1?a=b"):format(listener:port())
end

--- Does now what the server would do while somebody waits.
function M.turn() pump() end

function M.stop()
  if pump then wait.unwatch(pump) end
  if listener then listener:close() end
  pump, listener = nil, nil
end

return M
