--- chat.client against servers that answer oddly, and callers that do: nothing is lost
-- without an error, nobody waits for ever, no key is shown.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local folder = require "spec.support.folder"
local json = require "oaichat.json"
local lab = require "spec.support.client_lab"

local case, client, write = lab.case, lab.client, lab.write

-- A client whose server always gives this body.
local function answering(body, opts, headers)
  return client(function(_, response) response:body(200, body, headers or { ["Content-Type"] = "application/json" }) end,
    opts)
end

local function fails(kind, code, value, message, err)
  assert.is_nil(value)
  assert.is_string(message)
  assert.equal(kind, err.kind)
  assert.equal(code, err.code)
  return err
end

-- Lets tasks run for a while.
local function turn(seconds)
  local stop = core.now() + seconds
  while core.now() < stop do
    chat.step()
    chat.wait(0.005)
  end
end

local function numbered()
  local parts = {}
  for i = 1, 65536 do parts[i] = ("%08x"):format(i) end
  return table.concat(parts)
end

describe("a download", function()
  case("comes whole where the client has a log or hooks", function()
    local bytes, told = numbered(), 0
    local one = client(function(_, response) response:body(200, bytes) end, { log = function() end })
    assert.equal(#bytes, one.files:content("f", nil, {
      to = lab.dir .. "/o", progress = function() told = told + 1 end,
    }).bytes)
    assert.is_true(told > 0)
    assert.is_true(bytes == folder.read(lab.dir .. "/o"))
  end)

  case("loses nothing to a receiver that waits, or asks for something else meanwhile", function()
    local bytes, got = numbered(), {}
    local one = client(function(request, response)
      if request.path == "/v1/models" then return response:json(200, { data = json.array {} }) end
      response:raw(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#bytes, bytes)):close()
    end)
    local task = chat.spawn(function()
      return one.files:content("f", nil, { to = function(piece)
        got[#got + 1] = piece
        chat.sleep(0.001)
      end })
    end)
    assert.equal(#bytes, task:wait().bytes)
    assert.is_true(bytes == table.concat(got))
    got = {}
    one.files:content("f", nil, { to = function(piece)
      got[#got + 1] = piece
      assert(one.models:list())
    end })
    assert.is_true(bytes == table.concat(got))
  end)

  case("leaves no part of a file where it was refused before it was sent", function()
    local one = answering "{}"
    assert.is_false(pcall(one.request, one, "HEAD", "/x", { to = lab.dir .. "/o" }))
    fails("storage", "io", one.files:content("f", nil, { to = lab.dir .. "/a\0b" }))
    assert.same({}, lab.files())
  end)

  case("is canceled with its task, also inside the receiver", function()
    local one = client(function(_, response) response:body(200, numbered()) end)
    local result
    local task = chat.spawn(function()
      result = { one.files:content("f", nil, { to = function() chat.sleep(9) end }) }
    end)
    turn(0.05)
    task:cancel()
    local _, _, raised = task:wait() -- PUC 5.1: passes through pcall
    assert.equal("canceled", (raised or result[3]).code)
  end)
end)

describe("an answer", function()
  case("that is no object where one is due is refused", function()
    for _, body in ipairs { "1", "null", "false", '"a"' } do
      local one = answering(body)
      fails("protocol", "bad_response", one.models:retrieve "m")
      fails("protocol", "bad_response", one.embeddings:create { model = "m", input = "a" })
      fails("protocol", "bad_response", one.batches:wait "b")
    end
  end)

  case("of text is read by its type: an error inside, and JSON that is none", function()
    local params = { model = "m", file = { data = "x" } }
    local body = '{"error":{"message":"no speech","code":"c"}}'
    assert.equal("c", fails("server", "c", answering(body).audio.transcriptions:create(params)).code)
    fails("protocol", "bad_response", answering('{"text":"hel').audio.transcriptions:create(params))
    assert.equal("WEBVTT", (answering("WEBVTT", nil, { ["Content-Type"] = "text/vtt" }).audio.transcriptions:create(params)))
  end)

  case("with bytes that are no UTF-8 is repaired", function()
    assert.equal("a\239\191\189", answering('{"id":"a\255"}').models:retrieve("m").id)
  end)

  case("to a stream that comes whole is its one event", function()
    local events = assert(answering('{"n":1}'):request("POST", "/x", { stream = true }))
    assert.same({ n = 1 }, events:next())
    assert.is_nil(events:next())
    assert.is_table(events.facts)
  end)

  case("with the same pages again and again ends in an error", function()
    local function turns(names)
      local at = 0
      local one = client(function(_, response)
        at = at % #names + 1
        response:json(200, { data = { { id = names[at] } }, has_more = true, next_page = names.page and names[at] })
      end)
      local seen = 0
      local ok, err = pcall(function()
        for _ in one.models:list():items() do seen = seen + 1 end
      end)
      assert.is_false(ok)
      assert.equal("bad_response", err.code)
      assert.is_true(seen <= 4 * #names)
    end
    turns { "a" }
    turns { "a", page = true }
    turns { "a", "b" }
    turns { "a", "b", "c", "d", "e" }
  end)
end)

describe("a stream of events", function()
  case("waits for what follows an event that sounds like the last", function()
    local one = client(function(_, response)
      response:head(200, { ["Content-Type"] = "text/event-stream" })
      response:event { type = "image_generation.completed", n = 1 }
      response:pause(2.2):event({ type = "image_generation.completed", n = 2 }):finish()
    end)
    local events, seen = one:request("POST", "/x", { stream = true }), {}
    for event in events do seen[#seen + 1] = event.n end
    assert.same({ 1, 2 }, seen)
  end)

  case("lets its reader go when another task cancels it, and has one reader", function()
    local one = client(function(_, response) response:head(200):event { n = 1 } end)
    local events, result = one:request("POST", "/x", { stream = true }), nil
    chat.spawn(function()
      events:next()
      result = { events:next() }
    end)
    turn(0.05)
    assert.has_error(function() events:next() end, "these events are being read elsewhere")
    events:cancel()
    chat.run()
    assert.equal("canceled", result[3].kind)
  end)
end)

describe("a path", function()
  case("cannot leave base_url by dots, however they are written", function()
    local one = answering "{}"
    for _, path in ipairs { "/a/../../x", "/..", "/%2e%2E/admin", "/a/./b", lab.server.url .. "/../admin" } do
      fails("config", "parameter", one:request("GET", path))
    end
    assert(one:request("GET", "/a..b/.c"))
    assert.has_error(function() one:request("GET", "/x", { result = "file" }) end)
  end)
end)

describe("embeddings", function()
  local function with(...)
    local items = { ... }
    return client(function(_, response) response:json(200, { data = json.array(items) }) end)
  end

  case("are checked also where they stay base64", function()
    local opts = { model = "m", input = { "a", "b" }, encoding_format = "base64" }
    local turned = with({ index = 1, embedding = "Qg==" }, { index = 0, embedding = "QQ==" })
    local answer = assert(turned.embeddings:create(opts))
    assert.equal("QQ==", answer.data[1].embedding)
    fails("protocol", "bad_response", with({ index = 0, embedding = "QQ==" }).embeddings:create(opts))
  end)

  case("are lists of numbers, at whole places", function()
    for _, item in ipairs {
      { index = 0, embedding = json.array {} }, { index = 0, embedding = { "x" } }, { index = 0, embedding = { 1, json.null } },
      { index = 0.5, embedding = { 1 } },
    } do
      fails("protocol", "bad_response", with(item).embeddings:create { model = "m", input = { "a" } })
    end
  end)

  case("want a number of requests at once", function()
    local one = with()
    for _, parallel in ipairs { 0, 0.5, "2" } do
      assert.has_error(function() one.embeddings:create({ model = "m", input = { "a", "b" } }, { parallel = parallel }) end)
    end
  end)
end)

describe("uploads", function()
  local function uploading(answer)
    return client(function(request, response)
      response:json(200, answer(request) or { id = "u", status = "completed" })
    end)
  end
  local function spec(more)
    local out = { path = write("in", "hello world"), purpose = "p", mime_type = "m", part = 4 }
    for name, value in pairs(more or {}) do out[name] = value end
    return out
  end

  case("are canceled where a part has no id, or the caller's progress raises", function()
    local one = uploading(function(request) return request.path:find "parts" and { object = "upload.part" } end)
    fails("protocol", "bad_response", one.uploads:file(spec()))
    assert.equal("/v1/uploads/u/cancel", lab.server.requests[#lab.server.requests].path)
    one = uploading(function() end)
    fails("canceled", "callback", one.uploads:file(spec(), { progress = function() error "boom" end }))
    assert.equal("/v1/uploads/u/cancel", lab.server.requests[#lab.server.requests].path)
  end)

  case("need an id, parts of bytes and a regular file", function()
    fails("protocol", "bad_response", uploading(function() return {} end).uploads:file(spec()))
    local one = uploading(function() end)
    for _, part in ipairs { 0, 0.5, -1 } do
      assert.has_error(function() one.uploads:file(spec { part = part }) end)
    end
    assert(folder.run("mkfifo '" .. lab.dir .. "/fifo'"))
    for _, path in ipairs { lab.dir, lab.dir .. "/fifo", lab.dir .. "/none", write("empty", "") } do
      fails("storage", "io", one.uploads:file(spec { path = path }))
    end
    assert.equal(0, #lab.server.requests)
  end)
end)

describe("batches", function()
  local function results(lines, opts)
    local one = answering(lines, nil, { ["Content-Type"] = "application/jsonl" })
    return one.batches:results({ id = "b", output_file_id = "o" }, opts)
  end
  local GOOD = '{"custom_id":"a","response":{"status_code":200,"body":{"x":1}}}'

  case("give to `each` what came, and miss nothing", function()
    local one = client(function(request, response)
      if request.path:find "content" then return response:body(200, (GOOD:gsub('"a"', '"request-1"'))) end
      response:json(200, { id = "b", status = "completed", output_file_id = "o" })
    end)
    local seen = {}
    local list = assert(one.batches:run({ requests = { { a = 1 } } }, { each = function(x) seen[#seen + 1] = x end }))
    assert.equal(0, #list)
    assert.equal(1, seen[1].body.x)
  end)

  case("have an error for a line that has neither answer nor error, or a status that is none", function()
    for _, line in ipairs {
      '{"custom_id":"a"}', '{"custom_id":"a","response":{"status_code":"200","body":{}}}',
      '{"custom_id":"a","response":{"status_code":200}}',
    } do
      assert.is_truthy(results(line)[1].error)
    end
    assert.equal(1, results(GOOD)[1].body.x)
  end)

  case("refuse an id that comes twice, and say that the receiver raised", function()
    fails("protocol", "bad_response", results(GOOD .. "\n" .. GOOD))
    for _, last in ipairs { "", "\n" } do
      fails("canceled", "callback", results(GOOD .. last, { each = function() error "boom" end }))
    end
  end)

  case("read a long line without a copy of it for each piece", function()
    local long = GOOD:gsub("1}}}", function() return '"' .. ("x"):rep(2e6) .. '"}}}' end)
    collectgarbage()
    collectgarbage "stop" -- what is counted then is all that was ever made
    local before = collectgarbage "count"
    local list = results(long)
    local made = collectgarbage "count" - before
    collectgarbage "restart"
    assert.equal(2e6, #list[1].body.x)
    assert.is_true(made < 12000, made) -- kB: six times the line; a copy for each piece makes eleven
  end)

  case("are waited for until the deadline, not less and not more", function()
    local one = client(function(_, response) response:json(200, { id = "b", status = "in_progress" }) end)
    local start = core.now()
    local err = fails("timeout", "timeout", one.batches:wait("b", { deadline = 0.2, poll = 3 }))
    assert.equal("b", err.batch.id)
    assert.is_true(core.now() - start >= 0.2)
    one = client(function() end)
    start = core.now()
    fails("timeout", "timeout", one.batches:wait("b", { deadline = 0.2 }))
    assert.is_true(core.now() - start < 2)
  end)
end)

describe("keys", function()
  case("of a function reach every kind of answer", function()
    local one = client(function(request, response) response:body(200, request.headers.authorization) end,
      { api_key = function() return "key-of-a-function" end })
    assert.equal("Bearer key-of-a-function", (one.files:content "f"))
    local real = chat.client { api_key = function() return nil, "locked" end }
    fails("authentication", "key", real.files:content "f")
  end)

  case("that changed meanwhile are in no text", function()
    local given = { "FIRST-SECRET-KEY", "SECOND-SECRET-KEY" }
    local one = client(function(request, response)
      local key = request.headers.authorization:match "Bearer (.*)"
      if request.path ~= "/v1/a" then return response:json(200, { id = "ok" }) end
      response:pause(0.1):json(400, { error = { message = "bad " .. key } }, { ["x-request-id"] = key })
    end, { api_key = function() return table.remove(given, 1) end })
    local result
    chat.spawn(function() result = { one:request("GET", "/a") } end)
    turn(0.03)
    assert(one:request("GET", "/b"))
    chat.run()
    assert.equal(400, result[3].status)
    for _, text in ipairs { result[2], result[3].message, result[3].body or "", result[3].request_id or "" } do
      assert.is_nil(text:find("SECRET", 1, true))
    end
  end)

  case("are rotated for each of two calls that the old one failed", function()
    local path = write("key", "old-key-1\n")
    assert(folder.run("chmod 600 '" .. path .. "'"))
    local one = client(function(request, response)
      if request.headers.authorization == "Bearer new-key-1" then return response:json(200, { id = "ok" }) end
      response:pause(request.path == "/v1/b" and 0.15 or 0.08)
      response:json(401, { error = { message = "incorrect", code = "invalid_api_key" } })
    end, { api_key = { file = path } })
    local results = {}
    for _, name in ipairs { "a", "b" } do
      chat.spawn(function() results[name] = { one:request("GET", "/" .. name) } end)
    end
    turn(0.03)
    write("key", "new-key-1\n")
    assert(chat.run())
    assert.equal("ok", results.a[1].id)
    assert.equal("ok", results.b[1].id)
  end)

  case("that a function waits for are canceled with the task, and are no wrong key", function()
    local one = answering("{}", { api_key = function()
      chat.sleep(9) -- returns when its task is canceled
      chat.sleep(9) -- raises then
      return "k"
    end })
    local result
    local task = chat.spawn(function() result = { one:request("GET", "/a") } end)
    turn(0.03)
    task:cancel()
    local _, _, raised = task:wait() -- PUC 5.1: passes through pcall
    assert.equal("canceled", (raised or result[3]).code)
    assert.equal(0, #lab.server.requests)
  end)

  case("that come after the deadline are too late", function()
    local one = answering("{}", { api_key = function()
      chat.sleep(0.1)
      return "k"
    end })
    fails("timeout", "timeout", one:request("GET", "/a", { deadline = 0.05 }))
    assert.equal(0, #lab.server.requests)
  end)

  case("stand where the provider's API wants them", function()
    local one = client(function(request, response)
      response:json(200, { id = request.headers["x-api-key"], version = request.headers["anthropic-version"],
        bearer = request.headers.authorization or json.null })
    end, { provider = "anthropic", api_key = "sk-ant" })
    assert.same({ id = "sk-ant", version = "2023-06-01", bearer = json.null }, one.models:retrieve "m")
  end)
end)
