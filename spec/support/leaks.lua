--- leaks: holds the number of live C objects against what it was before a spec.
--   before_each(leaks.remember)
--   after_each(leaks.check)

local assert = require "luassert"
local core = require "oaichat.core"

local M = {}
local before

-- LuaJIT marks the dead registers of live frames too: the closure of a spec that has
-- ended, and a test server's peer in it, may live until the runner reuses the slot.
local KEEPS_DEAD_SLOTS = rawget(_G, "jit") ~= nil

-- An object that a finalizer lets go of takes another cycle, and so on.
local function collect()
  local last
  -- traces keep the closures they were made of, and what those hold
  if rawget(_G, "jit") then jit.flush() end
  for _ = 1, 20 do
    collectgarbage()
    local total = 0
    for _, n in pairs(core.live()) do total = total + n end
    if total == last then return end
    last = total
  end
end

local function count()
  collect()
  collect()
  local out = {}
  for class, n in pairs(core.live()) do
    if n ~= 0 and not (KEEPS_DEAD_SLOTS and class == "oaichat.peer") then out[class] = n end
  end
  return out
end

function M.remember()
  core.engine() -- made once, lives as long as Lua
  before = count()
end

function M.check()
  assert.same(before, count())
end

return M
