--- A provider that answers by a script, over a real socket: the first request gets
-- the first step, and so on, streamed or whole as the request asks. A step is a text
-- or a table:
--
--   text, chunks (strings, or deltas as tables), tool_calls ({ name, arguments, id }), reasoning, refusal,
--   finish_reason, usage (false: none), model, id, done = false (no [DONE])
--   status, headers, error (a text or the error's table), json (a whole body), bytes (what goes to the socket
--   as it is; piece: bytes a step)
--   pause: seconds before the answer; every: seconds between two chunks
--   cut, reset, silence: the answer ends after so many chunks (true: before its first byte) with the connection's
--   end, with a reset, or not at all
--
-- Knows steps and the server.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options_of = require "oaichat.options"
local server_of = require "oaichat.testing.server"
local steps_of = require "oaichat.testing.steps"

local M = {}

--- @class oaichat.testing.Provider
--- @field url string for base_url
--- @field port integer
--- @field requests oaichat.testing.Request[] all so far; request.body is its text, request:json() the value
--- @field errors string[] what went wrong in the script and on the wire
--- @field server oaichat.testing.Server
local Provider = {}
Provider.__index = Provider

local function callable(value)
  if type(value) == "function" then return true end
  local meta = type(value) == "table" and getmetatable(value)
  return meta and type(meta.__call) == "function" or false
end

-- The step for a request; nil: the script is over.
function Provider:_step(request, body)
  local number, script = request.number, self._script
  local step
  if callable(script) then
    step = script(request, body)
  else
    step = script[number]
    if step == nil and self._repeat_last then step = script[#script] end
    if callable(step) then step = step(request, body) end
  end
  return step ~= nil and steps_of.check(step, "step " .. number) or nil
end

function Provider:_answer(request, response)
  local body = json.decode(request.body)
  local step = self:_step(request, body)
  if step then return steps_of.play(step, body, response) end
  local count = callable(self._script) and "no" or tostring(#self._script)
  local message = ("oaichat.testing: request %d (%s %s) has no step left: the script has %s step%s")
    :format(request.number, request.method, request.path, count, count == "1" and "" or "s")
  self.errors[#self.errors + 1] = message
  response:json(599, { error = { message = message, type = "oaichat_testing", code = "no_step_left" } },
    { ["x-should-retry"] = "false" })
end

--- Steps that no request has had so far; 0 where the script is a function.
--- @return integer
function Provider:remaining()
  if callable(self._script) then return 0 end
  return math.max(0, #self._script - self.server.count)
end

--- The decoded body of a request; raises when there was none.
--- @param number integer|nil the last one by default
--- @return table
function Provider:body(number)
  local request = self.requests[number or self.server.count]
  if not request then errors.misuse(("request %d was not made, or not kept"):format(number or 1)) end
  return request:json()
end

--- Raises unless all went by the script: each step had its request, no request was
--- without a step, nothing was wrong on the wire.
function Provider:verify()
  if self.errors[1] then error(table.concat(self.errors, "\n"), 2) end
  local left = self:remaining()
  if left > 0 then
    error(("%d of %d steps had no request"):format(left, #self._script), 2)
  end
end

--- Ends all connections.
function Provider:close()
  self.server:close()
end

--- @param script table|fun(request, body): table|string|nil a list of steps, each a table, a text or a function that
---   gives one; or one function for all
--- @param options table|nil repeat_last: boolean; host, port, path: where it listens; keep: how many
---   requests stay in provider.requests, all by default
--- @return oaichat.testing.Provider|nil provider
--- @return string|nil message
function M.new(script, options)
  options = options or {}
  if not callable(script) then
    if type(script) ~= "table" then errors.misuse("provider: a list of steps or a function expected") end
    for i, step in ipairs(script) do
      if not callable(step) then steps_of.check(step, "step " .. i) end
    end
  end
  options_of.check(options, {
    repeat_last = "boolean", keep = "number", host = "string", port = "number", path = "string",
  })
  local self = setmetatable({ _script = script, _repeat_last = options.repeat_last }, Provider)
  local server, message = server_of.new(function(request, response) self:_answer(request, response) end, {
    host = options.host, port = options.port, path = options.path, keep = options.keep,
  })
  if not server then return nil, message end
  self.server, self.url, self.port = server, server.url, server.port
  self.requests, self.errors = server.requests, server.errors
  return self
end

return M
