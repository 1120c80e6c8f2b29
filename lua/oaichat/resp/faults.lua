--- resp/faults: what Redis and the way to it answer, as err objects. Knows no
-- connection.

local errors = require "oaichat.errors"

local M = {}

-- What the first word of an error says: our code, our sentence, whether to try again.
local FAULTS = {
  OOM = { "full", "Redis has no memory left" },
  READONLY = { "read_only", "Redis is a read-only replica" },
  MISCONF = { "io", "Redis cannot write to its disk" },
  WRONGTYPE = { "corrupt", "a Redis key holds another type than ours" },
  BUSY = { "unavailable", "Redis is busy with a script", true },
  LOADING = { "unavailable", "Redis is loading its data", true },
  TRYAGAIN = { "unavailable", "the Redis cluster is moving keys", true },
  MASTERDOWN = { "unavailable", "the Redis replica has lost its master", true },
  CLUSTERDOWN = { "unavailable", "the Redis cluster is down", true },
  MOVED = { "unavailable", "the key is on another node of the Redis cluster, which this client does not follow" },
  ASK = { "unavailable", "the key is on another node of the Redis cluster, which this client does not follow" },
  CROSSSLOT = { "unavailable", "the keys are in several slots of the Redis cluster: use a prefix like {oaichat}:" },
  NOAUTH = { "unavailable", "Redis wants a password" },
  WRONGPASS = { "unavailable", "Redis refused the user or the password" },
  NOPERM = { "unavailable", "Redis does not let this user run the command" },
}

local function quote(text, secret)
  if secret and secret ~= "" then
    local at, stop = text:find(secret, 1, true)
    while at do
      text = text:sub(1, at - 1) .. "***" .. text:sub(stop + 1)
      at, stop = text:find(secret, at + 3, true)
    end
  end
  text = text:gsub("[%c\128-\255]", "?")
  return #text > 200 and text:sub(1, 200) .. "..." or text
end

--- An error that Redis answered with; err.reply is its first word.
--- @param text string
--- @param secret string|nil never quoted
--- @return oaichat.Error err kind "storage"
function M.reply(text, secret)
  local word = text:match "^%u[%u%d_]*" or "ERR"
  local known = FAULTS[word] or { "io", "Redis refused the command" }
  -- Redis 6 and older say it without a word of its own
  if word == "ERR" and text:find "invalid password" then known = FAULTS.WRONGPASS end
  return errors.new {
    kind = "storage", code = known[1], message = ("%s (%s)"):format(known[2], word), detail = quote(text, secret),
    retryable = known[3] or false, reply = word,
  }
end

--- Redis is not there, or not as it should be.
--- @param place string where it is, without secrets
--- @param text string what it does
--- @param more table|nil fields of the err object
--- @return oaichat.Error err kind "storage", code "unavailable"
function M.unavailable(place, text, more)
  local fields = { kind = "storage", code = "unavailable", retryable = true }
  fields.message = ("Redis at %s %s"):format(place, text)
  for name, value in pairs(more or {}) do fields[name] = value end
  return errors.new(fields)
end

return M
