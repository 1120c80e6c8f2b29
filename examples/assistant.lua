-- assistant: a model in the terminal that can read and write files of this folder, run
-- programs and get URLs. It shows what it is about to do and asks: y, n, or a for
-- "always", which means this very command, file or host.
--   export LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=lua5.4 cpath)"
--   OPENAI_API_KEY=sk-... lua5.4 examples/assistant.lua [FOLDER]
--   OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=qwen3 lua5.4 examples/assistant.lua
--   lua5.4 examples/assistant.lua             the offline bot; bot_tools.lua has its words
-- Try: list the files · read the file README.md · run date · write "hi" to a.txt

local here = arg and arg[0] and arg[0]:match "^(.*[/\\])" or "examples/"
package.path = here .. "?.lua;" .. package.path

local assistant_tools = require "assistant_tools"
local chat = require "oaichat"
local core = require "oaichat.core"
local terminal = require "terminal"

local paint, show, visible, line_of = terminal.paint, terminal.show, terminal.visible, terminal.line

local interactive = core.isatty(0)
local offline = not (terminal.is_set "OPENAI_API_KEY" or terminal.is_set "OPENAI_BASE_URL")

-- Approval ----------------------------------------------------------------------

-- What a person sees of a call, and what "always" would mean.
local describe = {
  run = function(args)
    local shown = {}
    for i, word in ipairs(args.argv) do
      shown[i] = word:find "^[%w_./=:,@%%+-]+$" and word or chat.json.encode(word)
    end
    return "run: " .. table.concat(shown, " "), "this command", table.concat(args.argv, "\0")
  end,
  write_file = function(args)
    -- indented, so that no line of it looks like a question of ours
    local content, path = (args.content .. "\n"):gsub("([^\n]*)\n", "\n  | %1"), args.path
    return ("write %d bytes to %s:%s"):format(#args.content, path, content), "this file", path
  end,
  http_get = function(args)
    local host = args.url:match "^%a+://[^/?#]+" or args.url
    return "get " .. args.url, "this host", host
  end,
}

local allowed = {}
local fresh = true -- the terminal is at the start of a line

-- Called for each call whose tool says approve = true; true lets it run.
local function approve(call)
  local what, scope, key = describe[call.name](call.args)
  key = call.name .. ":" .. key
  if allowed[key] then return true end
  show((fresh and "" or "\n") .. paint("33", visible(what)))
  show(("\nallow? [y]es, [n]o, [a]lways for %s: "):format(scope))
  local answer = (io.read "*l" or ""):lower():match "^%s*(%a?)"
  if not interactive then show "\n" end
  fresh = true
  if answer == "a" then allowed[key] = true end
  return answer == "y" or answer == "a", "they said no"
end

-- One question ------------------------------------------------------------------

local session

local function ask(question)
  local stream = session:stream(question)
  fresh = true
  local ok, err = pcall(function()
    for event in stream:events() do
      if event.type == "text" then
        show(visible(event.text))
        fresh = false
      elseif event.type == "tool_call" and not event.partial then
        show((fresh and "" or "\n") .. paint("2", ("[%s %s]"):format(event.name, line_of(event.arguments, 200))))
        fresh = false
      elseif event.type == "tool_result" then
        local said = type(event.content) == "string" and event.content or "parts"
        show((fresh and "" or "\n") .. paint("2", ("[%s %s]"):format(event.is_error and "!" or "=", line_of(said, 76))))
        show "\n"
        fresh = true
      end
    end
  end)
  if not ok then
    stream:cancel()
    return nil, err
  end
  local reply, message = stream:result()
  return reply, message
end

-- The terminal ------------------------------------------------------------------

local tools = assistant_tools.tools(arg[1] or ".")
local server
if offline then server = require("server").start { pause = interactive and 0.03 or 0 } end
local message
session, message = chat.new {
  base_url = server and server.url, model = server and "offline-bot" or nil,
  system = "You help in a terminal. You have tools for one folder of the user's. Say what you did, shortly.",
  tools = tools, approve = approve,
}

local function fail(text)
  io.stderr:write("error: ", visible(tostring(text)), "\n")
end

if not session then
  fail(message)
  os.exit(1)
end

local commands = {}

function commands.help()
  print "  /tools  what the model may do"
  print "  /reset  forgets the conversation"
  print "  /quit   or Ctrl-D; Ctrl-C stops an answer, the next one leaves (lua takes one)"
end

function commands.tools()
  for _, tool in ipairs(tools) do
    print(("  %-11s %s%s"):format(tool.name, tool.description, tool.approve and paint("33", " (asks)") or ""))
  end
end

function commands.reset()
  session:reset()
end

local function prompt()
  if interactive then show("\n" .. paint("1;36", "you ›") .. " ") end
  return io.read "*l"
end

if interactive then
  print(paint("2", ("%s at %s; /help, /tools, /quit"):format(visible(session.model), server and "the offline bot"
    or visible(os.getenv "OPENAI_BASE_URL" or "api.openai.com"))))
end

local code = 0
for line in prompt do
  local name = line:match "^/(%a+)"
  if name == "quit" then break end
  if name then
    local command = commands[name] or commands.help
    command()
  elseif line:find "%S" then
    local reply, why = ask(line)
    print()
    if not reply and tostring(why):find("interrupted!", 1, true) then
      print(paint("2", "(stopped)"))
    elseif not reply then
      fail(why)
      code = interactive and 0 or 1
    end
  end
end
if server then server:close() end
os.exit(code)
