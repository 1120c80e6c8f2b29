-- Uploads and downloads: forms out, bodies in pieces in, byte for byte.

local assert = require "luassert"
local core = require "oaichat.core"
local lab = require "spec.support.lab"

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

local function file_of(bytes)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

local function start(l, options, how)
  local exchange, message, err = l.session[how or "send"](l.session, "", options)
  if not exchange then error(message .. " " .. err.code) end
  return exchange
end

describe("a form", function()
  local l
  before_each(function() l = lab.new() end)
  after_each(function() l:close() end)

  local function sent(form, options)
    options = options or {}
    options.form = form
    local exchange = start(l, options)
    local head, body = l:request()
    local boundary = head:match "Content%-Type: multipart/form%-data; boundary=([^\r]+)\r\n"
    assert.is_string(boundary)
    l.peer:write(OK)
    local _, reply, failure = l:finish(exchange)
    assert.is_nil(failure)
    assert.equal("{}", reply.body)
    return (body:gsub("%-%-" .. boundary:gsub("%-", "%%-"), "--B")), head
  end

  it("is sent to the byte: a value, bytes and a file", function()
    local path = file_of "from\0disk"
    local body, head = sent {
      { name = "purpose", value = "batch" },
      { name = "a", data = "\0\1", filename = "a.jsonl" },
      { name = "b", path = path, filename = "b.png", type = "image/x" },
    }
    os.remove(path)
    assert.equal("--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
      .. "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.jsonl\"\r\n"
      .. "Content-Type: application/jsonl\r\n\r\n\0\1\r\n"
      .. "--B\r\nContent-Disposition: form-data; name=\"b\"; filename=\"b.png\"\r\n"
      .. "Content-Type: image/x\r\n\r\nfrom\0disk\r\n--B--\r\n", body)
    assert.is_nil(head:find "Expect")
    assert.is_nil(head:find "application/json")
    assert.truthy(head:find "^POST /v1")
  end)

  it("names a file by its path", function()
    local path = file_of "p"
    local body = sent { { name = "image[]", path = path } }
    os.remove(path)
    assert.truthy(body:find('name="image[]"; filename="' .. path:match "[^/]+$" .. '"', 1, true))
  end)

  it("has no way to a header through a name", function()
    local body = sent { { name = 'a"; x="b', data = "1", filename = '"; name="b' } }
    assert.truthy(body:find('name="a%22; x=%22b"; filename="%22; name=%22b"\r\n', 1, true))
    for _, part in ipairs {
      { name = "a\r\nX: y", value = "1" }, { name = "a", data = "1", filename = "\n" },
      { name = "a", data = "1", type = "text/plain\r\nX: y" },
    } do
      l.got = ""
      local exchange, message, err = l.session:send("", { form = { part } })
      assert.is_nil(exchange)
      assert.truthy(message:find "control character")
      assert.equal("config", err.kind)
    end
    assert.has_error(function() l.session:send("", { form = { { name = "a\0b", value = "1" } } }) end)
    assert.has_error(function() l.session:send("", { form = { { name = "a", path = "/tmp/\0" } } }) end)
  end)

  it("says which file cannot be read, before anything is sent", function()
    for path, why in pairs {
      ["/nonexistent/x"] = "No such file", ["/"] = "regular file", ["/dev/null"] = "regular file",
    } do
      local exchange, message, err = l.session:send("", { form = { { name = "f", path = path } } })
      assert.is_nil(exchange)
      assert.equal("storage", err.kind)
      assert.equal("io", err.code)
      assert.truthy(message:find(path, 1, true) and message:find(why))
    end
  end)

  it("raises on what is no form", function()
    for _, form in ipairs {
      { 1 }, { {} }, { { name = "a" } }, { { value = "1" } }, { { name = "a", value = "1", data = "2" } },
      { { name = 1, value = "" } },
    } do
      assert.has_error(function() l.session:send("", { form = form }) end)
    end
    assert.has_error(function() l.session:send("", { form = "x" }) end)
    assert.has_error(function() l.session:send() end)
  end)

  it("keeps its bytes while it is sent", function()
    local big = ("0123456789"):rep(200000)
    local exchange = start(l, { form = { { name = "f", data = big .. "", filename = "f" } } })
    collectgarbage()
    collectgarbage()
    local _, body = l:request()
    assert.truthy(body:find(big, 1, true))
    l.peer:write(OK)
    local _, _, failure = l:finish(exchange)
    assert.is_nil(failure)
  end)

  it("goes over the call's method and path", function()
    local _, head = sent({ { name = "a", value = "1" } }, { method = "PUT", path = "/files" })
    assert.truthy(head:find "^PUT /v1/files HTTP")
  end)

  it("is sent again whole when a kept connection proves dead", function()
    sent { { name = "a", value = "1" } }
    local path = file_of(("y"):rep(100000))
    local first = l.peer
    local exchange = start(l, { form = { { name = "f", path = path } } })
    l:till(function() return #l.got > 0 end)
    assert.equal(1, l.peers)
    first:reset()
    l.peer, l.got = nil, ""
    local _, body = l:request()
    assert.truthy(body:find(("y"):rep(100000), 1, true))
    l.peer:write(OK)
    local _, _, failure = l:finish(exchange)
    os.remove(path)
    assert.is_nil(failure)
  end)

  it("ends when a file shrinks while it is sent", function()
    local path = file_of(("z"):rep(3000000))
    local exchange = start(l, { form = { { name = "f", path = path } } })
    l.deaf = true
    for _ = 1, 20 do l:turn() end
    local file = assert(io.open(path, "wb"))
    file:write "more"
    file:close()
    l.deaf = false
    local _, _, failure = l:finish(exchange)
    os.remove(path)
    assert.equal("storage", failure.kind)
    assert.equal("io", failure.code)
    assert.is_false(failure.retryable)
  end)

  it("ends with what a server answers in the middle of it", function()
    local path = file_of(("z"):rep(8000000))
    for _, how in ipairs { "close", "stay" } do
      local exchange = start(l, { form = { { name = "f", path = path } } })
      l:till(function() return l.got:find "\r\n\r\n" end)
      l.deaf = true
      l.peer:write 'HTTP/1.1 413 X\r\nContent-Length: 40\r\n\r\n{"error":{"message":"m","code":"large"}}'
      if how == "close" then l.peer:close() end
      local _, _, failure = l:finish(exchange)
      assert.equal("invalid_request", failure.kind)
      assert.equal("large", failure.code)
      assert.equal(413, failure.status)
      l.deaf, l.got, l.peer = false, "", nil
    end
    os.remove(path)
  end)

  it("is canceled at any time, and closes its files", function()
    local path = file_of(("z"):rep(2000000))
    for turns = 0, 12, 3 do
      local exchange = start(l, { form = { { name = "f", path = path } } })
      for _ = 1, turns do l:turn() end
      exchange:cancel()
      local _, _, failure = l:finish(exchange)
      assert.equal("canceled", failure.kind)
      exchange:close()
      l.got, l.peer = "", nil
    end
    os.remove(path)
  end)
end)

describe("a body that is pulled", function()
  local l
  before_each(function() l = lab.new() end)
  after_each(function() l:close() end)

  local function get(answer, split, options)
    options = options or {}
    options.pull, options.method = true, "GET"
    local exchange = start(l, options)
    l:request()
    l.peer:write(answer, split)
    return exchange
  end

  it("comes in pieces, at any split, by length, in chunks and to the end", function()
    for _, split in ipairs { 1, 7, 100000 } do
      for name, answer in pairs {
        length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome\0body",
        chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n5\r\n\0body\r\n0\r\n\r\n",
        close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome\0body",
      } do
        local exchange = get(answer, split)
        if name == "close" then l.peer:close() end
        local bytes, reply, failure = l:finish(exchange)
        assert.is_nil(failure, name)
        assert.equal("some\0body", bytes)
        assert.equal(200, reply.status)
        assert.equal("", reply.body)
        if name == "close" then l.peer = nil end
      end
    end
  end)

  it("is not taken for whole when it was cut", function()
    for _, answer in ipairs {
      "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nsome",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n63\r\nsome",
    } do
      local exchange = get(answer)
      l.peer:close()
      local bytes, _, failure = l:finish(exchange)
      assert.equal("some", bytes)
      assert.equal("incomplete_stream", failure.kind)
      l.peer = nil
    end
  end)

  it("is kept, and read, when it says what went wrong", function()
    local exchange = get 'HTTP/1.1 429 X\r\nContent-Length: 40\r\n\r\n{"error":{"message":"m","code":"c_odd"}}'
    local bytes, reply, failure = l:finish(exchange)
    assert.equal("", bytes)
    assert.equal("rate_limit", failure.kind)
    assert.equal("c_odd", failure.code)
    assert.truthy(reply.body:find "c_odd")
    assert.is_number((exchange:retry(1)))
  end)

  it("stops its sender while nobody reads, for as long as that takes", function()
    local exchange = get("HTTP/1.1 200 OK\r\nContent-Length: 16000000\r\n\r\n", nil, { timeouts = { attempt = 0.1 } })
    l.peer:write(("x"):rep(16000000))
    l:till(exchange.ready and function() return exchange:ready() end)
    local stop = core.now() + 0.3
    while core.now() < stop do l:turn() end
    local stuck = l.peer:pending()
    assert.is_true(stuck > 1000000)
    for _ = 1, 20 do l:turn() end
    assert.equal(stuck, l.peer:pending())
    local bytes, _, failure = l:finish(exchange)
    assert.is_nil(failure)
    assert.equal(16000000, #bytes)
  end)

  it("is not held to limits.response_bytes", function()
    l:close()
    l = lab.new { limits = { response_bytes = 10 } }
    local answer = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" .. ("x"):rep(20)
    local bytes, _, failure = l:finish(get(answer))
    assert.is_nil(failure)
    assert.equal(20, #bytes)
  end)

  it("may be empty", function()
    local bytes, reply, failure = l:finish(get "HTTP/1.1 204 OK\r\n\r\n")
    assert.is_nil(failure)
    assert.equal("", bytes)
    assert.equal(204, reply.status)
  end)
end)

describe("a transfer", function()
  it("says how far it is", function()
    local l = lab.new()
    local path = file_of(("z"):rep(4000000))
    local exchange = start(l, { form = { { name = "f", path = path } }, pull = true })
    assert.same({ 0, n = 2 }, { (exchange:progress()), n = 2 })
    l:till(function() return (exchange:progress()) > 0 end)
    local up, up_all = exchange:progress()
    assert.is_true(up_all > 4000000 and up_all < 4001000) -- the form's own lines
    assert.is_true(up <= up_all)
    l:request()
    l.peer:write "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"
    l:till(function() return exchange:next() end)
    assert.same({ up_all, up_all, 4, 9 }, { exchange:progress() })
    l.peer:write "+body"
    l:finish(exchange)
    assert.same({ up_all, up_all, 9, 9 }, { exchange:progress() })
    os.remove(path)
    l:close()
  end)

  it("may take longer than timeouts.attempt while it moves, not longer than its silence or the deadline", function()
    local l = lab.new { timeouts = { attempt = 0.1 } }
    local function slow(options)
      options.pull, options.method = true, "GET"
      local exchange = start(l, options)
      l:request()
      l.peer:write "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
      local from, said, failure = core.now(), 0, nil
      l:till(function()
        local at = core.now() - from
        if at < 0.3 and at > said then
          l.peer:write "x"
          said = at + 0.03
        end
        exchange:next()
        if not exchange:done() then return false end
        failure = select(2, exchange:result())
        return true
      end)
      l.peer:close()
      l.peer, l.got = nil, ""
      return core.now() - from, failure
    end
    local took, failure = slow {}
    assert.equal("attempt", failure.phase)
    assert.is_true(took >= 0.3 and took < 1)
    took, failure = slow { deadline = 0.15 }
    assert.equal("total", failure.phase)
    assert.is_true(took < 0.3)
    l:close()
  end)
end)
