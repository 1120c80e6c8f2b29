-- The server of the host proofs, a process of its own: the last message says what to
-- answer, "tag chunks pause": pieces "tag.1 " … "tag.chunks ", pause seconds between
-- them. Prints its URL; runs until it is ended.

local core = require "oaichat.core"
local testing = require "oaichat.testing"

io.stdout:setvbuf "no"

local function piece(tag, i)
  return ('data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    .. '{"content":"%s.%d "},"finish_reason":null}]}\n\n'):format(tag, i)
end

local END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

local server = assert(testing.server(function(request, response)
  local body = request:json()
  local tag, chunks, pause = body.messages[#body.messages].content:match "^(%w+) (%d+) ([%d.]+)$"
  chunks, pause = tonumber(chunks), tonumber(pause)
  if not body.stream then return response:json(200, testing.completion(tag)) end
  response:head(200)
  if pause == 0 then
    local pieces = {}
    for i = 1, chunks do pieces[i] = piece(tag, i) end
    response:write(table.concat(pieces))
  else
    for i = 1, chunks do response:write(piece(tag, i)):pause(pause) end
  end
  response:write(END):finish()
end))

print(server.url)
local engine = core.engine()
while true do
  engine:wait(1)
  server:step()
  server.requests = {}
end
