--- session: a conversation: history, one endpoint, and the turns between them. It
-- knows neither the wire's format nor the transport: a wire renders, attempts
-- run, a stream hands out.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local held = require "oaichat.held"
local later = require "oaichat.later"
local context = later "oaichat.context"
local conversation = later "oaichat.conversation"
local gates = later "oaichat.gate"
local keys = later "oaichat.keys"
local message = require "oaichat.message"
local models = later "oaichat.models"
local moderations = later "oaichat.moderation"
local policies = later "oaichat.policy"
local providers = later "oaichat.providers"
local quick = require "oaichat.turn.quick"
local options = require "oaichat.options"
local records = later "oaichat.record"
local schema = later "oaichat.schema"
local loop = require "oaichat.loop.default"
local settings = require "oaichat.settings"
local stores = later "oaichat.history"
local stream = later "oaichat.stream"
local tables = require "oaichat.tables"
local task = later "oaichat.loop.task"
local tools = later "oaichat.tools"
local turn = later "oaichat.turn"
local wait = require "oaichat.wait"

local M = {}

-- What more than a quick turn takes.
held {
  "oaichat.turn", "oaichat.turn.call", "oaichat.turn.history", "oaichat.turn.request", "oaichat.attempts",
  "oaichat.observe", "oaichat.ratelimit", "oaichat.source", "oaichat.keys", "oaichat.opaque", "oaichat.reply.head",
  "oaichat.loop.scheduler", "oaichat.loop.task",
}

local CORE = settings.CORE

-- The servers whose models' facts are known (oaichat.models, loaded when it is needed).
local ORIGINS = { ["https://api.openai.com:443"] = true, ["https://api.anthropic.com:443"] = true }

--- @class oaichat.Session
local Session = {}
Session.__index = Session
Session.__name = "oaichat.Session"

-- What the file conversation does; it is loaded when the first of them is called.
for name in ([[messages append rewind reset fork reload set_meta regenerate edit alternatives choose export
  tokens compact originals parked approve deny _take _tell_mended _compact]]):gmatch "[%w_]+" do
  Session[name] = function(...) return conversation[name](...) end
end

local function environment(name)
  local value = os.getenv(name)
  if value and value ~= "" then return value end
end

local function config(text)
  return errors.fail { kind = "config", code = "config", message = text }
end

local function has_control(text)
  return text:find "[%z\1-\31\127]" ~= nil
end

local function check_params(params, wire)
  for name in pairs(params or {}) do
    if type(name) ~= "string" then errors.misuse("params: names must be strings") end
    if wire.reserved(name) then
      errors.misuse(("params.%s is set by the session; use the option of that name"):format(name))
    end
  end
end

-- Bad values of the right type: a config error, before any connection.
local function bad_value(opts)
  local wrong = opts.timeouts and options.bad_number(opts.timeouts, "timeouts.", true)
    or opts.limits and options.bad_number(opts.limits, "limits.", true)
    or opts.deadline and options.bad_number({ deadline = opts.deadline }, "", true)
    or opts.retry and options.bad_number(opts.retry, "retry.")
  if wrong then return wrong end
  local model = opts.model
  if model and (model == "" or has_control(model) or core.utf8_repair(model) ~= model) then
    return "model is empty, has a control character or is not UTF-8"
  end
end

-- Keeps the session in a store; true when the store had it.
local function remember(session, store, id)
  if type(store) == "string" then
    local why, err
    store, why, err = stores.file { path = store }
    if not store then return nil, why, err end
  end
  session.id = id or core.random(16)
  local record, stored, err = records.open(store, session.id, session._engine)
  if not record then return nil, stored, err end
  session._record = record
  session:_take(stored)
  return stored ~= nil
end

-- The endpoint has these; no table of ours keeps a secret.
local ENDPOINT = { messages = true, api_key = true, fallbacks = true, moderation = true }
for _, name in ipairs(CORE) do ENDPOINT[name] = name ~= "ca_file" end

-- What is kept where must be possible, and be one thing.
local function wrong_state(opts, wire)
  local state = opts.state or "history"
  if state ~= "history" and state ~= "server" then return 'state is "history" or "server"' end
  if state == "history" then return nil end
  if not wire.keeps_state then return ('state = "server": the %s API keeps no conversation'):format(wire.name) end
  if opts.context then return 'state = "server" and context exclude each other: the server keeps the whole' end
end

-- What each turn looks up where its own options say nothing.
local function kept(opts)
  local out = {}
  for name, value in pairs(opts) do
    if not ENDPOINT[name] then out[name] = value end
  end
  out.params = opts.params and message.copy(opts.params)
  return out
end

local function any(opts, names)
  for _, name in ipairs(names) do
    if opts[name] then return true end
  end
  return false
end

-- Fallbacks, limits, caches, guards: where something asks for them.
local function guarded(session, opts, for_core)
  local has_policy = any(opts, settings.POLICY)
  if not (has_policy or opts.moderation or opts.guards) then return true end
  local why, err
  local first = {
    core = session._core, origin = session._origin, base_url = for_core.base_url, engine = for_core.engine,
    wire = for_core.wire, path = for_core.path, key_header = for_core.key_header, headers = session._wire.headers,
    scheduler = session._engine,
  }
  if has_policy then
    session._policy, why, err = policies.new(first, opts)
    if not session._policy then return nil, why, err end
  end
  local moderation
  if opts.moderation then
    moderation, why, err = moderations.new(opts.moderation, first)
    if not moderation then return nil, why, err end
  end
  if opts.guards or moderation then session._gate = gates.new(opts.guards, moderation) end
  return true
end

local function is_plain_key(key)
  return not key or type(key) == "string"
end

-- The endpoint; whether its key has to be asked for.
local function open(for_core)
  local endpoint, why
  if is_plain_key(for_core.api_key) and not for_core.key_header then
    endpoint, why = core.new(for_core)
    return endpoint, why
  end
  endpoint, why = keys.open(for_core)
  return endpoint, why, endpoint and keys.sources[endpoint] and true
end

--- Makes a session. Nothing is sent.
--- @param opts table|nil see README
--- @param wire table lua/oaichat/wire/<name>.lua
--- @param preset table|nil of oaichat.providers
--- @return oaichat.Session|nil session
--- @return string|nil message
--- @return oaichat.Error|nil err kind "config"
function M.new(opts, wire, preset)
  opts = opts or {}
  if type(opts) ~= "table" then errors.misuse("options: table expected, got " .. type(opts)) end
  options.check(opts, settings.NEW)
  local bad_key = not is_plain_key(opts.api_key) and keys.wrong(opts.api_key)
  if bad_key then errors.misuse(bad_key) end
  check_params(opts.params, wire)
  local wrong = bad_value(opts) or wrong_state(opts, wire)
  if wrong then return config(wrong) end
  local for_core = { wire = wire.name, path = wire.path }
  for _, name in ipairs(CORE) do for_core[name] = opts[name] end
  for_core.headers = settings.headers(opts.headers, wire.headers)
  for_core.key_header = opts.key_header or wire.key_header
  local engine = opts.engine or loop.scheduler()
  for_core.engine = engine.core
  for_core.base_url = opts.base_url or wire.base_url or environment "OPENAI_BASE_URL" or "https://api.openai.com/v1"
  -- the environment's model is one of OpenAI's API; of another's none is known
  local openai = not wire.base_url and (not preset or preset.name == "openai")
  local model = opts.model or openai and (environment "OPENAI_MODEL" or "gpt-4o-mini")
  if not model then
    return config(("model is missing: %s has no default"):format(preset and preset.name or wire.name))
  end
  if preset then providers.key(for_core, preset) end
  local endpoint, why, asks = open(for_core)
  why = why or preset and providers.missing(endpoint, preset, asks, opts.headers)
  if why then return config(why) end
  local session = setmetatable({
    model = model,
    system = opts.system,
    _core = endpoint, _wire = wire, _origin = endpoint:origin(), _messages = {},
    _options = kept(opts), _engine = engine, _asks = asks,
    _schema_mode = preset and preset.entry.structured,
  }, Session)
  if has_control(session.model) then return config "model has a control character" end
  session._known = ORIGINS[session._origin]
  if session._known and opts.log then models.warn(session.model, session._origin, opts.log) end
  if opts.context then
    local err
    session._context, why, err = context.new(opts.context, session.model)
    if err then return nil, why, err end
  end
  local ready, wrong_text, failure = guarded(session, opts, for_core)
  if not ready then return nil, wrong_text, failure end
  session._quick = quick.suits(session, wire)
  for i, one in ipairs(opts.messages or {}) do message.check(one, ("messages[%d]"):format(i)) end
  if opts.history then
    local stored, text, err = remember(session, opts.history, opts.id)
    if err then return nil, text, err end
    if stored then return session end
  end
  if opts.messages and next(opts.messages) ~= nil then return session:append(opts.messages) end
  return session
end

-- ---- turns ------------------------------------------------------------------

-- A new turn ends the unread stream of the last one; one that somebody waits for
-- must not be overtaken, or the history would have it in the wrong place.
function Session:_interrupt()
  local sender = self._sending
  if type(sender) == "table" and sender._done then -- PUC 5.1: what it raised passed us by
    self._sending = nil
    if self._turn then self._turn:cancel() end
    if self._turn then self._turn:result() end
  elseif sender then
    errors.misuse("session is busy: an answer is being waited for")
  end
  local last = self._stream
  if not last then return end
  if last._waiting or last._turn and last._turn.round then
    errors.misuse("session is busy: a stream of it is being read")
  end
  last:cancel()
  self._stream = nil
end

-- Raises for options that are none; gives what is wrong with their values.
local function check_turn(session, input, opts, streaming)
  -- send(prompt:render(values)) of a prompt that could not be rendered
  if input == nil and type(opts) == "string" then errors.misuse(opts) end
  if type(opts) ~= "table" then errors.misuse("options: table expected, got " .. type(opts)) end
  options.check(opts, settings.SEND)
  if not streaming and (opts.on_event or opts.on_done) then errors.misuse("on_event and on_done belong to stream") end
  check_params(opts.params, session._wire)
  return bad_value(opts)
end

local NONE = {}

-- Starts a turn.
local function begin(session, input, opts, streaming, manual)
  local wrong
  if opts then wrong = check_turn(session, input, opts, streaming) end
  local is_question = type(input) == "string"
  local own = not is_question and message.from_input(input)
  session:_interrupt()
  local current = wait.task()
  if current and current.scheduler ~= session._engine then
    errors.misuse("this session belongs to another engine than the task that uses it")
  end
  local new = is_question and session._quick and not opts and quick.start(session, input, streaming)
  return new or turn.start(session, own or message.from_input(input), opts or NONE, streaming, manual, wrong), current
end

-- Reads a whole answer. The session is busy meanwhile; when the wait was refused, or a
-- tool's list raised, the turn is settled before the error goes on.
local function drain(session, new, current)
  local told = current and current._told
  session._sending = current or true
  local ok, why = true, nil
  if not told then ok, why = wait.pcall(new.drain, new) end
  session._sending = nil
  if ok and not told then return end
  new:cancel()
  new:result()
  if told then task.check(current) end
  error(why, 0)
end

local function send(session, input, opts, manual)
  local new, current = begin(session, input, opts, false, manual)
  if not new.over then drain(session, new, current) end
  local reply, err = new:result()
  if err then return errors.fail(err) end
  return reply
end

--- Sends and waits for the whole answer; calls of tools that have `run` are run, and
--- the model is asked again, until it answers. Calls that wait for approval come back
--- as reply.parked.
--- @param input string|table|nil a string, a message, a list of messages or of
---   content parts; nil goes on from the history
--- @param opts table|nil model, params, tools, tool_choice, parallel_tool_calls, max_rounds, max_calls, tool_timeout,
---   approve, on_call, on_result, schema, repairs, timeouts, deadline, headers, keep_partial, meta (kept with the
---   answer's message)
--- @return oaichat.Reply|nil reply
--- @return string|nil message
--- @return oaichat.Error|nil err err.input has the messages that were not taken
function Session:send(input, opts)
  return send(self, input, opts)
end

--- One step of the loop that send drives: runs the calls that the history ends with,
--- then sends one request. Calls in its answer are left for the next advance.
--- @return oaichat.Reply|nil reply, string|nil message, oaichat.Error|nil err
function Session:advance(input, opts)
  return send(self, input, opts, true)
end

--- Sends and hands the answer out as it comes: `for text in session:stream(…)`,
--- or the methods of the stream. A runtime failure surfaces there. Lua 5.4
--- cancels the stream on `break`. With opts.on_event(event) or opts.on_done(reply,
--- message, err) it returns at once and they are called from the host's loop.
--- @return oaichat.Stream stream, nil, nil, oaichat.Stream stream
function Session:stream(input, opts)
  local new = stream.new((begin(self, input, opts, true)))
  self._stream = new
  if opts and (opts.on_event or opts.on_done) then
    new:_subscribe(self._engine, opts.on_event, opts.on_done, self._options.log)
  end
  return new, nil, nil, new
end

--- Ends what is under way: the send that somebody waits for, or the stream.
function Session:cancel()
  if self._stream then self._stream:cancel() end
  if self._turn then self._turn:cancel() end
end

--- What this session has used so far; nil where it has no ledger (one of the options
--- ledger, budget, limiter, fallbacks, cache).
--- @return table|nil totals requests, tokens, input, output, cached, reasoning, cost (US dollars), unknown, …
function Session:usage()
  local policy = self._policy
  if policy and policy.ledger then return policy.ledger:totals { session = self.id or policy.id } end
end

--- A tool made of this session: each call asks a fork of it, which keeps nothing.
--- @param spec { name: string, description: string|nil, timeout: number|nil, approve: any }
--- @return oaichat.Tool
function Session:as_tool(spec)
  if type(spec) ~= "table" then errors.misuse("as_tool: table expected, got " .. type(spec)) end
  local own = tables.merged(spec)
  own.parameters = own.parameters or schema.object { input = schema.string "What to ask" }
  own.run = own.run or function(args)
    local reply, why = self:fork():send(args.input)
    if not reply then return nil, why end
    -- the fork is gone when this returns: nobody could approve its call
    if reply.parked then return nil, "a call of its own needs approval: give the session `approve`" end
    return reply.text
  end
  local made, why = tools.new(own)
  if not made then errors.misuse(why) end
  return made
end

function Session:__tostring()
  return ("oaichat.Session (%s at %s, %d messages)"):format(self.model, self._origin, #self._messages)
end

return M
