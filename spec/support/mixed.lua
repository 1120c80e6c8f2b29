-- 100 mixed exchanges against a server in the same thread: whole answers,
-- streams, events, errors, cut streams; about half canceled at random points,
-- some dropped unfinished to the collector. In the end nothing may live but
-- the engine. Run it under valgrind: make test-valgrind.
local chat = require "oaichat"
local core = require "oaichat.core"
local testing = require "oaichat.testing"

-- the same numbers on every Lua, whatever its math.random is
local seed = 42
local function dice(n)
  seed = (seed * 16807) % 2147483647
  return seed % n + 1
end

local function chunk(text, finish)
  return {
    id = "c1",
    model = "m",
    choices = { { index = 0, delta = { content = text }, finish_reason = finish } },
  }
end

local function whole(_, response)
  response:json(200, {
    id = "c1",
    model = "m",
    choices = { {
      index = 0,
      message = { role = "assistant", content = "whole" },
      finish_reason = "stop",
    } },
    usage = { prompt_tokens = 1, completion_tokens = 1, total_tokens = 2 },
  })
end

local function stream(how)
  return function(_, response)
    response:head(200)
    for i = 1, 20 do response:event(chunk("word" .. i .. " ")) end
    if how == "cut" then return response:finish() end
    if how == "reset" then return response:reset() end
    if how == "error" then
      response:event { error = { message = "went wrong", code = "server_error" } }
      return response:finish()
    end
    if how == "broken" then
      response:event '{"choices":[{"delta":{"content":"half'
      return response:finish()
    end
    response:event(chunk("end", "stop"))
    response:done()
    response:finish()
  end
end

local answers = {
  whole,
  stream "whole",
  stream "whole",
  stream "cut",
  stream "reset",
  stream "error",
  stream "broken",
  function(_, response)
    response:json(429, { error = { message = "slow down", type = "rate" } })
  end,
}

local answer
local server = testing.server(function(request, response)
  return answer(request, response)
end)

local function new()
  return assert(chat.new {
    base_url = server.url,
    api_key = "sk-test-0123456789",
    model = "m",
    retry = { max = 0 },
  })
end

local canceled, failed, succeeded = 0, 0, 0

local function count(reply, _, err)
  if reply then
    succeeded = succeeded + 1
  else
    assert(err and err.kind, "a failure without an error value")
    failed = failed + 1
  end
end

-- Pulls a stream up to a random point, then cancels it or lets go of it.
local function leave(session, drop)
  local s = session:stream "hello"
  for _ = 1, dice(25) - 1 do
    if not s:next() then break end
  end
  if not drop then s:cancel() end
  canceled = canceled + 1
end

local function read(session)
  local view = dice(4)
  if view == 1 then return count(session:send "hello") end
  local s = session:stream "hello"
  if view == 2 then
    while s:next() do end
  elseif view == 3 then
    for event in s:events() do assert(event.type) end
  end
  count(s:result())
end

local function main()
  local session = new()
  for i = 1, 100 do
    answer = answers[dice(#answers)]
    if dice(10) == 1 then session = new() end
    if dice(2) == 1 then
      leave(session, dice(4) == 1)
    else
      read(session)
    end
    if i % 25 == 0 then collectgarbage() end
  end
end

main()
server:close()
collectgarbage()
collectgarbage()
local left = {}
for class, n in pairs(core.live()) do
  if n > 0 and not class:lower():find "engine" then
    left[#left + 1] = class .. "=" .. n
  end
end
assert(#left == 0, "still alive: " .. table.concat(left, ", "))
assert(succeeded > 10 and failed > 10 and canceled > 30)
print("100 exchanges, " .. canceled .. " canceled")
