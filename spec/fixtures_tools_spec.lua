--- Each real provider's stream with tool calls runs through a registered tool, with
-- the arguments that expected.json names; the results go back as its next request.

local chat = require "oaichat"
local files = require "spec.support.files"
local json = require "oaichat.json"
local testing = require "oaichat.testing"

local rows = files.expected()
local describe_tools = rows and describe or pending

local ANSWER = "the tools were heard"

-- The stream first, then a plain answer; keeps the second request.
local function serve(body)
  local server
  server = testing.server(function(request, response)
    server.second = request.number > 1 and request:json() or nil
    if request.number > 1 then
      return response:event(testing.chunk(ANSWER)):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end
    response:head(200):write(body):finish()
  end)
  return server
end

local function plain(value)
  if value == json.null then return nil end
  return value
end

-- A tool for each name, which takes any object and notes what it got.
local function tools_for(row, seen)
  local list, made = {}, {}
  for _, call in ipairs(row.tool_calls) do
    if not made[call.name] then
      made[call.name] = true
      list[#list + 1] = chat.tool {
        name = call.name, parameters = { type = "object" },
        run = function(args, own)
          seen[own.id] = args
          return "result of " .. own.id
        end,
      }
    end
  end
  return list
end

local function play(row)
  local server, seen = serve(files.read(files.streams .. row.file)), {}
  local session = assert(chat.new { base_url = server.url, api_key = "sk-spec-key", tools = tools_for(row, seen) })
  local stream = session:stream "go"
  local reply, why = stream:result()
  server:close()
  assert.same({}, server.errors)
  return reply, why, seen, server.second, session
end

local function results_of(request)
  local out = {}
  for _, message in ipairs(request.messages) do
    if message.role == "tool" then out[#out + 1] = { id = message.tool_call_id, content = message.content } end
  end
  return out
end

describe_tools("a provider's stream with tool calls", function()
  local total, right = 0, 0
  for _, row in ipairs(rows or {}) do
    if row.outcome == "complete" and row.tool_calls[1] then
      total = total + 1
      it("runs: " .. row.file, function()
        local reply, why, seen, second, session = play(row)
        assert.is_nil(why)
        assert.equal(ANSWER, reply.text)
        local results = results_of(second)
        assert.equal(#row.tool_calls, #results)
        for i, call in ipairs(row.tool_calls) do
          local id = reply.rounds[1].tool_calls[i].id
          assert.equal(id, results[i].id)
          if type(plain(call.arguments)) == "table" then
            assert.same(call.arguments, seen[id])
            assert.equal("result of " .. id, results[i].content)
          else
            assert.is_nil(seen[id]) -- not an object: never run
            assert.matches("^error: ", results[i].content)
          end
        end
        assert.equal(#row.tool_calls + 3, #session:messages())
        right = right + 1
      end)
    end
  end

  it("is counted", function()
    print(("fixture streams with tools: %d of %d"):format(right, total))
    assert.is_true(total > 20)
    assert.equal(total, right)
  end)
end)
