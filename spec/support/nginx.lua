--- nginx: a real server in front of the spec's own: TLS, HTTP/2, client
-- certificates. It passes everything on to `front.upstream`, where the spec plays
-- the endpoint with oaichat.testing, in its own thread.
--   local front = nginx.start { good = { cert = "good", http2 = true }, … }
--   front.sites.good   its port      front:requests()   what came through TLS
--   front:stop()
-- A site with `raw = true` is TLS only: the upstream gets the plain bytes, to lie
-- in HTTP/2 frames, say; `alpn` is then the protocol that it offers. A site with
-- `udp = "address:port"` takes datagrams and never answers.

local core = require "oaichat.core"

local M = {}

local Front = {}
Front.__index = Front

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function succeeds(command)
  local ok = os.execute(command .. " >/dev/null 2>&1")
  return ok == true or ok == 0
end

local modules -- nginx's folder of modules

--- Why there is no nginx here; nil when there is. An error with CI set.
function M.missing()
  local why
  if not succeeds "command -v openssl" then why = "openssl is not installed" end
  if not why and not succeeds "command -v nginx" then why = "nginx is not installed" end
  if not why then
    modules = output_of("nginx -V 2>&1"):match "%-%-modules%-path=(%S+)"
    if not modules or not succeeds("test -e " .. modules .. "/ngx_stream_module.so") then
      why = "nginx has no stream module"
    end
  end
  if why and os.getenv "CI" then error(why .. ": sh scripts/deps.sh hosts") end
  return why
end

-- Free ports, all different: held until the last is found.
local function free_ports(n)
  local listeners, ports = {}, {}
  for i = 1, n do listeners[i] = assert(core.listen {}) end
  for i, listener in ipairs(listeners) do
    ports[i] = listener:port()
    listener:close()
  end
  return ports
end

local function tls(site, dir)
  local lines = {
    ("ssl_certificate %s/%s.pem; ssl_certificate_key %s/%s.key;"):format(dir, site.cert, dir, site.cert),
  }
  if site.client_ca then
    lines[#lines + 1] = ("ssl_client_certificate %s/%s.pem; ssl_verify_client on;"):format(dir, site.client_ca)
  end
  if site.raw and site.alpn then lines[#lines + 1] = "ssl_alpn " .. site.alpn .. ";" end
  return table.concat(lines, "\n")
end

local function http_server(site, port, dir, upstream)
  return ([[
server {
  listen 127.0.0.1:%d %s %s;
  %s
  %s
  location / {
    proxy_pass http://127.0.0.1:%d;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header X-Protocol $server_protocol;
    proxy_set_header X-Client $ssl_client_s_dn;
    proxy_buffering off;
    proxy_request_buffering off;
  }
}]]):format(port, site.cert and "ssl" or "", site.http2 and "http2" or "", site.cert and tls(site, dir) or "",
    site.extra or "", upstream)
end

local function raw_server(site, port, dir, upstream)
  -- what asks there waits
  if site.udp then return ("server { listen %s udp; return \"\"; }"):format(site.udp) end
  return ("server { listen 127.0.0.1:%d ssl; %s proxy_pass 127.0.0.1:%d; }"):format(port, tls(site, dir), upstream)
end

local CONFIG = [[
load_module %s/ngx_stream_module.so;
master_process off;
pid %s/nginx.pid;
error_log %s/error.log info;
events { worker_connections 512; }
http {
  log_format spec '$connection $server_port $request';
  access_log %s/access.log spec;
  client_max_body_size 64m;
  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;
  keepalive_timeout 60s;
%s
}
stream {
%s
}
]]

local function configure(front, sites)
  local dir, names = front.dir, {}
  for name in pairs(sites) do names[#names + 1] = name end
  local ports = free_ports(#names + 1)
  front.upstream = ports[#ports]
  local http, raw = {}, {}
  for i, name in ipairs(names) do
    local site = sites[name]
    local list, make = http, http_server
    if site.raw or site.udp then list, make = raw, raw_server end
    list[#list + 1] = make(site, ports[i], dir, front.upstream)
    front.sites[name] = ports[i]
  end

  local text = CONFIG:format(modules, dir, dir, dir, dir, dir, dir, dir, dir, table.concat(http, "\n"),
    table.concat(raw, "\n"))
  local file = assert(io.open(dir .. "/nginx.conf", "w"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

--- Makes the certificates and starts nginx; it listens when this returns.
--- @param sites table name -> { cert, http2, client_ca, extra, raw, alpn, udp }
function M.start(sites)
  local dir = output_of("mktemp -d"):match "%S+"
  local front = setmetatable({ dir = dir, sites = {} }, Front)
  assert(succeeds("sh spec/support/certs.sh " .. dir), "no certificates: " .. dir .. "/openssl.log")
  configure(front, sites)
  -- it leaves its terminal once it listens
  if not succeeds(("nginx -p %s -c %s/nginx.conf -e %s/error.log"):format(dir, dir, dir)) then
    error("nginx did not start: " .. read(dir .. "/error.log"))
  end
  front.pid = assert(read(dir .. "/nginx.pid"):match "%d+")
  -- the shell ends nginx when we end, however we end
  front.keeper = assert(io.popen(("read _; kill %s; rm -rf %s"):format(front.pid, dir), "w"))
  return front
end

function Front:file(name)
  return self.dir .. "/" .. name
end

--- The requests that came in by HTTP, a line each: the connection's number, the
--- site's port, the request's line.
function Front:requests(at_least)
  local list
  for _ = 1, 200 do
    list = {}
    for line in read(self:file "access.log"):gmatch "[^\n]+" do list[#list + 1] = line end
    if #list >= (at_least or 0) then break end
    -- nginx writes a line when it is through with a request: after the client is
    core.engine():wait(0.01)
  end
  return list
end

--- What nginx noted about its connections.
function Front:log()
  return read(self:file "error.log")
end

--- Ends it as a machine that dies would: connections and all.
function Front:stop()
  if not self.keeper then return end
  self.keeper:close()
  self.keeper = nil
end

return M
