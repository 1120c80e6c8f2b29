-- Runs a Lua file beside the offline bot (and a few other endpoints), which listens at
-- OPENAI_BASE_URL in the same process: an environment variable cannot be set from Lua, so the
-- caller chose the port. Says on stderr how many requests came.
--   OPENAI_BASE_URL=http://127.0.0.1:12345/v1 lua5.4 spec/support/offline.lua examples/hello.lua

local path = arg[1]
package.path = "examples/?.lua;" .. package.path

local port = tonumber(os.getenv("OPENAI_BASE_URL"):match ":(%d+)/v1$")
require("spec.support.offline_endpoints").beside(require "oaichat.testing")
local server = require("server").start { port = port }

local exit = os.exit
local function finish(code)
  io.stderr:write(("\n%d requests\n"):format(#server.requests))
  if server.errors[1] then
    io.stderr:write(server.errors[1], "\n")
    code = 1
  end
  server:close()
  exit(code)
end

os.exit = finish -- luacheck: ignore 122
arg[0], arg[1] = path, nil
dofile(path)
finish(0)
