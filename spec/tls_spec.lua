--- TLS and HTTP/2 against a real server: nginx in front of the spec's own. FAULTS
-- rows 4, 5, 15, 16, and the options that lead a connection.

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local nginx = require "spec.support.nginx"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local missing = nginx.missing()
if missing then
  pending("TLS: " .. missing)
  return
end

local A, B = play.text "a", play.text "b"

local front
local server

local function url(site, host)
  return ("https://%s:%d/v1"):format(host or "localhost", front.sites[site])
end

local function connect(site, extra)
  local options = {
    base_url = url(site), api_key = "sk-spec-key", model = "any", ca_file = front:file "ca.pem",
    timeouts = { connect = 5 }, retry = { max = 0 },
  }
  for name, value in pairs(extra or {}) do options[name] = value end
  if options.ca_file == false then options.ca_file = nil end
  return assert(chat.new(options))
end

local function serve(handler)
  server = assert(testing.server(handler or play.good, { port = front.upstream }))
  return server
end

local function both(session)
  local list = {}
  local _, _, err = session:send "hello"
  list[1] = err or false
  _, _, err = session:stream("hello"):result()
  list[2] = err or false
  return list
end

local function await(condition)
  local stop = core.now() + 2
  while not condition() and core.now() < stop do
    core.engine():wait(0.01)
    core.engine():step()
    if server then server:step() end
  end
  return condition()
end

local SITES = {
  good = { cert = "good" },
  expired = { cert = "expired" },
  wrong = { cert = "wrong" },
  self = { cert = "self" },
  client = { cert = "good", client_ca = "ca" },
  h2 = { cert = "good", http2 = true },
  h2client = { cert = "good", http2 = true, client_ca = "ca" },
  raw = { raw = true, cert = "good" },
  raw2 = { raw = true, cert = "good", alpn = "h2" },
}

describe("TLS:", function()
  setup(function() front = nginx.start(SITES) end)
  teardown(function() front:stop() end)
  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  for _, site in ipairs { "good", "h2" } do
    for _, host in ipairs { "localhost", "127.0.0.1" } do
      it(("works with a CA file (%s, %s)"):format(site, host), function()
        serve()
        local session = connect(site, { base_url = url(site, host), http2 = site == "h2" })
        assert.equal("good", session:send("hello").text)
        assert.equal("good", session:stream("hello"):result().text)
        assert.equal(2, #server.requests)
        for _, request in ipairs(server.requests) do
          assert.equal("Bearer sk-spec-key", request.headers.authorization)
          assert.equal(site == "h2" and "HTTP/2.0" or "HTTP/1.1", request.headers["x-protocol"])
        end
      end)
    end
  end

  it("speaks HTTP/1.1 to a server that could do HTTP/2, unless asked", function()
    serve()
    assert.truthy(connect("h2"):send "hello")
    assert.equal("HTTP/1.1", server.requests[1].headers["x-protocol"])
  end)

  it("takes no kept connection that speaks another HTTP than was asked for", function()
    serve()
    assert.truthy(connect("h2"):send "hello")
    assert.truthy(connect("h2", { http2 = true }):send "hello")
    assert.truthy(connect("h2", { http2 = true }):stream("hello"):result())
    assert.truthy(connect("h2"):send "hello")
    local spoken = {}
    for i, request in ipairs(server.requests) do spoken[i] = request.headers["x-protocol"] end
    assert.same({ "HTTP/1.1", "HTTP/2.0", "HTTP/2.0", "HTTP/1.1" }, spoken)
  end)

  local REFUSED = {
    { "expired", "an expired certificate", {} },
    { "wrong", "a certificate for another host", {} },
    { "self", "a certificate signed by itself", {} },
    { "good", "a CA that the system does not know", { ca_file = false } },
    { "good", "the wrong CA file", { ca_file = "other.pem" } },
    { "good", "a CA file that is not there", { ca_file = "none.pem" } },
    { "good", "a CA file that is none", { ca_file = "good.key" } },
  }
  for _, row in ipairs(REFUSED) do
    for _, http2 in ipairs { false, true } do
      it(("row 4: %s is refused, nothing is sent (%s)"):format(row[2], http2 and "h2" or "1.1"), function()
        serve()
        local before = #front:requests()
        local extra = { http2 = http2 }
        for name, value in pairs(row[3]) do extra[name] = value and front:file(value) end
        local session = connect(row[1], extra)
        local errs = both(session)
        for i = 1, 2 do
          assert.equal("network", errs[i].kind)
          assert.equal("tls", errs[i].code)
          assert.is_false(errs[i].retryable)
          assert.equal(1, #errs[i].attempts)
          assert.is_nil(errs[i].status)
          assert.equal("hello", errs[i].input[1].content)
        end
        assert.same({}, session:messages())
        assert.same({}, server.requests)
        assert.equal(0, server.accepted)
        assert.equal(before, #front:requests())
      end)
    end
  end

  it("row 4: what a refused server gets is a hello, never a request", function()
    local said = {}
    local plain = testing.server { on_data = function(peer, bytes)
      said[#said + 1] = bytes
      -- a TLS alert: handshake failure
      peer:write("\21\3\3\0\2\2\40"):close()
    end }
    local session = connect("good", { base_url = ("https://localhost:%d/v1"):format(plain.port) })
    local errs = both(session)
    for i = 1, 2 do
      assert.equal("network", errs[i].kind)
      assert.equal("tls", errs[i].code)
    end
    local all = table.concat(said)
    assert.equal("\22\3", all:sub(1, 2))
    assert.is_nil(all:find("POST", 1, true))
    assert.is_nil(all:find("sk-spec-key", 1, true))
    plain:close()
  end)

  it("row 4: no option turns the check off", function()
    for _, name in ipairs { "verify", "insecure", "ssl_verify", "tls_verify", "verify_peer" } do
      assert.has_error(function() chat.new { [name] = false, api_key = false } end)
    end
  end)

  it("row 5: a handshake that stalls is timeout, connect", function()
    local plain = testing.server { on_data = function() end }
    for _, mode in ipairs { "send", "stream" } do
      local session = connect("good", {
        base_url = ("https://localhost:%d/v1"):format(plain.port), timeouts = { connect = 0.3 },
      })
      local start = core.now()
      local stream, _, err
      if mode == "send" then
        _, _, err = session:send "hello"
      else
        stream = session:stream "hello"
        _, _, err = stream:result()
      end
      local took = core.now() - start
      assert.equal("timeout", err.kind)
      assert.equal("connect", err.phase)
      assert.is_true(took >= 0.27 and took < 0.4, took)
    end
    plain:close()
  end)

  it("row 5: so is one that answers half its hello", function()
    local plain = testing.server { on_data = function(peer) peer:write "\22\3\3\0\122\2" end }
    local session = connect("good", {
      base_url = ("https://localhost:%d/v1"):format(plain.port), timeouts = { connect = 0.3 },
    })
    local _, _, err = session:send "hello"
    assert.equal("timeout", err.kind)
    assert.equal("connect", err.phase)
    plain:close()
  end)

  it("rows 6, 7: a server that leaves in the handshake is a network failure", function()
    for _, ending in ipairs { "close", "reset" } do
      local plain = testing.server { on_data = function(peer) peer[ending](peer) end }
      local errs = both(connect("good", { base_url = ("https://localhost:%d/v1"):format(plain.port) }))
      for i = 1, 2 do assert.equal("network", errs[i].kind) end
      plain:close()
    end
  end)

  for _, site in ipairs { "client", "h2client" } do
    it("a client certificate is shown (" .. site .. ")", function()
      serve()
      local session = connect(site, {
        client_cert = front:file "client.pem", client_key = front:file "client.key", http2 = true,
      })
      assert.equal("good", session:send("hello").text)
      assert.truthy(server.requests[1].headers["x-client"]:find("client.invalid", 1, true))
    end)

    it("without one, or with a stranger's, the request gets no further (" .. site .. ")", function()
      serve()
      local _, _, err = connect(site, { http2 = true }):send "hello"
      assert.equal("invalid_request", err.kind)
      assert.equal(400, err.status)
      _, _, err = connect(site, {
        client_cert = front:file "stranger.pem", client_key = front:file "stranger.key", http2 = true,
      }):send "hello"
      assert.equal(400, err.status)
      assert.same({}, server.requests)
    end)
  end

  it("a client certificate that cannot be read is network, tls", function()
    serve()
    local _, _, err = connect("client", {
      client_cert = front:file "none.pem", client_key = front:file "client.key",
    }):send "hello"
    assert.equal("network", err.kind)
    assert.equal("tls", err.code)
    -- a key that belongs to another certificate
    _, _, err = connect("client", {
      client_cert = front:file "wrong.pem", client_key = front:file "good.key",
    }):send "hello"
    assert.equal("tls", err.code)
    assert.same({}, server.requests)
  end)

  it("a resolve override leads a name to an address, and the certificate is held to the name", function()
    serve()
    local port = front.sites.wrong
    local options = {
      base_url = ("https://elsewhere.invalid:%d/v1"):format(port),
      resolve = { ("elsewhere.invalid:%d:127.0.0.1"):format(port) },
    }
    assert.equal("good", connect("wrong", options):send("hello").text)
    port = front.sites.good
    options = {
      base_url = ("https://elsewhere.invalid:%d/v1"):format(port),
      resolve = { ("elsewhere.invalid:%d:127.0.0.1"):format(port) },
    }
    local _, _, err = connect("good", options):send "hello"
    assert.equal("tls", err.code)
    assert.equal(1, #server.requests)
  end)

  for _, site in ipairs { "good", "h2" } do
    it(("keeps its connection for the next turns (%s)"):format(site), function()
      serve()
      local before = #front:requests()
      local session = connect(site, { http2 = true })
      for _ = 1, 5 do
        assert.truthy(session:send "hello")
        assert.equal("good", session:stream("hello"):result().text)
      end
      assert.equal(10, #server.requests)
      local lines, connections = front:requests(before + 10), {}
      assert.equal(before + 10, #lines)
      local n = 0
      for i = before + 1, #lines do
        local number = lines[i]:match "^%d+"
        if not connections[number] then n = n + 1 end
        connections[number] = true
      end
      -- a stream's last bytes may still be on their way when the next turn begins
      assert.is_true(n <= 2, n .. " connections for 10 requests")
    end)
  end

  it("row 16: through TLS, a kept connection that is dead is replaced, once, unseen", function()
    serve()
    local session = connect("raw")
    assert.equal("good", session:send("one").text)
    assert.equal("good", session:send("two").text)
    assert.equal(1, server.accepted)
    for peer in pairs(server.connections) do peer:abort() end
    assert.equal("good", session:send("three").text)
    assert.equal(2, server.accepted)
    assert.equal(3, #server.requests)
  end)

  local CUTS = {
    { "row 8: an RST", function(_, response) response:raw(play.HEAD .. A .. B):pause(0.02):reset() end },
    { "row 9: a bare end", function(_, response) response:raw(play.HEAD .. A .. B):pause(0.02):close() end },
    { "row 12: a cut body", function(_, response)
      response:event(testing.chunk "a"):event(testing.chunk "b"):pause(0.02):close()
    end },
  }
  for _, cut in ipairs(CUTS) do
    for site, http2 in pairs { raw = false, good = false, h2 = true } do
      it(("%s through %s is an incomplete stream with its partial"):format(cut[1], site), function()
        serve(cut[2])
        local stream = connect(site, { http2 = http2 }):stream "hello"
        local heard = {}
        while true do
          local text = stream:next()
          if not text then break end
          heard[#heard + 1] = text
        end
        local reply, _, err = stream:result()
        assert.is_nil(reply)
        assert.equal("incomplete_stream", err.kind)
        assert.equal("ab", err.partial.text)
        assert.equal("ab", table.concat(heard))
      end)
    end
  end

  it("streams through TLS byte by byte", function()
    for site, http2 in pairs { raw = false, good = false, h2 = true } do
      serve(function(_, response)
        response:event(testing.chunk "\195\169", 1):event(testing.chunk("b", { finish_reason = "stop" }), 1)
        response:done(1):finish()
      end)
      assert.equal("\195\169b", connect(site, { http2 = http2 }):stream("hello"):result().text)
      server:close()
    end
  end)

  it("a long request and a long answer go through whole", function()
    local long = ("lua "):rep(500000)
    for site, http2 in pairs { raw = false, good = false, h2 = true } do
      serve(function(request, response) play.good(request, response, request:json().messages[1].content) end)
      local session = connect(site, { http2 = http2 })
      assert.equal(long, session:send(long).text)
      session:reset()
      assert.equal(long, session:stream(long):result().text)
      server:close()
    end
  end)

  -- Ten MB for a reader who took the first piece and went away.
  local function absent_reader(site, http2, bytes)
    local piece = ("z"):rep(10000)
    serve(function(_, response)
      response:event(testing.chunk "a")
      for _ = 1, bytes / 10000 do response:event(testing.chunk(piece)) end
      response:event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
    end)
    local stream = connect(site, { http2 = http2 }):stream "hello"
    assert.equal("a", stream:next())
    local stop = core.now() + 0.5
    while core.now() < stop do
      core.engine():wait(0.01)
      core.engine():step()
      server:step()
    end
    return stream:result()
  end

  it("HTTP/1.1 waits for a reader who is behind", function()
    assert.equal(1e7 + 1, #absent_reader("good", false, 1e7).text)
  end)

  it("HTTP/2 keeps two MB for a reader who is behind; ten are too_large", function()
    assert.equal(2e6 + 1, #absent_reader("h2", true, 2e6).text)
    server:close()
    local reply, _, err = absent_reader("h2", true, 1e7)
    assert.is_nil(reply)
    assert.equal("too_large", err.kind)
    assert.is_true(#err.partial.text > 1e6 and #err.partial.text < 6e6)
  end)

  it("row 26: a cancel ends the connection behind TLS", function()
    for site, http2 in pairs { raw = false, good = false, h2 = true } do
      local peer
      serve(function(request, response)
        peer = request.peer
        response:event(testing.chunk "a")
      end)
      local stream = connect(site, { http2 = http2 }):stream "hello"
      assert.equal("a", stream:next())
      stream:cancel()
      assert.is_true(await(function() return peer:closed() end), site)
      server:close()
    end
  end)
end)

-- ---- HTTP/2, frame by frame ---------------------------------------------------

local char = string.char

local function frame(kind, flags, id, payload)
  local n = #payload
  return char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256, kind, flags, 0, 0, 0, id) .. payload
end

local DATA, HEADERS, RST, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
local function number(n) return char(0, 0, math.floor(n / 256) % 256, n % 256) end

-- :status 200 is entry 8 of the static table (RFC 7541 A); the type is a literal.
local OK = char(0x88)
local function status(code) return char(0x08, #code) .. code end

describe("HTTP/2:", function()
  setup(function() front = nginx.start(SITES) end)
  teardown(function() front:stop() end)
  before_each(leaks.remember)
  after_each(function()
    if server then server:close() end
    server = nil
    leaks.check()
  end)

  local function run(list)
    server = assert(testing.server({
      port = front.upstream,
      on_connect = function(peer) peer:write(frame(SETTINGS, 0, 0, "")) end,
      on_data = function(peer, bytes)
        if not bytes:find("messages", 1, true) then return end
        peer:write(frame(SETTINGS, 1, 0, ""))
        for _, one in ipairs(list) do
          if one == "close" or one == "reset" then
            peer[one](peer)
          elseif type(one) == "number" then
            peer:pause(one)
          else
            peer:write(one)
          end
        end
      end,
    }))
    local session = connect("raw2", { http2 = true })
    local stream = session:stream "hello"
    local reply, _, err = stream:result()
    return reply, err, session
  end

  local head = frame(HEADERS, 4, 1, OK)

  it("a stream of frames is a reply", function()
    local reply = run { head, frame(DATA, 0, 1, A), frame(DATA, 0, 1, B), frame(DATA, 1, 1, play.END) }
    assert.equal("ab", reply.text)
  end)

  it("row 51: 1xx frames are skipped", function()
    local hint = frame(HEADERS, 4, 1, status "103")
    local reply = run { hint, hint, head, frame(DATA, 1, 1, A .. play.END) }
    assert.equal("a", reply.text)
  end)

  local ENDS = {
    { "RST_STREAM INTERNAL_ERROR", { frame(RST, 0, 1, number(2)) } },
    { "RST_STREAM CANCEL", { frame(RST, 0, 1, number(8)) } },
    { "RST_STREAM NO_ERROR", { frame(RST, 0, 1, number(0)) } },
    { "GOAWAY with an error, then the end", { frame(GOAWAY, 0, 0, number(1) .. number(2)), "close" } },
    { "GOAWAY for what came later, then the end", { frame(GOAWAY, 0, 0, number(1) .. number(0)), "close" } },
    { "GOAWAY before our stream", { frame(GOAWAY, 0, 0, number(0) .. number(0)), "close" } },
    { "the connection's end", { "close" } },
    { "an RST of the connection", { "reset" } },
    { "a frame of another stream's", { frame(DATA, 0, 4, "x"), 0.01, "close" } },
    { "a frame that is cut", { frame(DATA, 0, 1, A):sub(1, 20), "close" } },
    { "a frame that is too long", { char(255, 255, 255, 0, 0, 0, 0, 0, 1), 0.01, "close" } },
  }
  for _, ending in ipairs(ENDS) do
    it("row 15: " .. ending[1] .. " is an incomplete stream with its partial", function()
      local list = { head, frame(DATA, 0, 1, A), frame(DATA, 0, 1, B), 0.02 }
      for _, one in ipairs(ending[2]) do list[#list + 1] = one end
      local reply, err, session = run(list)
      assert.is_nil(reply)
      assert.equal("incomplete_stream", err.kind)
      assert.equal("ab", err.partial and err.partial.text)
      assert.same({}, session:messages())
    end)

    it("row 15: " .. ending[1] .. " before any answer is a network failure", function()
      local _, err = run(ending[2])
      assert.equal("network", err.kind)
      assert.is_nil(err.partial)
    end)
  end

  it("row 15: GOAWAY does not cut a stream that it lets end", function()
    local reply = run {
      head, frame(DATA, 0, 1, A), frame(GOAWAY, 0, 0, number(1) .. number(0)), 0.02,
      frame(DATA, 0, 1, B), frame(DATA, 1, 1, play.END),
    }
    assert.equal("ab", reply.text)
  end)

  it("row 11: [DONE] is the end, whatever the frames do then", function()
    for _, last in ipairs { frame(RST, 0, 1, number(2)), frame(GOAWAY, 0, 0, number(1) .. number(2)), "reset", 0.01 } do
      local start = core.now()
      -- libcurl 7.88 drops what comes in one read with a RST_STREAM
      local reply = run { head, frame(DATA, 0, 1, A .. play.END), 0.02, last }
      assert.equal("a", reply.text)
      assert.is_true(core.now() - start < 0.5)
      server:close()
    end
  end)

  it("a PING is no content", function()
    local reply = run { head, frame(PING, 0, 0, "12345678"), frame(DATA, 0, 1, A), frame(PING, 0, 0, "12345678"),
      frame(DATA, 1, 1, play.END) }
    assert.equal("a", reply.text)
  end)
end)
