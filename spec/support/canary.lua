--- canary: a child interpreter with a key in its environment. Asks a server of its
-- own at `arg[1]` = same | other than OPENAI_BASE_URL names (a free port chosen by
-- the parent), prints the Authorization that came, or the err's kind.

local chat = require "oaichat"
local testing = require "oaichat.testing"

local function try(opts)
  local session, message, err = chat.new(opts)
  if not session then
    print(err.kind, message)
    return
  end
  local reply
  reply, message = session:send "hello"
  print(reply and "answered" or message)
  print(tostring(session))
end

if arg[1] == "official" then
  try { base_url = "https://api.openai.com/v1" }
else
  local port = arg[1] == "same" and tonumber(os.getenv("OPENAI_BASE_URL"):match ":(%d+)") or nil
  local server = assert(testing.server(function(request, response)
    print("authorization=" .. tostring(request.headers.authorization))
    response:json(200, testing.completion "good")
  end, { port = port }))
  if arg[1] == "same" then try {} else try { base_url = server.url } end
  server:close()
end
