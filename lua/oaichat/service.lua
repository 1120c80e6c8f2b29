--- service: one conversation a user, for a server with many. Turns of a user come one
-- after the other, users side by side; what is idle is let go and read again. Replicas
-- share nothing but the store.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local options = require "oaichat.options"
local loop = require "oaichat.loop.default"
local tables = require "oaichat.tables"
local task = require "oaichat.loop.task"
local wait = require "oaichat.wait"

local M = {}

local NEW = {
  history = "table", session = "table|function", max_sessions = "number", idle = "number",
  per_minute = "number", queue = "number", lock_seconds = "number", lock_wait = "number", engine = "table",
}

--- @class oaichat.Service
local Service = {}
Service.__index = Service
Service.__name = "oaichat.Service"

--- Makes a service.
--- @param opts table history: a store; session: options of chat.new, or function(user_id) that gives them;
---   max_sessions (1000) and idle (600 s) bound what is kept in memory; per_minute:
---   messages a user may send in any 60 s; queue (8): messages of a user that may wait; lock_seconds (120): how long
---   a replica that died may hold a user; lock_wait (30 s): how long to wait for one
--- @param open fun(opts: table): oaichat.Session|nil, string|nil, oaichat.Error|nil chat.new
--- @return oaichat.Service
function M.new(opts, open)
  options.check(opts, NEW)
  if not opts.history then errors.misuse "service: history is missing" end
  return setmetatable({
    _store = opts.history, _options = opts.session or {}, _open = open,
    _engine = opts.engine or loop.scheduler(),
    _max = opts.max_sessions or 1000, _idle = opts.idle or 600, _per_minute = opts.per_minute, _queue = opts.queue or 8,
    _lock_seconds = opts.lock_seconds or 120, _lock_wait = opts.lock_wait or 30,
    _users = {}, _kept = 0, _active = 0, _served = 0, _failed = 0, _since = os.time(),
  }, Service)
end

-- ---- users ---------------------------------------------------------------------

--- The id of a user's conversation in the store: the user's own id where a store can
--- have it, else its SHA-256.
--- @param user string
--- @return string
function M.conversation_id(user)
  if #user <= 150 and user:find "^[%w@_-][%w@._:-]*$" then return "user:" .. user end
  return "user-sha256:" .. core.sha256(user)
end

local function user_of(service, id)
  if type(id) ~= "string" or id == "" then errors.misuse "user_id: a string expected" end
  local user = service._users[id]
  if not user then
    user = { id = id, waiting = {}, times = {}, used = core.now() }
    service._users[id] = user
    service._kept = service._kept + 1
  end
  user.used = core.now()
  return user
end

-- Lets go of sessions that nobody uses: those that were idle for long, and the
-- longest idle ones while there are too many.
local function evict(service)
  local now, idle = core.now(), {}
  for id, user in pairs(service._users) do
    if not user.busy and not user.waiting[1] then
      if now - user.used > service._idle then
        service._users[id] = nil
        service._kept = service._kept - 1
      else
        idle[#idle + 1] = user
      end
    end
  end
  if service._kept <= service._max then return end
  table.sort(idle, function(a, b) return a.used < b.used end)
  for _, user in ipairs(idle) do
    if service._kept <= service._max then return end
    service._users[user.id] = nil
    service._kept = service._kept - 1
  end
end

local function too_many(text, code, seconds)
  local _, _, err = errors.fail { kind = "rate_limit", code = code, message = text }
  err.retry_after = seconds
  return err
end

-- The messages of the last minute, counted.
local function over_limit(service, user)
  local now, times = core.now(), user.times
  while times[1] and now - times[1] >= 60 do table.remove(times, 1) end
  if service._per_minute and #times >= service._per_minute then
    return too_many("this user has sent too many messages", "per_minute", 60 - (now - times[1]))
  end
  times[#times + 1] = now
end

-- ---- one turn at a time ----------------------------------------------------------

-- The next of those that wait, if any.
local function pass(user)
  user.chosen = table.remove(user.waiting, 1)
  if user.chosen then user.chosen:fire() else user.busy = false end
end

local function closing()
  return errors.new { kind = "overloaded", code = "shutting_down", message = "the service is shutting down" }
end

local function wait_for_turn(service, user)
  local turn = service._engine.core:timer(1e6)
  user.waiting[#user.waiting + 1] = turn
  local fine, ok, _, err = wait.pcall(service._engine.await, service._engine, turn)
  for i = #user.waiting, 1, -1 do
    if user.waiting[i] == turn then table.remove(user.waiting, i) end
  end
  turn:close()
  if fine and ok and not service._cut then return nil end
  if user.chosen == turn then pass(user) end
  if not fine then error(ok, 0) end
  return err or closing()
end

local function leave(service, user)
  service._active = service._active - 1
  user.used = core.now()
  pass(user)
end

-- Waits until it is this message's turn; nil, or why not.
local function enter(service, user)
  if service._closing then return closing() end
  local err = over_limit(service, user)
  if err then return err end
  local me = task.current() or "main"
  local gone = user.awaited
  if gone and gone._done then -- PUC 5.1: what it raised passed us by
    user.awaited = nil
    leave(service, user)
  end
  if user.busy then
    if user.holder == me then errors.misuse "this user's answer is being read here: read or cancel it first" end
    if #user.waiting >= service._queue then
      return too_many("too many messages of this user are waiting", "queue_full", 1)
    end
    err = wait_for_turn(service, user)
    if err then return err end
  end
  user.busy, user.holder = true, me
  service._active = service._active + 1
end

-- Another replica may hold the user: ask again, at growing distances.
local function lock(service, id)
  if not service._store.lock then return true end
  local stop, pause = core.now() + service._lock_wait, 0.01
  while true do
    local held, why, err = service._store:lock(id, service._lock_seconds)
    if held then return held end
    if err.code ~= "locked" or core.now() + pause > stop then return nil, why, err end
    local ok
    ok, why, err = service._engine:sleep(pause)
    if not ok then return nil, why, err end
    pause = math.min(pause * 2, 0.5)
  end
end

local function options_for(service, user)
  local given = service._options
  if type(given) == "function" then given = given(user.id) end
  local out = tables.merged(given)
  out.history, out.id, out.engine = service._store, M.conversation_id(user.id), service._engine
  out.user = out.user or user.id -- caches, costs and budgets are each user's own
  return out
end

-- The user's session, as the store has the conversation now.
local function session_of(service, user)
  local session, why, err = user.session
  if session then
    session, why, err = session:reload()
  else
    session, why, err = service._open(options_for(service, user))
  end
  if not session then return nil, why, err end
  user.session = session
  return session
end

-- Everything before the model is asked; what it took is given back by done().
local function prepare(service, user_id)
  local user = user_of(service, user_id)
  local err = enter(service, user)
  if err then return nil, err end
  evict(service)
  local held, ended
  local function done(failure)
    if ended then return end
    ended = true
    if type(held) == "table" then pcall(held.release, held) end
    service._served = service._served + (failure and 0 or 1)
    service._failed = service._failed + (failure and 1 or 0)
    leave(service, user)
  end
  local function open()
    local why, session, _
    held, _, why = lock(service, M.conversation_id(user_id))
    if not held then return nil, why end
    session, _, why = session_of(service, user)
    return session, why
  end
  local ok, session, why = wait.pcall(open)
  if ok and session then return session, nil, done end
  done(ok and why or session)
  if not ok then error(session, 0) end
  return nil, why
end

local function marked(opts)
  if opts ~= nil and type(opts) ~= "table" then errors.misuse("options: table expected, got " .. type(opts)) end
  local out = tables.merged(opts)
  out.meta = tables.merged(out.meta, { reply_id = core.random(12) })
  return out, out.meta.reply_id
end

-- ---- what a host calls -------------------------------------------------------------

--- Says something for a user and waits for the answer; in a task the others go on.
--- @param user_id string any id of yours
--- @param input string|table as session:send
--- @param opts table|nil as session:send
--- @return oaichat.Reply|nil reply reply.reply_id names it for feedback
--- @return string|nil message
--- @return oaichat.Error|nil err
function Service:process_message(user_id, input, opts)
  local own, reply_id = marked(opts)
  local session, err, done = prepare(self, user_id)
  if not session then return errors.fail(err) end
  local user = self._users[user_id]
  user.awaited = task.current()
  local ok, reply, why
  ok, reply, why, err = wait.pcall(session.send, session, input, own)
  user.awaited = nil
  done(not ok and reply or err)
  if not ok then error(reply, 0) end
  if not reply then return nil, why, err end
  reply.reply_id = reply_id
  return reply
end

--- The same as a stream; the user's next message waits until it has ended.
--- @return oaichat.Stream|nil stream stream.reply_id names the answer
--- @return string|nil message
--- @return oaichat.Error|nil err
function Service:stream_message(user_id, input, opts)
  local own, reply_id = marked(opts)
  local session, err, done = prepare(self, user_id)
  if not session then return errors.fail(err) end
  local ok, stream = pcall(session.stream, session, input, own)
  if not ok then
    done(stream)
    error(stream, 0)
  end
  stream.reply_id = reply_id
  stream:finally(function(_, failure) done(failure) end)
  return stream
end

--- The conversation of a user, as the store has it.
--- @param user_id string
--- @return table[]|nil messages, string|nil message, oaichat.Error|nil err
function Service:get_conversation_history(user_id)
  local stored, why, err = self._store:load(M.conversation_id(user_id))
  if err then return nil, why, err end
  return stored and stored.messages or {}
end

local function has_reply(messages, reply_id)
  for _, one in ipairs(messages) do
    if one.meta and one.meta.reply_id == reply_id then return true end
  end
  return false
end

--- What a user thinks of an answer; kept beside the conversation (meta "feedback:ID").
--- @param user_id string
--- @param reply_id string of the reply
--- @param score number
--- @param note string|nil
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Service:feedback(user_id, reply_id, score, note)
  if type(score) ~= "number" then errors.misuse "feedback: score must be a number" end
  local session, err, done = prepare(self, user_id)
  if not session then return errors.fail(err) end
  local ok, why
  if has_reply(session:messages(), reply_id) then
    ok, why, err = session:set_meta { ["feedback:" .. reply_id] = { score = score, note = note, at = os.time() } }
  else
    ok, why, err = errors.fail { kind = "not_found", code = "reply", message = "this user has no such reply" }
  end
  done(err)
  if not ok then return nil, why, err end
  return true
end

--- Forgets a user: the conversation in the store, what a guard keeps of the user
--- besides, and what is in memory.
--- @param user_id string
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err
function Service:erase(user_id)
  local session, err, done = prepare(self, user_id)
  if not session then return errors.fail(err) end
  local store = self._store
  local _, why
  if store.erase then -- a guard keeps more of a user than the conversation
    _, why, err = store:erase(user_id)
  else
    _, why, err = store:delete(M.conversation_id(user_id))
  end
  if session._policy then session._policy:forget(user_id) end
  self._users[user_id].session = nil
  done(err)
  if err then return nil, why, err end
  return true
end

function Service:_unfinished()
  if self._active > 0 then return true end
  for _, user in pairs(self._users) do
    if user.waiting[1] then return true end
  end
  return false
end

--- Refuses what is new, waits for what runs, at most so many seconds; what still runs
--- then is canceled, and the store keeps what was said.
--- @param seconds number|nil 30
--- @return integer cut how many turns were not waited for
function Service:shutdown(seconds)
  self._closing = true
  local stop = core.now() + (seconds or 30)
  while self:_unfinished() and core.now() < stop do
    if not self._engine:sleep(math.min(0.02, math.max(stop - core.now(), 0))) then break end
  end
  local cut = self._active
  self._cut = true -- those that wait are refused
  for _, user in pairs(self._users) do
    cut = cut + #user.waiting
    if user.busy and user.session then user.session:cancel() end
  end
  return cut
end

--- Figures for a monitor.
--- @return table closing, users, active, served, failed, uptime in seconds
function Service:health()
  return {
    closing = self._closing or false, users = self._kept, active = self._active, served = self._served,
    failed = self._failed, uptime = os.time() - self._since,
  }
end

--- Whether it takes messages: not shutting down, and the store answers.
--- @return boolean
--- @return string|nil why not
function Service:ready()
  if self._closing then return false, "shutting down" end
  local _, why, err = self._store:list { limit = 1 }
  if err then return false, why end
  return true
end

return M
