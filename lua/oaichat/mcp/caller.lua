--- mcp/caller: one request from a caller that waits: its reports of progress and the
-- server's questions are handed to the caller's own functions while it waits. Knows
-- the link and the waiting; not what is asked.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

--- Answers to questions of the server within one call (2026-07-28, patterns/mrtr).
local ROUNDS = 8
--- Progress reports that wait for a caller that is busy.
local REPORTS = 100

local function canceled()
  return errors.new { kind = "canceled", code = "canceled" }
end

local Call = {}
Call.__index = Call

-- Wakes its caller.
function Call:ring()
  self.woken = true
  if self.gate then self.gate:open() end
end

function Call:progress(params)
  if #self.reports >= REPORTS then table.remove(self.reports, 1) end
  self.reports[#self.reports + 1] = params
  self:ring()
end

-- A function of the user's. PUC 5.1 cannot park inside pcall: there an error goes to
-- the caller.
local function guarded(client, event, fn, ...)
  if wait.parks() and _VERSION == "Lua 5.1" and not rawget(_G, "jit") then return true, fn(...) end
  local ok, value, message = pcall(fn, ...)
  if not ok then client:_note("error", event, { error = tostring(value) }) end
  return ok, value, message
end

-- What came for the caller while it slept is done in its own time, where it may wait.
local function attend(client, call)
  while call.reports[1] do
    local params = table.remove(call.reports, 1)
    guarded(client, "on_progress", call.on_progress, {
      progress = rpc.typed(params, "progress", "number"), total = rpc.typed(params, "total", "number"),
      message = rpc.typed(params, "message", "string"),
    })
  end
  while client._inbox[1] do
    local request = table.remove(client._inbox, 1)
    local ok, result, message = guarded(client, "on_request", client._on_request, request.method, request.params)
    if ok and result ~= nil then
      client._link:reply(request, result)
    else
      local code, text = -32601, "Method not found"
      if message then code, text = -32000, tostring(message) end
      client._link:reply(request, nil, code, text)
    end
  end
end

-- Waits for the call's end.
local function await(client, call)
  local me = task.current()
  while true do
    if call.woken then
      call.woken = false
      call.gate:close()
      call.gate = client._reactor:gate()
    end
    attend(client, call)
    if call.done then break end
    if call.gate.canceled or me and me._canceled then
      client._link:abandon(call, canceled(), "canceled")
      break
    end
    if not call.woken then wait.ready(call.gate) end
  end
  call.gate:close()
  call.gate = nil
end

--- The caller may wait: a canceled task and a closed client may not.
local function begin(client)
  if client._closed then errors.misuse "the MCP client is closed" end
  local me = task.current()
  if me and me.scheduler.core ~= client._reactor.engine then
    errors.misuse "this MCP client belongs to another engine than the task that uses it"
  end
  if task.check(me) then return errors.fail(canceled()) end
  wait.allowed()
  return true
end

local function once(client, method, params, opts)
  local ok, message, err = begin(client)
  if not ok then return nil, message, err end
  local call = setmetatable({
    method = method, params = params, timeout = opts.timeout or client._timeout, on_progress = opts.on_progress,
    mirrored = opts.mirrored, reports = {}, gate = client._reactor:gate(),
  }, Call)
  client._link:submit(call)
  client._calls[call] = true
  await(client, call)
  client._calls[call] = nil
  if call.err then return errors.fail(call.err) end
  return call.response
end

-- The answers to what a server wants to know before it can go on.
local function answers(client, result)
  local out = {}
  for key, request in pairs(rpc.typed(result, "inputRequests", "table") or {}) do
    local method = rpc.typed(request, "method", "string") or "?"
    local value, message
    if client._on_request then
      local _
      _, value, message = guarded(client, "on_request", client._on_request, method, rpc.get(request, "params") or {})
    end
    if value == nil then
      return nil, rpc.bad("the MCP server asks for what it is not given: " .. rpc.quote(method),
        message and tostring(message), "input_required")
    end
    out[key] = value
  end
  return json.object(out)
end

local function with(params, extra)
  local out = {}
  for name, value in pairs(params or {}) do out[name] = value end
  for name, value in pairs(extra) do out[name] = value end
  return out
end

--- Sends a request, waits, and goes on while the server asks back.
--- @param client oaichat.mcp.Client
--- @param method string
--- @param params table|nil
--- @param opts table|nil timeout, on_progress, mirrored
--- @return table|nil result, string|nil message, oaichat.Error|nil err
function M.request(client, method, params, opts)
  opts = opts or {}
  local own = params
  for _ = 1, ROUNDS do
    local result, message, err = once(client, method, own, opts)
    if not result then return nil, message, err end
    local kind = rpc.get(result, "resultType")
    if kind == nil or kind == "complete" then return result end
    if kind ~= "input_required" then
      return errors.fail(rpc.bad("the MCP server's result is of an unknown type", rpc.quote(tostring(kind))))
    end
    local given, why = answers(client, result)
    if not given then return errors.fail(why) end
    own = with(params, { inputResponses = given, requestState = rpc.get(result, "requestState") })
  end
  return errors.fail(rpc.bad("the MCP server asks again and again", nil, "input_required"))
end

--- Waits until the server has started and said what it can do.
--- @return boolean|nil true, or nil, message, err
function M.awake(client)
  local result, message, err = once(client, nil, nil, {})
  if not result then return nil, message, err end
  return true
end

return M
