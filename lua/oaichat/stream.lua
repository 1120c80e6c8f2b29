--- stream: one answer as it comes. `next`, `events` and `chunks` are views of one
-- queue: the first pull chooses, another raises. Ending it, in whichever way,
-- settles the turn in its session once.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

-- PUC 5.1 cannot yield out of a for loop's iterator; LuaJIT and 5.2+ can.
local FOR_CANNOT_YIELD = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

--- @class oaichat.Stream
local Stream = {}
Stream.__index = Stream
Stream.__name = "oaichat.Stream"

-- The first pull chooses the view.
local function choose(stream, view)
  if stream._view == view then return end
  if stream._view then
    errors.misuse(("this stream is read by %s; a view cannot be changed"):format(stream._view))
  end
  stream._view = view
end

-- From the first piece on, the hot path goes straight to the exchange.
local function hasten(stream)
  stream._exchange = stream._call.exchange
end

local function release(stream, ok, ...)
  stream._waiting = false
  if not ok then error((...), 0) end
  return ...
end

-- Calls what may wait. The stream is busy meanwhile, and no longer when it raised.
local function await(stream, method)
  if stream._waiting then errors.misuse("this stream is being read elsewhere") end
  local call, current = stream._call, task.current()
  if current and current._told and not call.exchange:ready() then
    stream:cancel()
    task.check(current)
  end
  stream._waiting = true
  -- PUC 5.1 cannot park inside pcall
  if wait.parks() then return release(stream, true, call[method](call)) end
  return release(stream, pcall(call[method], call))
end

-- The turn is over: reply or err, kept for result().
local function settle(stream)
  if stream._settled then return end
  stream._settled = true
  if stream._call then
    local parked = stream._waiting and stream._call.exchange:id()
    local reply, _, err = stream._call:result(stream._waiting)
    if parked then task.rouse(parked) end -- somebody waits in next, and it was canceled from outside
    stream._reply, stream._err = stream._finish(reply, err)
    stream._call, stream._exchange = nil, nil
  end
end

--- The next piece of text of the first choice. Never raises for a runtime failure.
--- @return string|nil text nil alone: finished
--- @return string|nil message
--- @return oaichat.Error|nil err err.partial is the reply so far
function Stream:next()
  local exchange = self._exchange -- set in the view `next` alone
  local text = exchange and exchange:text()
  if text then return text end
  if self._view ~= "next" then choose(self, "next") end
  if self._call then
    text = await(self, "text")
    if text then
      hasten(self)
      return text
    end
    settle(self)
  end
  if self._err then return errors.fail(self._err) end
  return nil
end

--- The `for` form: pieces of text; raises the err object on failure, as io.lines
--- does. Yields the stream too, so that every Lua can cancel from the loop.
function Stream:__call()
  local exchange = self._exchange
  local text = exchange and exchange:text()
  if text then return text, self end
  if FOR_CANNOT_YIELD and wait.parks() then errors.misuse("in a task of this Lua, use stream:next()") end
  local _, err
  text, _, err = self:next()
  if err then error(err, 0) end
  if text then return text, self end
  return nil
end

local function event_of(kind, a, b, c, d, e, f)
  if kind == "tool_call" then
    return { type = kind, choice = a, index = b, id = c, name = d, arguments = e, partial = f }
  elseif kind == "usage" then
    return { type = kind, usage = a }
  elseif kind == "finish" then
    return { type = kind, finish_reason = a, choice = b }
  end
  return { type = kind, text = a, choice = b }
end

local function pull_event(stream)
  if not stream._call then return nil end
  local kind, a, b, c, d, e, f = await(stream, "next")
  if kind then return event_of(kind, a, b, c, d, e, f) end
  settle(stream)
  return nil
end

--- Iterates over events: text, reasoning, refusal { text, choice } · tool_call
--- { index, id, name, arguments, partial, choice }: while partial is true,
--- `arguments` is the new fragment; at last, with partial = false, the whole ·
--- usage { usage } · finish { finish_reason, choice }. Never raises: it ends, and
--- result() says how.
function Stream:events()
  choose(self, "events")
  return pull_event, self
end

local function pull_chunk(stream)
  if not stream._call then return nil end
  local kind, data = await(stream, "next")
  if kind then return (json.decode(data)) end
  settle(stream)
  return nil
end

--- Iterates over the server's own chunks, decoded: for fields that oaichat does
--- not know. Never raises.
function Stream:chunks()
  choose(self, "chunks")
  if self._call then self._call.exchange:chunks() end
  return pull_chunk, self
end

-- Calls back what has come; true at the end. An error in a callback is logged and
-- cancels the stream.
local function call_back(stream, on_event, on_done, log)
  local function guarded(fn, ...)
    local ok, why = pcall(fn, ...)
    if not ok then
      if log then pcall(log, "error", "callback", { error = tostring(why) }) end
      return false
    end
    return true
  end
  local function done()
    if stream._told then return end
    stream._told = true
    stream._unwatch = nil
    if on_done then guarded(on_done, stream._reply, stream._err and stream._err.message, stream._err) end
  end
  stream._done = done
  return function()
    local exchange = stream._call and stream._call.exchange
    while exchange do
      local kind, a, b, c, d, e, f = exchange:next()
      if not kind then
        if not exchange:done() then return false end
        break
      end
      if on_event and not guarded(on_event, event_of(kind, a, b, c, d, e, f)) then stream:cancel() end
      if stream._told then return true end
    end
    settle(stream)
    done()
    return true
  end
end

--- For hosts without a coroutine at hand: events go to on_event, the end to
--- on_done(reply, message, err), exactly once, inside cancel for a canceled stream;
--- nothing after it. Both are called from step.
--- @param scheduler oaichat.Scheduler
function Stream:_subscribe(scheduler, on_event, on_done, log)
  choose(self, "callbacks")
  local turn = call_back(self, on_event, on_done, log)
  if not self._call then
    -- what failed before it began is told from step too, never from stream()
    scheduler:spawn(turn)
    return
  end
  self._unwatch = scheduler:on_ready(self._call.exchange, turn)
end

--- Reads to the end and says how it went. May be called again.
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Stream:result()
  if self._call then
    await(self, "drain")
    settle(self)
    if self._unwatch then self._unwatch() end
    if self._done then self._done() end
  end
  if self._err then return errors.fail(self._err) end
  return self._reply
end

--- Ends it now: the socket is closed, err.kind is "canceled". No effect on a stream
--- that has ended.
function Stream:cancel()
  if not self._call then return end
  self._call:cancel()
  settle(self)
  self._waiting = false
  if self._unwatch then self._unwatch() end
  if self._done then self._done() end
end

--- Still under way, as far as anyone has looked.
--- @return boolean
function Stream:active()
  return self._call ~= nil
end

Stream.__close = Stream.cancel

function Stream:__tostring()
  return ("oaichat.Stream (%s)"):format(self._call and "open" or self._err and self._err.kind or "finished")
end

--- @param call table|nil of oaichat.attempts
--- @param err oaichat.Error|nil why there is no call
--- @param finish fun(reply, err): oaichat.Reply|nil, oaichat.Error|nil settles the turn
function M.new(call, err, finish)
  return setmetatable({ _call = call, _err = err, _finish = finish, _settled = not call }, Stream)
end

return M
