--- Two replicas of examples/service.lua on one Redis; one is killed in the middle.
-- Nothing that was answered is lost, no turn is mixed with another.

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local redis = require "spec.support.redis"
local service = require "oaichat.service"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

local USERS, MESSAGES, KILL_AFTER = 6, 8, 12

local function free_port()
  local listener = assert(core.listen {})
  local port = listener:port()
  listener:close()
  return port
end

-- Starts a replica; gives its URL, its process and how to end it.
local function replica(store, model)
  local port, out = free_port(), os.tmpname()
  os.execute(("OPENAI_BASE_URL=%s LOCK_SECONDS=2 OPENAI_API_KEY= sh -c "
    .. "'echo $$; exec %s examples/service.lua %d %s' >%s 2>&1 &"):format(
    model, interpreter, port, store, out))
  local stop, text = core.now() + 20, ""
  while not text:find "listening" do
    assert(core.now() < stop, "the replica does not start: " .. text)
    chat.wait(0.02)
    chat.step()
    local file = assert(io.open(out))
    text = file:read "*a"
    file:close()
  end
  os.remove(out)
  return { url = ("http://127.0.0.1:%d"):format(port), pid = text:match "^%d+" }
end

local function post(url, path, body)
  local session = assert(core.new { base_url = url, wire = "raw", path = path, api_key = false })
  local exchange = session:send(json.encode(body), { method = "POST", timeouts = { attempt = 20, connect = 2 } })
  while not exchange:done() do wait.ready(exchange) end
  local result, failure = exchange:result()
  exchange:close()
  session:close()
  if failure then return nil, failure.kind end
  return json.decode(result.body)
end

-- A model that repeats what it hears, after a moment.
local function model()
  return assert(testing.server(function(request, response)
    local messages = request:json().messages
    response:pause(0.01)
    response:json(200, testing.completion("re:" .. messages[#messages].content))
  end))
end

-- Sends a user's messages in order; where a replica does not answer, the other is asked.
local function talk(user, replicas, state)
  for i = 1, MESSAGES do
    local text, at = ("%s-%d"):format(user, i), (i + #user) % 2 + 1
    local answered
    for _ = 1, 40 do
      local reply = replicas[at].pid and post(replicas[at].url, "/chat", { user = user, text = text })
      if reply and reply.text then
        assert.equal("re:" .. text, reply.text)
        answered = true
        break
      end
      at = 3 - at
      chat.sleep(0.1)
    end
    assert.is_true(answered, text)
    state.acknowledged[#state.acknowledged + 1] = text
    if #state.acknowledged == KILL_AFTER then
      os.execute("kill -9 " .. replicas[1].pid)
      replicas[1].pid = nil
    end
  end
end

-- Each acknowledged input is there with its answer behind it; an input that was said
-- again after the kill may stand twice, never half.
local function check(store, user)
  local messages = assert(store:load(service.conversation_id(user))).messages
  local seen, last = {}, 0
  for i, one in ipairs(messages) do
    if one.role == "user" then
      local number = tonumber(one.content:match "%-(%d+)$")
      assert.is_true(number == last or number == last + 1, "out of order: " .. one.content)
      last = number
      local answer = messages[i + 1]
      if answer and answer.role == "assistant" then
        assert.equal("re:" .. one.content, answer.content)
        seen[one.content] = true
      end
    end
  end
  for i = 1, MESSAGES do assert.is_true(seen[("%s-%d"):format(user, i)], "lost: " .. user .. "-" .. i) end
  return #messages
end

local missing = redis.missing()

describe("two replicas of a service on one Redis", function()
  (missing and pending or it)("lose nothing when one is killed in the middle", function()
    local server, brain = redis.start(), model()
    local replicas = { replica(server:url(), brain.url), replica(server:url(), brain.url) }
    local state, tasks = { acknowledged = {} }, {}
    for u = 1, USERS do
      tasks[u] = chat.spawn(function() talk("user" .. u, replicas, state) end)
    end
    local ok, why = chat.run()
    assert.is_true(ok, why)
    for _, task in ipairs(tasks) do task:wait() end
    assert.equal(USERS * MESSAGES, #state.acknowledged)
    assert.is_nil(replicas[1].pid)
    local store, kept = chat.history.redis { url = server:url() }, 0
    for u = 1, USERS do kept = kept + check(store, "user" .. u) end
    print(("replicas: %d messages acknowledged, one replica killed after %d, %d messages kept, none lost")
      :format(#state.acknowledged, KILL_AFTER, kept))
    store:close()
    post(replicas[2].url, "/shutdown", {})
    os.execute("kill " .. replicas[2].pid .. " 2>/dev/null")
    brain:close()
    server:stop()
  end)
end)
