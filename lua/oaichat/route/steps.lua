--- route/steps: the ladder as its user wrote it, checked and ready: the session's own
--- endpoint first, then what `fallbacks` says. Sends nothing.

local errors = require "oaichat.errors"
local keys = require "oaichat.keys"
local options = require "oaichat.options"
local providers = require "oaichat.providers"
local settings = require "oaichat.settings"
local wires = require "oaichat.wires"

local M = {}

-- What a fallback's endpoint takes from the session's when it does not say.
local SHARED = { "limits", "ca_file", "proxy" }

local REQUEST = {
  params = "table", model = "string", api = "string", provider = "string", azure = settings.NEW.azure,
}
for _, name in ipairs(settings.CORE) do REQUEST[name] = settings.NEW[name] end
local HUMAN = { human = "function", timeout = "number" }
local APOLOGY = { apology = "string" }

local function config(at, text)
  return errors.fail { kind = "config", code = "config", message = ("fallbacks[%d]: %s"):format(at, text) }
end

-- A model alone shares the session's endpoint and its connections.
local function own_endpoint(entry)
  if entry.provider or entry.api then return true end
  for _, name in ipairs(settings.CORE) do
    if entry[name] ~= nil then return true end
  end
  return false
end

-- The endpoint of an entry of its own, for the core; where it speaks as the session's does,
-- what it does not say is the session's.
local function core_options(own, wire, first, opts)
  local for_core = { engine = first.engine, key_of = first.core }
  for _, name in ipairs(settings.CORE) do for_core[name] = own[name] end
  for _, name in ipairs(SHARED) do
    if for_core[name] == nil then for_core[name] = opts[name] end
  end
  if wire then
    for_core.wire, for_core.path = wire.name, wire.path
    for_core.base_url = own.base_url or wire.base_url or first.base_url
    for_core.key_header = own.key_header or wire.key_header
    for_core.headers = settings.headers(own.headers, wire.headers)
  else
    for_core.wire, for_core.path, for_core.base_url = first.wire, first.path, own.base_url or first.base_url
    for_core.key_header = own.key_header or first.key_header
    for_core.headers = settings.headers(own.headers, first.headers)
  end
  return for_core
end

local function request_step(entry, at, first, opts)
  options.check(entry, REQUEST, ("fallbacks[%d]."):format(at))
  if not entry.model and not own_endpoint(entry) then
    return config(at, "a model, a base_url or another option of an endpoint is missing")
  end
  local own, preset = providers.apply(entry)
  local step = {
    kind = "request", core = first.core, model = own.model, origin = first.origin, params = entry.params,
    timeouts = entry.timeouts, format = (own.api or preset) and wires.of(own.api) or nil,
  }
  if not own_endpoint(entry) then return step end
  if preset and not own.model then return config(at, "model is missing: another provider has other ones") end
  local for_core = core_options(own, step.format, first, opts)
  providers.key(for_core, preset)
  local endpoint, why = keys.open(for_core)
  why = why or providers.missing(endpoint, preset, keys.sources[endpoint], for_core.headers)
  if why then return config(at, why) end
  step.core, step.origin = endpoint, endpoint:origin()
  if own.api_key == nil and step.origin == first.origin then keys.share(endpoint, first.core) end
  return step
end

local WORDS = {
  cache = function(at, opts)
    if not opts.cache then return config(at, '"cache" needs the option `cache`') end
    return { kind = "cache" }
  end,
  human = function(at, opts)
    if not opts.human then return config(at, '"human" needs the option `human`, a function') end
    return { kind = "human", ask = opts.human }
  end,
}

local function step_of(entry, at, first, opts)
  if type(entry) == "string" then
    local word = WORDS[entry]
    if word then return word(at, opts) end
    return config(at, ('"%s" is none of "cache", "human"; a model is { model = "…" }'):format(entry))
  elseif type(entry) ~= "table" then
    errors.misuse(("fallbacks[%d]: table or string expected, got %s"):format(at, type(entry)))
  elseif entry.human then
    options.check(entry, HUMAN, ("fallbacks[%d]."):format(at))
    return { kind = "human", ask = entry.human, timeout = entry.timeout }
  elseif entry.apology then
    options.check(entry, APOLOGY, ("fallbacks[%d]."):format(at))
    return { kind = "apology", text = entry.apology }
  end
  return request_step(entry, at, first, opts)
end

--- @param first table the session's own step: core, origin, base_url, engine (of the core), wire, path,
---   key_header, headers (what the wire's API wants)
--- @param opts table of chat.new
--- @return table[]|nil steps, string|nil message, oaichat.Error|nil err kind "config"
function M.new(first, opts)
  first.kind = "request"
  local steps = { first }
  for at, entry in ipairs(opts.fallbacks or {}) do
    local step, why, err = step_of(entry, at, first, opts)
    if not step then return nil, why, err end
    steps[#steps + 1] = step
  end
  return steps
end

return M
