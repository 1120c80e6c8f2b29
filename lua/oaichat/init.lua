--- oaichat: the LLM chat client for programs that embed Lua.
-- The only file that wires the levels together.

local core = require "oaichat.core"
local message = require "oaichat.message"
local session = require "oaichat.session"
local wait = require "oaichat.wait"

local M = { _VERSION = "0.1.0" }

local WIRES = { chat = "oaichat.wire.chat" }

--- Makes a session; nothing is sent. Options: model, system, params, messages,
--- base_url, api_key, headers, timeouts, limits, deadline, retry, … (README).
--- An unknown option or a wrong type raises.
--- @param opts table|nil
--- @return oaichat.Session|nil session
--- @return string|nil message
--- @return oaichat.Error|nil err kind "config"
function M.new(opts)
  return session.new(opts, require(WIRES.chat))
end

--- A local file as a content part: image_url, input_audio or file, base64, the media
--- type told by the content.
--- @param path string
--- @return table|nil part
--- @return string|nil message
function M.file(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local bytes = handle:read "*a"
  handle:close()
  if not bytes then return nil, path .. ": cannot be read" end
  return message.part(bytes, path)
end

--- Does what is due on the default engine and never sleeps.
--- @param budget number|nil seconds it may take
function M.step(budget)
  wait.pump()
  core.engine():step(budget)
end

M.json = require "oaichat.json"

return M
