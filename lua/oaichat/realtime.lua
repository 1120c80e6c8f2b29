--- realtime: a client of OpenAI's Realtime API over WebSocket: events as tables both
-- ways, and the answers that they make up. Knows the events it assembles; any other
-- passes through.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local keys = require "oaichat.keys"
local options = require "oaichat.options"
local loop = require "oaichat.loop.default"
local wait = require "oaichat.wait"
local websocket = require "oaichat.websocket"

local M = {}

local MODEL = "gpt-realtime"
local AUDIO_BYTES = 64e6 -- of one answer that are kept, if its user says nothing

local ALLOWED = {
  model = "string", api_key = "string|boolean|table|function", key_header = "string",
  base_url = "string", headers = "table", allow_http = "boolean",
  ca_file = "string", proxy = "string", engine = "table|userdata", timeout = "number", keepalive = "number",
  close_timeout = "number", event_bytes = "number", answer_bytes = "number",
}

--- @class oaichat.Realtime
--- @field last_error table|nil the latest event of type "error": the connection goes on after it
local Realtime = {}
Realtime.__index = Realtime
Realtime.__name = "oaichat.Realtime"

function Realtime:__tostring()
  return ("oaichat.Realtime (%s)"):format(self.socket.state)
end

--- @class oaichat.realtime.Answer what the events of one response made
--- @field id string
--- @field status string|nil "completed", "cancelled", "failed", "incomplete"; nil: it goes on
--- @field usage table|nil
--- @field text string @field transcript string @field audio string bytes
local function answer_of(entry)
  return {
    id = entry.id, status = entry.status, usage = entry.usage, text = table.concat(entry.text),
    transcript = table.concat(entry.transcript), audio = table.concat(entry.audio),
  }
end

-- The names of today and those of the beta.
local DELTAS = {
  ["response.output_text.delta"] = "text", ["response.text.delta"] = "text",
  ["response.output_audio_transcript.delta"] = "transcript", ["response.audio_transcript.delta"] = "transcript",
  ["response.output_audio.delta"] = "audio", ["response.audio.delta"] = "audio",
}

local function fatal(self, kind, code, message)
  self.err = errors.new { kind = kind, code = code, message = message }
  self.socket:cancel()
  return errors.fail(self.err)
end

-- The answer that goes on with this id; servers that know one at a time may leave it out.
local function find(self, id)
  for _, answer in ipairs(self.answers) do
    if not answer.status and (id == nil or answer.id == id) then return answer end
  end
end

local function forget(self, answer)
  for i, one in ipairs(self.answers) do
    if one == answer then
      table.remove(self.answers, i)
      self.size = self.size - answer.size
    end
  end
end

-- Answers are held while they go on, and until reply gives them where it is what reads.
local function collect(self, event)
  local into = DELTAS[event.type]
  if event.type == "response.created" and type(event.response) == "table" then
    self.answers[#self.answers + 1] = {
      id = event.response.id, text = {}, transcript = {}, audio = {}, waits = {}, size = 64,
    }
    self.size = self.size + 64
  elseif into and type(event.delta) == "string" then
    local piece = event.delta
    if into == "audio" then
      piece = core.unbase64(piece)
      if not piece then return fatal(self, "protocol", "malformed_event", "an audio event is not base64") end
      event.audio = piece
    end
    local answer = find(self, event.response_id)
    if not answer then return true end
    answer.size, self.size = answer.size + #piece, self.size + #piece
    if self.size > self.answer_bytes then
      return fatal(self, "too_large", "too_large", "the answers that go on are larger than answer_bytes")
    end
    local list = answer[into]
    list[#list + 1] = piece
  elseif event.type == "response.done" and type(event.response) == "table" then
    local answer = find(self, event.response.id)
    if answer then
      answer.status, answer.usage = event.response.status or "completed", event.response.usage
      if not self.replying then forget(self, answer) end
    end
  elseif event.type == "error" then
    self.last_error = event
  end
  return true
end

--- Sends a client event (session.update, response.create, …); gives it an event_id
--- if it has none.
--- @param event table with type
--- @return string|nil event_id, string|nil message, oaichat.Error|nil err
function Realtime:send(event)
  if type(event) ~= "table" or type(event.type) ~= "string" then errors.misuse "an event is a table with a type" end
  local copy = {}
  for name, value in pairs(event) do copy[name] = value end
  self.sent = self.sent + 1
  copy.event_id = copy.event_id or ("event_%d"):format(self.sent)
  local text, _, err = json.encode(copy)
  if not text then return errors.fail(err) end
  local ok, message, failure = self.socket:send_text(text)
  if not ok then return nil, message, failure end
  return copy.event_id
end

--- Says a text as the user and asks for an answer to it.
--- @param text string
--- @param response table|nil fields of response.create's response
--- @return string|nil event_id, string|nil message, oaichat.Error|nil err
function Realtime:say(text, response)
  local ok, message, err = self:send {
    type = "conversation.item.create",
    item = { type = "message", role = "user", content = json.array { { type = "input_text", text = text } } },
  }
  if not ok then return nil, message, err end
  return self:send { type = "response.create", response = response }
end

--- Adds bytes of audio, in the session's format, to the input's buffer.
--- @param bytes string at most 11 MB are taken in one event: cut before
--- @return string|nil event_id, string|nil message, oaichat.Error|nil err
function Realtime:append_audio(bytes)
  return self:send { type = "input_audio_buffer.append", audio = core.base64(bytes) }
end

--- The next event of the server. Audio deltas have their bytes in `audio`. nil alone:
--- the server closed.
--- @return table|nil event, string|nil message, oaichat.Error|nil err
function Realtime:next()
  if self.err then return errors.fail(self.err) end
  local data, kind, err = self.socket:receive()
  if not data then return nil, kind, err end
  local event = kind == "text" and json.decode(data)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    return fatal(self, "protocol", "malformed_event", "the server sent what is no event")
  end
  local ok, message, failure = collect(self, event)
  if not ok then return nil, message, failure end
  return event
end

--- for event in rt:events() do … end; raises what went wrong, as io.lines does.
--- @return fun(): table|nil
function Realtime:events()
  return function()
    local event, _, err = self:next()
    if err then error(err, 0) end
    return event
  end
end

-- A piece is told at once when it is of the first answer, else when that one's turn comes.
local function tell(self, event, on_text)
  local answer = DELTAS[event.type] and find(self, event.response_id)
  if not answer or DELTAS[event.type] == "audio" then return end
  if answer ~= self.answers[1] then
    answer.waits[#answer.waits + 1] = event.delta
  elseif on_text then
    on_text(event.delta)
  end
end

local function read_reply(self, on_text)
  local first = self.answers[1]
  local waits = first and first.waits or {}
  while on_text and waits[1] do on_text(table.remove(waits, 1)) end
  while true do
    first = self.answers[1]
    if first and first.status then
      forget(self, first)
      return answer_of(first)
    end
    local event, message, err = self:next()
    if err then return nil, message, err end
    if not event then
      return errors.fail { kind = "incomplete_stream", code = "stream_interrupted", partial = self:partial() }
    end
    tell(self, event, on_text)
    if event.type == "error" and not self.answers[1] then
      local told = type(event.error) == "table" and event.error or {}
      return errors.fail {
        kind = told.type == "invalid_request_error" and "invalid_request" or "server",
        code = type(told.code) == "string" and told.code:match "^[%l_]+$" or nil, peer = true,
      }
    end
  end
end

--- Reads on to the end of the answer that goes on, or of the next one; of several at once
--- in the order in which they began. An `error` event while none goes on is its failure.
--- @param on_text fun(text: string)|nil called with each piece of text or transcript
--- @return oaichat.realtime.Answer|nil answer, string|nil message, oaichat.Error|nil err
function Realtime:reply(on_text)
  self.replying = true
  local ok, answer, message, err = wait.pcall(read_reply, self, on_text)
  self.replying = false
  if not ok then error(answer, 0) end
  return answer, message, err
end

--- What the answer that goes on has come to.
--- @return oaichat.realtime.Answer|nil
function Realtime:partial()
  return self.answers[1] and answer_of(self.answers[1])
end

--- The closing handshake.
--- @return true
function Realtime:close()
  return self.socket:close()
end

--- Lets go of the connection at once.
function Realtime:cancel()
  self.socket:cancel()
end

local function escape(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- Connects. Options: model, api_key (any form), key_header, base_url, headers, allow_http, ca_file, proxy,
--- engine, timeout, keepalive, close_timeout (seconds), event_bytes (16e6),
--- answer_bytes (64e6). An environment's key stays in C.
--- @param opts table|nil
--- @return oaichat.Realtime|nil realtime, string|nil message, oaichat.Error|nil err
function M.connect(opts)
  opts = opts or {}
  options.check(opts, ALLOWED)
  local engine = opts.engine or loop.scheduler()
  engine = engine.core or engine
  local base = opts.base_url or environment "OPENAI_BASE_URL" or "https://api.openai.com/v1"
  local key, message = keys.open {
    base_url = base, api_key = opts.api_key, key_header = opts.key_header, allow_http = opts.allow_http,
    engine = engine, wire = "raw",
  }
  if not key then return errors.fail { kind = "config", code = "config", message = message } end
  local ok, why, refused = keys.ready(key)
  if not ok then
    key:close()
    return nil, why, refused
  end
  local place, query = base:gsub("^[hH][tT][tT][pP]", "ws"):match "^([^?]*)%??(.*)$"
  local socket, text, failure = websocket.connect {
    url = ("%s/realtime?model=%s%s"):format(place:gsub("/+$", ""), escape(opts.model or MODEL),
      query ~= "" and "&" .. query or ""),
    session = key, headers = opts.headers,
    engine = engine, ca_file = opts.ca_file, proxy = opts.proxy, timeout = opts.timeout, keepalive = opts.keepalive,
    close_timeout = opts.close_timeout, message_bytes = opts.event_bytes,
  }
  key:close()
  if not socket then return nil, text, failure end
  return setmetatable({
    socket = socket, sent = 0, answers = {}, size = 0, answer_bytes = opts.answer_bytes or AUDIO_BYTES,
  }, Realtime)
end

return M
