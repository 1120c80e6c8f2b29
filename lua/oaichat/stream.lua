--- stream: one answer as it comes. `next`, `events` and `chunks` are views of one
-- queue: the first pull chooses, another raises. Ending it, in whichever way,
-- settles the turn in its session once.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local observe = require "oaichat.observe"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

-- PUC 5.1 cannot yield out of a for loop's iterator; LuaJIT and 5.2+ can.
local FOR_CANNOT_YIELD = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

-- A task may be parked without a net: what cannot wait says so before.
local QUICK = task.CAN_TELL

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
  local turn = stream._turn
  if turn and turn.whole and view ~= "next" then stream._turn = turn:whole() end -- a quick one has text alone
end

-- The turn that has the exchange: a quick one may have become a whole one.
local function under_way(stream)
  return stream._turn.turn or stream._turn
end

-- From the first piece on, the hot path goes straight to the exchange.
local function hasten(stream)
  local turn = under_way(stream)
  stream._exchange = turn.exchange or turn.call and turn.call:open() or nil
end

local function release(stream, ok, ...)
  stream._waiting = false
  if not ok then error((...), 0) end
  return ...
end

-- Calls what may wait. The stream is busy meanwhile, and no longer when it raised.
local function await(stream, method)
  if stream._waiting then errors.misuse("this stream is being read elsewhere") end
  local turn, current = stream._turn, task.current()
  if current and current._told and not turn:ready() then
    stream:cancel()
    task.check(current)
  end
  stream._waiting = true
  return release(stream, wait.pcall(turn[method], turn))
end

-- A callback that raised has canceled its stream: on_done is told by what.
local function tell_raise(err, why)
  err.code, err.safe_message = "callback", "on_event raised an error"
  err.message = "on_event raised: " .. errors.text(why)
end

-- The turn is over: reply or err, kept for result().
local function settle(stream)
  local turn = stream._turn
  if not turn then return end
  local has = under_way(stream)
  local parked = stream._waiting and (has.exchange or has.call and has.call:waitable())
  parked = parked and parked:id()
  stream._turn, stream._exchange = nil, nil
  stream._reply, stream._err = turn:result(stream._waiting)
  if stream._raised and stream._err then tell_raise(stream._err, stream._raised) end
  observe.call(turn.session._options.log, "callback", stream._finally, stream._reply, stream._err)
  if parked then task.rouse(parked) end -- somebody waits in next, and it was canceled from outside
end

-- Most pieces come straight from the exchange, which is set in the view `next` alone, and a
-- task parks on it at once. nil: there is more to be done than to wait.
local function wait_for_text(stream, exchange)
  local current = QUICK and task.current()
  while current and not current._canceled and not stream._waiting do
    task.must_yield() -- before anything is noted
    stream._waiting = current
    task.park_here(current, exchange)
    stream._waiting = false
    if stream._exchange ~= exchange then return nil end -- it was canceled from outside
    local text, over = exchange:text()
    if text or over then return text end
  end
end

--- The next piece of text of the first choice. Never raises for a runtime failure.
--- @return string|nil text nil alone: finished
--- @return string|nil message
--- @return oaichat.Error|nil err err.partial is the reply so far
function Stream:next()
  local exchange, text, over = self._exchange
  if exchange then
    text, over = exchange:text()
    text = text or not over and wait_for_text(self, exchange)
    if text then return text end
  end
  if self._view ~= "next" then choose(self, "next") end
  if self._turn then
    self._exchange = nil -- another request may come
    text = await(self, "text")
    if text then
      if self._turn then hasten(self) end
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
  local exchange, text, over = self._exchange
  if exchange then
    text, over = exchange:text()
    text = text or not over and wait_for_text(self, exchange)
    if text then return text, self end
  end
  if FOR_CANNOT_YIELD and wait.parks() then errors.misuse("in a task of this Lua, use stream:next()") end
  local _, err
  text, _, err = self:next()
  if err then error(err, 0) end
  if text then return text, self end
  return nil
end

local function event_of(kind, a, b, c, d, e, f)
  if kind == "event" then
    return a
  elseif kind == "tool_call" then
    return { type = kind, choice = a, index = b, id = c, name = d, arguments = e, partial = f }
  elseif kind == "usage" then
    return { type = kind, usage = a }
  elseif kind == "progress" then
    a.type = kind
    return a
  elseif kind == "finish" then
    return { type = kind, finish_reason = a, choice = b }
  end
  return { type = kind, text = a, choice = b, partial = c }
end

local function pull_event(stream)
  if not stream._turn then return nil end
  local kind, a, b, c, d, e, f = await(stream, "next")
  if kind then return event_of(kind, a, b, c, d, e, f) end
  settle(stream)
  return nil
end

--- Iterates over events: text, reasoning, refusal { text, choice }, with a schema also
--- `partial`, the value so far (it grows in place, nothing of it is proved) · tool_call
--- { index, id, name, arguments, partial, choice }: while partial is true,
--- `arguments` is the new fragment; at last, with partial = false, the whole ·
--- tool_result { id, name, content, is_error } · progress { tool, status, id, data }: what a tool that the server
--- runs is doing, data is its event · item { index, value, valid }: an element
--- of a schema's list that is whole · usage { usage } · finish { finish_reason, choice } · restart { via, message }:
--- a fallback answers, the text shown so far must be withdrawn.
--- Never raises: it ends, and result() says how.
function Stream:events()
  choose(self, "events")
  return pull_event, self
end

local function pull_chunk(stream)
  while stream._turn do
    local kind, data = await(stream, "next")
    if kind == "chunk" then return (json.decode(data)) end
    if not kind then settle(stream) end
  end
  return nil
end

--- Iterates over the server's own chunks, decoded: for fields that oaichat does
--- not know. Never raises.
function Stream:chunks()
  choose(self, "chunks")
  if self._turn then self._turn:want_chunks() end
  return pull_chunk, self
end

-- What a stream with callbacks needs: on_done is called once.
local function tell_done(stream, on_done, log)
  return function()
    if stream._told then return end
    stream._told = true
    stream._unwatch = nil
    observe.call(log, "callback", on_done, stream._reply, stream._err and stream._err.message, stream._err)
  end
end

-- Hands out what is there. "again": wait for the exchange; "between": tools run or
-- another request starts; "over".
local function hand_out(stream, on_event, log)
  while stream._turn do
    local turn = stream._turn
    local kind, a, b, c, d, e, f = turn:poll()
    if kind then
      local fine, why = observe.call(log, "callback", on_event, event_of(kind, a, b, c, d, e, f))
      if not fine then
        stream._raised = why
        stream:cancel()
      end
    elseif turn.over then
      settle(stream)
    elseif not turn:between() then
      return "again"
    elseif turn:plain() then
      turn:_advance()
    else
      return "between"
    end
  end
  return "over"
end

--- For hosts without a coroutine at hand: events go to on_event, the end to
--- on_done(reply, message, err), exactly once, inside cancel for a canceled stream;
--- nothing after it. Both are called from step.
--- @param scheduler oaichat.Scheduler
function Stream:_subscribe(scheduler, on_event, on_done, log)
  choose(self, "callbacks")
  self._done = tell_done(self, on_done, log)
  local follow, listen
  local function turn()
    local how = hand_out(self, on_event, log)
    if how == "again" then return listen(true) end
    if how == "over" then self._done() else follow() end
    return true
  end
  -- false: what is listened to already is the right thing
  function listen(listening)
    local object = self._turn.call:waitable()
    if listening and object == self._object then return false end
    self._object = object
    self._unwatch = scheduler:on_ready(object, turn)
    return true
  end
  -- what may wait gets a task; then the callbacks go on with what came
  function follow()
    local one = scheduler:spawn(function()
      local current = self._turn
      if current and not current.over then current:_advance() end
    end)
    one._observed = true
    self._between = one
    one._on_end = function(ended)
      self._between = nil
      if not ended._ok then
        observe.tell(log, "error", "turn", { error = errors.text(ended:_error()) })
        return self:cancel()
      end
      self._object = nil
      if not turn() and self._turn then listen() end
    end
  end
  if self._turn and self._turn.call then
    listen()
  else
    follow() -- what failed before it began is told from step too, never from stream()
  end
end

--- Reads to the end and says how it went. May be called again.
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Stream:result()
  while self._turn and self._between do self._between:wait() end
  if self._turn then
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
  if not self._turn then return end
  self._turn:cancel()
  settle(self)
  self._waiting = false
  if self._unwatch then self._unwatch() end
  if self._done then self._done() end
end

--- Has fn(reply, err) called once the stream has ended, in whichever way; at once when
--- it has. One function a stream.
--- @param fn fun(reply: oaichat.Reply|nil, err: oaichat.Error|nil)
function Stream:finally(fn)
  if self._turn then self._finally = fn else fn(self._reply, self._err) end
end

--- Still under way, as far as anyone has looked.
--- @return boolean
function Stream:active()
  return self._turn ~= nil
end

Stream.__close = Stream.cancel

function Stream:__tostring()
  return ("oaichat.Stream (%s)"):format(self._turn and "open" or self._err and self._err.kind or "finished")
end

--- @param turn oaichat.Turn
function M.new(turn)
  local stream = setmetatable({ -- room for what comes
    _turn = turn, _view = nil, _exchange = nil, _waiting = nil, _reply = nil, _err = nil,
  }, Stream)
  if turn.over then settle(stream) end -- it failed before it began
  return stream
end

return M
