-- stream: the answer as it comes, and how it ended.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/stream.lua

local chat = require "oaichat"

local session = assert(chat.new())

-- The short form; a failure raises, as it does with io.lines.
for text in session:stream "Tell me a story" do
  io.write(text)
  io.flush()
end
print()

-- The long form: nothing raises, and the reply has all the rest.
local stream = session:stream "Tell me more"
while true do
  local text = stream:next()
  if not text then break end
  io.write(text)
  io.flush()
end
print()

local reply, message, err = stream:result()
if reply then
  print("finished: " .. tostring(reply.finish_reason))
  if reply.usage then print("tokens:   " .. reply.usage.total_tokens) end
else
  print("failed:   " .. message)
  print("so far:   " .. (err.partial and err.partial.text or ""))
  os.exit(1)
end
