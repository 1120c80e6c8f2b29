--- reply/raw: the wire object of an answer, made again of what the C core kept: the
-- fields that no part of a reply shows, and the merged whole.

local json = require "oaichat.json"

local M = {}

-- Extras are one flat list: scope, key, JSON, whether that is a list of values.
local EXTRA = 4

--- Merges values of one field: objects by key, arrays appended (by `index` where
--- the items have one), scalars last.
local function merge(old, new)
  if type(old) ~= "table" or type(new) ~= "table" or json.is_array(old) ~= json.is_array(new) then return new end
  if json.is_array(new) then
    for _, item in ipairs(new) do
      local same
      if type(item) == "table" and item.index ~= nil then
        for i, other in ipairs(old) do
          if type(other) == "table" and other.index == item.index and other.type == item.type then same = i end
        end
      end
      if same then old[same] = M.merge_item(old[same], item) else old[#old + 1] = item end
    end
    return old
  end
  for key, value in pairs(new) do old[key] = old[key] == nil and value or merge(old[key], value) end
  return old
end

-- Pieces of a streamed item: texts that grow are joined, the rest is merged.
local GROWS = { text = true, summary = true, data = true }
function M.merge_item(old, new)
  for key, value in pairs(new) do
    if GROWS[key] and type(old[key]) == "string" and type(value) == "string" then
      old[key] = old[key] .. value
    elseif value ~= json.null or old[key] == nil then
      old[key] = old[key] == nil and value or merge(old[key], value)
    end
  end
  return old
end

--- The value of an extra.
--- @param text string its JSON
--- @param list boolean it came in pieces, with commas between them
function M.value_of(text, list)
  if not list then return (json.decode(text)) end
  local values = json.decode("[" .. text .. "]")
  if not values then return nil end
  local out = values[1]
  for i = 2, #values do out = merge(out, values[i]) end
  return out
end

local function put_extras(into, extras, scope)
  for i = 1, extras and #extras or 0, EXTRA do
    if extras[i] == scope then into[extras[i + 1]] = M.value_of(extras[i + 2], extras[i + 3]) end
  end
  return into
end

local function raw_choice(choice)
  local message = { role = "assistant", content = choice.text, refusal = choice.refusal }
  if choice.reasoning_field then message[choice.reasoning_field] = choice.reasoning end
  if choice.tool_calls[1] then
    message.tool_calls = {}
    for i, call in ipairs(choice.tool_calls) do
      message.tool_calls[i] = put_extras({
        id = call.id, type = "function", ["function"] = { name = call.name, arguments = call.arguments },
      }, call.extras, "call")
    end
  end
  return put_extras({
    index = choice.index,
    finish_reason = choice.finish_reason,
    message = put_extras(message, choice.extras, "message"),
  }, choice.extras, "choice")
end

--- The items of an answer that the wire has as a list, decoded.
--- @param raw table as the core assembled it
--- @return table[]
function M.items(raw)
  local out = {}
  for i, text in ipairs(raw.items or {}) do out[i] = json.decode(text) end
  return json.array(out)
end

-- Where the items stand in the object of an answer, by the wire's name.
local ITEMS = { responses = "output", anthropic = "content" }

-- The wire's own object; of an answer that was cut it has no items yet.
local function own_whole(raw)
  local out, name = json.decode(raw.whole) or {}, ITEMS[raw.api]
  if name and raw.items and (type(out[name]) ~= "table" or #out[name] < #raw.items) then out[name] = M.items(raw) end
  if raw.usage then out.usage = raw.usage end -- a stream may tell it in pieces
  return out
end

--- The merged wire object: everything the server said, unknown fields too. Made
--- when it is called; a new table each time.
--- @param raw table as the core assembled it
--- @return table
function M.whole(raw)
  if raw.whole then return own_whole(raw) end
  local out = put_extras({ id = raw.id, model = raw.model, usage = raw.usage, choices = {} }, raw.extras, "reply")
  for i, choice in ipairs(raw.choices) do out.choices[i] = raw_choice(choice) end
  return out
end

return M
