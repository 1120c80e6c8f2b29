-- hello: one question, one answer. The call waits for the whole answer.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/hello.lua

local chat = require "oaichat"

local session = assert(chat.new { system = "You are terse." })
local reply, message = session:send "What is Lua?"
if not reply then
  io.stderr:write(message, "\n")
  os.exit(1)
end
print(reply.text)

-- The session remembers: this is understood.
print(assert(session:send "And who made it?"))
