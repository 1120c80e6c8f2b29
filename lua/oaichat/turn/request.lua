--- request: what a turn asks for next: the conversation as it would be sent, the
-- options and tools beside it. It renders nothing and sends nothing.

local errors = require "oaichat.errors"
local later = require "oaichat.later"
local approval = later "oaichat.approval"
local asked_of = require "oaichat.turn.asked"
local message = require "oaichat.message"
local tables = require "oaichat.tables"
local tools = later "oaichat.tools"

local M = {}

--- An option of the turn, else of its session.
--- @param turn oaichat.Turn
--- @param name string
function M.option(turn, name)
  local value = turn.opts[name]
  if value == nil then value = turn.session._options[name] end
  return value
end

--- The tools that the next request may call.
--- @param turn oaichat.Turn
--- @return oaichat.ToolSet|nil
function M.tools(turn)
  local option = M.option(turn, "tools")
  return option and tools.resolve(option, turn.session, turn.requests)
end

--- Calls at the end of the history that can be run now; the turn has their tools then.
--- @param turn oaichat.Turn
--- @return table|nil message
function M.open_round(turn)
  local messages = turn.session._messages
  local last = messages[#messages]
  if turn.added[1] or not last or not last.tool_calls then return nil end
  turn.tools = M.tools(turn)
  local calls = {}
  for i, call in ipairs(last.tool_calls) do calls[i] = { name = call["function"].name } end
  return turn.tools and turn.tools:takes(calls) and last or nil
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

local function is_plain(turn)
  return next(turn.opts) == nil and not turn.tools and not turn.plan and not turn.changes
end

--- The options of the next request, as a wire renders them.
--- @param turn oaichat.Turn
--- @return table
function M.options(turn)
  local session, opts = turn.session, turn.opts
  if is_plain(turn) then return asked_of.plain(session, turn.streaming) end
  local asked = asked_of.session(session, opts, turn.streaming)
  local list = turn.tools and turn.tools.list[1] and turn.tools.list or nil
  local parallel = M.option(turn, "parallel_tool_calls")
  asked.tools, asked.tool_choice = list, list and tool_choice(turn)
  if list and parallel ~= nil then asked.params = tables.merged(asked.params, { parallel_tool_calls = parallel }) end
  if turn.plan then asked.params = tables.merged(asked.params, { response_format = turn.plan:response_format() }) end
  asked = asked_of.settled(session, asked)
  return turn.changes and tables.merged(asked, turn.changes) or asked
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
