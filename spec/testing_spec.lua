-- oaichat.testing, with a client of LuaSocket in the same thread: what a server
-- sends is asserted to the byte and to the step. No sessions.

local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"
local found, socket = pcall(require, "socket")

if not found then
  describe("oaichat.testing", function()
    pending("is tested with LuaSocket, which is not installed", function() end)
  end)
  return
end

describe("oaichat.testing", function()
  local server, client

  local function serve(...)
    server = assert(testing.server(...))
    return server
  end

  local function dial()
    client = assert(socket.tcp())
    client:settimeout(0)
    client:connect("127.0.0.1", server.port)
    return client
  end

  -- What the client finds right now, and "closed" at an end.
  local function heard()
    local bytes, problem, partial = client:receive("*a")
    return bytes or partial, problem
  end

  -- Steps the server until the client heard the pattern, an end, or nothing in
  -- two seconds.
  local function hear(pattern)
    local got, limit = "", core.now() + 2
    repeat
      server:step()
      local bytes, problem = heard()
      got = got .. bytes
      if pattern and got:find(pattern) then return got end
      if problem == "closed" or bytes == nil then return got, problem end
    until core.now() > limit
    return got, "silence"
  end

  local function say(bytes)
    local at = 1
    while at <= #bytes do
      local last, _, partial = client:send(bytes, at)
      at = (last or partial) + 1
      server:step()
    end
  end

  local function get(path, more)
    say("GET " .. path .. " HTTP/1.1\r\nHost: x\r\n" .. (more or "") .. "\r\n")
  end

  local function steps(n)
    for _ = 1, n do server:step() end
  end

  local function body_of(answer)
    return answer:match("\r\n\r\n(.*)$")
  end

  before_each(leaks.remember)
  after_each(function()
    if client then client:close() end
    if server then server:close() end
    client, server = nil, nil
    leaks.check()
  end)

  it("answers JSON with its length and keeps the connection", function()
    serve(function(request, response)
      response:json(200, { number = request.number })
    end)
    dial()
    for number = 1, 3 do
      get "/v1/models?x=1"
      local answer = hear "}$"
      assert.truthy(answer:find("^HTTP/1.1 200 OK\r\n"))
      assert.truthy(answer:find("Content%-Type: application/json\r\n"))
      assert.truthy(answer:find("Content%-Length: 12\r\n"))
      assert.equal('{"number":' .. number .. "}", body_of(answer))
    end
    assert.equal(1, server.accepted)
    assert.equal(1, server.requests[3].connection)
    assert.equal("GET", server.requests[3].method)
    assert.equal("/v1/models", server.requests[3].path)
    assert.equal("/v1/models?x=1", server.requests[3].target)
    assert.same({}, server.errors)
  end)

  it("reads a request that comes byte by byte", function()
    serve(function(request, response)
      response:json(200, request:json())
    end)
    dial()
    local request = "POST /v1/chat HTTP/1.1\r\nX-One:  a b \r\nx-one: c\r\n"
      .. 'Content-Length: 11\r\n\r\n{"a":"\195\164 "}'
    for at = 1, #request do
      say(request:sub(at, at))
      steps(1)
    end
    assert.equal('{"a":"\195\164 "}', body_of(hear "}$"))
    assert.equal("a b, c", server.requests[1].headers["x-one"])
    assert.equal("POST", server.requests[1].method)
  end)

  it("reads chunked bodies at any split", function()
    serve(function(request, response)
      response:body(200, "[" .. request.body .. "]")
    end)
    local request = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "5;x=y\r\nhello\r\nB\r\n, world\r\n!!\r\n0\r\nTrailer: t\r\n\r\n"
    for size = 1, #request, 7 do
      dial()
      for at = 1, #request, size do
        say(request:sub(at, at + size - 1))
        steps(1)
      end
      assert.equal("[hello, world\r\n!!]", body_of(hear "%]$"))
      client:close()
    end
    assert.same({}, server.errors)
  end)

  it("takes a body of megabytes", function()
    serve(function(request, response)
      response:body(200, tostring(#request.body))
    end)
    dial()
    local body = ("x"):rep(5e6)
    say("POST / HTTP/1.1\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
    assert.equal("5000000", body_of(hear "\r\n\r\n%d+$"))
  end)

  it("answers a second request that came with the first", function()
    serve(function(request, response)
      response:body(200, "no. " .. request.number .. ";")
    end)
    dial()
    say(("GET / HTTP/1.1\r\n\r\n"):rep(2))
    assert.truthy(hear("no%. 2;"):find("no. 1;", 1, true))
  end)

  it("invites the body of a client that expects a 100, once", function()
    serve(function(request, response) response:body(200, request.body) end)
    dial()
    say "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert.equal("HTTP/1.1 100 Continue\r\n\r\n", (hear "\r\n\r\n"))
    say "ok"
    assert.truthy(hear("ok$"):find("^HTTP/1.1 200 OK\r\n"))
  end)

  it("leaves an expected 100 out when asked to", function()
    serve(function(request, response) response:body(200, request.body) end,
      { no_continue = true })
    dial()
    say "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    steps(5)
    assert.equal("", (heard()))
    say "ok"
    assert.truthy(hear "ok$")
  end)

  it("streams events in pieces, each a chunk and a step of its own", function()
    serve(function(_, response)
      response:head(200)
      response:event("abcdefg", 5):done():finish()
    end)
    dial()
    get "/"
    local head = hear "\r\n\r\n"
    assert.truthy(head:find("Content%-Type: text/event%-stream\r\n"))
    assert.truthy(head:find("Transfer%-Encoding: chunked\r\n"))
    local rest = {}
    for i = 1, 4 do
      server:step()
      rest[i] = heard()
    end
    local all = head .. table.concat(rest)
    assert.equal("5\r\ndata:\r\n5\r\n abcd\r\n5\r\nefg\n\n\r\n"
      .. "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", body_of(all))
    for i = 1, 2 do assert.truthy(#rest[i] <= 10, rest[i]) end
    assert.equal(1, server.open)
  end)

  it("writes raw bytes in exact pieces", function()
    serve { on_connect = function(peer) peer:write("abcdef", 4) end }
    dial()
    steps(1)
    assert.equal("abcd", (hear "abcd"))
    steps(1)
    assert.equal("ef", (heard()))
  end)

  it("ends a body without length or chunks by closing", function()
    serve(function(_, response)
      response:head { status = 200, chunked = false, reason = "Fine" }
      response:write "all of it":finish()
    end)
    dial()
    get "/"
    local answer, problem = hear()
    assert.equal("closed", problem)
    assert.truthy(answer:find("^HTTP/1.1 200 Fine\r\nConnection: close\r\n"))
    assert.equal("all of it", body_of(answer))
    assert.equal(0, server.open)
  end)

  it("closes when the client asked for it", function()
    serve(function(_, response) response:body(200, "bye") end)
    dial()
    get("/", "Connection: close\r\n")
    local answer, problem = hear()
    assert.equal("closed", problem)
    assert.equal("bye", body_of(answer))
  end)

  it("lets a test set, repeat and leave out headers", function()
    serve(function(_, response)
      response:head(429, {
        ["content-type"] = false, ["Set-Cookie"] = { "a=1", "b=2" },
        ["Content-Length"] = 0,
      }):finish()
    end)
    dial()
    get "/"
    assert.equal("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n"
      .. "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n", (hear "\r\n\r\n"))
  end)

  it("pauses between two writes", function()
    serve(function(_, response)
      response:write("a"):pause(0.05):write("b"):finish()
    end)
    dial()
    get "/"
    hear "a\r\n"
    local start = core.now()
    steps(3)
    assert.equal("", (heard()))
    local seconds = server.listener:timeout()
    assert.truthy(seconds > 0 and seconds <= 0.05)
    hear "b\r\n"
    assert.truthy(core.now() - start > 0.02)
  end)

  it("resets after some tokens", function()
    serve(function(_, response) response:event("token"):reset() end)
    dial()
    get "/"
    steps(3)
    assert.equal("closed", client:getoption("error")) -- its word for ECONNRESET
    assert.equal(0, server.open)
    assert.same({}, server.errors)
  end)

  it("half closes and goes on listening", function()
    serve(function(_, response) response:write("x"):shutdown() end)
    dial()
    get "/"
    local _, problem = hear()
    assert.equal("closed", problem)
    assert.equal(1, server.open)
    client:close()
    steps(3)
    assert.equal(true, server.requests[1].peer:closed())
  end)

  it("closes without an answer, and aborts with one queued", function()
    serve { on_connect = function(peer) peer:close() end }
    dial()
    assert.same({ "", "closed" }, { hear() })
    server:close()
    serve(function(_, response) response:write("never"):abort() end)
    dial()
    get "/"
    assert.same({ "", "closed" }, { hear() })
  end)

  it("notices a client that leaves", function()
    serve(function(_, response) response:event("token") end)
    dial()
    get "/"
    hear "token"
    assert.equal(1, server.open)
    client:close()
    steps(3)
    assert.equal(true, server.requests[1].peer:closed())
  end)

  it("answers later, from outside of the handler", function()
    local later
    serve(function(_, response) later = response end)
    dial()
    get "/1"
    get "/2"
    steps(5)
    assert.equal("", (heard()))
    assert.equal(1, #server.requests)
    later:body(200, "one")
    hear "one"
    steps(2)
    assert.equal("/2", server.requests[2].path)
    later:body(200, "two")
    assert.equal("two", body_of(hear "two"))
  end)

  it("turns an error of the handler into a 500 that it remembers", function()
    serve(function() error("no luck", 0) end)
    dial()
    get "/"
    local answer = hear "no luck"
    assert.truthy(answer:find("^HTTP/1.1 500 Internal Server Error\r\n"))
    assert.same({ "no luck" }, server.errors)
    get "/"
    hear "no luck"
    assert.equal(2, #server.errors)
  end)

  it("breaks off when a handler fails after the head", function()
    serve(function(_, response)
      response:head(200)
      error("too late", 0)
    end)
    dial()
    get "/"
    assert.same({ "", "closed" }, { hear() })
    assert.same({ "too late" }, server.errors)
  end)

  it("refuses what is no HTTP", function()
    serve(function() end)
    for _, bytes in ipairs { "hello\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" } do
      dial()
      say(bytes)
      local answer, problem = hear()
      assert.equal("closed", problem)
      assert.truthy(answer:find("^HTTP/1.1 400 "))
      client:close()
    end
    assert.equal(3, #server.errors)
    assert.equal(0, server.open)
  end)

  it("hands the raw peer and its bytes to a test that wants them", function()
    local log = {}
    serve {
      on_connect = function(peer) peer:write "hi" end,
      on_data = function(peer, bytes)
        log[#log + 1] = bytes
        peer:write(bytes:upper())
      end,
      on_close = function() log[#log + 1] = "gone" end,
    }
    dial()
    assert.equal("hi", (hear "hi"))
    say "abc"
    assert.equal("ABC", (hear "ABC"))
    client:close()
    steps(3)
    assert.same({ "abc", "gone" }, log)
  end)

  it("stalls an upload while the peer is held", function()
    local held
    serve {
      on_connect = function(peer) held = peer:hold(true) end,
      on_data = function(peer) peer:write "." end,
    }
    dial()
    steps(3)
    client:send "stuck"
    steps(5)
    assert.equal("", (heard()))
    held:hold(false)
    assert.equal(".", (hear "%."))
  end)

  it("splits event data at newlines and names events", function()
    serve(function(_, response)
      response:event("a\nb", nil, "error"):finish()
    end)
    dial()
    get "/"
    assert.truthy(hear("\r\n0\r\n"):find("event: error\ndata: a\ndata: b\n\n", 1,
      true))
  end)

  it("makes completions and chunks with stable fields", function()
    local completion = testing.completion("hi", { model = "m" })
    assert.equal("hi", completion.choices[1].message.content)
    assert.equal("stop", completion.choices[1].finish_reason)
    assert.equal("m", completion.model)
    local chunk = testing.chunk "hi"
    assert.equal("hi", chunk.choices[1].delta.content)
    assert.equal(json.null, chunk.choices[1].finish_reason)
    chunk = testing.chunk({ role = "assistant" }, { finish_reason = "stop" })
    assert.equal("stop", chunk.choices[1].finish_reason)
    assert.is_nil(chunk.finish_reason)
    assert.equal(chunk.id, completion.id)
  end)

  it("says why it cannot listen", function()
    local none, message = testing.server(print, { host = "nowhere.example" })
    assert.is_nil(none)
    assert.truthy(message:find "^cannot listen at nowhere.example")
    assert.has_error(function() core.listen { prot = 1 } end, "unknown option prot")
    assert.has_error(function() core.listen { port = "x" } end,
      "port must be a number")
  end)

  it("may be closed twice, also by its own handler", function()
    serve(function() server:close() end)
    dial()
    get "/"
    assert.same({ "", "closed" }, { hear() })
    server:close()
    server:step()
  end)
end)
