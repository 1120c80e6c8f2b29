--- script: a server that plays answers by a list: the first request gets the first
-- one, and so on; whole or streamed, as the request asks.

local json = require "oaichat.json"
local testing = require "oaichat.testing"

local M = {}

local function wire_calls(calls)
  local out = json.array {}
  for i, call in ipairs(calls) do
    out[i] = {
      index = i - 1, id = call.id or "call_" .. i, type = "function",
      ["function"] = { name = call[1], arguments = call[2] or "{}" },
    }
  end
  return out
end

local function whole(response, answer)
  local message = { role = "assistant", content = answer.text or json.null, refusal = answer.refusal }
  if answer.calls then message.tool_calls = wire_calls(answer.calls) end
  response:json(200, {
    id = "c-1", model = "m-1",
    choices = json.array { { index = 0, message = message, finish_reason = answer.finish } },
    usage = { prompt_tokens = 1, completion_tokens = 1, total_tokens = 2 },
  })
end

-- The text and the arguments in pieces of three bytes.
local function streamed(response, answer)
  for piece in (answer.text or ""):gmatch "..?.?" do response:event(testing.chunk(piece)) end
  if answer.refusal then response:event(testing.chunk { refusal = answer.refusal }) end
  for i, call in ipairs(wire_calls(answer.calls or {})) do
    local arguments = call["function"].arguments
    call["function"].arguments = ""
    response:event(testing.chunk { tool_calls = { call } })
    for piece in arguments:gmatch "..?.?" do
      response:event(testing.chunk { tool_calls = { { index = i - 1, ["function"] = { arguments = piece } } } })
    end
  end
  response:event(testing.chunk({}, { finish_reason = answer.finish })):done():finish()
end

--- Serves the answers: { text =, calls = { { name, arguments, id = } }, finish =, refusal = }, a string, or a
--- function(request, response, body).
--- @return table server requests: the bodies, decoded
function M.serve(answers)
  local bodies = {}
  local server
  server = assert(testing.server(function(request, response)
    local body = request:json()
    bodies[#bodies + 1] = body
    local answer = answers[#bodies] or { text = "no more answers" }
    if type(answer) == "function" then return answer(request, response, body) end
    if type(answer) == "string" then answer = { text = answer } end
    answer.finish = answer.finish or (answer.calls and "tool_calls" or "stop")
    if body.stream then streamed(response, answer) else whole(response, answer) end
  end))
  server.bodies = bodies
  return server
end

return M
