--- websocket/keepalive: when a peer that says nothing is asked whether it lives (RFC 6455,
-- 5.5.2), and when it is taken for dead. Knows no clock and sends nothing.

local M = {}

--- To be called every `keepalive` seconds.
--- @param socket oaichat.WebSocket heard (when bytes came last), keepalive, paused, written, conn
--- @param now number
--- @return "fine"|"ask"|"dead" verdict
--- @return number silent seconds since bytes came
function M.look(socket, now)
  local silent, left = now - socket.heard, socket.conn:pending()
  local sent = left > 0 and socket.written - left or nil
  -- who still takes what we send has not come to the ping behind it
  local moves = sent ~= nil and socket.unsent ~= nil and sent > socket.unsent
  socket.unsent = sent
  if silent < socket.keepalive * 0.99 or socket.paused or moves then
    socket.pinged = nil
    return "fine", silent
  end
  if socket.pinged then return "dead", silent end
  socket.pinged = true
  return "ask", silent
end

return M
