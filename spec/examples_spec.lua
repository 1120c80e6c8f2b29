-- The examples with tools, data and several sessions, run as a person would run them,
-- and the rules of the offline bot that they rely on. Knows the examples; each runs in
-- a process of its own with the bot, and without the environment's key.

package.path = "examples/?.lua;" .. package.path

local chat = require "oaichat"
local core = require "oaichat.core"
local server = require "server"
local interpreter = require "spec.support.interpreter"

local schema = chat.schema

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

-- Runs a command line with this on its stdin; what it wrote, its exit code, and its stderr.
local function run(command, input, env)
  local path = os.tmpname()
  write(path, input or "")
  local pipe = io.popen(("env -u OPENAI_API_KEY -u OPENAI_BASE_URL -u OPENAI_MODEL %s timeout 60 '%s' %s <%s 2>%s.err;"
    .. ' echo "exit $?"'):format(env or "", interpreter(), command, path, path))
  local out = pipe:read "*a"
  pipe:close()
  local said = read(path .. ".err")
  os.remove(path)
  os.remove(path .. ".err")
  local text, code = out:match "^(.-)exit (%d+)\n$"
  return text, tonumber(code), said
end

local function has(text, what)
  assert.is_truthy(text:find(what, 1, true), ("no %q in:\n%s"):format(what, text))
end

local function has_not(text, what)
  assert.is_nil(text:find(what, 1, true), text)
end

describe("the assistant", function()
  local folder

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    os.execute(("mkdir -p %s/sub && ln -s /etc %s/out && ln -s /etc/passwd %s/link"):format(folder, folder, folder))
    write(folder .. "/notes.txt", "buy milk")
  end)

  after_each(function() os.execute("rm -rf " .. folder) end)

  local function talk(lines, env)
    local out, code, said = run("examples/assistant.lua " .. folder, table.concat(lines, "\n") .. "\n", env)
    assert.equal(0, code, said)
    return out
  end

  it("reads and lists files without asking", function()
    local out = talk { "read the file notes.txt", "list the files" }
    has(out, "The tool read_file says: buy milk")
    has(out, "sub/")
    has_not(out, "allow?")
  end)

  it("runs a program only when it was allowed, and tells the model when not", function()
    local out = talk { "run touch made.txt", "n" }
    has(out, "run: touch made.txt\nallow?")
    has(out, "The tool run failed: the user did not allow this call")
    assert.is_nil(read(folder .. "/made.txt"))
    out = talk { "run touch made.txt", "y" }
    has(out, "The tool run says:")
    assert.equal("", read(folder .. "/made.txt"))
  end)

  it("takes the end of its input for a no", function()
    talk { "run touch made.txt" }
    assert.is_nil(read(folder .. "/made.txt"))
  end)

  it("takes always for this very command and no other", function()
    local out = talk { "run echo one", "a", "run echo one", "run echo two", "n", "run echo one" }
    local _, asked = out:gsub("allow%?", "")
    assert.equal(2, asked)
    local _, ran = out:gsub("says: one", "")
    assert.equal(3, ran)
    has_not(out, "says: two")
  end)

  it("passes a program's arguments as they are: no shell reads them", function()
    local out = talk { "run echo '$(id)' ; touch x", "y" }
    has(out, "says: $(id) ; touch x")
    assert.is_nil(read(folder .. "/x"))
  end)

  it("gives a program nothing of the environment that may be a key", function()
    has_not(talk({ "run env", "y" }, "SECRET_TOKEN=canary-7"), "canary")
  end)

  it("says how a program failed", function()
    local out = talk { "run false", "y", "run no-such-program", "y" }
    has(out, "exit status 1")
    has(out, "The tool run failed: cannot start no-such-program")
  end)

  it("writes a file only when it was allowed, shows what, and goes on with the next call", function()
    local out = talk { 'write "Two eggs" to sub/list.txt and then read the file sub/list.txt', "y" }
    has(out, "write 8 bytes to sub/list.txt:\n  | Two eggs\nallow?")
    has(out, "The tool read_file says: Two eggs")
    assert.equal("Two eggs", read(folder .. "/sub/list.txt"))
    talk { 'write "Nothing" to sub/list.txt', "n" }
    assert.equal("Two eggs", read(folder .. "/sub/list.txt"))
  end)

  it("stays in its folder", function()
    for _, path in ipairs { "../x", "sub/../../x", "/etc/passwd", "~/x", "link", "out/passwd" } do
      local out = talk { "read the file " .. path, 'write "x" to ' .. path, "y" }
      has(out, "The tool read_file failed:")
      has(out, "The tool write_file failed:")
      has_not(out, "root:")
    end
  end)

  it("row 122: shows what would command the terminal instead of obeying it", function()
    write(folder .. "/evil.txt", "a\27]52;c;x\7b\226\128\174c")
    local out = talk { "read the file evil.txt", "run echo '\27[2J'", "n" }
    has(out, [[a\x1B]52;c;x\x07b\u{202E}c]])
    assert.is_nil(out:find "[\27\7]")
  end)

  it("gets a URL from a host that was allowed", function()
    local listener = assert(core.listen { host = "127.0.0.1", port = 0 })
    local origin = ("http://127.0.0.1:%d"):format(listener:port())
    listener:close()
    local question = ("get %s/v1/models"):format(origin)
    local out, code, said = run("spec/support/offline.lua examples/assistant.lua",
      question .. "\nn\n" .. question .. "\na\n" .. question .. "\n", "OPENAI_BASE_URL=" .. origin .. "/v1")
    assert.equal(0, code, said)
    local _, asked = out:gsub("allow%?", "")
    assert.equal(2, asked)
    has(out, "The tool http_get failed: the user did not allow this call")
    has(out, '"id":"offline-bot"')
    has(out, "HTTP 200")
  end)

  it("answers its commands", function()
    local out = talk { "/tools", "/help", "/quit", "hello" }
    has(out, "write_file")
    has(out, "/reset")
    has_not(out, "Hello!")
  end)
end)

describe("the extractor", function()
  local TEXT = "I am Ada Lovelace (ada@example.org). I order 2 blue lamps at 19.90 and 1 rug for 89, "
    .. "until 10 December 2026."

  it("prints data that the schema proves, and shows it grow", function()
    local out, code, said = run("examples/extract.lua '" .. TEXT .. "'")
    assert.equal(0, code, said)
    local data = chat.json.decode(out:match "^[^\n]*")
    assert.same({
      name = "Ada Lovelace", email = "ada@example.org", date = "2026-12-10",
      items = { { quantity = 2, name = "blue lamps", price = 19.9 }, { quantity = 1, name = "rug", price = 89 } },
    }, data)
    has(out, "2 kinds of things, 128.80 in all")
    has(said, '... {"date":"2026-12-10","email":"ada@exampl"}\n')
    has(said, 'item 1 is whole: {"name":"blue lamps","price":19.9,"quantity":2}\n')
  end)

  it("reads stdin, and names what is wrong and where", function()
    local out, code, said = run("examples/extract.lua", "Good morning to all of you")
    assert.equal(1, code)
    assert.equal("", out)
    has(said, "error: the answer does not match the schema: items")
    has(said, "at: /items")
    out, code = run("examples/extract.lua", " \n")
    assert.equal(2, code)
    assert.equal("", out)
  end)
end)

describe("the agents", function()
  it("ask one another, hand over, and work side by side", function()
    local out, code, said = run "examples/agents.lua"
    assert.equal(0, code, said)
    has(out, "[editor] The tool librarian says: The tool search says: Moby-Dick, 1851\n")
    has(out, "[desk] hands over to billing\n")
    has(out, '[billing] The tool invoice says: {"currency":"EUR","number":7,"total":42}\n')
    has(out, "[billing] has 6 messages of the conversation\n")
    has(out, "[reader 1] 12 * 7 is 84.\n[reader 2] 15% of 80 is 12.\n")
  end)
end)

describe("the bot", function()
  local running, session
  local echo = {
    name = "weather", parameters = schema.object { city = schema.string(), days = schema.integer { optional = true } },
    run = function(args) return args end,
  }

  before_each(function()
    running = server.start()
    session = assert(chat.new { base_url = running.url, tools = { echo } })
  end)
  after_each(function()
    assert.same({}, running.errors)
    running:close()
  end)

  it("calls a tool that fits, streamed or whole, and several side by side", function()
    local question = "Weather in Paris for 3 days? and also weather in Rome"
    local reply = assert(session:fork():send(question))
    assert.equal('The tool weather says: {"city":"Paris","days":3}\nThe tool weather says: {"city":"Rome"}',
      reply.text)
    assert.equal(2, #reply.rounds[1].tool_calls)
    assert.equal(reply.text, assert(session:fork():stream(question):result()).text)
  end)

  it("calls none that does not fit, or when tool_choice is none; the forced one always", function()
    assert.matches("^Hello", session:fork():send("hello").text)
    assert.is_nil(session:fork():send("weather in Rome", { tool_choice = "none" }).rounds)
    assert.matches('"city":"Oslo"', session:fork():send("I live in Oslo", { tool_choice = "weather" }).text)
  end)

  it("fills a strict tool: null for what was not said", function()
    local tool = chat.tool { name = "weather", parameters = echo.parameters, run = echo.run, strict = true }
    local reply = assert(session:send("weather in Rome", { tools = { tool } }))
    assert.equal('{"city":"Rome","days":null}', reply.rounds[1].tool_calls[1].arguments)
    assert.equal('The tool weather says: {"city":"Rome"}', reply.text)
  end)

  it("answers JSON: by the schema, by one in words, or with what it found", function()
    local person = schema.object {
      name = schema.string(), age = schema.integer { optional = true }, size = schema.enum { "small", "large" },
      interests = schema.array(schema.string()), urgent = schema.boolean(),
    }
    local text = "I am Ada, 36 years old, size large, interests: trains and sums. It is not urgent."
    local reply = assert(session:fork():send(text, { schema = person }))
    local wanted = { name = "Ada", age = 36, size = "large", interests = { "trains", "sums" }, urgent = false }
    assert.same(wanted, reply.data)
    local found = assert(session:fork():send("JSON for Ada: a@example.org", {
      params = { response_format = { type = "json_object" } }, tools = {},
    }))
    assert.equal("a@example.org", chat.json.decode(found.text).email)
    local none, _, err = session:fork():send("hello", { params = { response_format = { type = "json_object" } } })
    assert.is_nil(none)
    assert.equal("invalid_request", err.kind) -- as OpenAI does: the word must be there
  end)
end)
