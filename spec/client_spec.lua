--- The client: each endpoint of the table as it goes out and comes back, its pages, its
-- streams, its errors (docs/API.md has a column for each of these); then what is more.
-- luacheck: no max line length

local chat = require "oaichat"
local endpoints = require "oaichat.client.endpoints"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local server

local function client(answer, opts)
  server = assert(testing.server(answer))
  local own = { base_url = server.url, api_key = "sk-spec-key", retry = { max = 0 } }
  for name, value in pairs(opts or {}) do own[name] = value end
  return assert(chat.client(own))
end

local function method_of(one, endpoint)
  local group = one
  for name in endpoint.group:gmatch "[^.]+" do group = group[name] end
  return group[endpoint.name], group
end

-- An id that a path must escape; its form in a path.
local ID, ESCAPED = "a/b?c", "a%2Fb%3Fc"

local function ids_of(endpoint)
  local out = {}
  for i = 1, #endpoint.ids do out[i] = ID end
  return out
end

local function params_of(endpoint)
  local out = {}
  for _, name in ipairs(endpoint.required) do out[name] = "value" end
  for name in pairs(endpoint.files or {}) do
    if out[name] then out[name] = { data = "bytes of a file", filename = "f.bin" } end
  end
  return out
end

local unpack = table.unpack or unpack

local function call(one, endpoint, params, opts)
  local method, group = method_of(one, endpoint)
  local args = ids_of(endpoint)
  args[#args + 1] = params or params_of(endpoint)
  args[#args + 1] = opts
  return method(group, unpack(args))
end

local function path_of(endpoint)
  return "/v1" .. endpoint.path:gsub("{[%w_]+}", (ESCAPED:gsub("%%", "%%%%")))
end

local function name_of(endpoint) return endpoint.group .. "." .. endpoint.name end

local ERROR = { error = { message = "no such thing", type = "invalid_request_error", code = "x", param = "p" } }

local function sends(endpoint)
  local one = client(function(_, response)
    if endpoint.result == "bytes" then return response:body(200, "bytes\0of it", { ["Content-Type"] = "audio/mpeg" }) end
    response:json(200, { id = "x", object = "thing", big = 9007199254740993 })
  end)
  local value, facts = call(one, endpoint)
  assert.is_not_nil(value, tostring(facts))
  local request = server.requests[1]
  assert.equal(endpoint.method, request.method)
  assert.equal(path_of(endpoint), request.path)
  assert.equal("Bearer sk-spec-key", request.headers.authorization)
  if endpoint.files then
    assert.truthy(request.headers["content-type"]:find("^multipart/form%-data; boundary="))
    assert.truthy(request.body:find('name="' .. endpoint.required[1] .. '"', 1, true))
    assert.truthy(request.body:find("bytes of a file", 1, true))
  elseif endpoint.method == "POST" then
    assert.same(params_of(endpoint), request:json())
  else
    assert.equal("", request.body)
  end
  if endpoint.result == "bytes" then assert.equal("bytes\0of it", value) else assert.equal("thing", value.object) end
  assert.equal(1, #facts.attempts)
end

local function fails(endpoint)
  local one = client(function(request, response)
    if request.number == 1 then return response:json(404, ERROR, { ["x-request-id"] = "req-1" }) end
    if request.number == 2 then return response:raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"id\":"):close() end
    response:json(200, ERROR)
  end)
  local value, text, err, _ = call(one, endpoint)
  assert.is_nil(value)
  assert.equal("not_found", err.kind)
  assert.equal(404, err.status)
  assert.equal("req-1", err.request_id)
  assert.truthy(text:find("no such thing", 1, true))
  value, _, err = call(one, endpoint)
  assert.is_nil(value)
  assert.equal("incomplete_stream", err.kind)
  if endpoint.result == "json" then -- a gateway's 200
    value, _, err = call(one, endpoint)
    assert.is_nil(value)
    assert.equal("invalid_request", err.kind)
  end
  for _, name in ipairs(endpoint.required) do
    local params = params_of(endpoint)
    params[name] = nil
    value, text, err = call(one, endpoint, params)
    assert.is_nil(value)
    assert.equal("config", err.kind)
    assert.equal(name, err.param)
    assert.truthy(text:find(name, 1, true))
  end
end

local function pages(endpoint)
  local one = client(function(request, response)
    local after = request.target:match "after=([%w_]+)" or endpoint.method == "POST" and request:json().after
    local from = after == "i2" and 3 or after == "i4" and 5 or 1
    local data = {}
    for i = from, math.min(from + 1, 5) do data[#data + 1] = { id = "i" .. i } end
    response:json(200, { object = "list", data = data, has_more = from < 5 })
  end)
  local got = {}
  local page = assert(call(one, endpoint))
  assert.equal(2, #page.data)
  for item in page:items() do got[#got + 1] = item.id end
  assert.same({ "i1", "i2", "i3", "i4", "i5" }, got)
  assert.equal(3, #server.requests)
  local second = assert(page:next())
  assert.equal("i3", second.data[1].id)
  local third = assert(second:next())
  assert.is_nil(third:next())
  if endpoint.method == "GET" then assert.equal(path_of(endpoint) .. "?after=i2", server.requests[2].target) end
end

local END = {
  ["audio.speech"] = '{"type":"speech.audio.done"}', ["audio.transcriptions"] = '{"type":"transcript.text.done"}',
  images = '{"type":"image_generation.completed"}', responses = '{"type":"response.completed"}',
}

local function streams(endpoint)
  local ended = END[endpoint.group] and "data: " .. END[endpoint.group] .. "\n\n" or "data: [DONE]\n\n"
  local piece = 'data: {"type":"piece","choices":[]}\n\n'
  local endings = { piece .. piece .. ended, piece, piece .. 'data: {"error":{"message":"it broke","code":"server_error"}}\n\n', piece .. "data: {\n\n" }
  local one = client(function(request, response) response:raw(play.HEAD .. endings[request.number]):close() end)
  local params = params_of(endpoint)
  if type(endpoint.stream) == "string" then
    local name, value = endpoint.stream:match "^(.-)=(.*)$"
    params[name] = value
  else
    params.stream = true
  end
  local events, got = assert(call(one, endpoint, params)), {}
  for event in events do got[#got + 1] = event.type end
  assert.equal("piece", got[1])
  assert.equal(END[endpoint.group] and 3 or 2, #got)
  assert.equal(1, #events.facts.attempts)
  assert.is_nil(events:next())
  for _, kind in ipairs { "incomplete_stream", "server", "protocol" } do
    events = assert(call(one, endpoint, params))
    assert.equal("piece", events:next().type)
    local event, text, err = events:next()
    assert.is_nil(event)
    assert.equal(kind, err.kind)
    assert.equal(text, err.message)
  end
end

describe("an endpoint", function()
  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  for _, endpoint in ipairs(endpoints.list) do
    if name_of(endpoint) ~= "embeddings.create" then
      it("call: " .. name_of(endpoint), function() sends(endpoint) end)
    end
    it("errors: " .. name_of(endpoint), function() fails(endpoint) end)
    if endpoint.page then it("paging: " .. name_of(endpoint), function() pages(endpoint) end) end
    if endpoint.stream then it("stream: " .. name_of(endpoint), function() streams(endpoint) end) end
  end

  it("call: embeddings.create", function()
    local one = client(function(request, response)
      local count = request:json().input
      local data = {}
      for i = 1, type(count) == "table" and #count or 1 do data[i] = { object = "embedding", index = i - 1, embedding = "AACAPwAAAMA=" } end
      response:json(200, { object = "list", data = data, model = "m", usage = { prompt_tokens = 1, total_tokens = 1 } })
    end)
    local answer = assert(one.embeddings:create { model = "m", input = "a" })
    assert.same({ 1, -2 }, answer.data[1].embedding)
    assert.equal("base64", server.requests[1]:json().encoding_format)
    assert.equal("/v1/embeddings", server.requests[1].path)
    answer = assert(one.embeddings:create { model = "m", input = { "a", "b" }, encoding_format = "base64" })
    assert.equal("AACAPwAAAMA=", answer.data[2].embedding)
  end)

  it("keeps integers exact, and an empty answer is an empty object", function()
    local one = client(function(request, response)
      if request.number == 1 then return response:raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{\"big\":9007199254740993}"):close() end
      response:raw("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"):close()
    end)
    assert.equal("9007199254740993", (json.encode(one.models:retrieve("m").big):gsub('"', "")))
    assert.same({}, one.models:delete "m")
  end)

  it("refuses an id that would be another endpoint's, and one of a wrong type", function()
    local one = client(function(_, response) response:json(200, {}) end)
    for _, id in ipairs { "", ".", ".." } do
      local value, text, err = one.files:delete(id)
      assert.is_nil(value)
      assert.equal("config", err.kind)
      assert.truthy(text:find("file_id", 1, true))
    end
    for _, id in ipairs { 7, {}, false } do assert.is_false(pcall(one.files.delete, one.files, id)) end
    assert.is_false(pcall(one.files.delete, one.files))
    assert.equal(0, #server.requests)
  end)

  it("names what there is, where something is asked for that is not", function()
    local one = client(function() end)
    local ok, why = pcall(function() return one.modles end)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("client.modles: there is no such thing; there are: audio, batches", 1, true), why)
    ok, why = pcall(function() return one.files.creat end)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("content, create, delete, list, retrieve", 1, true), why)
    ok, why = pcall(one.models.list, one.models, {}, { tiemouts = {} })
    assert.is_false(ok)
    assert.truthy(tostring(why):find("tiemouts", 1, true))
    assert.is_false(pcall(chat.client, { model = "x" }))
    assert.equal("config", select(3, chat.client { base_url = "ftp://x" }).kind)
    assert.falsy(tostring(one):find("sk-spec-key", 1, true))
  end)

  it("sends parameters of a GET in the query, lists and tables too", function()
    local one = client(function(_, response) response:json(200, { data = {} }) end)
    one.chat.completions:list { metadata = { a = "x y" }, limit = 5, order = "asc" }
    assert.equal("/v1/chat/completions?limit=5&metadata[a]=x%20y&order=asc", server.requests[1].target)
    one.conversations.items:list("c", { include = { "a", "b" } })
    assert.equal("/v1/conversations/c/items?include[]=a&include[]=b", server.requests[2].target)
  end)

  it("is tried again as a chat is, and told with its attempts", function()
    local one = client(function(request, response)
      if request.number < 3 then return response:json(500, ERROR, { ["retry-after-ms"] = "1" }) end
      response:pause(request.number == 4 and 0.2 or 0):json(200, { id = "m" })
    end, { retry = { max = 2 } })
    local value, facts = one.models:retrieve "m"
    assert.equal("m", value.id)
    assert.equal(3, #facts.attempts)
    local _, _, err = one.models:retrieve("m", nil, { retry = { max = 0 }, deadline = 0.02 })
    assert.equal("timeout", err.kind)
  end)

  it("ends as any wait when its task is canceled", function()
    local one = client(function() end)
    local result
    local task = chat.spawn(function() result = { one.models:list() } end)
    chat.step()
    task:cancel()
    chat.run()
    assert.is_true(result == nil or result[3].kind == "canceled")
    local stream
    task = chat.spawn(function()
      stream = one.responses:create { stream = true }
      stream:next()
    end)
    chat.step()
    task:cancel()
    chat.run()
    stream:cancel()
    assert.equal("canceled", select(3, stream:next()).kind)
  end)

  it("runs in tasks at once", function()
    local one = client(function(request, response) response:pause(0.05):json(200, { id = request.path:match "[^/]+$" }) end)
    local results = chat.gather { function() return one.models:retrieve "a" end, function() return one.models:retrieve "b" end }
    assert.equal("a", results[1].id)
    assert.equal("b", results[2].id)
  end)
end)

describe("docs/API.md", function()
  it("has the endpoints as they are: make endpoints writes them", function()
    local table_of = require "spec.support.endpoint_table"
    local file = assert(io.open(table_of.PAGE, "rb"))
    local text = file:read "*a"
    file:close()
    assert.equal(table_of.text(), text:match(table_of.BEGIN .. "\n(.-)" .. table_of.END))
  end)
end)

describe("client:request", function()
  before_each(leaks.remember)
  after_each(function()
    server:close()
    server = nil
    leaks.check()
  end)

  it("sends what the table does not have", function()
    local one = client(function(request, response)
      if request.path:find "text" then return response:body(200, "plain", { ["Content-Type"] = "text/plain" }) end
      response:json(200, { method = request.method, target = request.target, body = request.body })
    end)
    assert.same({ method = "PATCH", target = "/v1/things/1?x=2", body = '{"a":1}' }, one:request("PATCH", "things/1", { query = { x = 2 }, body = { a = 1 } }))
    assert.equal("/v1/things?a=1&b=2", one:request("GET", "/things?a=1", { query = { b = 2 } }).target)
    assert.equal("/v1/things/9", one:request("GET", server.url .. "/things/9").target)
    assert.equal("plain", one:request("GET", "/text", { result = "text" }))
    assert.is_false(pcall(one.request, one, "BREW", "/x"))
    assert.is_false(pcall(one.request, one, "GET"))
  end)

  it("sends the key to no other origin", function()
    local one = client(function(_, response) response:json(200, {}) end)
    for _, url in ipairs {
      "https://evil.test/v1/models", "//evil.test/models", server.url .. "evil.test/models", "file:///etc/passwd", "http://127.0.0.1:1/v1/models",
      (server.url:gsub("/v1$", "/other/models")),
    } do
      local value, _, err = one:request("GET", url)
      assert.is_nil(value, url)
      assert.equal("config", err.kind)
      assert.falsy(err.message:find("evil", 1, true))
    end
    assert.equal(0, #server.requests)
  end)
end)
