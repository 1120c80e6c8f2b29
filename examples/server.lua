-- server: the offline bot behind the API of OpenAI, in this process: chat
-- completions, streamed or whole, with calls of tools and answers by a JSON schema
-- (bot_tools.lua says by which rules), and the list of models. Knows the bot and
-- oaichat.testing; no conversation is kept here, the client sends it whole.
--
--   local server = require("server").start { pause = 0.02 }
--   local session = chat.new { base_url = server.url }
--   server:close()
--
-- Or on its own, for curl and for other clients, until Ctrl-C:
--   LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/server.lua 8080

local script = arg and arg[0] and arg[0]:match "server%.lua$" and arg[0]
if script then package.path = script:gsub("server%.lua$", "?.lua") .. ";" .. package.path end

local bot = require "bot"
local bot_tools = require "bot_tools"
local json = require "oaichat.json"
local testing = require "oaichat.testing"

local M = {}

-- The shape of every error of OpenAI's; param and code are null, not absent.
local function refuse(response, status, message, param, code, type)
  response:json(status, {
    error = {
      message = message,
      type = type or "invalid_request_error",
      param = param or json.null,
      code = code or json.null,
    },
  })
end

-- About one token a word: good enough for a meter, and never a fraction.
local function count_tokens(text)
  local _, n = text:gsub("%S+", "")
  return n
end

local function prompt_tokens(messages)
  local n = 3
  for _, message in ipairs(messages) do
    n = n + 4
    if type(message.content) == "string" then
      n = n + count_tokens(message.content)
    elseif type(message.content) == "table" then
      for _, part in ipairs(message.content) do
        n = n + (type(part.text) == "string" and count_tokens(part.text) or 85)
      end
    end
  end
  return n
end

-- Words with the space before them, as models cut them.
local function pieces_of(text)
  local pieces = {}
  for piece in text:gmatch "%s*%S+" do pieces[#pieces + 1] = piece end
  local tail = text:match "%s+$"
  if tail then pieces[#pieces + 1] = tail end
  return pieces
end

-- Longer after a comma and at the end of a sentence, as one who speaks.
local function pause_after(piece, pause)
  if piece:find "[%.!%?]$" then return pause * 6 end
  if piece:find "[,;:]$" then return pause * 3 end
  return pause
end

-- Arguments and JSON come in pieces that no word ends.
local function slices_of(text)
  local slices = {}
  while #text > 0 do
    local stop = math.min(#text, 8)
    while stop < #text and text:byte(stop + 1) >= 128 and text:byte(stop + 1) < 192 do stop = stop + 1 end
    slices[#slices + 1], text = text:sub(1, stop), text:sub(stop + 1)
  end
  return slices
end

local function is_count(value)
  return type(value) == "number" and value >= 1 and value % 1 == 0
end

-- What is wrong with a request: message, param, code; nil when nothing is.
local function fault_of(body)
  if type(body.model) ~= "string" then return "you must provide a model parameter", "model" end
  local messages = body.messages
  if messages == nil then
    return "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"
  end
  if type(messages) ~= "table" or not json.is_array(messages) then
    return "Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type"
  end
  if #messages == 0 then
    return "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
      "messages", "empty_array"
  end
  for i, message in ipairs(messages) do
    local where = ("messages[%d]"):format(i - 1)
    if type(message) ~= "table" then
      return ("Invalid type for '%s': expected an object."):format(where), where, "invalid_type"
    end
    if type(message.role) ~= "string" then
      return ("Missing required parameter: '%s.role'."):format(where), where .. ".role", "missing_required_parameter"
    end
  end
  if body.n ~= nil and not is_count(body.n) then
    return "Invalid 'n': integer below minimum value.", "n", "integer_below_min_value"
  end
  local format = body.response_format
  if type(format) == "table" and format.type == "json_object" and not json.encode(messages):lower():find "json" then
    return "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
      "messages"
  end
end

-- The answer: pieces, finish_reason, calls; cut at max_tokens as a model's would be.
local function answer(body, id)
  local calls = bot_tools.calls(body)
  for i, call in ipairs(calls or {}) do
    calls[i] = {
      index = i - 1, id = ("call_%s_%d"):format(id:match "%d+$", i), type = "function",
      ["function"] = { name = call.name, arguments = call.arguments },
    }
  end
  if calls then return {}, "tool_calls", calls end
  local document = bot_tools.document(body)
  local pieces = document and slices_of(document)
    or pieces_of(bot_tools.report(body.messages) or bot.reply(body.messages))
  local max = body.max_completion_tokens or body.max_tokens
  local finish_reason = "stop"
  if is_count(max) and #pieces > max then
    for i = #pieces, max + 1, -1 do pieces[i] = nil end
    finish_reason = "length"
  end
  return pieces, finish_reason
end

local function usage_of(body, completion)
  local prompt = prompt_tokens(body.messages)
  return { prompt_tokens = prompt, completion_tokens = completion, total_tokens = prompt + completion }
end

local function send_whole(body, id, response)
  local pieces, finish_reason, calls = answer(body, id)
  for _, call in ipairs(calls or {}) do call.index = nil end
  local choices = {}
  for i = 1, body.n or 1 do
    choices[i] = {
      index = i - 1,
      message = {
        role = "assistant", content = calls and json.null or table.concat(pieces), refusal = json.null,
        tool_calls = calls,
      },
      logprobs = json.null,
      finish_reason = finish_reason,
    }
  end
  response:json(200, {
    id = id,
    object = "chat.completion",
    created = os.time(),
    model = body.model,
    choices = choices,
    usage = usage_of(body, #pieces * #choices),
  })
end

local function send_stream(body, id, response, pause)
  local pieces, finish_reason, calls = answer(body, id)
  local options = type(body.stream_options) == "table" and body.stream_options or {}
  local created = os.time()
  local n = body.n or 1

  local function event(choices, usage)
    local chunk = {
      id = id,
      object = "chat.completion.chunk",
      created = created,
      model = body.model,
      choices = json.array(choices),
    }
    -- With include_usage every chunk has the field, and the last one a value.
    if options.include_usage == true then chunk.usage = usage or json.null end
    response:event(chunk)
  end

  local function each(delta, reason)
    for i = 1, n do
      event { { index = i - 1, delta = delta, logprobs = json.null, finish_reason = reason or json.null } }
    end
  end

  each { role = "assistant", content = calls and json.null or "", refusal = json.null }
  for i, call in ipairs(calls or {}) do
    local fn = call["function"]
    each { tool_calls = { {
      index = i - 1, id = call.id, type = "function", ["function"] = { name = fn.name, arguments = "" },
    } } }
    for _, slice in ipairs(slices_of(fn.arguments)) do
      each { tool_calls = { { index = i - 1, ["function"] = { arguments = slice } } } }
      if pause > 0 then response:pause(pause) end
    end
  end
  for _, piece in ipairs(pieces) do
    each { content = piece }
    if pause > 0 then response:pause(pause_after(piece, pause)) end
  end
  each(json.object {}, finish_reason)
  if options.include_usage == true then event({}, usage_of(body, #pieces * n)) end
  response:done()
  response:finish()
end

local function complete(request, response, pause)
  local body = json.decode(request.body)
  if type(body) ~= "table" or json.is_array(body) then
    return refuse(response, 400, "We could not parse the JSON body of your request.")
  end
  local message, param, code = fault_of(body)
  if message then return refuse(response, 400, message, param, code) end
  -- So that an example can meet an error: this one name is not served.
  if body.model == "no-such-model" then
    return refuse(response, 404, "The model `no-such-model` does not exist or you do not have access to it.", nil,
      "model_not_found")
  end
  local id = ("chatcmpl-offline-%d"):format(request.number)
  if body.stream == true then return send_stream(body, id, response, pause) end
  send_whole(body, id, response)
end

local function list_models(response)
  response:json(200, {
    object = "list",
    data = { { id = "offline-bot", object = "model", created = 1700000000, owned_by = "oaichat" } },
  })
end

--- The handler that `oaichat.testing` calls once a request.
---@param options? { pause?: number } pause: seconds between two words; 0
---@return function handler (request, response)
function M.handler(options)
  local pause = options and options.pause or 0
  return function(request, response)
    local path = request.path
    if path == "/v1/chat/completions" then
      if request.method == "POST" then return complete(request, response, pause) end
    elseif path == "/v1/models" then
      if request.method == "GET" then return list_models(response) end
    else
      return refuse(response, 404, ("Invalid URL (%s %s)"):format(request.method, path))
    end
    refuse(response, 405, ("Not allowed to %s on %s."):format(request.method, path), nil, "method_not_supported")
  end
end

--- Starts the server on a free port of 127.0.0.1; it runs while this thread
--- waits for oaichat.
---@param options? { pause?: number, port?: integer } port: a free one
---@return table server url, port, requests, close()
function M.start(options)
  return assert(testing.server(M.handler(options), { port = options and options.port }))
end

if script then
  local engine = require("oaichat.core").engine()
  local server = M.start { port = tonumber(arg[1]), pause = 0.03 }
  print("OPENAI_BASE_URL=" .. server.url)
  while true do
    engine:wait(1)
    server:step()
  end
end

return M
