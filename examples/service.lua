-- service: a chat service over HTTP, one conversation a user, in a store that other
-- replicas of it share. Start two of them on one Redis and put a balancer in front:
--
--   LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" \
--     lua5.4 examples/service.lua 8081 tcp://127.0.0.1:6379
--   … lua5.4 examples/service.lua 8082 tcp://127.0.0.1:6379
--   curl -d '{"user":"ada","text":"hello"}' http://127.0.0.1:8081/chat
--
-- The store: a Redis URL (tcp://, unix:/), or the path of a folder for the file store.
-- The model: OPENAI_BASE_URL and OPENAI_API_KEY, as everywhere. The HTTP server is the
-- small one of oaichat.testing: put the service behind a real one in production (see
-- examples/cqueues_server.lua).

local chat = require "oaichat"
local json = require "oaichat.json"
local testing = require "oaichat.testing"

local port, where = tonumber(arg[1]) or 8080, arg[2] or "conversations"

local store
if where:find "^tcp:" or where:find "^tls:" or where:find "^unix:" then
  store = assert(chat.history.redis { url = where })
else
  store = assert(chat.history.file { path = where })
end

local service = chat.service {
  history = store,
  session = { system = "You are brief and kind.", timeouts = { attempt = 60 } },
  per_minute = tonumber(os.getenv "PER_MINUTE" or 600),
  lock_seconds = tonumber(os.getenv "LOCK_SECONDS" or 60),
}

local STATUS = { rate_limit = 429, overloaded = 503, conflict = 409, not_found = 404, storage = 503 }

local function fail(response, err)
  local headers = err.retry_after and { ["retry-after"] = tostring(math.ceil(err.retry_after)) } or nil
  response:json(STATUS[err.kind] or 502, { error = { kind = err.kind, message = err.safe_message } }, headers)
end

local running = true

-- Each runs in a task of its own: the others go on while it waits.
local routes = {
  ["POST /chat"] = function(body, response)
    local reply, _, err = service:process_message(body.user, body.text)
    if err then return fail(response, err) end
    response:json(200, { text = reply.text, reply_id = reply.reply_id, saved = reply.unsaved == nil })
  end,
  ["POST /history"] = function(body, response)
    local messages, _, err = service:get_conversation_history(body.user)
    if err then return fail(response, err) end
    response:json(200, { messages = json.array(messages) })
  end,
  ["POST /feedback"] = function(body, response)
    local ok, _, err = service:feedback(body.user, body.reply_id, body.score, body.note)
    if not ok then return fail(response, err) end
    response:json(200, { ok = true })
  end,
  ["GET /health"] = function(_, response) response:json(200, service:health()) end,
  ["GET /ready"] = function(_, response)
    local ok, why = service:ready()
    response:json(ok and 200 or 503, { ready = ok, why = why })
  end,
  ["POST /shutdown"] = function(_, response)
    response:json(200, { cut = service:shutdown(30) })
    running = false
  end,
}

local server = assert(testing.server(function(request, response)
  local route = routes[request.method .. " " .. request.path]
  local body = request.method == "POST" and request.body ~= "" and json.decode(request.body) or {}
  if not route then return response:json(404, { error = { message = "no such path" } }) end
  if type(body) ~= "table" then return response:json(400, { error = { message = "the body is no JSON object" } }) end
  if request.path ~= "/shutdown" and request.method == "POST"
    and (type(body.user) ~= "string" or body.user == "" or #body.user > 1000) then
    return response:json(400, { error = { message = "user: a string expected" } })
  end
  chat.spawn(function() route(body, response) end)
end, { port = port }))

print("listening on " .. server.url:gsub("/v1$", ""))
io.stdout:flush()
while running or chat.pending() > 0 do
  chat.wait(1)
  chat.step()
end
chat.sleep(0.1) -- the last answer goes out
