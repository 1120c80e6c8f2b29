--- history_writer: one of several processes that write to one conversation.
--   lua history_writer.lua OPEN NAME COUNT
-- OPEN is Lua code that gives a store. Each of COUNT turns is appended, a question and
-- its answer, each 25th with the whole conversation written anew; on a conflict the
-- conversation is loaded again and the turn tried anew.
-- The last line says how many conflicts there were.

local open, name, count = arg[1], arg[2], tonumber(arg[3])
local store = assert((loadstring or load)("return " .. open))() -- luacheck: ignore 113

local function version()
  local record, text, err = store:load "shared"
  if err then error(text) end
  return record and record.version or 0
end

local conflicts, v = 0, version()

local function again(err, text)
  if err.kind ~= "conflict" then error(text) end
  conflicts = conflicts + 1
  v = version()
end

-- Both begin when both are there: each says so in the store, and looks for the other.
local said, text = store:append("here:" .. name, 0, {})
assert(said, text)
repeat local there = assert(store:list { prefix = "here:" }) until #there >= 2

for i = 1, count do
  local question = { role = "user", content = ("%s %d"):format(name, i) }
  local answer = { role = "assistant", content = ("%s %d answered"):format(name, i) }
  local done
  repeat
    local now, why, err
    if i % 25 == 0 then
      local record = assert(store:load "shared")
      record.messages[#record.messages + 1] = question
      record.messages[#record.messages + 1] = answer
      now, why, err = store:replace("shared", record.version, record.messages)
    else
      now, why, err = store:append("shared", v, { question, answer })
    end
    if now then v, done = now, true else again(err, why) end
  until done
  -- who writes as fast as he can leaves the other no gap: a look at the list does
  assert(store:list { prefix = "shared" })
end
store:close()
io.write(("%s conflicts %d\n"):format(name, conflicts))
