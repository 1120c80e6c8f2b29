--- client/answer: what an endpoint's answer becomes, by its kind: a table, text, bytes, the
-- account of a file, the events of a stream. nil: it is no such thing.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"

local M = {}

function M.json(raw)
  if not raw.body or raw.body == "" then return json.object {} end
  local value = json.decode(raw.body)
  -- what is no UTF-8 is repaired, as everywhere
  if value == nil then value = json.decode(core.utf8_repair(raw.body)) end
  return value
end

function M.text(raw, call)
  local body = raw.body or ""
  if not (call.exchange:header "content-type" or ""):find("json", 1, true) then return body end
  local value = M.json(raw)
  if type(value) ~= "table" or value.error == nil or value.error == json.null then return value end
  return nil, errors.new(core.api_error(200, body, call.session))
end

function M.bytes(raw) return raw.body or "" end

function M.file(_, call)
  return { bytes = call.delivered or 0, type = call.exchange:header "content-type" }
end

-- A server that knows no streams answers with the whole: that is its one event.
function M.events(raw) return raw.body and raw.body ~= "" and M.json(raw) or nil end

return M
