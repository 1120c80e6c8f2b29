---@meta oaichat.core
-- What core_websocket.c registers, for LuaLS. Never loaded.

---@class oaichat.core.WebSocketReader the frames of RFC 6455 of a server, at any split
local Reader = {}
--- Reads on from a position: what was whole next, or nothing when more has to come.
---@param bytes string
---@param at integer
---@return integer|nil after the position behind what was read
---@return "text"|"binary"|"ping"|"pong"|"close"|"broken"|nil kind
---@return string|nil data a message, a payload, a reason, or what was broken
---@return integer|nil status of a close; what to close with when it is broken
function Reader:read(bytes, at) end
function Reader:close() end

---@class oaichat.core
local core = {}

---@param options { message_bytes: integer, frame_bytes: integer }
---@return oaichat.core.WebSocketReader
function core.websocket_reader(options) end

--- A frame of a client: masked, its last.
---@param opcode integer
---@param bytes string
---@return string
function core.websocket_frame(opcode, bytes) end

--- Queues the header field with a session's key, to its own origin alone.
---@param conn oaichat.core.Conn
---@param session oaichat.core.Session
---@return boolean|nil sent, string|nil message, table|nil err
function core.websocket_authorize(conn, session) end

--- SHA-1 (FIPS 180-4), for the handshake.
---@param bytes string
---@return string 20 bytes
function core.sha1(bytes) end

return core
