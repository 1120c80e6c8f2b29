--- history/redact: the host's redactor over all texts of a message: content, parts,
-- arguments and results of tools, branches that were left, what a provider sent along.
-- JSON inside a text is read, so that an escape hides nothing. Knows messages only.

local json = require "oaichat.json"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local M = {}

local DEPTH = 1000 -- what lies deeper no encoder takes

--- Names whose values are no texts: marks of the API and of this library.
local PART_MARKS = {
  type = true, id = true, detail = true, format = true, data = true, file_data = true, file_id = true,
}
local META_MARKS = {
  origin = true, api = true, hash = true, id = true, state = true, reply_id = true, finish_reason = true,
  signature = true, type = true, call_id = true, status = true, encrypted_content = true,
  tool_use_id = true, encrypted_index = true,
}
local NO_MARKS = {}

local deep

-- The redactor's answer. One that raises or gives no string makes the whole write fail.
local function apply(run, text)
  if run.failed then return text end
  local ok, out = wait.pcall(run.redact, text, run.message)
  if ok and type(out) == "string" then return out end
  run.failed = ok and "gave no string" or "raised an error"
  return text
end

-- A text, as it is and as the JSON that it may be.
local function text_of(run, text)
  local out = apply(run, text)
  if not out:find "^%s*[{%[]" then return out end
  local value = json.decode(out)
  if type(value) ~= "table" then return out end
  local new, changed = deep(run, value, NO_MARKS, true, 1)
  return changed and json.encode(new) or out
end

local function free_key(out, key)
  local n, free = 2, key
  while out[free] ~= nil do
    free, n = key .. " " .. n, n + 1
  end
  return free
end

local function table_of(run, value, marks, all, depth)
  local out, changed = setmetatable({}, getmetatable(value)), false
  for key, one in pairs(value) do
    local new, differs, name = one, false, key
    if not marks[key] and not (key == "data" and value.type == "redacted_thinking") then
      new, differs = deep(run, one, marks, all, depth + 1)
    end
    if all and type(key) == "string" then name = apply(run, key) end
    if name ~= key then name, differs = free_key(out, name), true end
    out[name] = new
    changed = changed or differs
  end
  -- the API refuses a thought that is not what it signed; one without a signature is not sent
  if changed and value.type == "thinking" then out.signature = nil end
  return out, changed
end

--- `all`: numbers and keys too, since a number may be a card's.
function deep(run, value, marks, all, depth)
  if depth > DEPTH then return value, false end
  if type(value) == "table" then return table_of(run, value, marks, all, depth) end
  if type(value) == "number" and all then
    local text = json.encode(value)
    local new = text and apply(run, text)
    if new ~= text then return new, true end
    return value, false
  end
  if type(value) ~= "string" or value:find "^data:[%w/+.-]*;base64," then return value, false end
  local new = text_of(run, value)
  return new, new ~= value
end

local function copy(t)
  return setmetatable(tables.merged(t), getmetatable(t))
end

local function field(run, t, name)
  if type(t) == "table" and type(t[name]) == "string" then
    t = copy(t)
    t[name] = text_of(run, t[name])
  end
  return t
end

local function calls_of(run, calls)
  local out = copy(calls)
  for i, call in pairs(calls) do
    if type(call) == "table" then
      local own = copy(call)
      own["function"] = field(run, call["function"], "arguments")
      own.custom = field(run, call.custom, "input")
      out[i] = own
    end
  end
  return out
end

local function meta_of(run, meta, depth)
  if type(meta) ~= "table" then return meta end
  local rest = copy(meta)
  rest.alternatives = nil
  local out = deep(run, rest, META_MARKS, false, depth)
  if type(meta.alternatives) == "table" then
    out.alternatives = copy(meta.alternatives)
    for i, branch in pairs(meta.alternatives) do
      if type(branch) == "table" and type(branch.messages) == "table" then
        branch = copy(branch)
        branch.messages = M.walk(run, branch.messages, depth + 1)
        out.alternatives[i] = branch
      end
    end
  end
  return out
end

local FIELDS = {
  role = function(_, value) return value end,
  tool_call_id = function(_, value) return value end,
  tool_calls = function(run, value) return type(value) == "table" and calls_of(run, value) or value end,
  function_call = function(run, value) return field(run, value, "arguments") end,
  meta = meta_of,
  content = function(run, value, depth)
    local new = deep(run, value, PART_MARKS, false, depth)
    return new
  end,
}

local function message_of(run, message, depth)
  if type(message) ~= "table" then return message end
  local out = setmetatable({}, getmetatable(message))
  run.message = message
  for name, value in pairs(message) do
    local rule = FIELDS[name]
    if rule then
      out[name] = rule(run, value, depth)
    else
      out[name] = deep(run, value, NO_MARKS, false, depth)
    end
    run.message = message
  end
  -- the API takes few characters in a name: one that must change is left out
  if out.name ~= message.name then out.name = nil end
  return out
end

--- The messages of a list, however it looks: what it is not is found by the store.
function M.walk(run, messages, depth)
  if depth > DEPTH then return messages end
  local out = setmetatable({}, getmetatable(messages))
  for i, one in pairs(messages) do out[i] = message_of(run, one, depth + 1) end
  return out
end

--- Redacts messages; the arguments do not change.
--- @param redact fun(text: string, message: table): string message is empty for facts about the conversation
--- @param messages table[]
--- @return table[]|nil redacted
--- @return string|nil why "raised an error" or "gave no string": then nothing must be kept
function M.messages(redact, messages)
  local run = { redact = redact, message = {} }
  local out = M.walk(run, messages, 1)
  if run.failed then return nil, run.failed end
  return out
end

--- Redacts the facts about a conversation; not its user, which is what it is found by.
--- @return table|nil redacted, string|nil why
function M.meta(redact, meta)
  local run = { redact = redact, message = {} }
  local out = deep(run, meta, { user = true, reply_id = true }, false, 1)
  if run.failed then return nil, run.failed end
  return out
end

return M
