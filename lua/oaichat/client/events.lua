--- client/events: an endpoint's answer as it comes: each event decoded. Its end is proved
-- as a chat's is: by an end mark, or by an event that says so and the body's clean end.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local wait = require "oaichat.wait"

local M = {}

local FOR_CANNOT_YIELD = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

--- @class oaichat.Events
--- @field facts table|nil at the end: request_id, attempts, ratelimit
local Events = {}
Events.__index = Events
Events.__name = "oaichat.Events"

local function finish(events)
  local call = events._call
  if not call then return end
  events._call = nil
  local answer, _, err = call:result()
  events.facts, events._err = answer and answer[2], err
  events._whole = answer and answer[1]
end

local function pull(events)
  local call = events._call
  while call do
    local kind, data = call:poll()
    if kind == "chunk" then return (json.decode(data)) end
    if not kind and call:done() then
      if not call:pause() or not call:again() then return nil end
    elseif not kind then
      call:await()
    end
    call = events._call
  end
end

--- The next event. Never raises for a runtime failure. Waits.
--- @return table|nil event nil alone: finished
--- @return string|nil message
--- @return oaichat.Error|nil err
function Events:next()
  if self._reading then errors.misuse "these events are being read elsewhere" end
  if self._call then
    self._reading = true
    local ok, event = wait.pcall(pull, self)
    self._reading = nil
    if not ok then
      self:cancel()
      error(event, 0)
    end
    if event ~= nil then return event end
    finish(self)
  end
  local whole = self._whole
  self._whole = nil
  if whole ~= nil then return whole end
  if self._err then return errors.fail(self._err) end
  return nil
end

--- The `for` form: events; raises the err object on failure, as io.lines does.
function Events:__call()
  if FOR_CANNOT_YIELD and wait.parks() then errors.misuse("in a task of this Lua, use events:next()") end
  local event, _, err = self:next()
  if err then error(err, 0) end
  if event ~= nil then return event, self end
end

--- Ends it now: the socket is closed, and next says "canceled".
function Events:cancel()
  if not self._call then return end
  self._call:cancel()
  if not self._reading then finish(self) end -- else by its reader, whom this wakes
end

Events.__close = Events.cancel

--- @param call table of attempts, begun
--- @return oaichat.Events
function M.new(call)
  return setmetatable({ _call = call }, Events)
end

return M
