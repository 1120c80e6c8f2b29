--- errors: the err object of every runtime failure, and its sentences.
-- C classifies a failure once (kind, code, phase); this file only puts it into
-- words. It knows no wire and no transport.

local M = {}

--- The folder of these files, as chunks name it.
local HERE = debug.getinfo(1, "S").source:match "^(.*)errors%.lua$" or "@oaichat"

--- What each kind means, in our own words.
local SENTENCES = {
  authentication = "the server refused the API key",
  permission = "the API key is not allowed to do this",
  not_found = "the server knows no such model or endpoint",
  invalid_request = "the server refused the request",
  context_length = "the conversation is longer than the model's context window",
  content_filter = "the provider's content filter refused",
  rate_limit = "the rate limit is reached",
  quota = "the quota or credit is used up",
  conflict = "the server reported a conflict",
  server = "the server failed",
  overloaded = "the server is overloaded",
  timeout = "the server took too long",
  network = "the connection failed",
  canceled = "the request was canceled",
  protocol = "the server's answer is not what the API promises",
  incomplete_stream = "the answer broke off before its end",
  too_large = "the answer is larger than a limit allows",
  budget = "the budget is used up",
  tool = "the model made an invalid tool call",
  validation = "the value does not match its schema",
  storage = "the history could not be stored",
  config = "the configuration is wrong",
}

local CODES = {
  connect = "could not connect to the server",
  dns = "the server's name could not be resolved",
  tls = "the TLS connection could not be trusted or made",
  connection_closed = "the server closed the connection without an answer",
  connection_reset = "the connection was reset before an answer came",
  proxy = "the proxy refused or failed",
  empty_response = "the server's answer is empty",
  bad_response = "the server's answer is not what the API gives",
  malformed_event = "the server sent an event that is not JSON",
  decode = "the answer's content encoding or JSON is broken",
  redirect = "the server answered with a redirect, which is not followed",
  header_too_large = "the answer's headers are larger than limits.header_bytes",
  too_deep = "the JSON is nested deeper than limits.depth",
  too_many_tool_calls = "the answer has more tool calls than limits.tool_calls",
  stream_interrupted = "the connection broke in the middle of the answer",
  incomplete = "the answer ended before its finish reason",
  invalid_tool_call = "the model made a tool call without a name",
  encode = "a value cannot be sent as JSON",
}

local PHASES = {
  connect = "no connection within timeouts.connect",
  first_byte = "no answer within timeouts.first_byte",
  first_content = "no content within timeouts.first_content",
  content_idle = "no further content within timeouts.content_idle",
  attempt = "no whole answer within timeouts.attempt",
  total = "the deadline passed",
}

--- @class oaichat.Error
--- @field kind string one of the kinds above
--- @field code string|nil the provider's code, or ours
--- @field status integer|nil HTTP status of the answer
--- @field param string|nil request parameter the provider blames
--- @field phase string|nil which deadline passed, for kind "timeout"
--- @field retryable boolean trying again may help
--- @field retry_after number|nil seconds the server asked to wait
--- @field request_id string|nil the provider's id of the request
--- @field attempts table[] what each attempt met
--- @field partial oaichat.Reply|nil the reply so far
--- @field input table[]|nil the messages that were not taken into the history
--- @field message string an English sentence; the provider's words may be in it
--- @field safe_message string our words only
local Error = {}
Error.__index = Error
Error.__name = "oaichat.Error"

function Error:__tostring()
  return self.message
end

function Error.__concat(a, b)
  return tostring(a) .. tostring(b)
end

local function sentence(fields)
  local text = fields.phase and PHASES[fields.phase]
    or fields.kind ~= "config" and not fields.peer and CODES[fields.code]
    or SENTENCES[fields.kind]
    or "the request failed"
  if fields.status and fields.status >= 300 then
    text = ("%s (HTTP %d)"):format(text, fields.status)
  end
  return text
end

--- Makes an err object. `fields.detail` (a quote of the provider, already cut,
--- escaped and masked) ends up in the message only; `fields.message`, when
--- given, is our own sentence.
--- @param fields table at least kind
--- @return oaichat.Error
function M.new(fields)
  local err = setmetatable({}, Error)
  for name, value in pairs(fields) do
    if name ~= "detail" and name ~= "peer" then err[name] = value end
  end
  err.safe_message = fields.message or sentence(fields)
  err.message = err.safe_message
  -- a media type is the server's word as well
  if fields.code == "bad_response" and fields.type then err.message = ("%s (%s)"):format(err.message, fields.type) end
  if fields.detail then err.message = err.message .. ": " .. fields.detail end
  err.retryable = fields.retryable or false
  err.attempts = fields.attempts or {}
  return err
end

--- The three values of a runtime failure. (`assert(nil, table)` fails on 5.1 and
--- 5.2; the message in the middle is what makes assert work everywhere.)
--- @return nil, string, oaichat.Error
function M.fail(fields)
  local err = getmetatable(fields) == Error and fields or M.new(fields)
  return nil, err.message, err
end

--- Raises, for misuse; the place named is the first that is not in this library.
--- @param text string
function M.misuse(text)
  local level = 2
  local frame = debug.getinfo(level, "S")
  while frame and (frame.what == "C" or frame.source:sub(1, #HERE) == HERE) do
    level = level + 1
    frame = debug.getinfo(level, "S")
  end
  error(text, frame and level or 0)
end

--- What a value says, also where its metamethod raises or says no string.
--- @param value any
--- @return string
function M.text(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "(" .. type(value) .. ")"
end

--- @return boolean
function M.is(value)
  return getmetatable(value) == Error
end

return M
