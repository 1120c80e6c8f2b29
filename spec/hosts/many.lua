-- 1,000 streams of 100 chunks at once in one thread: all complete and correct.

local chat = require "oaichat"
local core = require "oaichat.core"
local support = require "spec.hosts.support"

local STREAMS, CHUNKS = 1000, 100
local good, started = 0, core.now()
for i = 1, STREAMS do
  chat.spawn(function()
    local session = assert(chat.new { base_url = support.url })
    local input, expected = support.ask("t" .. i, CHUNKS, 0.05)
    local stream = session:stream(input)
    local pieces = {}
    while true do
      local text, message = stream:next()
      if message then error(message) end
      if not text then break end
      pieces[#pieces + 1] = text
    end
    assert(table.concat(pieces) == expected, "the text is wrong")
    assert(assert(stream:result()).text == expected)
    good = good + 1
  end)
end
local ok, message = chat.run()
print(("%d of %d streams of %d chunks complete and correct, %.1f s"):format(
  good, STREAMS, CHUNKS, core.now() - started))
assert(ok and good == STREAMS, message)
