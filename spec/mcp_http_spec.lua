--- MCP over streamable HTTP: the spec plays the server in its own thread.

local chat = require "oaichat"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local mcp = require "oaichat.mcp"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

local server, clients, on, sessions

local function answer(request, response, result, extra)
  local message = { jsonrpc = "2.0", id = request:json().id, result = result }
  response:json(200, message, extra)
end

local function refuse(request, response, status, code, text, data)
  response:json(status, {
    jsonrpc = "2.0", id = request:json().id, error = { code = code, message = text, data = data },
  })
end

local function connect(options)
  local all = { url = server.url:gsub("/v1$", "/mcp"), timeout = 5, start_timeout = 5 }
  for name, value in pairs(options or {}) do all[name] = value end
  local client, message, err = mcp.connect(all)
  clients[#clients + 1] = client
  return client, message, err
end

-- A server of 2025-11-25 with sessions; `on` has what a spec wants otherwise.
local function legacy()
  on.POST["server/discover"] = function(request, response) refuse(request, response, 400, -32000, "not initialized") end
  on.POST.initialize = function(request, response)
    sessions = sessions + 1
    answer(request, response, {
      protocolVersion = "2025-11-25", capabilities = { tools = json.object {} }, serverInfo = { name = "play" },
    }, { ["Mcp-Session-Id"] = "s" .. sessions })
  end
  on.POST["notifications/initialized"] = function(_, response) response:body(202, "") end
  on.POST["notifications/cancelled"] = function(_, response) response:body(202, "") end
  on.POST.ping = function(request, response) answer(request, response, json.object {}) end
  on.POST["tools/call"] = function(request, response)
    local params = request:json().params
    answer(request, response, { content = { { type = "text", text = json.encode(params.arguments) } } })
  end
  on.DELETE = function(_, response) response:body(204, "") end
end

-- A server of 2026-07-28.
local function modern()
  on.POST["server/discover"] = function(request, response)
    answer(request, response, {
      resultType = "complete", supportedVersions = { "2026-07-28" }, capabilities = { tools = json.object {} },
    })
  end
end

local function last(method)
  for i = #server.requests, 1, -1 do
    local request = server.requests[i]
    if request.method == (method:match "^%u+$" or "POST") then
      if method:find "^%u+$" or request:json().method == method then return request end
    end
  end
end

before_each(function()
  leaks.remember()
  clients, sessions, on = {}, 0, { POST = {} }
  server = assert(testing.server(function(request, response)
    local handler = on[request.method]
    if type(handler) == "table" then handler = handler[request:json().method or "response"] end
    if not handler then return response:body(405, "") end
    return handler(request, response)
  end))
end)

after_each(function()
  for _, client in ipairs(clients) do client:close() end
  assert.same({}, server.errors)
  server:close()
  server, on, clients = nil, nil, nil
  leaks.check()
end)

describe("an MCP server behind a URL", function()
  it("is greeted, keeps a session, and is told its end", function()
    legacy()
    local client = assert(connect())
    assert.equal("2025-11-25", client.version)
    assert.equal("play", client.server.name)
    local first = last "server/discover"
    assert.equal("/mcp", first.path)
    assert.equal("2026-07-28", first.headers["mcp-protocol-version"])
    assert.equal("server/discover", first.headers["mcp-method"])
    local hello = last "initialize"
    assert.equal("application/json, text/event-stream", hello.headers.accept)
    assert.equal("application/json", hello.headers["content-type"])
    assert.is_nil(hello.headers["mcp-protocol-version"])
    assert.equal("s1", last("notifications/initialized").headers["mcp-session-id"])
    assert.equal('{"a":1}', assert(client:call("t", { a = 1 })).content[1].text)
    local call = last "tools/call"
    assert.equal("s1", call.headers["mcp-session-id"])
    assert.equal("2025-11-25", call.headers["mcp-protocol-version"])
    assert.is_nil(call.headers["mcp-method"])
    client:close()
    assert.equal("s1", last("DELETE").headers["mcp-session-id"])
  end)

  it("says what is asked in headers where it knows the newest revision", function()
    modern()
    on.POST["tools/list"] = function(request, response)
      local function tool(name, properties)
        return { name = name, inputSchema = { type = "object", properties = properties } }
      end
      answer(request, response, { ttlMs = 60000, tools = {
        tool("räum auf", {
          city = { type = "string", ["x-mcp-header"] = "City" },
          deep = { type = "object", properties = { n = { type = "integer", ["x-mcp-header"] = "N" } } },
          yes = { type = "boolean", ["x-mcp-header"] = "Yes" },
          other = { type = "string", ["x-mcp-header"] = "Other" },
        }),
        tool("a fraction", { n = { type = "number", ["x-mcp-header"] = "N" } }),
        tool("in a list", { list = { type = "array", items = { type = "string", ["x-mcp-header"] = "N" } } }),
        tool("no name", { n = { type = "string", ["x-mcp-header"] = "a b" } }),
        tool("twice", {
          a = { type = "string", ["x-mcp-header"] = "a" }, b = { type = "string", ["x-mcp-header"] = "A" },
        }),
      } })
    end
    on.POST["tools/call"] = function(request, response)
      answer(request, response, { resultType = "complete", content = json.array {} })
    end
    on.POST["resources/read"] = function(request, response) answer(request, response, { contents = json.array {} }) end
    local client = assert(connect())
    assert.equal("2026-07-28", client.version)
    local tools = assert(client:tools())
    assert.equal(1, #tools)
    assert.equal(1, #client:tools()) -- fresh for a minute
    assert.equal("r__um_auf", tools[1].name)
    tools[1].run { city = "Köln", deep = { n = 4 }, yes = false, other = json.null }
    local headers = last("tools/call").headers
    assert.equal("=?base64?csOkdW0gYXVm?=", headers["mcp-name"])
    assert.equal("=?base64?S8O2bG4=?=", headers["mcp-param-city"])
    assert.equal("4", headers["mcp-param-n"])
    assert.equal("false", headers["mcp-param-yes"])
    assert.is_nil(headers["mcp-param-other"])
    assert.equal("2026-07-28", headers["mcp-protocol-version"])
    assert.is_nil(headers["mcp-session-id"])
    local meta = last("tools/call"):json().params._meta
    assert.equal("2026-07-28", meta["io.modelcontextprotocol/protocolVersion"])
    assert.equal("oaichat", meta["io.modelcontextprotocol/clientInfo"].name)
    assert(client:read "a:b")
    assert.equal("a:b", last("resources/read").headers["mcp-name"])
    local coded = { [" x"] = "=?base64?IHg=?=", ["=?base64?literal?="] = "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=" }
    for value, header in pairs(coded) do
      assert(client:read(value))
      assert.equal(header, last("resources/read").headers["mcp-name"])
    end
    client:close()
    assert.is_nil(last "DELETE")
  end)

  it("that misses a header is asked again, with what its list says now", function()
    modern()
    on.POST["tools/list"] = function(request, response)
      answer(request, response, { tools = { { name = "t", inputSchema = { type = "object", properties = {
        city = { type = "string", ["x-mcp-header"] = "City" },
      } } } } })
    end
    on.POST["tools/call"] = function(request, response)
      if not request.headers["mcp-param-city"] then
        return refuse(request, response, 400, -32020, "Header mismatch")
      end
      answer(request, response, { content = json.array {} })
    end
    local client = assert(connect())
    assert(client:call("t", { city = "a" }))
    local _, _, err = client:call("t", {})
    assert.equal("protocol", err.kind)
    assert.equal("-32020", err.code)
  end)

  it("may answer by a stream of events, with reports and questions in it", function()
    legacy()
    local replies = {}
    on.POST.response = function(request, response)
      replies[#replies + 1] = request:json()
      response:body(202, "")
    end
    on.POST["tools/call"] = function(request, response)
      local id = request:json().id
      response:write ": hello\nid: 1\ndata:\n\n"
      response:event({ jsonrpc = "2.0", id = "q", method = "ping" }, nil, "message")
      response:event({ jsonrpc = "2.0", id = "r", method = "roots/list" })
      response:event({ jsonrpc = "2.0", method = "notifications/progress", params = {
        progressToken = request:json().params._meta.progressToken, progress = 1,
      } }, 7)
      response:event("not for us", nil, "other")
      response:event({ jsonrpc = "2.0", id = id, result = { content = json.array {} } }, 5):finish()
    end
    local reports = {}
    local client = assert(connect())
    assert(client:call("t", {}, { on_progress = function(report) reports[#reports + 1] = report.progress end }))
    assert.same({ 1 }, reports)
    assert(client:ping())
    table.sort(replies, function(a, b) return a.id < b.id end)
    assert.same({ { jsonrpc = "2.0", id = "q", result = {} },
      { jsonrpc = "2.0", id = "r", error = { code = -32601, message = "Method not found" } } }, replies)
  end)

  it("that lost the session is greeted again, once for a call", function()
    legacy()
    local client = assert(connect())
    local refused = 0
    on.POST["tools/call"] = function(request, response)
      if request.headers["mcp-session-id"] == "s1" or refused == 99 then
        return refuse(request, response, 404, -32001, "Session not found")
      end
      answer(request, response, { content = { { type = "text", text = request.headers["mcp-session-id"] } } })
    end
    local results = chat.gather {
      function() return client:call("a").content[1].text end,
      function() return client:call("b").content[1].text end,
    }
    assert.same({ "s2", "s2" }, results)
    refused = 99
    local _, _, err = client:call "c"
    assert.equal("not_found", err.kind)
    assert.equal(3, sessions)
  end)

  it("has a stream that broke taken up behind its last event", function()
    legacy()
    local id
    on.POST["tools/call"] = function(request, response)
      id = request:json().id
      response:write("retry: 10\nid: e1\ndata:\n\n"):finish()
    end
    on.GET = function(request, response)
      assert(request.headers["mcp-session-id"] == "s1" and request.headers.accept == "text/event-stream")
      if request.headers["last-event-id"] == "e1" then
        return response:write("id: e2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n"):close()
      end
      response:event({ jsonrpc = "2.0", id = id, result = { content = json.array {} } }):finish()
    end
    local client = assert(connect())
    assert(client:call "t")
    assert.equal("e2", last("GET").headers["last-event-id"])
    on.GET = function(_, response) response:body(405, "") end
    local _, _, err = client:call "t"
    assert.equal("invalid_request", err.kind)
    on.GET = function(_, response) response:head(200):finish() end
    _, _, err = client:call "t"
    assert.equal("incomplete_stream", err.kind)
  end)

  it("fails by its status, or by what it says", function()
    legacy()
    local client = assert(connect())
    local cases = {
      { 401, "authentication" }, { 403, "permission" }, { 429, "rate_limit" }, { 500, "server" }, { 503, "overloaded" },
      { 400, "invalid_request" },
    }
    for _, case in ipairs(cases) do
      on.POST["tools/call"] = function(_, response) response:body(case[1], "no") end
      local _, message, err = client:call "t"
      assert.equal(case[2], err.kind)
      assert.equal(case[1], err.status)
      assert.truthy(message:find(": no", 1, true))
    end
    on.POST["tools/call"] = function(request, response) refuse(request, response, 400, -32602, "bad city") end
    local _, message, err = client:call "t"
    assert.equal("-32602", err.code)
    assert.truthy(message:find("bad city", 1, true))
    on.POST["tools/call"] = function(_, response)
      response:json(200, { jsonrpc = "2.0", id = json.null, error = { code = -32700, message = "what?" } })
    end
    assert.equal("-32700", select(3, client:call "t").code)
  end)

  it("fails when its answer is none", function()
    legacy()
    local client = assert(connect())
    local cases = {
      { function(_, response) response:body(202, "") end, "protocol" },
      { function(_, response) response:body(200, "<html>", { ["Content-Type"] = "text/html" }) end, "protocol" },
      { function(_, response) response:body(200, "{", { ["Content-Type"] = "application/json" }) end, "protocol" },
      { function(_, response) response:event("{"):finish() end, "protocol" },
      { function(_, response) response:event({ jsonrpc = "2.0", id = 9999, result = {} }):finish() end, "protocol" },
      { function(_, response) response:event({ jsonrpc = "2.0", method = "x" }):close() end, "incomplete_stream" },
      { function(_, response) response:close() end, "network" },
    }
    for i, case in ipairs(cases) do
      on.POST["tools/call"] = case[1]
      local _, _, err = client:call "t"
      assert.equal(case[2], err.kind, i)
    end
  end)

  it("is bounded in bytes", function()
    legacy()
    local client = assert(connect { limits = { message_bytes = 2000 } })
    local text = ("x"):rep(3000)
    on.POST["tools/call"] = function(request, response) answer(request, response, { content = text }) end
    assert.equal("too_large", select(3, client:call "t").kind)
    on.POST["tools/call"] = function(_, response) response:event(text):finish() end
    assert.equal("too_large", select(3, client:call "t").kind)
  end)

  it("hears of a call that took too long or was canceled", function()
    legacy()
    local client = assert(connect())
    on.POST["tools/call"] = function(_, response) response:write ": wait\n\n" end
    local _, _, err = client:call("t", {}, { timeout = 0.05 })
    assert.equal("timeout", err.kind)
    assert(client:ping())
    assert.equal("timeout", last("notifications/cancelled"):json().params.reason)
    assert.equal(last("tools/call"):json().id, last("notifications/cancelled"):json().params.requestId)
    local task = chat.spawn(function() return client:call "t" end)
    for _ = 1, 3 do chat.step() end
    task:cancel()
    err = select(3, task:wait())
    assert.equal("canceled", err.kind)
    assert(client:ping())
    assert.equal("canceled", last("notifications/cancelled"):json().params.reason)
  end)

  it("gets the key in a header, and nobody sees it in an error", function()
    legacy()
    local client = assert(connect { api_key = "sk-secret-123456", headers = { ["X-One"] = "1" } })
    assert.equal("Bearer sk-secret-123456", last("initialize").headers.authorization)
    assert.equal("1", last("initialize").headers["x-one"])
    on.POST["tools/call"] = function(request, response)
      refuse(request, response, 200, -32000, "bad key sk-secret-123456")
    end
    local _, message, err = client:call "t"
    assert.is_nil(message:find("secret", 1, true))
    client = assert(connect { headers = { Authorization = "Bearer sk-secret-123456" } })
    message = select(2, client:call "t")
    assert.is_nil(message:find("secret", 1, true))
    assert.truthy(message:find("[masked]", 1, true))
    assert.equal("server", err.kind)
    local refused
    refused, _, err = mcp.connect { url = "http://example.invalid/mcp", api_key = "sk-secret-123456" }
    assert.is_nil(refused)
    assert.equal("config", err.kind)
  end)

  it("may lead elsewhere within its origin", function()
    legacy()
    local plain = server.handler
    server.handler = function(request, response)
      if request.path == "/mcp" then return response:body(307, "", { Location = "/mcp/" }) end
      return plain(request, response)
    end
    local client = assert(connect())
    assert.equal("{}", client:call("t").content[1].text)
  end)

  it("says why it cannot be reached", function()
    on.POST["server/discover"] = function(_, response) response:body(401, "who?") end
    local client, message, err = connect()
    assert.is_nil(client)
    assert.equal("authentication", err.kind)
    assert.truthy(message:find("who?", 1, true))
    assert.equal(1, #server.requests)
    client, message, err = mcp.connect { url = "http://127.0.0.1:1/mcp" }
    assert.is_nil(client)
    assert.equal("network", err.kind)
    assert.truthy(message:find("could not connect", 1, true))
    on.POST["server/discover"] = nil
    client, message, err = connect()
    assert.is_nil(client)
    assert.equal("invalid_request", err.kind) -- 405, to either greeting
    assert.truthy(message:find("405", 1, true))
  end)

  it("is told the end while the host's loop turns, where nobody may wait", function()
    legacy()
    local client = assert(connect())
    clients = {}
    local allow = wait.forbid "a game"
    client:close()
    for _ = 1, 200 do
      if last "DELETE" and not client._link.transport then break end
      chat.step()
      chat.wait(0.01)
    end
    allow()
    assert.truthy(last "DELETE")
    assert.is_nil(client._link.transport)
  end)

  it("is asked over one connection", function()
    legacy()
    local client = assert(connect())
    on.POST["tools/call"] = function(request, response)
      response:event({ jsonrpc = "2.0", id = request:json().id, result = json.object {} }):finish()
    end
    for _ = 1, 10 do assert(client:call "t") end
    assert.equal(1, server.accepted)
  end)

  it("takes many calls at a time", function()
    legacy()
    local client = assert(connect())
    local held = {}
    on.POST["tools/call"] = function(request, response)
      held[#held + 1] = { request, response }
      if #held < 5 then return end
      for i = #held, 1, -1 do
        local n = held[i][1]:json().params.arguments.n
        answer(held[i][1], held[i][2], { content = { { type = "text", text = tostring(n) } } })
      end
    end
    local functions = {}
    for i = 1, 5 do
      functions[i] = function() return client:call("t", { n = i }).content[1].text end
    end
    assert.same({ "1", "2", "3", "4", "5" }, (chat.gather(functions)))
  end)
end)
