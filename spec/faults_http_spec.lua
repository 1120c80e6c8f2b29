--- FAULTS C: statuses, headers and bodies that are no completion. Of 29, 34 and 36
-- the reading side.
-- luacheck: no max line length

local leaks = require "spec.support.leaks"
local play = require "spec.support.play"

local JSON = "Content-Type: application/json\r\nX-Request-Id: req-7\r\n"
local HTML = "Content-Type: text/html; charset=utf-8\r\n"
local A = play.text "a"

local function each(answer, check) play.each(answer, {}, check) end

describe("faults of HTTP:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("row 28: 400, 401, 403, 404, 422 are told with all that the API says, after one attempt", function()
    local kinds = {
      [400] = "invalid_request", [401] = "authentication", [403] = "permission", [404] = "not_found", [422] = "invalid_request",
    }
    for status, kind in pairs(kinds) do
      local body = '{"error":{"message":"no such thing","type":"some_type","code":"some_code","param":"model"}}'
      each(play.http(status, body, JSON), function(out)
        local err = play.failed(out, kind, "some_code")
        assert.equal(status, err.status)
        assert.equal("some_type", err.type)
        assert.equal("model", err.param)
        assert.equal("req-7", err.request_id)
        assert.truthy(err.message:find("no such thing", 1, true))
        assert.is_nil(err.safe_message:find("no such thing", 1, true))
        assert.is_false(err.retryable)
        assert.equal(status, err.attempts[1].status)
        assert.is_nil(err.partial)
      end)
    end
  end)

  it("row 28: the body's code wins over the status", function()
    local cases = {
      { 429, "insufficient_quota", "quota" }, { 400, "context_length_exceeded", "context_length" },
      { 400, "content_filter", "content_filter" }, { 429, "slow_down", "overloaded" },
      { 500, "server_is_overloaded", "overloaded" },
    }
    for _, case in ipairs(cases) do
      each(play.http(case[1], '{"error":{"message":"m","code":"' .. case[2] .. '"}}'), function(out)
        assert.equal(case[1], play.failed(out, case[3], case[2]).status)
      end)
    end
  end)

  it("row 29: statuses that may pass are retryable and have their kinds", function()
    local kinds = {
      [408] = "timeout", [409] = "conflict", [429] = "rate_limit", [500] = "server", [502] = "server", [503] = "overloaded",
      [504] = "server", [529] = "overloaded",
    }
    for status, kind in pairs(kinds) do
      each(play.http(status, '{"error":{"message":"later"}}'), function(out)
        local err = play.failed(out, kind)
        assert.equal(status, err.status)
        assert.is_true(err.retryable)
      end)
    end
  end)

  it("row 34: Retry-After is told, in seconds", function()
    local cases = {
      ["Retry-After: 3600\r\n"] = 3600, ["retry-after-ms: 250\r\n"] = 0.25,
      ["Retry-After: 2\r\nretry-after-ms: 250\r\n"] = 0.25, ["Retry-After: abc\r\n"] = false, [""] = false,
      ["Retry-After: -5\r\n"] = false, ["Retry-After: 1e99\r\n"] = false, ["Retry-After: NaN\r\n"] = false,
    }
    for headers, seconds in pairs(cases) do
      local out = play.run(play.http(429, '{"error":{"message":"slow"}}', headers), { mode = "send" })
      assert.equal(seconds or nil, play.failed(out, "rate_limit").retry_after, headers)
    end
  end)

  it("row 36: x-ratelimit-reset in Go's durations", function()
    local cases = { ["6m0s"] = 360, ["20ms"] = 0.02, ["1m30.951s"] = 90.951, ["1s"] = 1, ["soon"] = false, [""] = false }
    for text, seconds in pairs(cases) do
      local headers = "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: "
        .. text .. "\r\n"
      local out = play.run(play.http(429, "{}", headers), { mode = "send" })
      local limit = play.failed(out, "rate_limit").ratelimit
      assert.equal(60, limit.limit_requests)
      assert.equal(0, limit.remaining_requests)
      if seconds then
        assert.is_true(math.abs(limit.reset_requests - seconds) < 1e-9)
      else
        assert.is_nil(limit.reset_requests)
      end
    end
    local out = play.run(play.http(429, "{}"), { mode = "send" })
    assert.is_nil(play.failed(out, "rate_limit").ratelimit) -- missing, all of them
  end)

  it("row 37: an HTML page with 200 is bad_response, with its type and a short, escaped quote", function()
    local page = "<html><body>Please log in\27[31m" .. ("x"):rep(5000) .. "</body></html>"
    each(play.http(200, page, HTML), function(out)
      local err = play.failed(out, "protocol", "bad_response")
      assert.truthy(err.type:find("text/html", 1, true))
      assert.truthy(err.message:find("text/html", 1, true))
      assert.truthy(err.message:find("Please log in", 1, true))
      assert.is_nil(err.message:find "[%c]")
      local _, quoted = err.message:gsub("x", "")
      assert.is_true(quoted > 200 and quoted <= 300, quoted)
      assert.truthy(err.message:find("in\\x1b[31mx", 1, true))
      assert.is_true(#err.message < 400)
      assert.equal(200, err.status)
      assert.is_nil(err.safe_message:find("Please log in", 1, true))
    end)
  end)

  it("row 38: an event stream under another label, or none, works", function()
    for _, type in ipairs { "Content-Type: text/plain\r\n", "", "Content-Type: application/octet-stream\r\n",
      "Content-Type: application/json\r\n" } do
      play.each("HTTP/1.1 200 OK\r\n" .. type .. "Connection: close\r\n\r\n" .. A .. play.END, { modes = { "stream" } },
        function(out) play.succeeded(out, "a") end)
    end
  end)

  it("row 39: a whole completion is taken as the answer to a stream request", function()
    local body = play.completion('{"role":"assistant","content":"whole","tool_calls":[{"id":"c1","type":"function",'
      .. '"function":{"name":"f","arguments":"{}"}}]}')
    for _, type in ipairs { "application/json", "text/event-stream", "application/json; charset=utf-8" } do
      play.each(play.http(200, body, "Content-Type: " .. type .. "\r\n"), {}, function(out)
        local reply = play.succeeded(out, "whole")
        assert.equal("f", reply.tool_calls[1].name)
        assert.equal("stop", reply.finish_reason)
      end)
    end
  end)

  it("row 40: a JSON error with 200 is the API's error", function()
    for _, type in ipairs { "application/json", "text/event-stream", "text/plain" } do
      each(play.http(200, '{"error":{"code":400,"message":"context too long","type":"invalid_request_error"}}',
        "Content-Type: " .. type .. "\r\n"), function(out)
        assert.is_nil(out.reply)
        assert.are_not.equal("protocol", out.err.kind)
        assert.truthy(out.err.message:find("context too long", 1, true))
      end)
    end
  end)

  it("row 41: 204 and an empty 200 are empty_response", function()
    each("HTTP/1.1 204 No Content\r\n\r\n", function(out) play.failed(out, "protocol", "empty_response") end)
    each(play.http(200, ""), function(out) play.failed(out, "protocol", "empty_response") end)
    each(play.HEAD, function(out) play.failed(out, "protocol", "empty_response") end)
    each("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", function(out)
      play.failed(out, "protocol", "empty_response")
    end)
  end)

  it("row 41: a stream of [DONE] alone is empty_response too", function()
    play.events(play.DONE, function(out) play.failed(out, "protocol", "empty_response") end)
  end)

  it("row 42: an HTML 502 is a server error with its status, shortened", function()
    local page = "<html><head><title>502 Bad Gateway</title></head>" .. ("<p>nginx</p>"):rep(500) .. "</html>"
    each(play.http(502, page, HTML), function(out)
      local err = play.failed(out, "server")
      assert.equal(502, err.status)
      assert.is_true(err.retryable)
      assert.truthy(err.message:find("502", 1, true))
      assert.is_true(#err.message < 500)
    end)
  end)

  it("row 43: an error of any shape gives its words, never a Lua error", function()
    local cases = {
      ['{"error":"it broke"}'] = "it broke", ['{"error":42}'] = "42", ['{"error":null}'] = "", ['{"error":["it broke"]}'] = "it broke",
      ['{"detail":"it broke"}'] = "it broke", ['{"detail":[{"msg":"it broke","loc":["body"]}]}'] = "it broke",
      ['{"message":"it broke"}'] = "it broke", ['{"error":{"message":null}}'] = "", ['{"error":{"message":{"a":"it broke"}}}'] = "",
      ['{"error":{}}'] = "", ["[]"] = "", ["null"] = "", ['"it broke"'] = "it broke", ["it broke"] = "it broke", [""] = "",
      ['[{"error":{"message":"it broke"}}]'] = "it broke", ['{"error":{"code":400,"message":"it broke"}}'] = "it broke",
    }
    for body, words in pairs(cases) do
      each(play.http(400, body), function(out)
        local err = play.failed(out, "invalid_request")
        assert.equal(400, err.status)
        assert.truthy(err.message:find(words, 1, true), body .. " gave " .. err.message)
      end)
    end
  end)

  it("row 43: a long raw text is cut", function()
    each(play.http(400, ("y"):rep(10000), "Content-Type: text/plain\r\n"), function(out)
      assert.is_true(#play.failed(out, "invalid_request").message < 500)
    end)
  end)
end)
