--- What is held is what would be loaded, and nothing where that cannot be known.

local interpreter = require "spec.support.interpreter"

-- Runs a script in an interpreter of its own; what it prints.
local function run(script, path)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(("package.path, package.cpath = %q, %q\n"):format(path or package.path, package.cpath), script)
  file:close()
  local pipe = io.popen(("'%s' '%s' 2>&1"):format(interpreter(), name))
  local out = pipe:read "*a"
  pipe:close()
  os.remove(name)
  return out
end

local COUNT = [[
local n = 0
for name in pairs(package.preload) do if name:find "^oaichat%." then n = n + 1 end end
io.write(n > 5 and "held" or n == 0 and "none" or n, " ")
]]

local FAILS = [[
local chat = require "oaichat"
local session = assert(chat.new {
  base_url = "http://127.0.0.1:1/v1", model = "m", api_key = false, retry = { max = 0 },
})
]] .. COUNT .. [[
local _, _, err = session:send "q"
io.write(err.kind, " ", err.code)
]]

local can = package.searchpath ~= nil

describe("held modules", function()
  it("are compiled when they are needed, and named as their files", function()
    local out = run(FAILS .. [[ io.write(" ", (debug.getinfo(require "oaichat.turn".start, "S").short_src)) ]])
    assert.matches("^" .. (can and "held" or "none") .. " network connect .*oaichat/turn%.lua$", out)
  end)

  it("are none where another loader has the library", function()
    local out = run([[
      local own = package.path
      package.path = "/nowhere/?.lua"
      table.insert(package.searchers or package.loaders, 2, function(name)
        local path = own:gsub("%?", (name:gsub("%.", "/")))
        for one in path:gmatch "[^;]+" do
          local file = io.open(one, "rb")
          if file then
            local text = file:read "*a"
            file:close()
            return assert((loadstring or load)(text, "=bundle:" .. name))
          end
        end
      end)
    ]] .. FAILS)
    assert.equal("none network connect", out)
  end)

  it("are none in a sandbox without files, without load, without debug", function()
    for _, without in ipairs {
      "io.open = nil", "package.searchpath = nil", "local write = io.write io = { write = write }",
    } do
      assert.equal("none network connect", run(without .. " " .. FAILS))
    end
  end)
end)

describe("who waits", function()
  it("is asked for its own tasks before a host that takes any coroutine for one of its own", function()
    local out = run [[
      local chat, wait, testing = require "oaichat", require "oaichat.wait", require "oaichat.testing"
      wait.register {
        owns = function() return true end,
        park = function() error "the host was asked to wait for a task of ours" end,
      }
      local server = testing.server(function(_, response) response:json(200, testing.completion "a") end)
      local session = chat.new { base_url = server.url, model = "m", api_key = false }
      local done = 0
      for _ = 1, 3 do
        chat.spawn(function()
          assert(session:fork():send "q")
          done = done + 1
        end)
      end
      for _ = 1, 1000 do
        chat.step()
        if done == 3 then break end
        chat.wait(0.01)
      end
      io.write(done)
    ]]
    assert.equal("3", out)
  end)
end)
