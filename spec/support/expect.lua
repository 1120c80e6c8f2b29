--- expect: compares a finished stream with a row of expected.json.

local json = require "oaichat.json"

local M = {}

local function plain(value)
  if value == json.null then return nil end
  return value
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

local function difference(name, got, want)
  if not same(got, want) then
    return ("%s: got %s, want %s"):format(name, tostring(json.encode(got == nil and json.null or got)):sub(1, 200),
      tostring(json.encode(want == nil and json.null or want)):sub(1, 200))
  end
end

local function calls_differ(got, want)
  if #got ~= #want then return ("%d tool calls, want %d"):format(#got, #want) end
  for i, w in ipairs(want) do
    local g = got[i]
    local raw = w.arguments_raw == "" and "{}" or w.arguments_raw
    local wrong = difference("id", g.id, plain(w.id)) or difference("name", g.name, w.name)
      or difference("arguments", g.arguments, raw) or difference("args", g.args, plain(w.arguments))
    if wrong then return ("call %d: %s"):format(i, wrong) end
  end
end

local function reply_differs(reply, row)
  return difference("text", reply.text, row.text)
    or difference("reasoning", reply.reasoning or "", row.reasoning)
    or difference("refusal", reply.refusal or "", row.refusal)
    or difference("finish_reason", reply.finish_reason, plain(row.finish_reason))
    or difference("usage", reply.usage, plain(row.usage))
    or difference("model", reply.model, plain(row.model))
    or calls_differ(reply.tool_calls, row.tool_calls)
end

local function error_differs(err, row)
  local want = plain(row.error)
  if row.outcome == "bad_json" then return difference("code", err.code, "malformed_event") end
  if want.kind then return difference("code", err.code, want.kind) end
  want = plain(want.error) or want
  local words = want.message:sub(1, 60)
  if not err.message:find(words, 1, true) then return ("message %q lacks %q"):format(err.message, words) end
  local code = plain(want.code)
  return difference("code", err.code, code and tostring(code) or nil)
end

--- nil when the outcome is what the row says, else what differs.
function M.differs(row, reply, err)
  if row.outcome == "complete" then
    if err then return "failed: " .. tostring(err) end
    return reply_differs(reply, row)
  end
  if not err then return "succeeded, but must fail" end
  if row.outcome ~= "bad_json" and not plain(row.error) then return "row has no error" end
  local partial = err.partial
  if row.text ~= "" and not (partial and partial.text == row.text) then return "the partial text is lost" end
  return error_differs(err, row)
end

return M
