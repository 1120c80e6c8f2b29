--- The client's files: forms as they stand on the wire, downloads to a file or a function,
-- progress; uploads in parts and batches from end to end. In constant memory.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local folder = require "spec.support.folder"
local interpreter = require "spec.support.interpreter"
local json = require "oaichat.json"
local lab = require "spec.support.client_lab"
local uploads = require "oaichat.client.uploads"

local case, client, write, read = lab.case, lab.client, lab.write, folder.read

-- The parts of a form: name -> { head, body }.
local function parts_of(request)
  local mark, out = "--" .. request.headers["content-type"]:match "boundary=(.+)$", {}
  assert.equal(mark .. "--\r\n", request.body:sub(-#mark - 4))
  local at = #mark + 3
  while true do
    local stop = request.body:find("\r\n" .. mark, at, true)
    if not stop then return out end
    local head, body = request.body:sub(at, stop - 1):match "^(.-)\r\n\r\n(.*)$"
    out[#out + 1] = { name = head:match 'name="(.-)"', head = head, body = body }
    at = stop + #mark + 4
  end
end

describe("an upload", function()
  case("sends values, then files from disk and memory, to the byte", function()
    local one = client(function(_, response) response:json(200, { id = "file-1" }) end)
    local bytes = "a\0b\r\n--x\255"
    local path = write("in.bin", bytes)
    assert(one.files:create { purpose = "user_data", file = { path = path }, expires_after = { anchor = "created_at", seconds = 3600 } })
    local parts = parts_of(lab.server.requests[1])
    assert.equal("expires_after[anchor]", parts[1].name)
    assert.equal("created_at", parts[1].body)
    assert.equal("3600", parts[2].body)
    assert.equal("purpose", parts[3].name)
    assert.equal("file", parts[4].name)
    assert.equal(bytes, parts[4].body)
    assert.truthy(parts[4].head:find('filename="in.bin"', 1, true))
    assert(one.images:edit { prompt = "p", image = { { data = "one", filename = "1.png", type = "image/png" }, { path = path } }, n = 2 })
    parts = parts_of(lab.server.requests[2])
    assert.equal("2", parts[1].body)
    assert.equal("image[]", parts[3].name)
    assert.equal("one", parts[3].body)
    assert.truthy(parts[3].head:find("Content-Type: image/png", 1, true))
    assert.equal(bytes, parts[4].body)
    assert.is_nil(lab.server.requests[1].headers.expect)
  end)

  case("lets no name end a header's line", function()
    local one = client(function(_, response) response:json(200, {}) end)
    for _, bad in ipairs { "a\r\nX: y", "a\nb", "a\1" } do
      local value, _, err = one.files:create { purpose = "x", file = { data = "d", filename = bad } }
      assert.is_nil(value)
      assert.equal("config", err.kind)
      assert.is_nil((select(1, one.files:create { purpose = "x", file = { data = "d", type = bad } })))
    end
    assert(one.files:create { purpose = "x", file = { data = "d", filename = 'a"b\\c' } })
    assert.truthy(lab.server.requests[1].body:find('filename="a%22b\\c"', 1, true) or lab.server.requests[1].body:find('filename="a\\"b\\\\c"', 1, true))
    assert.equal(1, #lab.server.requests)
  end)

  case("says before anything is sent which file cannot be", function()
    local one = client(function(_, response) response:json(200, {}) end)
    assert(folder.run("mkfifo '" .. lab.dir .. "/pipe'"))
    for _, path in ipairs { lab.dir .. "/nothing", lab.dir, lab.dir .. "/pipe" } do
      local value, text, err = one.files:create { purpose = "x", file = { path = path } }
      assert.is_nil(value)
      assert.equal("storage", err.kind)
      assert.equal("io", err.code)
      assert.truthy(text:find(path, 1, true), text)
    end
    for _, file in ipairs { "text", {}, { path = "a", data = "b" }, { path = "a", nme = "b" } } do
      local _, text, err = one.files:create { purpose = "x", file = file }
      assert.equal("config", err.kind)
      assert.truthy(text:find("file", 1, true))
    end
    assert.equal(0, #lab.server.requests)
  end)

  case("of a file that changes meanwhile fails, with the reason", function()
    local one = client(function(_, response) response:json(200, {}) end)
    local path = write("in.bin", ("x"):rep(8e6))
    local value, _, err = one.files:create({ purpose = "x", file = { path = path } }, { progress = function(p)
      if p.uploaded < 8e6 then write("in.bin", "short") end
    end })
    assert.is_nil(value)
    assert.equal("storage", err.kind)
    assert.equal("io", err.code)
  end)

  case("of a file that grows meanwhile fails too", function()
    local one = client(function(_, response) response:json(200, {}) end)
    local path = write("in.bin", ("x"):rep(8e6))
    local value, _, err = one.files:create({ purpose = "x", file = { path = path } }, { progress = function(p)
      if p.uploaded < 8e6 then write("in.bin", ("x"):rep(9e6)) end
    end })
    assert.is_nil(value)
    assert.equal("storage", err.kind)
  end)

  case("is bounded by limits.request_bytes, and has its own Content-Type", function()
    local one = client(function(_, response) response:json(200, {}) end, { limits = { request_bytes = 100 }, headers = { ["Content-Type"] = "text/x" } })
    assert.equal("too_large", select(3, one.files:create { purpose = "x", file = { data = ("x"):rep(200), filename = "f" } }).kind)
    assert(one.files:create { purpose = "x", file = { data = "x", filename = "f" } })
    assert.truthy(lab.server.requests[1].headers["content-type"]:find "^multipart/form%-data; boundary=")
    local _, _, err = one.files:create({ purpose = "x", file = { data = "x", filename = "f" } }, { headers = { ["content-type"] = "text/x" } })
    assert.equal("config", err.kind)
  end)

  case("is sent again whole by the next attempt, and over a kept connection that is dead", function()
    local path = write("in.bin", ("0123456789"):rep(20000))
    local one = client(function(request, response)
      if request.number == 1 then return response:json(503, { error = { message = "m" } }, { ["retry-after-ms"] = "1" }) end
      response:json(200, { id = "f" })
      if request.number == 2 then response:finish() request.peer:close() end
    end, { retry = { max = 1 } })
    for _ = 1, 2 do assert(one.files:create { purpose = "x", file = { path = path } }) end
    for i = 1, #lab.server.requests do assert.equal(200000, #parts_of(lab.server.requests[i])[2].body) end
    assert.is_true(#lab.server.requests >= 3)
  end)

  case("hears a 413 that comes while it is sent", function()
    local path = write("in.bin", ("x"):rep(4e6))
    local listener = assert(core.listen {})
    local one = assert(chat.client { base_url = ("http://127.0.0.1:%d/v1"):format(listener:port()), api_key = false, retry = { max = 0 } })
    local result
    local task = chat.spawn(function() result = { one.files:create { purpose = "x", file = { path = path } } } end)
    local peer, got, said
    while not task:done() do
      chat.step()
      listener:step()
      peer = peer or listener:accept()
      if peer and not said then
        got = (got or 0) + #peer:read()
        if got > 1000 then
          said = true
          local body = '{"error":{"message":"too big"}}'
          peer:write(("HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        end
      elseif peer then
        peer:read()
      end
      chat.wait(0.001)
    end
    assert.is_nil(result[1])
    assert.equal(413, result[3].status)
    assert.truthy(result[2]:find("too big", 1, true))
    peer:close()
    listener:close()
  end)

  case("tells how far it is", function()
    local one = client(function(_, response) response:json(200, { id = "f" }) end)
    local told = {}
    assert(one.files:create({ purpose = "x", file = { data = ("x"):rep(3e6), filename = "f" } }, { progress = function(p) told[#told + 1] = p end }))
    local last = told[#told]
    assert.equal(last.upload_total, last.uploaded)
    assert.is_true(last.uploaded > 3e6)
    for i = 2, #told do assert.is_true(told[i].uploaded >= told[i - 1].uploaded) end
    local value, _, err = one.files:create({ purpose = "x", file = { data = "x", filename = "f" } }, { progress = function() error "boom" end })
    assert.is_nil(value)
    assert.equal("canceled", err.kind)
    assert.equal("callback", err.code)
    assert.truthy(err.message:find("boom", 1, true))
  end)

  case("of a large file goes in parts, and is completed in order", function()
    local parts = {}
    local one = client(function(request, response)
      if request.path == "/v1/uploads" then return response:json(200, { id = "up-1", status = "pending" }) end
      if request.path:find "/parts$" then
        parts[#parts + 1] = parts_of(request)[1].body
        return response:json(200, { id = "part-" .. #parts })
      end
      response:json(200, { id = "up-1", status = "completed", file = { id = "file-1" } })
    end)
    local text = ("0123456789"):rep(100)
    local path, last = write("in.jsonl", text), nil
    local upload = assert(one.uploads:file({ path = path, purpose = "batch", mime_type = "application/jsonl", part = 300 }, { progress = function(p) last = p end }))
    assert.equal("file-1", upload.file.id)
    assert.equal(text, table.concat(parts))
    assert.equal(4, #parts)
    assert.same({ bytes = 1000, filename = "in.jsonl", mime_type = "application/jsonl", purpose = "batch" }, lab.server.requests[1]:json())
    assert.same({ part_ids = { "part-1", "part-2", "part-3", "part-4" } }, lab.server.requests[6]:json())
    assert.equal(1000, last.upload_total)
    assert.equal(1000, last.uploaded)
    assert.equal(64 * 1024 * 1024, uploads.PART)
  end)

  case("that fails for good leaves nothing behind", function()
    local one = client(function(request, response)
      if request.path:find "/parts$" then return response:json(400, { error = { message = "bad part" } }) end
      response:json(200, { id = "up-1" })
    end)
    local value, _, err = one.uploads:file { path = write("in", "text"), purpose = "batch", mime_type = "text/plain" }
    assert.is_nil(value)
    assert.equal("invalid_request", err.kind)
    assert.equal("/v1/uploads/up-1/cancel", lab.server.requests[3].path)
    assert.equal("storage", select(3, one.uploads:file { path = lab.dir .. "/none", purpose = "x", mime_type = "y" }).kind)
  end)
end)

describe("a download", function()
  local BYTES = ("0123456789\0\r\n"):rep(50000)

  local function whole(_, response)
    response:raw(("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#BYTES, BYTES)):close()
  end

  case("goes to a file, to a function, or is a string", function()
    local one = client(whole)
    local path = lab.dir .. "/out.bin"
    local got = assert(one.files:content("f", nil, { to = path }))
    assert.equal(#BYTES, got.bytes)
    assert.equal("audio/mpeg", got.type)
    assert.equal(BYTES, read(path))
    assert.same({ "out.bin" }, lab.files())
    local pieces, told = {}, nil
    assert(one.files:content("f", nil, { to = function(piece) pieces[#pieces + 1] = piece end, progress = function(p) told = p end }))
    assert.equal(BYTES, table.concat(pieces))
    assert.equal(#BYTES, told.downloaded)
    assert.equal(#BYTES, told.download_total)
    assert.equal(BYTES, (one.files:content "f"))
    assert.equal(BYTES, (one.audio.speech:create { model = "m", input = "i", voice = "v" }))
  end)

  case("that is cut is no file: what was there stays", function()
    local path = write("out.bin", "before")
    local one = client(function(request, response)
      if request.number == 1 then return response:raw("HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" .. BYTES:sub(1, 1000)):close() end
      if request.number == 2 then return response:raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"):close() end
      response:json(404, { error = { message = "no file" } })
    end)
    for _, kind in ipairs { "incomplete_stream", "incomplete_stream", "not_found" } do
      local value, _, err = one.files:content("f", nil, { to = path })
      assert.is_nil(value)
      assert.equal(kind, err.kind)
      assert.equal("before", read(path))
      assert.same({ "out.bin" }, lab.files())
    end
  end)

  case("to a file is made again from its start; to a function only before its first byte", function()
    local one = client(function(request, response)
      if request.number % 2 == 1 then return response:raw("HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" .. BYTES:sub(1, 100000)):close() end
      whole(request, response)
    end, { retry = { max = 1 } })
    local path = lab.dir .. "/out.bin"
    assert(one.files:content("f", nil, { to = path }))
    assert.equal(BYTES, read(path))
    local n = 0
    local value, _, err = one.files:content("f", nil, { to = function(piece) n = n + #piece end })
    assert.is_nil(value)
    assert.equal("incomplete_stream", err.kind)
    assert.equal(100000, n)
    assert.equal(3, #lab.server.requests)
  end)

  case("ends when its receiver raises or says no, and where the file cannot be", function()
    local one = client(whole)
    for _, to in ipairs { function() error "boom" end, function() return nil, "boom" end } do
      local value, text, err = one.files:content("f", nil, { to = to })
      assert.is_nil(value)
      assert.equal("canceled", err.kind)
      assert.equal("callback", err.code)
      assert.truthy(text:find("boom", 1, true))
    end
    local value, _, err = one.files:content("f", nil, { to = lab.dir .. "/no/such/folder/out" })
    assert.is_nil(value)
    assert.equal("storage", err.kind)
    if io.open("/dev/full", "wb") then
      local answer
      answer, _, err = one.files:content("f", nil, { to = lab.dir })
      assert.is_nil(answer)
      assert.equal("storage", err.kind)
    end
    assert.same({}, lab.files())
  end)

  case("is not bounded by limits.response_bytes, and a slow reader slows the sender", function()
    local sent, finished = 0, false
    local one = client(function(_, response)
      response:raw "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
      for _ = 1, 200 do response:raw(("x"):rep(65536)):pause(0) sent = sent + 65536 end
      finished = true
      response:close()
    end, { limits = { response_bytes = 100000 } })
    local got, most = 0, 0
    assert(one.files:content("f", nil, { to = function(piece)
      got = got + #piece
      most = math.max(most, #piece)
    end }))
    assert.is_true(finished)
    assert.equal(200 * 65536, got)
    assert.is_true(most <= 300 * 1024, most)
    assert.equal("too_large", select(3, one.files:content "f").kind)
  end)

  case("that moves is not timed out; one that is silent is", function()
    local one = client(function(request, response)
      response:raw "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
      for _ = 1, 6 do response:raw "x":pause(0.06) end
      if request.number == 1 then response:close() end
    end, { timeouts = { attempt = 0.2 } })
    local path = lab.dir .. "/out"
    assert(one.files:content("f", nil, { to = path }))
    assert.equal("xxxxxx", read(path))
    local _, _, err = one.files:content("f", nil, { to = path })
    assert.equal("timeout", err.kind)
    assert.equal("attempt", err.phase)
    _, _, err = one.files:content("f", nil, { to = path, deadline = 0.1 })
    assert.equal("total", err.phase)
  end)
end)

describe("64 MiB", function()
  local status = io.open("/proc/self/status", "rb")
  if not status then return end -- only Linux tells the peak
  status:close()

  case("go up and down in constant memory", function()
    local pipe = assert(io.popen(("%s bench/transfer.lua 64"):format(interpreter())))
    local text = pipe:read "*a"
    pipe:close()
    local count = 0
    for growth in text:gmatch "growth +(%d+) kB" do
      count = count + 1
      assert.is_true(tonumber(growth) < 8192, text) -- LuaJIT collects later
    end
    assert.equal(3, count, text)
  end)
end)

describe("a batch", function()
  local function world(states)
    local seen = { looks = 0 }
    local results
    return seen, function(request, response)
      local path = request.path
      if path == "/v1/files" then
        seen.jsonl = parts_of(request)[2].body
        results = {}
        local bad = {}
        for line in seen.jsonl:gmatch "[^\n]+" do
          local one = json.decode(line)
          local text = json.encode { id = "r", custom_id = one.custom_id, response = { status_code = 200, request_id = "q", body = { echo = one.body.n } }, error = json.null }
          if one.body.n == 2 then
            bad[1] = json.encode { id = "r", custom_id = one.custom_id, response = { status_code = 400, body = { error = { message = "bad", code = "c" } } }, error = json.null }
          elseif one.body.n ~= 3 then
            table.insert(results, 1, text) -- in another order
          end
        end
        seen.errors = table.concat(bad, "\n")
        return response:json(200, { id = "file-in" })
      elseif path == "/v1/batches" then
        seen.created = request:json()
        return response:json(200, { id = "b-1", status = "validating" })
      elseif path == "/v1/batches/b-1" then
        seen.looks = seen.looks + 1
        local state = states[math.min(seen.looks, #states)]
        return response:json(200, { id = "b-1", status = state, request_counts = { completed = seen.looks },
          output_file_id = state == "completed" and "file-out" or nil, error_file_id = state == "completed" and "file-err" or nil })
      elseif path == "/v1/files/file-out/content" then
        return response:body(200, table.concat(results, "\n"), { ["Content-Type"] = "application/octet-stream" })
      end
      response:body(200, seen.errors, { ["Content-Type"] = "application/octet-stream" })
    end
  end

  case("runs from requests to results, in their order", function()
    local seen, answer = world { "in_progress", "in_progress", "completed" }
    local one, looks = client(answer), 0
    local results, batch = one.batches:run({ requests = { { n = 1 }, { custom_id = "mine", body = { n = 2 } }, { n = 3 }, { n = 4 } } },
      { poll = 0.01, progress = function(b) looks = looks + b.request_counts.completed end })
    assert(results, batch)
    assert.equal("completed", batch.status)
    assert.equal(6, looks)
    assert.equal(4, #results)
    assert.equal(1, results[1].body.echo)
    assert.equal("mine", results[2].custom_id)
    assert.equal("bad", results[2].error.message)
    assert.equal(400, results[2].status)
    assert.equal("no_result", results[3].error.code)
    assert.equal(4, results[4].body.echo)
    assert.same({ input_file_id = "file-in", endpoint = "/v1/chat/completions", completion_window = "24h" }, seen.created)
    local first = json.decode(seen.jsonl:match "^[^\n]+")
    assert.same({ custom_id = "request-1", method = "POST", url = "/v1/chat/completions", body = { n = 1 } }, first)
    local count = 0
    assert(one.batches:results({ id = "b", output_file_id = "file-out" }, { each = function(result) count = count + result.body.echo end }))
    assert.equal(5, count)
  end)

  case("that ends without results, or not in time, says so", function()
    local _, answer = world { "in_progress", "expired" }
    local one = client(answer)
    local results, _, err = one.batches:run({ requests = { { n = 1 } } }, { poll = 0.01 })
    assert.is_nil(results)
    assert.equal("batch_expired", err.code)
    assert.equal("b-1", err.batch.id)
    lab.server:close()
    _, answer = world { "in_progress" }
    one = client(answer)
    results, _, err = one.batches:run({ requests = { { n = 1 } } }, { poll = 0.02, deadline = 0.05 })
    assert.is_nil(results)
    assert.equal("timeout", err.kind)
    assert.equal("b-1", err.batch.id)
  end)

  case("refuses what cannot be told apart, or cannot be sent", function()
    local one = client(function() end)
    local _, text, err = one.batches:submit { requests = { { custom_id = "a", body = {} }, { custom_id = "a", body = {} } } }
    assert.equal("config", err.kind)
    assert.truthy(text:find("custom_id a", 1, true))
    _, _, err = one.batches:submit { requests = { { n = 1 }, { f = print } } }
    assert.equal("encode", err.code)
    assert.truthy(err.path:find("requests[2]", 1, true))
    for _, bad in ipairs { {}, { requests = {} }, { requests = { 1 } }, { requests = { { n = 1 } }, windw = "x" } } do
      assert.is_false(pcall(one.batches.submit, one.batches, bad))
    end
    assert.equal(0, #lab.server.requests)
  end)
end)
