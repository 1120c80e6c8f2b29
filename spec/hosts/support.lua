-- What the host proofs share: where the server is, what an answer must be, and what
-- this process holds.

local M = { url = assert(os.getenv "HOSTS_URL", "HOSTS_URL is not set: run this by make test-hosts") }

-- With HOSTS_TLS set, nginx stands between.
local tls = os.getenv "HOSTS_TLS" and require("spec.hosts.tls").start(M.url)

--- A session with the server, through TLS where the proof says so.
function M.session()
  local chat = require "oaichat"
  local session = assert(chat.new { base_url = tls and tls.url or M.url, ca_file = tls and tls.ca_file })
  if tls and not tls.warm then tls.warm = assert(chat.prewarm(session)) end
  return session
end

--- Says what connections the streams had; there is no other after that.
function M.connections(streams)
  if not tls then return end
  tls.note(streams)
  tls.stop()
end

--- The input that makes the server answer so, and the whole text it then sends.
function M.ask(tag, chunks, pause)
  local pieces = {}
  for i = 1, chunks do pieces[i] = ("%s.%d "):format(tag, i) end
  return ("%s %d %s"):format(tag, chunks, pause or 0), table.concat(pieces)
end

--- @return integer descriptors that are open
function M.descriptors()
  local n = 0
  local pipe = assert(io.popen "ls /proc/$PPID/fd")
  for _ in pipe:lines() do n = n + 1 end
  pipe:close()
  return n
end

--- @return number kB resident
function M.resident()
  local file = assert(io.open "/proc/self/status")
  local kb = file:read("*a"):match "\nVmRSS:%s*(%d+)"
  file:close()
  return tonumber(kb)
end

--- Of a list of numbers: the value below which a share of them is.
function M.quantile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))]
end

--- Prints a figure; what it is beyond `limit` fails the proof. The aim may be lower.
function M.figure(name, value, unit, aim, limit)
  local verdict = value <= aim and "" or (" (aim %g missed)"):format(aim)
  print(("%s: %.3g %s%s"):format(name, value, unit, verdict))
  limit = limit or aim * 1.5
  if value > limit then error(("%s: %.3g %s is beyond %g"):format(name, value, unit, limit), 0) end
end

return M
