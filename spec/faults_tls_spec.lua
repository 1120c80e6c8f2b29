--- FAULTS 15 and 46, what needs a real TLS server: HTTP/2 failures with retries on, and
-- a redirect that leaves https.
-- luacheck: no max line length

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local nginx = require "spec.support.nginx"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local missing = nginx.missing()
if missing then
  pending("TLS: " .. missing)
  return
end

local char = string.char
local DATA, HEADERS, RST, SETTINGS, GOAWAY = 0, 1, 3, 4, 7

-- RFC 9113, 4.1
local function frame(kind, flags, id, payload)
  local n = #payload
  return char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256, kind, flags, 0, 0, 0, id) .. payload
end

local function number(n) return char(0, 0, 0, n) end

local OK = frame(HEADERS, 4, 1, char(0x88)) -- :status 200
local A = frame(DATA, 0, 1, play.text "a")
local GOOD = OK .. A .. frame(DATA, 1, 1, play.END)

describe("behind TLS:", function()
  local front, servers

  setup(function() front = nginx.start { good = { cert = "good" }, raw2 = { raw = true, cert = "good", alpn = "h2" } } end)
  teardown(function() front:stop() end)
  before_each(function()
    leaks.remember()
    servers = {}
  end)
  after_each(function()
    for _, server in ipairs(servers) do server:close() end
    leaks.check()
  end)

  local function serve(handler)
    servers[#servers + 1] = assert(testing.server(handler))
    return servers[#servers]
  end

  local function connect(site, extra)
    local options = {
      base_url = ("https://localhost:%d/v1"):format(front.sites[site]), api_key = "sk-spec-key",
      ca_file = front:file "ca.pem", timeouts = { connect = 5 }, retry = { max = 1 },
    }
    for name, value in pairs(extra) do options[name] = value end
    return assert(chat.new(options))
  end

  -- The n-th connection is answered by the n-th bytes and ends with them; the first one's
  -- end with `last`.
  local function frames(list, last)
    local n = 0
    local server = testing.server {
      port = front.upstream,
      on_connect = function(peer) peer:write(frame(SETTINGS, 0, 0, "")) end,
      on_data = function(peer, bytes)
        if not bytes:find("messages", 1, true) then return end
        n = math.min(n + 1, #list)
        peer:write(frame(SETTINGS, 1, 0, ""))
        peer:write(list[n])
        peer:pause(0.02) -- libcurl 7.88 drops what comes in one read with a RST_STREAM
        if n == 1 and last then peer:write(last) end
        peer:pause(0.02)
        peer:close()
      end,
    }
    servers[#servers + 1] = assert(server)
    return server
  end

  local ENDS = {
    ["RST_STREAM INTERNAL_ERROR"] = frame(RST, 0, 1, number(2)),
    GOAWAY = frame(GOAWAY, 0, 0, number(0) .. number(2)),
  }
  for name, last in pairs(ENDS) do
    it("row 15: " .. name .. " before the first delta is tried again", function()
      for _, before in ipairs { "", OK } do
        local server = frames({ before, GOOD }, last)
        local reply, _, err = connect("raw2", { http2 = true }):stream("hello"):result()
        assert.is_nil(err)
        assert.equal("a", reply.text)
        assert.equal(2, #reply.attempts)
        assert.equal(2, server.accepted)
        server:close()
      end
    end)

    it("row 15: " .. name .. " behind one is not", function()
      local server = frames({ OK .. A, GOOD }, last)
      local stream = connect("raw2", { http2 = true }):stream "hello"
      local heard = stream:next()
      local reply, _, err = stream:result()
      assert.equal("a", heard)
      assert.is_nil(reply)
      assert.equal("incomplete_stream", err.kind)
      assert.equal("stream_interrupted", err.code)
      assert.equal("a", err.partial.text)
      assert.equal(1, server.accepted)
    end)
  end

  for _, follow in ipairs { false, true } do
    it(("row 46: a redirect to http is refused (%s)"):format(follow and "opted in" or "not opted in"), function()
      local plain = serve { on_connect = function() end, on_data = function() end }
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        for _, mode in ipairs { "send", "stream" } do
          local server
          server = assert(testing.server(function(_, response)
            local ports = { plain.port, front.sites.good }
            response:body(status, "moved", { Location = ("http://localhost:%d/v1/x"):format(ports[#server.requests % 2 + 1]) })
          end, { port = front.upstream }))
          for _ = 1, 2 do
            local session = connect("good", { redirects = follow, headers = { Cookie = "c=1", ["api-key"] = "sk-azure" } })
            local reply, _, err
            if mode == "send" then reply, _, err = session:send "hello" else reply, _, err = session:stream("hello"):result() end
            assert.is_nil(reply)
            assert.equal("protocol", err.kind)
            assert.equal("redirect", err.code)
            assert.equal(status, err.status)
            assert.same({}, session:messages())
          end
          assert.equal(2, #server.requests)
          server:close()
        end
      end
      assert.equal(0, plain.accepted)
    end)
  end
end)
