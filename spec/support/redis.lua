--- redis: a real redis-server on a free loopback port and a socket in a folder of its
-- own; ends when the spec's process does.
--   local server = redis.start { password = "secret" }
--   server.port  server.socket  server:url()  server:restart()  server:pause()
--   server:resume()  server:stop()

local core = require "oaichat.core"

local M = {}

local Server = {}
Server.__index = Server

local function succeeds(command)
  local ok = os.execute(command .. " >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-")
  return ok == true or ok == 0
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- Why there is no Redis here; nil when there is. An error with CI set.
function M.missing()
  if succeeds "command -v redis-server" then return nil end
  if os.getenv "CI" then error "redis-server is not installed: sh scripts/deps.sh stores" end
  return "redis-server is not installed"
end

local function free_port()
  local listener = assert(core.listen {})
  local port = listener:port()
  listener:close()
  return port
end

-- It daemonizes once it listens or has failed to; the pid file comes a little later.
local function launch(server)
  assert(succeeds(("redis-server --daemonize yes --bind 127.0.0.1 --port %d --unixsocket %s --dir %s --pidfile %s/pid "
    .. "--logfile %s/log --save '' --appendonly no %s"):format(server.port, server.socket, server.dir, server.dir,
    server.dir, server.extra)), "redis-server does not start")
  local stop = core.now() + 20
  while not succeeds(("test -S %s && test -s %s/pid"):format(server.socket, server.dir)) do
    assert(core.now() < stop, "redis-server does not listen")
    core.engine():wait(0.01)
  end
  server.pid = output_of(("cat %s/pid"):format(server.dir)):match "%d+"
end

--- @param opts table|nil password, tls (server.tls_url), extra (further arguments)
function M.start(opts)
  opts = opts or {}
  local dir = output_of("mktemp -d"):match "%S+"
  local server = setmetatable({ dir = dir, port = free_port(), socket = dir .. "/socket" }, Server)
  server.extra = (opts.password and "--requirepass " .. opts.password .. " " or "") .. (opts.extra or "")
  if opts.tls then
    assert(succeeds("sh spec/support/certs.sh " .. dir), "no certificates: is openssl installed?")
    local port = free_port()
    server.tls_url = "rediss://127.0.0.1:" .. port
    server.extra = ("%s --tls-port %d --tls-cert-file %s/good.pem --tls-key-file %s/good.key "
      .. "--tls-ca-cert-file %s/ca.pem --tls-auth-clients no"):format(server.extra, port, dir, dir, dir)
  end
  launch(server)
  -- the shell ends it when we end, however we end
  server.keeper = assert(io.popen(("read _; kill -9 $(cat %s/pid); rm -rf %s"):format(dir, dir), "w"))
  return server
end

function Server:url()
  return "tcp://127.0.0.1:" .. self.port
end

--- Stops it from answering, as a machine that hangs.
function Server:pause()
  assert(succeeds("kill -STOP " .. self.pid))
end

function Server:resume()
  assert(succeeds("kill -CONT " .. self.pid))
end

--- Ends it as a crash would.
function Server:kill()
  assert(succeeds("kill -9 " .. self.pid))
  while succeeds("kill -0 " .. self.pid) do core.engine():wait(0.01) end
  os.remove(self.socket)
  os.remove(self.dir .. "/pid")
end

--- Starts it again, empty, on the same port.
function Server:launch()
  launch(self)
end

function Server:stop()
  if not self.keeper then return end
  self.keeper:write "\n" -- a server that was launched again holds the pipe too
  self.keeper:close()
  self.keeper = nil
end

return M
