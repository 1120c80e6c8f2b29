--- message/mend: what makes a conversation valid: each call is answered once, by a result
-- in its place.

local tables = require "oaichat.tables"

local M = {}

--- The calls of an assistant message that no result answers, with the position
--- behind which results belong. Only the last round can be open.
--- @param messages table[]
--- @return table[] calls
function M.open_calls(messages)
  local answered = {}
  for i = #messages, 1, -1 do
    local message = messages[i]
    if message.role == "tool" then
      answered[message.tool_call_id] = true
    elseif message.role == "assistant" and message.tool_calls then
      local open = {}
      for _, call in ipairs(message.tool_calls) do
        if not answered[call.id] then open[#open + 1] = call end
      end
      return open
    else
      return {}
    end
  end
  return {}
end

--- The result of a call that has none: what it gave while another call of its round
--- waited for approval; else a word for the model why there is none: what is sent is
--- always valid, since the API refuses a call without an answer.
--- @param call table
--- @param why string|nil
--- @param message table|nil the assistant message; its meta.calls may know more
--- @return table message
function M.close_call(call, why, message)
  for _, kept in ipairs(message and message.meta and message.meta.calls or {}) do
    if kept.id == call.id and kept.content ~= nil then
      return { role = "tool", tool_call_id = call.id, content = kept.content }
    end
  end
  return {
    role = "tool", tool_call_id = call.id, content = "error: " .. (why or "the tool was not run"),
    meta = { synthesised = true },
  }
end

-- One pass over a conversation; `open` are the calls that wait for their results.
local Mender = {}
Mender.__index = Mender

function Mender:note(text)
  self.notes[#self.notes + 1] = text
end

function Mender:close()
  for _, call in ipairs(self.open) do
    if not self.answered[call.id] then
      self.out[#self.out + 1] = M.close_call(call, "it was not run", self.parked)
      self:note(("call %s had no result"):format(call.id))
    end
  end
  self.open, self.answered = {}, {}
end

function Mender:result(message)
  local id = message.tool_call_id
  local known = false
  for _, call in ipairs(self.open) do known = known or call.id == id end
  if not known then return self:note(("a result of %s had no call"):format(tostring(id))) end
  if self.answered[id] then return self:note(("call %s had two results"):format(id)) end
  self.answered[id] = true
  self.out[#self.out + 1] = message
end

function Mender:calls(message)
  local seen, calls = {}, {}
  for _, call in ipairs(message.tool_calls) do
    if seen[call.id] then
      self:note(("two calls had the id %s"):format(call.id))
    else
      seen[call.id] = true
      calls[#calls + 1] = call
    end
  end
  self.open, self.answered, self.parked = calls, {}, message
  if #calls == #message.tool_calls then return message end
  local own = tables.merged(message)
  own.tool_calls = calls
  return own
end

--- A conversation that an API takes: each call is answered once, each result has its
--- call, in this order (API reference, tool message). Calls at the very end may be
--- open: they wait, or are closed when something is said.
--- @param messages table[]
--- @return table[] messages the same list when nothing was wrong
--- @return string[]|nil notes what was mended
function M.mend(messages)
  local mender = setmetatable({ out = {}, notes = {}, open = {}, answered = {} }, Mender)
  for _, message in ipairs(messages) do
    if message.role == "tool" then
      mender:result(message)
    else
      mender:close()
      if message.role == "assistant" and message.tool_calls and message.tool_calls[1] then
        message = mender:calls(message)
      end
      mender.out[#mender.out + 1] = message
    end
  end
  if not mender.notes[1] then return messages end
  return mender.out, mender.notes
end

return M
