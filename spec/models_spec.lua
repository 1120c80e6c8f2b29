--- Models: what the shipped facts say, what a user's own change, what a session makes of them
-- at the provider's own server, and nothing at any other.
-- luacheck: no max line length

local chat = require "oaichat"
local json = require "oaichat.json"
local models = require "oaichat.models"
local prices = require "oaichat.prices"

local OPENAI = "https://api.openai.com:443"

local function log_of(list)
  return function(level, event, fields) list[#list + 1] = { level = level, event = event, fields = fields } end
end

local function write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

-- The body that a session would send; nothing is sent.
local function body_of(opts, send)
  local requests = require "oaichat.turn.request"
  local session = assert(chat.new(opts))
  local turn = { session = session, opts = send or {}, calls = 0, streaming = false, added = { { role = "user", content = "x" } }, extra = {} }
  local parts = assert(session._wire.render(requests.conversation(turn), requests.options(turn)))
  return json.decode(table.concat(parts))
end

describe("models", function()
  before_each(models.reset)
  after_each(models.reset)

  it("are known by their names and their other names, and by nothing else", function()
    assert.equal(128000, models.get("gpt-4o").context)
    assert.equal("gpt-4o", models.get("gpt-4o-2024-08-06").id)
    assert.equal("gpt-4o-2024-05-13", models.get("gpt-4o-2024-05-13").id)
    for _, name in ipairs { "gpt-4o-2030-01-01", "gpt-4o-audio-preview", "gpt-5-pro", "GPT-4o", "openai/gpt-4o", "", "gpt" } do
      assert.is_nil(models.get(name), name)
    end
  end)

  it("say from when and where they are", function()
    local date, sources = models.source()
    assert.truthy(date:find "^%d%d%d%d%-%d%d$")
    for _, model in ipairs(models.list()) do assert.truthy(sources[model.provider], model.id) end
  end)

  it("are shipped well-formed: every fact of a known kind, no name twice", function()
    local seen = {}
    for _, model in ipairs(models.list()) do
      for _, name in ipairs { model.id, (table.unpack or unpack)(model.aliases or {}) } do
        assert.is_nil(seen[name], name)
        seen[name] = true
      end
    end
    local path = os.tmpname()
    assert(models.export(path))
    assert.equal(#models.list(), models.load(path)) -- load checks all of it
    os.remove(path)
  end)

  it("have the prices, in one place", function()
    assert.equal(2.5, prices.of("gpt-4o").input)
    assert.equal(3.75, prices.of("claude-sonnet-4-5").written)
    for _, model in ipairs(models.list()) do
      if model.price then assert.equal(model.price.output, prices.TABLE[model.id].output) end
    end
  end)

  it("are refreshed by a file or a table; what is wrong changes nothing", function()
    local path = write '{"date":"2027-01","models":{"gpt-7":{"provider":"openai","context":1,"aliases":["gpt-7-x"]},"gpt-4o":{"provider":"openai","context":2}}}'
    assert.equal(2, models.load(path))
    assert.equal(1, models.get("gpt-7-x").context)
    assert.equal(2, models.get("gpt-4o").context)
    assert.equal("2027-01", (models.source()))
    assert.equal(1047576, models.get("gpt-4.1").context)
    os.remove(path)
    for _, bad in ipairs {
      { models = { a = { contxt = 1, provider = "x" } } }, { models = { a = { provider = "x", context = "1" } } }, { models = { a = {} } },
      { models = { a = { provider = "x", shutdown = "soon" } } }, { models = { a = { provider = "x", price = { input = -1 } } } }, {}, { models = { 1 } },
    } do
      local count, text, err = models.load(bad)
      assert.is_nil(count)
      assert.equal("config", err.kind)
      assert.truthy(text:find("models", 1, true))
    end
    assert.is_nil(models.get "a")
    assert.equal("config", select(3, models.load "/no/such/file").kind)
    path = write "{"
    assert.truthy(select(2, models.load(path)):find(path, 1, true))
    os.remove(path)
    assert.equal("storage", select(3, models.export "/no/such/folder/models.json").kind)
  end)

  it("that end are told to the log of chat.new, once", function()
    local seen = {}
    for _ = 1, 2 do assert(chat.new { api_key = "k", base_url = "https://api.openai.com/v1", model = "gpt-5.1", log = log_of(seen) }) end
    assert.equal(1, #seen)
    assert.equal("warn", seen[1].level)
    assert.equal("deprecated", seen[1].event)
    assert.equal("2027-04-01", seen[1].fields.shutdown)
    models.warn("o3", OPENAI, log_of(seen), "2027-01-01")
    assert.is_true(seen[2].fields.over)
    assert.equal("gpt-5.6-sol", seen[2].fields.replacement)
    for _, model in ipairs { "gpt-5.2", "unknown-model" } do assert(chat.new { api_key = "k", base_url = "https://api.openai.com/v1", model = model, log = log_of(seen) }) end
    assert(chat.new { api_key = "k", base_url = "https://other.test/v1", model = "gpt-4o", log = log_of(seen) })
    assert.equal(2, #seen)
  end)

  describe("and the parameters of a request:", function()
    local PARAMS = { temperature = 0, max_tokens = 5, seed = 1 }

    it("a model that reasons gets what it takes, and the log says what was done", function()
      local seen = {}
      local body = body_of { api_key = "k", base_url = "https://api.openai.com/v1", model = "gpt-5", params = PARAMS, log = log_of(seen) }
      assert.is_nil(body.temperature)
      assert.is_nil(body.max_tokens)
      assert.equal(5, body.max_completion_tokens)
      assert.equal(1, body.seed)
      local told = {}
      for _, one in ipairs(seen) do
        if one.event == "parameter" then told[one.fields.parameter] = one.fields.renamed or one.fields.dropped end
      end
      assert.same({ temperature = true, max_tokens = "max_completion_tokens" }, told)
      assert.same({ temperature = 0, max_tokens = 5, seed = 1 }, PARAMS)
    end)

    it("one that reasons only when it is told to keeps them until then", function()
      local own = { api_key = "k", base_url = "https://api.openai.com/v1", model = "gpt-5.1", params = { temperature = 0 } }
      assert.equal(0, body_of(own).temperature)
      assert.is_nil(body_of(own, { params = { reasoning_effort = "high" } }).temperature)
      own.api = "responses"
      assert.is_nil(body_of(own, { params = { reasoning = { effort = "low" } } }).temperature)
      assert.equal(0, body_of(own, { params = { reasoning = { effort = "none" } } }).temperature)
    end)

    it("what the user says in the new name wins", function()
      local body = body_of { api_key = "k", base_url = "https://api.openai.com/v1", model = "o3", params = { max_tokens = 5, max_completion_tokens = 7 } }
      assert.equal(7, body.max_completion_tokens)
    end)

    it("nothing is changed for a model that nobody knows, however it is called, nor at another server", function()
      for _, case in ipairs {
        { "o3-from-somewhere", "https://api.openai.com/v1" }, { "gpt-5-turbo-reasoning", "https://api.openai.com/v1" }, { "gpt-5", "https://gateway.test/v1" },
        { "o3", "http://127.0.0.1:1/v1" }, { "gpt-4o", "https://api.openai.com/v1" },
      } do
        local body = body_of { api_key = "k", base_url = case[2], model = case[1], params = PARAMS }
        assert.equal(0, body.temperature)
        assert.equal(5, body.max_tokens)
      end
    end)
  end)
end)
