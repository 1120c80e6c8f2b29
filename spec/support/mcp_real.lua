--- mcp_real: our MCP client against servers that are not ours (mcp.sh starts them):
--   mcp_real.lua everything URL | everything COMMAND...   @modelcontextprotocol/server-everything
--   mcp_real.lua newest URL | newest COMMAND...           mcp_newest.mjs, on the official SDK

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local mcp = require "oaichat.mcp"

local which, target = arg[1], { select(2, (table.unpack or unpack)(arg)) }
local checks = 0

local function check(value, message)
  checks = checks + 1
  return assert(value, message)
end

local function open(options)
  if target[1]:find "^http" then options.url = target[1] else options.command = target end
  return check(mcp.connect(options))
end

local function by_name(list)
  local out = {}
  for _, item in ipairs(list) do out[item.name] = item end
  return out
end

local function text_of(result)
  return result.content[1].text
end

local function progress_of(client, name, args, expected)
  local reports = {}
  check(client:call(name, args, { on_progress = function(report) reports[#reports + 1] = report.progress end }))
  check(#reports == expected and reports[expected] == expected, "progress: " .. #reports)
end

-- A call that is cut short, by time and by its task, leaves the client as it was.
local function cut_short(client, name, args)
  local result, _, err = client:call(name, args, { timeout = 0.2 })
  check(not result and err.kind == "timeout")
  local task = chat.spawn(function() return client:call(name, args) end)
  chat.step()
  chat.sleep(0.1)
  task:cancel()
  result, _, err = task:wait()
  check(not result and err.kind == "canceled")
  check(client:ping() == true)
end

local everything = {}

function everything.tools(client)
  local tools = by_name(check(client:tools()))
  check(tools.echo and tools.echo.approve == true and tools["get-sum"])
  check(text_of(client:call("echo", { message = "héllo" })) == "Echo: héllo")
  check(tools["get-sum"].run { a = 2, b = 3 } == "The sum of 2 and 3 is 5.")
  local image = tools["get-tiny-image"].run {}
  check(image[2].image_url.url:find "^data:image/png;base64,iVBOR")
  check(json.decode(tools["get-structured-content"].run { location = "Chicago" }).temperature)
  check(tools["get-resource-links"].run { count = 2 }:find("demo://resource/", 1, true))
  check(tools["get-resource-reference"].run { resourceType = "Text", resourceId = 1 }:find("plaintext", 1, true))
  check(check(client:call("echo", {})).isError)
  check(not tools.echo.run {})
  check(select(2, tools.echo.run {}):find "message")
end

function everything.long(client)
  progress_of(client, "trigger-long-running-operation", { duration = 0.4, steps = 4 }, 4)
  cut_short(client, "trigger-long-running-operation", { duration = 3, steps = 3 })
  local began, functions = core.now(), {}
  for i = 1, 5 do
    functions[i] = function() return client:call("trigger-long-running-operation", { duration = 0.5, steps = 1 }) end
  end
  local results, errs = chat.gather(functions)
  check(#results == 5 and not next(errs))
  check(core.now() - began < 2, "five calls at a time")
end

function everything.rest(client)
  local resources = check(client:resources())
  check(check(client:read(resources[1].uri))[1].text)
  check(check(client:read "demo://resource/dynamic/blob/1")[1].blob)
  check(not client:read "demo://no/such")
  check(#check(client:resource_templates()) == 2)
  local prompts = by_name(check(client:prompts()))
  check(prompts["args-prompt"].arguments[1].required)
  local messages = check(client:prompt("args-prompt", { city = "Paris", state = "TX" }))
  check(messages[1].role == "user" and messages[1].content:find "Paris, TX")
  check(check(client:prompt("resource-prompt", { resourceType = "Text", resourceId = 1 }))[2].content:find "plaintext")
  check(not client:prompt "args-prompt")
end

-- The server asks back, and our answer takes its time.
function everything.questions()
  local asked = {}
  local client = open {
    capabilities = { sampling = json.object {}, elicitation = json.object {} },
    on_request = function(method)
      asked[#asked + 1] = method
      chat.sleep(0.05)
      if method == "elicitation/create" then return { action = "decline" } end
      return { role = "assistant", model = "m", content = { type = "text", text = "sampled words" } }
    end,
  }
  local tools = by_name(check(client:tools()))
  check(tools["trigger-sampling-request"].run { prompt = "hi", maxTokens = 10 }:find "sampled words")
  check(tools["trigger-elicitation-request"].run {})
  check(asked[1] == "sampling/createMessage" and asked[2] == "elicitation/create")
  client:close()
end

function everything.run(client)
  check(client.version == "2025-11-25" and client.instructions)
  everything.tools(client)
  everything.long(client)
  everything.rest(client)
  everything.questions()
end

local newest = {}

function newest.run(client)
  check(client.version == "2026-07-28" and client.server.name == "newest")
  local tools = by_name(check(client:tools()))
  check(tools.echo.run { text = "héllo", times = 2 } == "héllohéllo") -- the SDK compares headers with the body
  check(check(client:call("echo", { text = " x ", times = 1 })).content[1].text == " x ")
  progress_of(client, "slow", { steps = 3 }, 3)
  cut_short(client, "slow", { steps = 30 })
  check(text_of(check(client:call("ask", {}))) == "hello Ann")
  check(not client:call("nothing", {}) or client:call("nothing", {}).isError)
end

local kinds = { everything = everything, newest = newest }
local client = open {
  capabilities = which == "newest" and { elicitation = json.object { form = json.object {} } } or nil,
  on_request = which == "newest" and function() return { action = "accept", content = { name = "Ann" } } end or nil,
}
kinds[which].run(client)
client:close()
collectgarbage()
collectgarbage()
for class, n in pairs(core.live()) do check(class == "oaichat.engine" or n == 0, class) end
print(("%s, %s, %s: %d checks"):format(which, client.version, client._url and "HTTP" or "stdio", checks))
