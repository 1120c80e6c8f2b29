-- copas: a chat in a thread of copas, beside others.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=luajit cpath)" luajit examples/copas.lua

local copas = require "copas"
local chat = require "oaichat"

require("oaichat.loop.copas").attach()

-- A copas thread, by chat.spawn: sessions park in it, and copas.receive works too.
local task = chat.spawn(function()
  local reply, message = assert(chat.new()):send "What is Lua?"
  print(reply and reply.text or message)
end)

while not task:done() do copas.step(0.1) end
