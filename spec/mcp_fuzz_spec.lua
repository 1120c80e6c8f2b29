--- MCP against a server that answers by chance: words of the protocol in shapes that
-- it does not have. Whatever comes, a call gives its result or an err, and nothing
-- is left behind. The seeds are fixed; SEED=n plays another.

local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local mcp = require "oaichat.mcp"
local testing = require "oaichat.testing"

local WORDS = {
  "tools", "name", "inputSchema", "content", "type", "text", "image", "resource", "uri", "data", "mimeType", "messages",
  "role", "user", "isError", "structuredContent", "nextCursor", "capabilities", "protocolVersion", "supportedVersions",
  "2026-07-28", "2025-11-25", "resultType", "input_required", "inputRequests", "method", "params", "id", "jsonrpc",
  "2.0", "error", "code", "message", "result", "object", "properties", "x-mcp-header", "ttlMs", "prompts", "resources",
  "contents", "_meta", "annotations", "description", "title", "notifications/progress", "progressToken",
  "notifications/message", "roots/list", "ping", "complete", "supported", "required", "enum", "listChanged",
}

local ABLE = { tools = json.object {}, prompts = json.object {}, resources = json.object {} }
local RIGHT = {
  ["initialize"] = { protocolVersion = "2025-11-25", capabilities = ABLE },
  ["server/discover"] = { supportedVersions = { "2026-07-28" }, capabilities = ABLE },
  ["tools/list"] = { tools = { { name = "a", inputSchema = { type = "object" } } } },
  ["tools/call"] = { content = { { type = "text", text = "x" } } },
}

local state

local function chance(n)
  state = (state * 1103515245 + 12345) % 2147483648
  return math.floor(state / 65536) % n + 1
end

local function value(depth)
  local kind = chance(depth > 3 and 6 or 9)
  if kind == 1 then return json.null end
  if kind == 2 then return chance(2) == 1 end
  if kind == 3 then return chance(5) - 1 end
  if kind == 4 then return -32000 - chance(30) end
  if kind <= 6 then return WORDS[chance(#WORDS)] end
  local out = kind == 7 and json.array {} or json.object {}
  for i = 1, chance(6) - 1 do out[kind == 7 and i or WORDS[chance(#WORDS)]] = value(depth + 1) end
  return out
end

-- What the method promises, mostly, with a member that is not so.
local function result_of(method)
  local out = json.object {}
  for name, right in pairs(RIGHT[method] or {}) do out[name] = right end
  for _ = 1, chance(4) - 1 do out[WORDS[chance(#WORDS)]] = value(1) end
  if chance(3) > 1 then return out end
  local names = {}
  for name in pairs(out) do names[#names + 1] = name end
  table.sort(names)
  if names[1] then out[names[chance(#names)]] = value(0) end
  return out
end

local function message_for(request)
  local out = json.object { jsonrpc = "2.0", id = request.id }
  if chance(8) == 1 then out.id = value(2) end
  if chance(6) == 1 then out.error = value(1) else out.result = result_of(request.method) end
  if chance(10) == 1 then out.method, out.params = WORDS[chance(#WORDS)], value(1) end
  return out
end

local function answer(request, response)
  if request.method ~= "POST" then return response:body(chance(2) == 1 and 405 or 200, "") end
  local asked = request:json()
  if asked.id == nil or not asked.method then return response:body(202, "") end
  if chance(8) == 1 then
    return response:json(({ 400, 404, 500, 401, 202 })[chance(5)], message_for(asked))
  elseif chance(3) > 1 then
    return response:json(200, message_for(asked), { ["Mcp-Session-Id"] = chance(2) == 1 and "s" or false })
  end
  for _ = 1, chance(3) do
    response:event(chance(3) > 1 and message_for(asked) or assert(json.encode(value(0))), chance(9) + 1)
  end
  if chance(4) == 1 then response:close() else response:finish() end
end

local function is_outcome(result, message, err)
  if result ~= nil then return end
  assert(type(message) == "string" and err.kind and err.message == message)
end

local function visit(url)
  local client, message, err = mcp.connect {
    url = url, timeout = 0.1, start_timeout = 0.2, log = function() end,
    on_request = chance(2) == 1 and function() return {} end or nil,
  }
  is_outcome(client, message, err)
  if not client then return end
  local tools
  tools, message, err = client:tools()
  is_outcome(tools, message, err)
  for _, tool in ipairs(tools or {}) do tool.run { a = 1 } end
  is_outcome(client:call("a", {}, { on_progress = function() end }))
  is_outcome(client:prompt "x")
  is_outcome(client:read "y")
  for _, method in ipairs { "prompts", "resources", "resource_templates", "ping" } do
    is_outcome(client[method](client))
  end
  client:close()
end

describe("an MCP client", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("gives a result or an err, whatever the server says", function()
    local server = assert(testing.server(answer))
    for seed = 1, 60 do
      state = tonumber(os.getenv "SEED") or seed
      local ok, why = pcall(visit, server.url)
      assert.is_true(ok, ("SEED=%d: %s"):format(seed, tostring(why)))
    end
    server:close()
    assert.same({}, server.errors)
  end)
end)
