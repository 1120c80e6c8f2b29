--- transfer: the bytes of a call's answer to a function or a file as they come, and how
-- far it is. What it holds at a time is bounded: the sender waits for the reader.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local wait = require "oaichat.wait"

local M = {}

--- Seconds between two reports of progress.
M.INTERVAL = 0.1

--- Calls what the user gave. It may raise, or say no as io functions do.
--- @param what string its name in the error
--- @param fn function
--- @return oaichat.Error|nil err kind "canceled": code "callback", or that its task was canceled
function M.ask(what, fn, ...)
  local ok, value, why = wait.pcall(fn, ...)
  if ok and value ~= false and not (value == nil and why ~= nil) then return nil end
  if not ok and errors.is(value) and value.kind == "canceled" then return value end
  local text = what .. (ok and " failed: " or " raised: ") .. errors.text(ok and why or value)
  local err = errors.new { kind = "canceled", code = "callback", message = text }
  err.safe_message = what .. (ok and " failed" or " raised an error")
  return err
end

-- The same, and a no ends the call.
local function ask(call, what, fn, ...)
  call.refused = M.ask(what, fn, ...)
  if call.refused then call.exchange:cancel() end
  return not call.refused
end

local function report(call, now)
  local sent, to_send, received, to_receive = call.exchange:progress()
  call.told_at = now
  return ask(call, "progress", call.options.progress, {
    uploaded = sent or 0, upload_total = to_send, downloaded = received or 0, download_total = to_receive,
  })
end

-- Takes what is there; false: the call was ended.
local function take(call)
  local exchange, sink = call.exchange, call.options.sink
  local kind, data = exchange:next()
  while kind do
    if kind == "data" then
      call.delivered = (call.delivered or 0) + #data
      if not ask(call, "the receiver", sink.write, sink, data) then return false end
    end
    kind, data = exchange:next()
  end
  return true
end

-- Until something has come, or it is time for a report.
local function await(call)
  local exchange, engine = call.exchange, call.options.engine.core
  if not call.options.progress then return wait.ready(exchange) end
  local timer = engine:timer(M.INTERVAL)
  local pair = engine:either(exchange, timer)
  local ok, why = wait.pcall(wait.ready, pair)
  pair:close()
  timer:close()
  if not ok then error(why, 0) end
end

--- Reads a call's answer to its end; options.sink gets its bytes, options.progress is
--- told, at most every 0.1 s and at the end. Waits.
--- @param call table of attempts, begun
function M.run(call)
  local progress, exchange = call.options.progress, call.exchange
  while true do
    local fine = take(call)
    local now = core.now()
    local over = exchange:done()
    if fine and progress and (over or now >= (call.told_at or 0) + M.INTERVAL) then fine = report(call, now) end
    if over then return end
    if fine then await(call) end
  end
end

--- May the call be made again? What was handed out cannot be taken back, unless the
--- receiver can.
--- @param call table
--- @return boolean
function M.again(call)
  local sink = call.options.sink
  if not sink or not call.delivered then return true end
  if not sink.rewind then return false end
  call.delivered = nil
  return ask(call, "the receiver", sink.rewind, sink)
end

-- ---- receivers -------------------------------------------------------------------

-- In the folder of the file itself: a rename within it is one step.
local function beside(path)
  local folder, name = path:match "^(.*[/\\])([^/\\]+)$"
  return ("%s.%s.%s.part"):format(folder or "", name or path, core.random(8))
end

local File = {}
File.__index = File

function File:write(bytes)
  local ok, why = self._handle:write(bytes)
  return ok and true, why
end

function File:rewind()
  local why
  self._handle:close()
  self._handle, why = io.open(self._part, "wb")
  return self._handle and true, why
end

--- The answer proved whole: the file gets its name.
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "storage"
function File:finish()
  local ok, why = self._handle:close()
  if ok then ok, why = os.rename(self._part, self._path) end
  if ok then return true end
  os.remove(self._part)
  return errors.fail { kind = "storage", code = "io", message = ("%s: %s"):format(self._path, why) }
end

--- Nothing stays of it.
function File:drop()
  if self._handle then self._handle:close() end
  os.remove(self._part)
end

--- A receiver out of a path (written beside it, renamed when whole) or a function.
--- @param to string|function
--- @return table|nil sink, string|nil message, oaichat.Error|nil err kind "storage"
function M.receiver(to)
  if type(to) == "function" then
    return { write = function(_, bytes) return to(bytes) end }
  end
  if to:find("\0", 1, true) then
    return errors.fail { kind = "storage", code = "io", message = "a path has a NUL byte" }
  end
  local part = beside(to)
  local handle, why = io.open(part, "wb")
  if not handle then
    return errors.fail { kind = "storage", code = "io", message = ("%s: %s"):format(to, why) }
  end
  handle:setvbuf("full", 65536)
  return setmetatable({ _handle = handle, _part = part, _path = to }, File)
end

return M
