--- FAULTS A and C, what is tried again and when: rows 1 to 4, 6 to 8, 28 to 35, 42 and
-- 97, with retries on. What would wait waits side by side, in tasks.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local BOTH = { "send", "stream" }

local opened = {}

-- Faults first: `times` requests get `answer`, the others a good one.
local function serve(answer, times)
  local server
  server = assert(testing.server(function(request, response)
    server.at = server.at or {}
    server.at[request.number] = core.now()
    if request.number > (times or math.huge) then return play.good(request, response) end
    answer(response, request)
  end))
  opened[#opened + 1] = server
  return server
end

local function status(code, headers, body)
  return function(response, request)
    response:json(code, body or { error = { message = "no. " .. request.number } }, headers)
  end
end

local function ask(session, mode)
  if mode == "send" then return session:send "hello" end
  return session:stream("hello"):result()
end

-- What comes of one turn: reply, err, seconds, server.
local function turn(answer, mode, times, new)
  local server = type(answer) == "function" and serve(answer, times) or answer
  local options = { retry = { max = 2 } }
  for name, value in pairs(new or {}) do options[name] = value end
  local out = { server = server }
  local start = core.now()
  out.reply, out.message, out.err = ask(play.session(server, options), mode)
  out.seconds = core.now() - start
  return out
end

-- Runs them side by side; an error in one is the spec's.
local function together(list)
  local tasks = {}
  for i, fn in ipairs(list) do
    tasks[i] = chat.spawn(function()
      fn()
      return true
    end)
  end
  for _, task in ipairs(tasks) do assert(task:wait()) end
end

-- The pause that we choose before the attempt behind the n-th.
local function own_pause(seconds, n)
  local full = 0.5 * 2 ^ (n - 1)
  assert.is_true(seconds >= full * 0.75 and seconds <= full, ("%s s before attempt %d"):format(tostring(seconds), n + 1))
end

local function finish()
  while opened[1] do table.remove(opened):close() end
  chat.run()
  leaks.check()
end

local function closed_port()
  local listener = assert(core.listen {})
  local port = listener:port()
  listener:close()
  return port
end

describe("tried again:", function()
  before_each(leaks.remember)
  after_each(finish)

  it("row 1: a refused connection, retry.max times, after pauses that double and differ", function()
    local url, list, first = ("http://127.0.0.1:%d/v1"):format(closed_port()), {}, {}
    for i = 1, 8 do
      list[i] = function()
        local session = assert(chat.new { base_url = url, api_key = false, retry = { max = 2 } })
        local start = core.now()
        local _, _, err = ask(session, BOTH[i % 2 + 1])
        local took = core.now() - start
        assert.equal("connect", err.code)
        assert.equal(3, #err.attempts)
        local waited = 0
        for n = 1, 2 do
          own_pause(err.attempts[n].waited, n)
          waited = waited + err.attempts[n].waited
        end
        assert.is_nil(err.attempts[3].waited)
        assert.is_true(took >= waited and took < waited + 0.2, took .. " s, of them waited " .. waited)
        first[err.attempts[1].waited] = true
      end
    end
    together(list)
    assert.truthy(next(first, (next(first))), "eight pauses of one length")
  end)

  it("row 1: the deadline holds for all attempts together", function()
    local url = ("http://127.0.0.1:%d/v1"):format(closed_port())
    for _, mode in ipairs(BOTH) do
      local session = assert(chat.new { base_url = url, api_key = false, retry = { max = 9 }, deadline = 0.7 })
      local start = core.now()
      local _, _, err = ask(session, mode)
      assert.equal("connect", err.code)
      assert.equal(2, #err.attempts)
      assert.is_true(core.now() - start < 0.77)
    end
  end)

  it("row 2: an unknown host, within the deadline", function()
    together { function()
      local session = assert(chat.new { base_url = "http://no-such-host.invalid/v1", api_key = false, retry = { max = 1 } })
      local _, _, err = session:send "hello"
      assert.equal("dns", err.code)
      assert.equal(2, #err.attempts)
      for _, attempt in ipairs(err.attempts) do assert.equal("dns", attempt.code) end
      own_pause(err.attempts[1].waited, 1)
    end, function()
      local session = assert(chat.new {
        base_url = "http://no-such-host.invalid/v1", api_key = false, retry = { max = 99 }, deadline = 0.6,
      })
      local start = core.now()
      local _, _, err = session:stream("hello"):result()
      assert.is_true(err.code == "dns" or err.phase == "total")
      assert.is_true(core.now() - start < 0.66)
    end }
  end)

  it("row 4: bad TLS never", function()
    for _, mode in ipairs(BOTH) do
      local server = assert(testing.server { on_data = function(peer) peer:write("\21\3\3\0\2\2\40"):close() end })
      opened[#opened + 1] = server
      local session = play.session(server, {
        base_url = ("https://127.0.0.1:%d/v1"):format(server.port), retry = { max = 2 },
      })
      local _, _, err = ask(session, mode)
      assert.equal("tls", err.code)
      assert.equal(1, #err.attempts)
      assert.equal(1, server.accepted)
    end
  end)

  local function closes(response) response:close() end
  local function resets(response) response:reset() end
  local function begins(response) response:raw("HTTP/1.1 200 OK\r\nConte"):pause(0.01):reset() end

  it("rows 6, 7: closed without a byte, or reset before the headers", function()
    local list = {}
    for answer, code in pairs { [closes] = "connection_closed", [resets] = "connection_reset", [begins] = "connection_reset" } do
      for _, mode in ipairs(BOTH) do
        list[#list + 1] = function()
          local out = turn(answer, mode, 1)
          assert.equal("good", out.reply.text)
          assert.equal(2, #out.reply.attempts)
          assert.equal(code, out.reply.attempts[1].code)
          own_pause(out.reply.attempts[1].waited, 1)
          assert.equal(2, #out.server.requests)
        end
        list[#list + 1] = function()
          local out = turn(answer, mode)
          assert.equal(code, out.err.code)
          assert.equal(3, #out.err.attempts)
          assert.equal(3, #out.server.requests)
        end
      end
    end
    together(list)
  end)

  it("row 8: never after text, whatever the failure", function()
    local function late(response, ending)
      response:raw(play.HEAD .. play.text "a"):pause(0.02)
      return response[ending](response)
    end
    for _, ending in ipairs { "reset", "close" } do
      local out = turn(function(response) late(response, ending) end, "stream", nil, { idempotency = true })
      assert.equal("incomplete_stream", out.err.kind)
      assert.equal("a", out.err.partial.text)
      assert.equal(1, #out.server.requests)
    end
  end)

  it("row 28: not 400, 401, 403, 404, 422", function()
    for _, code in ipairs { 400, 401, 403, 404, 422 } do
      for _, mode in ipairs(BOTH) do
        local out = turn(status(code), mode)
        assert.equal(code, out.err.status)
        assert.equal(1, #out.err.attempts)
        assert.equal(1, #out.server.requests)
      end
    end
  end)

  local SOON = { ["retry-after-ms"] = "5" }
  local PASSING = { 408, 409, 429, 500, 502, 503, 504, 529 }

  it("row 29: statuses that may pass, retry.max times; the last error is told", function()
    for _, code in ipairs(PASSING) do
      for _, mode in ipairs(BOTH) do
        local out = turn(status(code, SOON), mode)
        assert.equal(code, out.err.status)
        assert.equal(3, #out.err.attempts)
        assert.equal(3, #out.server.requests)
        assert.truthy(out.err.message:find("no. 3", 1, true), out.err.message)
        for _, attempt in ipairs(out.err.attempts) do assert.equal(code, attempt.status) end
        out = turn(status(code, SOON), mode, 2)
        assert.equal("good", out.reply.text)
        assert.equal(3, #out.reply.attempts)
      end
    end
  end)

  it("row 29: the last error is told, not the first", function()
    local codes = { 500, 429, 503 }
    for _, mode in ipairs(BOTH) do
      local out = turn(function(response, request) status(codes[request.number], SOON)(response, request) end, mode)
      assert.equal(503, out.err.status)
      assert.equal("overloaded", out.err.kind)
      assert.equal(500, out.err.attempts[1].status)
      assert.equal(429, out.err.attempts[2].status)
    end
  end)

  it("row 30: x-should-retry is obeyed, both ways", function()
    for _, mode in ipairs(BOTH) do
      local out = turn(status(500, { ["x-should-retry"] = "false" }), mode)
      assert.equal(500, out.err.status)
      assert.equal(1, #out.server.requests)
      local yes = status(400, { ["x-should-retry"] = "true", ["retry-after-ms"] = "5" })
      assert.equal("good", turn(yes, mode, 2).reply.text)
      out = turn(yes, mode)
      assert.equal(400, out.err.status)
      assert.equal(3, #out.server.requests)
    end
  end)

  -- One 429 with these headers; how long until the next request came.
  local function asked(headers, check)
    local list = {}
    for i, mode in ipairs(BOTH) do
      list[i] = function()
        local out = turn(status(429, headers), mode, 1)
        assert.equal("good", out.reply.text)
        check(out.server.at[2] - out.server.at[1], out.reply.attempts[1].waited)
      end
    end
    return list
  end

  local function all(lists)
    local flat = {}
    for _, list in ipairs(lists) do
      for _, one in ipairs(list) do flat[#flat + 1] = one end
    end
    together(flat)
  end

  local function about(seconds)
    return function(took, waited)
      assert.equal(seconds, waited)
      assert.is_true(took >= seconds - 0.001 and took < seconds + 0.15, took)
    end
  end

  it("row 31: Retry-After, retry-after-ms, and of both the finer one", function()
    all {
      asked({ ["Retry-After"] = "2" }, about(2)),
      asked({ ["retry-after-ms"] = "250" }, about(0.25)),
      asked({ ["Retry-After"] = "2", ["retry-after-ms"] = "250" }, about(0.25)),
    }
  end)

  local function date(ahead) return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + ahead) end

  local function own(took, waited)
    own_pause(waited, 1)
    assert.is_true(took >= waited - 0.001 and took < waited + 0.15, took)
  end

  it("row 32: Retry-After as a date; a past one is none", function()
    all {
      asked({ ["Retry-After"] = date(3) }, function(took, waited)
        assert.is_true(waited > 1.9 and waited <= 3, waited) -- it has whole seconds
        assert.is_true(took > 1.9 and took < 3.15, took)
      end),
      asked({ ["Retry-After"] = date(-3) }, own),
      asked({ ["Retry-After"] = "Sun, 06 Nov 1994 08:49:37 GMT" }, own),
    }
  end)

  it("row 33: Retry-After 0 is at once; what is no length of time is none", function()
    local lists = { asked({ ["Retry-After"] = "0" }, about(0)), asked({ ["retry-after-ms"] = "0" }, about(0)) }
    for _, value in ipairs { "-5", "NaN", "abc", "1e99", "inf", "", ("9"):rep(9000), ("0"):rep(9000) .. "x" } do
      for _, name in ipairs { "Retry-After", "retry-after-ms" } do lists[#lists + 1] = asked({ [name] = value }, own) end
    end
    all(lists)
    local out = turn(status(500, { ["Retry-After"] = ("9"):rep(9000) }), "send", nil, { retry = { max = 0 } })
    assert.is_nil(out.err.retry_after)
  end)

  it("row 34: an hour is not waited for, but told at once", function()
    for _, headers in ipairs { { ["Retry-After"] = "3600" }, { ["retry-after-ms"] = "3600000" } } do
      for _, mode in ipairs(BOTH) do
        local out = turn(status(429, headers), mode)
        assert.equal("rate_limit", out.err.kind)
        assert.equal(3600, out.err.retry_after)
        assert.is_true(out.seconds < 0.2)
        assert.equal(1, #out.server.requests)
      end
    end
  end)

  it("row 35: insufficient_quota never, whatever the headers say", function()
    local body = { error = { code = "insufficient_quota", message = "pay" } }
    for _, headers in ipairs { {}, SOON, { ["x-should-retry"] = "true" } } do
      for _, mode in ipairs(BOTH) do
        local out = turn(status(429, headers, body), mode)
        assert.equal("quota", out.err.kind)
        assert.equal("insufficient_quota", out.err.code)
        assert.equal(1, #out.server.requests)
      end
    end
  end)

  it("row 42: a 502 in HTML", function()
    for _, mode in ipairs(BOTH) do
      local function html(response)
        response:body(502, "<html>" .. ("nginx "):rep(1000), { ["Content-Type"] = "text/html", ["retry-after-ms"] = "5" })
      end
      assert.equal("good", turn(html, mode, 2).reply.text)
      local out = turn(html, mode)
      assert.equal(502, out.err.status)
      assert.equal(3, #out.err.attempts)
      assert.is_true(#out.err.message < 500)
    end
  end)

  it("row 97: what the server took, only under one key for all attempts, and never after text", function()
    local function hangs(response) response:pause(3):close() end
    local function chatty(response) response:raw(play.HEAD .. play.text "a"):pause(3):close() end
    local short = { timeouts = { attempt = 0.1, first_byte = 0.1, content_idle = 0.1 } }
    local keyed = { timeouts = short.timeouts, idempotency = true }
    local list = {}
    for _, mode in ipairs(BOTH) do
      list[#list + 1] = function()
        local out = turn(hangs, mode, nil, short)
        assert.equal("timeout", out.err.kind)
        assert.equal(1, #out.server.requests)
        assert.is_nil(out.server.requests[1].headers["idempotency-key"])
      end
      list[#list + 1] = function()
        local out = turn(hangs, mode, 2, keyed)
        assert.equal("good", out.reply.text)
        assert.equal(3, #out.server.requests)
        local key = out.server.requests[1].headers["idempotency-key"]
        assert.matches("^oaichat%-%x+$", key)
        for n = 2, 3 do assert.equal(key, out.server.requests[n].headers["idempotency-key"]) end
      end
    end
    list[#list + 1] = function()
      local out = turn(chatty, "stream", nil, keyed)
      assert.equal("content_idle", out.err.phase)
      assert.equal("a", out.err.partial.text)
      assert.equal(1, #out.server.requests)
    end
    together(list)
  end)
end)

describe("a SYN that is never answered", function()
  -- A listener whose queue is full drops what comes, as a firewall does.
  -- With an answer it first takes one connection and says that.
  local function black_hole(answer)
    local ok, socket = pcall(require, "socket")
    if not ok then return nil end
    local hole = { socket.tcp() }
    assert(hole[1]:bind("127.0.0.1", 0))
    assert(hole[1]:listen(0))
    local _, port = hole[1]:getsockname()
    local function fill()
      for i = 2, 4 do
        hole[i] = socket.tcp()
        hole[i]:settimeout(0)
        hole[i]:connect("127.0.0.1", port)
      end
    end
    local function serve_one()
      hole[1]:settimeout(0)
      local peer = hole[1]:accept()
      if not peer then return false end
      peer:settimeout(1)
      repeat local line = peer:receive "*l" until line == "" or not line
      fill()
      peer:send(answer)
      peer:close()
      return true
    end
    if not answer then fill() end
    return tonumber(port), function()
      for _, one in ipairs(hole) do one:close() end
    end, serve_one
  end

  it("row 3: is timeout, connect, when timeouts.connect is over", function()
    local port, close = black_hole()
    if not port then return pending "LuaSocket is not here" end
    for _, mode in ipairs(BOTH) do
      local session = assert(chat.new {
        base_url = ("http://127.0.0.1:%d/v1"):format(port), api_key = false, timeouts = { connect = 1 },
        retry = { max = 0 },
      })
      local start = core.now()
      local reply, _, err = ask(session, mode)
      local took = core.now() - start
      assert.is_nil(reply)
      assert.equal("timeout", err.kind)
      assert.equal("connect", err.phase)
      assert.is_true(err.retryable)
      assert.is_true(took >= 0.9 and took <= 1.1, took)
      assert.equal("hello", err.input[1].content)
      assert.same({}, session:messages())
    end
    close()
  end)

  it("row 3: is told as soon by a session that was answered before", function()
    local answer = play.http(200, play.completion('{"role":"assistant","content":"hi"}'))
    local port, close, serve_one = black_hole(answer)
    if not port then return pending "LuaSocket is not here" end
    local session = assert(chat.new {
      base_url = ("http://127.0.0.1:%d/v1"):format(port), api_key = false, retry = { max = 0 },
      timeouts = { connect = 0.5, attempt = 5 },
    })
    local first = chat.spawn(function() return session:send "hello" end)
    repeat
      chat.step()
      chat.wait(0.01)
    until serve_one()
    assert.equal("hi", assert(first:wait()).text)
    local start = core.now()
    local _, _, err = session:send "hello"
    assert.equal("connect", err.phase)
    assert.is_true(core.now() - start < 1)
    close()
  end)
end)
