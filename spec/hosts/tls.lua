-- With HOSTS_TLS set a proof goes through TLS: nginx in front of the hosts' server, and
-- every stream makes a connection of its own, with a whole handshake. Runs in Neovim.

local nginx = require "spec.support.nginx"

local M = {}

local SITE = [[
keepalive_timeout 0; ssl_session_cache off; ssl_session_tickets off;
location /v1 {
  proxy_pass %s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_buffering off;
}]]

-- The system's certificates and ours, so that reading them costs what it does.
local function with_ca(front)
  local all = front:file "all.pem"
  os.execute(("cat /etc/ssl/certs/ca-certificates.crt %s >%s 2>/dev/null"):format(front:file "ca.pem", all))
  return all
end

--- Starts nginx.
--- @param upstream string the URL of the hosts' server
--- @return table tls url, options (of chat.new), note(): prints what connections there were; stop()
function M.start(upstream)
  local why = nginx.missing()
  if why then error(why .. ": sh scripts/deps.sh hosts", 0) end
  local front = nginx.start { tls = { cert = "good", extra = SITE:format(upstream) } }
  local tls = { url = ("https://localhost:%d/v1"):format(front.sites.tls), ca_file = with_ca(front) }

  --- Waits until nginx has noted so many requests; each must have had its own connection.
  function tls.note(requests)
    local connections, n
    for _ = 1, 100 do
      connections, n = {}, 0
      for _, line in ipairs(front:requests()) do
        local number = assert(line:match "^(%d+) ")
        assert(not connections[number], "a connection was used again")
        connections[number], n = true, n + 1
      end
      if n >= requests then break end
      os.execute "sleep 0.05" -- nginx notes a request when it is through with it
    end
    assert(n == requests, ("%d requests, not %d"):format(n, requests))
    print(("TLS: %d streams, each on a fresh connection (no keep-alive, no resumed session)"):format(n))
  end

  function tls.stop() front:stop() end

  return tls
end

return M
