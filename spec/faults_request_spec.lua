--- FAULTS F: what is asked wrongly is found before a connection is made; what is
-- asked rightly arrives as it was said.
-- luacheck: no max line length

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local BASE = "http://127.0.0.1:9/v1"

local function config(opts)
  local session, message, err = chat.new(opts)
  assert.is_nil(session, "a config error was expected")
  assert.equal("config", err.kind)
  assert.equal(message, err.message)
  return err
end

-- A session at a server that answers well; the server.
local function good(opts)
  local server = assert(testing.server(play.good))
  return play.session(server, opts), server
end

describe("faults of requests:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 90: blanks at the ends of a key are trimmed", function()
    for _, key in ipairs { "sk-canary ", "\tsk-canary", " sk-canary\t " } do
      local session, server = good { api_key = key }
      assert.truthy(session:send "hello")
      assert.equal("Bearer sk-canary", server.requests[1].headers.authorization)
      server:close()
    end
  end)

  it("row 90: any other wrong key is config, and the message does not show it", function()
    for _, key in ipairs { "sk-canary\r\nX: y", "sk-ca nary", "sk-canary\n", "sk\tcanary", "sk-can\0ary", "", "  ", "sk-canary\195\169" } do
      local err = config { base_url = BASE, api_key = key }
      assert.is_nil(err.message:find("canary", 1, true))
    end
  end)

  it("row 91: header names and values with CR, LF, NUL are config", function()
    for _, value in ipairs { "a\rb", "a\nb", "a\0b", "a\r\nX-Evil: 1" } do
      config { base_url = BASE, api_key = false, headers = { ["X-Test"] = value } }
      config { base_url = BASE, api_key = false, headers = { ["OpenAI-Organization"] = value } }
      config { base_url = BASE, api_key = false, headers = { [value] = "x" } }
      config { base_url = BASE, api_key = false, model = value }
    end
  end)

  it("row 91: in the options of one turn too, and nothing is sent", function()
    local session, server = good()
    for _, opts in ipairs { { headers = { ["X-Test"] = "a\r\nb" } }, { model = "a\r\nb" } } do
      local reply, _, err = session:send("hello", opts)
      assert.is_nil(reply)
      assert.equal("config", err.kind)
      reply, _, err = session:stream("hello", opts):result()
      assert.is_nil(reply)
      assert.equal("config", err.kind)
    end
    assert.equal(0, server.accepted)
    assert.same({}, session:messages())
    server:close()
  end)

  it("row 92: base_url is normalised or config", function()
    for _, url in ipairs {
      "http://user:canary@127.0.0.1:9/v1", "http://canary@127.0.0.1/v1", "http://127.0.0.1%2Fevil/v1", "http://127.0.0.1:9/a b",
      "http://\195\169.example/v1", "127.0.0.1:9/v1", "", "http://", "ftp://127.0.0.1/", "file:///etc/passwd", "http://127.0.0.1:99999/",
      "http://127.0.0.1:9/\r\nX: y", "gopher://127.0.0.1/",
    } do
      local err = config { base_url = url, api_key = false }
      assert.is_nil(err.message:find("canary", 1, true))
    end
  end)

  it("row 92: slashes at the end and paths are kept right", function()
    local server = assert(testing.server(play.good))
    for path, want in pairs {
      ["/v1"] = "/v1/chat/completions", ["/v1/"] = "/v1/chat/completions", ["/v1//"] = "/v1/chat/completions",
      ["/"] = "/chat/completions", [""] = "/chat/completions", ["/a/b%20c"] = "/a/b%20c/chat/completions",
      ["/v1?api-version=1"] = "/v1/chat/completions?api-version=1",
    } do
      local session = chat.new { base_url = "http://127.0.0.1:" .. server.port .. path, api_key = false }
      assert.truthy(session:send "hello")
      assert.equal(want, server.requests[#server.requests].target)
    end
    server:close()
  end)

  it("row 92: a key over http to a host that is not loopback is config, but with allow_http", function()
    config { base_url = "http://example.com/v1", api_key = "sk-canary" }
    assert.truthy(chat.new { base_url = "http://example.com/v1", api_key = "sk-canary", allow_http = true })
    assert.truthy(chat.new { base_url = "http://example.com/v1", api_key = false })
  end)

  it("row 93: empty tables are {} or, marked, []", function()
    local session, server = good()
    assert.truthy(session:send("hello", {
      tools = { { type = "function", ["function"] = { name = "f", parameters = {
        type = "object", properties = {}, required = json.array {},
      } } } },
      params = { metadata = {}, stop = json.array {} },
    }))
    local body = server.requests[1].body
    for _, part in ipairs { '"properties":{}', '"required":[]', '"metadata":{}', '"stop":[]' } do
      assert.truthy(body:find(part, 1, true), part .. " is not in " .. body)
    end
    server:close()
  end)

  local function cycle()
    local t = { type = "text" }
    t.text = t
    return t
  end

  local function deep()
    local t = { type = "text", text = "x" }
    for _ = 1, 1100 do t = { type = "text", text = "x", x = t } end
    return t
  end

  it("row 94: what is no JSON is encode, with its path, and nothing is sent", function()
    local session, server = good()
    local cases = {
      { cycle(), "content[1].text" }, { { type = "text", text = print }, "content[1].text" },
      { { type = "text", text = io.stdout }, "content[1].text" }, { { type = "text", text = "x", x = 0 / 0 }, "content[1].x" },
      { { type = "text", text = "x", x = math.huge }, "content[1].x" }, { { type = "text", text = "x", x = { [1] = 1, [3] = 3 } }, "content[1].x" },
      { { type = "text", text = "x", x = { 1, a = 2 } }, "content[1].x" }, { deep(), "content[1]" },
      { { type = "text", text = coroutine.create(print) }, "content[1].text" },
    }
    for _, case in ipairs(cases) do
      for _, way in ipairs { "send", "stream" } do
        local reply, _, err
        if way == "send" then reply, _, err = session:send { case[1] } else reply, _, err = session:stream({ case[1] }):result() end
        assert.is_nil(reply)
        assert.equal("invalid_request", err.kind)
        assert.equal("encode", err.code)
        assert.truthy(err.message:find(case[2], 1, true), err.message)
        assert.truthy(err.path:find("messages[1]." .. case[2], 1, true), err.path)
      end
    end
    assert.equal(0, server.accepted)
    assert.same({}, session:messages())
    assert.truthy(session:send "hello")
    server:close()
  end)

  it("row 94: in params too", function()
    local session, server = good()
    local _, _, err = session:send("hello", { params = { temperature = 0 / 0 } })
    assert.equal("encode", err.code)
    assert.truthy(err.path:find("temperature", 1, true))
    assert.equal(0, server.accepted)
    server:close()
  end)

  it("row 95: invalid UTF-8 is encode, with its path, and never sent", function()
    local session, server = good()
    for _, text in ipairs { "a\255b", "\195", "\237\160\128", "\192\128", "\244\144\128\128" } do
      local _, _, err = session:send(text)
      assert.equal("invalid_request", err.kind)
      assert.equal("encode", err.code)
      assert.equal("messages[1].content", err.path)
    end
    assert.equal(0, server.accepted)
    server:close()
  end)

  it("row 96: a message of 50 MB arrives, and a 413 is told", function()
    local size, server
    server = testing.server(function(request, response)
      size = #request.body
      response:json(413, { error = { message = "too much" } })
    end)
    local session = play.session(server)
    local _, _, err = session:send(("x"):rep(50e6))
    assert.is_true(size > 50e6)
    assert.equal("invalid_request", err.kind)
    assert.equal(413, err.status)
    server:close()
    server.requests = {}
  end)
end)
