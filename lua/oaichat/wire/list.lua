--- wire/list: the messages of a conversation as a list in a request's body. Each message
-- is encoded once: its bytes are kept, weakly, by the message table, those of a history
-- that only grows by its list; so a turn costs what it adds. Knows no format: a wire says
-- how a message is written.

local ropes = require "oaichat.wire.rope"
local tables = require "oaichat.tables"

local M = {}

local WEAK = { __mode = "k" }

--- @class oaichat.WireList
local List = {}
List.__index = List

--- @param wire { encode: function, alone: function|nil, carried: function|nil } encode(message, origin) -> bytes, or
---   pieces of them ("": nothing is sent of it) | nil, message, err; alone(message): it needs no other message to be
---   written; carried(messages) -> those that this wire can carry in their place
--- @return oaichat.WireList
function M.new(wire)
  return setmetatable({
    _encode = wire.encode, _alone = wire.alone, _carried = wire.carried,
    _encoded = {}, -- origin -> { message -> bytes }, weak; messages in a history never change
    _grown = setmetatable({}, WEAK), -- list -> { origin -> rope of `taken` messages; false: some do not stand alone }
  }, List)
end

local function encoded_for(list, origin)
  local encoded = list._encoded[origin]
  if not encoded then
    encoded = setmetatable({}, WEAK)
    list._encoded[origin] = encoded
  end
  return encoded
end

-- The error's message and path name the message by its position; 0: the system prompt.
local function placed(why, err, position)
  local dot, place = err.path ~= "" and "." or "", ("messages[%d]"):format(position)
  if position == 0 then dot, place, err.path, why = "", "system", "", why:gsub("^content: ", "") end
  err.path = place .. dot .. err.path
  err.message = place .. (dot == "" and ": " or ".") .. why
  err.safe_message = err.message
  return nil, err.message, err
end

local function encode(list, encoded, message, origin, position)
  local bytes, why, err = list._encode(message, origin)
  if not bytes then return placed(why, err, position) end
  encoded[message] = bytes
  return bytes
end

--- The bytes of a message, or pieces of them.
--- @param message table
--- @param origin string
--- @param position integer in the conversation, for errors; 0: the system prompt
--- @return string|string[]|nil bytes, string|nil message, oaichat.Error|nil err
function List:bytes(message, origin, position)
  local encoded = encoded_for(self, origin)
  local bytes = encoded[message]
  if bytes then return bytes end
  return encode(self, encoded, message, origin, position)
end

-- ---- a history that only grows -------------------------------------------------------

local function push(rope, text)
  if type(text) == "string" then return ropes.push(rope, text) end
  for i = 1, #text do ropes.push(rope, text[i]) end
end

-- The bytes of all its messages, with commas between them; false: they do not stand
-- alone; nil, message, err.
local function rope_of(list, messages, origin)
  local by_origin = list._grown[messages]
  if not by_origin then
    by_origin = {}
    list._grown[messages] = by_origin
  end
  local rope = by_origin[origin]
  if rope == false then return false end
  if not rope then
    rope = ropes.new()
    rope.taken = 0
  end
  if rope.taken == #messages then return rope end
  by_origin[origin] = nil -- an error that passes through must not leave it half grown
  for i = rope.taken + 1, #messages do
    if list._alone and not list._alone(messages[i]) then
      by_origin[origin] = false
      return false
    end
    local text, why, err = list:bytes(messages[i], origin, i)
    if not text then return nil, why, err end
    if text ~= "" then
      if rope.n > 0 then ropes.push(rope, ",") end
      push(rope, text)
    end
    rope.taken = i
  end
  by_origin[origin] = rope
  return rope
end

-- ---- a body ----------------------------------------------------------------------------

--- Adds messages; `before` of the conversation stand before them. parts[n] is what stands
--- before them in the body, with a comma between it and them where `comma` says so.
--- @param parts string[]
--- @param n integer of parts
--- @return integer|nil n, string|nil message, oaichat.Error|nil err
function List:put_messages(parts, n, messages, origin, before, comma)
  local own, encoded = self._carried and self._carried(messages) or messages, encoded_for(self, origin)
  for i = 1, #own do
    local text, why, err = encoded[own[i]], nil, nil
    if not text then text, why, err = encode(self, encoded, own[i], origin, before + i) end
    if not text then return nil, why, err end
    if comma and text ~= "" then
      n = n + 1
      parts[n] = ","
    end
    comma = comma or text ~= ""
    if type(text) == "string" then
      n = n + 1
      parts[n] = text
    else
      for j = 1, #text do parts[n + j] = text[j] end
      n = n + #text
    end
  end
  return n
end

local function put_rope(parts, n, rope, comma)
  if rope.n > 0 and comma then
    n = n + 1
    parts[n] = ","
  end
  for i = 1, rope.n do parts[n + i] = rope[i] end
  return n + rope.n
end

--- Adds the history and what stands behind it.
--- @param conversation table see a wire's render
--- @param comma boolean|nil something stands before them in their list
--- @return integer|nil n, string|nil message, oaichat.Error|nil err
function List:put_all(parts, n, conversation, comma)
  local messages, added, origin = conversation.messages, conversation.added, conversation.origin
  if not added then return self:put_messages(parts, n, messages, origin, 0, comma) end
  if not messages[1] then return self:put_messages(parts, n, added, origin, 0, comma) end
  local rope, why, err = rope_of(self, messages, origin)
  if err then return nil, why, err end
  if not rope then
    return self:put_messages(parts, n, tables.add(tables.add({}, messages), added), origin, 0, comma)
  end
  return self:put_messages(parts, put_rope(parts, n, rope, comma), added, origin, #messages, comma or rope.n > 0)
end

return M
