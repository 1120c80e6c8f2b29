-- errors: a failure is a value, and its kind says what to do.
--   OPENAI_API_KEY=sk-... LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s cpath)" lua5.4 examples/errors.lua

local chat = require "oaichat"

local function advice(err)
  if err.kind == "authentication" then return "check the key" end
  if err.kind == "not_found" then return "check the name of the model and the base_url" end
  if err.kind == "context_length" then return "start afresh, or forget the oldest turns" end
  if err.kind == "rate_limit" then return ("wait %s s"):format(err.retry_after or "some") end
  if err.kind == "incomplete_stream" then return "what came is in err.partial" end
  if err.kind == "network" or err.kind == "timeout" then return "is the server up?" end
  return err.retryable and "try again" or "read the message"
end

local function try(title, options, input)
  print("-- " .. title)
  local session, message, err = chat.new(options)
  local reply
  if session then reply, message, err = session:send(input) end
  if reply then
    print(reply.text)
  else
    print(message)
    print(("kind = %s, status = %s: %s"):format(err.kind, tostring(err.status), advice(err)))
    -- The session is as it was before: the input is in err.input, not lost.
  end
end

try("a model that nobody has", { model = "no-such-model" }, "Hello")
try("a server that is not there", { base_url = "http://127.0.0.1:1/v1", timeouts = { connect = 2 } }, "Hello")
try("a URL that is none", { base_url = "ftp://example.com" }, "Hello")
