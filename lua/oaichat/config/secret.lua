--- config/secret: secrets that are named, not written: {"env":"NAME"}, {"file":"path"},
-- {"command":["argv", …]}, or a function. What they give is in no text of an error.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

--- The options that may be a secret, or hold one; single headers may, too.
M.MAY_BE = { api_key = true, base_url = true, proxy = true }

local MOST = 64 * 1024 -- bytes
--- What a command may take; a spec has less time.
M.seconds = 30

M.HOW = '{"env":"NAME"}, {"file":"path"} or {"command":["program", "argument"]}'

local function fail(text)
  return errors.fail { kind = "config", code = "config", message = text }
end

-- ---- what is one ----------------------------------------------------------------

--- Whether a value names a secret.
--- @param value any
--- @param in_code boolean|nil a function is one
function M.is(value, in_code)
  if type(value) == "function" then return in_code or false end
  return type(value) == "table" and (value.env ~= nil or value.file ~= nil or value.command ~= nil)
end

local function is_argv(value)
  if type(value) ~= "table" or value[1] == nil then return false end
  for _, one in ipairs(value) do
    if type(one) ~= "string" or one:find("\0", 1, true) then return false end
  end
  return true
end

--- What is wrong with one.
--- @return string|nil text
function M.wrong(value, where)
  if type(value) ~= "table" or not M.is(value) then return nil end
  local name, one = next(value)
  local fits = next(value, name) == nil
    and (name == "command" and is_argv(one) or name ~= "command" and type(one) == "string" and one ~= "")
  if not fits then return ("%s: %s expected"):format(where, M.HOW) end
end

local SECRET_WORDS = { "authorization", "cookie", "key", "token", "secret", "password" }

local function is_secret_header(name)
  name = tostring(name):lower()
  for _, word in ipairs(SECRET_WORDS) do
    if name:find(word, 1, true) then return true end
  end
  return false
end

local function looks_secret(value, depth)
  if type(value) == "string" then return value:find "^sk%-[%w_-]+$" ~= nil and #value >= 20 end
  if type(value) ~= "table" or depth > 50 then return false end
  for _, one in pairs(value) do
    if looks_secret(one, depth + 1) then return true end
  end
  return false
end

local function refused(where)
  return ("%s: a secret must not stand in a configuration file; say where it is: %s"):format(where, M.HOW)
end

--- Why a value of a file must not stand there.
--- @param name string of the option
--- @return string|nil text without the value
function M.literal(name, value, where)
  if name == "api_key" and type(value) == "string" then return refused(where .. name) end
  if (name == "base_url" or name == "proxy") and type(value) == "string" and value:find "^[^/]*/?/?[^/]*@" then
    return refused(where .. name .. " (its user and password)")
  end
  if name == "headers" and type(value) == "table" then
    for key, one in pairs(value) do
      if is_secret_header(key) and type(one) == "string" then return refused(("%sheaders.%s"):format(where, key)) end
      local wrong = M.wrong(one, ("%sheaders.%s"):format(where, tostring(key)))
      if wrong then return wrong end
    end
  end
  if looks_secret(value, 1) then return refused(where .. tostring(name)) end
end

local function at_home(value, folder)
  if not M.is(value) or type(value.file) ~= "string" then return value end
  if value.file:find "^[/\\]" or value.file:find "^%a:[/\\]" then return value end
  return { file = folder .. value.file }
end

--- The layer of a file, the paths in it relative to its folder.
function M.from(layer, folder)
  local out = {}
  for name, value in pairs(layer) do
    if name == "headers" and type(value) == "table" then
      out.headers = {}
      for key, one in pairs(value) do out.headers[key] = at_home(one, folder) end
    else
      out[name] = M.MAY_BE[name] and at_home(value, folder) or value
    end
  end
  return out
end

-- ---- reading one ------------------------------------------------------------------

-- One line, without its end.
local function line_of(text, where, what)
  if #text > MOST then return fail(("%s: %s is longer than %d bytes"):format(where, what, MOST)) end
  local stop = #text
  while stop > 0 and text:find("^[\r\n]", stop) do stop = stop - 1 end
  text = text:sub(1, stop)
  if text == "" then return fail(("%s: %s is empty"):format(where, what)) end
  if text:find "[\r\n]" then return fail(("%s: %s has more than one line"):format(where, what)) end
  return text
end

local function from_env(name, where)
  local value = os.getenv(name)
  if value and value ~= "" then return value end
  return fail(("%s: the environment has no %s"):format(where, name))
end

-- Where nobody can tell who may read a file: on Windows.
local function read_plainly(path, where)
  local file, why = io.open(path, "rb")
  if not file then return fail(("%s: %s"):format(where, why)) end
  local text = file:read(MOST + 1) or ""
  file:close()
  return line_of(text, where, path)
end

local function from_file(path, where)
  local file, why, code = core.file.open(path, "read")
  if code == "ENOSYS" then return read_plainly(path, where) end
  if not file then return fail(("%s: %s: %s"):format(where, path, why)) end
  local facts = core.file.stat(path)
  local text = facts and file:same(path) and file:read(0, MOST + 1)
  file:close()
  if not text then return fail(("%s: %s cannot be read"):format(where, path)) end
  if facts.mode % 64 ~= 0 then
    return fail(("%s: %s can be read by others (mode %03o); chmod 600 it"):format(where, path, facts.mode % 512))
  end
  return line_of(text, where, path)
end

local function read_all(conn)
  local parts, size = {}, 0
  while true do
    local bytes, _, err = conn:read()
    if not bytes then return table.concat(parts), err end
    if bytes == "" then
      wait.ready(conn)
    else
      parts[#parts + 1], size = bytes, size + #bytes
      if size > MOST then return table.concat(parts) end
    end
  end
end

-- Its output; ended when its time is over, by a timer of the engine, whoever waits.
local function output_of(argv, what)
  local current = task.current()
  local engine = current and current.scheduler.core or core.engine()
  local conn, why = core.spawn { argv = argv, engine = engine }
  if not conn then return nil, ("%s cannot be started: %s"):format(what, why) end
  conn:shutdown()
  local stop, late = core.now() + M.seconds, false
  local timer = engine:timer(M.seconds)
  local pump
  function pump()
    if not late and core.now() >= stop then
      late = true
      wait.unwatch(pump)
      conn:cancel()
    end
  end
  wait.watch(nil, pump)
  local ok, text, err = wait.pcall(read_all, conn)
  wait.unwatch(pump)
  timer:close()
  local status = conn:exit_status()
  conn:close()
  if not ok then error(text, 0) end
  if late then return nil, ("%s took longer than %g seconds"):format(what, M.seconds) end
  if #text > MOST then return text end
  if status ~= 0 then return nil, ("%s ended with status %s"):format(what, tostring(status)) end
  if err then return nil, what .. " failed" end
  return text
end

local function from_command(argv, where)
  local what = "the command " .. argv[1]
  local own = {}
  for i, one in ipairs(argv) do own[i] = one end
  local text, why = output_of(own, what)
  if not text then return fail(("%s: %s"):format(where, why)) end
  return line_of(text, where, "the output of " .. what)
end

--- Gives what a value names.
--- @param value table|function
--- @param where string the option's name
--- @return string|nil secret, string|nil message, oaichat.Error|nil err
function M.resolve(value, where)
  if type(value) == "function" then
    local given = value()
    if type(given) == "string" and given ~= "" then return given end
    return fail(where .. ": its function gave no string")
  end
  if value.env then return from_env(value.env, where) end
  if value.file then return from_file(value.file, where) end
  return from_command(value.command, where)
end

return M
