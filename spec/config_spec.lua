--- config: which place wins, what is refused, and that no secret shows up in a text.

local chat = require "oaichat"
local config = require "oaichat.config"
local settings = require "oaichat.settings"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local secret = require "oaichat.config.secret"

local CANARY = "xanthippe-4711-very-secret"

local files = {}

local function write(text, mode)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  if mode then os.execute(("chmod %s '%s'"):format(mode, path)) end
  files[#files + 1] = path
  return path
end

local function setup(value)
  return write(type(value) == "string" and value or assert(json.encode(value)))
end

local function fails(pattern, ok, text, err)
  assert.is_nil(ok)
  assert.is_true(errors.is(err), tostring(err))
  assert.equal("config", err.kind)
  assert.truthy(text:find(pattern, 1, true), text)
  assert.is_nil(text:find("xanthippe", 1, true), text)
  return err
end

-- The environment of a test.
local real, variables = os.getenv, nil
local function fake(name)
  if variables then return variables[name] end
  return real(name)
end

local function with(env, opts)
  variables = env
  local ok, a, b, c = pcall(config.load, opts)
  variables = nil
  if not ok then error(a, 0) end
  return a, b, c
end

describe("config", function()
  before_each(function() os.getenv = fake end) -- luacheck: ignore
  after_each(function()
    os.getenv = real -- luacheck: ignore
    for _, path in ipairs(files) do os.remove(path) end
    files = {}
  end)

  describe("precedence", function()
    local file

    before_each(function()
      file = setup {
        model = "file", system = "file", deadline = 1, max_rounds = 1, timeouts = { connect = 1, attempt = 1 },
        headers = { ["X-Team"] = "file", ["X-All"] = "file" }, params = { temperature = 1, seed = 1 },
        default = "development",
        profiles = {
          development = { model = "dev", deadline = 2, timeouts = { attempt = 2 }, headers = { ["x-team"] = "dev" } },
          production = { model = "prod", system = json.null, params = { seed = json.null } },
        },
      }
    end)

    it("is code, environment, profile, file", function()
      local out = assert(with({ OPENAI_MODEL = "env", OAICHAT_TIMEOUT_ATTEMPT = "3.5" }, {
        file = file, options = { timeouts = { first_byte = 9 }, deadline = 4 },
      }))
      assert.same({
        model = "env", system = "file", deadline = 4, max_rounds = 1,
        timeouts = { connect = 1, attempt = 3.5, first_byte = 9 },
        headers = { ["x-team"] = "dev", ["X-All"] = "file" }, params = { temperature = 1, seed = 1 },
      }, out)
      out = assert(with({ OPENAI_MODEL = "env" }, { file = file, options = { model = "code" } }))
      assert.equal("code", out.model)
      assert.equal("dev", with({}, { file = file }).model)
      assert.equal("dev", with({ OPENAI_MODEL = "" }, { file = file }).model)
    end)

    it("chooses the profile by code, OAICHAT_PROFILE, default", function()
      assert.equal("prod", with({ OAICHAT_PROFILE = "production" }, { file = file }).model)
      assert.equal("dev", with({ OAICHAT_PROFILE = "production" }, { file = file, profile = "development" }).model)
      assert.equal("dev", with({ OAICHAT_PROFILE = "production" }, { file = file, env = false }).model)
      fails('no profile "staging"; there are: development, production', with({}, { file = file, profile = "staging" }))
      fails('profile "x": there is no file', with({}, { profile = "x" }))
      assert.same({}, with({ OAICHAT_PROFILE = "x" }, {}))
      fails('no profile "x"', with({ OAICHAT_PROFILE = "x" }, { file = setup {} }))
    end)

    it("lets null take back", function()
      local out = assert(with({}, { file = file, profile = "production" }))
      assert.is_nil(out.system)
      assert.same({ temperature = 1 }, out.params)
    end)

    it("sends OPENAI_API_KEY to no server that the file has a key for", function()
      local own = setup { base_url = "http://localhost:1/v1", api_key = { env = "MINE" } }
      assert.equal("k", with({ OPENAI_API_KEY = CANARY, MINE = "k" }, { file = own }).api_key)
      own = setup { base_url = "http://localhost:1/v1", api_key = false }
      assert.is_false(with({ OPENAI_API_KEY = CANARY }, { file = own }).api_key)
      assert.equal(CANARY, with({ OPENAI_API_KEY = CANARY, OPENAI_BASE_URL = "https://x/v1" }, { file = own }).api_key)
      own = setup { api_key = { env = "MINE" } }
      assert.equal(CANARY, with({ OPENAI_API_KEY = CANARY, MINE = "k" }, { file = own }).api_key)
      assert.equal("c", with({ OPENAI_API_KEY = CANARY, MINE = "k" }, { file = own,
        options = { api_key = "c" } }).api_key)
    end)

    it("is without the environment when told so", function()
      local out = with({ OPENAI_API_KEY = CANARY, OPENAI_BASE_URL = "https://x/v1", OPENAI_MODEL = "m" },
        { env = false })
      assert.same({ api_key = false, base_url = "https://api.openai.com/v1", model = "gpt-4o-mini" }, out)
    end)

    it("is what chat.new takes", function()
      local out = assert(with({ OAICHAT_HTTP2 = "false", OAICHAT_RETRY_MAX = "2" }, {
        file = file, options = { api_key = function() return "k" end, base_url = "http://127.0.0.1:1/v1" },
      }))
      assert.same({ false, { max = 2 }, "k" }, { out.http2, out.retry, out.api_key })
      assert.equal("dev", assert(chat.new(out)).model)
    end)
  end)

  describe("knows chat.new's options", function()
    it("and what the environment can say is among them", function()
      for _, entry in ipairs(config.ENVIRONMENT) do
        local rule = settings.NEW
        for part in entry[2]:gmatch "[^.]+" do rule = rule[part] end
        assert.truthy(rule:find(entry[3] or "string", 1, true), entry[1])
      end
    end)
  end)

  describe("refuses", function()
    it("names that it does not know, with a hint", function()
      fails("unknown option modle (did you mean model?)", with({}, { file = setup { modle = "x" } }))
      fails("unknown option profiles.p.timeouts.conect (did you mean profiles.p.timeouts.connect?)",
        with({}, { file = setup { profiles = { p = { timeouts = { conect = 1 } } } } }))
      assert.has_error(function() with({}, { options = { modle = "x" } }) end)
      assert.has_error(function() with({}, { fiel = "x" }) end)
      assert.has_error(function() with({}, { options = { api_key = { enf = "x" } } }) end)
      assert.has_error(function() with({}, { options = { api_key = { env = 1 } } }) end)
    end)

    it("wrong types, and what only code can give", function()
      fails("deadline: number expected, got string", with({}, { file = setup { deadline = "1" } }))
      fails("profiles.p.retry: table expected", with({}, { file = setup { profiles = { p = { retry = 3 } } } }))
      for _, name in ipairs { "log", "approve", "on_call", "on_result", "engine", "hooks" } do
        fails(name .. " can be given in code only", with({}, { file = setup { [name] = {} } }))
      end
      fails("history: a path expected", with({}, { file = setup { history = { path = "x" } } }))
      fails("api_key: false or", with({}, { file = setup { api_key = true } }))
    end)

    it("files that are none, with the line", function()
      fails("cannot", (function()
        local a, b, c = with({}, { file = "/nonexistent/oaichat.json" })
        assert.truthy(b:find "nonexistent")
        return a, "cannot " .. b, c
      end)())
      fails(":3: ", with({}, { file = setup '{"model":"x",\n"system":"y",\n"xanthippe}' }))
      for _, bad in ipairs { "", "[]", "7", '{"profiles":[]}', '{"profiles":7}', '{"profiles":{"p":[]}}',
        '{"default":1}',
        '{"profiles":{"p":null}}' } do
        fails("", with({}, { file = setup(bad) }))
      end
      fails("more than", with({}, { file = setup(("x"):rep(1024 * 1024 + 1)) }))
    end)

    it("variables that are no number or boolean, without their values", function()
      fails("OAICHAT_DEADLINE: a number", with({ OAICHAT_DEADLINE = CANARY }, {}))
      fails("OAICHAT_DEADLINE: a number", with({ OAICHAT_DEADLINE = "0x10" }, {}))
      fails("OAICHAT_RETRY_MAX: a number", with({ OAICHAT_RETRY_MAX = "nan" }, {}))
      fails("OAICHAT_HTTP2: true or false", with({ OAICHAT_HTTP2 = CANARY }, {}))
    end)

    it("secrets that stand in the file, wherever", function()
      for _, value in ipairs {
        { api_key = CANARY }, { profiles = { p = { api_key = CANARY } } },
        { headers = { Authorization = "Bearer " .. CANARY } }, { headers = { ["api-key"] = CANARY } },
        { headers = { Cookie = CANARY } }, { proxy = "http://me:" .. CANARY .. "@proxy:3128" },
        { base_url = "https://" .. CANARY .. "@host/v1" }, { params = { user = "sk-" .. CANARY } },
        { system = "sk-proj-" .. CANARY }, { metadata = "sk-proj-" .. CANARY },
      } do
        fails("secret must not stand in a configuration file", with({}, { file = setup(value) }))
      end
      for _, value in ipairs {
        { api_key = { value = CANARY } }, { api_key = { env = CANARY, file = CANARY } }, { api_key = { env = 1 } },
        { api_key = { command = CANARY } }, { api_key = { command = {} } }, { api_key = { command = { 1 } } },
        { api_key = { file = "" } }, { headers = { ["x-key"] = { env = {} } } },
      } do
        fails("expected", with({}, { file = setup(value) }))
      end
    end)
  end)

  describe("takes secrets", function()
    it("from the environment, by name", function()
      local file = setup {
        api_key = { env = "K" }, proxy = { env = "P" }, base_url = { env = "U" },
          headers = { Authorization = { env = "H" } },
      }
      local out = assert(with({ K = "k", P = "p", U = "u", H = "h" }, { file = file }))
      assert.same({ api_key = "k", proxy = "p", base_url = "u", headers = { Authorization = "h" } }, out)
      fails("headers.Authorization: the environment has no H", with({ K = "k", P = "p", U = "u", H = "" },
        { file = file }))
    end)

    it("from a private file, beside the configuration or by its whole path", function()
      local path = write(CANARY .. "\r\n", "600")
      assert.equal(CANARY, with({}, { file = setup { api_key = { file = path } } }).api_key)
      assert.equal(CANARY, with({}, { file = setup { api_key = { file = path:match "[^/]+$" } } }).api_key)
      assert.equal(CANARY, with({}, { options = { api_key = { file = path } } }).api_key)
    end)

    it("from no file that others may read, from no link, and from one line", function()
      for _, mode in ipairs { "640", "604", "620" } do
        fails("can be read by others (mode " .. mode .. ")" == "" and "" or "can be read by others (mode",
          with({}, { options = { api_key = { file = write(CANARY, mode) } } }))
      end
      local path = write(CANARY, "600")
      os.execute(("ln -s '%s' '%s.link'"):format(path, path))
      files[#files + 1] = path .. ".link"
      fails("api_key: ", with({}, { options = { api_key = { file = path .. ".link" } } }))
      fails("api_key: ", with({}, { options = { api_key = { file = "/nonexistent/x" } } }))
      fails("api_key: ", with({}, { options = { api_key = { file = "/tmp" } } }))
      fails("is empty", with({}, { options = { api_key = { file = write("\n", "600") } } }))
      fails("more than one line", with({}, { options = { api_key = { file = write(CANARY .. "\n" .. CANARY,
        "600") } } }))
      fails("longer than", with({}, { options = { api_key = { file = write(("x"):rep(70000), "600") } } }))
    end)

    it("from a function in code", function()
      assert.equal("k", with({}, { options = { api_key = function() return "k" end } }).api_key)
      fails("api_key: its function gave no string", with({}, { options = { api_key = function() return nil,
        CANARY end } }))
    end)

    it("only where they are what counts", function()
      local asked = 0
      local file = setup { api_key = { command = { "/nonexistent/command" } } }
      local out = assert(with({}, { file = file, options = { api_key = function() asked = asked + 1 return "k" end } }))
      assert.same({ "k", 1 }, { out.api_key, asked })
    end)
  end)

  describe("takes secrets of commands", function()
    local function of(...)
      return config.load { env = false, options = { api_key = { command = { ... } } } }
    end

    it("without a shell", function()
      assert.equal("$HOME `id` ; x", assert(of("printf", "%s\n", "$HOME `id` ; x")).api_key)
      assert.equal("ok", assert(with(nil, { file = setup { api_key = { command = { "echo", "ok" } } },
        env = false })).api_key)
    end)

    it("and tells how one failed, not what it said", function()
      fails("ended with status 3", of("sh", "-c", "echo " .. CANARY .. "; echo " .. CANARY .. " >&2; exit 3"))
      fails("cannot be started", of "/nonexistent/command")
      fails("is empty", of "true")
      fails("more than one line", of("printf", "a\nb\n"))
      fails("longer than", of("sh", "-c", "yes | head -c 200000"))
    end)

    it("within a time", function()
      secret.seconds = 0.1
      local ok, text, err = of("sleep", "20")
      secret.seconds = 30
      fails("took longer than 0.1 seconds", ok, text, err)
    end)

    it("while other tasks go on", function()
      local ticks, key = 0, nil
      chat.spawn(function() key = assert(of("sh", "-c", "sleep 0.1; echo k")).api_key end)
      chat.spawn(function()
        while not key do
          chat.sleep(0.01)
          ticks = ticks + 1
        end
      end)
      assert(chat.run())
      assert.equal("k", key)
      assert.is_true(ticks > 2)
    end)

    it("in a task, within a time too", function()
      secret.seconds = 0.1
      local ok, text, err
      chat.spawn(function() ok, text, err = of("sleep", "20") end)
      assert(chat.run())
      secret.seconds = 30
      fails("took longer", ok, text, err)
    end)
  end)

  it("reads nothing that it is not told to", function()
    local opened, open = {}, io.open
    io.open = function(path, ...) -- luacheck: ignore
      opened[#opened + 1] = path
      return open(path, ...)
    end
    local out = with({}, {})
    io.open = open -- luacheck: ignore
    assert.same({}, out)
    assert.same({}, opened)
  end)
end)
