-- step(0.001) under a burst: 100,000 chunks wait in the sockets of 20 streams; how
-- long a step takes at most.

local chat = require "oaichat"
local core = require "oaichat.core"
local support = require "spec.hosts.support"

local STREAMS, CHUNKS = 20, 5000

local function burst(how)
  local texts, done = {}, 0
  for i = 1, STREAMS do
    local session = assert(chat.new { base_url = support.url })
    local input, expected = support.ask("b" .. i, CHUNKS)
    if how == "callbacks" then
      texts[i] = { expected = expected }
      session:stream(input, {
        on_event = function(event) if event.type == "text" then table.insert(texts[i], event.text) end end,
        on_done = function(reply, message) assert(reply, message) done = done + 1 end,
      })
    else
      texts[i] = { expected = expected }
      chat.spawn(function()
        local stream = session:stream(input)
        local text = stream:next()
        while text do
          table.insert(texts[i], text)
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
  local took = {}
  while done < STREAMS do
    local at = core.now()
    chat.step(0.001)
    took[#took + 1] = core.now() - at
    if took[#took] < 0.0003 then chat.wait(0.01) end
  end
  for i = 1, STREAMS do assert(table.concat(texts[i]) == texts[i].expected, "the text is wrong") end
  local worst = support.quantile(took, 1)
  print(("burst, %s: %d steps, median %.2f ms, worst %.2f ms"):format(
    how, #took, support.quantile(took, 0.5) * 1e3, worst * 1e3))
  support.figure(("burst, %s: 99th percentile of a step"):format(how), support.quantile(took, 0.99) * 1e3, "ms", 1.5)
end

burst "callbacks"
burst "tasks"
