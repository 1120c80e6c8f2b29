--- Providers: each preset as it goes out, whose key goes where, which opaque fields go back
-- to whom, and fallbacks that speak another API.
-- luacheck: no max line length

local chat = require "oaichat"
local interpreter = require "spec.support.interpreter"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local providers = require "oaichat.providers"
local testing = require "oaichat.testing"

local server

local function serve(answer)
  server = assert(testing.server(answer or play.good))
  return server
end

local function wire_body(wire, messages, origin)
  local parts = assert(wire.render({ messages = messages, origin = origin }, { model = "m", params = {} }))
  return json.decode(table.concat(parts))
end

describe("a provider", function()
  before_each(leaks.remember)
  after_each(function()
    if server then
      server:close()
      assert.same({}, server.errors)
    end
    server = nil
    leaks.check()
  end)

  for _, name in ipairs(providers.names()) do
    it("sends its key as it wants it, over its API: " .. name, function()
      serve()
      local preset = providers.LIST[name]
      local s = assert(chat.new { provider = name, base_url = server.url, api_key = "k-1", model = "m" })
      local path = name == "azure" and "/v1/openai/v1/chat/completions" or preset.api == "anthropic" and "/v1/messages" or "/v1/chat/completions"
      if name ~= "azure" then
        assert.equal("good", s:send("hi").text)
      else
        s:send "hi"
      end
      local request = server.requests[1]
      assert.equal(path, request.path)
      local header = preset.key_header or preset.api == "anthropic" and "x-api-key"
      assert.equal(header and "k-1" or "Bearer k-1", request.headers[header or "authorization"])
      if header then assert.is_nil(request.headers.authorization) end
      if preset.base_url then
        local there = assert(chat.new { provider = name, api_key = "k-1", model = "m" })
        assert.truthy(there._origin:find((preset.base_url:match "://([^/:]+)"), 1, true))
      end
    end)
  end

  it("that is none raises, with those that there are", function()
    for _, make in ipairs { chat.new, chat.client } do
      local ok, why = pcall(make, { provider = "grok" })
      assert.is_false(ok)
      assert.truthy(tostring(why):find("provider: grok is none of anthropic, azure, deepseek", 1, true), why)
    end
    assert.is_false(pcall(chat.new, { provider = 7 }))
    assert.is_false(pcall(chat.new, { model = "m", base_url = "http://127.0.0.1:1", fallbacks = { { provider = "grok" } } }))
  end)

  it("other than OpenAI has no default model", function()
    local _, text, err = chat.new { provider = "groq", api_key = "k" }
    assert.equal("config", err.kind)
    assert.truthy(text:find("groq has no default", 1, true))
    local _, _, fallback = chat.new { model = "m", base_url = "http://127.0.0.1:1", fallbacks = { { provider = "groq", api_key = "k" } } }
    assert.truthy(fallback.message:find("fallbacks[1]: model is missing", 1, true))
  end)

  it("without its key is a config error that names the variable; one on this machine needs none", function()
    for _, name in ipairs { "groq", "mistral", "anthropic" } do
      local _, text, err = chat.new { provider = name, model = "m" }
      assert.equal("config", err.kind)
      assert.truthy(text:find(providers.LIST[name].key, 1, true), text)
    end
    for _, name in ipairs { "ollama", "llamacpp", "vllm" } do assert(chat.new { provider = name, model = "m" }) end
    assert(chat.new { provider = "groq", model = "m", api_key = function() return "k" end })
    assert.equal("config", select(3, chat.client { provider = "groq" }).kind)
  end)

  it("has the key of its variable at its own origin, and nowhere else", function()
    serve()
    local script = [[
      package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
      local chat = require "oaichat"
      local s = assert(chat.new { provider = "groq", model = "m" })
      print(s._core:has_key())
      local t = assert(chat.new { provider = "groq", model = "m", base_url = "%s" })
      print(t._core:has_key())
      local f = assert(chat.new { provider = "groq", model = "m", fallbacks = { { provider = "mistral", model = "x", base_url = "%s" }, { provider = "deepseek", api_key = "k", model = "y" } } })
      print(f._policy._steps[2].core:has_key(), f._policy._steps[3].core:has_key())
    ]]
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write((script:gsub("%%s", server.url)))
    file:close()
    local pipe = assert(io.popen(("GROQ_API_KEY=gk-1 OPENAI_API_KEY=sk-1 %s %s 2>&1"):format(interpreter(), path)))
    local text = pipe:read "*a"
    pipe:close()
    os.remove(path)
    assert.equal("true\nfalse\nfalse\ttrue\n", text)
  end)

  it("may be overruled in everything", function()
    serve()
    local s = assert(chat.new { provider = "anthropic", api = "chat", base_url = server.url, api_key = "k", key_header = "x-key", model = "m" })
    s:send "hi"
    assert.equal("/v1/chat/completions", server.requests[1].path)
    assert.equal("k", server.requests[1].headers["x-key"])
  end)

  it("begins with the way to ask for a schema that it knows", function()
    serve(function(_, response) response:json(200, testing.completion '{"n":1}') end)
    local s = assert(chat.new { provider = "deepseek", base_url = server.url, api_key = "k", model = "m" })
    assert(s:send("hi", { schema = { type = "object", properties = { n = { type = "integer" } } } }))
    assert.equal("json_object", server.requests[1]:json().response_format.type)
  end)

  it("can be Azure: a deployment in the path, or v1; a key or a token", function()
    serve()
    local base = server.url:gsub("/v1$", "")
    local s = assert(chat.new { provider = "azure", base_url = base, azure = { deployment = "my-gpt", api_version = "2024-10-21" }, api_key = "k" })
    s:send "hi"
    assert.equal("/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21", server.requests[1].target)
    assert.equal("k", server.requests[1].headers["api-key"])
    assert.is_nil(server.requests[1].headers.authorization)
    s = assert(chat.new { provider = "azure", base_url = base, model = "my-gpt", api_key = function() return "token" end })
    s:send "hi"
    assert.equal("/openai/v1/chat/completions", server.requests[2].target)
    assert.equal("Bearer token", server.requests[2].headers.authorization)
    assert.equal("https://res.openai.azure.com:443", assert(chat.new { provider = "azure", azure = { resource = "res" }, model = "m", api_key = "k" })._origin)
    s = assert(chat.new { provider = "azure", base_url = base .. "/openai/", model = "my-gpt", api_key = "k" })
    assert(s:send "x")
    assert.equal("/openai/v1/chat/completions", server.requests[#server.requests].path)
    for _, bad in ipairs { {}, { base_url = base .. "?a=1", model = "m" }, { azure = { resource = "a/b" } }, { azure = { resource = "r", deployment = "a/b", api_version = "1" } }, { azure = { resource = "r", api_version = "1?x" }, model = "m" } } do
      bad.provider, bad.api_key = "azure", "k"
      assert.is_false(pcall(chat.new, bad))
    end
    assert.is_false(pcall(chat.new, { provider = "groq", model = "m", azure = { resource = "r" } }))
  end)

  it("can be a fallback that speaks another API", function()
    local other = assert(testing.server(play.good))
    serve(function(_, response) response:json(503, { error = { message = "down" } }) end)
    for _, api in ipairs { "anthropic", "responses" } do
      local s = assert(chat.new { base_url = server.url, api_key = "k1", model = "m", system = "terse", retry = { max = 0 },
        fallbacks = { { provider = api == "anthropic" and api or nil, api = api, base_url = other.url, api_key = "k2", model = "m2" } } })
      assert.equal("good", s:send("hi").text)
      assert.equal("good", s:stream("more"):result().text)
    end
    assert.equal("/v1/messages", other.requests[1].path)
    assert.equal("terse", other.requests[1]:json().system)
    assert.equal("k2", other.requests[1].headers["x-api-key"])
    assert.equal("/v1/responses", other.requests[3].path)
    assert.equal("terse", other.requests[3]:json().instructions)
    assert.equal("m2", other.requests[3]:json().model)
    other:close()
  end)
end)

describe("opaque fields", function()
  local wire = require "oaichat.wire.chat"
  local CALLS = { { id = "c", type = "function", ["function"] = { name = "f", arguments = "{}" } } }

  local function message(origin, opaque, calls, of_calls)
    return { role = "assistant", content = "a", tool_calls = calls, meta = { origin = origin, opaque = opaque, opaque_calls = of_calls } }
  end

  local function sent(origin, opaque, calls, of_calls, to)
    return wire_body(wire, { { role = "user", content = "u" }, message(origin, opaque, calls, of_calls) }, to or origin).messages[2]
  end

  it("go back as each provider wants them", function()
    local deepseek = "https://api.deepseek.com:443"
    assert.is_nil(sent(deepseek, { reasoning_content = "why" }).reasoning_content)
    assert.equal("why", sent(deepseek, { reasoning_content = "why" }, CALLS).reasoning_content)
    local router = "https://openrouter.ai:443"
    local both = sent(router, { reasoning = "why", reasoning_details = json.array { { type = "x" } } })
    assert.same({ { type = "x" } }, both.reasoning_details)
    assert.is_nil(both.reasoning)
    assert.equal("why", sent(router, { reasoning = "why" }).reasoning)
    local gemini = "https://generativelanguage.googleapis.com:443"
    local signed = sent(gemini, nil, CALLS, { { extra_content = { google = { thought_signature = "s" } } } })
    assert.equal("s", signed.tool_calls[1].extra_content.google.thought_signature)
    assert.is_nil(sent("https://api.openai.com:443", { reasoning_content = "why" }, CALLS).reasoning_content)
    assert.equal("why", sent("http://10.0.0.1:8000", { reasoning_content = "why" }).reasoning_content)
  end)

  it("never go to another origin", function()
    for _, to in ipairs { "https://api.openai.com:443", "http://10.0.0.1:8000", "https://openrouter.ai:443" } do
      local other = sent("https://api.deepseek.com:443", { reasoning_content = "why", reasoning_details = { { a = 1 } } }, CALLS, { { extra_content = { a = 1 } } }, to)
      assert.is_nil(other.reasoning_content)
      assert.is_nil(other.reasoning_details)
      assert.is_nil(other.tool_calls[1].extra_content)
      assert.is_nil(other.meta)
    end
  end)
end)

describe("docs/PROVIDERS.md", function()
  it("has each provider with what the table says", function()
    local file = assert(io.open("docs/PROVIDERS.md", "rb"))
    local text = file:read "*a"
    file:close()
    for _, name in ipairs(providers.names()) do
      local row, one = text:match("\n(| `" .. name .. "` |[^\n]*)"), providers.LIST[name]
      assert.truthy(row, name)
      for _, fact in ipairs { one.base_url or "azure.com", one.key, one.key_header or "", one.structured or "" } do
        assert.truthy(row:find(fact, 1, true), name .. ": " .. fact)
      end
    end
  end)
end)
