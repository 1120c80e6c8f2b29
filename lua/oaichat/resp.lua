--- resp: a client of Redis and of whatever else speaks RESP2 or RESP3, over one
-- connection that all tasks share: replies come in the order of the commands. A call
-- waits as session:send does: it parks in a task and blocks in a script. Knows
-- connections and replies; not what a command means.
--   local client = resp.new { url = "redis://127.0.0.1:6379/0" }
--   local value, message, err = client:call { "GET", "key" }
--   local values = client:pipeline { { "INCR", "n" }, { "TTL", "n" } }
--   local value = client:eval(source, { "key" }, { "argument" })
-- Not for SUBSCRIBE, MONITOR and commands that block in the server: they would hold
-- up all other callers.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local link_of = require "oaichat.resp.link"
local options = require "oaichat.options"
local parser_of = require "oaichat.resp.parser"
local redis_url = require "oaichat.resp.url"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = { null = parser_of.null }

local KNOWN = {
  url = "string", username = "string", password = "string|function", database = "number", name = "string",
  protocol = "number", ca_file = "string", timeout = "number", connect_timeout = "number", fail_fast = "boolean",
  limits = { bytes = "number", depth = "number", pending = "number" }, engine = "userdata",
}
local CALL = { timeout = "number", idempotent = "boolean" }

local BYTES, DEPTH, PENDING = 64 * 1024 * 1024, 32, 10000

-- What these change is the connection that others use too.
local REFUSED = {
  SUBSCRIBE = true, PSUBSCRIBE = true, SSUBSCRIBE = true, MONITOR = true, SYNC = true, PSYNC = true, HELLO = true,
  AUTH = true, SELECT = true, QUIT = true, RESET = true,
}

--- @class oaichat.resp.Client
local Client = {}
Client.__index = Client
Client.__name = "oaichat.resp.Client"

local function canceled()
  return errors.new { kind = "canceled", code = "canceled" }
end

-- Runs a call to its end in the caller's time.
local function run(client, text, count, opts)
  if client._link.state == "closed" then errors.misuse "the Redis client is closed" end
  opts = opts or {}
  options.check(opts, CALL)
  local me = task.current()
  if me and me.scheduler.core ~= client._link.engine then
    errors.misuse "this Redis client belongs to another engine than the task that uses it"
  end
  if task.check(me) then return errors.fail(canceled()) end
  wait.allowed()
  local call = {
    text = text, count = count, replies = {}, timeout = opts.timeout or client._timeout,
    idempotent = opts.idempotent, gate = client._link.reactor:gate(),
  }
  client._link:submit(call)
  while not call.done do
    if call.gate.canceled or me and me._canceled then
      client._link:give_up(call, canceled())
    else
      wait.ready(call.gate)
    end
  end
  call.gate:close()
  call.gate = nil
  if call.err then return errors.fail(call.err) end
  return call.replies
end

local function encode(words)
  if type(words) ~= "table" or #words == 0 then errors.misuse "a command is a list: { \"GET\", key }" end
  if type(words[1]) == "string" and REFUSED[words[1]:upper()] then
    errors.misuse(words[1] .. " would change the connection that all share")
  end
  local text, why = parser_of.command(words)
  if not text then errors.misuse(why) end
  return text
end

--- Sends one command and waits for its reply. null is resp.null, an integer beyond
--- what this Lua holds exactly its text.
--- @param words any[] strings and numbers
--- @param opts table|nil timeout in seconds; idempotent: may be sent again when the connection breaks
--- @return any reply, string|nil message, oaichat.Error|nil err kind "storage"; err.reply is the first word of what
---   Redis answered; err.sent: the command may have been carried out
function Client:call(words, opts)
  local replies, text, err = run(self, encode(words), 1, opts)
  if not replies then return nil, text, err end
  if errors.is(replies[1]) then return errors.fail(replies[1]) end
  return replies[1]
end

--- Sends commands together; nobody else's comes between them.
--- @param list any[][]
--- @param opts table|nil
--- @return any[]|nil replies an error of one command stands in its place: errors.is
--- @return string|nil message, oaichat.Error|nil err
function Client:pipeline(list, opts)
  local texts = {}
  for i, words in ipairs(list) do texts[i] = encode(words) end
  if #texts == 0 then return {} end
  return run(self, table.concat(texts), #texts, opts)
end

-- EVAL or EVALSHA in front of the rest.
local function eval_words(name, what, keys, args)
  local words = { name, what, #keys }
  for _, key in ipairs(keys) do words[#words + 1] = key end
  for _, arg in ipairs(args) do words[#words + 1] = arg end
  return words
end

--- Runs a script in the server, by its hash where the server has it.
--- @param source string Lua; null in a reply is false in the script
--- @param keys string[]
--- @param args any[]
--- @param opts table|nil
--- @return any reply, string|nil message, oaichat.Error|nil err
function Client:eval(source, keys, args, opts)
  local stop = core.now() + (opts and opts.timeout or self._timeout)
  local function rest(idempotent)
    return { timeout = math.max(0, stop - core.now()), idempotent = idempotent }
  end
  local idempotent = opts and opts.idempotent
  local sha = self._shas[source]
  if sha == nil then
    local reply, text, err = self:call({ "SCRIPT", "LOAD", source }, rest(true))
    if not reply and not (err.reply == "ERR" or err.reply == "NOPERM") then return nil, text, err end
    sha = reply or false
    self._shas[source] = sha
  end
  if sha then
    local reply, text, err = self:call(eval_words("EVALSHA", sha, keys, args), rest(idempotent))
    if not err or err.reply ~= "NOSCRIPT" then return reply, text, err end -- else: the server was restarted
  end
  return self:call(eval_words("EVAL", source, keys, args), rest(idempotent))
end

--- Whether the next call finds an open connection.
--- @return "idle"|"connecting"|"greeting"|"open"|"backoff"|"closed"
function Client:state()
  self._link:pump()
  return self._link.state
end

--- Ends what waits, as canceled. May be called again without harm.
function Client:close()
  if self._link.state == "closed" then return end
  self._link:close(errors.new { kind = "canceled", code = "canceled", message = "the Redis client was closed" })
end

--- A client; it connects at its first call.
--- @param opts table url: redis://user:password@host:port/db, rediss://, tcp://, tls://, unix:/path;
---   username, password (string or function), database, name; protocol (2: no HELLO), ca_file; timeout 5 s a call,
---   connect_timeout 5 s; fail_fast: do not wait for a server that is known to be down; limits.bytes (64 MB a
---   reply), limits.depth, limits.pending
--- @return oaichat.resp.Client|nil client, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  options.check(opts, KNOWN)
  if not opts.url then errors.misuse "url: string expected" end
  local place, why = redis_url.parse(opts.url)
  if not place then return errors.fail { kind = "config", code = "url", message = why } end
  local database = opts.database or place.database or 0
  if database < 0 or database % 1 ~= 0 then errors.misuse "database: an integer expected" end
  local limits, timeout = opts.limits or {}, opts.timeout or 5
  local link = link_of.new {
    url = place.url, place = place.shown, username = opts.username or place.username,
    password = opts.password or place.password, database = database, name = opts.name, protocol = opts.protocol or 3,
    ca_file = opts.ca_file, timeout = timeout, connect_timeout = opts.connect_timeout or 5,
    fail_fast = opts.fail_fast or false, engine = opts.engine or core.engine(),
    limits = { bytes = limits.bytes or BYTES, depth = limits.depth or DEPTH, pending = limits.pending or PENDING },
  }
  return setmetatable({ _link = link, _timeout = timeout, _shas = {} }, Client)
end

return M
