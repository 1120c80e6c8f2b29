---@meta oaichat.core
--- LuaLS definitions of the C module's byte streams. Never loaded.

---@class oaichat.core
local core = {}

--- A socket: resolved, connected and encrypted by curl while the engine steps. The
--- environment's proxies are not asked. The end of a stream that fails says why:
--- kind network (code dns, connect, tls, proxy, connection_reset), timeout, canceled.
---@param options { url: string, ca_file?: string, proxy?: string, timeout?: number, read_cap?: integer, write_cap?: integer, engine?: oaichat.core.Engine } url is tcp://host:port, tls://host:port or unix:/path; timeout 10 seconds, caps 256 kB and 1 MB by default
---@return oaichat.core.Conn|nil conn
---@return string|nil message
---@return table|nil err kind "config"
function core.connect(options) end

--- A child process: its stdin and stdout are the stream. No shell: argv[1] is sought
--- in PATH. env, when given, is all the child gets. grace: seconds from the end of
--- its stdin to SIGTERM, and from there to SIGKILL (2 by default).
---@param options { argv: string[], env?: table<string, string>, cwd?: string, read_cap?: integer, write_cap?: integer, stderr_cap?: integer, grace?: number, engine?: oaichat.core.Engine }
---@return oaichat.core.Conn|nil conn
---@return string|nil message
---@return table|nil err kind "config"
function core.spawn(options) end

---@class oaichat.core.Conn a byte stream; closed by the collector too
local Conn = {}

--- Queues all bytes, or none: err.kind "too_large", code "write_cap"; ready says
--- when there is room. Raises after shutdown.
---@param bytes string
---@return true|nil
---@return string|nil message
---@return table|nil err
function Conn:write(bytes) end

--- What has arrived. Reading from the peer stops while read_cap bytes wait here.
---@param max? integer
---@return string|nil bytes "" when there are none yet; nil at the end
---@return string|nil message nil at a clean end
---@return table|nil err
function Conn:read(max) end

--- Ends our direction once what is queued is out: a half close, a child's end of
--- input. False over TLS, which has none.
---@return boolean
function Conn:shutdown() end

---@return "connecting"|"open"|"closed" a child's is closed once it is reaped
function Conn:state() end

---@return integer bytes that are queued
function Conn:pending() end

---@return boolean # bytes, the end, or a connection or room that read has not seen
function Conn:ready() end

--- What engine:pop() gives when it is ready.
---@return lightuserdata
function Conn:id() end

--- Leaves the rest for a later engine:pop().
---@return lightuserdata id
function Conn:relist() end

--- One step of the engine; before it, unless ready, sleeps until something happened.
---@param seconds? number for ever by default
---@return boolean ready
function Conn:wait(seconds) end

---@return string # the last stderr_cap bytes (64 kB) of a child's stderr
function Conn:stderr() end

---@return integer|nil status minus the signal that ended the child; nil while it runs
function Conn:exit_status() end

--- Closes at once; a child gets SIGTERM and, after the grace, SIGKILL. What has
--- arrived can still be read; then err.kind is "canceled".
function Conn:cancel() end

--- Closes without a failure; a child is ended in its grace by the engine.
function Conn:close() end
