--- nokey: a helper of every busted run: each key that any spec gives to a session is a
-- canary, looked for in all that the library lets out: errors, logs, what goes to files,
-- pipes, Redis and databases, what is printed. A find ends the run with exit code 3.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local observe = require "oaichat.observe"

local keys, finds, looked = {}, {}, 0

-- A key that is short could be a word.
local function learn(key)
  if type(key) == "string" and #key >= 8 then keys[key:match "^%s*(.-)%s*$"] = true end
end

local function search(what, text)
  looked = looked + 1
  for key in pairs(keys) do
    if text:find(key, 1, true) and #finds < 50 then
      finds[#finds + 1] = ("%s: %s\n%s"):format(what, key, debug.traceback("", 3))
    end
  end
end

local function deep(what, value, seen)
  if type(value) == "string" then return search(what, value) end
  if type(value) ~= "table" or seen[value] then return end
  seen[value] = true
  for name, one in next, value do
    deep(what, name, seen)
    deep(what, one, seen)
  end
end

local function before(owner, name, look)
  local plain = owner[name]
  owner[name] = function(...)
    look(...)
    return plain(...)
  end
end

before(core, "new", function(options) learn(type(options) == "table" and options.api_key) end)
before(observe, "tell", function(_, _, event, fields) deep("log " .. tostring(event), fields, {}) end)
before(io, "write", function(...) for i = 1, select("#", ...) do search("printed", tostring((select(i, ...)))) end end)

local new = errors.new
function errors.new(facts)
  local err = new(facts)
  deep("error", err, {})
  search("error", tostring(err))
  return err
end

-- Methods of C objects: their classes are reached through one object each.
local function class(object, name, look)
  before(debug.getmetatable(object).__index, name, look)
  object:close()
end

local function bytes_of(what)
  return function(_, ...)
    for i = 1, select("#", ...) do
      local text = select(i, ...)
      if type(text) == "string" then search(what, text) end
    end
  end
end

-- The recorder hands a client's request on to its upstream, key and all: its work.
local function but_recorder(look)
  return function(...)
    local caller = debug.getinfo(3, "S")
    if not (caller and caller.source:find("testing/record.lua", 1, true)) then look(...) end
  end
end

class(assert(core.spawn { argv = { "true" } }), "write", but_recorder(bytes_of "pipe or socket"))

do
  local path = os.tmpname()
  class(assert(core.file.open(path, "ensure")), "write", bytes_of "file")
  os.remove(path)
end

for _, name in ipairs { "sqlite3", "postgres" } do
  local found, luasql = pcall(require, "luasql." .. name)
  local env = found and luasql[name] and luasql[name]()
  if env and name == "sqlite3" then
    local connection = env:connect ":memory:"
    before(debug.getmetatable(connection).__index, "execute", bytes_of "database")
    connection:close()
  end
  if env then env:close() end
end

-- A watcher that sees nothing would find nothing.
do
  local key = "nokey-sees-this"
  keys[key] = true
  errors.new { kind = "config", message = "a key, " .. key }
  observe.tell(nil, "debug", "event", { headers = { key } })
  assert(#finds >= 2, "nokey is blind")
  keys[key], finds = nil, {}
end

require("busted").subscribe({ "suite", "end" }, function()
  if not finds[1] then return end
  io.stderr:write(("nokey: a key was let out %d times (of %d places)\n"):format(#finds, looked),
    table.concat(finds, "\n"), "\n")
  os.exit(3)
end)

if os.getenv "RECORD" then require "spec.support.record" end
