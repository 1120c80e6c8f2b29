-- chat: talk to a model in the terminal.
--   make demo                                       the offline bot: no key, no network
--   OPENAI_API_KEY=sk-... make demo                 OpenAI
--   OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=llama3.2 make demo
-- With no terminal on stdin each line is a question, and the answers go to
-- stdout: printf 'hello\nI am sad\n' | make demo

local here = arg and arg[0] and arg[0]:match "^(.*[/\\])" or "examples/"
package.path = here .. "?.lua;" .. package.path

local chat = require "oaichat"
local core = require "oaichat.core"
local terminal = require "terminal"

local interactive = core.isatty(0)
local paint, show, visible, is_set = terminal.paint, terminal.show, terminal.visible, terminal.is_set

-- Columns of the terminal; a pipe has none and is never wrapped.
local function columns()
  local pipe = interactive and core.isatty(1) and io.popen "stty size 2>/dev/null"
  if not pipe then return nil end
  local width = (pipe:read "*l" or ""):match "%d+ (%d+)"
  pipe:close()
  return tonumber(width) or 80
end

-- A writer that breaks lines between words. A word is held until it ends, or it
-- is so long that it may as well be shown.
local function wrapper(column)
  local width = columns()
  if not width or width < 20 then return show, function() end end
  local held = ""

  local function put(word, space)
    local _, n = word:gsub("[^\128-\191]", "")
    if column + n > width - 1 and column > 0 and word ~= "" then
      show "\n"
      column = 0
    end
    column = column + n + 1
    if space == "\n" then column = 0 end
    show(word .. space)
  end

  local function write(text)
    held = held .. text
    held = held:gsub("([^ \n]*)([ \n])", function(word, space)
      put(word, space)
      return ""
    end)
    if #held > 24 then
      put(held, "")
      column = column - 1
      held = ""
    end
  end

  return write, function()
    put(held, "")
    held = ""
  end
end

-- Nobody to talk to: the bot answers, from this process, over real HTTP.
local function start_offline()
  if is_set "OPENAI_API_KEY" or is_set "OPENAI_BASE_URL" then return nil end
  return require("server").start { pause = interactive and 0.035 or 0 }
end

local server = start_offline()
local function fail(err)
  io.stderr:write("error: ", visible(tostring(err)), "\n")
end

local session, message = chat.new(server and { base_url = server.url, model = "offline-bot" })
if not session then
  fail(message)
  os.exit(1)
end

-- True, or false and what went wrong; the text is shown as it comes.
local function ask(line)
  local write, finish = wrapper(#"bot › " - 2)
  local stream = session:stream(line)
  local ok, err = pcall(function()
    for text in stream do write(visible(text)) end
  end)
  finish()
  if ok then return true end
  stream:cancel()
  return false, err
end

-- No terminal: one request a line, and no other.
local function answer_lines()
  for line in io.lines() do
    if line:find "%S" then
      local ok, err = ask(line)
      show "\n"
      if not ok then
        fail(err)
        return 1
      end
    end
  end
  return 0
end

local HELP = {
  { "/model [name]", "shows or changes the model" },
  { "/system [text]", "shows or changes its role (try: You are a pirate.)" },
  { "/reset", "forgets the conversation" },
  { "/quit", "or Ctrl-D" },
}

local commands = {}

function commands.help()
  for _, row in ipairs(HELP) do print(("  %s  %s"):format(paint("36", ("%-14s"):format(row[1])), row[2])) end
end

function commands.model(name)
  if name ~= "" then session.model = name end
  print(paint("2", "model: " .. visible(session.model)))
end

function commands.system(text)
  if text ~= "" then session.system = text end
  print(paint("2", session.system and "system: " .. visible(session.system) or "no system message"))
end

function commands.reset()
  session:reset()
  print(paint("2", "forgotten"))
end

function commands.quit()
  return "quit"
end

commands.exit, commands.q = commands.quit, commands.quit

local function run_command(name, rest)
  local command = commands[name]
  if command then return command(rest) end
  print("  no such command: /" .. visible(name) .. "; /help lists them")
end

local function greet()
  print(paint("1", "oaichat") .. paint("2", server and ("  ·  the offline bot at " .. server.url)
    or ("  ·  " .. visible(session.model) .. " at "
      .. visible(is_set "OPENAI_BASE_URL" and os.getenv "OPENAI_BASE_URL" or "api.openai.com"))))
  print(paint("2", "/help for commands, Ctrl-C stops an answer, Ctrl-D leaves"))
end

local function converse()
  greet()
  while true do
    show("\n" .. paint("1;36", "you ›") .. " ")
    local line = io.read "*l"
    if not line then
      print()
      return 0
    end
    local name, rest = line:match "^/(%a+)%s*(.-)%s*$"
    if name then
      if run_command(name, rest) == "quit" then return 0 end
    elseif line:find "%S" then
      show(paint("1;35", server and "bot ›" or "llm ›") .. " ")
      local ok, err = ask(line)
      print()
      if not ok then
        if tostring(err):find("interrupted!", 1, true) then
          print(paint("2", "(stopped)"))
        else
          fail(err)
        end
      end
    end
  end
end

local code = (interactive and converse or answer_lines)()
if server then server:close() end
os.exit(code)
