-- mcp: a chat whose model may use the tools of a Model Context Protocol server. You
-- are asked before one runs. The server is a program with its arguments, or a URL.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" \
--     lua5.4 examples/mcp.lua npx -y @modelcontextprotocol/server-everything
--   ... lua5.4 examples/mcp.lua https://example.com/mcp      (a token in MCP_TOKEN)
-- Then type questions; an empty line ends it.

local chat = require "oaichat"
local mcp = require "oaichat.mcp"

local function die(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

if not arg[1] then die "usage: mcp.lua URL | PROGRAM [ARGUMENT...]" end

local options = { timeout = 60 }
if arg[1]:find "^https?://" then
  options.url, options.api_key = arg[1], os.getenv "MCP_TOKEN"
else
  options.command = { (table.unpack or unpack)(arg) }
end

local client, message = mcp.connect(options)
if not client then die(message) end
local tools
tools, message = client:tools()
if not tools then die(message) end

local names = {}
for i, tool in ipairs(tools) do names[i] = tool.name end
io.write("tools: ", table.concat(names, ", "), "\n")

local session = assert(chat.new {
  system = client.instructions,
  tools = function() return assert(client:tools()) end, -- they may change between turns
  approve = function(call)
    io.write(("run %s %s ? [y/N] "):format(call.name, call.arguments))
    return (io.read() or ""):lower() == "y"
  end,
})

while true do
  io.write "> "
  local line = io.read()
  if not line or line == "" then break end
  local reply, why = session:send(line)
  io.write(reply and reply.text or why, "\n")
end
client:close()
