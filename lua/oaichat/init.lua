--- oaichat: the LLM chat client for programs that embed Lua.
-- The only file that wires the levels together.

local message = require "oaichat.message"
local scheduler = require "oaichat.loop.scheduler"
local session = require "oaichat.session"

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

--- An engine of its own, for a host or a plugin with its own loop: chat.new takes it
--- as `engine`. It has the methods step, wait, fd, timeout, pending, spawn, run,
--- gather, race and sleep; the functions below are those of the default one.
--- @return oaichat.Scheduler
function M.engine()
  return scheduler.new()
end

local function of_default(method)
  return function(...)
    local default = scheduler.default()
    return default[method](default, ...)
  end
end

--- step([budget]): does what is due, never sleeps. wait([seconds]): sleeps until there
--- is work. fd(), timeout(): for a host's loop. pending(): what has not ended.
--- spawn(fn, …) -> task; run(): until all tasks ended; gather{…} -> results, errs;
--- race{…}: the first that succeeds; sleep(seconds).
for _, method in ipairs { "step", "wait", "fd", "timeout", "pending", "spawn", "run", "gather", "race", "sleep" } do
  M[method] = of_default(method)
end

M.json = require "oaichat.json"

return M
