--- The raw wire: plain HTTP for what is no model's answer.

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"
local wait = require "oaichat.wait"

local server, session, handler

local function open(options)
  local all = { base_url = server.url:gsub("/v1$", ""), wire = "raw", path = "/mcp", api_key = false }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(core.new(all))
end

local function result(exchange)
  while not exchange:done() do wait.ready(exchange) end
  return exchange:result()
end

-- All events, and the end.
local function events(exchange)
  local list = {}
  while true do
    local kind, data, name, id, retry = exchange:next()
    if kind then
      list[#list + 1] = { data = data, name = name, id = id, retry = retry }
    elseif exchange:done() then
      return list, exchange:result()
    else
      wait.ready(exchange)
    end
  end
end

before_each(function()
  leaks.remember()
  server = assert(testing.server(function(request, response) return handler(request, response) end))
  session = open()
end)

after_each(function()
  session:close()
  server:close()
  leaks.check()
end)

describe("a raw answer", function()
  it("is the body's bytes, its status and its headers", function()
    local bytes = "a\0b\r\n\255{"
    handler = function(_, response) response:body(200, bytes, { ["X-One"] = "1" }) end
    local exchange = session:send("{}")
    local reply, failure = result(exchange)
    assert.is_nil(failure)
    assert.equal(bytes, reply.body)
    assert.equal(200, reply.status)
    assert.equal("1", exchange:header "x-one")
    assert.equal("1", exchange:header("x-two", "x-one"))
    assert.is_nil(exchange:header("x-two", "x-three"))
    assert.same({ one = "1" }, exchange:headers "x-")
    assert.is_nil(exchange:headers "y-")
    local request = server.requests[1]
    assert.equal("POST", request.method)
    assert.equal("/mcp", request.path)
    assert.equal("{}", request.body)
    assert.equal("application/json", request.headers["content-type"])
    assert.is_nil(request.headers["accept-encoding"])
    exchange:close()
  end)

  it("may be empty: 202, 204", function()
    for _, status in ipairs { 200, 202, 204 } do
      handler = function(_, response)
        if status == 204 then response:head(204):finish() else response:body(status, "") end
      end
      local exchange = session:send("{}")
      local reply, failure = result(exchange)
      assert.is_nil(failure)
      assert.equal("", reply.body)
      assert.equal(status, reply.status)
      exchange:close()
    end
  end)

  it("asks by each method, with a body or without", function()
    handler = function(_, response) response:body(200, "ok") end
    for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE" } do
      for _, body in ipairs { "", "abc" } do
        local exchange = session:send(body, { method = method, path = "/files/1?limit=2" })
        assert.equal("ok", result(exchange).body)
        exchange:close()
        local request = server.requests[#server.requests]
        assert.equal(method, request.method)
        assert.equal("/files/1?limit=2", request.target)
        assert.equal(body, request.body)
        local bodyless = body == "" and (method == "GET" or method == "DELETE")
        assert.equal(bodyless, request.headers["content-type"] == nil)
        assert.equal(bodyless, request.headers["content-length"] == nil)
      end
    end
  end)

  it("joins a path with the query of the base URL", function()
    handler = function(_, response) response:body(200, "ok") end
    local own = open { base_url = server.url .. "?key=1", path = "" }
    for path, target in pairs { [""] = "/v1?key=1", ["/a"] = "/v1/a?key=1", ["/a?b=2"] = "/v1/a?b=2&key=1" } do
      local exchange = own:send("", { method = "GET", path = path })
      result(exchange)
      exchange:close()
      assert.equal(target, server.requests[#server.requests].target)
    end
    own:close()
  end)

  it("refuses a path that leaves the origin or is none", function()
    local paths = { "x", "@evil.example/", ".evil.example/", "/a b", "/a\r\nX: y", "/a#b", "/\195\164", "/a\0b" }
    for _, path in ipairs(paths) do
      local exchange, message, err = session:send("", { path = path })
      assert.is_nil(exchange)
      assert.equal("config", err.kind)
      assert.truthy(message:find "path")
    end
    assert.has_error(function() session:send("", { method = "BREW" }) end, "unknown method BREW")
    assert.has_error(function() session:send("", { path = 1 }) end)
  end)

  it("fails by its status, and keeps what the server said", function()
    local kinds = {
      [400] = "invalid_request", [401] = "authentication", [403] = "permission", [404] = "not_found",
      [409] = "conflict", [429] = "rate_limit", [500] = "server", [503] = "overloaded",
    }
    for status, kind in pairs(kinds) do
      handler = function(_, response) response:json(status, { error = { message = "no such thing" } }) end
      local exchange = session:send("{}")
      local reply, failure = result(exchange)
      assert.equal(kind, failure.kind)
      assert.equal(status, failure.status)
      assert.equal("no such thing", failure.detail)
      assert.equal('{"error":{"message":"no such thing"}}', reply.body)
      assert.equal(status, reply.status)
      exchange:close()
    end
  end)

  it("is not proved by a body that breaks off", function()
    handler = function(_, response)
      response:head(200, { ["Content-Length"] = 10, ["Content-Type"] = "text/plain" }):write("12345"):close()
    end
    local exchange = session:send("{}")
    local reply, failure = result(exchange)
    assert.equal("incomplete_stream", failure.kind)
    assert.equal("12345", reply.body)
    exchange:close()
  end)

  it("does not follow a redirect", function()
    handler = function(_, response) response:body(307, "", { Location = "/other" }) end
    local exchange = session:send("", { method = "GET" })
    local _, failure = result(exchange)
    assert.equal("redirect", failure.code)
    exchange:close()
  end)

  it("is bounded in bytes and in time", function()
    local small = open { limits = { response_bytes = 100 } }
    handler = function(_, response) response:body(200, ("x"):rep(101)) end
    local exchange = small:send("")
    local _, failure = result(exchange)
    assert.equal("too_large", failure.kind)
    exchange:close()
    small:close()
    handler = function(_, response) response:head(200):write "x" end
    exchange = session:send("", { deadline = 0.05 })
    _, failure = result(exchange)
    assert.equal("timeout", failure.kind)
    assert.equal("total", failure.phase)
    exchange:close()
  end)

  it("can be canceled", function()
    handler = function() end
    local exchange = session:send("")
    exchange:cancel()
    local reply, failure = result(exchange)
    assert.equal("canceled", failure.kind)
    assert.equal("", reply.body)
    exchange:close()
  end)
end)

describe("a raw stream", function()
  it("hands out events with name, id and retry, at any split", function()
    local text = "\239\187\191: hello\nretry: 250\nid: 7\ndata:\n\nevent: message\ndata: {\"a\":\ndata: 1}\n\n"
      .. "data: [DONE]\n\nid: 9\ndata: last"
    for split = 1, 5 do
      handler = function(_, response) response:write(text, split):finish() end
      local exchange = session:stream("{}")
      local list, reply, failure = events(exchange)
      assert.is_nil(failure)
      assert.same({
        { data = "", id = "7", retry = 250 },
        { data = '{"a":\n1}', name = "message", id = "7" },
        { data = "[DONE]", id = "7" },
        { data = "last", id = "9" },
      }, list)
      assert.equal("", reply.body)
      exchange:close()
    end
  end)

  it("may end without an event", function()
    handler = function(_, response) response:write(": nothing\n\n"):finish() end
    local exchange = session:stream("", { method = "GET" })
    local list, reply, failure = events(exchange)
    assert.same({}, list)
    assert.is_nil(failure)
    assert.equal("", reply.body)
    assert.equal("text/event-stream", server.requests[1].headers.accept)
    exchange:close()
  end)

  it("that breaks off is none, but what came is handed out", function()
    handler = function(_, response) response:event("one"):write("data: half"):close() end
    local exchange = session:stream("")
    local list, _, failure = events(exchange)
    assert.equal(1, #list)
    assert.equal("incomplete_stream", failure.kind)
    exchange:close()
  end)

  it("is handed out whole where the server answers otherwise", function()
    for _, type in ipairs { "application/json", "text/plain", "" } do
      handler = function(_, response) response:body(200, "data: {}\n\n", { ["Content-Type"] = type }) end
      local exchange = session:stream("{}")
      local list, reply, failure = events(exchange)
      assert.same({}, list)
      assert.is_nil(failure)
      assert.equal("data: {}\n\n", reply.body)
      exchange:close()
    end
  end)

  it("believes the label, whatever the first byte", function()
    handler = function(_, response)
      response:head(200, { ["Content-Type"] = "Text/Event-Stream; charset=utf-8" }):write("{\n\ndata: 1\n\n"):finish()
    end
    local exchange = session:stream("{}")
    local list = events(exchange)
    assert.equal("1", list[1].data)
    exchange:close()
  end)

  it("has clocks that count from the events", function()
    handler = function(_, response) response:event("1"):pause(0.1):event("2") end
    local exchange = session:stream("", { timeouts = { content_idle = 0.05 } })
    local list, _, failure = events(exchange)
    assert.equal(1, #list)
    assert.equal("content_idle", failure.phase)
    exchange:close()
  end)

  it("stops the sender while nobody reads, and is bounded in an event's bytes", function()
    handler = function(_, response)
      response:head(200)
      for _ = 1, 40 do response:event(("x"):rep(50000)) end
      response:finish()
    end
    local exchange = session:stream("")
    local list, _, failure = events(exchange)
    assert.is_nil(failure)
    assert.equal(40, #list)
    exchange:close()
    local small = open { limits = { event_bytes = 1000 } }
    exchange = small:stream("")
    list, _, failure = events(exchange)
    assert.same({}, list)
    assert.equal("too_large", failure.kind)
    exchange:close()
    small:close()
  end)
end)
