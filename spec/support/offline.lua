-- Runs a Lua file beside the offline bot, which listens at OPENAI_BASE_URL in
-- the same process: an environment variable cannot be set from Lua, so the
-- caller chose the port.
--   OPENAI_BASE_URL=http://127.0.0.1:12345/v1 lua5.4 spec/support/offline.lua examples/hello.lua

package.path = "examples/?.lua;" .. package.path

local path = arg[1]
local port = tonumber(os.getenv("OPENAI_BASE_URL"):match ":(%d+)/v1$")
local server = require("server").start { port = port }

arg[0], arg[1] = path, nil
dofile(path)
server:close()
assert(#server.errors == 0, server.errors[1])
