--- prompt/render: a compiled template and values become text and content parts. What
-- a value holds is never read again: no tag, no role and no include comes out of it.
-- Knows no messages; prompt.lua makes them.

local json = require "oaichat.json"
local template = require "oaichat.prompt.template"

local M = {}

--- Nodes of a template that one rendering may visit.
M.STEPS = 4e6

local PARTS = { text = true, image_url = true, input_audio = true, file = true }

local function is_part(value)
  local kind = type(value) == "table" and rawget(value, "type")
  return PARTS[kind] ~= nil and rawget(value, kind) ~= nil
end

-- A list of content parts, from one (as chat.file makes it) or several.
local function parts_of(value)
  if is_part(value) then return { value } end
  if type(value) ~= "table" or #value == 0 then return nil end
  for _, part in ipairs(value) do
    if not is_part(part) then return nil end
  end
  return value
end

local function printable(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__tostring ~= nil
end

local function number_text(n)
  if n ~= n or n == math.huge or n == -math.huge then return nil, "is not a finite number" end
  if n == math.floor(n) and math.abs(n) < 2 ^ 53 then return ("%d"):format(n) end
  return json.encode(n)
end

local function text_of(value)
  local kind = type(value)
  if kind == "number" then return number_text(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "table" and not printable(value) then
    return nil, "is a table: print a member of it, or {{json ...}}"
  end
  if kind ~= "string" and kind ~= "table" then return nil, "is a " .. kind .. ", which is no text" end
  local text = tostring(value)
  if not json.encode(text) then return nil, "is not UTF-8" end
  return text
end

--- Handlebars: false, null, 0, "" and the empty list are false, all else is true.
local function is_true(value)
  if type(value) == "table" then return next(value) ~= nil or printable(value) end
  return value ~= nil and value ~= false and value ~= json.null and value ~= "" and value ~= 0
end

--- @class oaichat.Rendering
local Rendering = {}
Rendering.__index = Rendering

function Rendering:fail(node, text, name, code)
  template.fail(self.file, node.line, text, name, code)
end

-- Something for the message: a string (of the template or of a value) or parts.
function Rendering:push(piece, is_value, node)
  if type(piece) == "string" then
    self.bytes = self.bytes + #piece
    if self.bytes > self.max_bytes then
      self:fail(node, ("the prompt is longer than %d bytes"):format(self.max_bytes), nil, "too_large")
    end
  end
  local out = self.section
  out[#out + 1] = { piece = piece, is_value = is_value }
end

-- The value that a path names, nil: there is none; then also what is wrong.
function Rendering:look_up(path)
  local scope = self.scope
  if path.data then
    while scope and not scope.data do scope = scope.parent end
    if not scope then return nil, "is only there within {{#each}}" end
    return scope.data[path.data]
  end
  for _ = 1, path.up do
    scope = scope.parent
    if not scope then return nil, "goes above the outermost values" end
  end
  local value = path.root and self.root.value or scope.value
  for _, key in ipairs(path) do
    if type(value) ~= "table" then return nil end
    value = value[key]
  end
  if value ~= json.null then return value end
end

-- Where the name would have been found, for the message.
function Rendering:hint(path)
  if path.data or path.up > 0 or path.root or #path == 0 then return "" end
  local scope, up = self.scope.parent, "../"
  while scope do
    if type(scope.value) == "table" and scope.value[path[1]] ~= nil then
      return (" here (within {{#each}}, names are those of the item: {{%s%s}}?)"):format(up, path.text)
    end
    scope, up = scope.parent, up .. "../"
  end
  return ""
end

function Rendering:need(node)
  local value, why = self:look_up(node.path)
  if value == nil then
    self:fail(node, ('the variable "%s" %s'):format(node.path.text, why or "is missing" .. self:hint(node.path)),
      node.path.text, "missing_variable")
  end
  return value
end

function Rendering:bad_value(node, why)
  self:fail(node, ('the variable "%s" %s'):format(node.path.text, why), node.path.text, "value")
end

local visit = {}

function Rendering:nodes(nodes)
  for _, node in ipairs(nodes) do
    self.steps = self.steps + 1
    if self.steps > M.STEPS then
      self:fail(node, ("more than %d steps: loops within loops?"):format(M.STEPS), nil, "too_large")
    end
    visit[node.op](self, node)
  end
end

function visit.text(self, node)
  self:push(node.text, false, node)
end

function visit.value(self, node)
  local value = self:need(node)
  local text, why
  if node.json then
    text, why = json.encode(value)
    if not text then why = "cannot be JSON: " .. why end
  else
    local parts = parts_of(value)
    if parts then
      for _, part in ipairs(parts) do self:push(part, true, node) end
      return
    end
    text, why = text_of(value)
  end
  if not text then self:bad_value(node, why) end
  self:push(text, true, node)
end

visit["if"] = function(self, node)
  local found = is_true((self:look_up(node.path)))
  if node.negated then found = not found end
  local nodes = found and node.body or not found and node.otherwise
  if nodes then self:nodes(nodes) end
end

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do
    if type(key) ~= "string" then return nil end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

function visit.each(self, node)
  local list
  if node.otherwise then list = self:look_up(node.path) else list = self:need(node) end
  if list ~= nil and type(list) ~= "table" then self:bad_value(node, "is no list, but a " .. type(list)) end
  if list == nil or next(list) == nil then
    if node.otherwise then self:nodes(node.otherwise) end
    return
  end
  local keys = not json.is_array(list) and sorted_keys(list)
  if keys == nil then self:bad_value(node, "is neither a list without holes nor a map with names") end
  local outer, count = self.scope, keys and #keys or #list
  for i = 1, count do
    local key = keys and keys[i]
    self.scope = {
      parent = outer, value = list[key or i],
      data = { index = i - 1, number = i, first = i == 1, last = i == count, key = key or nil },
    }
    self:nodes(node.body)
  end
  self.scope = outer
end

function visit.include(self, node)
  local file = self.file
  self.file = node.template.file
  self:nodes(node.template.nodes)
  self.file = file
end

function visit.role(self, node)
  self.section = { role = node.role }
  self.sections[#self.sections + 1] = self.section
end

-- White space that the template itself wrote at an edge of the message is dropped;
-- that of values stays.
local function trim_edges(section)
  local first, last = 1, #section
  while first <= last do
    local one = section[first]
    if one.is_value then break end
    one.piece = one.piece:gsub("^%s+", "")
    if one.piece ~= "" then break end
    first = first + 1
  end
  while last >= first do
    local one = section[last]
    if one.is_value then break end
    one.piece = one.piece:match "^(.*%S)%s*$" or ""
    if one.piece ~= "" then break end
    last = last - 1
  end
  return first, last
end

--- The content of a section: a string, a list of parts when a value was one, nil when
--- neither text nor a value is in it.
local function content_of(section)
  local first, last = trim_edges(section)
  if first > last then return nil end
  local parts, text, has_parts = {}, {}, false
  local function end_text()
    local joined = table.concat(text)
    if joined ~= "" then parts[#parts + 1] = { type = "text", text = joined } end
    text = {}
    return joined
  end
  for i = first, last do
    local piece = section[i].piece
    if type(piece) == "string" then
      text[#text + 1] = piece
    else
      end_text()
      parts[#parts + 1] = piece
      has_parts = true
    end
  end
  local joined = end_text()
  return has_parts and parts or joined
end

--- Begins a rendering of several templates with the same values and one limit.
--- @param values table
--- @param max_bytes integer
--- @return oaichat.Rendering
function M.new(values, max_bytes)
  local root = { value = values }
  return setmetatable({ root = root, scope = root, bytes = 0, steps = 0, max_bytes = max_bytes }, Rendering)
end

--- Renders one template. Raises an err object.
--- @param compiled { file: string, nodes: table[] }
--- @param role string of what stands before the first role tag
--- @return { role: string, content: string|table[] }[] sections
function Rendering:run(compiled, role)
  self.file = compiled.file
  self.section = { role = role }
  self.sections = { self.section }
  self:nodes(compiled.nodes)
  local out = {}
  for _, section in ipairs(self.sections) do
    local content = content_of(section)
    if content ~= nil then out[#out + 1] = { role = section.role, content = content } end
  end
  return out
end

return M
