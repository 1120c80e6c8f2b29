--- cache/common: what the caches share: keys, the text an answer is kept as, ages.
-- It knows no store.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"

local M = {}

--- The version of the texts. Those of another are not read.
M.FORMAT = 1

-- ---- keys ---------------------------------------------------------------------------

local function counted(text)
  return #text .. ":" .. text
end

--- The key of an answer. Requests that differ in a byte, a route or a tenant have
--- different ones; where a body is cut into its parts makes no difference.
--- @param parts string[] the body of the request
--- @param identity string of the route: endpoint, API key, model
--- @param tenant string|nil whose answer it is; nil: nobody's, which is not ""
--- @return string key 64 hexadecimal digits: SHA-256
function M.key(parts, identity, tenant)
  if type(identity) ~= "string" then errors.misuse("identity: string expected, got " .. type(identity)) end
  M.check_tenant(tenant)
  return core.sha256("oaichat cache" .. (tenant and counted(tenant) or "-") .. counted(identity)
    .. counted(table.concat(parts)))
end

--- What stands for a tenant beside an entry: whoever reads the store learns no names.
--- @param tenant string|nil
--- @return string mark "" for nobody
function M.mark(tenant)
  return tenant and core.sha256("oaichat tenant" .. tenant) or ""
end

--- Raises.
function M.check_tenant(tenant)
  if tenant ~= nil and type(tenant) ~= "string" then errors.misuse("tenant: string expected, got " .. type(tenant)) end
end

--- Raises on a closed store, and on what is neither a key nor a tenant.
function M.enter(store, name, key, tenant)
  if store._closed then errors.misuse(name .. ": the cache is closed") end
  if type(key) ~= "string" or not key:find "^[%w_.:-]+$" then errors.misuse(name .. ": a key of cache.key expected") end
  M.check_tenant(tenant)
end

-- ---- texts --------------------------------------------------------------------------

-- JSON has no bytes that are not UTF-8; a raw body may.
local BYTES = "\0b64:"

local function written(value, depth)
  if type(value) == "string" then
    if value:sub(1, #BYTES) == BYTES or core.utf8_repair(value) ~= value then return BYTES .. core.base64(value) end
    return value
  end
  -- what is deeper, or a ring, the encoder refuses
  if type(value) ~= "table" or depth > 1000 then return value end
  local out = setmetatable({}, getmetatable(value))
  for key, item in pairs(value) do out[key] = written(item, depth + 1) end
  return out
end

local function read(value)
  if type(value) == "string" then
    if value:sub(1, #BYTES) == BYTES then return core.unbase64(value:sub(#BYTES + 1)) end
    return value
  end
  if type(value) ~= "table" then return value end
  for key, item in pairs(value) do value[key] = read(item) end
  return value
end

-- The lists that the core makes have no metatable; the encoder must know an empty one.
local function each_list(raw, change)
  change(raw, "choices")
  change(raw, "extras")
  for _, choice in ipairs(raw.choices) do
    change(choice, "tool_calls")
    change(choice, "extras")
    for _, call in ipairs(choice.tool_calls or {}) do change(call, "extras") end
  end
end

local function marked(owner, name)
  if type(owner[name]) == "table" then json.array(owner[name]) end
end

local function plain(owner, name)
  if type(owner[name]) == "table" then setmetatable(owner[name], nil) end
end

local function seal(key, mark, text)
  return core.sha256(key .. " " .. mark .. " " .. text)
end

--- @param key string
--- @param mark string of the tenant
--- @param raw table of exchange:result()
--- @return string|nil text, string|nil message, oaichat.Error|nil err kind "storage", code "encode"
function M.pack(key, mark, raw)
  if type(raw) ~= "table" or type(raw.choices) ~= "table" then errors.misuse "put: an answer of the core expected" end
  local copy = written(raw, 0)
  each_list(copy, marked)
  local text, why = json.encode(copy)
  if not text then
    return errors.fail { kind = "storage", code = "encode", message = "the answer cannot be kept: " .. why }
  end
  return ("oaichat %d %s\n"):format(M.FORMAT, seal(key, mark, text)) .. text
end

--- What pack wrote.
--- @return table|nil raw nil: it is of another version, damaged, or another key's or tenant's
function M.unpack(key, mark, packed)
  local format, sum, at = packed:match "^oaichat (%d+) (%x+)\n()"
  if tonumber(format) ~= M.FORMAT then return nil end
  local text = packed:sub(at)
  if seal(key, mark, text) ~= sum then return nil end
  local raw = read((json.decode(text)))
  if type(raw) ~= "table" then return nil end
  each_list(raw, plain)
  return raw
end

-- ---- ages ---------------------------------------------------------------------------

--- The options of all caches: ttl and stale in seconds.
--- @return table|nil ages, string|nil message, oaichat.Error|nil err kind "config"
function M.ages(opts)
  local ages = { ttl = opts.ttl or 3600, stale = opts.stale or 86400 }
  for _, name in ipairs { "ttl", "stale", "entries", "bytes" } do
    local value = opts[name]
    if value and (value ~= value or value < 0) then
      return errors.fail { kind = "config", message = ("cache: %s must not be %s"):format(name, tostring(value)) }
    end
  end
  return ages
end

--- How old an answer is. One from beyond now (a clock was put back) counts as new for a
--- while, and then no more.
--- @param ages table
--- @return number|nil age nil: too old even for stale; boolean|nil fresh
function M.age(ages, at, now)
  local age = now - at
  if math.abs(age) > ages.ttl + ages.stale then return nil end
  age = math.max(0, age)
  return age, age < ages.ttl
end

--- @return nil, string, oaichat.Error
function M.too_large(size, limit)
  return errors.fail {
    kind = "storage", code = "too_large",
    message = ("the answer takes %d bytes, and the cache has %.0f"):format(size, limit),
  }
end

return M
