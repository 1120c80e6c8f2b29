--- What one step of a script says to one request: as a stream or whole, as the
-- request asks. Knows the bodies of chat completions; nothing of scripts.

local bodies = require "oaichat.testing.bodies"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"

local M = {}

-- Larger than any event: it goes out in a step of its own.
local ALONE = 1e9

local PLACE = "number|boolean"

local KNOWN = {
  text = "string", chunks = "table", tool_calls = "table", refusal = "string", reasoning = "string",
  finish_reason = "string|boolean", usage = "table|boolean", done = "boolean", model = "string", id = "string",
  status = "number", headers = "table", error = "table|string|boolean", json = "any", bytes = "string",
  piece = "number", pause = "number", every = "number", cut = PLACE, reset = PLACE, silence = PLACE,
}

--- Checks a step; a string is a text. Raises for what it does not know.
--- @param step table|string
--- @param where string for the message: "step 2"
--- @return table step
function M.check(step, where)
  if type(step) == "string" then return { text = step } end
  if type(step) ~= "table" then errors.misuse(("%s: table or string expected, got %s"):format(where, type(step))) end
  local rest = {}
  for name, value in pairs(step) do
    if name ~= "json" then rest[name] = value end
  end
  options.check(rest, KNOWN, where .. ": ")
  for i, call in ipairs(step.tool_calls or {}) do
    if type(call.name) ~= "string" then errors.misuse(("%s: tool_calls[%d].name: string expected"):format(where, i)) end
  end
  return step
end

local function arguments_of(call)
  local arguments = call.arguments or {}
  if type(arguments) == "string" then return arguments end
  return assert(json.encode(next(arguments) == nil and json.object {} or arguments))
end

-- The words of a text, each with the blanks before it.
local function words(text)
  local list = {}
  for word in text:gmatch "%s*%S+" do list[#list + 1] = word end
  local rest = text:match "%s*$"
  if rest ~= "" then list[#list + 1] = rest end
  return list
end

-- ---- as a stream -----------------------------------------------------------------

local function call_deltas(list, step)
  for i, call in ipairs(step.tool_calls or {}) do
    local arguments = arguments_of(call)
    list[#list + 1] = { tool_calls = json.array { {
      index = i - 1, id = call.id or "call_" .. i, type = "function",
      ["function"] = { name = call.name, arguments = "" },
    } } }
    for at = 1, #arguments, 16 do
      list[#list + 1] = { tool_calls = json.array { {
        index = i - 1, ["function"] = { arguments = arguments:sub(at, at + 15) },
      } } }
    end
  end
end

-- What a step streams: its chunks, or its words and calls.
local function deltas_of(step)
  local list = {}
  if step.reasoning then list[1] = { reasoning_content = step.reasoning } end
  for _, piece in ipairs(step.chunks or words(step.text or "")) do
    list[#list + 1] = type(piece) == "table" and piece or { content = piece }
  end
  if step.refusal then list[#list + 1] = { refusal = step.refusal } end
  call_deltas(list, step)
  return list
end

local function finish_of(step)
  if step.finish_reason ~= nil then return step.finish_reason end
  return step.tool_calls and "tool_calls" or "stop"
end

-- The step ends in the middle: how, and after how many chunks.
local function early_end(step)
  for _, name in ipairs { "cut", "reset", "silence" } do
    local place = step[name]
    if place then return name, place == true and 0 or place end
  end
end

local function leave(response, how)
  if how == "silence" then return end
  -- a step later, so that what was sent before is heard
  response:pause(0)
  if how == "reset" then response:reset() else response:close() end
end

local USAGE = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 }

local function extra_of(step)
  return { model = step.model, id = step.id }
end

local function streamed(step, body, response)
  local how, place = early_end(step)
  response:head(step.status or 200, step.headers)
  for i, delta in ipairs(deltas_of(step)) do
    if how and i > place then return leave(response, how) end
    if step.every and i > 1 then response:pause(step.every) end
    response:event(bodies.chunk(delta, extra_of(step)), ALONE)
  end
  if how then return leave(response, how) end
  local extra = extra_of(step)
  extra.finish_reason = finish_of(step)
  if extra.finish_reason then response:event(bodies.chunk({}, extra), ALONE) end
  local asked = type(body.stream_options) == "table" and body.stream_options.include_usage == true
  if step.usage ~= false and (step.usage or asked) then
    local last = bodies.chunk({}, extra_of(step))
    last.choices, last.usage = json.array {}, step.usage or USAGE
    response:event(last, ALONE)
  end
  if step.done ~= false then response:done(ALONE) end
  response:finish()
end

-- ---- whole -----------------------------------------------------------------------

local function message_of(step)
  local text, calls = {}, nil
  for _, piece in ipairs(step.chunks or { step.text }) do
    text[#text + 1] = type(piece) == "table" and piece.content or type(piece) == "string" and piece or nil
  end
  for i, call in ipairs(step.tool_calls or {}) do
    calls = calls or json.array {}
    calls[i] = {
      id = call.id or "call_" .. i, type = "function",
      ["function"] = { name = call.name, arguments = arguments_of(call) },
    }
  end
  return {
    role = "assistant", content = text[1] and table.concat(text) or json.null, tool_calls = calls,
    refusal = step.refusal, reasoning_content = step.reasoning,
  }
end

-- A whole body, or with an early end its head and first half.
local function whole(step, response, value)
  local how = early_end(step)
  if not how then return response:json(step.status or 200, value, step.headers) end
  local text = assert(json.encode(value))
  local headers = { ["Content-Type"] = "application/json", ["Content-Length"] = #text }
  for name, one in pairs(step.headers or {}) do headers[name] = one end
  response:head(step.status or 200, headers):write(text:sub(1, math.floor(#text / 2)), ALONE)
  leave(response, how)
end

local function failed(step, response)
  local err = step.error
  if type(err) ~= "table" then
    err = { message = type(err) == "string" and err or ("status %d, by the script"):format(step.status or 500) }
  end
  whole({
    status = step.status or 500, headers = step.headers, cut = step.cut, reset = step.reset, silence = step.silence,
  }, response, { error = err })
end

local function raw(step, response)
  response:raw(step.bytes, step.piece)
  if step.silence then return end
  if step.reset then return leave(response, "reset") end
  response:close()
end

--- Answers a request.
--- @param step table checked
--- @param body any the decoded body of the request; nil when it is not JSON
--- @param response oaichat.testing.Response
function M.play(step, body, response)
  body = type(body) == "table" and body or {}
  if step.pause then response:pause(step.pause) end
  if step.bytes then return raw(step, response) end
  -- not a byte comes: true
  if step.silence == true then return end
  if step.reset == true or step.cut == true then return leave(response, step.reset and "reset" or "cut") end
  if step.error or (step.status or 200) >= 400 then return failed(step, response) end
  if step.json ~= nil then return whole(step, response, step.json) end
  if body.stream == true then return streamed(step, body, response) end
  local extra = extra_of(step)
  extra.finish_reason = finish_of(step) or json.null
  extra.usage = step.usage or nil
  local answer = bodies.completion(message_of(step), extra)
  if step.usage == false then answer.usage = nil end
  whole(step, response, answer)
end

return M
