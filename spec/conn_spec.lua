--- core.connect and core.spawn: the Lua face of byte streams, and TLS against
-- openssl's own server, which is itself a child of core.spawn.

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"

-- Lets everything go on until the condition gives something, ten seconds at most.
local function await(condition, step)
  local stop, value = core.now() + 10, condition()
  while not value and core.now() < stop do
    core.engine():wait(0.01)
    core.engine():step()
    if step then step() end
    value = condition()
  end
  return value
end

local function closed(conn)
  return function() return conn:state() == "closed" end
end

-- All bytes up to the end, and how it ended.
local function drain(conn)
  local out, stop = {}, core.now() + 20
  while core.now() < stop do
    local bytes, message, err = conn:read()
    if not bytes then return table.concat(out), message, err end
    out[#out + 1] = bytes
    if bytes == "" then conn:wait(1) end
  end
  error "no end"
end

describe("core.connect", function()
  local listener, peer

  before_each(function()
    leaks.remember()
    listener = assert(core.listen {})
  end)
  after_each(function()
    if peer then peer:close() end
    listener:close()
    peer, listener = nil, nil
    leaks.check()
  end)

  local function serve()
    listener:step()
    peer = peer or listener:accept()
  end

  local function dial(options)
    options = options or {}
    options.url = "tcp://127.0.0.1:" .. listener:port()
    return assert(core.connect(options))
  end

  local function opened(options)
    local conn = dial(options)
    assert.truthy(await(function() return peer and conn:state() == "open" end, serve))
    return conn
  end

  it("carries bytes both ways and ends when the peer does", function()
    local conn = dial()
    assert.equal("connecting", conn:state())
    assert.equal("", conn:read())
    assert.is_true(conn:write "a\0b")
    local heard = ""
    await(function() return #heard == 3 end, function()
      serve()
      heard = heard .. (peer and peer:read() or "")
    end)
    assert.equal("a\0b", heard)
    peer:write "answer"
    peer:close()
    assert.is_true(await(closed(conn), serve))
    assert.equal("an", conn:read(2))
    assert.equal("swer", conn:read())
    assert.equal(1, select("#", conn:read()))
    assert.is_nil((conn:read()))
    local _, message, err = conn:write "more"
    assert.equal("the connection is closed", message)
    assert.equal("connection_closed", err.code)
    conn:close()
  end)

  it("refuses a write that passes its cap", function()
    local conn = dial { write_cap = 10 }
    assert.is_true(conn:write(("x"):rep(10)))
    local ok, _, err = conn:write "y"
    assert.is_nil(ok)
    assert.equal("too_large", err.kind)
    assert.equal("write_cap", err.code)
    assert.equal(10, conn:pending())
    assert.is_true(await(function() return conn:write "y" end, serve))
    conn:close()
  end)

  it("tells why it could not connect", function()
    local port = listener:port()
    listener:close()
    local conn = assert(core.connect { url = "tcp://127.0.0.1:" .. port })
    local bytes, message, err = drain(conn)
    assert.equal("", bytes)
    assert.truthy(message:find("cannot connect", 1, true))
    assert.equal("network", err.kind)
    assert.equal("connect", err.code)
    assert.is_true(err.retryable)
    conn:close()
    listener = assert(core.listen {})
  end)

  it("goes through a proxy, and says when that refuses", function()
    local answers = { "HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" }
    for i, answer in ipairs(answers) do
      local proxy = "http://127.0.0.1:" .. listener:port()
      local conn = assert(core.connect { url = "tcp://far.invalid:6379", proxy = proxy })
      local heard = ""
      assert.truthy(await(function() return heard:find "\r\n\r\n" end, function()
        serve()
        heard = heard .. (peer and peer:read() or "")
      end))
      assert.equal("CONNECT far.invalid:6379 HTTP/1.1", heard:match "^[^\r]*")
      peer:write(answer)
      peer:close()
      assert.is_true(await(closed(conn), serve))
      local bytes, _, err = drain(conn)
      assert.equal(i == 1 and "hello" or "", bytes)
      assert.equal(i == 2 and "proxy" or nil, err and err.code)
      conn:close()
      peer = nil
    end
  end)

  it("is canceled at once, and keeps what has come", function()
    local conn = opened()
    peer:write "kept"
    conn:read()
    assert.truthy(await(function() return conn:ready() end, serve))
    conn:cancel()
    assert.equal("closed", conn:state())
    local out, message, err = drain(conn)
    assert.equal("kept", out)
    assert.equal("canceled", message)
    assert.equal("canceled", err.kind)
    conn:close()
  end)

  it("is on the engine's list while there is something to read", function()
    local conn = opened()
    conn:read()
    while core.engine():pop() do end -- luacheck: ignore 542
    peer:write "x"
    assert.truthy(await(function() return core.engine():pop() == conn:id() end, serve))
    assert.is_true(conn:ready())
    conn:relist()
    assert.equal(conn:id(), core.engine():pop())
    assert.equal("x", conn:read())
    conn:relist()
    assert.is_nil(core.engine():pop())
    conn:close()
  end)

  it("goes with the collector", function()
    for _ = 1, 4 do collectgarbage() end
    local before = core.live()["oaichat.conn"] or 0
    dial()
    dial()
    assert.equal(before + 2, core.live()["oaichat.conn"])
    collectgarbage()
    collectgarbage()
    assert.equal(before, core.live()["oaichat.conn"] or 0)
  end)

  it("raises for what the caller did wrong", function()
    local conn = dial()
    for _, case in ipairs {
      { "unknown option colour", function() core.connect { url = "tcp://a:1", colour = 1 } end },
      { "url: string expected", function() core.connect {} end },
      { "argv: table expected", function() core.spawn {} end },
      { "argv%[1%]: string expected", function() core.spawn { argv = { true } } end },
      { "env must be", function() core.spawn { argv = { "a" }, env = { "x" } } end },
      { "at least 1", function() conn:read(0) end },
      { "after conn:shutdown", function()
        conn:shutdown()
        conn:write "x"
      end },
      { "oaichat.conn is closed", function()
        conn:close()
        conn:close()
        conn:state()
      end },
    } do
      local ok, message = pcall(case[2])
      assert.is_false(ok, case[1])
      assert.truthy(message:find(case[1]), message)
    end
  end)

  it("returns a config error for a bad value", function()
    for _, url in ipairs { "http://a:1", "tcp://a", "tcp://a:1\0", "tls://a:b" } do
      local conn, message, err = core.connect { url = url }
      assert.is_nil(conn)
      assert.equal("string", type(message))
      assert.equal("config", err.kind)
    end
  end)
end)

describe("core.spawn", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("streams through a child and tells how it ended", function()
    local conn = assert(core.spawn {
      argv = { "sh", "-c", "read line; echo \"$line $A $(pwd)\"; echo oh >&2; exit 4" },
      env = { A = "b c", PATH = os.getenv "PATH" }, cwd = "/",
    })
    assert.is_nil(conn:exit_status())
    conn:write "hello\n"
    local out, message, err = drain(conn)
    assert.equal("hello b c /\n", out)
    assert.equal("the connection is closed: the child exited with status 4", message)
    assert.equal("connection_closed", err.code)
    assert.equal(4, conn:exit_status())
    assert.equal("oh\n", conn:stderr())
    conn:close()
  end)

  it("ends cleanly with status 0", function()
    local conn = assert(core.spawn { argv = { "cat" } })
    conn:write(("x"):rep(100000))
    assert.is_true(conn:shutdown())
    local out, message = drain(conn)
    assert.equal(100000, #out)
    assert.is_nil(message)
    assert.equal(0, conn:exit_status())
    conn:close()
  end)

  it("returns an error for a program that is not there", function()
    local conn, message, err = core.spawn { argv = { "no-such-program" } }
    assert.is_nil(conn)
    assert.truthy(message:find("no-such-program", 1, true))
    assert.equal("config", err.kind)
  end)
end)

describe("tls", function()
  local folder, server, port

  local function run(...)
    local conn = assert(core.spawn { argv = { ... } })
    local out = drain(conn)
    assert.equal(0, conn:exit_status(), conn:stderr())
    conn:close()
    return out
  end

  local function serve(...)
    local listener = assert(core.listen {})
    local free = listener:port()
    listener:close()
    local conn = assert(core.spawn { argv = { "openssl", "s_server", "-accept", "127.0.0.1:" .. free,
      "-cert", folder .. "/good.pem", "-key", folder .. "/good.key", ... } })
    local said = ""
    assert.truthy(await(function()
      said = said .. conn:read()
      return said:find "ACCEPT"
    end))
    return conn, free
  end

  setup(function()
    folder = run("mktemp", "-d"):gsub("\n", "")
    run("sh", "spec/support/certs.sh", folder)
    server, port = serve "-rev" -- answers each line reversed
  end)
  teardown(function()
    server:cancel()
    server:close()
    run("rm", "-r", folder)
  end)

  local function dial(ca)
    return assert(core.connect { url = "tls://localhost:" .. port, ca_file = folder .. "/" .. ca, read_cap = 5000 })
  end

  it("carries more than its cap, also what TLS holds back", function()
    local conn, line = dial "ca.pem", ("0123456789"):rep(1500)
    assert.is_false(conn:shutdown())
    conn:write(line .. "\n")
    local out, stop = "", core.now() + 10
    while #out <= #line and core.now() < stop do
      out = out .. assert(conn:read())
      conn:wait(0.1)
    end
    assert.equal(line:reverse() .. "\n", out)
    conn:close()
  end)

  it("sends 30 MB to a reader that often stops", function()
    local sink, at = serve("-naccept", "1") -- prints what comes
    local conn = assert(core.connect { url = "tls://localhost:" .. at, ca_file = folder .. "/ca.pem",
      write_cap = 8e6 })
    local line, lines, sent, out, last = ("0123456789abcde"):rep(100) .. "\n", 20000, 0, {}, nil
    local tail, stop = "", core.now() + 20
    while not tail:find "finish\n$" and core.now() < stop do
      local n = math.min(1 + sent % 7, lines - sent)
      while n > 0 and conn:write(line:rep(n)) do
        sent = sent + n
        n = math.min(1 + sent % 7, lines - sent)
        if sent == lines then last = "finish\n" end
      end
      if last and conn:write(last) then last = nil end
      local pending = conn:pending()
      conn:wait(0.01)
      -- it prints, and so reads, only when nothing else moves
      out[#out + 1] = conn:pending() == pending and sink:read() or ""
      tail = (tail .. out[#out]):sub(-10)
    end
    local _, count = table.concat(out):gsub(line, "")
    assert.equal(lines, count)
    assert.equal("open", conn:state())
    conn:close()
    sink:cancel()
    sink:close()
  end)

  it("refuses a certificate of another authority", function()
    local conn = dial "other.pem"
    local _, message, err = drain(conn)
    assert.truthy(message:find("cannot agree on TLS", 1, true))
    assert.equal("tls", err.code)
    assert.is_false(err.retryable)
    conn:close()
  end)
end)
