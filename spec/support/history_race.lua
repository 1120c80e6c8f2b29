--- history_race: two processes append to one conversation of a shared store, and
-- what must hold afterwards. For the specs of every shared store:
--
--   local race = require "spec.support.history_race"
--   local seen = race.run('require "oaichat.history.file".new { path = "/x" }', 1000)
--   race.check(store:load "shared", seen, 1000)

local assert = require "luassert"

local M = {}

local NAMES = { "left", "right" }

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Starts a script on this interpreter, with its paths.
local function start(...)
  local words = {
    "LUA_PATH=" .. quoted(package.path), "LUA_CPATH=" .. quoted(package.cpath),
    rawget(_G, "jit") and "luajit" or (_VERSION:gsub("Lua ", "lua")),
  }
  for i = 1, select("#", ...) do words[#words + 1] = quoted(tostring((select(i, ...)))) end
  return assert(io.popen(table.concat(words, " ") .. " 2>&1"))
end

--- What a script says, to its end.
--- @return string
function M.script(...)
  local pipe = start(...)
  local said = pipe:read "*a"
  pipe:close()
  return said
end

--- Runs a script twice at once.
--- @return string, string what each said
function M.twice(...)
  local one, two = start(...), start(...)
  local first, second = one:read "*a", two:read "*a"
  one:close()
  two:close()
  return first, second
end

--- Starts both, waits for both.
--- @param open string Lua code that gives a store
--- @param count integer turns of each
--- @return table seen conflicts by name
function M.run(open, count)
  local pipes, seen = {}, {}
  for i, name in ipairs(NAMES) do
    pipes[i] = start("spec/support/history_writer.lua", open, name, count)
  end
  for i, name in ipairs(NAMES) do
    local out = pipes[i]:read "*a"
    pipes[i]:close()
    seen[name] = tonumber(out:match(name .. " conflicts (%d+)"))
    if not seen[name] then error("writer " .. name .. ": " .. out, 0) end
  end
  return seen
end

--- No turn is lost, none is mixed with another's, each writer's are in order.
--- @param record table of store:load
--- @param seen table of run
--- @param count integer
function M.check(record, seen, count)
  local next_of, at = { left = 1, right = 1 }, 1
  while at <= #record.messages do
    local question, answer = record.messages[at], record.messages[at + 1]
    local name, number = question.content:match "^(%a+) (%d+)$"
    if question.role ~= "user" or tonumber(number) ~= next_of[name] then
      error(("message %d is %q: %s %s was expected"):format(at, question.content, tostring(name), next_of[name]), 0)
    end
    if not answer or answer.content ~= question.content .. " answered" then
      error(("message %d is not the answer of %q"):format(at + 1, question.content), 0)
    end
    next_of[name] = next_of[name] + 1
    at = at + 2
  end
  assert.same({ left = count + 1, right = count + 1 }, next_of)
  assert.is_true(seen.left + seen.right > 0, "the two never met: nothing was tested")
end

return M
