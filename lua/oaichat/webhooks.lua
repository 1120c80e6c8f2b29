--- webhooks: proves that what came to your server came from who knows the secret, and was
-- not kept for later: Standard Webhooks (github.com/standard-webhooks), as OpenAI signs.
-- Knows no server: it is given the request's headers and its body.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"

local M = {}

--- Seconds that a delivery may be old, or ahead of our clock.
M.TOLERANCE = 300

local function refuse(code, message)
  return errors.fail { kind = "authentication", code = code, message = "webhook: " .. message }
end

local function bad_secret(message)
  return errors.fail { kind = "config", code = "config", message = "webhook secret: " .. message }
end

-- "whsec_" and base64; anything else is the key itself.
local function key_of(secret)
  if secret == nil then
    secret = os.getenv "OPENAI_WEBHOOK_SECRET"
    if not secret then return bad_secret "none given, and no OPENAI_WEBHOOK_SECRET" end
  end
  if type(secret) ~= "string" then errors.misuse("secret: string expected, got " .. type(secret)) end
  local coded = secret:match "^whsec_(.*)$"
  if not coded then
    if secret == "" then return bad_secret "it is empty" end
    return secret
  end
  local key = core.unbase64(coded .. ("="):rep(-#coded % 4)) -- some leave the padding out
  if not key or key == "" then return bad_secret "no base64 behind whsec_" end
  return key
end

-- A header, however its name is written; of a list the only value.
local function header(headers, wanted)
  local found
  for name, value in pairs(headers) do
    if type(name) == "string" and name:lower() == wanted then
      if type(value) == "table" then value = #value == 1 and value[1] or nil end
      if found ~= nil or type(value) ~= "string" then return nil end -- twice: which one was signed?
      found = value
    end
  end
  return found ~= "" and found or nil
end

local function check_time(text, tolerance, now)
  now = math.floor(now)
  local at = text:find "^%d%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?$" and tonumber(text)
  if not at then return refuse("bad_timestamp", "webhook-timestamp is no time") end
  if now - at > tolerance then return refuse("too_old", ("it is %d s old"):format(now - at)) end
  if at - now > tolerance then return refuse("too_new", ("it is %d s ahead of our clock"):format(at - now)) end
  return true
end

-- Each is compared, so that the time does not tell which one was right.
local function is_signed(signatures, sum)
  local right = false
  for version, coded in signatures:gmatch "(%w+),(%S+)" do
    local signature = version == "v1" and core.unbase64(coded)
    if signature and core.same(signature, sum) then right = true end
  end
  return right
end

--- Whether a delivery is genuine. A secret that is being changed has several signatures:
--- one that is right is enough.
--- @param body string the request's body, byte by byte as it came
--- @param headers table name -> value, or a list with one; names in any case
--- @param secret string|nil "whsec_…" or the key itself; nil: OPENAI_WEBHOOK_SECRET
--- @param opts { tolerance: number|nil, now: number|nil }|nil seconds (300); the time, seconds of Unix time
--- @return boolean|nil true
--- @return string|nil message
--- @return oaichat.Error|nil err kind "authentication", code "missing_header", "bad_timestamp", "too_old", "too_new",
---   "bad_signature"; kind "config"
function M.verify(body, headers, secret, opts)
  if type(body) ~= "string" then errors.misuse("body: string expected, got " .. type(body)) end
  if type(headers) ~= "table" then errors.misuse("headers: table expected, got " .. type(headers)) end
  opts = opts or {}
  local key, why, err = key_of(secret)
  if not key then return nil, why, err end
  local values = {}
  for i, name in ipairs { "webhook-id", "webhook-timestamp", "webhook-signature" } do
    values[i] = header(headers, name)
    if not values[i] then return refuse("missing_header", name .. " is missing, or there twice") end
  end
  local id, at, signatures = values[1], values[2], values[3]
  local ok
  ok, why, err = check_time(at, opts.tolerance or M.TOLERANCE, opts.now or os.time())
  if not ok then return nil, why, err end
  local sum = core.hmac_sha256(key, id .. "." .. at .. "." .. body)
  if not is_signed(signatures, sum) then return refuse("bad_signature", "no signature is right") end
  return true
end

--- Verifies a delivery and gives its event. A delivery may come more than once: the header
--- webhook-id is the same then.
--- @return table|nil event decoded: id, type, created_at, data, …
--- @return string|nil message
--- @return oaichat.Error|nil err as of verify; kind "protocol" when the body is no JSON object
function M.unwrap(body, headers, secret, opts)
  local ok, why, err = M.verify(body, headers, secret, opts)
  if not ok then return nil, why, err end
  local event
  event, why, err = json.decode(body)
  if event == nil then return nil, why, err end
  if type(event) ~= "table" or json.is_array(event) then
    return errors.fail { kind = "protocol", code = "decode", message = "webhook: the body is no JSON object" }
  end
  return event
end

--- The headers that a delivery would have: for your own tests.
--- @param body string
--- @param secret string
--- @param opts { id: string|nil, now: number|nil }|nil
--- @return table|nil headers, string|nil message, oaichat.Error|nil err kind "config"
function M.sign(body, secret, opts)
  opts = opts or {}
  local key, why, err = key_of(secret)
  if not key then return nil, why, err end
  local id, at = opts.id or "wh_" .. core.random(12), ("%d"):format(math.floor(opts.now or os.time()))
  local sum = core.hmac_sha256(key, id .. "." .. at .. "." .. body)
  return { ["webhook-id"] = id, ["webhook-timestamp"] = at, ["webhook-signature"] = "v1," .. core.base64(sum) }
end

return M
