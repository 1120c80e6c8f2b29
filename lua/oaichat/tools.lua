--- tools: functions that a model may call. A tool checks the arguments before it
-- runs and turns what it returned into what the model reads; it knows no request
-- and no history (turn/round.lua runs the calls of one answer).

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"
local schema = require "oaichat.schema"

local M = {}

--- What a result may weigh, in bytes, before the model is told that it is too long.
M.RESULT_MAX = 1e6

local FIELDS = {
  name = "string", description = "string", parameters = "table", run = "function", strict = "boolean",
  timeout = "number", approve = "boolean|function", source = "string", annotations = "table",
}

--- @class oaichat.Tool
--- @field name string
--- @field definition table what the wire sends: type, function { name, description, parameters, strict }
--- @field run fun(args: table, call: table): any
local Tool = {}
Tool.__index = Tool
Tool.__name = "oaichat.Tool"

local function wrong(text)
  return errors.fail { kind = "config", code = "tool", message = text }
end

local function definition(tool, parameters)
  local fn = { name = tool.name, description = tool.description, parameters = parameters }
  if tool.strict then fn.strict = true end
  return { type = "function", ["function"] = fn }
end

--- Makes a tool.
--- @param spec table name (letters, digits, _ and -, at most 64: OpenAI's API reference), description,
---   parameters (oaichat.schema or JSON Schema; an object; none: no arguments), run(args, call) -> string, table
---   (sent as JSON), list of content parts, or nil, message for an error that the model sees; strict = true: the
---   provider holds the model to the schema; timeout in seconds (60); approve = true or function(call, session)
--- @return oaichat.Tool|nil tool, string|nil message, oaichat.Error|nil err kind "config"
function M.new(spec)
  if type(spec) ~= "table" then errors.misuse("tool: table expected, got " .. type(spec)) end
  if getmetatable(spec) == Tool then return spec end
  options.check(spec, FIELDS)
  local name = spec.name
  if not name then errors.misuse "tool: name is missing" end
  if not name:find "^[%w_-]+$" or #name > 64 then
    return wrong(("tool %q: a name has 1 to 64 letters, digits, _ or -"):format(name:sub(1, 80)))
  end
  local tool = {}
  for field, value in pairs(spec) do tool[field] = value end
  local parameters = spec.parameters or schema.object {}
  local validator, why = schema.compile(parameters)
  if not validator then return wrong(("tool %s: parameters: %s"):format(name, why)) end
  tool._validator, tool._parameters = validator, parameters
  if spec.strict then
    parameters, why = schema.strict(parameters)
    if not parameters then return wrong(("tool %s: strict: %s"):format(name, why)) end
  end
  parameters = schema.wire(parameters) -- `{}` and `[]` where a schema means them
  tool.definition = definition(tool, parameters)
  return setmetatable(tool, Tool)
end

-- ---- arguments ---------------------------------------------------------------

--- The arguments as run gets them, or what the model has to mend.
--- @param call oaichat.ToolCall
--- @return table|nil args, string|nil problem
function Tool:read(call)
  local args, why = json.decode(call.arguments)
  if args == nil then return nil, "the arguments are not valid JSON: " .. why end
  if type(args) ~= "table" or json.is_array(args) then return nil, "the arguments are not a JSON object" end
  if self.strict then args = schema.unstrict(args, self._parameters) end
  local ok, problem = self._validator:check(args)
  if not ok then return nil, "the arguments do not match the schema: " .. problem end
  return args
end

function Tool:__tostring()
  return ("oaichat.Tool (%s)"):format(self.name)
end

-- ---- results -----------------------------------------------------------------

local PARTS = { text = true, image_url = true, input_audio = true, file = true }

local function is_parts(value)
  if type(value[1]) ~= "table" then return false end
  for _, part in ipairs(value) do
    if type(part) ~= "table" or not PARTS[part.type] then return false end
  end
  return true
end

local function sized(content, bytes)
  if #bytes <= M.RESULT_MAX then return content end
  return nil, ("the result has %d bytes; at most %d can be read"):format(#bytes, M.RESULT_MAX)
end

--- What the model reads of a result.
--- @param value any what run returned
--- @param message string|nil its second value
--- @return string|table|nil content, string|nil problem instead
function M.content(value, message)
  if value == nil then
    if message ~= nil then return nil, core.utf8_repair(tostring(message)) end
    return "ok"
  end
  if type(value) == "string" then
    value = core.utf8_repair(value)
    return sized(value, value)
  end
  local bytes, why = json.encode(value)
  if not bytes then return nil, "the tool returned a value that cannot be sent: " .. why end
  return sized(type(value) == "table" and is_parts(value) and value or bytes, bytes)
end

-- ---- sets --------------------------------------------------------------------

--- @class oaichat.ToolSet
--- @field list table[] definitions, in order
--- @field runs boolean at least one can be run here
local Set = {}
Set.__index = Set

local function name_of(item)
  if getmetatable(item) == Tool then return item.name end
  local fn = item["function"]
  return type(fn) == "table" and fn.name or item.name
end

--- The tools of a request: oaichat.Tool, the tables of chat.tool, or definitions in
--- the wire's own form, which are sent as they are and never run.
--- @param list table[]
--- @return oaichat.ToolSet
function M.set(list)
  local set = setmetatable({ list = {}, _by_name = {}, runs = false }, Set)
  for i, item in ipairs(list) do
    if type(item) ~= "table" then errors.misuse(("tools[%d]: tool expected, got %s"):format(i, type(item))) end
    if getmetatable(item) ~= Tool and item.run then
      local made, why = M.new(item)
      if not made then errors.misuse(("tools[%d]: %s"):format(i, why)) end
      item = made
    end
    local name = name_of(item)
    if name and set._by_name[name] then errors.misuse(("tools[%d]: two tools are named %s"):format(i, name)) end
    if name then set._by_name[name] = item end
    set.list[i] = getmetatable(item) == Tool and item.definition or item
    set.runs = set.runs or item.run ~= nil
  end
  return set
end

--- The set of an option: a list, or a function that is asked for one each time.
--- @param option table|function
--- @param ... any what the function gets: the session, and how many requests there were
--- @return oaichat.ToolSet|nil
function M.resolve(option, ...)
  if type(option) == "function" then
    option = option(...)
    if option ~= nil and type(option) ~= "table" then errors.misuse "tools: the function must return a list" end
  end
  return option and M.set(option)
end

--- @return oaichat.Tool|table|nil
function Set:find(name)
  return self._by_name[name]
end

--- Every call can be run here, or answered with an error: none is the caller's own.
--- @param calls oaichat.ToolCall[]
function Set:takes(calls)
  if not self.runs then return false end
  for _, call in ipairs(calls) do
    local tool = self._by_name[call.name]
    if tool and not tool.run then return false end
  end
  return calls[1] ~= nil
end

--- Their names, for a model that called one that does not exist.
--- @return string
function Set:names()
  local names = {}
  for name in pairs(self._by_name) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

return M
