-- agents: three ways in which sessions work together. There is no framework: an agent
-- is a session with its system prompt and tools, and these are functions.
--   export LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=lua5.4 cpath)"
--   OPENAI_API_KEY=sk-... lua5.4 examples/agents.lua
--   lua5.4 examples/agents.lua                 the offline bot; bot_tools.lua has its words

local here = arg and arg[0] and arg[0]:match "^(.*[/\\])" or "examples/"
package.path = here .. "?.lua;" .. package.path

local chat = require "oaichat"
local terminal = require "terminal"

local schema = chat.schema

local server
if not (terminal.is_set "OPENAI_API_KEY" or terminal.is_set "OPENAI_BASE_URL") then
  server = require("server").start()
end

local function agent(options)
  options.base_url, options.model = server and server.url, server and "offline-bot" or nil
  return assert(chat.new(options))
end

local function say(who, text)
  print(("[%s] %s"):format(who, terminal.visible(text)))
end

-- 1. A session as a tool: the editor asks the librarian, whose own tools and prompt
-- the editor never sees. Each call asks a copy of it, so that nothing is left over.

local books = { moby = "Moby-Dick, 1851", emma = "Emma, 1815" }

local librarian = agent {
  system = "You know the shelf. Look books up; be terse.",
  tools = { {
    name = "search", description = "Finds a book by a word of its title",
    parameters = schema.object { query = schema.string "The word" },
    run = function(args) return books[args.query:lower()] or "no such book" end,
  } },
}

local editor = agent {
  system = "You write about books. Facts come from the librarian.",
  tools = { librarian:as_tool { name = "librarian", description = "Answers questions about the shelf" } },
}

say("editor", assert(editor:send "Ask the librarian: search for Moby").text)

-- 2. Hand-off: a tool without `run` returns control: send comes back with the call, and
-- the program decides. The next agent gets the conversation, and answers its question.

local desk = agent {
  system = "You greet. Billing is done by the billing agent: call to_billing.",
  tools = { chat.tool { name = "to_billing", description = "Hands the customer over to billing" } },
}
local billing = agent {
  system = "You do the billing.",
  tools = { {
    name = "invoice", description = "Looks an invoice up, for billing",
    parameters = schema.object { number = schema.integer() },
    run = function(args) return { number = args.number, total = 42, currency = "EUR" } end,
  } },
}

local function hand_over(from, to, call)
  local history = from:messages()
  history[#history] = nil -- the call is between the program and the first agent
  to:reset():append(history)
  from:append { role = "tool", tool_call_id = call.id, content = "handed over" }
  return to:send() -- without input: it goes on from the history
end

assert(desk:send "My name is Ada.")
local reply = assert(desk:send "I want to talk to billing about invoice number 7.")
local call = reply.tool_calls[1]
if call and call.name == "to_billing" then
  say("desk", "hands over to billing")
  reply = assert(hand_over(desk, billing, call))
  say("billing", reply.text)
  say("billing", ("has %d messages of the conversation"):format(#billing:messages()))
end

-- 3. Side by side: sub-sessions as tasks; the results are in the order of the questions.

local reader = agent { system = "Answer in one sentence." }
local questions = { "What is 12 * 7?", "What is 15% of 80?", "How many r's are in strawberry?" }
local jobs = {}
for i, question in ipairs(questions) do
  jobs[i] = function() return reader:fork():send(question) end
end
local replies, errs = chat.gather(jobs)
for i in ipairs(questions) do
  say("reader " .. i, replies[i] and replies[i].text or errs[i].message)
end
if server then server:close() end
