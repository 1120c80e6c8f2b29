--- transcript/markdown: a conversation as Markdown that people read, and back. A line
-- with a comment of ours begins each part; what lies between is the text as it is, so
-- that headings and fences in a text stay what they are. Knows no messages but their
-- fields.

local json = require "oaichat.json"

local M = {}

local MARK = "<!-- oaichat "
local VERSION = 1

local TITLES = {
  system = "System", developer = "Developer", user = "User", assistant = "Assistant", tool = "Tool result",
  ["function"] = "Function result",
}

-- ---- writing -------------------------------------------------------------------

local Writer = {}
Writer.__index = Writer

function Writer:line(text)
  self.out[#self.out + 1] = text
end

-- A line of a text that looks like one of ours gets a backslash more.
local function escaped(line)
  return line:find(MARK, 1, true) and "\\" .. line or line
end

local function each_line(text)
  return (text .. "\n"):gmatch "([^\n]*)\n"
end

--- The head of a part. Its fields stand in the comment: ">" in them would end it.
function Writer:head(title, kind, fields)
  local text, why = json.encode(json.object(fields))
  if not text then
    self.failed = self.failed or why
    return
  end
  text = text:gsub(">", "\\u003e")
  self:line(("%s %s%s %s -->"):format(title:gsub("[^%w%s#:_.-]", "?"):gsub("%c", " "), MARK, kind, text))
  self:line ""
end

-- The fence that a text leaves open, as CommonMark (0.31, fenced code blocks) has it.
local function open_fence(text)
  local open
  for line in each_line(text) do
    local run, rest = line:match "^ ? ? ?(```+)([^`]*)$"
    if not run then run, rest = line:match "^ ? ? ?(~~~+)(.*)$" end
    if not open then
      open = run
    elseif run and run:sub(1, 1) == open:sub(1, 1) and #run >= #open and not rest:find "%S" then
      open = nil
    end
  end
  return open
end

function Writer:text(text)
  for line in each_line(text) do self:line(escaped(line)) end
  local fence = open_fence(text)
  if fence then
    -- else all that follows would be shown as code
    self:line(fence)
    self:line(MARK .. "closed {} -->")
  end
  self:line ""
end

function Writer:fenced(text, info)
  local longest = 2
  for run in text:gmatch "`+" do longest = math.max(longest, #run) end
  local fence = ("`"):rep(longest + 1)
  self:line(fence .. info)
  for line in each_line(text) do self:line(escaped(line)) end
  self:line(fence)
  self:line ""
end

function Writer:value(value)
  local text, why = json.encode(value)
  self.failed = self.failed or why
  self:fenced(text or "", "json")
end

local function is_json(text)
  return text:find "^%s*[{%[]" and json.decode(text) ~= nil
end

function Writer:part(part)
  if type(part) == "table" and part.type == "text" and type(part.text) == "string" then
    local fields = {}
    for name, value in pairs(part) do
      if name ~= "text" and name ~= "type" then fields[name] = value end
    end
    self:head("###", "text", fields)
    return self:text(part.text)
  end
  self:head("### " .. tostring(type(part) == "table" and part.type or "part"), "part", {})
  self:value(part)
end

function Writer:call(call)
  local fn = type(call) == "table" and call["function"]
  if type(fn) ~= "table" or type(fn.arguments) ~= "string" then
    self:head("### Tool call", "value", {})
    return self:value(call)
  end
  local fields, own = {}, {}
  for name, value in pairs(call) do fields[name] = value end
  for name, value in pairs(fn) do own[name] = value end
  fields["function"], own.arguments = own, nil
  self:head("### Tool call: " .. tostring(fn.name), "call", fields)
  self:fenced(fn.arguments, "json")
end

local function list_of(value)
  return type(value) == "table" and value or {}
end

function Writer:message(message)
  local fields, content = {}, message.content
  for name, value in pairs(message) do
    if name ~= "content" and name ~= "meta" and name ~= "tool_calls" then fields[name] = value end
  end
  local title = "## " .. (TITLES[message.role] or tostring(message.role))
  if type(content) == "table" then
    self:head(title, "parts", fields)
    for _, part in ipairs(content) do self:part(part) end
  elseif type(content) == "string" and (message.role == "tool" or message.role == "function") then
    self:head(title, "result", fields)
    self:fenced(content, is_json(content) and "json" or "")
  else
    self:head(title, "message", fields)
    if type(content) == "string" then self:text(content) end
  end
  for _, call in ipairs(list_of(message.tool_calls)) do self:call(call) end
end

--- Writes a conversation; `meta` of messages is left out.
--- @param conversation { system: string|nil, messages: table[] }
--- @return string|nil text, string|nil why
function M.write(conversation)
  local writer = setmetatable({ out = {} }, Writer)
  writer:head("# Conversation", "transcript", { version = VERSION })
  if conversation.system then
    writer:head("## System prompt", "system", {})
    writer:text(conversation.system)
  end
  for i, message in ipairs(conversation.messages) do
    writer:message(message)
    if writer.failed then return nil, ("messages[%d]: %s"):format(i, writer.failed) end
  end
  return table.concat(writer.out, "\n")
end

-- ---- reading -------------------------------------------------------------------

--- @class oaichat.transcript.Reader the parts that were read, and the conversation so far
local Reader = {}
Reader.__index = Reader

-- The text of a part; nil: it has none.
local function body_of(part)
  local lines = part.lines
  local first, last = 1, #lines
  if last <= 1 and (lines[1] or "") == "" then return nil end
  if lines[first] == "" then first = first + 1 end
  if lines[last] == "" and last >= first then last = last - 1 end
  return table.concat(lines, "\n", first, last)
end

local function code_of(part)
  local body = body_of(part) or ""
  local fence, rest = body:match "^(```+)%w*\r?\n(.*)$"
  if not fence or ("\n" .. rest):sub(-#fence - 1) ~= "\n" .. fence then
    return nil, "a code block in ``` is missing, or is not closed"
  end
  return rest:sub(1, -#fence - 2)
end

local function value_of(part)
  local code, why = code_of(part)
  if not code then return nil, why end
  local value
  value, why = json.decode(code)
  if value == nil then return nil, why end
  return value
end

function Reader:last()
  return self.messages[#self.messages]
end

function Reader:add(part, content)
  local message = part.fields
  message.content = content
  self.messages[#self.messages + 1] = setmetatable(message, nil)
  self.lines[#self.messages] = part.at
  return true
end

local function add_part(reader, value)
  local message = reader:last()
  if not message or type(message.content) ~= "table" or message.tool_calls then
    return nil, "a part without its message"
  end
  message.content[#message.content + 1] = value
  return true
end

local function add_call(reader, call)
  local message = reader:last()
  if not message then return nil, "a tool call without its message" end
  message.tool_calls = message.tool_calls or json.array {}
  message.tool_calls[#message.tool_calls + 1] = call
  return true
end

local KINDS = {
  system = function(reader, part)
    if reader.system or reader.messages[1] then return nil, "the system prompt stands first, and once" end
    reader.system = body_of(part) or ""
    return true
  end,
  message = function(reader, part) return reader:add(part, body_of(part)) end,
  parts = function(reader, part) return reader:add(part, json.array {}) end,
  result = function(reader, part)
    local code, why = code_of(part)
    if not code then return nil, why end
    return reader:add(part, code)
  end,
  text = function(reader, part)
    local value = setmetatable(part.fields, nil)
    value.type, value.text = "text", body_of(part) or ""
    return add_part(reader, value)
  end,
  part = function(reader, part)
    local value, why = value_of(part)
    if value == nil then return nil, why end
    return add_part(reader, value)
  end,
  value = function(reader, part)
    local value, why = value_of(part)
    if value == nil then return nil, why end
    return add_call(reader, value)
  end,
  call = function(reader, part)
    local code, why = code_of(part)
    if not code then return nil, why end
    local fn = part.fields["function"]
    if type(fn) ~= "table" then return nil, "a tool call without its function" end
    fn.arguments = code
    return add_call(reader, part.fields)
  end,
}

-- A line of ours: { kind, fields, at, lines }.
local function part_of(line, at)
  local kind, text = line:match("^<!%-%- oaichat (%l+) ({.*}) %-%->%s*$", (line:find(MARK, 1, true)))
  if not kind then return nil, "this line is no mark of a transcript" end
  local fields, why = json.decode(text)
  if type(fields) ~= "table" then return nil, why end
  return { kind = kind, fields = fields, at = at, lines = {} }
end

function Reader:finish(part)
  if not part or part.kind == "transcript" then return true end
  local rule = KINDS[part.kind]
  if not rule then return nil, ("%s is no part of a transcript"):format(part.kind), part.at end
  local ok, why = rule(self, part)
  if not ok then return nil, why, part.at end
  if #self.messages > self.max then return nil, nil, part.at end
  return true
end

-- One line of ours; gives the part that it begins.
function Reader:mark(line, at, part)
  local new, why = part_of(line, at)
  if not new then return nil, why, at end
  if new.kind == "closed" then
    if not part or not part.lines[2] then return nil, "this line closes nothing", at end
    part.lines[#part.lines] = nil
    return part
  end
  if not part then
    if new.kind ~= "transcript" then return nil, "this is no transcript of oaichat: its first line is missing", at end
    if new.fields.version ~= VERSION then
      return nil, ("version %s of the transcript is not known here"):format(json.encode(new.fields.version) or "?"), at
    end
    return new
  end
  if new.kind == "transcript" then return nil, "a second transcript begins here", at end
  local ok, wrong, where = self:finish(part)
  if not ok then return nil, wrong, where end
  return new
end

--- Reads what write wrote.
--- @param text string
--- @param max integer messages
--- @return { system: string|nil, messages: table[] }|nil conversation
--- @return string|integer[]|nil lines where each message begins; or why not (nil: more than max messages)
--- @return integer|nil line of the failure
function M.read(text, max)
  local reader = setmetatable({ messages = {}, lines = {}, max = max }, Reader)
  local at, part = 0, nil
  for line in each_line(text) do
    at = at + 1
    if line:find(MARK, 1, true) and line:sub(1, 1) ~= "\\" then
      local new, why, where = reader:mark(line, at, part)
      if not new then return nil, why, where end
      part = new
    elseif part then
      part.lines[#part.lines + 1] = line:find(MARK, 1, true) and line:sub(2) or line
    elseif line:find "%S" then
      return nil, "this is no transcript of oaichat: its first line is missing", at
    end
  end
  if not part then return nil, "this is no transcript of oaichat: it is empty", 1 end
  local ok, why, where = reader:finish(part)
  if not ok then return nil, why, where end
  return { system = reader.system, messages = reader.messages }, reader.lines
end

return M
