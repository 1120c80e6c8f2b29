--- lab: a server in the same thread for exchanges of the core: the spec sees each
-- byte that came and says each that goes.

local core = require "oaichat.core"

local unpack = table.unpack or unpack

local M = {}

local Lab = {}
Lab.__index = Lab

--- @param options table|nil more for core.new
function M.new(options)
  local listener = assert(core.listen())
  local engine = core.engine()
  local all = { base_url = ("http://127.0.0.1:%d/v1"):format(listener:port()), wire = "raw", engine = engine }
  for name, value in pairs(options or {}) do all[name] = value end
  return setmetatable({ listener = listener, engine = engine, session = assert(core.new(all)), got = "" }, Lab)
end

--- Both sides a moment on. What came is in `got`, unless `deaf`.
function Lab:turn()
  self.listener:step()
  local new = self.listener:accept()
  if new then self.peer, self.peers = new, (self.peers or 0) + 1 end
  local bytes = self.peer and not self.deaf and self.peer:read()
  if bytes then self.got = self.got .. bytes end
  self.engine:wait(0.001)
  self.engine:step()
end

--- Turns until it is true; raises after so many seconds (3).
function Lab:till(done, seconds)
  local stop = core.now() + (seconds or 3)
  while true do
    local value = done()
    if value then return value end
    if core.now() > stop then error("nothing happened; so far: " .. self.got:sub(1, 2000), 2) end
    self:turn()
  end
end

--- The request's head and body, once the body is there to its Content-Length.
function Lab:request()
  return unpack(self:till(function()
    local head, at = self.got:match "^(.-\r\n)\r\n()"
    local length = head and tonumber(head:lower():match "content%-length: (%d+)") or 0
    if not head or #self.got < at - 1 + length then return nil end
    local body = self.got:sub(at, at + length - 1)
    self.got = self.got:sub(at + length)
    return { head, body }
  end))
end

--- The end of an exchange: all that it gave, its reply and failure.
function Lab:finish(exchange)
  local pieces = {}
  self:till(function()
    while true do
      local kind, bytes = exchange:next()
      if not kind then return exchange:done() end
      pieces[#pieces + 1] = kind == "data" and bytes or kind
    end
  end)
  return table.concat(pieces), exchange:result()
end

function Lab:close()
  self.session:close()
  if self.peer then self.peer:close() end
  self.listener:close()
end

return M
