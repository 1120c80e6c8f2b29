--- mcp_server: a Model Context Protocol server over stdio for specs, without JSON:
--   lua mcp_server.lua [CODE]
-- The code may put functions into `on` (method -> function(id, line)); `result(id,
-- json)`, `fail(id, code, text)` and `send(line)` write, `note(text)` to stderr.

local on = {}

local function send(line)
  io.stdout:write(line, "\n")
  io.stdout:flush()
end

local function result(id, json)
  send(('{"jsonrpc":"2.0","id":%s,"result":%s}'):format(id, json))
end

local function fail(id, code, text)
  send(('{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"%s"}}'):format(id, code, text))
end

on["initialize"] = function(id)
  result(id, '{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{},"prompts":{},'
    .. '"logging":{}},"serverInfo":{"name":"play","version":"1"},"instructions":"Play."}')
end

on["ping"] = function(id) result(id, "{}") end

on["tools/list"] = function(id)
  result(id, '{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}')
end

-- Tells what it was called with.
on["tools/call"] = function(id, line)
  local said = line:match '"arguments":(%b{})' or "none"
  result(id, ('{"content":[{"type":"text","text":%q}]}'):format(said))
end

local environment = {
  on = on, send = send, result = result, fail = fail,
  note = function(text) io.stderr:write(text, "\n") end,
}
setmetatable(environment, { __index = _G })

local code = arg[1] or ""
if setfenv then -- luacheck: ignore
  setfenv(assert(loadstring(code)), environment)() -- luacheck: ignore
else
  assert(load(code, "code", "t", environment))()
end

for line in io.stdin:lines() do
  if environment.heard then environment.heard(line) end
  local method = line:match '"method":"([^"]+)"'
  -- ids of ours are numbers; keys are sorted, so that the message's own comes first
  local id = line:match '^{"id":(%d+)'
  local handler = on[method]
  if handler then
    handler(id, line)
  elseif id and method then
    fail(id, -32601, "Method not found")
  end
end
if environment.over then environment.over() end
