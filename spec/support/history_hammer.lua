--- history_hammer: one of several processes that create the same conversations and
-- take the same lock, as fast as they can.
--   lua history_hammer.lua PATH COUNT
-- Says how many of COUNT conversations were its own.

local file = require "oaichat.history.file"

local path, count = arg[1], tonumber(arg[2])
local store = assert(file.new { path = path .. "/store", durable = false })
local won = 0

-- What the lock guards: a number in a file, read and written back.
local function add_one()
  local handle = io.open(path .. "/number", "r")
  local number = handle and tonumber(handle:read "*a") or 0
  if handle then handle:close() end
  handle = assert(io.open(path .. "/number", "w"))
  handle:write(tostring(number + 1))
  handle:close()
end

for i = 1, count do
  local version, text, err = store:append("c" .. i, 0, { { role = "user", content = "mine" } })
  if version then won = won + 1 elseif err.kind ~= "conflict" then error(text) end
  local lock
  repeat
    lock, text, err = store:lock "number"
    if not lock and err.code ~= "locked" then error(text) end
  until lock
  add_one()
  lock:release()
  if i % 3 == 0 then store:delete("c" .. i) end
end
store:close()
io.write(("won %d\n"):format(won))
