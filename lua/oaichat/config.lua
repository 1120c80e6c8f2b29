--- config: options for chat.new from four places: code, the environment, a profile of a
-- JSON file and what the file says for all profiles. Reads only what it is told to read;
-- knows no session.
--
-- Precedence, per option: code > environment > profile > file > defaults of chat.new.
-- timeouts, retry, limits, headers, params and hooks are merged name by name; null in a
-- profile takes back what the file says for all. One exception: where the file gives a
-- base_url and an api_key, OPENAI_API_KEY is not sent there (it belongs to another
-- server), unless OPENAI_BASE_URL is set too.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"
local secret = require "oaichat.config.secret"
local settings = require "oaichat.settings"

local M = {}

local FILE_BYTES = 1024 * 1024

--- What the environment can say. OAICHAT_PROFILE names the profile.
M.ENVIRONMENT = {
  { "OPENAI_API_KEY", "api_key" }, { "OPENAI_BASE_URL", "base_url" }, { "OPENAI_MODEL", "model" },
  { "OAICHAT_SYSTEM", "system" }, { "OAICHAT_HISTORY", "history" }, { "OAICHAT_PROXY", "proxy" },
  { "OAICHAT_CA_FILE", "ca_file" }, { "OAICHAT_UNIX_SOCKET", "unix_socket" },
  { "OAICHAT_CLIENT_CERT", "client_cert" }, { "OAICHAT_CLIENT_KEY", "client_key" },
  { "OAICHAT_DEADLINE", "deadline", "number" }, { "OAICHAT_RETRY_MAX", "retry.max", "number" },
  { "OAICHAT_TIMEOUT_CONNECT", "timeouts.connect", "number" },
  { "OAICHAT_TIMEOUT_FIRST_BYTE", "timeouts.first_byte", "number" },
  { "OAICHAT_TIMEOUT_FIRST_CONTENT", "timeouts.first_content", "number" },
  { "OAICHAT_TIMEOUT_CONTENT_IDLE", "timeouts.content_idle", "number" },
  { "OAICHAT_TIMEOUT_ATTEMPT", "timeouts.attempt", "number" },
  { "OAICHAT_MAX_ROUNDS", "max_rounds", "number" }, { "OAICHAT_MAX_CALLS", "max_calls", "number" },
  { "OAICHAT_TOOL_TIMEOUT", "tool_timeout", "number" }, { "OAICHAT_REPAIRS", "repairs", "number" },
  { "OAICHAT_HTTP2", "http2", "boolean" }, { "OAICHAT_KEEP_PARTIAL", "keep_partial", "boolean" },
}

local MERGED = { timeouts = true, retry = true, limits = true, headers = true, params = true, hooks = true }

--- What chat.new would ask the environment for; with env = false nobody does.
local ALONE = { api_key = false, base_url = "https://api.openai.com/v1", model = "gpt-4o-mini" }

local function fail(text)
  return errors.fail { kind = "config", code = "config", message = text }
end

-- ---- layers --------------------------------------------------------------------

local function same_header(headers, name)
  for other in pairs(headers) do
    if type(other) == "string" and type(name) == "string" and other:lower() == name:lower() then return other end
  end
  return name
end

-- Puts a layer over what is there.
local function put(out, layer)
  for name, value in pairs(layer) do
    if value == json.null then
      out[name] = nil
    elseif MERGED[name] and type(value) == "table" then
      local into = {}
      for key, old in pairs(out[name] or {}) do into[key] = old end
      for key, new in pairs(value) do
        if name == "headers" then into[same_header(into, key)] = nil end
        if new == json.null then into[key] = nil else into[key] = new end
      end
      out[name] = into
    else
      out[name] = value
    end
  end
  return out
end

-- A layer as chat.new's rules see it: a secret that is named is a string, null is not
-- there.
local function shape(layer, in_code)
  local out = {}
  for name, value in pairs(layer) do
    if value == json.null then
      value = nil
    elseif secret.MAY_BE[name] and secret.is(value, in_code) then
      value = ""
    elseif MERGED[name] and type(value) == "table" then
      local own = {}
      for key, one in pairs(value) do
        if one ~= json.null then own[key] = one end
      end
      value = own
    end
    out[name] = value
  end
  return out
end

-- options.check raises; what a file says is no fault of the program. (In a coroutine of
-- its own the text names no place in it.)
local function wrong_option(layer, where)
  local check = coroutine.create(options.check)
  local ok, why = coroutine.resume(check, shape(layer), settings.NEW, where)
  return not ok and tostring(why) or nil
end

local function wrong_layer(layer, where)
  for name, value in pairs(layer) do
    local rule = settings.NEW[name]
    if rule == "function" or name == "engine" or name == "hooks" then
      return ("%s%s can be given in code only"):format(where, name)
    end
    local why = secret.MAY_BE[name] and secret.wrong(value, where .. name) or secret.literal(name, value, where)
    if why then return why end
    if name == "api_key" and type(value) == "table" and not secret.is(value) then
      return where .. "api_key: " .. secret.HOW .. " expected"
    end
    if name == "api_key" and value == true then return where .. "api_key: false or the name of a secret expected" end
    if name == "history" and type(value) == "table" then
      return where .. "history: a path expected; a store can be given in code only"
    end
  end
  return wrong_option(layer, where)
end

-- ---- the file ------------------------------------------------------------------

local function read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local text
  text, why = file:read(FILE_BYTES + 1)
  file:close()
  if not text then return nil, path .. ": " .. (why or "the file is empty") end
  if #text > FILE_BYTES then return nil, ("%s: a configuration of more than %d bytes"):format(path, FILE_BYTES) end
  local value, wrong, err = json.decode(text)
  if type(value) ~= "table" or json.is_array(value) then
    local _, line = text:sub(1, (err and err.position or 1) - 1):gsub("\n", "")
    return nil, ("%s:%d: %s"):format(path, line + 1, wrong or "an object expected")
  end
  return value
end

local function names_of(profiles)
  local names = {}
  for name in pairs(profiles) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

local function is_object(value)
  return type(value) == "table" and not json.is_array(value)
end

-- The layers of a file: what is for all, and the profile.
local function split(path, value, profile)
  local profiles, shared = value.profiles, {}
  for name, one in pairs(value) do
    if name ~= "profiles" and name ~= "default" then shared[name] = one end
  end
  if profiles ~= nil and not is_object(profiles) then return nil, path .. ": profiles: an object expected" end
  if value.default ~= nil and type(value.default) ~= "string" then return nil, path .. ": default: a name expected" end
  profile = profile or value.default
  for name, one in pairs(profiles or {}) do
    local why = is_object(one) and wrong_layer(one, ("profiles.%s."):format(name))
      or not is_object(one) and ("profiles.%s: an object expected"):format(name)
    if why then return nil, path .. ": " .. why end
  end
  local why = wrong_layer(shared, "")
  if why then return nil, path .. ": " .. why end
  if profile and not (profiles and profiles[profile]) then
    return nil, ("%s: there is no profile %q; there are: %s"):format(path, profile, names_of(profiles or {}))
  end
  local folder = path:match "^(.*[/\\])" or ""
  return { secret.from(shared, folder), secret.from(profile and profiles[profile] or {}, folder) }
end

-- ---- the environment -------------------------------------------------------------

local function getenv(name)
  local value = os.getenv(name)
  if value ~= "" then return value end
end

local BOOLEANS = { ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false }

-- The values of variables are in no text: one may be a secret in the wrong place.
local function environment()
  local out = {}
  for _, entry in ipairs(M.ENVIRONMENT) do
    local value, kind = getenv(entry[1]), entry[3]
    if value then
      if kind == "number" then
        value = value:find "^%d+%.?%d*$" and tonumber(value)
        if not value then return nil, entry[1] .. ": a number expected" end
      elseif kind == "boolean" then
        value = BOOLEANS[value:lower()]
        if value == nil then return nil, entry[1] .. ": true or false expected" end
      end
      local outer, inner = entry[2]:match "^(%w+)%.([%w_]+)$"
      if outer then
        out[outer] = out[outer] or {}
        out[outer][inner] = value
      else
        out[entry[2]] = value
      end
    end
  end
  return out
end

-- ---- load ----------------------------------------------------------------------

local LOAD = { file = "string", profile = "string", env = "boolean", options = "table" }

local function layers_of(opts, env, code)
  local profile, layers = opts.profile, {}
  if not profile and opts.env ~= false and opts.file then profile = getenv "OAICHAT_PROFILE" end
  if profile and not opts.file then return nil, ("profile %q: there is no file with profiles"):format(profile) end
  if opts.file then
    local value, why = read(opts.file)
    if not value then return nil, why end
    layers, why = split(opts.file, value, profile)
    if not layers then return nil, why end
  end
  local out = {}
  for _, layer in ipairs(layers) do put(out, layer) end
  local elsewhere = out.base_url ~= nil and out.api_key ~= nil
  if elsewhere and not env.base_url and code.base_url == nil then env.api_key = nil end
  return put(put(out, env), code)
end

-- What is named becomes what it names; only what won is asked for.
local function resolve(out)
  for name, value in pairs(out) do
    if secret.MAY_BE[name] and secret.is(value, true) then
      local text, why, err = secret.resolve(value, name)
      if not text then return nil, why, err end
      out[name] = text
    end
  end
  for name, value in pairs(out.headers or {}) do
    if secret.is(value, true) then
      local text, why, err = secret.resolve(value, "headers." .. tostring(name))
      if not text then return nil, why, err end
      out.headers[name] = text
    end
  end
  return out
end

--- Gathers options. A secret is named, not written, in the file: {"env":"NAME"},
--- {"file":"path"} (relative to the configuration's folder; private), {"command":["pass",
--- "show","openai"]} (no shell, 30 s; waits as session:send does). Code may also give a
--- function that returns it.
--- @param opts { file: string|nil, profile: string|nil, env: boolean|nil, options: table|nil } profile: else
---   OAICHAT_PROFILE, else the file's default; env = false: the environment says nothing, but for secrets that are
---   named {"env":"NAME"}; options: as chat.new takes
--- @return table|nil options for chat.new
--- @return string|nil message no secret is in it
--- @return oaichat.Error|nil err kind "config"
function M.load(opts)
  opts = opts or {}
  if type(opts) ~= "table" then errors.misuse("config.load: table expected, got " .. type(opts)) end
  options.check(opts, LOAD)
  local code = opts.options or {}
  for name, value in pairs(code) do
    local wrong = secret.MAY_BE[name] and secret.wrong(value, name)
    if name == "api_key" and type(value) == "table" and not secret.is(value) then
      wrong = "api_key: " .. secret.HOW .. " expected"
    end
    if wrong then errors.misuse(wrong) end
  end
  options.check(shape(code, true), settings.NEW)
  local env, wrong = {}, nil
  if opts.env ~= false then env, wrong = environment() end
  if not env then return fail(wrong) end
  local out, why = layers_of(opts, env, code)
  if not out then return fail(why) end
  if opts.env == false then
    for name, value in pairs(ALONE) do
      if out[name] == nil then out[name] = value end
    end
  end
  return resolve(out)
end

return M
