--- oaichat: the LLM chat client for programs that embed Lua.
-- The only file that wires the levels together.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local later = require "oaichat.later"
local message = require "oaichat.message"
local options = require "oaichat.options"
local loop = require "oaichat.loop.default"
local scheduler = later "oaichat.loop.scheduler"
local providers = later "oaichat.providers"
local session = require "oaichat.session"
local wires = require "oaichat.wires"

local M = { _VERSION = "0.1.0" }

--- Makes a session; nothing is sent. Options: api, model, system, params, messages,
--- base_url, api_key, headers, timeouts, limits, deadline, retry, … (README).
--- An unknown option or a wrong type raises.
--- @param opts table|nil
--- @return oaichat.Session|nil session
--- @return string|nil message
--- @return oaichat.Error|nil err kind "config"
function M.new(opts)
  local preset
  if type(opts) == "table" and opts.provider ~= nil then opts, preset = providers.apply(opts) end
  return session.new(opts, wires.of(type(opts) == "table" and opts.api or nil), preset)
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
--- @param opts { host_limit: integer }|nil at most so many connections to one host
--- @return oaichat.Scheduler
function M.engine(opts)
  options.check(opts or {}, { host_limit = "number" })
  local engine = scheduler.new()
  if opts and opts.host_limit then engine.core:host_limit(opts.host_limit) end
  return engine
end

local function of_default(method)
  return function(...)
    local default = loop.scheduler()
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

--- Pays now for what libcurl does at an engine's first TLS connection: it reads the
--- CA file, 20 to 50 ms in which nothing else runs, and keeps it (>= 7.87). Done by a
--- hello to a socket of our own: nothing leaves the machine, no connection is made
--- ahead (libcurl can only keep one that has carried a request).
--- @param whose oaichat.Session|nil whose engine and CA file; nil: the default ones
--- @return boolean done
function M.prewarm(whose)
  local engine = (whose and whose._engine or loop.scheduler()).core
  local listener = core.listen {}
  if not listener then return false end
  local own = core.new {
    base_url = ("https://127.0.0.1:%d"):format(listener:port()), api_key = false, engine = engine,
    ca_file = whose and whose._options.ca_file,
  }
  local exchange, stop = own:send "{}", core.now() + 1
  local peer, hello
  repeat
    engine:step()
    listener:step()
    peer = peer or listener:accept()
    hello = peer and peer:read() ~= ""
    if not hello then engine:wait(0.001) end
  until hello or core.now() > stop
  engine:step()
  exchange:close()
  own:close()
  listener:close()
  return hello or false
end

--- Makes a tool: chat.tool { name =, description =, parameters =, run = function(args, call) … end, … }. Raises
--- for a bad name or schema: a list of tools with a hole would lose those behind it.
--- @return oaichat.Tool
function M.tool(spec)
  local made, why = require "oaichat.tools".new(spec)
  if not made then errors.misuse(why) end
  return made
end

--- A service: one conversation a user, kept in a store (see oaichat.service).
--- @param opts table
--- @return oaichat.Service
function M.service(opts)
  return require "oaichat.service".new(opts, M.new)
end

--- A client for the API's other endpoints: files, embeddings, images, … (oaichat.client).
--- @param opts table|nil
--- @return oaichat.Client|nil client, string|nil message, oaichat.Error|nil err kind "config"
function M.client(opts)
  return require "oaichat.client".new(opts)
end

--- chat.limiter { … }, chat.ledger { … }, chat.budget { … }: what sessions may share
--- (docs/RESILIENCE.md).
local SHARED = { limiter = "oaichat.limiter", ledger = "oaichat.ledger", budget = "oaichat.budget" }
for name, module in pairs(SHARED) do
  M[name] = function(opts) return require(module).new(opts or {}) end
end

--- Connects to the Realtime API: events both ways (oaichat.realtime).
--- @param opts table|nil
--- @return oaichat.Realtime|nil realtime, string|nil message, oaichat.Error|nil err
function M.realtime(opts)
  return require "oaichat.realtime".connect(opts)
end

M.json = require "oaichat.json"

-- Loaded when they are first used: chat.schema, chat.prompt, chat.mcp, chat.history,
-- chat.transcript, chat.config, chat.cache, chat.prices, chat.webhooks.
local LATER = {
  schema = "oaichat.schema", prompt = "oaichat.prompt", mcp = "oaichat.mcp", history = "oaichat.history",
  transcript = "oaichat.transcript", config = "oaichat.config",
  models = "oaichat.models", cache = "oaichat.cache", prices = "oaichat.prices", webhooks = "oaichat.webhooks",
}

return setmetatable(M, {
  __index = function(chat, name)
    if not LATER[name] then return nil end
    chat[name] = require(LATER[name])
    return chat[name]
  end,
})
