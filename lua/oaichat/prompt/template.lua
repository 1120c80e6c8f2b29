--- prompt/template: compiles a template's text into a tree. The language is a part of
-- Handlebars (handlebarsjs.com/guide) with the role and json tags of dotprompt; white
-- space around tags that stand alone on a line is Mustache's. No code, no helpers of
-- one's own. Knows no values and no files: who calls it finds the included texts.

local core = require "oaichat.core"
local errors = require "oaichat.errors"

local M = {}

--- Templates within templates at most.
M.DEPTH = 16
--- Included texts of one prompt at most.
M.INCLUDES = 256
--- Blocks within blocks at most, in one text; also {{else if}} branches of a block.
M.BLOCKS = 64

local ROLES = { system = true, developer = true, user = true, assistant = true }
local BLOCKS = { ["if"] = true, unless = true, each = true }
local DATA = { index = true, number = true, first = true, last = true, key = true }

--- Raises the err object of a template's fault; caught in prompt.lua.
--- @param file string the template's name
--- @param line integer
--- @param text string
--- @param name string|nil the variable or tag at fault
--- @param code string|nil "template"
function M.fail(file, line, text, name, code)
  error(errors.new {
    kind = "config", code = code or "template", message = ("%s:%d: %s"):format(file, line, text),
    file = file, line = line, name = name,
  }, 0)
end

local function lines_in(text)
  return select(2, text:gsub("\n", ""))
end

-- lexer: texts[1], tags[1], texts[2], … tags[n], texts[n + 1] ----------------------

-- The tag that opens at `at`: its inside, and where the text goes on.
local function tag_at(source, at)
  local inside, after = source:match("^{{(~?!%-%-.-%-%-~?)}}()", at)
  if not inside then inside, after = source:match("^{{{(.-)}}}()", at) end
  if not inside then inside, after = source:match("^{{(.-)}}()", at) end
  return inside, after
end

local function without_end(text)
  return text:match "^(.*%S)%s*$" or ""
end

local function trimmed(text)
  return without_end((text:gsub("^%s+", "")))
end

local function lex(source, file)
  local texts, tags, text = {}, {}, {}
  local pos, line = 1, 1
  while true do
    local at = source:find("{{", pos, true)
    local before = source:sub(pos, (at or 0) - 1)
    line = line + lines_in(before)
    if not at then
      texts[#tags + 1] = table.concat(text) .. before
      return texts, tags
    end
    local slash, slashes = before:match "(\\?)(\\?)$"
    if slash ~= "" then before = before:sub(1, -2) end
    text[#text + 1] = before
    if slash ~= "" and slashes == "" then
      text[#text + 1] = "{{"
      pos = at + 2
    else
      local inside, after = tag_at(source, at)
      if not inside then M.fail(file, line, "{{ without }}") end
      texts[#tags + 1] = table.concat(text)
      text = {}
      tags[#tags + 1] = {
        line = line, inside = trimmed((inside:gsub("^~", ""):gsub("~$", ""))),
        cut_before = inside:sub(1, 1) == "~", cut_after = #inside > 1 and inside:sub(-1) == "~",
      }
      line = line + lines_in(inside)
      pos = after
    end
  end
end

-- tags -----------------------------------------------------------------------------

--- @class oaichat.Path
--- @field text string as written
--- @field up integer how many scopes above
--- @field root boolean|nil from the outermost scope
--- @field data string|nil what @index and so on stand for
--- @field [integer] string the keys

local function path_of(file, tag, text)
  local path = { text = text, up = 0 }
  local rest = text
  while rest:find "^%.%./" do
    path.up = path.up + 1
    rest = rest:sub(4)
  end
  local data = rest:match "^@(%a+)$"
  if DATA[data] and path.up == 0 then
    path.data = data
    return path
  end
  if path.up == 0 and rest:find "^@root%f[.%z]" then
    path.root = true
    rest = rest:sub(7)
  elseif rest == ".." then
    path.up = path.up + 1
    rest = ""
  elseif rest == "." then
    rest = ""
  elseif rest:find "^this%f[.%z]" then
    rest = rest:sub(6)
  elseif rest == "" then
    rest = "?"
  end
  for key in (rest ~= "" and rest .. "." or ""):gmatch "(.-)%." do
    if not key:find "^[%a_\128-\255][%w_\128-\255-]*$" then
      M.fail(file, tag.line, ("{{%s}}: %s is no variable's name (to write {{ itself: \\{{)")
        :format(tag.inside, text == "" and "nothing" or '"' .. text .. '"'), text)
    end
    path[#path + 1] = key
  end
  return path
end

local function role_of(file, tag, quoted)
  local role = quoted:match '^"(.*)"$' or quoted:match "^'(.*)'$"
  if not role then return nil end
  if not ROLES[role] then
    M.fail(file, tag.line, ('"%s" is no role (system, developer, user, assistant)'):format(role), role)
  end
  return role
end

-- What a tag is: sets op, and name, path or role.
local function classify(tag, file)
  local inside = tag.inside
  local sign, rest = inside:match "^([#/!>^&=*])%s*(.*)$"
  local word, argument = inside:match "^(%a+)%s+(.*)$"
  local role = word == "role" and role_of(file, tag, argument)
  if sign == "!" then
    tag.op = "comment"
  elseif sign == "#" then
    tag.op = "open"
    tag.name, argument = rest:match "^([%w_-]*)%s*(.*)$"
    if not BLOCKS[tag.name] then
      M.fail(file, tag.line, ("{{#%s}}: no such block (if, unless, each)"):format(rest), tag.name)
    end
    tag.path = path_of(file, tag, argument)
  elseif sign == "/" then
    tag.op, tag.name = "close", rest
  elseif sign == ">" then
    tag.op, tag.name = "include", rest
  elseif sign then
    M.fail(file, tag.line, ("{{%s}}: no such tag"):format(inside), inside)
  elseif inside == "else" then
    tag.op = "else"
  elseif word == "else" then
    local condition = argument:match "^if%s+(.*)$"
    if not condition then M.fail(file, tag.line, ("{{%s}}: only else and else if"):format(inside), inside) end
    tag.op, tag.path = "else", path_of(file, tag, condition)
  elseif role then
    tag.op, tag.role = "role", role
  else
    local as_json = word == "json"
    tag.op, tag.json = "value", as_json
    tag.path = path_of(file, tag, as_json and argument or inside)
  end
end

-- white space ----------------------------------------------------------------------

-- Tags but values that stand alone on a line take the line with them. Judged on the
-- texts as written: two such lines may follow each other.
local function stand_alone(texts, tags)
  local alone = {}
  for i, tag in ipairs(tags) do
    local before, after = texts[i], texts[i + 1]
    local indent = before:match "\n([ \t]*)$" or i == 1 and before:match "^[ \t]*$"
    local rest = after:match "^[ \t]*\r?\n" or i == #tags and after:match "^[ \t]*$"
    if tag.op ~= "value" and indent and rest then alone[i] = { #indent, #rest, indent } end
  end
  for i, tag in ipairs(tags) do
    local found = alone[i]
    if found then
      texts[i] = texts[i]:sub(1, #texts[i] - found[1])
      texts[i + 1] = texts[i + 1]:sub(found[2] + 1)
      tag.indent = found[3]
    end
  end
  for i, tag in ipairs(tags) do
    if tag.cut_before then texts[i] = without_end(texts[i]) end
    if tag.cut_after then texts[i + 1] = texts[i + 1]:gsub("^%s+", "") end
  end
end

-- tree -----------------------------------------------------------------------------

local Builder = {}
Builder.__index = Builder

function Builder:open(tag)
  if #self.open_blocks >= M.BLOCKS then
    M.fail(self.file, tag.line, ("more than %d blocks within each other"):format(M.BLOCKS))
  end
  local node = {
    op = tag.name == "each" and "each" or "if", negated = tag.name == "unless", path = tag.path, line = tag.line,
    body = {},
  }
  self.list[#self.list + 1] = node
  self.open_blocks[#self.open_blocks + 1] = { tag = tag, node = node, outer = self.list }
  self.list = node.body
end

Builder["else"] = function(self, tag)
  local block = self.open_blocks[#self.open_blocks]
  if not block then M.fail(self.file, tag.line, "{{else}} outside of a block", "else") end
  if block.node.otherwise then
    M.fail(self.file, tag.line, ("a second {{else}} in {{#%s}} of line %d"):format(block.tag.inside:sub(2),
      block.tag.line), "else")
  end
  block.node.otherwise = {}
  self.list = block.node.otherwise
  if tag.path then
    block.branches = (block.branches or 0) + 1
    if block.branches > M.BLOCKS then
      M.fail(self.file, tag.line, ("more than %d branches in one block"):format(M.BLOCKS), "else")
    end
    block.node = { op = "if", path = tag.path, line = tag.line, body = {} }
    self.list[1] = block.node
    self.list = block.node.body
  end
end

function Builder:close(tag)
  local block = table.remove(self.open_blocks)
  if not block then M.fail(self.file, tag.line, ("{{/%s}} closes nothing"):format(tag.name), tag.name) end
  if block.tag.name ~= tag.name then
    M.fail(self.file, tag.line, ("{{/%s}} closes {{%s}} of line %d"):format(tag.name, block.tag.inside,
      block.tag.line), tag.name)
  end
  self.list = block.outer
end

function Builder:role(tag)
  if self.env.one_role then
    M.fail(self.file, tag.line, ("{{%s}}: this message has its role"):format(tag.inside), tag.role)
  end
  self.list[#self.list + 1] = { op = "role", role = tag.role, line = tag.line }
end

function Builder:value(tag)
  self.list[#self.list + 1] = { op = "value", path = tag.path, json = tag.json, line = tag.line }
end

function Builder.comment() end

function Builder:include(tag)
  local env, name = self.env, tag.name
  local source, file = env.find(name)
  if not source then M.fail(self.file, tag.line, ("{{> %s}}: %s"):format(name, file), name) end
  for i, outer in ipairs(self.chain) do
    if outer == file then
      M.fail(self.file, tag.line, ("{{> %s}} includes itself: %s > %s"):format(name,
        table.concat(self.chain, " > ", i), file), name)
    end
  end
  env.includes = (env.includes or 0) + 1
  if #self.chain >= M.DEPTH or env.includes > M.INCLUDES then
    M.fail(self.file, tag.line, ("{{> %s}}: more than %s"):format(name,
      #self.chain >= M.DEPTH and M.DEPTH .. " templates within each other" or M.INCLUDES .. " includes"), name)
  end
  -- Mustache: the indent of a tag that stands alone is that of each line
  if tag.indent and tag.indent ~= "" then source = source:gsub("[^\n]+", tag.indent .. "%0") end
  self.list[#self.list + 1] = {
    op = "include", line = tag.line, template = M.compile(source, file, env, self.chain),
  }
end

local function refuse_front_matter(source, file)
  if source:find "^%-%-%-\r?\n" and source:find "\n%-%-%-\r?\n" then
    M.fail(file, 1, "front matter (---) is not read: options belong to chat.new")
  end
end

--- Compiles a text and all that it includes. Raises an err object.
--- @param source string
--- @param file string its name, for errors
--- @param env { find: fun(name: string): (string|nil, string), one_role: boolean|nil }
---   find gives an included text and its name, or nil and why not
--- @param chain string[]|nil the names of the templates around it
--- @return { file: string, nodes: table[] }
function M.compile(source, file, env, chain)
  if not core.json_encode(source) then M.fail(file, 1, "the template is not UTF-8") end
  if not chain and not env.one_role then refuse_front_matter(source, file) end
  local inner = {}
  for i, outer in ipairs(chain or {}) do inner[i] = outer end
  inner[#inner + 1] = file
  local texts, tags = lex(source, file)
  for _, tag in ipairs(tags) do classify(tag, file) end
  stand_alone(texts, tags)
  local nodes = {}
  local builder = setmetatable({ file = file, env = env, chain = inner, list = nodes, open_blocks = {} }, Builder)
  for i = 1, #tags + 1 do
    if texts[i] ~= "" then builder.list[#builder.list + 1] = { op = "text", text = texts[i] } end
    if tags[i] then builder[tags[i].op](builder, tags[i]) end
  end
  local open = builder.open_blocks[#builder.open_blocks]
  if open then M.fail(file, open.tag.line, ("{{%s}} is never closed"):format(open.tag.inside), open.tag.name) end
  return { file = file, nodes = nodes }
end

return M
