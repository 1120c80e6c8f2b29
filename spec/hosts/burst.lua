-- step(0.001) under a burst: 100,000 chunks wait in the sockets of 20 streams; how
-- long a step takes at most. Each piece is compared where it comes and not kept: with
-- 100,000 strings in tables it is Lua's collector that takes up to 10 ms.

local chat = require "oaichat"
local core = require "oaichat.core"
local support = require "spec.hosts.support"

local STREAMS, CHUNKS, ROUNDS = 20, 5000, 5

-- Takes a piece; it must be what the expected text goes on with.
local function take(text, piece)
  assert(text.expected:sub(text.at, text.at + #piece - 1) == piece, "the text is wrong")
  text.at = text.at + #piece
end

local function burst(how, took)
  local texts, done = {}, 0
  for i = 1, STREAMS do
    local session = assert(chat.new { base_url = support.url })
    local input, expected = support.ask("b" .. i, CHUNKS)
    if how == "callbacks" then
      texts[i] = { expected = expected, at = 1 }
      session:stream(input, {
        on_event = function(event) if event.type == "text" then take(texts[i], event.text) end end,
        on_done = function(reply, message) assert(reply, message) done = done + 1 end,
      })
    else
      texts[i] = { expected = expected, at = 1 }
      chat.spawn(function()
        local stream = session:stream(input)
        local text = stream:next()
        while text do
          take(texts[i], text)
          text = stream:next()
        end
        assert(stream:result())
        done = done + 1
      end)
    end
  end
  -- the requests go out, then nobody looks for a second
  local stop = core.now() + 0.02
  while core.now() < stop do chat.step(0) end
  os.execute "sleep 1"
  -- what making the expected texts left is not the subject
  collectgarbage()
  collectgarbage()
  while done < STREAMS do
    local wall, cpu = core.now(), os.clock()
    chat.step(0.001)
    cpu, wall = os.clock() - cpu, core.now() - wall
    took.wall[#took.wall + 1], took.cpu[#took.cpu + 1] = wall, cpu
    if wall < 0.0003 then chat.wait(0.01) end
  end
  for i = 1, STREAMS do assert(texts[i].at == #texts[i].expected + 1, "text is missing") end
end

-- A step that another process interrupts is longer by the clock on the wall, so
-- the processor's time is judged; both are printed.
for _, how in ipairs { "callbacks", "tasks" } do
  local took = { wall = {}, cpu = {} }
  for _ = 1, ROUNDS do burst(how, took) end
  local function ms(list, q) return support.quantile(list, q) * 1e3 end
  print(("burst, %s: %d steps, median %.2f ms, 99th percentile %.2f ms, worst %.2f ms by the wall clock"):format(
    how, #took.wall, ms(took.wall, 0.5), ms(took.wall, 0.99), ms(took.wall, 1)))
  support.figure(("burst, %s: 99th percentile of a step, processor time"):format(how), ms(took.cpu, 0.99), "ms", 1.5)
end
