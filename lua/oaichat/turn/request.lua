--- request: what a turn asks for next: the conversation as it would be sent, the
-- options and tools beside it. It renders nothing and sends nothing.

local errors = require "oaichat.errors"
local later = require "oaichat.later"
local approval = later "oaichat.approval"
local message = require "oaichat.message"
local models = later "oaichat.models"
local tables = require "oaichat.tables"

local M = {}

local NONE = {}

--- An option of the turn, else of its session.
--- @param turn oaichat.Turn
--- @param name string
function M.option(turn, name)
  local value = turn.opts[name]
  if value == nil then value = turn.session._options[name] end
  return value
end

--- The input behind the history. Calls that neither answers are closed: their results
--- stand behind those that came, before whatever else comes.
--- @param history table[]
--- @param input table[]
--- @return table[] messages what the turn adds
function M.close(history, input)
  local before = history[#history]
  if not before or before.role ~= "tool" and not before.tool_calls then return input end
  local added, at = {}, 1
  while input[at] and input[at].role == "tool" do
    added[at] = input[at]
    at = at + 1
  end
  local last = #history -- only calls at the very end can be open
  while last > 1 and history[last].role == "tool" do last = last - 1 end
  local tail = {}
  for i = last, #history do tail[#tail + 1] = history[i] end
  local parked = approval.parked_in(history)
  for _, call in ipairs(message.open_calls(tables.add(tail, added))) do
    added[#added + 1] = message.close_call(call, "it was not run", parked)
  end
  for i = at, #input do added[#added + 1] = input[i] end
  return added
end

local FREE = { auto = true, none = true }

-- A name alone forces that tool; what was forced is not forced again when its
-- results are there, or the model could never answer.
local function tool_choice(turn)
  local choice = M.option(turn, "tool_choice")
  if turn.calls > 0 and not FREE[choice] then return nil end
  if type(choice) == "string" and turn.tools and turn.tools:find(choice) then
    return { type = "function", ["function"] = { name = choice } }
  end
  return choice
end

-- Nothing but the session says what is asked.
local function is_plain(turn)
  local session = turn.session
  return next(turn.opts) == nil and not turn.tools and not turn.plan and not turn.changes and not session._changes
    and not session._options.params
end

local function made_options(turn)
  local session, opts = turn.session, turn.opts
  local params = session._options.params or NONE
  if opts.params then params = tables.merged(params, opts.params) end
  local list = turn.tools and turn.tools.list[1] and turn.tools.list or nil
  local parallel = M.option(turn, "parallel_tool_calls")
  if list and parallel ~= nil then params = tables.merged(params, { parallel_tool_calls = parallel }) end
  if turn.plan then params = tables.merged(params, { response_format = turn.plan:response_format() }) end
  local model = opts.model or session.model
  if next(params) ~= nil and session._known then
    params = models.fix(model, session._origin, params, session._options.log)
  end
  local asked = {
    model = model, params = params, tools = list, tool_choice = list and tool_choice(turn),
    stream = turn.streaming, state = session._options.state,
  }
  local streams = session._wire.streams
  if streams and streams(params) then asked.stream = true end
  -- what a refusal has taught
  if session._changes then asked = tables.merged(asked, session._changes) end
  return turn.changes and tables.merged(asked, turn.changes) or asked
end

--- The options of the next request, as a wire renders them. Never changed: plain turns
--- share them.
--- @param turn oaichat.Turn
--- @return table
function M.options(turn)
  if not is_plain(turn) then return made_options(turn) end
  local session = turn.session
  local kept = session._asked
  if not kept or kept.model ~= session.model or kept.stream ~= turn.streaming then
    kept = made_options(turn)
    session._asked = kept
  end
  return kept
end

--- The conversation of the next request: the history and what stands behind it.
--- @param turn oaichat.Turn
--- @return { system: string|nil, messages: table[], added: table[], origin: string }
function M.conversation(turn)
  local session, added = turn.session, turn.added
  if turn.extra[1] then added = tables.add(tables.add({}, added), turn.extra) end
  local system, more = session.system, turn.plan and turn.plan:instruction()
  if more then system = system and system .. "\n\n" .. more or more end
  return { system = system, messages = session._messages, added = added, origin = session._origin }
end

-- The same in one list.
local function whole(talk)
  talk.messages, talk.added = tables.add(tables.add({}, talk.messages), talk.added), nil
  return talk
end

--- The same within the context window, where one is set; may wait for a summary.
--- @param turn oaichat.Turn
--- @param definitions table|nil of tools
--- @return table|nil conversation, string|nil message, oaichat.Error|nil err
function M.fitting(turn, definitions)
  local session, talk = turn.session, M.conversation(turn)
  if not talk.messages[1] and not talk.added[1] then
    errors.misuse "there is nothing to send: the conversation is empty"
  end
  local context = session._context
  if not context then return talk end
  whole(talk)
  if context.waits and context:over(talk, definitions) then
    local _, why, err = session:_compact(definitions)
    if err then return nil, why, err end
    talk = whole(M.conversation(turn))
  end
  return context:fit(talk, definitions, session._options.log)
end

return M
