--- moderation: asks a moderation endpoint (POST /moderations, API reference) whether a
--- text may be sent or shown. Knows no session; what cannot be asked counts as refused
--- unless it is told otherwise.

local attempts = require "oaichat.attempts"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local keys = require "oaichat.keys"
local options = require "oaichat.options"
local tables = require "oaichat.tables"

local M = {}

--- The model that the API uses when none is said.
M.MODEL = "omni-moderation-latest"

local KNOWN = {
  input = "boolean", output = "boolean", model = "string", base_url = "string",
  api_key = "string|boolean|table|function",
  allow_http = "boolean", window = "number", fail = "string", judge = "function",
}

--- @class oaichat.Moderation
local Moderation = {}
Moderation.__index = Moderation

--- @param given table|boolean true: the session's endpoint, input and output
--- @param first table the session's endpoint: core, base_url, engine (of the core), scheduler
--- @return oaichat.Moderation|nil moderation, string|nil message, oaichat.Error|nil err kind "config"
function M.new(given, first)
  given = given == true and {} or given
  options.check(given, KNOWN, "moderation.")
  local fail = given.fail or "closed"
  if fail ~= "open" and fail ~= "closed" then
    return errors.fail { kind = "config", code = "config", message = 'moderation.fail is "open" or "closed"' }
  end
  local endpoint, why = keys.open {
    base_url = given.base_url or first.base_url, api_key = given.api_key, allow_http = given.allow_http,
    engine = first.engine, key_of = first.core, wire = "raw", path = "/moderations",
    key_header = first.key_header,
  }
  if not endpoint then return errors.fail { kind = "config", code = "config", message = "moderation: " .. why } end
  if given.api_key == nil and endpoint:origin() == first.origin then keys.share(endpoint, first.core) end
  return setmetatable({
    input = given.input ~= false, output = given.output ~= false, window = given.window, _core = endpoint,
    _model = given.model or M.MODEL, _open = fail == "open", _judge = given.judge, _engine = first.scheduler,
  }, Moderation)
end

local function body_of(raw)
  return json.decode(raw.body) or {}
end

-- One request with its attempts. Waits.
local function ask(self, input, turn)
  local body, text, err = json.encode { model = self._model, input = input }
  if not body then return nil, text, err end
  local call = attempts.new(self._core, { body }, {
    engine = self._engine, retries = 2, stop_at = turn.stop_at, origin = self._core:origin(), model = self._model,
    idempotency = true, read = body_of, log = turn.session._options.log,
  })
  turn.aside = call
  local ok
  ok, text, err = call:begin()
  while ok do
    call:drain()
    if not call:pause() or not call:again() then break end
  end
  turn.aside = nil
  if not ok then return nil, text, err end
  return call:result()
end

local function flagged(result)
  local names = {}
  for name, on in pairs(type(result.categories) == "table" and result.categories or {}) do
    if on == true then names[#names + 1] = name end
  end
  table.sort(names)
  local err = errors.new {
    kind = "content_filter", code = "moderation",
    message = "the moderation refused it" .. (names[1] and ": " .. table.concat(names, ", ") or ""),
  }
  err.categories = names
  return err
end

-- True, or an err: it is flagged, or nobody could say.
local function check(self, input, turn)
  local answer, text, err = ask(self, input, turn)
  local results = answer and answer.results
  if type(results) ~= "table" or type(results[1]) ~= "table" then
    if err and err.kind == "canceled" then return nil, text, err end
    if self._open then return true end
    if err then return errors.fail(tables.merged(err, { message = "moderation: " .. err.message })) end
    return errors.fail {
      kind = "protocol", code = "bad_response", message = "moderation: the answer has no results",
    }
  end
  for _, result in ipairs(results) do
    local bad = result.flagged == true
    if self._judge then bad = self._judge(result) == false end
    if bad then return errors.fail(flagged(result)) end
  end
  return true
end

--- May a text be shown? Waits.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "content_filter", code "moderation",
---   err.categories a list of names; or why nobody could say
function Moderation:text(text, turn)
  return check(self, text, turn)
end

-- Texts and pictures of what a user says; the rest the endpoint does not take.
local function parts_of(messages)
  local out = {}
  for _, one in ipairs(messages) do
    if type(one.content) == "string" then out[#out + 1] = { type = "text", text = one.content } end
    for _, part in ipairs(type(one.content) == "table" and one.content or {}) do
      if part.type == "text" or part.type == "image_url" then out[#out + 1] = part end
    end
  end
  return out
end

--- May messages be sent? Waits.
function Moderation:messages(messages, turn)
  local parts = parts_of(messages)
  if not parts[1] then return true end
  return check(self, parts, turn)
end

return M
