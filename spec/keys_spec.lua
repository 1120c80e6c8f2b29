--- Keys: from a function, a file, a command, the environment; asked for again after a 401;
-- in no text and, where the environment has it, in no Lua string.
-- luacheck: no max line length

local chat = require "oaichat"
local folder = require "spec.support.folder"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local server, dir

-- A server that takes the keys of a list, refuses others with a 401.
local function serve(good)
  server = assert(testing.server(function(request, response)
    local key = request.headers.authorization or request.headers["api-key"]
    for _, one in ipairs(good) do
      if key == one then return play.good(request, response) end
    end
    response:json(401, { error = { message = "Incorrect API key provided: " .. tostring(key), code = "invalid_api_key" } })
  end))
  return server
end

local function session(opts)
  return assert(chat.new {
    base_url = server.url, model = "m", retry = { max = opts.max or 0 }, api_key = opts.api_key, key_header = opts.key_header,
    fallbacks = opts.fallbacks,
  })
end

local function keys_sent()
  local out = {}
  for i, request in ipairs(server.requests) do out[i] = request.headers.authorization or request.headers["api-key"] or "none" end
  return out
end

local function write(name, text, mode)
  local path = dir .. "/" .. name
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  assert(folder.run(("chmod %s '%s'"):format(mode or "600", path)))
  return path
end

describe("a key", function()
  before_each(function()
    dir = folder.new()
    leaks.remember()
  end)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    folder.remove(dir)
    leaks.check()
  end)

  it("of a function is asked for before each request, and used from then on", function()
    serve { "Bearer k1", "Bearer k2", "Bearer k3" }
    local n = 0
    local s = session { api_key = function() n = n + 1 return "k" .. n end }
    assert.equal(0, n)
    for _ = 1, 3 do assert(s:send "hi") end
    assert.same({ "Bearer k1", "Bearer k2", "Bearer k3" }, keys_sent())
  end)

  it("of a function that waits is waited for, in a task too", function()
    serve { "Bearer k" }
    local s = session { api_key = function() chat.sleep(0.01) return "k" end }
    assert(s:send "hi")
    local text
    chat.spawn(function() text = s:send("hi").text end)
    chat.run()
    assert.equal("good", text)
  end)

  it("that is refused is asked for once more: another one is tried at once, the same one not", function()
    serve { "Bearer new" }
    local path = write("key", "old\n")
    local s = session { api_key = { file = path } }
    local reply, _, err = s:send "hi"
    assert.is_nil(reply)
    assert.equal("authentication", err.kind)
    assert.same({ "Bearer old" }, keys_sent())
    write("key", "new\n")
    reply = assert(s:send "hi")
    assert.equal(2, #reply.attempts)
    assert.equal("authentication", reply.attempts[1].kind)
    assert.same({ "Bearer old", "Bearer old", "Bearer new" }, keys_sent())
    assert.equal("good", s:stream("more"):result().text)
    assert.equal("Bearer new", keys_sent()[4])
  end)

  it("is not asked for a second time in one request", function()
    serve {}
    local n = 0
    local s = session { api_key = function() n = n + 1 return "k" .. n end, max = 2 }
    local _, _, err = s:send "hi"
    assert.equal("authentication", err.kind)
    assert.same({ "Bearer k1", "Bearer k2" }, keys_sent())
  end)

  it("of a command is its output, once", function()
    serve { "Bearer from-command" }
    local s = session { api_key = { command = { "sh", "-c", "echo x >>'" .. dir .. "/runs'; echo from-command" } } }
    assert(s:send "hi")
    assert(s:send "hi")
    assert.equal("x\n", folder.read(dir .. "/runs"))
  end)

  it("that cannot be had is authentication, with the reason and nothing sent", function()
    serve {}
    local cases = {
      { function() error "vault is closed" end, "vault is closed" }, { function() return nil, "no token" end, "no token" },
      { function() return 7 end, "no string" }, { function() return "a\nb" end, "control character" },
      { { file = dir .. "/none" }, "none" }, { { file = write("open", "k", "644") }, "chmod 600" },
      { { command = { "false" } }, "status 1" }, { { command = { dir .. "/no-such-program" } }, "command" },
    }
    for _, case in ipairs(cases) do
      local reply, text, err = session { api_key = case[1] }:send "hi"
      assert.is_nil(reply)
      assert.equal("authentication", err.kind)
      assert.equal("key", err.code)
      assert.truthy(text:find(case[2], 1, true), text)
    end
    assert.equal(0, #server.requests)
  end)

  it("of the environment is named, and stays in C", function()
    serve {}
    local s, text, err = chat.new { base_url = server.url, api_key = { env = "OAICHAT_SPEC_NO_SUCH_KEY" } }
    assert.is_nil(s)
    assert.equal("config", err.kind)
    assert.truthy(text:find("OAICHAT_SPEC_NO_SUCH_KEY", 1, true))
    s = session { api_key = { env = "PATH" } } -- some variable that is there
    local bad = os.getenv "PATH"
    local _, _, refused = s:send "hi"
    assert.equal("Bearer " .. bad, keys_sent()[1])
    assert.falsy(refused.message:find(bad, 1, true))
  end)

  it("of a form that is none raises", function()
    for _, bad in ipairs { true, 7, {}, { env = 1 }, { file = "" }, { command = "pass show x" }, { command = {} }, { env = "A", file = "b" } } do
      assert.is_false(pcall(chat.new, { base_url = "http://127.0.0.1:1", api_key = bad }))
    end
  end)

  it("stands in the header that is named, bare", function()
    serve { "secret-1" }
    local s = session { api_key = "secret-1", key_header = "api-key" }
    assert(s:send "hi")
    assert.is_nil(server.requests[1].headers.authorization)
    local _, _, err = chat.new { base_url = server.url, api_key = "x", key_header = "a b" }
    assert.equal("config", err.kind)
  end)

  it("that a server repeats is masked, also a new one", function()
    serve {}
    local s = session { api_key = function() return "sekrit-4711" end }
    local _, text, err = s:send "hi"
    assert.falsy(text:find("sekrit", 1, true))
    assert.falsy(tostring(err.safe_message):find("sekrit", 1, true))
    assert.falsy(tostring(s):find("sekrit", 1, true))
  end)

  it("crosses no network unencrypted because it comes later", function()
    serve {}
    local s = assert(chat.new { base_url = "http://192.0.2.1/v1", api_key = function() return "k" end, timeouts = { connect = 0.1 } })
    local _, text, err = s:send "hi"
    assert.equal("authentication", err.kind)
    assert.truthy(text:find("unencrypted", 1, true))
  end)

  it("serves a fallback at the same origin and a client too, and no other origin", function()
    serve { "Bearer k" }
    local other = assert(testing.server(play.good))
    local client = assert(chat.client { base_url = server.url, api_key = function() return "k" end, retry = { max = 0 } })
    local value = client:request("POST", "/chat/completions", { body = { model = "m", messages = {} } })
    assert.truthy(value)
    assert(client:request("POST", "/chat/completions", { body = { model = "m", messages = {} }, result = "bytes" }))
    local s = session {
      api_key = function() return "bad" end, fallbacks = { { base_url = other.url, model = "m2" } },
    }
    assert.equal("good", s:send("hi").text)
    assert.is_nil(other.requests[1].headers.authorization)
    other:close()
  end)
end)
