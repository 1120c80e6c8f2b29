--- postgres: a real PostgreSQL on a socket in a folder of its own; ends when the spec's
-- process does. It refuses to run as root: then it runs as the user postgres.
--   local server = postgres.start()   server.conninfo   server:restart()   server:stop()

local M = {}

local Server = {}
Server.__index = Server

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function succeeds(command)
  local ok = os.execute(command .. " >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-")
  return ok == true or ok == 0
end

-- The folder of its programs; Debian does not put it into PATH.
local function folder()
  return output_of("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1"):match "%S+"
    or output_of("dirname $(command -v initdb) 2>/dev/null"):match "%S+"
end

--- Why there is no PostgreSQL here; nil when there is. An error with CI set.
function M.missing()
  local why
  if not folder() then
    why = "postgresql is not installed"
  elseif not pcall(require, "luasql.postgres") then
    why = "luasql.postgres is not installed"
  end
  if why and os.getenv "CI" then error(why .. ": sh scripts/deps.sh stores") end
  return why
end

local function as(server, command)
  if server.root then command = ("runuser -u postgres -- %s"):format(command) end
  return "cd " .. server.dir .. " && " .. command
end

local function control(server, what)
  return succeeds(as(server, ("%s/pg_ctl -D %s/data -w -t 60 -l %s/log %s"):format(server.bin, server.dir,
    server.dir, what)))
end

local OPTIONS = "-c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=20"

local function launch(server)
  assert(control(server, ("-o \"-k %s %s\" start"):format(server.dir, OPTIONS)),
    "PostgreSQL does not start: " .. output_of("cat " .. server.dir .. "/log"))
end

--- Makes a database cluster and starts it; it answers when this returns.
function M.start()
  local dir = output_of("mktemp -d"):match "%S+"
  local server = setmetatable({ dir = dir, bin = folder(), root = output_of("id -u"):match "%d+" == "0" }, Server)
  if server.root then assert(succeeds(("chown postgres %s && chmod 755 %s"):format(dir, dir))) end
  assert(succeeds(as(server, ("%s/initdb -D %s/data -U chat -A trust -E UTF8 --locale=C --no-sync"):format(
    server.bin, dir))),
    "initdb failed")
  launch(server)
  server.conninfo = ("host=%s user=chat dbname=postgres"):format(dir)
  -- the shell ends it when we end, however we end
  server.keeper = assert(io.popen(([[read _; cd %s || exit
    [ ! -s data/postmaster.pid ] || kill -QUIT $(head -n 1 data/postmaster.pid)
    cd /; rm -rf %s]]):format(dir, dir), "w"))
  return server
end

--- Ends it, and every connection.
function Server:halt()
  assert(control(self, "-m immediate stop"))
end

function Server:launch()
  launch(self)
end

function Server:stop()
  if not self.keeper then return end
  control(self, "-m immediate stop")
  self.keeper:write "\n"
  self.keeper:close()
  self.keeper = nil
end

return M
