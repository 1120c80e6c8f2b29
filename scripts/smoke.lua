-- One exchange against a server in this process, streamed and whole.
--   LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=lua5.3 cpath)" lua5.3 scripts/smoke.lua
-- Fails loudly; prints one line when all is well.

local chat = require "oaichat"
local testing = require "oaichat.testing"

local server = testing.server(function(request, response)
  local body = request:json()
  if body.stream then
    for _, word in ipairs { "Hel", "lo ", "there" } do
      response:event { choices = { { index = 0, delta = { content = word } } } }
    end
    response:event { choices = { { index = 0, delta = {}, finish_reason = "stop" } } }
    response:done()
    response:finish()
  else
    response:json(200, {
      id = "smoke",
      object = "chat.completion",
      choices = {
        {
          index = 0,
          message = { role = "assistant", content = "whole" },
          finish_reason = "stop",
        },
      },
    })
  end
end)

local session = assert(chat.new { base_url = server.url, model = "smoke" })
local reply = assert(session:send "Whole, please")
assert(reply.text == "whole", reply.text)

local pieces = {}
for text in session:stream "And in pieces" do pieces[#pieces + 1] = text end
assert(table.concat(pieces) == "Hello there", table.concat(pieces))
assert(#session:messages() == 4, #session:messages())
server:close()

local name = rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION
print(name .. ": one whole answer and one stream, as they should be")
