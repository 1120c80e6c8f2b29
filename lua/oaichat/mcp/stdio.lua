--- mcp/stdio: a server that is a child process: one JSON-RPC message a line over
-- its stdin and stdout. Knows the bytes and the process; not what a message means.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"

local M = {}

--- What a child gets of the host's environment; the rest may be secrets (the official
--- SDKs pass the same). What else it needs is named in `env`.
local PASSED = {
  "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ",
  "APPDATA", "LOCALAPPDATA", "PROGRAMFILES", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE",
}

local STDERR_CAP = 4096
--- Bytes that are read between two looks at the host's budget: many short messages,
--- or the middle of a long one.
local SHORT, LONG = 1024, 65536
--- Seconds from the end of its stdin to SIGTERM, and from there to SIGKILL.
local GRACE = 2

--- @class oaichat.mcp.Stdio
local Stdio = {}
Stdio.__index = Stdio

local function environment(extra)
  local env = {}
  for _, name in ipairs(PASSED) do env[name] = os.getenv(name) end
  for name, value in pairs(extra or {}) do
    if value == true then value = os.getenv(name) end
    env[name] = value or nil
  end
  return env
end

--- Starts the server.
--- @param options table command, env (true: the host's value), cwd, message_bytes, depth
--- @param reactor oaichat.loop.Reactor
--- @param hooks table on_message(message), on_bad(err), on_end(err)
--- @return oaichat.mcp.Stdio|nil transport, string|nil message, oaichat.Error|nil err kind "config"
function M.open(options, reactor, hooks)
  if not core.spawn then
    return errors.fail { kind = "config", code = "config", message = "this platform cannot start MCP servers yet" }
  end
  local conn, why, err = core.spawn {
    argv = options.command, env = environment(options.env), cwd = options.cwd, engine = reactor.engine,
    stderr_cap = STDERR_CAP, write_cap = options.message_bytes + 65536, grace = GRACE,
  }
  if not conn then
    return errors.fail { kind = err.kind, code = err.code, message = "the MCP server cannot be started: " .. why }
  end
  local self = setmetatable({
    conn = conn, reactor = reactor, hooks = hooks, parts = {}, size = 0,
    max = options.message_bytes, depth = options.depth, name = options.command[1],
  }, Stdio)
  reactor:watch(conn, function() self:_read() end)
  return self
end

-- ---- reading -------------------------------------------------------------------

function Stdio:_line(line)
  line = line:match "^%s*(.-)%s*$"
  if line == "" then return end
  local message, why, code = rpc.decode(line, self.depth)
  if message then return self.hooks.on_message(message) end
  if not line:find "^[{%[]" then
    -- a greeting, mostly: named in the error if nothing better comes
    self.stray = rpc.quote(line)
    return self.hooks.on_log("warn", "mcp_stray", { text = self.stray })
  end
  self.hooks.on_bad(errors.new {
    kind = code == "too_deep" and "too_large" or "protocol", code = code,
    message = "the MCP server wrote what is not JSON: " .. why, detail = rpc.quote(line),
  })
end

function Stdio:_take(bytes)
  local at = 1
  while true do
    local stop = bytes:find("\n", at, true)
    if not stop then break end
    self:_keep(bytes:sub(at, stop - 1))
    if not self.conn then return end
    local line = table.concat(self.parts)
    self.parts, self.size, at = {}, 0, stop + 1
    self:_line(line)
    if not self.conn then return end
  end
  if at <= #bytes then self:_keep(bytes:sub(at)) end
end

function Stdio:_keep(piece)
  self.parts[#self.parts + 1] = piece
  self.size = self.size + #piece
  if self.size <= self.max then return end
  self:_end(errors.new {
    kind = "too_large", code = "too_large",
    message = "a message of the MCP server is larger than limits.message_bytes",
  })
end

function Stdio:_read()
  -- what the host's slice does not hold is read in the next one
  while self.conn and not self.reactor.engine:spent() do
    local bytes, _, err = self.conn:read(self.size > SHORT and LONG or SHORT)
    if bytes == "" then return end
    if not bytes then return self:_end(self:_died(err)) end
    self:_take(bytes)
  end
end

-- Why it ended, with its last words.
function Stdio:_died(err)
  local status = self.conn:exit_status()
  local how = ""
  if status then how = status < 0 and (" (signal %d)"):format(-status) or (" (exit status %d)"):format(status) end
  local said = self.conn:stderr():sub(-STDERR_CAP):match "^%s*(.-)%s*$"
  if #said > 300 then said = "…" .. said:sub(-290) end
  local detail = said ~= "" and "its stderr ends with: " .. rpc.quote(said) or nil
  if self.stray then
    detail = (detail and detail .. "; " or "") .. "text on its stdout that is not JSON: " .. self.stray
  end
  return errors.new {
    kind = "network", code = "server_exited", message = "the MCP server " .. self.name .. " ended" .. how,
    detail = detail or not status and err and err.message or nil, retryable = true,
  }
end

function Stdio:_end(err)
  self:_release()
  self.hooks.on_end(err)
end

function Stdio:_release()
  if not self.conn then return end
  self.reactor:close(self.conn)
  self.conn = nil
end

-- ---- writing -------------------------------------------------------------------

--- Queues a message.
--- @return true|nil, string|nil message, oaichat.Error|nil err
function Stdio:send(message)
  local text, _, err = json.encode(message)
  if not text then return errors.fail(err) end
  if not self.conn then
    return errors.fail { kind = "network", code = "server_exited", message = "the MCP server has ended" }
  end
  if #text > self.max then
    return errors.fail {
      kind = "too_large", code = "too_large",
      message = "the message to the MCP server is larger than limits.message_bytes",
    }
  end
  local ok, why, failure = self.conn:write(text .. "\n")
  if ok then return true end
  return errors.fail {
    kind = failure.kind, code = failure.code, message = "the MCP server cannot be written to: " .. why,
  }
end

--- What is known of a server that does not answer.
--- @return string|nil
function Stdio:hint()
  return self.stray and "text on its stdout that is not JSON: " .. self.stray
end

--- A call that ended: nothing of it is held here.
function Stdio.drop() end

--- No sessions here.
function Stdio.agree() end

--- Ends the server's stdin; done is called when it has ended. After twice the grace
--- the engine has killed it.
function Stdio:finish(done)
  local conn = self.conn
  if not conn then return done() end
  self.reactor:unwatch(conn)
  conn:shutdown()
  self.reactor:watch(conn, function()
    local bytes
    repeat bytes = conn:read() until not bytes or bytes == ""
    if bytes then return end
    self:_release()
    done()
  end)
end

--- Lets go of it at once: the engine ends the child.
function Stdio:close()
  if self.conn then self.conn:shutdown() end
  self:_release()
end

return M
