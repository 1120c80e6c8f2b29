-- bot_tools: which tools the offline bot calls, and what it says about their results.
-- No model: fixed rules, so that examples and specs can rely on them. It knows the
-- request of a chat completion; the same request gets the same answer.
--
-- What a user may say, and the tool that is called: the first one that has one of
-- these words in its name, else in its description:
--   read the file NAME · show NAME.txt           read, open, cat       path, file, name = NAME
--   list the folder NAME · list the files        list, dir, ls         path, folder, dir = NAME or "."
--   write "TEXT" to NAME · save TEXT as NAME     write, save           path = NAME, content, text = TEXT
--   run COMMAND                                  run, shell, exec      argv = its words, or command = COMMAND
--   get URL · fetch URL                          get, http, fetch      url = URL
--   search for TEXT                              search, find, look    query, text = TEXT
--   weather in CITY                              weather               city, location = CITY
--   ask NAME: TEXT · talk to NAME                NAME                  the first string = TEXT
--   use TOOL {"json": "arguments"}               TOOL
-- Other parameters are filled from the text (bot_data). "… and then …" makes another
-- round, "… and also …" another call in the same one. A forced tool is called whatever
-- was said; tool_choice "none" and texts that fit no tool get the bot's own words.

local data = require "bot_data"
local json = require "oaichat.json"

local M = {}

local function trim(text)
  local short = text:match "^%s*(.-)[%s%.!%?]*$"
  return short ~= "" and short or text
end

local function unquoted(text)
  text = trim(text)
  return text:match '^"(.*)"$' or text:match "^'(.*)'$" or text:match "^`(.*)`$" or text
end

-- The words of a command; quotes keep spaces together.
local function argv(text)
  local list, at = json.array {}, 1
  while true do
    at = text:find("%S", at)
    if not at then return list end
    local quote, word, stop = text:match("^([\"'])(.-)%1()", at)
    if not quote then word, stop = text:match("^(%S+)()", at) end
    list[#list + 1], at = word, stop
  end
end

-- Rules -------------------------------------------------------------------------

-- pattern (of the lower-case text; captures are places), words of the tool, and the
-- names of the parameters that the captures fill.
local PATH = { "path", "file", "filename", "file_name", "name", "folder", "directory", "dir" }
local TEXT = { "content", "text", "contents", "body", "data", "input", "question", "query", "message", "request" }
local RULES = {
  { '^write (".-") to ?t?h?e? ?f?i?l?e? (.+)$', { "write", "save" }, TEXT, PATH },
  { "^write (.-) to ?t?h?e? ?f?i?l?e? (%S+)$", { "write", "save" }, TEXT, PATH },
  { "^save (.-) as (%S+)$", { "write", "save" }, TEXT, PATH },
  { "^read the file (.+)$", { "read", "open", "cat" }, PATH },
  { "^read (%S+)$", { "read", "open", "cat" }, PATH },
  { "^show m?e? ?t?h?e? ?f?i?l?e? ?(%S+%.%w+)$", { "read", "open", "cat" }, PATH },
  { "^what is in t?h?e? ?f?i?l?e? ?(%S+%.%w+)%??$", { "read", "open", "cat" }, PATH },
  { "^list the folder (.+)$", { "list", "dir", "ls" }, PATH },
  { "^list t?h?e? ?files in (.+)$", { "list", "dir", "ls" }, PATH },
  { "^list t?h?e? ?files", { "list", "dir", "ls" }, PATH },
  { "^run (.+)$", { "run", "shell", "exec" }, { "argv", "command", "cmd", "args" } },
  { "^get (https?://.+)$", { "get", "http", "fetch" }, { "url", "uri", "address" } },
  { "^fetch (https?://.+)$", { "get", "http", "fetch" }, { "url", "uri", "address" } },
  { "^search for (.+)$", { "search", "find", "look" }, TEXT },
  { "weather in ([^,;]+)", { "weather" }, { "city", "location", "place" } },
}

-- "weather in Rome for 3 days": the city ends before.
local function cut(text)
  return (text:gsub(" for %d.*$", ""):gsub(" tomorrow.*$", ""):gsub(" today.*$", ""))
end

local function function_of(tool)
  local fn = type(tool) == "table" and tool["function"]
  return type(fn) == "table" and fn or {}
end

local function table_of(value)
  return type(value) == "table" and value or {}
end

local function properties_of(fn)
  return table_of(table_of(fn.parameters).properties)
end

local function find_tool(tools, words)
  for _, field in ipairs { "name", "description" } do
    for _, word in ipairs(words) do
      for _, tool in ipairs(tools) do
        local text = tostring(function_of(tool)[field] or ""):lower():gsub("_", " ")
        if text:find("%f[%w]" .. word:gsub("%W", "%%%0") .. "%f[%W]") then return function_of(tool) end
      end
    end
  end
end

local function put(arguments, properties, names, value)
  for _, name in ipairs(names) do
    local property = properties[name]
    if property and arguments[name] == nil then
      arguments[name] = table_of(property).type == "array" and argv(value) or unquoted(value)
      return
    end
  end
end

-- All the parameters: what the rule found, the rest from the text.
local function complete(fn, arguments, text)
  local parameters = table_of(fn.parameters)
  local required = {}
  for _, name in ipairs(table_of(parameters.required)) do required[name] = true end
  for name, property in pairs(properties_of(fn)) do
    if arguments[name] == nil then
      local value, found = data.property(property, name, text, parameters)
      if found or required[name] then arguments[name] = value end
    end
  end
  return { name = fn.name, arguments = assert(json.encode(json.object(arguments))) }
end

local function by_rule(tools, text, lower)
  for _, rule in ipairs(RULES) do
    local first, _, one, two = lower:find(rule[1])
    local fn = first and find_tool(tools, rule[2])
    if fn then
      local arguments, properties = {}, properties_of(fn)
      -- as it was written: the capture is sought again in the text itself
      for i, capture in pairs { one, two } do
        local at = lower:find(capture, i == 2 and #lower - #capture + 1 or 1, true)
        put(arguments, properties, rule[2 + i], cut(text:sub(at, at + #capture - 1)))
      end
      if not one then put(arguments, properties, rule[3], ".") end
      return complete(fn, arguments, text)
    end
  end
end

local function by_name(tools, text, lower)
  local name, json_text = text:match "^[Uu]se ([%w_-]+)%s*(.-)$"
  for _, tool in ipairs(name and tools or {}) do
    if function_of(tool).name == name then
      local given = json.decode(json_text)
      return complete(function_of(tool), type(given) == "table" and given or {}, json_text)
    end
  end
  local who, what = lower:match "^ask t?h?e? ?([%w _-]-):%s*()"
  if not who then who, what = lower:match "talk to t?h?e? ?([%w_-]+)()" end
  local fn = who and find_tool(tools, { (who:gsub("_", " ")) })
  if not fn then return nil end
  local arguments = {}
  local rest = text:sub(what)
  put(arguments, properties_of(fn), TEXT, rest ~= "" and rest or text)
  return complete(fn, arguments, text)
end

local function call_for(tools, text)
  text = trim(text):gsub("^[Pp]lease ", ""):gsub("^[Cc]an you ", "")
  local lower = text:lower()
  return by_name(tools, text, lower) or by_rule(tools, text, lower)
end

-- Rounds --------------------------------------------------------------------------

local function text_of(message)
  if type(message.content) == "string" then return message.content end
  local out = {}
  for _, part in ipairs(table_of(message.content)) do
    if type(part) == "table" and type(part.text) == "string" then out[#out + 1] = part.text end
  end
  return table.concat(out, " ")
end

--- The last thing that a user said.
---@param messages table[]
---@return string text, integer at its place; 0 when there is none
function M.said(messages)
  for i = #messages, 1, -1 do
    if messages[i].role == "user" then return text_of(messages[i]), i end
  end
  return "", 0
end

local function split(text, separator)
  local out = {}
  text = text:gsub(separator, "\1")
  for part in (text .. "\1"):gmatch "([^\1]*)\1" do out[#out + 1] = part end
  return out
end

local function forced(body)
  local choice = body.tool_choice
  if type(choice) == "table" and type(choice["function"]) == "table" then
    for _, tool in ipairs(body.tools) do
      if function_of(tool).name == choice["function"].name then return function_of(tool) end
    end
  end
  return choice == "required" and function_of(body.tools[1]) or nil
end

--- The calls that the bot makes now.
---@param body table the request
---@return table[]|nil calls { name, arguments }
function M.calls(body)
  if type(body.tools) ~= "table" or not body.tools[1] or body.tool_choice == "none" then return nil end
  local text, at = M.said(body.messages)
  local round = 1
  for i = at + 1, #body.messages do
    if type(body.messages[i].tool_calls) == "table" then round = round + 1 end
  end
  local fn = forced(body)
  if fn then return { call_for({ { ["function"] = fn } }, text) or complete(fn, {}, text) } end
  local step = split(text, ",? and then ")[round]
  local calls = {}
  for _, part in ipairs(step and split(step, ",? and also ") or {}) do
    calls[#calls + 1] = call_for(body.tools, part)
  end
  if body.parallel_tool_calls == false then calls[2] = nil end
  return calls[1] and calls or nil
end

--- What the bot says when the last messages are results of its calls.
---@param messages table[]
---@return string|nil
function M.report(messages)
  local last = messages[#messages]
  if not last or last.role ~= "tool" then return nil end
  local _, at = M.said(messages)
  local names, lines = {}, {}
  for i = at + 1, #messages do
    local message = messages[i]
    for _, call in ipairs(table_of(message.tool_calls)) do
      if type(call) == "table" and type(call.id) == "string" then names[call.id] = function_of(call).name end
    end
    if message.role == "tool" then
      local text = text_of(message)
      local problem = text:match "^error: (.*)$"
      lines[#lines + 1] = ("The tool %s %s: %s"):format(names[message.tool_call_id] or "?",
        problem and "failed" or "says", problem or text)
    end
  end
  return table.concat(lines, "\n")
end

--- The answer to a request that wants JSON: what the user said, in the form of the
--- schema; nil where text is wanted.
---@param body table the request
---@return string|nil
function M.document(body)
  local format = table_of(body.response_format)
  local text = M.said(body.messages)
  local schema = format.type == "json_schema" and table_of(format.json_schema).schema
  if format.type == "json_object" or not format.type then
    -- one that was put into words, as oaichat does for servers without json_schema
    for _, message in ipairs(body.messages) do
      local words = message.role == "system" and text_of(message):match "JSON Schema:%s*(%b{})"
      schema = words and json.decode(words) or schema
    end
    if not schema and not format.type then return nil end
  end
  if not schema and format.type ~= "json_object" then return nil end
  return assert(json.encode(type(schema) == "table" and data.fill(schema, text) or data.facts(text)))
end

return M
