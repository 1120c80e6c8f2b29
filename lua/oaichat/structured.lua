--- structured: an answer as data that a schema proves. It says what the request must
-- ask for, reads the answer, and knows the ways that are left when a server refuses
-- the first one. It sends nothing.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local schema = require "oaichat.schema"

local M = {}

--- How a server can be asked, the surest first: OpenAI's structured outputs, its JSON
--- mode, words alone.
local MODES = { "json_schema", "json_object", "prompt" }

--- How often an answer that does not match is sent back to be mended.
M.REPAIRS = 2

--- @class oaichat.Structured
--- @field mode string of MODES
local Structured = {}
Structured.__index = Structured

-- The root must be an object (OpenAI's guide, "Root objects"): what is none is
-- carried in one.
local function rooted(wanted)
  if wanted.type == "object" then return wanted, false end
  return schema.object { value = wanted }, true
end

--- @param wanted table oaichat.schema or JSON Schema; or { name =, schema = }
--- @param mode string|nil the way that this server took before
--- @return oaichat.Structured|nil plan, string|nil message, oaichat.Error|nil err kind "config"
function M.new(wanted, mode)
  local name = "answer"
  if type(wanted.schema) == "table" and wanted.type == nil then name, wanted = wanted.name or name, wanted.schema end
  local validator, why = schema.compile(wanted)
  if not validator then return errors.fail { kind = "config", code = "schema", message = "schema: " .. why } end
  local root, wrapped = rooted(wanted)
  local strict = schema.strict(root)
  root, strict = schema.wire(root), strict and schema.wire(strict)
  return setmetatable({
    mode = mode or MODES[1], _name = name, _wanted = wanted, _root = root, _wrapped = wrapped, _strict = strict,
    _validator = validator, repairs = 0,
  }, Structured)
end

--- The request's response_format; nil in the mode "prompt".
--- @return table|nil
function Structured:response_format()
  if self.mode == "json_object" then return { type = "json_object" } end
  if self.mode ~= "json_schema" then return nil end
  return {
    type = "json_schema",
    json_schema = { name = self._name, schema = self._strict or self._root, strict = self._strict ~= nil },
  }
end

--- What the system prompt must say besides; nil where the server does it.
--- @return string|nil
function Structured:instruction()
  if self.mode == "json_schema" then return nil end
  return "Answer with one JSON object and nothing else. It must match this JSON Schema:\n"
    .. assert(json.encode(self._root))
end

-- The one list that the answer is about: the root, or the first property (by name)
-- that is one.
local function list_name(wanted)
  if wanted.type ~= "object" then return nil end
  local found
  for name, property in pairs(wanted.properties or {}) do
    if type(property) == "table" and property.type == "array" and (not found or name < found) then found = name end
  end
  return found
end

--- What is there of an answer that still comes.
--- @param value any the growing JSON value
--- @return any value the part that the caller's schema is about
--- @return table|nil list whose elements are told one by one
function Structured:part(value)
  if self._wrapped then value = type(value) == "table" and value.value or nil end
  if type(value) ~= "table" then return value, nil end
  if self._wanted.type == "array" then return value, value end
  local name = list_name(self._wanted)
  local list = name and value[name]
  return value, type(list) == "table" and list or nil
end

--- The event for an element that is whole; valid says whether it matches by itself.
--- @param index integer
--- @return table event { type = "item", index, value, valid }
function Structured:item(index, value)
  if not self._element then
    local name = list_name(self._wanted)
    local list = name and self._wanted.properties[name] or self._wanted
    local item = type(list.items) == "table" and list.items or {}
    local whole = { ["$defs"] = self._wanted["$defs"] }
    for key, rule in pairs(item) do whole[key] = rule end
    self._element, self._item = schema.compile(whole), whole
  end
  if self._strict then value = schema.unstrict(value, self._item) end
  local valid = self._element ~= nil and self._element:check(value) == true
  return { type = "item", index = index, value = value, valid = valid }
end

local WORDS = {
  "response_format", "text.format", "json_schema", "json_object", "structured output", "json mode", "output_config",
  "output_format",
}

--- A refused request that may pass in the next mode: the server blames the format.
--- @param err oaichat.Error
--- @return boolean
function Structured:degrade(err)
  local refused = err.kind == "invalid_request" or err.kind == "not_found" or err.status == 501
  if not refused or err.partial then return false end
  local text = ((err.param or "") .. " " .. (err.code or "") .. " " .. err.message):lower()
  local blames = false
  for _, word in ipairs(WORDS) do blames = blames or text:find(word, 1, true) ~= nil end
  if not blames then return false end
  for i, mode in ipairs(MODES) do
    if mode == self.mode and MODES[i + 1] then
      self.mode = MODES[i + 1]
      return true
    end
  end
  return false
end

-- Servers without a JSON mode like to wrap the answer as Markdown or say a word first.
local function unfenced(text)
  local inner = text:match "```[%w]*%s*\n(.-)\n%s*```" or text
  if not inner:find "^%s*[%[{]" then inner = inner:match "[%[{].*[%]}]" or inner end
  return inner
end

local function invalid(reply, fields)
  fields.kind = fields.kind or "validation"
  local err = errors.new(fields)
  err.partial = reply
  return nil, err.message, err
end

--- The data of an answer, or why it is none. Refusals and answers that were cut are
--- never read.
--- @param reply oaichat.Reply
--- @return any data
--- @return string|nil message
--- @return oaichat.Error|nil err kind "validation" (path, value, errors) or "content_filter"
function Structured:read(reply)
  if reply.refusal then
    return invalid(reply, { kind = "content_filter", code = "refusal", message = "the model refused to answer" })
  elseif reply.finish_reason == "content_filter" then
    return invalid(reply, { kind = "content_filter", code = "content_filter" })
  elseif reply.finish_reason == "length" then
    return invalid(reply, {
      code = "length", message = "the answer was cut at the output limit, so it is not the whole value",
    })
  end
  local text = reply.text
  if self.mode ~= "json_schema" then text = unfenced(text) end
  local value, why = json.decode(text)
  if value == nil then return invalid(reply, { code = "not_json", message = "the answer is not JSON: " .. why }) end
  if self._wrapped and type(value) == "table" and value.value ~= nil then value = value.value end
  if self._strict then value = schema.unstrict(value, self._wanted) end
  local ok, problem, err = self._validator:check(value)
  if ok then return value end
  return invalid(reply, {
    code = "schema", message = "the answer does not match the schema: " .. problem, path = err.path, value = err.value,
    errors = err.errors,
  })
end

--- How the answer came about, when not as asked at first: steps { step = "schema",
--- mode } and { step = "repair", count }.
--- @param steps table[]|nil those that are known
--- @return table[]|nil
function Structured:via(steps)
  if self.mode == MODES[1] and self.repairs == 0 then return steps end
  steps = steps or {}
  if self.mode ~= MODES[1] then steps[#steps + 1] = { step = "schema", mode = self.mode } end
  if self.repairs > 0 then steps[#steps + 1] = { step = "repair", count = self.repairs } end
  return steps
end

--- What asks the model to mend its answer; nil when it has been asked often enough.
--- @param reply oaichat.Reply
--- @param err oaichat.Error of read
--- @param max integer
--- @return table[]|nil messages
function Structured:repair(reply, err, max)
  if self.repairs >= max or (err.code ~= "not_json" and err.code ~= "schema") then return nil end
  self.repairs = self.repairs + 1
  return {
    { role = "assistant", content = reply.text, meta = reply.message.meta }, -- as the server knows it
    { role = "user", content = err.message .. "\nAnswer again with the whole corrected JSON and nothing else." },
  }
end

return M
