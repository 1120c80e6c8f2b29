--- FAULTS J, row 122: what a model says must not command the terminal that shows it.
-- The chat of the demo runs in a process of its own, Neovim in a terminal of its own.
-- luacheck: no max line length

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local interpreter = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

-- JSON's spelling of each, and the bytes that must not come out.
local HOSTILE = {
  { "\\u001b[2J", "\27" }, { "\\u001b]52;c;cm0gLXJm\\u0007", "\27]52;c;cm0gLXJm" }, { "\\u0007", "\7" },
  { "\\u009b31m", "\194\155" }, { "\\u009d52;c;x\\u009c", "\194\157" }, { "\\b\\b\\b", "\8" }, { "x\\rover", "\r" },
  { "\\u007f", "\127" }, { "\\u202e", "\226\128\174" }, { "\\u2066", "\226\129\166" }, { "\\u200f", "\226\128\143" },
  { "\\u061c", "\216\156" }, { "\\u0000", "\0" }, { "\\u2028", "\226\128\168" },
}

local function answer(request, response)
  if request.number > 1 then
    return response:raw(play.http(400, ('{"error":{"message":"no %s"}}'):format(HOSTILE[2][1]))):close()
  end
  response:raw(play.HEAD)
  for _, one in ipairs(HOSTILE) do response:raw(play.text("<" .. one[1] .. "> ")) end
  -- one command in two deltas
  response:raw(play.text "\\u001b"):raw(play.text "]52;c;eA==\\u0007"):raw(play.END):close()
end

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- What the command says while this process serves it.
local function said_by(command)
  local server = assert(testing.server(answer))
  local name = os.tmpname()
  os.execute(("(env OPENAI_BASE_URL=%s OPENAI_API_KEY=sk-spec TERM=xterm %s >%s 2>&1; echo ended >>%s) </dev/null &")
    :format(server.url, command, name, name))
  local stop = core.now() + 30
  repeat
    core.engine():wait(0.05)
    server:step()
  until read(name):find "ended\n$" or core.now() > stop
  local text, requests = read(name), #server.requests
  os.remove(name)
  server:close()
  return text, requests
end

local function quiet(text)
  for _, one in ipairs(HOSTILE) do
    local at = text:find(one[2], 1, true)
    assert.is_nil(at, at and ("%q came out: %q"):format(one[2], text:sub(at - 20, at + 20)))
  end
end

local function succeeds(command)
  local ok = os.execute(command .. " >/dev/null 2>&1")
  return ok == true or ok == 0
end

describe("text that commands the terminal", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 122: is shown, not obeyed, by the chat, in answers and in errors", function()
    local env = ("LUA_PATH='%s' LUA_CPATH='%s'"):format(package.path, package.cpath)
    local text, requests = said_by(("%s sh -c 'printf \"one\\ntwo\\n\" | timeout 20 %s examples/chat.lua'")
      :format(env, interpreter))
    assert.equal(2, requests, text)
    quiet(text)
    for _, word in ipairs { "<\\x1B[2J>", "<\\x1B]52;c;cm0gLXJm\\x07>", "<\\u{009B}31m>", "<x\\x0Dover>", "<\\u{202E}>",
      "<\\u{2066}>", "<\\x00>", "\\x1B]52;c;eA==\\x07" } do
      assert.truthy(text:find(word, 1, true), word .. " is not in " .. text)
    end
    assert.truthy(text:find("error: ", 1, true))
  end)

  it("row 122: is shown, not obeyed, by Neovim", function()
    local cpath = package.cpath:gsub("/build/5%.%d/", "/build/5.1/")
    local library = cpath:match "([^;]*/build/5%.1/)%?%.so"
    if not succeeds "command -v nvim" or not succeeds "command -v script" then return pending "no nvim, or no script" end
    if not library or not succeeds("test -e " .. library .. "oaichat/core.so") then return pending "no build for LuaJIT" end
    local text, requests = said_by(([[LUA_PATH='%s' LUA_CPATH='%s' timeout 20 script -qec "nvim -u NONE -i NONE -n ]]
      .. [[-c 'luafile examples/nvim.lua' -c 'lua Ask(tostring(1))' -c 'lua vim.wait(10000, function() return Answered end)' ]]
      .. [[-c redraw -c 'sleep 100m' -c 'qa!'" /dev/null]]):format(package.path, cpath))
    assert.equal(1, requests, text)
    assert.truthy(text:find("52;c;cm0gLXJm", 1, true), text) -- it is on the screen
    for _, bytes in ipairs { "\27]52;c;cm0gLXJm", "\27]52;c;eA", "\194\155", "\194\157", "\226\128\174", "\226\129\166", "\127" } do
      assert.is_nil(text:find(bytes, 1, true))
    end
  end)
end)
