-- Who answers when the provider does not: another one, then a fixed text. The first
-- one here is down on purpose; the second is OPENAI_BASE_URL (make demo's bot, say).
--   OPENAI_BASE_URL=... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/fallbacks.lua

local chat = require "oaichat"

local session = assert(chat.new {
  base_url = "http://127.0.0.1:1/v1", model = "out-of-order", retry = { max = 0 },
  fallbacks = {
    { base_url = os.getenv "OPENAI_BASE_URL" or "https://api.openai.com/v1", model = "gpt-4o-mini" },
    { apology = "Sorry, nobody can answer at the moment." },
  },
})

local stream = session:stream "Hello!"
for event in stream:events() do
  if event.type == "text" then
    io.write(event.text)
  elseif event.type == "restart" then -- the route broke in mid-sentence; another one begins anew
    io.write("\n(" .. event.message .. "; once more, from the beginning)\n")
  end
  io.flush()
end

local reply = assert(stream:result())
print()
for _, step in ipairs(reply.via or {}) do print("by " .. step.step .. ", because of " .. tostring(step.reason)) end
for i, attempt in ipairs(reply.attempts) do
  print(("attempt %d: %s %s"):format(i, attempt.model, attempt.kind or "answered"))
end
