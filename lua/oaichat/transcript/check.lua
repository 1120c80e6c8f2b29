--- transcript/check: what a message that comes from outside must be, in more detail than
-- message.check, which trusts its caller. Knows messages only.

local json = require "oaichat.json"
local message = require "oaichat.message"

local M = {}

-- Raised texts of message.check, without the place in a program: here the text is at
-- fault, and no program. (In a coroutine of its own there is no frame to name.)
local function misuse_of(value, where)
  local ok, why = coroutine.resume(coroutine.create(message.check), value, where)
  return not ok and tostring(why) or nil
end

local function absent(value)
  return value == nil or value == json.null
end

local function wrong_content(content, where)
  if absent(content) or type(content) == "string" then return nil end
  if type(content) ~= "table" or (content[1] == nil and next(content) ~= nil) then
    return where .. ".content: a string or a list of parts expected"
  end
  for i, part in ipairs(content) do
    if type(part) ~= "table" or type(part.type) ~= "string" then
      return ("%s.content[%d]: a part with a type expected"):format(where, i)
    end
    if part.type == "text" and type(part.text) ~= "string" then
      return ("%s.content[%d].text: a string expected"):format(where, i)
    end
  end
end

local function wrong_call(call, where)
  if type(call) ~= "table" or type(call.id) ~= "string" then return where .. ".id: a string expected" end
  local fn = call["function"]
  if fn == nil and type(call.custom) == "table" then return nil end
  if type(fn) ~= "table" or type(fn.name) ~= "string" or type(fn.arguments) ~= "string" then
    return where .. ".function: a name and arguments (a string of JSON) expected"
  end
end

local function wrong_calls(calls, where)
  if absent(calls) then return nil end
  if type(calls) ~= "table" or (calls[1] == nil and next(calls) ~= nil) then return where .. ": a list expected" end
  for i, call in ipairs(calls) do
    local why = wrong_call(call, ("%s[%d]"):format(where, i))
    if why then return why end
  end
end

local function wrong_meta(meta, where, depth)
  if absent(meta) then return nil end
  if type(meta) ~= "table" or json.is_array(meta) then return where .. ": an object expected" end
  if absent(meta.alternatives) then return nil end
  if type(meta.alternatives) ~= "table" then return where .. ".alternatives: a list expected" end
  for i, branch in ipairs(meta.alternatives) do
    local at = ("%s.alternatives[%d]"):format(where, i)
    local list = type(branch) == "table" and branch.messages
    if type(list) ~= "table" or list[1] == nil or depth > 10 then return at .. ": messages expected" end
    for k, one in ipairs(list) do
      local why = M.wrong(one, ("%s.messages[%d]"):format(at, k), depth + 1)
      if why then return why end
    end
  end
end

--- What is wrong with a message.
--- @param one any
--- @param where string its name in the text
--- @param depth integer|nil of branches in branches
--- @return string|nil text
function M.wrong(one, where, depth)
  local why = misuse_of(one, where) or wrong_content(one.content, where)
    or wrong_calls(one.tool_calls, where .. ".tool_calls") or wrong_meta(one.meta, where .. ".meta", depth or 1)
  if why then return why end
  for _, name in ipairs { "name", "refusal" } do
    if not absent(one[name]) and type(one[name]) ~= "string" then
      return ("%s.%s: a string expected"):format(where, name)
    end
  end
end

--- Nobody here has approved what a file says was approved: it waits again.
--- @param messages table[] checked; they are changed
function M.distrust(messages)
  for _, one in ipairs(messages) do
    local meta = type(one.meta) == "table" and one.meta or {}
    for _, call in ipairs(type(meta.calls) == "table" and meta.calls or {}) do
      if type(call) == "table" and call.state == "approved" then call.state = "waiting" end
    end
    for _, branch in ipairs(type(meta.alternatives) == "table" and meta.alternatives or {}) do
      M.distrust(branch.messages)
    end
  end
end

return M
