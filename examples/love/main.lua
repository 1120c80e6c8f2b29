-- love: a character that talks while the game goes on: a millisecond of each frame.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=luajit cpath)" love examples/love
-- In a game of yours: oaichat's Lua files in the .love, oaichat/core.so beside the
-- executable or in the save directory; no key in what you ship: a proxy's base_url.

local chat = require "oaichat"

local loop = require("oaichat.loop.tick").attach { budget = 0.001 }
local talk = ""
local stream

local function ask(question)
  if stream then stream:cancel() end -- the scene changed
  talk = ""
  local session = assert(chat.new { system = "You are an innkeeper. One sentence." })
  stream = session:stream(question, {
    on_event = function(event)
      if event.type == "text" then talk = talk .. event.text end
    end,
    on_done = function(_, message)
      talk = message and ("(" .. message .. ")") or talk
      if os.getenv "LOVE_ONCE" then
        print(talk)
        love.event.quit(message and 1 or 0)
      end
    end,
  })
end

function love.load()
  ask "Is there a room for the night?"
end

function love.update()
  loop:step()
end

function love.keypressed(key)
  if key == "space" then ask "What is on the stove?" end
  if key == "escape" then love.event.quit() end
end

function love.draw()
  love.graphics.printf(talk, 20, 20, 440)
  love.graphics.circle("fill", 240 + 100 * math.cos(love.timer.getTime()), 240, 10)
end
