-- cqueues_server: a web server that streams chats, by lua-http: POST a question, the
-- answer comes as plain text while the model writes it. One thread for all.
--   export OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)"
--   lua5.4 examples/cqueues_server.lua 8080
--   curl -N -d 'What is Lua?' http://127.0.0.1:8080/

local chat = require "oaichat"
local cqueues = require "cqueues"
local http_headers = require "http.headers"
local http_server = require "http.server"

local M = {}

local function answer(options)
  return function(_, stream)
    assert(stream:get_headers())
    local question = assert(stream:get_body_as_string())
    local headers = http_headers.new()
    headers:append(":status", "200")
    headers:append("content-type", "text/plain; charset=utf-8")
    assert(stream:write_headers(headers, false))
    local talk = assert(chat.new(options)):stream(question)
    while true do
      local text, message = talk:next() -- parks: the others go on
      if not text then
        stream:write_chunk(message or "", true)
        break
      end
      if not stream:write_chunk(text, false) then -- the client has gone
        talk:cancel()
        break
      end
    end
  end
end

--- Starts the server in a controller.
---@param options table for chat.new
---@param port integer|nil a free one
function M.start(cq, options, port)
  local loop = require("oaichat.loop.cqueues").attach(cq)
  local server = assert(http_server.listen {
    host = "127.0.0.1", port = port or 0, cq = cq, onstream = answer(options),
  })
  assert(server:listen())
  local _, host, bound = server:localname()
  return {
    url = ("http://%s:%d/"):format(host, bound),
    close = function()
      server:close()
      loop:detach()
    end,
  }
end

if arg and arg[0] and arg[0]:match "cqueues_server%.lua$" then
  local cq = cqueues.new()
  print(M.start(cq, {}, tonumber(arg[1] or 8080)).url)
  assert(cq:loop())
end

return M
