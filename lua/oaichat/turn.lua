--- turn: from an input to the final answer: a request, the tool calls of its answer,
-- the next request, and so on. What is complete is taken into the history, a round
-- at a time; a round that fails leaves no trace. The session's inner half: it reads
-- the session's fields and is driven by send or by a stream.

local next_call = require "oaichat.turn.call"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local history = require "oaichat.turn.history"
local later = require "oaichat.later"
local instead = later "oaichat.turn.instead"
local approval = later "oaichat.approval"
local message = require "oaichat.message"
local partial = later "oaichat.partial"
local replies = require "oaichat.reply"
local requests = require "oaichat.turn.request"
local rounds = later "oaichat.turn.round"
local structured = later "oaichat.structured"
local tables = require "oaichat.tables"
local tools = later "oaichat.tools"

local M = {}

--- Requests that one input may cause, and calls.
M.MAX_ROUNDS, M.MAX_CALLS = 16, 256

--- @class oaichat.Turn
local Turn = {}
Turn.__index = Turn

-- What most turns have none of; how one ends behind its deadline.
local NONE, LATE = {}, { kind = "timeout", phase = "total" }

-- An event that no exchange has.
local function enqueue(turn, event)
  if turn.queue == NONE then turn.queue = {} end
  turn.queue[#turn.queue + 1] = event
end

-- ---- how it ends -----------------------------------------------------------------

local function over(turn, reply, err)
  turn.over, turn.reply, turn.err = true, reply, err
  if reply and turn.session._record then reply.unsaved = turn.session._record.unsaved end
  turn.call = nil
  if turn.session._turn == turn then turn.session._turn = nil end
  return false
end

function Turn:_fail(err)
  if self.over then return false end
  history.fail(self, err)
  return over(self, nil, err)
end

-- It was canceled while something waited: nothing more is done.
local function stopped(turn)
  if turn.canceled then turn:_fail(errors.new { kind = "canceled", code = "canceled" }) end
  return turn.over
end

local function succeed(turn, reply)
  if turn.opts.meta then reply.message.meta = message.merge(reply.message.meta or {}, turn.opts.meta) end
  history.commit(turn, { replies.keep(reply) })
  reply.rounds = turn.rounds
  reply.cost = turn.scope and turn.scope.cost
  return not turn.over and over(turn, reply)
end

-- ---- requests --------------------------------------------------------------------

-- The call has a new exchange.
local function attach(turn)
  if turn.chunks then turn.call:chunks() end
  turn.grow = turn.plan and turn.streaming and partial.new() or nil
  turn.items = 0
end

-- Sends what is asked; false: the turn failed.
local function start_call(turn, call)
  if turn.stop_at and core.now() >= turn.stop_at then return turn:_fail(errors.new(LATE)) end
  turn.requests = turn.requests + 1
  turn.call = call
  local ok, _, err = call:begin()
  if ok and not turn.canceled and not turn.over then
    attach(turn)
    return true
  end
  if ok then -- canceled while it began
    call:cancel()
    call:result()
  end
  turn.call = nil
  return turn:_fail(err or errors.new { kind = "canceled", code = "canceled" })
end

-- Starts the next request; false: the turn failed. What can raise does so before the
-- store hears of the turn.
local function request(turn)
  if stopped(turn) then return false end
  local gate, ok, _, err = turn.session._gate, true, nil, nil
  if gate then ok, _, err = gate:input(turn) end
  if not ok then return turn:_fail(err) end
  turn.tools = requests.tools(turn)
  turn.asked = requests.options(turn)
  local talk, call
  talk, _, err = requests.fitting(turn, turn.asked.tools)
  if not talk then return turn:_fail(err) end
  call, _, err = next_call.new(turn, talk, turn.asked)
  if not call then return turn:_fail(err) end
  ok, _, err = history.begin(turn)
  if not ok then return turn:_fail(err) end
  if stopped(turn) then return false end
  return start_call(turn, call)
end

-- ---- rounds ----------------------------------------------------------------------

local function run_round(turn, answer, reply)
  local session = turn.session
  local function option(name) return requests.option(turn, name) end
  turn.round = rounds.new(answer, {
    engine = session._engine, session = session, tools = turn.tools, content = tools.content,
    cut = reply and (reply.finish_reason == "length" or reply.finish_reason == "content_filter"),
    parallel = option "parallel_tool_calls", stop_at = turn.stop_at, tool_timeout = option "tool_timeout",
    approve = option "approve", on_call = option "on_call", on_result = option "on_result", log = option "log",
    on_event = turn.streaming and function(event) enqueue(turn, event) end or nil,
  })
  local how, _, err = turn.round:run()
  local round = turn.round
  turn.round = nil
  return how, err, round
end

-- The calls wait for a person: the answer stands in the history with what is known
-- of each.
local function park(turn, answer, round, reply)
  answer.meta = tables.merged(answer.meta, { calls = round:kept() })
  history[turn.resumed and "replace_last" or "commit"](turn, { answer })
  reply = reply or replies.of_message(answer)
  reply.parked = approval.waiting(turn.session._messages)
  reply.rounds = turn.rounds
  return not turn.over and over(turn, reply)
end

-- Runs the calls of an answer and asks again; false: the turn is over.
local function go_round(turn, answer, reply)
  turn.calls = turn.calls + #answer.tool_calls
  if turn.requests >= (requests.option(turn, "max_rounds") or M.MAX_ROUNDS)
    or turn.calls > (requests.option(turn, "max_calls") or M.MAX_CALLS) then
    local err = errors.new {
      kind = "tool", code = "max_rounds",
      message = ("the model still calls tools after %d requests and %d calls"):format(turn.requests, turn.calls),
    }
    err.partial = reply
    return turn:_fail(err)
  end
  local how, err, round = run_round(turn, answer, reply)
  if stopped(turn) then return false end
  if how == "parked" then return park(turn, answer, round, reply) end
  if not how then
    err.partial = reply
    return turn:_fail(err)
  end
  local whole = { answer }
  tables.add(whole, round:messages())
  if turn.resumed then
    answer.meta = tables.merged(answer.meta)
    answer.meta.calls = nil
    history.replace_last(turn, whole)
  else
    history.commit(turn, whole)
  end
  if reply then history.note_round(turn, reply) end
  return request(turn)
end

local function check_data(turn, reply)
  local data, _, err = turn.plan:read(reply)
  if not err then
    reply.data = data
    turn.session._schema_mode = turn.plan.mode
    reply.via = turn.plan:via(reply.via)
    return succeed(turn, reply)
  end
  local max = requests.option(turn, "repairs") or structured.REPAIRS
  local mend = not turn.streaming and turn.plan:repair(reply, err, max) -- what a stream has shown stays
  if not mend then return turn:_fail(err) end
  history.note_round(turn, reply)
  turn.extra = mend
  return request(turn)
end

-- The exchange has ended: what now? False: the turn is over.
local function go_on(turn)
  if turn.call:pause() then
    local ok, same = turn.call:again()
    if ok and not turn.over then
      if not same then attach(turn) end
      return true
    end
  end
  if turn.over then -- canceled meanwhile
    return false
  end
  local reply, _, err = turn.call:result()
  turn.call = nil
  if err then
    if turn.plan and not turn.canceled and turn.plan:degrade(err) then return request(turn) end
    if turn.session._wire.instead and instead.change(turn, err) then return request(turn) end
    return turn:_fail(err)
  end
  if not turn.manual and turn.tools and turn.tools:takes(reply.tool_calls) then
    return go_round(turn, replies.keep(reply), reply)
  end
  if turn.plan and not reply.tool_calls[1] then return check_data(turn, reply) end
  return succeed(turn, reply)
end

-- Does what is next where no exchange is under way; may wait. False: the turn is over.
local function proceed(turn)
  if turn.over then return false end
  if turn.call then return go_on(turn) end
  if not turn.resumed then return request(turn) end
  return go_round(turn, message.copy(turn.resumed), nil)
end

-- ---- reading ---------------------------------------------------------------------

--- Waits until something can be had without waiting, or the turn is over.
--- @return boolean false: over
function Turn:_advance()
  if not self.call or self.call:done() then return proceed(self) end
  self.call:await()
  return true
end

--- @return boolean what comes next may take tools or another request
function Turn:between()
  return not self.over and (not self.call or self.call:done())
end

--- What is next needs nobody's turn: the answer is the last, as it is.
function Turn:plain()
  local record = self.session._record
  if record and record.store.waits or not self.call or self.call:pause() then return false end
  return not self.plan and not (self.tools and self.tools.runs)
end

--- The next piece of the first choice's text; nil at the end. Waits.
--- @return string|nil
function Turn:text()
  repeat
    local text = self.call and self.call:text()
    if text then return text end
  until not self:_advance()
end

-- With a schema: the value so far, and an event for each element of a list that has
-- become whole.
local function grow(turn, text)
  local reader = turn.grow
  reader:feed(text)
  local value, list = turn.plan:part(reader:value())
  if list then
    for index = turn.items + 1, reader:complete(list) do
      turn.items = index
      enqueue(turn, turn.plan:item(index, list[index]))
    end
  end
  return value
end

--- What has come, as exchange:next() gives it, or "event" and a table; nothing when
--- nothing is there now.
function Turn:poll()
  if self.queue[1] then return "event", table.remove(self.queue, 1) end
  if not self.call then return nil end
  local kind, a, b, c, d, e, f = self.call:poll()
  if kind == "text" and b == 0 and self.grow then c = grow(self, a) end
  return kind, a, b, c, d, e, f
end

--- The same, but waits; nothing: the end.
function Turn:next()
  repeat
    local kind, a, b, c, d, e, f = self:poll()
    if kind then return kind, a, b, c, d, e, f end
  until not self:_advance() and not self.queue[1]
end

--- Reads on to the end, handing nothing out.
function Turn:drain()
  repeat
    if self.call then self.call:drain() end
  until not self:_advance()
end

--- From now on poll gives the server's own chunks.
function Turn:want_chunks()
  self.chunks = true
  if self.call then self.call:chunks() end
end

--- Something can be had without waiting.
function Turn:ready()
  if self.over or self.queue[1] or not self.call then return self.over or self.queue[1] ~= nil end
  local object = self.call:waitable()
  return not object or object:ready()
end

--- Ends it; result says how.
function Turn:cancel()
  self.canceled = true
  if self.round then self.round:cancel() end
  if self.aside then self.aside:cancel() end
  if self.call then self.call:cancel() end
end

--- What came of it; once. Ends a turn that is still under way as canceled.
--- @return oaichat.Reply|nil reply, oaichat.Error|nil err
function Turn:result(awaited)
  if not self.over then
    local err
    if self.call then
      local _
      _, _, err = self.call:result(awaited)
    end
    self:_fail(err or errors.new { kind = "canceled", code = "canceled" })
  end
  return self.reply, self.err
end

-- ---- start -----------------------------------------------------------------------

local function new_turn(session, own, opts, streaming)
  return setmetatable({
    session = session, opts = opts, streaming = streaming, extra = NONE, queue = NONE,
    requests = 0, calls = 0, over = false, added = own,
    call = nil, asked = nil, items = nil, reply = nil, begun = nil, -- room for them; 17 would take twice the memory
  }, Turn)
end

--- A turn whose first request is under way, or over: what a quick one becomes.
--- @param own table[] the input's messages
--- @param parts string[] what was sent
--- @param exchange table of the core
--- @return oaichat.Turn
function M.adopt(session, own, asked, parts, exchange)
  local turn = new_turn(session, own, NONE, asked.stream)
  session._turn = turn
  turn.asked, turn.requests = asked, 1
  turn.call = next_call.adopt(turn, parts, exchange)
  attach(turn)
  return turn
end

--- Starts a turn. Nothing waits here.
--- @param session oaichat.Session
--- @param own table[] the input's messages
--- @param opts table of session:send
--- @param streaming boolean
--- @param manual boolean|nil calls of the answer are not run
--- @param wrong string|nil what is wrong with opts
--- @return oaichat.Turn
function M.start(session, own, opts, streaming, manual, wrong)
  local deadline = opts.deadline or session._options.deadline
  local turn = new_turn(session, own, opts, streaming)
  if manual then turn.manual = true end
  if deadline then turn.stop_at = core.now() + deadline end
  session._turn = turn -- what session:cancel() ends
  if wrong then
    turn:_fail(errors.new { kind = "config", code = "config", message = wrong })
    return turn
  end
  local wanted = requests.option(turn, "schema")
  if wanted then
    local err, _
    turn.plan, _, err = structured.new(wanted, session._schema_mode)
    if err then
      turn:_fail(err)
      return turn
    end
  end
  turn.resumed = requests.open_round(turn)
  if turn.resumed then return turn end
  turn.added = requests.close(session._messages, own)
  -- what waits does so when somebody reads: nothing waits here
  if session._policy or session._gate or session._record and session._record.store.waits then return turn end
  if session._context and session._context.waits or session._asks then return turn end
  local ok, why = pcall(request, turn)
  if ok then return turn end
  turn:result()
  error(why, 0)
end

return M
