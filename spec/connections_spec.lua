--- Connections: how they are kept, led and let go. FAULTS rows 16, 18, 26, 105, and
-- the options proxy, unix_socket and resolve.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local nginx = require "spec.support.nginx"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

-- A step through events until the condition holds, two seconds at most.
local function await(condition, ...)
  local stop = core.now() + 2
  while not condition() and core.now() < stop do
    core.engine():wait(0.01)
    core.engine():step()
    for _, server in ipairs { ... } do server:step() end
  end
  return condition()
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- Our own open descriptors that are sockets; nil where /proc is not.
local function sockets()
  local pid = (io.open "/proc/self/stat" or { read = function() end }):read "*n"
  if not pid then return end
  local _, n = lines_of(("ls -l /proc/%d/fd"):format(pid)):gsub("socket:", "")
  return n
end

-- What this Lua prints for the code, with these variables set (or under a command).
local function child(environment, code)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath), code)
  file:close()
  local interpreter = arg and arg[-1]
  local at = -1
  while arg and arg[at] do
    interpreter = arg[at]
    at = at - 1
  end
  local out = lines_of(("env -u no_proxy -u NO_PROXY %s %s %s 2>&1"):format(environment, interpreter, name))
  os.remove(name)
  return out
end

describe("connections:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("one is used for all turns of a session", function()
    local server = testing.server(play.good)
    local session = play.session(server)
    for _ = 1, 10 do
      assert.truthy(session:send "hello")
      assert.equal("good", session:stream("hello"):result().text)
      for _ in session:stream "hello" do end -- luacheck: ignore 542
    end
    assert.equal(30, #server.requests)
    assert.equal(1, server.accepted)
    server:close()
  end)

  it("a request has nothing of the one before it, whose handle it takes over", function()
    local server = testing.server(play.good)
    local session = play.session(server, { headers = { ["X-All"] = "a" } })
    local function ask(input, opts, streaming)
      if streaming then session:stream(input, opts):result() else assert(session:send(input, opts)) end
      session:reset()
      return server.requests[#server.requests]
    end
    local plain, streamed = ask "hello", ask("hello", nil, true)
    for round = 1, 3 do
      local own = ask("hello", { headers = { ["X-One"] = "1", ["X-All"] = "b" } }, round == 2)
      assert.equal("1", own.headers["x-one"])
      assert.equal("b", own.headers["x-all"])
      local long = ("é"):rep(100000) -- beyond what goes out with the headers
      assert.equal(long, ask(long, nil, round == 2):json().messages[1].content)
      ask("hello", { timeouts = { connect = 5 } })
      for _, streaming in ipairs { false, true } do
        local again, first = ask("hello", nil, streaming), streaming and streamed or plain
        assert.same(first.headers, again.headers)
        assert.equal(first.body, again.body)
        assert.equal(first.path, again.path)
      end
    end
    assert.equal(1, server.accepted)
    server:close()
  end)

  it("sessions of one engine share it", function()
    local server = testing.server(play.good)
    for _ = 1, 5 do assert.truthy(play.session(server):send "hello") end
    assert.equal(1, server.accepted)
    server:close()
  end)

  it("it is kept after [DONE] whose chunk comes with the body's end, and a moment before it", function()
    for _, late in ipairs { false, 0.05 } do
      local server = testing.server(function(_, response)
        response:event(testing.chunk("a", { finish_reason = "stop" })):done()
        if late then response:pause(late) end
        response:finish()
      end)
      local session = play.session(server)
      assert.equal("a", session:stream("hello"):result().text)
      -- the host goes on: the body's end arrives
      local stop = core.now() + 0.1
      await(function() return core.now() > stop end, server)
      for _ = 1, 3 do
        assert.equal("a", session:stream("hello"):result().text)
        stop = core.now() + 0.1
        await(function() return core.now() > stop end, server)
      end
      assert.equal(1, server.accepted)
      server:close()
    end
  end)

  it("it is not used again after a cut, a cancel, a body that does not end", function()
    local server = testing.server(function(request, response)
      if request.number % 2 == 0 then return play.good(request, response) end
      response:event(testing.chunk "a")
      if request.number == 1 then response:event(testing.chunk({}, { finish_reason = "stop" })):done() end
    end)
    local session = play.session(server)
    assert.equal("a", session:stream("hello"):result().text)
    assert.equal("good", session:send("hello").text)
    assert.equal(2, server.accepted)
    local stream = session:stream "hello"
    assert.equal("a", stream:next())
    stream:cancel()
    assert.equal("good", session:send("hello").text)
    assert.equal(3, server.accepted)
    server:close()
  end)

  it("Connection: close is obeyed", function()
    local server = testing.server(function(request, response)
      response:json(200, testing.completion "a", { Connection = "close" })
      assert(request)
    end)
    local session = play.session(server)
    for _ = 1, 3 do assert.truthy(session:send "hello") end
    assert.equal(3, server.accepted)
    server:close()
  end)

  for _, mode in ipairs { "send", "stream" } do
    for _, ending in ipairs { "close", "reset", "abort" } do
      it(("row 16: a kept one that the server ended (%s) is replaced, unseen (%s)"):format(ending, mode), function()
        local server = testing.server(play.good)
        local session = play.session(server)
        for turn = 1, 3 do
          local reply
          if mode == "send" then reply = session:send "hello" else reply = session:stream("hello"):result() end
          assert.equal("good", reply.text)
          assert.equal(turn, server.accepted)
          assert.equal(turn, #server.requests)
          for peer in pairs(server.connections) do peer[ending](peer) end
          server:step()
        end
        server:close()
      end)
    end
  end

  it("row 16: one that dies under the request is replaced once, then it is an error", function()
    local seen = 0
    local server
    server = testing.server {
      on_data = function(peer, bytes)
        if not bytes:find("POST", 1, true) then return end
        seen = seen + 1
        if seen == 1 then
          local body = play.completion '{"content":"a"}'
          peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        else
          peer:close()
        end
      end,
    }
    local session = play.session(server)
    assert.equal("a", session:send("hello").text)
    local _, _, err = session:send "again"
    assert.equal("network", err.kind)
    assert.equal("connection_closed", err.code)
    assert.equal(3, seen)
    assert.equal(2, server.accepted)
    server:close()
  end)

  it("row 16: with one byte of answer it is not replaced", function()
    local seen = 0
    local server = testing.server {
      on_data = function(peer, bytes)
        if not bytes:find("POST", 1, true) then return end
        seen = seen + 1
        if seen == 1 then
          local body = play.completion '{"content":"a"}'
          return peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        end
        peer:write "HTTP/1.1 200 OK\r\nContent-Le"
        peer:close()
      end,
    }
    local session = play.session(server)
    assert.truthy(session:send "hello")
    local _, _, err = session:send "again"
    assert.equal("network", err.kind)
    assert.equal(2, seen)
    server:close()
  end)

  it("row 105: a child inherits none of our sockets", function()
    if not sockets() then return pending "there is no /proc here" end
    local before = lines_of "ls -l /proc/self/fd"
    local _, known = before:gsub("socket:", "")
    local server = testing.server(function(_, response) response:event(testing.chunk "a") end)
    local streams = {}
    for i = 1, 5 do
      streams[i] = play.session(server):stream "hello"
      assert.equal("a", streams[i]:next())
    end
    assert.is_true(sockets() >= known + 10)
    local inherited = lines_of "ls -l /proc/self/fd"
    local _, n = inherited:gsub("socket:", "")
    assert.equal(known, n, inherited)
    for _, stream in ipairs(streams) do stream:cancel() end
    server:close()
  end)

  it("row 102: 200 failures of all sorts leave no descriptor behind", function()
    if not sockets() then return pending "there is no /proc here" end
    local before = sockets()
    local closed = assert(core.listen {})
    local port = closed:port()
    closed:close()
    local answers = {
      function(_, response) response:close() end,
      function(_, response) response:reset() end,
      function(_, response) response:event(testing.chunk "a"):close() end,
      function(_, response) response:event(testing.chunk "a"):reset() end,
      function(_, response) response:raw("HTTP/1.1 200 OK\r\nx: " .. ("y"):rep(3e5)):close() end,
      function(_, response) response:body(307, "", { Location = "http://127.0.0.1:1/" }) end,
      function(_, response) response:json(500, { error = { message = "no" } }) end,
      function(_, response) response:body(200, "<html>") end,
      function(_, response) response:raw("nonsense\r\n\r\n"):close() end,
      function() end,
    }
    local server = testing.server(function(request, response)
      return answers[request.number % #answers + 1](request, response)
    end)
    local session = play.session(server, { timeouts = { first_byte = 0.01, attempt = 0.01 }, redirects = true })
    local refused = assert(chat.new {
      base_url = ("http://127.0.0.1:%d/v1"):format(port), api_key = false, retry = { max = 0 },
    })
    local function round(n)
      for i = 1, n do
        local _, err
        if i % 10 == 0 then
          _, _, err = refused:send "hello"
        elseif i % 7 == 0 then
          local stream = session:stream "hello"
          stream:next()
          stream:cancel()
          _, _, err = stream:result()
        elseif i % 2 == 0 then
          _, _, err = session:send "hello"
        else
          _, _, err = session:stream("hello"):result()
        end
        assert.is_table(err)
      end
    end
    round(220)
    server:close()
    -- one may be kept, and those of specs before this one
    assert.is_true(sockets() <= before + 1, sockets() .. " sockets, before " .. before)
  end)
end)

describe("names:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 26: a cancel while a name is looked up returns at once", function()
    local session = assert(chat.new { base_url = "http://slow.invalid/v1", api_key = false })
    for _ = 1, 20 do
      local stream = session:stream "hello"
      core.engine():step() -- the resolver's thread runs now
      local start = core.now()
      stream:cancel()
      assert.is_true(core.now() - start < 0.05)
      local _, _, err = stream:result()
      assert.equal("canceled", err.kind)
    end
  end)

  it("row 26: also while the name server does not answer", function()
    local why = nginx.missing()
    if not why and lines_of "unshare -m id -u 2>&1" ~= "0\n" then why = "needs root: a name server of its own" end
    if why then return pending(why) end
    local front = nginx.start { dns = { udp = "127.77.0.1:53" } }
    local file = assert(io.open(front:file "resolv.conf", "w"))
    file:write "nameserver 127.77.0.1\noptions timeout:5 attempts:1\n"
    file:close()
    local start = core.now()
    local out = child(("unshare -m sh -c 'mount --bind %s /etc/resolv.conf && exec \"$0\" \"$1\"'")
      :format(front:file "resolv.conf"), [[
      local chat = require "oaichat"
      local core = require "oaichat.core"
      local session = assert(chat.new { base_url = "http://slow.example.com/v1", api_key = false })
      local worst, running = 0, 0
      for _ = 1, 5 do
        local stream = session:stream "hello"
        local stop = core.now() + 0.05
        while core.now() < stop do
          core.engine():wait(0.01)
          core.engine():step()
        end
        running = running + core.engine():transfers()
        local start = core.now()
        stream:cancel()
        worst = math.max(worst, core.now() - start)
        local _, _, err = stream:result()
        assert(err.kind == "canceled", err.kind)
      end
      print(running, worst < 0.05)
    ]])
    front:stop()
    assert.equal("5\ttrue\n", out)
    -- nor does the program's end wait for the resolver's thread
    assert.is_true(core.now() - start < 2)
  end)

  it("a resolve override leads a name to an address, and other names stay unknown", function()
    local server = testing.server(play.good)
    local function session(host)
      return assert(chat.new {
        base_url = ("http://%s:%d/v1"):format(host, server.port), api_key = false, model = "any",
        resolve = { ("bot.invalid:%d:127.0.0.1"):format(server.port) },
      })
    end
    assert.equal("good", session("bot.invalid"):send("hello").text)
    assert.equal(("bot.invalid:%d"):format(server.port), server.requests[1].headers.host)
    local _, _, err = session("other.invalid"):send "hello"
    assert.equal("dns", err.code)
    server:close()
  end)

  it("a bad resolve override is config", function()
    for _, list in ipairs { { 5 }, { true }, { {} } } do
      local ok, session, _, err = pcall(chat.new, { api_key = false, base_url = "http://x.invalid/v1", resolve = list })
      if ok and not session then assert.equal("config", err.kind) end
    end
  end)

  it("an address in brackets is reached", function()
    local server = testing.server(play.good, { host = "::1" })
    if not server then return pending "there is no IPv6 here" end
    assert.equal("good", play.session(server):send("hello").text)
    assert.equal(("[::1]:%d"):format(server.port), server.requests[1].headers.host)
    server:close()
  end)
end)

describe("a unix socket:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("is an option; the host is the URL's", function()
    local path = os.tmpname()
    os.remove(path)
    local server, why = testing.server(play.good, { path = path })
    if not server then return pending(tostring(why)) end
    local session = play.session(server, { unix_socket = path, base_url = "http://bot.invalid/v1" })
    assert.equal("good", session:send("hello").text)
    assert.equal("good", session:stream("hello"):result().text)
    assert.equal("bot.invalid", server.requests[1].headers.host)
    assert.equal("Bearer sk-spec-key", server.requests[1].headers.authorization)
    assert.equal(1, server.accepted)
    server:close()
    os.remove(path)
  end)

  it("that is not there is network, connect; one with a NUL is config", function()
    local session = assert(chat.new {
      base_url = "http://bot.invalid/v1", api_key = false, unix_socket = "/no/such.sock",
    })
    local _, _, err = session:send "hello"
    assert.equal("network", err.kind)
    assert.equal("connect", err.code)
    session, _, err = chat.new { base_url = "http://bot.invalid/v1", api_key = false, unix_socket = "/a\0b" }
    assert.is_nil(session)
    assert.equal("config", err.kind)
  end)
end)

-- A proxy that notes what it is told and answers CONNECT with `answer`; with 200
-- it stands for the server itself.
local function proxy(answer)
  local own = { said = "", connects = 0 }
  local tunnels = {}
  own.server = assert(testing.server {
    on_data = function(peer, bytes)
      if not tunnels[peer] then
        own.said = own.said .. bytes
        own.connects = own.connects + 1
        peer:write(answer)
        if answer:find "^HTTP/1.1 200" then tunnels[peer] = true end
        if answer:find "Connection: close" then peer:close() end
        return
      end
      own.tunnelled = (own.tunnelled or "") .. bytes
      if bytes:find("messages", 1, true) then
        local body = play.completion '{"content":"a"}'
        peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
      end
    end,
  })
  own.url = ("http://127.0.0.1:%d"):format(own.server.port)
  return own
end

local SECRETS = { ["api-key"] = "sk-azure", ["X-Api-Key"] = "sk-claude", Cookie = "session=1" }

local function no_secrets(text)
  local lower = text:lower()
  for _, name in ipairs { "authorization", "sk-spec-key", "api-key", "sk-azure", "sk-claude", "cookie", "session=1" } do
    assert.is_nil(lower:find(name, 1, true), name .. " reached the proxy")
  end
end

describe("a proxy:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  local function through(own, base_url, extra)
    local options = {
      base_url = base_url or "https://api.bot.invalid/v1", api_key = "sk-spec-key", allow_http = true, model = "any",
      proxy = own.url, headers = SECRETS, retry = { max = 0 },
    }
    for name, value in pairs(extra or {}) do options[name] = value end
    return assert(chat.new(options))
  end

  local REFUSALS = {
    ["407"] = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n"
      .. "Content-Length: 0\r\n\r\n",
    ["407 and close"] = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n"
      .. "Connection: close\r\nContent-Length: 2\r\n\r\nno",
    ["403"] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    ["502"] = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ["302"] = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
  }
  for name, answer in pairs(REFUSALS) do
    for _, url in ipairs { "https://api.bot.invalid/v1", "http://api.bot.invalid/v1" } do
      it(("row 18: %s is network, proxy; it learns no key (%s)"):format(name, url:match "%a+"), function()
        local own = proxy(answer)
        local session = through(own, url, { redirects = true })
        for _, mode in ipairs { "send", "stream" } do
          local reply, err, _
          if mode == "send" then
            reply, _, err = session:send "hello"
          else
            reply, _, err = session:stream("hello"):result()
          end
          assert.is_nil(reply)
          assert.equal("network", err.kind)
          assert.equal("proxy", err.code)
          assert.is_nil(err.partial)
          assert.is_nil(tostring(err):find("sk-", 1, true))
        end
        assert.truthy(own.said:find("^CONNECT api.bot.invalid:"))
        no_secrets(own.said)
        assert.is_nil(own.said:find("messages", 1, true))
        assert.same({}, session:messages())
        own.server:close()
      end)
    end
  end

  it("row 18: one that is not there, or whose name is unknown, is network, proxy", function()
    local closed = assert(core.listen {})
    local port = closed:port()
    closed:close()
    for _, url in ipairs { ("http://127.0.0.1:%d"):format(port), "http://no-such-proxy.invalid:3128" } do
      local _, _, err = through({ url = url }):send "hello"
      assert.equal("network", err.kind)
      assert.equal("proxy", err.code)
    end
  end)

  it("row 18: one that hangs up, or never answers", function()
    local own = { server = assert(testing.server { on_data = function(peer) peer:close() end }) }
    own.url = ("http://127.0.0.1:%d"):format(own.server.port)
    local _, _, err = through(own):send "hello"
    assert.equal("network", err.kind)
    own.server:close()
    own.server = assert(testing.server { on_data = function() end })
    own.url = ("http://127.0.0.1:%d"):format(own.server.port)
    _, _, err = through(own, nil, { timeouts = { connect = 0.2 } }):send "hello"
    assert.equal("timeout", err.kind)
    assert.equal("connect", err.phase)
    own.server:close()
  end)

  it("leads to the server by CONNECT, http too; what goes through is not for it", function()
    local own = proxy "HTTP/1.1 200 OK\r\n\r\n"
    local session = through(own, "http://api.bot.invalid/v1")
    assert.equal("a", session:send("hello").text)
    assert.equal("a", session:send("hello").text)
    no_secrets(own.said)
    assert.truthy(own.said:find "^CONNECT api.bot.invalid:80 HTTP/1.1")
    assert.truthy(own.tunnelled:find("Authorization: Bearer sk-spec-key", 1, true))
    assert.equal(1, own.connects)
    own.server:close()
  end)

  it("gets the credentials of its own URL, the server does not; no message has them", function()
    local own = proxy "HTTP/1.1 200 OK\r\n\r\n"
    local session = through({ url = own.url:gsub("//", "//me:pass-word@") }, "http://api.bot.invalid/v1")
    assert.equal("a", session:send("hello").text)
    assert.truthy(own.said:find("Proxy-Authorization: Basic bWU6cGFzcy13b3Jk", 1, true))
    assert.is_nil(own.tunnelled:find("Proxy-", 1, true))
    own.server:close()
    local refusing = proxy(REFUSALS["407"])
    local _, message, err = through({ url = refusing.url:gsub("//", "//me:pass-word@") }):send "hello"
    assert.equal("proxy", err.code)
    assert.is_nil(message:find("pass-word", 1, true))
    refusing.server:close()
  end)

  it("is asked for loopback, too, when it is an option", function()
    local own = proxy "HTTP/1.1 200 OK\r\n\r\n"
    assert.equal("a", through(own, "http://127.0.0.1:9/v1"):send("hello").text)
    assert.truthy(own.said:find "^CONNECT 127.0.0.1:9 ")
    own.server:close()
  end)

  -- A proxy out of the environment.
  local ASK = [[
    local chat = require "oaichat"
    local testing = require "oaichat.testing"
    local server = testing.server(function(_, r) r:json(200, testing.completion "good") end)
    local proxied = 0
    local proxy = testing.server({ port = %d, on_data = function(peer, bytes)
      proxied = proxied + 1
      peer:write "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    end })
    local url = %q == "loopback" and server.url or "http://bot.invalid/v1"
    local session = assert(chat.new { base_url = url, api_key = false, model = "any", timeouts = { connect = 5 },
      retry = { max = 0 } })
    local reply, _, err = session:send "hello"
    print(reply and reply.text or err.kind .. "/" .. err.code, proxied)
    server:close() proxy:close()
  ]]

  local function free_port()
    local listener = core.listen {}
    local port = listener:port()
    listener:close()
    return port
  end

  it("of the environment is used for far hosts, never for loopback", function()
    local port = free_port()
    for _, name in ipairs { "http_proxy", "all_proxy" } do
      local set = ("%s=http://127.0.0.1:%d"):format(name, port)
      assert.equal("good\t0\n", child(set, ASK:format(port, "loopback")))
      assert.equal("network/proxy\t1\n", child(set, ASK:format(port, "far")))
      assert.equal("network/dns\t0\n", child(set .. " NO_PROXY=bot.invalid", ASK:format(port, "far")))
      assert.equal("network/dns\t0\n", child(set .. " no_proxy=.invalid", ASK:format(port, "far")))
    end
  end)
end)

describe("prewarm:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("needs no network, no key, and leaves nothing behind", function()
    if not chat.prewarm then return pending "chat.prewarm is missing" end
    chat.prewarm()
    chat.prewarm()
    assert.equal(0, chat.pending())
  end)

  it("makes the first TLS connection as cheap as the others", function()
    local why = nginx.missing()
    if why or not chat.prewarm then return pending(why or "chat.prewarm is missing") end
    local front = nginx.start { good = { cert = "good" } }
    local server = assert(testing.server(play.good, { port = front.upstream }))
    local session = play.session(server, {
      base_url = ("https://localhost:%d/v1"):format(front.sites.good), ca_file = front:file "ca.pem",
    })
    chat.prewarm(session)
    assert.equal(0, #server.requests)
    assert.equal(0, server.accepted)
    assert.equal("good", session:send("hello").text)
    server:close()
    front:stop()
  end)
end)

