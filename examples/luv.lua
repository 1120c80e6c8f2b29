-- luv: a chat in libuv's loop, beside a timer that goes on ticking.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/luv.lua

local chat = require "oaichat"
local uv = require "luv"

require("oaichat.loop.luv").attach()

local ticks = 0
local timer = uv.new_timer()
timer:start(10, 10, function() ticks = ticks + 1 end)

chat.spawn(function()
  local stream = assert(chat.new()):stream "Tell me a story"
  while true do
    local text, message = stream:next() -- parks: the loop goes on
    if not text then
      print(message or "")
      break
    end
    io.write(text)
    io.flush()
  end
  timer:close()
end)

uv.run() -- ends when the task has
print(("the timer ticked %d times meanwhile"):format(ticks))
