--- keys: the key of an endpoint from where it is kept: a function, a file, a command, a
-- variable of the environment. It is asked for when it is needed, and again after a 401;
-- no table here holds one.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local later = require "oaichat.later"
local secret = later "oaichat.config.secret"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local M = {}

--- endpoint of the core -> { spec =, known =, new = boolean }: those whose key is asked for.
M.sources = setmetatable({}, { __mode = "k" })
local sources = M.sources

--- What is wrong with an api_key, of any form.
--- @param value any
--- @return string|nil text
function M.wrong(value)
  if value == true then return "api_key: true is none" end
  if type(value) ~= "table" then return nil end
  if not secret.is(value) then return 'api_key: { env = "NAME" }, { file = "path" } or { command = { … } } expected' end
  return secret.wrong(value, "api_key")
end

--- core.new, where api_key may also say where the key is. Raises for what is no key.
--- @param opts table of core.new
--- @return table|nil endpoint, string|nil message
function M.open(opts)
  local spec = opts.api_key
  if opts.key_header and not opts.key_header:find "^[%w_-]+$" then return nil, "key_header is no header's name" end
  if spec == nil or type(spec) == "string" or spec == false then return core.new(opts) end
  local wrong = M.wrong(spec)
  if wrong then errors.misuse(wrong) end
  local own = tables.merged(opts)
  if type(spec) == "table" and spec.env then -- stays in C
    own.api_key, own.key_env, own.key_env_url = nil, spec.env, nil
    local endpoint, why = core.new(own)
    if endpoint and not endpoint:has_key() then return nil, "api_key: the environment has no " .. spec.env end
    return endpoint, why
  end
  own.api_key, own.key_of, own.key_env, own.key_later = false, nil, nil, true
  local endpoint, why = core.new(own)
  if endpoint then sources[endpoint] = { spec = spec } end
  return endpoint, why
end

--- Has another endpoint take its key from where the first one does.
--- @param endpoint table
--- @param first table
function M.share(endpoint, first)
  local source = sources[first]
  if source then sources[endpoint] = { spec = source.spec } end
end

local function refuse(why)
  return errors.fail { kind = "authentication", code = "key", message = why }
end

-- Asks, and sets it. Whatever the function says goes into the message, but no key: of a
-- failure it has given none.
local function ask(endpoint, source)
  local ok, key, why
  if type(source.spec) == "function" then
    ok, key, why = wait.pcall(source.spec)
    if not ok and errors.is(key) and key.kind == "canceled" then return errors.fail(key) end
    if not ok then return refuse("api_key: its function raised: " .. errors.text(key)) end
    if type(key) ~= "string" or key == "" then
      return refuse("api_key: its function gave no string" .. (why ~= nil and ": " .. errors.text(why) or ""))
    end
  else
    key, why = secret.resolve(source.spec, "api_key")
    if not key then return refuse(why) end
  end
  local changed, wrong = endpoint:set_key(key)
  if changed == nil then return refuse(wrong) end
  source.known = true
  return changed
end

--- Before a request: a function is asked each time, what lies still once. May wait.
--- @param endpoint table of the core
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "authentication", code "key"
function M.ready(endpoint)
  local source = sources[endpoint]
  if not source or source.known and type(source.spec) ~= "function" then return true end
  if source.new then -- just asked for
    source.new = nil
    return true
  end
  local changed, why, err = ask(endpoint, source)
  if changed == nil then return nil, why, err end
  return true
end

--- After a 401: asks again. May wait.
--- @param endpoint table
--- @return boolean changed it is worth another try
function M.rotate(endpoint)
  local source = sources[endpoint]
  if not source or ask(endpoint, source) ~= true then return false end
  source.new = true
  return true
end

return M
