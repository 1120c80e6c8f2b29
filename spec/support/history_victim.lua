--- history_victim: a process that is killed (SIGKILL) in the middle of a save.
--   lua history_victim.lua PATH STEP
-- Runs a turn and some more on a store in PATH; before the STEP-th call to the file
-- system (of a write, its first half is done) the system kills it. Says "done" when
-- there were not so many.

local core = require "oaichat.core"
local file = require "oaichat.history.file"

local path, fatal = arg[1], tonumber(arg[2])
local steps = 0

local function die()
  os.execute "kill -9 $PPID"
  while true do end -- the signal is on its way
end

local function watched(object, name)
  return function(first, ...)
    steps = steps + 1
    local self, call = first, object[name]
    if steps == fatal then
      if name == "write" then
        local at, bytes = ...
        call(self, at, bytes:sub(1, math.floor(#bytes / 2)))
      end
      die()
    end
    return call(first, ...)
  end
end

local function wrapped(handle)
  local out = {}
  for _, name in ipairs { "read", "write", "size", "truncate", "sync", "lock", "same", "close" } do
    local call = watched(handle, name)
    out[name] = function(_, ...) return call(handle, ...) end
  end
  return out
end

local fs = {}
for name in pairs(core.file) do fs[name] = watched(core.file, name) end
local open = fs.open
function fs.open(...)
  local handle, reason, code = open(...)
  if handle then return wrapped(handle) end
  return nil, reason, code
end

local long = ("words and words "):rep(300)
local function message(role, text)
  return { role = role, content = text }
end

local store = assert(file.new { path = path, fs = fs })
local function say(text)
  io.write(text, "\n")
  io.flush()
end
local v = assert(store:begin("a", 0, { message("user", "q1") }))
say "begun"
v = assert(store:commit("a", v, { message("user", "q1"), message("assistant", long) }))
say "committed"
v = assert(store:replace("a", v, { message("user", "edited"), message("assistant", long) }))
say "replaced"
assert(store:append("a", v, { message("user", "q2") }))
say "appended"
store:close()
say "done"
