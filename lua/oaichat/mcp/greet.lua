--- mcp/greet: how a client and a server find the revision that both know: by
-- `server/discover` (2026-07-28 on) or by `initialize` (before). Knows the link's
-- requests; not how they travel.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"

local M = {}

--- Seconds in which a server has to say what it knows of `server/discover` before it
--- is asked by `initialize` too.
local PROBE = 5

local function contains(list, value)
  for _, one in ipairs(type(list) == "table" and list or {}) do
    if one == value then return true end
  end
  return false
end

local function shared_legacy(list)
  for _, one in ipairs(type(list) == "table" and list or {}) do
    if rpc.LEGACY_KNOWN[one] then return true end
  end
  return false
end

local function no_version(link, list)
  local names = {}
  for _, one in ipairs(type(list) == "table" and list or {}) do names[#names + 1] = tostring(one) end
  link:failed(errors.new {
    kind = "protocol", code = "version", message = "the MCP server speaks no revision that oaichat knows",
    detail = rpc.quote(table.concat(names, ", ")),
  })
end

-- A modern server that refused the request.
local function mismatch(link, rpc_error, err)
  if rpc.get(rpc_error, "code") ~= rpc.UNSUPPORTED_VERSION then return link:failed(err) end
  local list = rpc.get(rpc.get(rpc_error, "data"), "supported")
  if not shared_legacy(list) or link.era == "modern" then return no_version(link, list) end
  if not link.greeting then M.initialize(link) end
end

local function learn(link, result)
  link.capabilities = rpc.typed(result, "capabilities", "table") or {}
  link.instructions = rpc.typed(result, "instructions", "string")
end

local function discovered(link, result)
  local list = rpc.get(result, "supportedVersions")
  if not contains(list, rpc.MODERN) then
    if not shared_legacy(list) or link.era == "modern" then return no_version(link, list) end
    return link.greeting or M.initialize(link)
  end
  local greeting = link.greeting
  link.greeting = nil
  link:forget(greeting)
  link.era, link.modern, link.version = "modern", rpc.MODERN, rpc.MODERN
  link.info = rpc.typed(rpc.typed(result, "_meta", "table"), "io.modelcontextprotocol/serverInfo", "table")
  learn(link, result)
  link:ready()
end

local function greeted(link)
  local sent = link:tell("notifications/initialized", nil, link.options.url and function()
    if link.state == "starting" then link:ready() end
  end)
  if not link.options.url or not sent then link:ready() end
end

--- By the handshake.
function M.initialize(link)
  local wanted = link.options.version or rpc.LEGACY
  local call = link:ask("initialize", {
    protocolVersion = wanted, capabilities = json.object(link.options.capabilities or {}), clientInfo = rpc.CLIENT,
  }, false, function(result, err)
    link.greeting = nil
    if link.state ~= "starting" or err and err.kind == "canceled" then return end
    if not result then
      link.refused = err
      -- a slow server may still answer what it was asked first
      if link.discovering and err.kind ~= "network" then return end
      return link:failed(err)
    end
    local version = rpc.get(result, "protocolVersion")
    if not rpc.LEGACY_KNOWN[version] then return no_version(link, { version }) end
    link.era, link.modern, link.version = "legacy", nil, version
    link.info = rpc.typed(result, "serverInfo", "table")
    learn(link, result)
    link.transport:agree(version)
    local late = link.discovering
    link.discovering = nil
    link:forget(late)
    greeted(link)
  end)
  if not call.done then link.greeting = call end
end

--- Asks a server that may speak either kind of revision (2026-07-28, basic/versioning).
function M.discover(link)
  if link.era ~= "modern" then
    link.probe = link.reactor:after(math.min(PROBE, link.options.start_timeout / 2), function()
      link.probe = nil
      if not link.greeting then M.initialize(link) end
    end)
  end
  local call = link:ask("server/discover", nil, rpc.MODERN, function(result, err, rpc_error)
    link.discovering = nil
    if link.state ~= "starting" or err and err.kind == "canceled" then return end
    if result then return discovered(link, result) end
    if rpc.is_modern_error(rpc_error) then return mismatch(link, rpc_error, err) end
    local final = err.kind == "authentication" or err.kind == "permission" or err.kind == "config"
      or err.kind == "network" or err.kind == "rate_limit"
    if link.era == "modern" or final or link.refused then return link:failed(link.refused or err) end
    if not link.greeting then M.initialize(link) end
  end)
  if not call.done then link.discovering = call end
end

return M
