--- resp: the parser at any split of the bytes, the client against a server that lies,
-- and against the real one.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local leaks = require "spec.support.leaks"
local parser_of = require "oaichat.resp.parser"
local redis = require "spec.support.redis"
local resp = require "oaichat.resp"
local scheduler = require "oaichat.loop.scheduler"
local wait = require "oaichat.wait"
local url = require "oaichat.resp.url"

local null = resp.null
local CAPS = { bytes = 1e6, depth = 8 }

local function parser(caps)
  return parser_of.new(caps or CAPS, function(text) return { error = text } end)
end

local function drain(p, out)
  while true do
    local found, value, push = p:next()
    if not found then return out end
    out[#out + 1] = push and { push = value } or value
  end
end

local function parse(bytes, caps)
  local p = parser(caps)
  p:feed(bytes)
  return drain(p, {}), p
end

describe("the parser of RESP", function()
  local cases = {
    { "+OK\r\n", "OK" }, { "+\r\n", "" }, { "-ERR no\r\n", { error = "ERR no" } }, { ":1000\r\n", 1000 },
    { ":-7\r\n", -7 }, { ":+7\r\n", 7 }, { "$5\r\nhello\r\n", "hello" }, { "$0\r\n\r\n", "" }, { "$-1\r\n", null },
    { "$6\r\na\r\nb\0c\r\n", "a\r\nb\0c" }, { "*-1\r\n", null }, { "*0\r\n", {} },
    { "*3\r\n:1\r\n$1\r\na\r\n*1\r\n+x\r\n", { 1, "a", { "x" } } }, { "_\r\n", null }, { "#t\r\n", true },
    { "#f\r\n", false }, { ",1.5\r\n", 1.5 }, { ",-1e3\r\n", -1000 }, { ",inf\r\n", math.huge },
    { ",-inf\r\n", -math.huge },
    { "(3492890328409238509324850943850943825024385\r\n", "3492890328409238509324850943850943825024385" },
    { "!5\r\nERR x\r\n", { error = "ERR x" } }, { "=7\r\ntxt:abc\r\n", "abc" },
    { "%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n", { a = 1, b = {} } }, { "~2\r\n+a\r\n+b\r\n", { "a", "b" } },
    { "%0\r\n", {} }, { "|1\r\n+ttl\r\n:3\r\n:9\r\n", 9 }, { "*2\r\n|1\r\n+k\r\n+v\r\n:1\r\n:2\r\n", { 1, 2 } },
    { "*1\r\n|0\r\n*0\r\n", { {} } }, { ">2\r\n+message\r\n+hi\r\n", { push = { "message", "hi" } } },
    { "*2\r\n-ERR in\r\n_\r\n", { { error = "ERR in" }, null } },
  }

  it("reads every kind of value", function()
    for _, case in ipairs(cases) do
      local out, p = parse(case[1])
      assert.same({ case[2] }, out, case[1])
      assert.is_nil(p.broken)
    end
  end)

  it("reads 64-bit integers exactly, as text where Lua cannot hold them", function()
    local out = parse ":9223372036854775807\r\n:-9223372036854775808\r\n:9007199254740991\r\n"
    if math.type then
      assert.same({ math.maxinteger, math.mininteger, 9007199254740991 }, out)
    else
      assert.same({ "9223372036854775807", "-9223372036854775808", 9007199254740991 }, out)
    end
  end)

  local function any(depth)
    local pick = math.random(depth > 0 and 12 or 8)
    if pick == 1 then return (":%d\r\n"):format(math.random(-1e6, 1e6)) end
    if pick == 2 then return "$-1\r\n" end
    if pick == 3 then return "#t\r\n" end
    if pick == 4 then return "_\r\n" end
    if pick == 5 then return "-ERR some\r\n" end
    if pick == 6 then return ",0.5\r\n" end
    if pick <= 8 then
      local text = ("a\r\n$*\0"):rep(math.random(0, 30)):sub(math.random(1, 9))
      return "$" .. #text .. "\r\n" .. text .. "\r\n"
    end
    local n = math.random(0, 4)
    local kind = ("*~%|"):sub(pick - 8, pick - 8)
    local out, keyed = { ("%s%d\r\n"):format(kind, n) }, kind == "%" or kind == "|"
    for i = 1, n do
      if keyed then out[#out + 1] = ("+k%d\r\n"):format(i) end
      out[#out + 1] = any(depth - 1)
    end
    if kind == "|" then out[#out + 1] = any(depth - 1) end -- it is about the next
    return table.concat(out)
  end

  it("reads the same at any split of the bytes", function()
    math.randomseed(20)
    local splits = 0
    for _ = 1, 300 do
      local texts = {}
      for i = 1, math.random(1, 6) do texts[i] = any(4) end
      local text = table.concat(texts)
      local whole = parse(text)
      for _ = 1, 4 do
        local p, out, at = parser(), {}, 1
        local longest = math.random(1, 20)
        while at <= #text do
          local n = math.random(1, longest)
          p:feed(text:sub(at, at + n - 1))
          at = at + n
          drain(p, out)
        end
        assert.same(whole, out)
        assert.is_nil(p.broken)
        splits = splits + 1
      end
    end
    assert.equal(1200, splits)
    for _, case in ipairs(cases) do
      for cut = 1, #case[1] - 1 do
        local p = parser()
        p:feed(case[1]:sub(1, cut))
        local out = drain(p, {})
        p:feed(case[1]:sub(cut + 1))
        assert.same({ case[2] }, drain(p, out))
      end
    end
  end)

  it("names what is no reply", function()
    for _, text in ipairs {
      "hello\r\n", "\r\n", ":x\r\n", ":\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", "%-1\r\n", "$3\r\nabcde\r\n",
        "#x\r\n", ",x\r\n",
      "_x\r\n", "(1.5\r\n", "$1 \r\na\r\n", "*99999999999999999999\r\n", "HTTP/1.1 400 Bad Request\r\n", "$?\r\n",
    } do
      local out, p = parse(text)
      assert.same({}, out, text)
      assert.equal("protocol", p.code, text)
    end
  end)

  it("holds the caps: bytes, depth, elements, a line without an end", function()
    for _, text in ipairs {
      "$2000000\r\n", "*1000000\r\n", "*1\r\n$999999\r\n", "*500000\r\n", ("*1\r\n"):rep(9),
      "*3000\r\n" .. ("*0\r\n"):rep(3000) .. ("$99999\r\n" .. ("x"):rep(99999) .. "\r\n"):rep(10),
    } do
      local _, p = parse(("*9\r\n"):rep(text:find "^%*3000" and 1 or 0) .. text)
      assert.equal("too_large", p.code, text:sub(1, 20))
    end
    local _, p = parse(("*30000\r\n" .. ("*0\r\n"):rep(30000)))
    assert.equal("too_large", p.code, "empty tables cost more than their bytes")
    _, p = parse("+" .. ("x"):rep(70000))
    assert.equal("protocol", p.code)
    local out
    out, p = parse(("*1\r\n"):rep(8) .. ":1\r\n")
    assert.is_nil(p.broken)
    assert.equal(1, #out)
  end)

  it("takes a large string in small pieces in linear time", function()
    local p, piece = parser { bytes = 2e7, depth = 4 }, ("x"):rep(1000)
    p:feed "$16000000\r\n"
    local from = core.now()
    for _ = 1, 16000 do
      p:feed(piece)
      assert.is_false((p:next()))
    end
    p:feed "\r\n"
    local found, value = p:next()
    assert.is_true(found)
    assert.equal(16000000, #value)
    assert.is_true(core.now() - from < 5)
  end)

  it("writes commands, numbers without a point", function()
    assert.equal("*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$2\r\n10\r\n", parser_of.command { "SET", "a\0b", 10 })
    assert.equal("*2\r\n$1\r\nX\r\n$3\r\n0.5\r\n", parser_of.command { "X", 0.5 })
    assert.equal("*2\r\n$1\r\nX\r\n$13\r\n1755000000123\r\n", parser_of.command { "X", 1755000000123 })
    assert.is_nil((parser_of.command { "X", {} }))
  end)
end)

describe("the URL of a RESP server", function()
  it("is read as Redis' tools read it", function()
    assert.same({ url = "tcp://h:6379", shown = "h:6379" }, url.parse "redis://h")
    assert.same({ url = "tcp://h:1", shown = "h:1", username = "u", password = "p:@/", database = 3 },
      url.parse "redis://u:p:%40%2f@h:1/3")
    assert.same({ url = "tls://h:2", shown = "h:2", password = "pw" }, url.parse "rediss://:pw@h:2/0")
    assert.same({ url = "unix:/a/b", shown = "unix:/a/b" }, url.parse "unix:///a/b")
    assert.same({ url = "tcp://[::1]:6379", shown = "[::1]:6379" }, url.parse "tcp://[::1]")
    for _, text in ipairs { "", "h:1", "http://h", "redis://", "redis://h/x", "redis://h:x",
      "redis://secret@/1", "unix:x" } do
      local place, why = url.parse(text)
      assert.is_nil(place, text)
      assert.is_nil(why:find "secret")
    end
  end)
end)

-- A server that answers what the spec says: script(words, peer) is called for every
-- command that arrives.
local function liar(script)
  local listener = assert(core.listen {})
  local server = { port = listener:port(), commands = {}, peers = {} }
  local function pump()
    listener:step()
    local peer = listener:accept()
    if peer then
      table.insert(server.peers, { peer = peer, parser = parser { bytes = 1e8, depth = 8 } })
    end
    for _, one in ipairs(server.peers) do
      local bytes = one.peer:read()
      if bytes and bytes ~= "" then
        one.parser:feed(bytes)
        for _, words in ipairs(drain(one.parser, {})) do
          table.insert(server.commands, words)
          script(words, one.peer, #server.commands)
        end
      end
    end
    listener:step()
  end
  local fd = listener:fd()
  wait.watch(fd, pump)
  function server.close()
    wait.unwatch(fd or pump)
    for _, one in ipairs(server.peers) do one.peer:abort() end
    listener:close()
  end
  return server
end

describe("the client of a server that lies", function()
  local server, client

  local function play(script, opts)
    server = liar(script)
    opts = opts or {}
    opts.url, opts.protocol = "tcp://127.0.0.1:" .. server.port, opts.protocol or 2
    client = assert(resp.new(opts))
    return client
  end

  before_each(leaks.remember)
  after_each(function()
    if client then client:close() end
    if server then server.close() end
    client, server = nil, nil
    leaks.check()
  end)

  it("hands replies out in order, whatever the pieces", function()
    play(function(words, peer) peer:write(("$%d\r\n%s\r\n"):format(#words[2], words[2]), 1) end)
    local s, got = scheduler.new(core.engine()), {}
    for i = 1, 20 do s:spawn(function() got[i] = client:call { "ECHO", "text " .. i } end) end
    s:run()
    for i = 1, 20 do assert.equal("text " .. i, got[i]) end
    assert.equal(1, #server.peers)
  end)

  local function fails(code, reply, ok, text, err)
    assert.is_nil(ok)
    assert.equal("string", type(text))
    assert.same({ "storage", code, reply }, { err.kind, err.code, err.reply }, text)
    return err
  end

  it("tells the errors of Redis apart", function()
    local texts = {
      { "BUSY Redis is busy running a script.", "unavailable", true }, { "LOADING x", "unavailable", true },
      { "MOVED 3999 127.0.0.1:6381", "unavailable", false }, { "OOM command not allowed", "full", false },
      { "READONLY You can't write", "read_only", false }, { "WRONGTYPE Operation", "corrupt", false },
      { "MISCONF Redis is configured", "io", false }, { "ERR syntax error", "io", false },
      { "nonsense \27[31m", "io", false },
    }
    local at = 0
    play(function(_, peer)
      at = at + 1
      peer:write("-" .. texts[at][1] .. "\r\n")
    end)
    for _, case in ipairs(texts) do
      local err = fails(case[2], case[1]:match "^%u+" or "ERR", client:call { "X" })
      assert.equal(case[3], err.retryable, case[1])
      assert.is_nil(err.message:find "\27")
    end
    assert.equal(1, #server.peers)
  end)

  it("gives up on bytes that are no reply, and begins anew", function()
    play(function(_, peer, n)
      peer:write(n == 1 and "HTTP/1.1 400 Bad Request\r\n\r\n" or n == 2 and ":1\r\n:2\r\n" or ":3\r\n")
    end)
    fails("io", nil, client:call { "X" })
    assert.equal(1, client:call { "X" }) -- the second reply has nobody to go to
    assert.equal(3, client:call({ "X" }, { idempotent = true }))
  end)

  it("holds the caps of a reply", function()
    play(function(_, peer) peer:write "$100000000\r\n" end, { limits = { bytes = 1000 } })
    fails("too_large", nil, client:call { "X" })
  end)

  it("times out, and drops the reply that comes late", function()
    local late
    play(function(words, peer)
      if words[1] == "SLOW" then late = peer else
        if late then peer:write "+late\r\n" end
        peer:write "+now\r\n"
      end
    end)
    local from = core.now()
    local err = fails("unavailable", nil, client:call({ "SLOW" }, { timeout = 0.05 }))
    assert.is_true(err.sent and err.retryable)
    assert.is_true(core.now() - from < 1)
    assert.equal("now", client:call { "FAST" })
    assert.equal(1, #server.peers)
  end)

  it("replaces a connection that has fallen silent", function()
    play(function(_, peer, n) if n > 1 then peer:write "+OK\r\n" end end, { timeout = 0.05 })
    fails("unavailable", nil, client:call { "X" })
    assert.equal("OK", client:call({ "X" }, { timeout = 5 }))
    assert.equal(2, #server.peers)
  end)

  it("says again what may be said twice, once; the rest is told as sent", function()
    play(function(_, peer, n) if n <= 2 then peer:close() else peer:write "+OK\r\n" end end)
    local err = fails("unavailable", nil, client:call { "INCR", "x" })
    assert.is_true(err.sent)
    assert.equal("OK", client:call({ "GET", "x" }, { idempotent = true }))
    assert.equal(3, #server.commands)
    client:close()
    server.close()
    play(function(_, peer) peer:close() end)
    fails("unavailable", nil, client:call({ "GET", "x" }, { idempotent = true }))
    assert.equal(2, #server.commands)
  end)

  it("greets by HELLO, and an old server by AUTH and SELECT", function()
    play(function(words, peer)
      peer:write(words[1] == "HELLO"
        and "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'u' 'pw'\r\n"
        or "+OK\r\n")
    end, { protocol = 3, username = "u", password = function() return "pw" end, database = 2, name = "me" })
    assert.equal("OK", client:call { "X" })
    assert.same({ { "HELLO", "3", "AUTH", "u", "pw", "SETNAME", "me" }, { "AUTH", "u", "pw" }, { "SELECT", "2" },
      { "X" } }, server.commands)
  end)

  it("never quotes the password", function()
    play(function(_, peer) peer:write "-ERR unknown command 'AUTH', args: 'hunter2' hunter2\r\n" end,
      { password = "hunter2" })
    local _, text, err = client:call { "X" }
    assert.is_nil(text:find "hunter2")
    assert.is_nil(err.safe_message:find "hunter2")
    assert.truthy(text:find("***", 1, true))
  end)

  it("writes what is larger than the connection's room", function()
    local big = ("0123456789"):rep(500000)
    play(function(words, peer) peer:write(":" .. #words[3] .. "\r\n") end, { timeout = 30 })
    assert.equal(#big, client:call { "SET", "k", big })
  end)

  it("ends a canceled task's call and keeps the order for the others", function()
    local held
    play(function(words, peer)
      if words[1] == "HOLD" then held = peer else
        held:write "+held\r\n"
        peer:write "+OK\r\n"
      end
    end)
    local s = scheduler.new(core.engine())
    local out = {}
    local task = s:spawn(function() out.held = { client:call { "HOLD" } } end)
    s:spawn(function()
      while not held do s:sleep(0.001) end
      task:cancel()
      out.value = client:call { "X" }
    end)
    s:run()
    assert.equal("OK", out.value)
    assert.equal("canceled", out.held[3].kind)
  end)

  it("raises on misuse", function()
    play(function() end)
    assert.has_error(function() client:call {} end)
    assert.has_error(function() client:call { "SET", "k", {} } end)
    assert.has_error(function() client:call { "subscribe", "x" } end)
    assert.has_error(function() client:call({ "GET" }, { tiemout = 1 }) end)
    assert.has_error(function() resp.new {} end)
    assert.has_error(function() resp.new { url = "tcp://h", nmae = "x" } end)
    client:close()
    client:close()
    assert.has_error(function() client:call { "X" } end)
    local none, text, err = resp.new { url = "http://x" }
    assert.is_nil(none)
    assert.equal(text, err.message)
    assert.equal("config", err.kind)
  end)

  it("says within its time that nobody is there, at once when that is known", function()
    local listener = assert(core.listen {})
    local port = listener:port()
    listener:close()
    client = assert(resp.new { url = "tcp://127.0.0.1:" .. port, timeout = 0.1 })
    local from = core.now()
    local err = fails("unavailable", nil, client:call { "X" })
    assert.is_true(err.retryable and not err.sent)
    assert.is_true(core.now() - from < 0.5)
    client:close()
    client = assert(resp.new { url = "tcp://127.0.0.1:" .. port, timeout = 10, fail_fast = true })
    from = core.now()
    for _ = 1, 50 do fails("unavailable", nil, client:call { "X" }) end
    assert.is_true(core.now() - from < 1)
  end)
end)

local missing = redis.missing()
if missing then
  pending("the client and Redis: " .. missing)
  return
end

describe("the client and Redis", function()
  local server

  setup(function() server = redis.start() end)
  teardown(function() server:stop() end)
  before_each(leaks.remember)
  after_each(leaks.check)

  local function with(opts, fn)
    opts.url = opts.url or server:url()
    local client = assert(resp.new(opts))
    fn(client)
    client:close()
  end

  it("speaks both protocols, over TCP and a socket", function()
    for _, protocol in ipairs { 2, 3 } do
      local numbered = ("redis://127.0.0.1:%d/1"):format(server.port)
      for _, place in ipairs { server:url(), "unix:" .. server.socket, numbered } do
        with({ protocol = protocol, url = place }, function(client)
          assert.equal("OK", client:call { "SET", "k", "v\0\r\n" })
          assert.equal("v\0\r\n", client:call { "GET", "k" })
          assert.equal(null, client:call { "GET", "none" })
          assert.equal(1, client:call { "DEL", "k" })
          assert.same({ "a", "b" }, client:eval("return ARGV", {}, { "a", "b" }))
        end)
      end
    end
  end)

  it("pipelines; an error stands in its place", function()
    with({}, function(client)
      local out = assert(client:pipeline { { "SET", "p", "1" }, { "INCR", "p" }, { "LPUSH", "p", "x" },
        { "GET", "p" } })
      assert.same({ "OK", 2, "2" }, { out[1], out[2], out[4] })
      assert.is_true(errors.is(out[3]))
      assert.equal("corrupt", out[3].code)
      assert.same({}, client:pipeline {})
    end)
  end)

  it("carries many tasks over one connection", function()
    with({}, function(client)
      local s = scheduler.new(core.engine())
      client:call { "DEL", "n" }
      for i = 1, 200 do
        s:spawn(function()
          for j = 1, 5 do
            local text = i .. ":" .. j
            assert(text == client:call { "ECHO", text })
            assert(client:call { "INCR", "n" })
          end
        end)
      end
      s:run()
      assert.equal("1000", client:call { "GET", "n" })
    end)
  end)

  it("loads a script that a restarted server has forgotten", function()
    with({}, function(client)
      local script = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
      assert.equal(5, client:eval(script, { "e" }, { 5 }))
      assert(client:call { "SCRIPT", "FLUSH" })
      assert.equal(7, client:eval(script, { "e" }, { 2 }))
      server:kill()
      server:launch()
      assert.equal(2, client:eval(script, { "e" }, { 2 }, { idempotent = true }))
    end)
  end)

  it("waits for a server that comes back within the call's time", function()
    with({ timeout = 10 }, function(client)
      assert.equal("PONG", client:call { "PING" })
      server:kill()
      local s = scheduler.new(core.engine())
      local out
      s:spawn(function() out = { client:call({ "PING" }, { idempotent = true }) } end)
      s:spawn(function()
        s:sleep(0.1)
        server:launch()
      end)
      s:run()
      assert.equal("PONG", out[1], out[2])
    end)
  end)

  it("does not hang with a server that does", function()
    with({ timeout = 0.1, connect_timeout = 0.1 }, function(client)
      assert.equal("PONG", client:call({ "PING" }, { timeout = 5 }))
      server:pause()
      for _ = 1, 3 do
        local from = core.now()
        local value, _, err = client:call { "PING" }
        assert.is_nil(value)
        assert.equal("unavailable", err.code)
        assert.is_true(core.now() - from < 0.5)
      end
      server:resume()
      assert.equal("PONG", client:call({ "PING" }, { timeout = 5, idempotent = true }))
    end)
  end)

  it("tells a server that is busy with a script", function()
    with({}, function(busy)
      with({}, function(client)
        assert(client:call { "CONFIG", "SET", "busy-reply-threshold", "20" })
        local s = scheduler.new(core.engine())
        local told, ended
        s:spawn(function() ended = { busy:eval("while true do end", {}, {}) } end)
        s:spawn(function()
          s:sleep(0.02) -- it does not answer before it knows that it is busy
          local _, _, err = client:call { "GET", "x" }
          told = err
          client:call { "SCRIPT", "KILL" }
        end)
        s:run()
        assert.same({ "unavailable", "BUSY", true }, { told.code, told.reply, told.retryable })
        assert.equal("storage", ended[3].kind)
        assert.equal(null, client:call { "GET", "x" })
      end)
    end)
  end)

  it("logs in, and tells a wrong password at once", function()
    local guarded = redis.start { password = "right" }
    for _, protocol in ipairs { 2, 3 } do
      with({ url = guarded:url(), password = "right", protocol = protocol }, function(client)
        assert.equal("PONG", client:call { "PING" })
      end)
      with({ url = guarded:url(), password = "wr0ng", protocol = protocol }, function(client)
        local from = core.now()
        local _, text, err = client:call { "PING" }
        assert.same({ "unavailable", "WRONGPASS", false }, { err.code, err.reply, err.retryable })
        assert.is_nil(text:find "wr0ng")
        assert.is_true(core.now() - from < 1)
      end)
      with({ url = guarded:url(), protocol = protocol }, function(client)
        local _, _, err = client:call { "PING" }
        assert.equal("NOAUTH", err.reply)
      end)
    end
    guarded:stop()
  end)

  it("speaks TLS, and trusts nobody else", function()
    local secure = redis.start { tls = true }
    with({ url = secure.tls_url, ca_file = secure.dir .. "/ca.pem" }, function(client)
      assert.equal("PONG", client:call { "PING" })
      local big = ("x"):rep(3000000)
      assert.equal(big, client:call { "ECHO", big })
    end)
    with({ url = secure.tls_url, ca_file = secure.dir .. "/other.pem" }, function(client)
      local from = core.now()
      local _, text, err = client:call { "PING" }
      assert.same({ "storage", "unavailable", "tls", false }, { err.kind, err.code, err.cause, err.retryable }, text)
      assert.is_true(core.now() - from < 2)
    end)
    secure:stop()
  end)

  it("tells of a cluster that it does not follow", function()
    local cluster = redis.start { extra = "--cluster-enabled yes" }
    with({ url = cluster:url() }, function(client)
      local _, _, err = client:call { "GET", "x" }
      assert.same({ "unavailable", "CLUSTERDOWN" }, { err.code, err.reply })
    end)
    cluster:stop()
  end)
end)
