--- window: which messages of a conversation fit a model's context window. Pure: it
-- takes a list and gives another; messages are neither changed nor copied.
--
-- Whole rounds are dropped, a user's turn with everything up to the next one, so that
-- a call keeps its results. The system prompt (each message of role system or
-- developer that is no summary), rounds with a pinned message and the last rounds stay.

local errors = require "oaichat.errors"
local message = require "oaichat.message"
local options = require "oaichat.options"
local tokens = require "oaichat.tokens"

local M = {}

--- @class oaichat.WindowOptions
--- @field max integer tokens of the model's context window
--- @field reserve? integer tokens for the answer
--- @field overhead? integer tokens of what is sent besides messages: the tools
--- @field system? string|table what is sent with the list but is no part of it
--- @field counter? oaichat.TokenCounter one that estimates by default
--- @field pinned? fun(message: table): boolean besides meta.pinned; pins the round
--- @field keep_last? integer rounds that stay, 1 by default and at least
--- @field target? integer of compact_plan: tokens to be left, half of the room by default
--- @field summary? integer of compact_plan: tokens of a summary, an eighth of the target by default

--- @class oaichat.WindowInfo
--- @field tokens integer of the request, what is besides the list included
--- @field estimated boolean
--- @field room integer tokens that there are for it
--- @field dropped integer rounds
--- @field left_out integer messages
--- @field notes string[]|nil what was mended

--- @class oaichat.CompactPlan
--- @field messages table[] to be summarised
--- @field before table[] stays in front of the summary
--- @field after table[] stays behind it
--- @field first integer position of the first message to be summarised
--- @field last integer position of the last one
--- @field total integer messages when the plan was made
--- @field rounds integer to be summarised
--- @field tokens integer of the request with the summary
--- @field estimated boolean
--- @field notes string[]|nil what was mended

local OPTIONS = {
  max = "number", reserve = "number", overhead = "number", system = "string|table", counter = "table",
  pinned = "function", keep_last = "number", target = "number", summary = "number",
}

--- What stands before a summary, so that the model takes it for one.
M.HEADING = "Summary of the conversation so far:\n"

local function is_summary(one)
  return one.meta ~= nil and one.meta.summary_of ~= nil
end

local function is_system(one)
  return (one.role == "system" or one.role == "developer") and not is_summary(one)
end

local function is_pinned(one, pinned)
  return (one.meta ~= nil and one.meta.pinned == true) or (pinned ~= nil and pinned(one) == true)
end

-- Users' messages in a row are one turn; what is before the first turn is a round too,
-- and each summary.
local function begins_round(one, before)
  if not before then return true end
  return is_summary(one) or is_summary(before) or (one.role == "user" and before.role ~= "user")
end

-- { first, last, cost, pinned } each; the cost is without the system prompt's.
local function split(messages, opts, counter)
  local rounds, fixed, estimated, before = {}, 0, false, nil
  for i, one in ipairs(messages) do
    local cost, guessed = counter:message(one)
    estimated = estimated or guessed
    if is_system(one) then
      fixed = fixed + cost
    else
      if begins_round(one, before) then rounds[#rounds + 1] = { first = i, last = i, cost = 0 } end
      local round = rounds[#rounds]
      round.last, round.cost = i, round.cost + cost
      round.pinned = round.pinned or is_pinned(one, opts.pinned)
      before = one
    end
  end
  return rounds, fixed, estimated
end

local function check(messages, opts, what)
  if type(messages) ~= "table" then errors.misuse(what .. ": a list of messages expected") end
  if type(opts) ~= "table" then errors.misuse(what .. ": options expected") end
  options.check(opts, OPTIONS)
  if not opts.max or opts.max ~= opts.max or opts.max <= 0 then
    errors.misuse(what .. ": max, the tokens of the window, is a positive number")
  end
  for _, name in ipairs { "reserve", "overhead", "keep_last", "target", "summary" } do
    local value = opts[name] or 0
    if value ~= value or value < 0 then errors.misuse(("%s: %s is negative"):format(what, name)) end
  end
end

-- What is sent besides the list: system prompt, tools, the reply's own beginning.
local function besides(opts, counter)
  local list = {}
  if opts.system then list = message.from_input(opts.system) end
  if type(opts.system) == "string" then list[1].role = "system" end
  local cost, estimated = counter:messages(list)
  return cost + (opts.overhead or 0), estimated or (opts.overhead or 0) > 0
end

-- Everything that is asked of a conversation before a message of it is left out.
local function measure(messages, opts)
  local counter = opts.counter or assert(tokens.new())
  local rounds, fixed, estimated = split(messages, opts, counter)
  local more, guessed = besides(opts, counter)
  local sum = fixed + more
  for _, round in ipairs(rounds) do sum = sum + round.cost end
  return {
    rounds = rounds, sum = sum, estimated = estimated or guessed, room = opts.max - (opts.reserve or 0),
    droppable = #rounds - math.max(1, opts.keep_last or 1),
  }
end

-- The list without these rounds; a system prompt in the middle of one stays.
local function without(messages, dropped)
  local out, k = {}, 1
  for i, one in ipairs(messages) do
    while dropped[k] and dropped[k].last < i do k = k + 1 end
    if is_system(one) or not (dropped[k] and i >= dropped[k].first) then out[#out + 1] = one end
  end
  return out
end

--- The messages that fit, the oldest rounds dropped first. A conversation that no API
--- would take is mended before (see message.mend).
--- @param messages table[]
--- @param opts oaichat.WindowOptions
--- @return table[]|nil messages the same list when all fit
--- @return oaichat.WindowInfo|string info or the message of the failure
--- @return oaichat.Error|nil err kind "context_length"
function M.fit(messages, opts)
  check(messages, opts, "window.fit")
  local notes
  messages, notes = message.mend(messages)
  local state = measure(messages, opts)
  local sum, dropped = state.sum, {}
  for i = 1, state.droppable do
    local round = state.rounds[i]
    if sum <= state.room then break end
    if not round.pinned then
      dropped[#dropped + 1] = round
      sum = sum - round.cost
    end
  end
  if sum > state.room then
    return errors.fail {
      kind = "context_length", code = "window",
      message = ("what must be sent takes %s%d tokens, and there is room for %d")
        :format(state.estimated and "about " or "", sum, state.room),
    }
  end
  local out = dropped[1] and without(messages, dropped) or messages
  return out, {
    tokens = sum, estimated = state.estimated, dropped = #dropped, left_out = #messages - #out,
    room = state.room, notes = notes,
  }
end

-- Every message from `first` to `last`, by whether it is to be summarised.
local function parts(messages, last, chosen)
  local plan = { messages = {}, before = {}, after = {}, total = #messages, last = last }
  local k = 1
  for i, one in ipairs(messages) do
    while chosen[k] and chosen[k].last < i do k = k + 1 end
    local mine = chosen[k] and i >= chosen[k].first and not is_system(one)
    local list = mine and plan.messages or i <= last and plan.before or plan.after
    list[#list + 1] = one
    if mine then plan.first = plan.first or i end
  end
  return plan
end

--- What to summarise so that the rest, with the summary, takes `target` tokens: the
--- oldest rounds, earlier summaries among them. What stays of their range (the system
--- prompt, pinned rounds) goes before the summary.
--- @param messages table[]
--- @param opts oaichat.WindowOptions
--- @return oaichat.CompactPlan|nil plan
--- @return string|nil message nothing needs, or can, be summarised
function M.compact_plan(messages, opts)
  check(messages, opts, "window.compact_plan")
  local mended, notes = message.mend(messages)
  local state = measure(mended, opts)
  local target = opts.target or math.floor(state.room / 2)
  local sum, chosen = state.sum, {}
  if sum <= target then return nil, "nothing needs to be summarised" end
  sum = sum + (opts.summary or math.floor(target / 8))
  for i = 1, state.droppable do
    if sum <= target then break end
    local round = state.rounds[i]
    if not round.pinned then
      chosen[#chosen + 1] = round
      sum = sum - round.cost
    end
  end
  if not chosen[1] then return nil, "nothing can be summarised: all is pinned or among the last rounds" end
  local plan = parts(mended, chosen[#chosen].last, chosen)
  plan.rounds, plan.tokens, plan.estimated, plan.notes = #chosen, sum, state.estimated, notes
  return plan
end

local function said(list)
  local count = 0
  for _, one in ipairs(list) do
    count = count + (is_summary(one) and tonumber(one.meta.summary_of.messages) or 1)
  end
  return count
end

--- The conversation with a summary in the place of what it summarises. The originals
--- are the caller's to keep. The summary has meta.summary_of = { messages = how many
--- of the conversation, those of earlier summaries counted }.
--- @param messages table[] those that the plan was made of; others may have been added
--- @param plan table
--- @param text string the summary
--- @return table[]
function M.apply_summary(messages, plan, text)
  if type(text) ~= "string" then errors.misuse "window.apply_summary: the summary is a string" end
  if type(plan) ~= "table" or not plan.messages then errors.misuse "window.apply_summary: a plan expected" end
  local mended = message.mend(messages)
  if #mended < plan.total or (plan.last > 0 and plan.after[1] ~= mended[plan.last + 1]) then
    errors.misuse "window.apply_summary: the plan is of another conversation"
  end
  local out = {}
  for _, one in ipairs(plan.before) do out[#out + 1] = one end
  out[#out + 1] = {
    role = "system", content = M.HEADING .. text, meta = { summary_of = { messages = said(plan.messages) } },
  }
  for i = plan.last + 1, #mended do out[#out + 1] = mended[i] end
  return out
end

return M
