-- LÖVE: 60 frames a second with 20 streams; the worst frame's work.

local chat = require "oaichat"
local support = require "spec.hosts.support"

local STREAMS, CHUNKS, FRAME = 20, 150, 1 / 60
local loop = require("oaichat.loop.tick").attach { budget = 0.001 }
local texts, done, frames, worst_step, worst_frame, started, last = {}, 0, 0, 0, 0, nil, nil

local function check()
  local seconds = love.timer.getTime() - started
  print(("LOVE: %d frames in %.2f s with %d streams of %d chunks: %.1f a second"):format(
    frames, seconds, STREAMS, CHUNKS, frames / seconds))
  print(("LOVE: worst frame %.1f ms"):format(worst_frame * 1e3))
  support.figure("LOVE: worst step of a frame", worst_step * 1e3, "ms", 1.5, 8)
  if frames / seconds < 57 then error("the frame rate is not kept", 0) end
  for i = 1, STREAMS do assert(texts[i].text == texts[i].expected, "the text is wrong") end
end

function love.load()
  for i = 1, STREAMS do
    local session = assert(chat.new { base_url = support.url })
    local input, expected = support.ask("l" .. i, CHUNKS, 0.02)
    local mine = { text = "", expected = expected }
    texts[i] = mine
    session:stream(input, {
      on_event = function(event) if event.type == "text" then mine.text = mine.text .. event.text end end,
      on_done = function(reply, message)
        if not reply then print(message) end
        done = done + 1
      end,
    })
  end
end

function love.update()
  local now = love.timer.getTime()
  started = started or now
  -- the first frames load what the screen needs
  if frames > 10 then worst_frame = math.max(worst_frame, now - last) end
  last = now
  loop:step()
  local took = love.timer.getTime() - now
  worst_step, frames = math.max(worst_step, took), frames + 1
  if done == STREAMS then
    local ok, why = pcall(check)
    if not ok then print(why) end
    love.event.quit(ok and 0 or 1)
  end
  -- the virtual screen has no vertical sync
  love.timer.sleep(math.max(0, started + frames * FRAME - love.timer.getTime()))
end

function love.draw()
  for i = 1, STREAMS do love.graphics.print(texts[i].text:sub(-60), 10, i * 14) end
end
