--- Embeddings of many inputs: cut into requests, sent at once, joined in order.
-- luacheck: no max line length

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"

local server

local function client(answer, opts)
  server = assert(testing.server(answer))
  local own = { base_url = server.url, api_key = "sk-spec-key", retry = { max = 0 } }
  for name, value in pairs(opts or {}) do own[name] = value end
  return assert(chat.client(own))
end

local ERROR = { error = { message = "no such thing", type = "invalid_request_error", code = "x", param = "p" } }

describe("embeddings of many inputs", function()
  before_each(leaks.remember)
  after_each(function()
    server:close()
    assert.same({}, server.errors)
    server = nil
    leaks.check()
  end)

  -- A vector that tells its input: [number of the text].
  local function answer(request, response, count)
    local data = {}
    for i, text in ipairs(request:json().input) do
      data[#request:json().input - i + 1] = { object = "embedding", index = i - 1, embedding = { tonumber(text:match "%d+") } }
    end
    response:json(200, { object = "list", data = data, model = "m", usage = { prompt_tokens = count or #data, total_tokens = #data } })
  end

  local function inputs(n, pad)
    local out = {}
    for i = 1, n do out[i] = i .. (pad or "") end
    return out
  end

  it("are cut, sent at once, and stand in order", function()
    local one = client(function(request, response) answer(request, response) end)
    local result, facts = one.embeddings:create { model = "m", input = inputs(5000) }
    assert.equal(5000, #result.data)
    for i, item in ipairs(result.data) do
      assert.equal(i, item.embedding[1])
      assert.equal(i - 1, item.index)
    end
    assert.equal(5000, result.usage.prompt_tokens)
    assert.equal(3, facts.parts)
    assert.equal(2048, #server.requests[1]:json().input)
    assert.is_true(server.accepted > 1) -- at once
    local whole = one.embeddings:create { model = "m", input = inputs(2048) }
    assert.equal(2048, #whole.data)
    assert.equal(4, #server.requests)
  end)

  it("are cut by their bytes, too", function()
    local one = client(function(request, response) answer(request, response) end)
    local pad = (" "):rep(250000)
    assert.equal(5, #one.embeddings:create({ model = "m", input = inputs(5, pad) }).data)
    assert.equal(3, #server.requests)
  end)

  it("are tried again part by part", function()
    local failed = false
    local one = client(function(request, response)
      if not failed and request:json().input[1] == "2049" then
        failed = true
        return response:json(503, ERROR, { ["retry-after-ms"] = "1" })
      end
      answer(request, response)
    end, { retry = { max = 1 } })
    local result = assert(one.embeddings:create { model = "m", input = inputs(4100) })
    assert.equal(4100, #result.data)
    assert.equal(4, #server.requests) -- three parts, one of them twice
  end)

  it("say which failed, and what there is", function()
    local one = client(function(request, response)
      if request:json().input[1] == "2049" then return response:json(400, ERROR) end
      answer(request, response)
    end)
    local result, text, err = one.embeddings:create({ model = "m", input = inputs(4100) }, { parallel = 1 })
    assert.is_nil(result)
    assert.equal("invalid_request", err.kind)
    assert.truthy(text:find("no such thing", 1, true))
    assert.same({ { first = 2049, last = 4096, sent = true }, { first = 4097, last = 4100, sent = false } }, err.inputs)
    assert.equal(1, err.partial.data[1].embedding[1])
    assert.equal(2048, err.partial.usage.prompt_tokens)
  end)

  it("prove that each has its vector", function()
    local one = client(function(_, response) response:json(200, { data = { { index = 0, embedding = { 1 } }, { index = 0, embedding = { 1 } } } }) end)
    local _, _, err = one.embeddings:create { model = "m", input = { "a", "b" } }
    assert.equal("protocol", err.kind)
    for _, data in ipairs { { { index = 0, embedding = { 1 } } }, { { index = 0, embedding = "!" }, { index = 1, embedding = "AACAPw==" } }, "x" } do
      server:close()
      one = client(function(_, response) response:json(200, { data = data }) end)
      _, _, err = one.embeddings:create { model = "m", input = { "a", "b" } }
      assert.equal("protocol", err.kind)
    end
  end)
end)
