--- context: keeps what a session sends within the model's context window: counts,
-- warns, leaves whole rounds out, or has them summarised. What is left out of a
-- request stays in the history.

local errors = require "oaichat.errors"
local observe = require "oaichat.observe"
local options = require "oaichat.options"
local tables = require "oaichat.tables"
local tokens = require "oaichat.tokens"
local window = require "oaichat.window"

local M = {}

local OPTIONS = {
  max_tokens = "number", reserve = "number", strategy = "string", warn_at = "number", keep_last = "number",
  pinned = "function", ranks = "string", encoding = "string", prompt = "string",
}

local STRATEGIES = { drop = true, summarise = true, error = true }

local PROMPT = "Summarise the conversation so far for yourself: keep names, numbers, decisions, open questions "
  .. "and what was promised. Write plain sentences, at most 200 words."

--- @class oaichat.Context
--- @field used table|nil of the last request: tokens, room, estimated, dropped
local Context = {}
Context.__index = Context

--- @param opts table max_tokens of the window; reserve (1024) for the answer; strategy "drop" (whole rounds, oldest
---   first), "summarise" (a model writes what they said) or "error"; warn_at (0.8) of the room; keep_last (1) rounds;
---   pinned(message); ranks: path of a .tiktoken file, without it tokens are estimated; encoding; prompt
--- @param model string
--- @return oaichat.Context|nil context, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts, model)
  options.check(opts, OPTIONS, "context.")
  local strategy = opts.strategy or "drop"
  if not opts.max_tokens then errors.misuse "context.max_tokens is missing" end
  if not STRATEGIES[strategy] then errors.misuse(("context.strategy: %s is none"):format(strategy)) end
  local wrong = options.bad_number(opts, "context.")
  if wrong then return errors.fail { kind = "config", code = "config", message = wrong } end
  local counter, why, err = tokens.new { encoding = opts.encoding, model = model, ranks = opts.ranks }
  if not counter then return nil, why, err end
  return setmetatable({
    _max = opts.max_tokens, _reserve = opts.reserve or 1024, _strategy = strategy, _warn_at = opts.warn_at or 0.8,
    _keep_last = opts.keep_last, _pinned = opts.pinned, _prompt = opts.prompt or PROMPT, _counter = counter,
    waits = strategy == "summarise",
  }, Context)
end

function Context:_window(talk, definitions)
  return {
    max = self._max, reserve = self._reserve, system = talk.system, counter = self._counter, pinned = self._pinned,
    keep_last = self._keep_last, overhead = definitions and (self._counter:tools(definitions)) or nil,
  }
end

--- The tokens of a request.
--- @param talk { system: string|nil, messages: table[] }
--- @param definitions table|nil of tools
--- @return integer tokens
--- @return boolean estimated
function Context:count(talk, definitions)
  local list = {}
  if talk.system then list[1] = { role = "system", content = talk.system } end
  for _, one in ipairs(talk.messages) do list[#list + 1] = one end
  local n, estimated = self._counter:messages(list)
  local more, guessed = 0, false
  if definitions then more, guessed = self._counter:tools(definitions) end
  return n + more, estimated or guessed
end

-- Told once, until there is room again.
local function warn(context, tokens_used, log)
  local share = tokens_used / math.max(context._max - context._reserve, 1)
  if share < context._warn_at then
    context._warned = false
  elseif not context._warned then
    context._warned = true
    observe.tell(log, "warn", "context", { tokens = tokens_used, max = context._max, share = share })
  end
end

--- The conversation that fits.
--- @param talk { system: string|nil, messages: table[], origin: string }
--- @param definitions table|nil of tools
--- @param log function|nil
--- @return table|nil talk, string|nil message, oaichat.Error|nil err kind "context_length"
function Context:fit(talk, definitions, log)
  local needed = self:count(talk, definitions)
  warn(self, needed, log)
  if self._strategy == "error" and needed > self._max - self._reserve then
    return errors.fail {
      kind = "context_length", code = "context_length_exceeded",
      message = ("the conversation takes %d tokens; there is room for %d"):format(needed, self._max - self._reserve),
    }
  end
  local list, info, err = window.fit(talk.messages, self:_window(talk, definitions))
  if not list then return nil, info, err end
  self.used = info
  return { system = talk.system, messages = list, origin = talk.origin }
end

--- Whether a request is beyond the window.
function Context:over(talk, definitions)
  return self:count(talk, definitions) > self._max - self._reserve
end

-- Asks the model for a summary, beside the conversation.
local function summarise(context, session, messages)
  local writer = session:fork()
  writer._messages, writer._context = tables.add({}, messages), nil
  writer._options = tables.merged(writer._options)
  writer._options.schema = nil -- a summary is words
  local reply, why, err = writer:send(context._prompt, { tools = {} })
  if not reply then return nil, why, err end
  return reply.text
end

--- Puts a summary of the oldest rounds in their place; the originals are kept in its
--- meta. Waits for the model.
--- @param session oaichat.Session
--- @param definitions table|nil of tools
--- @return table[]|nil messages nil alone: there is nothing to summarise
--- @return string|nil message
--- @return oaichat.Error|nil err
function Context:compact(session, definitions)
  local talk = { system = session.system, messages = session._messages }
  local plan = window.compact_plan(talk.messages, self:_window(talk, definitions))
  if not plan then return nil end
  local text, why, err = summarise(self, session, plan.messages)
  if not text then return nil, why, err end
  local list = window.apply_summary(session._messages, plan, text)
  for _, one in ipairs(list) do
    if one.meta and one.meta.summary_of and not one.meta.originals then one.meta.originals = plan.messages end
  end
  return list
end

return M
