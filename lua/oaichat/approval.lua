--- approval: which calls of an answer wait for a person. The state stands in the
-- assistant message itself (`meta.calls`), as plain JSON data: whatever keeps the
-- messages keeps it, and another process can go on. Knows messages only.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local tables = require "oaichat.tables"

local M = {}

--- What the person saw, and what will run: SHA-256 over name and arguments.
--- @param name string
--- @param arguments string the exact JSON text
--- @return string 64 hexadecimal digits
function M.hash(name, arguments)
  return core.sha256(("%d:%s:%s"):format(#name, name, arguments))
end

--- The assistant message that calls are parked in, when the conversation ends with it.
--- @param messages table[]
--- @return table|nil message
function M.parked_in(messages)
  local last = messages[#messages]
  if last and last.role == "assistant" and last.meta and last.meta.calls then return last end
end

--- What is kept of a call: state "waiting", "approved", "denied" (with a reason) or
--- "done" (with its result's content).
--- @param message table assistant
--- @param id string
--- @return table|nil
function M.of(message, id)
  for _, kept in ipairs(message.meta and message.meta.calls or {}) do
    if kept.id == id then return kept end
  end
end

--- The calls that wait for a decision, as a person should see them.
--- @param messages table[]
--- @return table[] calls { id, name, arguments, hash }
function M.waiting(messages)
  local out, message = {}, M.parked_in(messages)
  for _, call in ipairs(message and message.tool_calls or {}) do
    local kept, fn = M.of(message, call.id), call["function"]
    if kept and kept.state == "waiting" then
      out[#out + 1] = { id = call.id, name = fn.name, arguments = fn.arguments, hash = kept.hash }
    end
  end
  return out
end

-- Messages of a history never change (their encodings are kept by their table), so
-- a decision makes a new one.
local function changed(message, id, fields)
  local out = tables.merged(message)
  out.meta = tables.merged(message.meta)
  out.meta.calls = tables.merged(message.meta.calls)
  for i, kept in ipairs(out.meta.calls) do
    if kept.id == id then
      out.meta.calls[i] = { id = id, hash = kept.hash, state = fields.state, reason = fields.reason }
    end
  end
  return out
end

--- Decides about a call that waits.
--- @param messages table[] of the session; the last one is replaced
--- @param id string|nil nil: every call that waits
--- @param fields { state: "approved"|"denied", reason: string|nil }
--- @param hash string|nil what the person saw
--- @return boolean|nil true, or nil, message, err kind "tool", code "unknown_call" or "arguments_changed"
function M.decide(messages, id, fields, hash)
  local found = false
  for _, call in ipairs(M.waiting(messages)) do
    if id == nil or call.id == id then
      if fields.state == "approved" then
        local now = M.hash(call.name, call.arguments)
        if now ~= call.hash or (hash and hash ~= now) then
          return errors.fail {
            kind = "tool", code = "arguments_changed",
            message = ("call %s of %s is not what was shown for approval: refused"):format(call.id, call.name),
          }
        end
      end
      messages[#messages] = changed(messages[#messages], call.id, fields)
      found = true
    end
  end
  if found then return true end
  return errors.fail {
    kind = "tool", code = "unknown_call",
    message = id and ("no call %s waits for approval"):format(tostring(id)) or "no call waits for approval",
  }
end

return M
