--- MCP over stdio: a server that is a small script, in all the odd cases. HTTP is in
-- mcp_http_spec.lua, real servers in support/mcp_real.lua (make test-steady).

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local mcp = require "oaichat.mcp"
local script = require "spec.support.script"
local wait = require "oaichat.wait"

local LUA = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"

local clients = {}

local function open(code, options)
  local all = { command = { LUA, "spec/support/mcp_server.lua", code }, timeout = 5, start_timeout = 5 }
  for name, value in pairs(options or {}) do all[name] = value end
  local client, message, err = mcp.connect(all)
  clients[#clients + 1] = client
  return client, message, err
end

local function connect(...)
  return assert(open(...))
end

local function text_of(result)
  return result.content[1].text
end

before_each(leaks.remember)
after_each(function()
  for _, client in ipairs(clients) do client:close() end
  clients = {}
  leaks.check()
end)

describe("an MCP server over stdio", function()
  it("is greeted by initialize where it does not know the newest revision", function()
    local client = connect()
    assert.equal("2025-06-18", client.version)
    assert.same({ name = "play", version = "1" }, client.server)
    assert.equal("Play.", client.instructions)
    assert.truthy(client.capabilities.tools)
    assert.is_true(client:ping())
  end)

  it("is spoken to without a handshake where it knows the newest revision", function()
    local client = connect [[
      on["server/discover"] = function(id, line)
        if not line:find('"io.modelcontextprotocol/protocolVersion":"2026-07-28"', 1, true) then
          return fail(id, -32602, "no version")
        end
        result(id, '{"resultType":"complete","supportedVersions":["2027-01-01","2026-07-28"],'
          .. '"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new"}},'
          .. '"instructions":"New."}')
      end
      on["initialize"] = nil
      on["tools/call"] = function(id, line)
        local known = line:find('"io.modelcontextprotocol/clientCapabilities":{}', 1, true)
        known = known and "yes" or "no"
        result(id, ('{"resultType":"complete","content":[{"type":"text","text":"%s"}]}'):format(known))
      end
    ]]
    assert.equal("2026-07-28", client.version)
    assert.equal("new", client.server.name)
    assert.equal("New.", client.instructions)
    assert.equal("yes", text_of(client:call("echo", {})))
    assert.is_true(client:ping())
  end)

  it("is started again when the question about revisions ends it", function()
    local client = connect 'on["server/discover"] = function() note "what?" os.exit(1) end'
    assert.equal("2025-06-18", client.version)
    assert.equal("{}", text_of(client:call("echo")))
  end)

  it("is greeted by initialize when it is silent", function()
    local client = connect('on["server/discover"] = function() end', { start_timeout = 0.4 })
    assert.equal("2025-06-18", client.version)
  end)

  it("may answer late that it knows the newest revision alone", function()
    local client = connect([[
      local first
      on["server/discover"] = function(id) first = id end
      on["initialize"] = function(id)
        result(first, '{"supportedVersions":["2026-07-28"],"capabilities":{}}')
        fail(id, -32601, "Method not found")
      end
    ]], { start_timeout = 0.4 })
    assert.equal("2026-07-28", client.version)
  end)

  it("is refused where no revision is shared", function()
    local client, message, err = open [[
      on["server/discover"] = function(id)
        send('{"jsonrpc":"2.0","id":' .. id .. ',"error":{"code":-32022,"message":"no",'
          .. '"data":{"supported":["2031-01-01"]}}}')
      end
    ]]
    assert.is_nil(client)
    assert.equal("protocol", err.kind)
    assert.equal("version", err.code)
    assert.truthy(message:find("2031-01-01", 1, true))
    client, message, err = open 'on["initialize"] = function(id) result(id, \'{"protocolVersion":"1.0"}\') end'
    assert.is_nil(client)
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("1.0", 1, true))
  end)

  it("may be pinned to a revision", function()
    local code = 'heard = function(line) if line:find "discover" then os.exit(1) end end'
    assert.equal("2025-06-18", connect(code, { version = "2025-03-26" }).version)
    local client, _, err = open("", { version = "2026-07-28" })
    assert.is_nil(client)
    assert.equal("not_found", err.kind)
    client, _, err = open("", { version = "yesterday" })
    assert.is_nil(client)
    assert.equal("config", err.kind)
  end)

  it("says why it does not start", function()
    local client, message, err = mcp.connect { command = { "no-such-program-at-all" } }
    assert.is_nil(client)
    assert.equal("config", err.kind)
    assert.truthy(message:find("no-such-program-at-all", 1, true))
    client, message, err = open 'note "no such database\\27[0m" os.exit(3)'
    assert.is_nil(client)
    assert.equal("network", err.kind)
    assert.equal("server_exited", err.code)
    assert.truthy(message:find("(exit status 3)", 1, true))
    assert.truthy(message:find("no such database\\x1b", 1, true))
    assert.is_nil(err.safe_message:find("database", 1, true))
    client, message, err = open("io.stdout:write 'Welcome!\\n' io.stdout:flush() while true do io.read() end",
      { start_timeout = 0.2 })
    assert.is_nil(client)
    assert.equal("timeout", err.kind)
    assert.truthy(message:find("Welcome!", 1, true))
  end)

  it("gets no secrets but those that are named", function()
    local code = [[
      on["tools/call"] = function(id)
        local set = {}
        for _, name in ipairs { "HOME", "PATH", "OPENAI_API_KEY", "LUA_PATH", "ONE" } do
          set[#set + 1] = os.getenv(name) and name
        end
        result(id, '{"content":[{"type":"text","text":"' .. table.concat(set, " ") .. '"}]}')
      end
    ]]
    local client = connect(code, { env = { ONE = "1", LUA_PATH = true } })
    local said = text_of(client:call "env")
    assert.truthy(said:find "PATH" and said:find "ONE")
    assert.is_nil(said:find "OPENAI")
    assert.equal(os.getenv "LUA_PATH" ~= nil, said:find "LUA_PATH" ~= nil)
  end)

  it("runs where it is told to", function()
    local client, _, err = open("", { cwd = "/no/such/folder" })
    assert.is_nil(client)
    assert.truthy(err)
  end)
end)

describe("a call of an MCP server", function()
  it("sends its arguments as an object, also an empty one", function()
    local client = connect()
    assert.equal("{}", text_of(client:call("echo", {})))
    assert.equal("{}", text_of(client:call "echo"))
    assert.equal('{"list":[],"n":1}', text_of(client:call("echo", { n = 1, list = json.array {} })))
  end)

  it("gives the server's error", function()
    local client = connect [[
      on["tools/call"] = function(id) fail(id, -32602, "Unknown tool\\n: x") end
      on["resources/read"] = function(id) fail(id, -32002, "no") end
      on["prompts/get"] = function(id) fail(id, -32603, "broken") end
    ]]
    local result, message, err = client:call "x"
    assert.is_nil(result)
    assert.equal("invalid_request", err.kind)
    assert.equal("-32602", err.code)
    assert.truthy(message:find("Unknown tool\\n: x", 1, true))
    assert.equal("the MCP server answered with an error", err.safe_message)
    assert.equal("not_found", select(3, client:read "a:b").kind)
    assert.equal("server", select(3, client:prompt "p").kind)
    assert.equal("not_found", select(3, client:request "no/such").kind)
  end)

  it("that takes too long ends, and the server hears of it", function()
    local client = connect [[
      local held
      on["tools/call"] = function(id) held = id end
      on["notifications/cancelled"] = function(_, line)
        result(held, '{"content":[]}') -- too late
        told = line
      end
      on["prompts/list"] = function(id) result(id, '{"prompts":[{"name":"' .. told:gsub('"', "'") .. '"}]}') end
    ]]
    local result, _, err = client:call("slow", {}, { timeout = 0.05 })
    assert.is_nil(result)
    assert.equal("timeout", err.kind)
    assert.equal("attempt", err.phase)
    local told = client:prompts()[1].name
    assert.truthy(told:find("'requestId':", 1, true))
    assert.truthy(told:find("'reason':'timeout'", 1, true))
    assert.equal("ready", client._link.state)
  end)

  it("is told apart from others by its id, in whatever order they are answered", function()
    local client = connect [[
      local held = {}
      on["tools/call"] = function(id, line)
        held[#held + 1] = { id, line:match '"n":(%d+)' }
        if #held < 5 then return end
        for i = #held, 1, -1 do result(held[i][1], '{"content":[{"type":"text","text":"' .. held[i][2] .. '"}]}') end
      end
    ]]
    local functions = {}
    for i = 1, 5 do
      functions[i] = function() return text_of(client:call("echo", { n = i })) end
    end
    local results, errs = chat.gather(functions)
    assert.same({}, errs)
    assert.same({ "1", "2", "3", "4", "5" }, results)
  end)

  it("parks its task while others go on", function()
    local client = connect 'on["tools/call"] = function(id) os.execute "sleep 0.1" result(id, "{}") end'
    local steps = 0
    local done
    chat.gather {
      function()
        assert(client:call "slow")
        done = steps
      end,
      function()
        for _ = 1, 5 do
          chat.sleep(0.005)
          steps = steps + 1
        end
      end,
    }
    assert.equal(5, done)
  end)

  it("ends with its task, and the server hears of it", function()
    local client = connect [[
      on["tools/call"] = function() end
      on["notifications/cancelled"] = function(_, line) told = line:find "canceled" end
      on["prompts/list"] = function(id) result(id, '{"prompts":[{"name":"' .. tostring(told ~= nil) .. '"}]}') end
    ]]
    local task = chat.spawn(function() return client:call "never" end)
    chat.step()
    task:cancel()
    local result, _, err = task:wait()
    assert.is_nil(result)
    assert.equal("canceled", err.kind)
    assert.equal("true", client:prompts()[1].name)
  end)

  it("from outside of a task goes on with those that tasks wait for", function()
    local client = connect [[
      local first
      on["tools/call"] = function(id)
        if not first then first = id return end
        result(first, '{"content":[{"type":"text","text":"1"}]}')
        result(id, '{"content":[{"type":"text","text":"2"}]}')
      end
    ]]
    local task = chat.spawn(function() return text_of(client:call "a") end)
    chat.step()
    assert.equal("2", text_of(client:call "b"))
    assert.equal("1", task:wait())
  end)

  it("raises where it would block the host", function()
    local client = connect()
    local allow = wait.forbid "a game"
    local ok, why = pcall(client.call, client, "echo")
    allow()
    assert.is_false(ok)
    assert.truthy(tostring(why):find("would block the host (a game)", 1, true))
    assert.truthy(client:call "echo")
  end)

  it("reports its progress", function()
    local client = connect [[
      on["tools/call"] = function(id, line)
        local token = line:match '"progressToken":(%d+)'
        for i = 1, 2 do
          send('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":' .. tostring(token)
            .. ',"progress":' .. i .. ',"total":2,"message":"m"}}')
        end
        send '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":999,"progress":9}}'
        result(id, '{"content":[]}')
      end
    ]]
    local reports = {}
    assert(client:call("slow", {}, { on_progress = function(report) reports[#reports + 1] = report end }))
    assert.same({ { progress = 1, total = 2, message = "m" }, { progress = 2, total = 2, message = "m" } }, reports)
  end)

  it("fails when what comes is not a response in JSON, and the next one does not", function()
    local client = connect [[
      local n = 0
      on["tools/call"] = function(id)
        n = n + 1
        local mine = '{"jsonrpc":"2.0","id":' .. id
        if n == 1 then send(mine .. ',"result":{') end
        if n == 2 then send(("["):rep(200) .. ("]"):rep(200)) end
        if n == 3 then send(mine .. "}") end
        if n == 4 then send(mine .. ',"result":"text"}') end
        if n == 5 then send(mine .. ',"error":null,"result":{"content":[7]}}') end
        if n == 6 then
          send '{"jsonrpc":"2.0","id":"x","error":{}}'
          send "Hello\n\n"
          send '{"jsonrpc":"2.0","id":99,"result":{}}'
          send("[" .. mine .. ',"result":{"content":[]}}]') -- a batch
        end
        if n == 7 then result('"' .. id .. '"', '{"content":[8]}') end
      end
    ]]
    local _, message, err = client:call "a"
    assert.equal("protocol", err.kind)
    assert.truthy(message:find('"jsonrpc":"2.0"', 1, true))
    assert.equal("too_large", select(3, client:call "a").kind)
    assert.equal("protocol", select(3, client:call "a").kind)
    assert.equal("protocol", select(3, client:call "a").kind)
    assert.same({ 7 }, client:call("a").content)
    assert.same({}, client:call("a").content)
    assert.same({ 8 }, client:call("a").content)
  end)

  it("is bounded in bytes", function()
    local client = connect('on["tools/call"] = function(id) result(id, \'"\' .. ("x"):rep(5000) .. \'"\') end',
      { limits = { message_bytes = 4000 } })
    assert.equal("too_large", select(3, client:call "a").kind)
    assert.equal("too_large", select(3, client:call("a", { text = ("x"):rep(5000) })).kind)
    assert.equal("encode", select(3, client:call("a", { text = "\255" })).code)
  end)

  it("ends when the server dies; the next one starts it again, a few times", function()
    local client = connect 'on["tools/call"] = function() note "out of luck" os.exit(7) end'
    for i = 1, 4 do
      local _, message, err = client:call "a"
      assert.equal("network", err.kind)
      assert.equal("server_exited", err.code, message)
      assert.truthy(message:find("(exit status 7)", 1, true), i)
      assert.truthy(message:find("out of luck", 1, true))
    end
    local _, message, err = client:call "a"
    assert.equal("restarts", err.code)
    assert.truthy(message:find("out of luck", 1, true))
  end)

  it("starts a server again that ended while nobody asked", function()
    local client = connect 'on["notifications/initialized"] = function() os.exit(0) end'
    local stop = core.now() + 2
    while client._link.state == "ready" and core.now() < stop do
      chat.wait(0.05)
      chat.step()
    end
    assert.equal("idle", client._link.state)
    assert.equal("2025-06-18", client.version)
  end)
end)

describe("what an MCP server says unasked", function()
  it("is answered where it is a ping, and refused where it is a request", function()
    local client = connect [[
      on["tools/call"] = function(id)
        local heard = {}
        for i, method in ipairs { "ping", "roots/list", "sampling/createMessage" } do
          send('{"jsonrpc":"2.0","id":"s' .. i .. '","method":"' .. method .. '"}')
          heard[i] = io.read():gsub('"', "'")
        end
        result(id, '{"content":[{"type":"text","text":"' .. table.concat(heard, "|") .. '"}]}')
      end
    ]]
    assert.equal("{'id':'s1','jsonrpc':'2.0','result':{}}"
      .. "|{'error':{'code':-32601,'message':'Method not found'},'id':'s2','jsonrpc':'2.0'}"
      .. "|{'error':{'code':-32601,'message':'Method not found'},'id':'s3','jsonrpc':'2.0'}", text_of(client:call "a"))
  end)

  it("goes to on_request, which may wait", function()
    local seen
    local client = connect([[
      on["initialize"] = function(id, line)
        result(id, '{"protocolVersion":"2025-06-18","capabilities":{},"instructions":"'
          .. line:match('"capabilities":(%b{})'):gsub('"', "'") .. '"}')
      end
      on["tools/call"] = function(id)
        send '{"jsonrpc":"2.0","id":7,"method":"roots/list","params":{"a":1}}'
        local one = io.read():gsub('"', "'")
        send '{"jsonrpc":"2.0","id":8,"method":"elicitation/create"}'
        local two = io.read():gsub('"', "'")
        result(id, '{"content":[{"type":"text","text":"' .. one .. "|" .. two .. '"}]}')
      end
    ]], {
      capabilities = { roots = json.object {} },
      on_request = function(method, params)
        chat.sleep(0.01)
        if method ~= "roots/list" then return nil, "not today" end
        seen = params
        return { roots = json.array { { uri = "file:///tmp" } } }
      end,
    })
    assert.equal("{'roots':{}}", client.instructions)
    local function ask() return text_of(client:call "a") end
    local expected = "{'id':7,'jsonrpc':'2.0','result':{'roots':[{'uri':'file:///tmp'}]}}"
      .. "|{'error':{'code':-32000,'message':'not today'},'id':8,'jsonrpc':'2.0'}"
    assert.equal(expected, ask())
    assert.same({ a = 1 }, seen)
    assert.equal(expected, chat.spawn(ask):wait())
  end)

  it("goes to the log", function()
    local log = {}
    local client = connect([[
      on["tools/call"] = function(id)
        send 'Listening on stdio'
        send('{"jsonrpc":"2.0","method":"notifications/message",'
          .. '"params":{"level":"warning","data":{"a":1},"logger":"l"}}')
        send '{"jsonrpc":"2.0","method":"notifications/other"}'
        result(id, '{"content":[]}')
      end
    ]], { log = function(level, event, fields) log[#log + 1] = { level, event, fields } end })
    assert(client:call "a")
    assert.same({ "info", "mcp_ready", { version = "2025-06-18", server = "play" } }, log[1])
    assert.same({ "warn", "mcp_stray", { text = "Listening on stdio" } }, log[2])
    assert.same({ "warning", "mcp_message", { logger = "l", data = { a = 1 } } }, log[3])
    assert.equal("mcp_notification", log[4][2])
  end)

  it("makes the tools be listed again when they changed", function()
    local client = connect [[
      local n = 0
      on["tools/list"] = function(id)
        n = n + 1
        result(id, '{"tools":[{"name":"t' .. n .. '","inputSchema":{"type":"object"}}]}')
      end
      on["tools/call"] = function(id)
        send '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
        result(id, '{"content":[]}')
      end
    ]]
    assert.equal("t1", client:tools()[1].name)
    assert.equal("t1", client:tools()[1].name)
    assert(client:call "a")
    assert.equal("t2", client:tools()[1].name)
  end)

  it("is asked for more where the newest revision needs it", function()
    local code = [[
      on["server/discover"] = function(id) result(id, '{"supportedVersions":["2026-07-28"],"capabilities":{}}') end
      on["tools/call"] = function(id, line)
        local given = line:match '"inputResponses":(%b{})'
        if not given then
          return result(id, '{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create",'
            .. '"params":{"message":"Name?"}}},"requestState":"s 1"}')
        end
        local state = line:match '"requestState":"([^"]*)"'
        result(id, ('{"resultType":"complete","content":[{"type":"text","text":%q}]}'):format(given .. state))
      end
    ]]
    local client = connect(code, { on_request = function(method, params)
      return { action = "accept", content = { name = method .. params.message } }
    end })
    local given = '{"who":{"action":"accept","content":{"name":"elicitation/createName?"}}}s 1'
    assert.equal(given, text_of(client:call "a"))
    client = connect(code)
    local _, message, err = client:call "a"
    assert.equal("protocol", err.kind)
    assert.equal("input_required", err.code)
    assert.truthy(message:find("elicitation/create", 1, true))
  end)
end)

describe("an MCP server's tools", function()
  local LIST = [[
    on["tools/list"] = function(id, line)
      if line:find '"cursor"' then
        return result(id, '{"tools":[{"name":"a_b","inputSchema":{"type":"object"}},{"name":"broken"},'
          .. '{"nothing":1},7]}')
      end
      result(id, '{"nextCursor":"2","tools":[{"name":"a.b","title":"T","description":"D",'
        .. '"inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}},"annotations":{"readOnlyHint":true}},'
        .. '{"name":"' .. ("x"):rep(80) .. '","title":"T","inputSchema":{"type":"object"}}]}')
    end
  ]]

  it("are tools of a session, under names that a model may say", function()
    local log = {}
    local client = connect(LIST, { log = function(_, event, fields) log[event] = fields end })
    local tools = assert(client:tools())
    assert.equal(3, #tools)
    assert.same({ "a_b", ("x"):rep(64), "a_b_2" }, { tools[1].name, tools[2].name, tools[3].name })
    assert.equal("D", tools[1].description)
    assert.equal("T", tools[2].description)
    assert.equal("mcp", tools[1].source)
    assert.is_true(tools[1].approve)
    assert.is_true(tools[1].annotations.readOnlyHint)
    assert.equal('{"properties":{},"type":"object"}', json.encode(tools[2].definition["function"].parameters))
    assert.equal("integer", tools[1].definition["function"].parameters.properties.n.type)
    assert.equal('{"n":2}', tools[1].run { n = 2 })
    assert.truthy(log.mcp_tool)
  end)

  it("are chosen, named and approved as the caller says", function()
    local client = connect(LIST, { include = { "a.b", "a_b" }, exclude = { "a_b" }, prefix = "s1-", approve = false })
    local tools = assert(client:tools())
    assert.equal(1, #tools)
    assert.equal("s1-a_b", tools[1].name)
    assert.is_false(tools[1].approve)
    local function rule() return true end
    client = connect(LIST, { approve = rule })
    assert.equal(rule, client:tools()[1].approve)
  end)

  it("are bounded in number", function()
    local client = connect(LIST, { limits = { items = 3 } })
    local tools, _, err = client:tools()
    assert.is_nil(tools)
    assert.equal("too_large", err.kind)
    client = connect([[
      local n = 0
      on["tools/list"] = function(id) n = n + 1 result(id, '{"tools":[],"nextCursor":"' .. n .. '"}') end
    ]], { limits = { pages = 5 } })
    assert.equal("too_large", select(3, client:tools()).kind)
  end)

  it("are none where the server has none", function()
    local client = connect 'on["initialize"] = function(id) result(id, \'{"protocolVersion":"2024-11-05"}\') end'
    assert.same({}, client:tools())
    assert.same({}, client:resources())
    assert.same({}, client:resource_templates())
    assert.same({}, client:prompts())
  end)

  it("give results as content of a message", function()
    local client = connect [[
      local function block(text) return '{"type":"text","text":"' .. text .. '"}' end
      local answers = {
        text = '{"content":[' .. block "a" .. "," .. block "b" .. ']}',
        image = '{"content":[' .. block "see" .. ',{"type":"image","data":"AAAA","mimeType":"image/png"}]}',
        audio = '{"content":[{"type":"audio","data":"AAAA","mimeType":"audio/wav"}]}',
        resource = '{"content":[{"type":"resource","resource":{"uri":"a:1","text":"hi"}},'
          .. '{"type":"resource","resource":{"uri":"a:2","blob":"AAAA","mimeType":"application/zip"}},'
          .. '{"type":"resource_link","uri":"a:3","name":"n","description":"d"}]}',
        data = '{"content":[],"structuredContent":{"b":1,"a":[]}}',
        both = '{"content":[' .. block "words" .. '],"structuredContent":{"b":1}}',
        wrong = '{"isError":true,"content":[' .. block "no such city" .. ']}',
        empty = '{"content":[]}',
        odd = '{"content":[{"type":"new","x":1}]}',
      }
      on["tools/list"] = function(id)
        local list = {}
        for name in pairs(answers) do list[#list + 1] = '{"name":"' .. name .. '","inputSchema":{"type":"object"}}' end
        result(id, '{"tools":[' .. table.concat(list, ",") .. ']}')
      end
      on["tools/call"] = function(id, line) result(id, answers[line:match '"name":"(%a+)"']) end
    ]]
    local tools = {}
    for _, tool in ipairs(client:tools()) do tools[tool.name] = tool end
    assert.equal("a\nb", tools.text.run {})
    assert.same({
      { type = "text", text = "see" }, { type = "image_url", image_url = { url = "data:image/png;base64,AAAA" } },
    }, tools.image.run {})
    assert.same({ { type = "input_audio", input_audio = { data = "AAAA", format = "wav" } } }, tools.audio.run {})
    assert.equal("[a:1]\nhi\n[a:2: application/zip, 3 bytes that cannot be shown]\nn: a:3\nd", tools.resource.run {})
    assert.equal('{"a":[],"b":1}', tools.data.run {})
    assert.equal("words", tools.both.run {})
    assert.same({ nil, "no such city", n = 2 }, { n = 2, tools.wrong.run {} })
    assert.equal("", tools.empty.run {})
    assert.equal('{"type":"new","x":1}', tools.odd.run {})
  end)
end)

describe("an MCP server's resources and prompts", function()
  it("are listed, read and filled in", function()
    local client = connect [[
      on["resources/list"] = function(id) result(id, '{"resources":[{"uri":"a:1","name":"one"}]}') end
      on["resources/templates/list"] = function(id)
        result(id, '{"resourceTemplates":[{"uriTemplate":"a:{n}","name":"any"}]}')
      end
      on["resources/read"] = function(id, line)
        result(id, '{"contents":[{"uri":"' .. line:match '"uri":"([^"]+)"' .. '","text":"hi"}]}')
      end
      on["prompts/list"] = function(id)
        result(id, '{"prompts":[{"name":"p","arguments":[{"name":"n","required":true}]}]}')
      end
      on["prompts/get"] = function(id, line)
        local n = line:match '"n":"(%d+)"'
        result(id, '{"messages":[{"role":"user","content":{"type":"text","text":"n is ' .. n .. '"}},'
          .. '{"role":"user","content":{"type":"image","data":"AAAA","mimeType":"image/gif"}},'
          .. '{"role":"assistant","content":{"type":"text","text":"yes"}},{"role":"system","content":{}}]}')
      end
    ]]
    assert.same({ { uri = "a:1", name = "one" } }, client:resources())
    assert.same({ { uriTemplate = "a:{n}", name = "any" } }, client:resource_templates())
    assert.same({ { uri = "a:2", text = "hi" } }, client:read "a:2")
    assert.equal("n", client:prompts()[1].arguments[1].name)
    assert.same({
      { role = "user", content = "n is 4" },
      { role = "user", content = { { type = "image_url", image_url = { url = "data:image/gif;base64,AAAA" } } } },
      { role = "assistant", content = "yes" },
    }, client:prompt("p", { n = 4 }))
  end)
end)

describe("an MCP client", function()
  it("ends the server by the end of its stdin", function()
    local path = os.tmpname()
    local client = connect(("over = function() local f = io.open(%q, 'w') f:write 'bye' f:close() end"):format(path))
    client:close()
    local file = assert(io.open(path))
    assert.equal("bye", file:read "*a")
    file:close()
    os.remove(path)
    client:close()
    assert.has_error(function() client:call "a" end, "the MCP client is closed")
  end)

  it("ends the calls under way as canceled when it is closed", function()
    local client = connect 'on["tools/call"] = function() end'
    local task = chat.spawn(function() return client:call "never" end)
    chat.step()
    client:close()
    local _, _, err = task:wait()
    assert.equal("canceled", err.kind)
  end)

  it("ends the server while the host's loop turns where it may not wait", function()
    local client = connect()
    clients = {}
    local allow = wait.forbid "a game"
    client:close()
    local ended = client._link.transport
    local stop = core.now() + 2
    while client._link.transport and core.now() < stop do chat.step() end
    allow()
    assert.truthy(ended)
    assert.is_nil(client._link.transport)
  end)

  it("ends the server although the task that closes it is canceled", function()
    local client = connect 'over = function() os.execute "sleep 0.1" end'
    clients = {}
    local task = chat.spawn(function() client:close() end)
    chat.step()
    task:cancel()
    task:wait()
    local stop = core.now() + 2
    while client._link.transport and core.now() < stop do
      chat.wait(0.05)
      chat.step()
    end
    assert.is_nil(client._link.transport)
  end)

  it("that is forgotten lets the server end", function()
    connect():tools()
    clients = {}
    for _ = 1, 3 do
      collectgarbage()
      chat.step()
    end
  end)

  it("is refused with options that are not right", function()
    assert.has_error(function() mcp.connect {} end)
    assert.has_error(function() mcp.connect { command = { "a" }, url = "http://a" } end)
    assert.has_error(function() mcp.connect { command = {} } end)
    assert.has_error(function() mcp.connect { comand = { "a" } } end)
    assert.has_error(function() mcp.connect { command = { "a" }, timeout = "1" } end)
    assert.equal("config", select(3, mcp.connect { command = { "a" }, timeout = 0 }).kind)
    assert.equal("config", select(3, mcp.connect { url = "ftp:x" }).kind)
    local client = connect()
    assert.has_error(function() client:call() end)
    assert.has_error(function() client:call("a", {}, { tiemout = 1 }) end)
    assert.has_error(function() client:read() end)
    assert.truthy(tostring(client):find("ready", 1, true))
  end)
end)

describe("a session with the tools of an MCP server", function()
  local bot

  after_each(function()
    bot:close()
    bot = nil
  end)

  it("runs them for the model, once a person has agreed", function()
    bot = script.serve { { calls = { { "s_echo", '{"city":"Köln"}' }, { "s_echo", "{}" } } }, "It is warm." }
    local asked = {}
    local client = connect("", { prefix = "s_" })
    local session = assert(chat.new {
      base_url = bot.url, api_key = false, tools = client:tools(),
      approve = function(call)
        asked[#asked + 1] = call.arguments
        return call.arguments ~= "{}"
      end,
    })
    assert.equal("It is warm.", assert(session:send "How is it?").text)
    assert.same({ '{"city":"Köln"}', "{}" }, asked)
    local results = {}
    for _, message in ipairs(bot.bodies[2].messages) do
      if message.role == "tool" then results[#results + 1] = message.content end
    end
    assert.equal('{"city":"Köln"}', results[1])
    assert.truthy(results[2]:find("did not allow", 1, true))
    assert.equal("s_echo", bot.bodies[1].tools[1]["function"].name)
  end)

  it("is what examples/mcp.lua shows", function()
    bot = script.serve { { calls = { { "echo", '{"a":1}' } } }, "done" }
    local lines, out = { "please", "y", "" }, {}
    local own = setmetatable({ new = function(options)
      options.base_url, options.api_key = bot.url, false
      return chat.new(options)
    end }, { __index = chat })
    local environment = setmetatable({
      arg = { LUA, "spec/support/mcp_server.lua" },
      require = function(name) return name == "oaichat" and own or require(name) end,
      io = {
        read = function() return table.remove(lines, 1) end,
        write = function(...)
          for i = 1, select("#", ...) do out[#out + 1] = select(i, ...) end
        end,
      },
    }, { __index = _G })
    assert(loadfile("examples/mcp.lua", "t", environment))()
    assert.equal('tools: echo\n> run echo {"a":1} ? [y/N] done\n> ', table.concat(out))
  end)
end)
