--- prompt: prompts kept as code: a template, or a list of messages with templates in
-- them, becomes the messages of a conversation, offline. Roles are the template's:
-- a value cannot make a message, a tag or an include. Knows templates and messages;
-- sends nothing.

local errors = require "oaichat.errors"
local message = require "oaichat.message"
local options = require "oaichat.options"
local render = require "oaichat.prompt.render"
local template = require "oaichat.prompt.template"

local M = {}

--- Bytes of a rendered prompt, and of a template's file, at most.
M.BYTES = 16e6

local OPTIONS = { name = "string", partials = "table", folder = "string", bytes = "number" }

--- @class oaichat.Prompt
--- @field name string what errors call it
local Prompt = {}
Prompt.__index = Prompt
Prompt.__name = "oaichat.Prompt"

-- Runs fn; an err object that it raises becomes a value.
local function try(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if errors.is(result) then return errors.fail(result) end
  error(result, 0)
end

local function read(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local text, failure = handle:read(M.BYTES + 1)
  handle:close()
  if failure then return nil, ("%s: %s"):format(path, failure) end
  text = text or ""
  if #text > M.BYTES then return nil, ("%s: longer than %d bytes"):format(path, M.BYTES) end
  return (text:gsub("^\239\187\191", ""))
end

local function join(folder, name)
  return folder == "" and name or folder:find "[/\\]$" and folder .. name or folder .. "/" .. name
end

-- Names lead down from the template's folder only: no "..", no root, no drive.
local function is_inside(name)
  if name == "" or name:find "[%c\\:]" then return false end
  for segment in (name .. "/"):gmatch "(.-)/" do
    if segment == "" or segment == "." or segment == ".." then return false end
  end
  return true
end

-- Finds included texts: partials by name, then files beside the template; a name
-- without a dot gets the template's own ending.
local function finder(opts, ending)
  return function(name)
    local own = opts.partials and opts.partials[name]
    if own then return own, name end
    if not opts.folder then return nil, "there is no such partial" end
    if not is_inside(name) then return nil, "only a name within the template's folder can be included" end
    if not name:find "%.[^/]*$" then name = name .. ending end
    local path = join(opts.folder, name)
    local text, why = read(path)
    if not text then return nil, why end
    return text, path
  end
end

-- A text of a message: a compiled template, or a part that stays as it is.
local function compile_item(item, file, env)
  if type(item) == "string" then return template.compile(item, file, env) end
  if type(item) == "table" and item.type == "text" and type(item.text) == "string" then
    return template.compile(item.text, file, env)
  end
  if type(item) ~= "table" or type(item.type) ~= "string" then
    errors.misuse(("%s: a content part is a string or has a type"):format(file))
  end
  return { part = item }
end

local function compile_message(self, item, file)
  local env = { find = self._find, one_role = true }
  local out = { message = message.copy(item) }
  out.message.content = nil
  if type(item.content) == "string" then
    out.template = template.compile(item.content, file, env)
  elseif type(item.content) == "table" then
    out.items = {}
    for i, part in ipairs(message.copy(item.content)) do
      out.items[i] = compile_item(part, ("%s.content[%d]"):format(file, i), env)
    end
  end
  return out
end

local function compile(self, source)
  if type(source) == "string" then
    self._template = template.compile(source, self.name, { find = self._find })
    return self
  end
  self._messages = {}
  for i, item in ipairs(source) do
    self._messages[i] = compile_message(self, item, ("%s[%d]"):format(self.name, i))
  end
  return self
end

local function check_partials(partials)
  for name, text in pairs(partials or {}) do
    if type(name) ~= "string" or type(text) ~= "string" then
      errors.misuse(("partials.%s: string expected, got %s"):format(tostring(name), type(text)))
    end
  end
end

local function check_source(source)
  if type(source) == "string" then return source end
  if type(source) ~= "table" then
    errors.misuse(("prompt: string or list of messages expected, got %s"):format(type(source)))
  end
  if source.role ~= nil then source = { source } end
  if #source == 0 then errors.misuse "prompt: an empty list has no message" end
  for i, item in ipairs(source) do message.check(item, ("prompt[%d]"):format(i)) end
  return source
end

local function make(source, opts, ending)
  local self = setmetatable({
    name = opts.name or "prompt", _max_bytes = opts.bytes or M.BYTES, _find = finder(opts, ending),
  }, Prompt)
  return try(compile, self, source)
end

--- Compiles a prompt. A text is one user message, or several, each begun by a tag
--- {{role "system"}} ("developer", "user", "assistant"); in a list, each message's
--- content is a template (a string, or parts with text), all else stays as it is.
---
--- Tags (a part of Handlebars; handlebarsjs.com/guide): {{name}} {{user.name}}
--- {{json name}} {{#if x}}…{{else if y}}…{{else}}…{{/if}} {{#unless x}}…{{/unless}}
--- {{#each list}}{{this}} {{@index}} {{@number}} {{@first}} {{@last}} {{@key}}{{/each}}
--- {{../name}} {{@root.name}} {{> partial}} {{! comment}} {{~name~}}, and \{{ for {{.
---@param source string|table a text, a message or a list of messages
---@param opts { name: string, partials: table<string, string>, folder: string, bytes: integer }|nil
---  name: what errors call it; partials: texts to include, by name; folder: where files
---  to include lie (none without it); bytes: of the rendered text at most (16e6)
---@return oaichat.Prompt|nil prompt
---@return string|nil message with name and line
---@return oaichat.Error|nil err kind "config", code "template"; err.file, err.line, err.name
function M.new(source, opts)
  opts = opts or {}
  options.check(opts, OPTIONS)
  check_partials(opts.partials)
  return make(check_source(source), opts, "")
end

--- Reads a prompt from a file. {{> name}} finds files in its folder, by default with
--- the same ending.
---@param path string
---@param opts table|nil as for new
---@return oaichat.Prompt|nil prompt
---@return string|nil message
---@return oaichat.Error|nil err as for new
function M.load(path, opts)
  if type(path) ~= "string" then errors.misuse("prompt.load: path expected, got " .. type(path)) end
  opts = message.copy(opts or {})
  options.check(opts, OPTIONS)
  check_partials(opts.partials)
  local source, why = read(path)
  if not source then return errors.fail { kind = "config", code = "template", message = why } end
  opts.name = opts.name or path
  opts.folder = opts.folder or path:match "^(.*[/\\])" or ""
  return make(source, opts, path:match "(%.[^./\\]*)$" or "")
end

-- A list of content stays a list, with what its templates gave.
local function render_items(rendering, items)
  local parts = {}
  for _, item in ipairs(items) do
    if item.part then
      parts[#parts + 1] = item.part
    else
      local section = rendering:run(item, "user")[1]
      local content = section and section.content or {}
      if type(content) == "string" then content = { { type = "text", text = content } } end
      for _, part in ipairs(content) do parts[#parts + 1] = part end
    end
  end
  return parts[1] and parts
end

local function render_list(self, rendering)
  local out = {}
  for _, item in ipairs(self._messages) do
    local one = message.copy(item.message)
    if item.template then
      local section = rendering:run(item.template, one.role)[1]
      one.content = section and section.content
    elseif item.items then
      one.content = render_items(rendering, item.items)
    end
    -- empty content says nothing, unless the message says something else
    if one.content or one.tool_calls or one.role == "tool" then
      one.content = one.content or one.role == "tool" and "" or nil
      out[#out + 1] = one
    end
  end
  return out
end

local function render_all(self, values)
  local rendering = render.new(values, self._max_bytes)
  local out = self._template and rendering:run(self._template, "user") or render_list(self, rendering)
  if not out[1] then
    template.fail(self.name, 1, "no message is left: all are empty")
  end
  return message.copy(out)
end

--- Fills the prompt. Nothing is sent. Values are text, numbers, booleans, tables (to
--- look into, or for {{json …}}), and content parts as chat.file makes them, which turn
--- a message's content into a list. A message that neither text nor a value is in is
--- left out.
---   session:send(assert(prompt:render { name = "Ada" }))
---@param values table|nil
---@return table[]|nil messages for session:send, session:stream or chat.new's messages
---@return string|nil message with the variable's name, the file and the line
---@return oaichat.Error|nil err kind "config", code "missing_variable", "value",
---  "template" or "too_large"; err.name, err.line, err.file
function Prompt:render(values)
  if values ~= nil and type(values) ~= "table" then
    errors.misuse("render: table of values expected, got " .. type(values))
  end
  return try(render_all, self, values or {})
end

-- The outermost value that a path begins with, nil: none of them.
local function root_of(path, depth)
  if path.data or not (path.root or path.up == depth) then return nil end
  return path[1]
end

local collect

local function collect_node(node, depth, guarded, found)
  local name = node.path and root_of(node.path, depth)
  local tested = node.op == "if" or node.op == "each" and node.otherwise
  if name then
    local needed = not tested and not guarded[name]
    found[name] = needed and "needed" or found[name] or "optional"
  end
  if node.op == "include" then return collect(node.template.nodes, depth, guarded, found) end
  local inside = guarded
  if name and tested then inside = setmetatable({ [name] = true }, { __index = guarded }) end
  local body_depth = node.op == "each" and depth + 1 or depth
  collect(node.body or {}, body_depth, node.negated and guarded or inside, found)
  collect(node.otherwise or {}, depth, node.negated and inside or guarded, found)
end

function collect(nodes, depth, guarded, found)
  for _, node in ipairs(nodes) do collect_node(node, depth, guarded, found) end
end

--- The names that the prompt asks for, sorted.
---@return string[] needed missing ones are an error where they are reached
---@return string[] optional only tested by if or unless, or used where that holds
function Prompt:variables()
  local found = {}
  if self._template then collect(self._template.nodes, 0, {}, found) end
  for _, item in ipairs(self._messages or {}) do
    for _, compiled in ipairs(item.items or { item.template }) do
      collect(compiled.nodes or {}, 0, {}, found)
    end
  end
  local needed, optional = {}, {}
  for name, kind in pairs(found) do
    local list = kind == "needed" and needed or optional
    list[#list + 1] = name
  end
  table.sort(needed)
  table.sort(optional)
  return needed, optional
end

function Prompt:__tostring()
  return ("%s: %s"):format(Prompt.__name, self.name)
end

return setmetatable(M, { __call = function(_, ...) return M.new(...) end })
