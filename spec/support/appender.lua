--- appender: one of several processes that append to one conversation.
--   appender.lua KIND VALUE ID NAME COUNT   KIND: redis (a URL), sqlite (a path),
--   postgres (a conninfo); prints "conflicts seconds" at its end.
-- And appender.run: starts two of them from a spec, waits, and checks what is there.

local core = require "oaichat.core"

local STORES = {
  redis = function(value) return require("oaichat.history.redis").new { url = value } end,
  sqlite = function(value) return require("oaichat.history.sqlite").new { path = value } end,
  postgres = function(value) return require("oaichat.history.postgres").new { database = value } end,
}

local function append(kind, value, id, name, count)
  local store = assert(STORES[kind](value))
  local record, text, err = store:load(id)
  assert(not err, text)
  local version = record and record.version or 0
  print "ready"
  io.stdout:flush()
  io.read "*l" -- both know the same version now
  local from, conflicts = core.now(), 0
  for i = 1, count do
    local messages = {
      { role = "user", content = name .. " asks " .. i }, { role = "assistant", content = name .. " gets " .. i },
    }
    local after, why, fault = store:append(id, version, messages)
    while not after do
      assert(fault.kind == "conflict" and fault.code == "version", why)
      conflicts = conflicts + 1
      after, why, fault = store:append(id, fault.version, messages)
    end
    version = after
    -- SQLite has no queue: who holds the file takes it again before another has woken
    if kind == "sqlite" then core.engine():wait(0.0005) end
  end
  print(conflicts, core.now() - from)
  store:close()
end

if arg and arg[0] and arg[0]:find "appender%.lua$" then
  append(arg[1], arg[2], arg[3], arg[4], tonumber(arg[5]))
  return
end

local M = {}

--- Two processes append `count` times each.
--- @return string figures for people
function M.run(kind, value, store, count)
  local assert = require "luassert"
  local lua = (rawget(_G, "jit") and "luajit") or "lua" .. _VERSION:match "[%d.]+"
  local children = {}
  for i, name in ipairs { "first", "second" } do
    children[i] = _G.assert(core.spawn {
      argv = { lua, "spec/support/appender.lua", kind, value, "shared", name, tostring(count) },
    })
  end
  local function hear(child, pattern)
    local said, stop = "", core.now() + 120
    while core.now() < stop and not said:find(pattern) do
      local bytes = child:read()
      if not bytes then break end
      said = said .. bytes
      if bytes == "" then child:wait(1) end
    end
    return said
  end
  for _, child in ipairs(children) do hear(child, "ready\n") end
  for _, child in ipairs(children) do child:write "go\n" end
  local conflicts, seconds = 0, 0
  for _, child in ipairs(children) do
    local text = hear(child, "never")
    assert.equal(0, child:exit_status(), child:stderr())
    local lost, took = text:match "(%d+)%s+([%d.]+)"
    conflicts, seconds = conflicts + tonumber(lost), math.max(seconds, tonumber(took))
    child:close()
  end
  assert.is_true(conflicts > 0)

  local messages = _G.assert(store:load "shared").messages
  assert.equal(count * 4, #messages)
  local seen = { first = 0, second = 0 }
  for i = 1, #messages, 2 do
    local name, number = messages[i].content:match "^(%w+) asks (%d+)$"
    assert.equal(seen[name] + 1, tonumber(number)) -- none lost, none twice, each in its order
    assert.equal(("%s gets %s"):format(name, number), messages[i + 1].content)
    seen[name] = seen[name] + 1
  end
  return ("%s: two processes, %d appends each: none lost, none mixed, %d conflicts told, %.1f s")
    :format(kind, count, conflicts, seconds)
end

return M
