--- FAULTS C, rows 44-51: redirects, and headers that are odd or too many.

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local A = play.text "a"
local BOTH = { "send", "stream" }

-- Headers that carry secrets, beside the key's own.
local SECRETS = { ["api-key"] = "sk-azure", ["X-Api-Key"] = "sk-claude", Cookie = "session=1" }

local function turn(session, mode, input)
  if mode == "send" then return session:send(input or "hello") end
  return session:stream(input or "hello"):result()
end

-- A server that nobody may reach.
local function witness()
  return assert(testing.server { on_connect = function() end, on_data = function() end })
end

local function is_redirect(err, session)
  assert.equal("protocol", err.kind)
  assert.equal("redirect", err.code)
  assert.is_false(err.retryable)
  assert.equal("hello", err.input[1].content)
  assert.same({}, session:messages())
end

describe("redirects:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  -- Answers the first n requests with the status and the location.
  local function redirecting(status, location, n)
    return testing.server(function(request, response)
      if request.number > (n or 1) then return play.good(request, response) end
      local to = type(location) == "function" and location(request) or location
      response:body(status, "moved", { Location = to })
    end)
  end

  for _, status in ipairs { 300, 301, 302, 303, 304, 305, 307, 308 } do
    it(("row 44: %d to the same origin is an error"):format(status), function()
      for _, mode in ipairs(BOTH) do
        local server = redirecting(status, "/v1/elsewhere", 99)
        local session = play.session(server)
        local reply, _, err = turn(session, mode)
        assert.is_nil(reply)
        is_redirect(err, session)
        assert.equal(status, err.status)
        assert.equal(1, #server.requests)
        server:close()
      end
    end)
  end

  for _, status in ipairs { 307, 308 } do
    for _, mode in ipairs(BOTH) do
      it(("row 44: opted in, %d keeps the POST, its body and its headers (%s)"):format(status, mode), function()
        local server = redirecting(status, "/v2/there?x=1")
        local session = play.session(server, { redirects = true, headers = SECRETS })
        assert.equal("good", turn(session, mode).text)
        local first, second = server.requests[1], server.requests[2]
        assert.equal(2, #server.requests)
        assert.equal("POST", second.method)
        assert.equal("/v2/there?x=1", second.target)
        assert.equal(first.body, second.body)
        assert.same(first.headers, second.headers)
        assert.equal("Bearer sk-spec-key", second.headers.authorization)
        assert.equal(2, #session:messages())
        server:close()
      end)
    end
  end

  it("row 44: a long body, sent in pieces, is sent again whole", function()
    local server = redirecting(307, "/v2/there")
    local session = play.session(server, { redirects = true })
    local long = ("x"):rep(300000)
    assert.equal("good", session:send(long).text)
    assert.equal(server.requests[1].body, server.requests[2].body)
    assert.equal(long, server.requests[2]:json().messages[1].content)
    server:close()
  end)

  local PLACES = {
    { "a path", "/v1/x", "/v1/x" },
    { "a relative path", "x", "/v1/chat/x" },
    { "dots", "../../v3/x", "/v3/x" },
    { "a query alone", "?again=1", "/v1/chat/completions?again=1" },
    { "a fragment", "/v1/x#part", "/v1/x" },
    { "a whole URL", function(request) return ("http://%s/v1/x"):format(request.headers.host) end, "/v1/x" },
    { "the same in capitals", function(request) return ("HTTP://%s/v1/x"):format(request.headers.host) end, "/v1/x" },
    { "a host alone", function(request) return ("//%s/v1/x"):format(request.headers.host) end, "/v1/x" },
  }
  for _, place in ipairs(PLACES) do
    it("row 44: opted in, the place may be " .. place[1], function()
      local server = redirecting(308, place[2])
      assert.equal("good", play.session(server, { redirects = true }):send("hello").text)
      assert.equal(place[3], server.requests[2].target)
      server:close()
    end)
  end

  for _, status in ipairs { 301, 302, 303 } do
    it(("row 44: opted in, %d is an error all the same: it would become a GET"):format(status), function()
      local server = redirecting(status, "/v1/x", 99)
      local session = play.session(server, { redirects = true })
      local _, _, err = session:send "hello"
      is_redirect(err, session)
      assert.equal(1, #server.requests)
      server:close()
    end)
  end

  local NOWHERE = {
    "", " ", "http://", "http://:1/", "http://127.0.0.1:99999/", "/a b", "/\233", "\\\\x", "/x\127",
  }
  for _, location in ipairs(NOWHERE) do
    it(("row 44: a place that is no URL is an error: %q"):format(location), function()
      local server = testing.server(function(request, response)
        if request.number > 1 then return play.good(request, response) end
        response:raw("HTTP/1.1 307 X\r\nLocation: " .. location .. "\r\nContent-Length: 0\r\n\r\n"):finish()
      end)
      local session = play.session(server, { redirects = true })
      local _, _, err = session:send "hello"
      is_redirect(err, session)
      assert.equal(1, #server.requests)
      server:close()
    end)
  end

  it("row 44: without a place it is an error", function()
    local server = testing.server(function(_, response) response:body(307, "") end)
    local session = play.session(server, { redirects = true })
    local _, _, err = session:send "hello"
    is_redirect(err, session)
    server:close()
  end)

  -- Where a redirect may not lead; %d is the port of a server that watches.
  local ELSEWHERE = {
    { "another port", "http://127.0.0.1:%d/v1/x" },
    { "another host", "http://localhost:%d/v1/x" },
    { "another host, the scheme kept", "//localhost:%d/v1/x" },
    { "a port alone", "//127.0.0.1:%d/" },
    { "a user", "http://user@127.0.0.1:%d/" },
    { "the host as a user", function(own, other) return ("http://127.0.0.1:%d@127.0.0.1:%d/"):format(own, other) end },
    { "a user at our own host", function(own) return ("http://user:pass@127.0.0.1:%d/v1/x"):format(own) end },
    { "a name of our own host", function(own) return ("http://localhost:%d/v1/x"):format(own) end },
    { "a number of our own host", function(own) return ("http://127.1.0.1:%d/v1/x"):format(own) end },
    { "https at our own port", function(own) return ("https://127.0.0.1:%d/v1/x"):format(own) end },
    { "https", "https://127.0.0.1:%d/" },
    { "a backslash", function(own, other) return ("http://127.0.0.1:%d\\@127.0.0.1:%d/"):format(other, own) end },
  }
  for _, place in ipairs(ELSEWHERE) do
    for _, follow in ipairs { false, true } do
      it(("row 45: to %s is never followed (%s)"):format(place[1], follow and "opted in" or "not opted in"), function()
        for _, mode in ipairs(BOTH) do
          local other = witness()
          local server
          server = redirecting(307, function()
            local to = place[2]
            return type(to) == "string" and to:format(other.port) or to(server.port, other.port)
          end, 99)
          local session = play.session(server, { redirects = follow, headers = SECRETS })
          local reply, _, err = turn(session, mode)
          assert.is_nil(reply)
          is_redirect(err, session)
          assert.equal(0, other.accepted)
          assert.equal(1, #server.requests)
          other:close()
          server:close()
        end
      end)
    end
  end

  it("row 45: nor is the second hop of a redirect that begins at home", function()
    local other = witness()
    local server = redirecting(308, function(request)
      return request.number == 1 and "/v1/x" or ("http://127.0.0.1:%d/"):format(other.port)
    end, 99)
    local session = play.session(server, { redirects = true, headers = SECRETS })
    local _, _, err = session:send "hello"
    is_redirect(err, session)
    assert.equal(2, #server.requests)
    assert.equal(0, other.accepted)
    other:close()
    server:close()
  end)

  local SCHEMES = {
    "file:///etc/passwd", "ftp://127.0.0.1:%d/x", "gopher://127.0.0.1:%d/x", "dict://127.0.0.1:%d/x",
    "ldap://127.0.0.1:%d/x", "telnet://127.0.0.1:%d/", "ws://127.0.0.1:%d/", "javascript:alert(1)", "data:,x",
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://2852039166/",
  }
  for _, place in ipairs(SCHEMES) do
    it("row 47: to " .. place .. " is refused", function()
      for _, follow in ipairs { false, true } do
        local other = witness()
        local server = redirecting(307, place:gsub("%%d", other.port), 99)
        local session = play.session(server, { redirects = follow, headers = SECRETS })
        local _, _, err = session:send "hello"
        -- what has no authority is a path of our own: "data:,x"
        is_redirect(err, session)
        assert.equal(0, other.accepted)
        assert.equal(1, #server.requests)
        other:close()
        server:close()
      end
    end)
  end

  it("row 48: a loop ends after five hops", function()
    for _, mode in ipairs(BOTH) do
      local server = redirecting(307, function(request) return "/v1/hop" .. request.number end, 1000)
      local session = play.session(server, { redirects = true })
      local _, _, err = turn(session, mode)
      is_redirect(err, session)
      assert.equal(6, #server.requests)
      server:close()
    end
  end)

  it("row 48: five hops are followed", function()
    local server = redirecting(307, "/v1/again", 5)
    assert.equal("good", play.session(server, { redirects = true }):stream("hello"):result().text)
    assert.equal(6, #server.requests)
    server:close()
  end)

  it("a deadline spans the hops, a cancel ends them", function()
    local server = testing.server(function(_, response)
      response:pause(0.1):body(307, "", { Location = "/v1/again" })
    end)
    local session = play.session(server, { redirects = true, deadline = 0.25 })
    local _, _, err = session:send "hello"
    assert.equal("timeout", err.kind)
    assert.equal("total", err.phase)
    assert.is_true(#server.requests >= 2 and #server.requests <= 3)
    local stream = session:stream "hello"
    stream:cancel()
    _, _, err = stream:result()
    assert.equal("canceled", err.kind)
    server:close()
  end)

  it("an error after a redirect is that error", function()
    local server = testing.server(function(request, response)
      if request.number % 2 == 1 then return response:body(307, "", { Location = "/v1/x" }) end
      response:json(401, { error = { message = "no" } })
    end)
    local _, _, err = play.session(server, { redirects = true }):send "hello"
    assert.equal("authentication", err.kind)
    assert.equal(401, err.status)
    server:close()
  end)

  it("a redirect with a long page is followed", function()
    local server = testing.server(function(request, response)
      if request.number > 1 then return play.good(request, response) end
      response:body(307, ("x"):rep(1e6), { Location = "/v1/x" })
    end)
    assert.equal("good", play.session(server, { redirects = true }):send("hello").text)
    server:close()
  end)
end)

describe("headers:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  local function too_large(out)
    play.failed(out, "protocol", "header_too_large")
    assert.is_false(out.err.retryable)
  end

  -- An answer with these header lines, streamed or whole.
  local function answer(lines)
    return function(request, response)
      if request:json().stream then
        return response:raw("HTTP/1.1 200 OK\r\n" .. lines .. "Connection: close\r\n\r\n" .. A .. play.END):close()
      end
      response:raw(play.http(200, play.completion '{"content":"a"}', lines)):close()
    end
  end

  local TOO_MUCH = {
    { "400 kB in one line", "x: " .. ("y"):rep(400e3) .. "\r\n" },
    { "400 kB in 500 lines", ("x: " .. ("y"):rep(800) .. "\r\n"):rep(500) },
    { "10,000 lines", ("x: y\r\n"):rep(10000) },
    { "1,001 lines", ("x: y\r\n"):rep(1001) },
    { "400 kB of folds", "x: y\r\n" .. (" " .. ("z"):rep(800) .. "\r\n"):rep(500) },
    { "400 kB of early hints", ("HTTP/1.1 103 Early\r\nLink: " .. ("y"):rep(4000) .. "\r\n\r\n"):rep(100) },
  }
  for _, row in ipairs(TOO_MUCH) do
    for _, mode in ipairs(BOTH) do
      it(("row 49: %s are header_too_large (%s)"):format(row[1], mode), function()
        local bytes = row[2]
        if bytes:find "^HTTP" then
          too_large(play.run(bytes .. play.HEAD .. A .. play.END, { mode = mode }))
        else
          too_large(play.run(answer(bytes), { mode = mode }))
        end
      end)
    end
  end

  it("row 49: what is within the limits is taken", function()
    for _, mode in ipairs(BOTH) do
      play.succeeded(play.run(answer(("x: " .. ("y"):rep(200) .. "\r\n"):rep(900)), { mode = mode }), "a")
      play.succeeded(play.run(answer("x: " .. ("y"):rep(90e3) .. "\r\n"), { mode = mode }), "a")
    end
  end)

  it("row 49: the limit is an option; libcurl's own, where it is lower, reads the same", function()
    too_large(play.run(answer("x: " .. ("y"):rep(3000) .. "\r\n"), { new = { limits = { header_bytes = 2000 } } }))
    local wide = { new = { limits = { header_bytes = 1e6 } } }
    too_large(play.run(answer("x: " .. ("y"):rep(150e3) .. "\r\n"), wide))
    too_large(play.run(answer(("x: " .. ("y"):rep(900) .. "\r\n"):rep(600)), wide))
  end)

  it("row 49: headers without an end are header_too_large, not a wait", function()
    local function endless(_, response)
      response:raw "HTTP/1.1 200 OK\r\n"
      for _ = 1, 200 do response:raw(("x: " .. ("y"):rep(90) .. "\r\n"):rep(20)) end
    end
    for _, mode in ipairs(BOTH) do
      local out = play.run(endless, { mode = mode })
      too_large(out)
      assert.is_true(out.seconds < 1)
    end
  end)

  it("row 50: a NUL in a header is bad_response", function()
    for _, lines in ipairs { "x: a\0b\r\n", "x-request-id: \0\r\n", "x\0y: z\r\n" } do
      for _, mode in ipairs(BOTH) do
        play.failed(play.run(answer(lines), { mode = mode }), "protocol", "bad_response")
      end
    end
    play.failed(play.run("HTTP/1.1 200 O\0K\r\n\r\n" .. A .. play.END), "protocol", "bad_response")
  end)

  it("row 50: 8-bit bytes are kept as they are", function()
    for _, value in ipairs { "caf\195\169", "caf\233", "\255\254\128", "a\tb" } do
      for _, mode in ipairs(BOTH) do
        local reply = play.succeeded(play.run(answer("x-request-id: " .. value .. "\r\n"), { mode = mode }), "a")
        assert.equal(value, reply.request_id)
      end
    end
  end)

  it("row 50: a folded value is whole, one blank for each fold", function()
    local folds = {
      ["req-1\r\n two\r\n\t three"] = "req-1 two three", ["\r\n req-1"] = "req-1", ["req-1\r\n  \r\n"] = "req-1",
      ["req-1 \r\n \t two"] = "req-1 two",
    }
    for raw, value in pairs(folds) do
      for _, mode in ipairs(BOTH) do
        for _, split in pairs(play.splits) do
          local function folded(request, response)
            local lines = ("x-request-id: %s\r\nX-After: 1\r\n"):format(raw):gsub("\r\n\r\n", "\r\n")
            local body = request:json().stream and A .. play.END or play.completion '{"content":"a"}'
            play.write(response, "HTTP/1.1 200 OK\r\n" .. lines .. "Connection: close\r\n\r\n" .. body, split):close()
          end
          local reply = play.succeeded(play.run(folded, { mode = mode }), "a")
          assert.equal(value, reply.request_id)
        end
      end
    end
  end)

  it("row 50: bare LF ends a line; a line without a colon does no harm", function()
    local head = "HTTP/1.1 200 OK\nx-request-id: req-1\nConnection: close\n\n"
    local reply = play.succeeded(play.run(head .. A .. play.END), "a")
    assert.equal("req-1", reply.request_id)
    for _, mode in ipairs(BOTH) do
      local out = play.run(answer "no colon here\r\nx-request-id: req-2\r\n", { mode = mode })
      if out.err then play.failed(out, "protocol", "bad_response") else play.succeeded(out, "a") end
    end
  end)

  it("row 51: informational answers are skipped, whatever they carry", function()
    local hints = {
      "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nx-request-id: wrong\r\n\r\n",
      "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
      ("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"):rep(50),
    }
    for _, hint in ipairs(hints) do
      local body = play.completion '{"content":"a"}'
      play.each(hint .. play.HEAD .. A .. play.END, { modes = { "stream" } }, function(out)
        assert.is_nil(play.succeeded(out, "a").request_id)
      end)
      play.each(hint .. play.http(200, body), { modes = { "send" } }, function(out) play.succeeded(out, "a") end)
      play.each(hint .. play.http(429, "{}"), {}, function(out)
        assert.equal(429, play.failed(out, "rate_limit").status)
      end)
    end
  end)

  it("row 51: informational answers alone are no answer", function()
    local hint = "HTTP/1.1 103 Early Hints\r\n\r\n"
    for _, mode in ipairs(BOTH) do play.failed(play.run(hint, { mode = mode }), "network") end
    local held = play.run(hint, { ending = "hold", new = { timeouts = { first_byte = 0.2 } } })
    assert.equal("first_byte", play.failed(held, "timeout").phase)
  end)

  it("row 91: at the edge, options of headers with CR, LF or NUL are config", function()
    for _, bad in ipairs { "a\rb", "a\nb", "a\0b" } do
      local session, _, err = chat.new { base_url = "http://127.0.0.1:1/v1", api_key = false, headers = { x = bad } }
      assert.is_nil(session)
      assert.equal("config", err.kind)
    end
  end)
end)
