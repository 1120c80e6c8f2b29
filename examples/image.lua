-- image: a local file as a part of the question.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/image.lua photo.jpg

local chat = require "oaichat"

local path = arg[1] or "examples/moon.png"
-- The media type is told by the content; a PDF or a WAV becomes a part as well.
local part, message = chat.file(path)
if not part then
  io.stderr:write(message, "\n")
  os.exit(1)
end

local session = assert(chat.new())
for text in session:stream { "What is in this picture?", part } do
  io.write(text)
  io.flush()
end
print()
