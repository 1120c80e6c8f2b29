--- mcp/rpc: what the Model Context Protocol says and how: JSON-RPC 2.0 messages,
-- the revisions, the metadata of a request, and a peer's error as an err object.
-- Knows no transport.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"

local M = {}

--- The revision without a handshake (modelcontextprotocol.io/specification/2026-07-28).
M.MODERN = "2026-07-28"
--- The last one with `initialize`, and all that may be agreed on there.
M.LEGACY = "2025-11-25"
M.LEGACY_KNOWN = { ["2025-11-25"] = true, ["2025-06-18"] = true, ["2025-03-26"] = true, ["2024-11-05"] = true }

M.CLIENT = { name = "oaichat", version = "0.1.0" }

--- Error codes that only a server of the modern revisions sends (basic/index, Error Codes).
M.HEADER_MISMATCH, M.MISSING_CAPABILITY, M.UNSUPPORTED_VERSION = -32020, -32021, -32022
local RECOGNIZED = { [-32020] = true, [-32021] = true, [-32022] = true }

local KINDS = {
  [-32700] = "protocol", [-32600] = "invalid_request", [-32601] = "not_found", [-32602] = "invalid_request",
  [-32002] = "not_found", [-32020] = "protocol", [-32021] = "invalid_request", [-32022] = "protocol",
}

--- Bytes of a peer's text that may be quoted (DESIGN: 300).
local QUOTE_MAX = 300

--- A peer's words for a message: repaired, cut, control characters escaped, the key masked.
--- @param text string
--- @param key string|nil
--- @return string
function M.quote(text, key)
  if key and key ~= "" then
    local at, stop = text:find(key, 1, true)
    while at do
      text = text:sub(1, at - 1) .. "[masked]" .. text:sub(stop + 1)
      at, stop = text:find(key, at + 8, true)
    end
  end
  text = core.utf8_repair(text)
  if #text > QUOTE_MAX then
    local cut = QUOTE_MAX
    while cut > 0 and text:byte(cut + 1) >= 0x80 and text:byte(cut + 1) < 0xC0 do cut = cut - 1 end
    text = text:sub(1, cut) .. "…"
  end
  return (text:gsub("[%c]", function(c)
    return c == "\n" and "\\n" or c == "\t" and " " or ("\\x%02x"):format(c:byte())
  end))
end

--- A member that is there: JSON's null is as if it were not.
function M.get(t, name)
  if type(t) ~= "table" or t[name] == json.null then return nil end
  return t[name]
end

--- A member that has to be of a type.
function M.typed(t, name, kind)
  local value = M.get(t, name)
  if type(value) == kind then return value end
end

--- @param depth integer levels of nesting
--- @return table|nil message, string|nil why, string|nil code
function M.decode(text, depth)
  local value, why, _, code = core.json_decode(text, depth)
  if value == nil then return nil, why, code end
  if type(value) ~= "table" then return nil, "a JSON value that is no message", "decode" end
  return value
end

--- What a request carries besides its own params.
--- @param call table id, method, params, token, modern, capabilities, log_level
--- @return table message
function M.request(call)
  local params = {}
  for name, value in pairs(call.params or {}) do params[name] = value end
  local meta = {}
  for name, value in pairs(params._meta or {}) do meta[name] = value end
  if call.on_progress then meta.progressToken = call.id end
  if call.modern then
    meta["io.modelcontextprotocol/protocolVersion"] = call.modern
    meta["io.modelcontextprotocol/clientInfo"] = M.CLIENT
    meta["io.modelcontextprotocol/clientCapabilities"] = call.capabilities
    meta["io.modelcontextprotocol/logLevel"] = call.log_level
  end
  params._meta = next(meta) and meta or nil
  return { jsonrpc = "2.0", id = call.id, method = call.method, params = next(params) and params or nil }
end

function M.notification(method, params)
  return { jsonrpc = "2.0", method = method, params = params }
end

function M.result(id, result)
  return { jsonrpc = "2.0", id = id, result = json.object(result or {}) }
end

function M.refusal(id, code, text)
  return { jsonrpc = "2.0", id = id, error = { code = code, message = text } }
end

--- The server's error says by its code that it speaks a modern revision.
function M.is_modern_error(err)
  return RECOGNIZED[M.get(err, "code")] or false
end

--- @param err any the error member of a response
--- @param key string|nil to mask
--- @return oaichat.Error
function M.error_of(err, key)
  local code, text = M.typed(err, "code", "number"), M.typed(err, "message", "string")
  return errors.new {
    kind = KINDS[code] or "server", code = code and ("%d"):format(code) or nil,
    message = "the MCP server answered with an error", detail = text and M.quote(text, key), peer = true,
  }
end

--- @return oaichat.Error kind "protocol"
function M.bad(text, detail, code)
  return errors.new { kind = "protocol", code = code or "bad_response", message = text, detail = detail }
end

return M
