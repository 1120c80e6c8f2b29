--- history/seal: messages and facts in a form that only the host's key opens. The
-- cipher is the host's; this file says what is sealed and what each seal is bound to,
-- so that nothing can be put in another place. Knows no store.

local common = require "oaichat.history.common"
local core = require "oaichat.core"
local json = require "oaichat.json"
local wait = require "oaichat.wait"

local M = {}

local FORM = "oaichat seal 1"

--- @class oaichat.Seal
local Seal = {}
Seal.__index = Seal

--- @param options table encrypt, decrypt, allow_plain, plain_meta: set of names
function M.new(options)
  return setmetatable({
    encrypt = options.encrypt, decrypt = options.decrypt, allow_plain = options.allow_plain, plain = options.plain_meta,
  }, Seal)
end

-- What a message's seal is bound to: conversation, the version it was written upon, its
-- place in that write, how many there were, and its role.
local function place(id, box, role)
  return table.concat({
    FORM, "message", id, ("%.0f"):format(box.base), ("%.0f"):format(box.index), ("%.0f"):format(box.of), role,
  }, "\n")
end

local function fact(id, name)
  return table.concat({ FORM, "meta", id, name }, "\n")
end

function Seal:_close(plain, context)
  local ok, bytes = wait.pcall(self.encrypt, plain, context)
  if ok and type(bytes) == "string" then return core.base64(bytes) end
  return common.fail("encrypt", "encrypt " .. (ok and "gave no string" or "raised an error") .. ": nothing was stored")
end

function Seal:_open(data, context, what)
  local bytes = type(data) == "string" and core.unbase64(data)
  if not self.decrypt then
    return common.fail("corrupt", what .. " is encrypted, and there is no decrypt")
  end
  if bytes then
    local ok, plain = wait.pcall(self.decrypt, bytes, context)
    -- its own words are not passed on: they may quote what must not be seen
    if ok and type(plain) == "string" then return plain end
  end
  return common.fail("corrupt", what .. " cannot be decrypted: another key, or it was changed or moved")
end

--- Seals messages for one write. What stays readable: the role.
--- @param id string of the conversation
--- @param base integer the version that the write is made upon
--- @param messages table[]
--- @return table[]|nil sealed, string|nil message, oaichat.Error|nil err
function Seal:messages(id, base, messages)
  local texts, why, err = common.encode(messages)
  if not texts then return nil, why, err end
  local out = {}
  for i, text in ipairs(texts) do
    local role = messages[i].role
    local box = { base = base, index = i, of = #texts }
    box.data, why, err = self:_close(text, place(id, box, role))
    if not box.data then return nil, why, err end
    out[i] = {
      role = role, content = "", tool_call_id = role == "tool" and "sealed" or nil, meta = { sealed = box },
    }
  end
  return out
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and value % 1 == 0
end

local function box_of(message)
  local meta = type(message.meta) == "table" and message.meta or nil
  local box = meta and meta.sealed
  if type(box) ~= "table" then return nil, meta end
  return is_count(box.base) and is_count(box.index) and is_count(box.of) and box or {}, meta
end

-- In one write the messages follow each other, writes follow each other by version.
local function follows(box, last, mended)
  if not last then return mended or box.index == 1 end
  if box.base == last.base then
    return box.of == last.of and (box.index == last.index + 1 or mended and box.index > last.index)
  end
  return box.base > last.base and (mended or box.index == 1 and last.index == last.of)
end

--- Opens what messages() sealed. Moved, repeated and missing ones are found, but for
--- whole writes that are gone.
--- @param id string
--- @param stored table[]
--- @param mended boolean|nil the store had to leave some out
--- @return table[]|nil messages, string|nil message, oaichat.Error|nil err code "corrupt"
function Seal:open_messages(id, stored, mended)
  local out, last = {}, nil
  for i, one in ipairs(stored) do
    local what = ("message %d of conversation %s"):format(i, id)
    local box, meta = box_of(one)
    if box then
      if not box.base or not follows(box, last, mended) then
        return common.fail("corrupt", what .. " is not where it was written")
      end
      local text, why, err = self:_open(box.data, place(id, box, one.role), what)
      if not text then return nil, why, err end
      out[i], last = json.decode(text), box
      if type(out[i]) ~= "table" then return common.fail("corrupt", what .. " is not what was written") end
      if meta.unanswered then
        if type(out[i].meta) ~= "table" then out[i].meta = {} end
        out[i].meta.unanswered = true
      end
    elseif self.encrypt and not self.allow_plain then
      return common.fail("corrupt", what .. " is not encrypted; allow_plain = true takes what was stored before")
    else
      out[i] = one
    end
  end
  if last and not mended and last.index ~= last.of then
    return common.fail("corrupt", ("the end of conversation %s is missing"):format(id))
  end
  return out
end

--- Seals the values of facts, each by itself, since stores merge them by name.
--- @param id string
--- @param meta table|nil
--- @return table|nil sealed, string|nil message, oaichat.Error|nil err
function Seal:meta(id, meta)
  local out = {}
  for name, value in pairs(meta or {}) do
    if self.plain[name] or value == json.null then
      out[name] = value
    else
      local text, why, err = common.encode_meta(value)
      if text then text, why, err = self:_close(text, fact(id, name)) end
      if not text then return nil, why, err end
      out[name] = { sealed = text }
    end
  end
  return meta and out
end

--- @param id string
--- @param meta table
--- @return table|nil meta, string|nil message, oaichat.Error|nil err
function Seal:open_meta(id, meta)
  local out = {}
  for name, value in pairs(meta or {}) do
    if self.plain[name] then
      out[name] = value
    elseif type(value) == "table" and type(value.sealed) == "string" then
      local text, why, err = self:_open(value.sealed, fact(id, name), ("meta.%s of conversation %s"):format(name, id))
      if not text then return nil, why, err end
      out[name] = json.decode(text)
    elseif self.encrypt and not self.allow_plain then
      return common.fail("corrupt", ("meta.%s of conversation %s is not encrypted"):format(name, id))
    else
      out[name] = value
    end
  end
  return out
end

return M
