--- mcp: a client of Model Context Protocol servers (modelcontextprotocol.io): their
-- tools as tools of a session, their resources and prompts. A server is a child
-- process or a URL. Calls wait as session:send does; many at a time are told apart.
--
--   local client = assert(mcp.connect { command = { "npx", "-y", "some-mcp-server" } })
--   local session = chat.new { tools = assert(client:tools()) }

local caller = require "oaichat.mcp.caller"
local content = require "oaichat.mcp.content"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local headers = require "oaichat.mcp.headers"
local json = require "oaichat.json"
local link = require "oaichat.mcp.link"
local options = require "oaichat.options"
local reactor = require "oaichat.loop.reactor"
local rpc = require "oaichat.mcp.rpc"
local task = require "oaichat.loop.task"
local tools = require "oaichat.tools"
local wait = require "oaichat.wait"

local M = {}

local OPTIONS = {
  command = "table", env = "table", cwd = "string",
  url = "string", headers = "table", api_key = "string", allow_http = "boolean", ca_file = "string", proxy = "string",
  unix_socket = "string",
  version = "string", timeout = "number", start_timeout = "number", limits = {
    message_bytes = "number", depth = "number", items = "number", pages = "number",
  },
  approve = "boolean|function", include = "table", exclude = "table", prefix = "string",
  capabilities = "table", on_request = "function", log_level = "string", log = "function", engine = "table",
}

local CALL = { timeout = "number", on_progress = "function" }

--- Seconds in which a server has to end.
local CLOSE_MAX = 5

-- Clients whose servers are about to end.
local closing = {}

local HEADER_MISMATCH = tostring(rpc.HEADER_MISMATCH)

local LIMITS = { message_bytes = 16e6, depth = 128, items = 1000, pages = 100 }

--- @class oaichat.mcp.Client
--- @field version string|nil the revision that is spoken
--- @field server table|nil name and version, as the server says
--- @field instructions string|nil the server's words on how to use it
--- @field capabilities table
local Client = {}
Client.__name = "oaichat.mcp.Client"

local FROM_LINK = { version = "version", server = "info", instructions = "instructions", capabilities = "capabilities" }

function Client.__index(client, name)
  if FROM_LINK[name] then return client._link[FROM_LINK[name]] end
  return Client[name]
end

function Client:_note(level, event, fields)
  if self._log then pcall(self._log, level, event, fields) end
end

--- Sends any request.
--- @param method string
--- @param params table|nil
--- @param opts { timeout?: number, on_progress?: function }|nil
--- @return table|nil result, string|nil message, oaichat.Error|nil err
function Client:request(method, params, opts)
  return caller.request(self, method, params, opts)
end

-- ---- lists ------------------------------------------------------------------------

-- All pages of a list.
local function pages(client, method, member)
  local list, cursor, first = {}, nil, nil
  for _ = 1, client._limits.pages do
    local result, message, err = client:request(method, cursor and { cursor = cursor })
    if not result then return nil, message, err end
    first = first or result
    for _, item in ipairs(rpc.typed(result, member, "table") or {}) do
      if type(item) == "table" then list[#list + 1] = item end
    end
    if #list > client._limits.items then break end
    local next_one = rpc.typed(result, "nextCursor", "string")
    if not next_one or next_one == cursor then return list, first end
    cursor = next_one
  end
  return errors.fail {
    kind = "too_large", code = "too_large",
    message = "the MCP server lists more than limits.items or limits.pages allow: " .. member,
  }
end

local function listed(method, member, capability)
  return function(client)
    local ok, message, err = caller.awake(client)
    if not ok then return nil, message, err end
    if not rpc.get(client.capabilities, capability) then return json.array {} end
    local list
    list, message, err = pages(client, method, member)
    if not list then return nil, message, err end
    return list
  end
end

--- @return table[]|nil resources uri, name, mimeType, description
--- @return string|nil message, oaichat.Error|nil err
Client.resources = listed("resources/list", "resources", "resources")

--- @return table[]|nil templates uriTemplate (RFC 6570), name, mimeType, description
--- @return string|nil message, oaichat.Error|nil err
Client.resource_templates = listed("resources/templates/list", "resourceTemplates", "resources")

--- @return table[]|nil prompts name, description, arguments
--- @return string|nil message, oaichat.Error|nil err
Client.prompts = listed("prompts/list", "prompts", "prompts")

-- ---- tools ---------------------------------------------------------------------------

local function merged(base, extra)
  local out = {}
  for name, value in pairs(base) do out[name] = value end
  for name, value in pairs(extra) do out[name] = value end
  return out
end

local function set_of(list)
  if not list then return nil end
  local out = {}
  for _, name in ipairs(list) do out[name] = true end
  return out
end

local function runner(client, name)
  return function(args)
    local result, message = client:_call(name, args)
    if not result then return nil, message end
    return content.of_result(result)
  end
end

local function make(client, item, taken)
  local name = rpc.typed(item, "name", "string")
  local parameters = rpc.typed(item, "inputSchema", "table")
  local mirrored, why = {}, nil
  if not name then return nil, "a tool without a name" end
  if client._include and not client._include[name] or client._exclude[name] then return nil end
  if not parameters then return nil, "no inputSchema" end
  if client._url then mirrored, why = headers.of_schema(parameters) end
  if not mirrored then return nil, why end
  client._mirrored[name] = mirrored
  -- `{ "type": "object" }` is a schema, but providers ask for the properties
  parameters = merged({ type = "object", properties = json.object {} }, parameters)
  return tools.new {
    name = content.name(client._prefix .. name, taken),
    description = rpc.typed(item, "description", "string") or rpc.typed(item, "title", "string"),
    parameters = parameters, run = runner(client, name), approve = client._approve,
    timeout = client._timeout + 5, -- the client's own is told to the server
    source = "mcp", annotations = rpc.typed(item, "annotations", "table"),
  }
end

-- Until when the list may be taken for the server's own; nil: it may not.
local function fresh_until(client, first)
  local ttl = rpc.typed(first, "ttlMs", "number")
  if ttl and ttl > 0 then return core.now() + ttl / 1000 end
  local told = rpc.get(rpc.get(client.capabilities, "tools"), "listChanged") == true
  -- a server behind a URL tells of changes on a stream that nobody holds open
  if not client._link.modern and (not told or not client._url) then return math.huge end
end

--- The server's tools, for the option `tools` of a session. Asked for again when the
--- server said that they changed.
--- @return oaichat.Tool[]|nil tools
--- @return string|nil message, oaichat.Error|nil err
function Client:tools()
  local ok, message, err = caller.awake(self)
  if not ok then return nil, message, err end
  self._reactor:pump()
  if self._tools and core.now() < self._tools_until then return merged(self._tools, {}) end
  if not rpc.get(self.capabilities, "tools") then return {} end
  self._changed = false
  local items, first
  items, first, err = pages(self, "tools/list", "tools")
  if not items then return nil, first, err end
  local list, taken = {}, {}
  for _, item in ipairs(items) do
    local tool, why = make(self, item, taken)
    list[#list + 1] = tool
    if why then self:_note("warn", "mcp_tool", { name = rpc.get(item, "name"), error = why }) end
  end
  self._tools, self._tools_until = list, not self._changed and fresh_until(self, first) or 0
  return merged(list, {})
end

function Client:_call(name, args, opts)
  opts = opts or {}
  local params = { name = name, arguments = json.object(merged(args or {}, {})) }
  local function ask()
    return self:request("tools/call", params, {
      timeout = opts.timeout, on_progress = opts.on_progress, mirrored = self._mirrored[name],
    })
  end
  local result, message, err = ask()
  if result or err.code ~= HEADER_MISMATCH or not self._url then return result, message, err end
  -- the tool is not as it was listed, or never was
  self._tools = nil
  if not self:tools() then return nil, message, err end
  return ask()
end

--- Calls a tool by the server's name for it. A tool that failed is a result with isError.
--- @param name string
--- @param args table|nil
--- @param opts { timeout?: number, on_progress?: fun(report: table) }|nil report: progress, total, message
--- @return table|nil result content, structuredContent, isError
--- @return string|nil message, oaichat.Error|nil err
function Client:call(name, args, opts)
  if type(name) ~= "string" then errors.misuse("call: name expected, got " .. type(name)) end
  options.check(opts or {}, CALL)
  return self:_call(name, args, opts)
end

-- ---- resources and prompts -------------------------------------------------------------

--- Reads a resource.
--- @param uri string
--- @return table[]|nil contents each { uri, mimeType, text } or { uri, mimeType, blob = base64 }
--- @return string|nil message, oaichat.Error|nil err
function Client:read(uri)
  if type(uri) ~= "string" then errors.misuse("read: uri expected, got " .. type(uri)) end
  local result, message, err = self:request("resources/read", { uri = uri })
  if not result then return nil, message, err end
  return rpc.typed(result, "contents", "table") or json.array {}
end

--- A prompt, filled in, as messages for session:send or chat.new{ messages }.
--- @param name string
--- @param args table<string, string|number>|nil
--- @return table[]|nil messages
--- @return string|nil message, oaichat.Error|nil err
function Client:prompt(name, args)
  if type(name) ~= "string" then errors.misuse("prompt: name expected, got " .. type(name)) end
  local texts = json.object {}
  for key, value in pairs(args or {}) do texts[key] = tostring(value) end
  local result, message, err = self:request("prompts/get", { name = name, arguments = texts })
  if not result then return nil, message, err end
  return content.messages(result)
end

--- Whether the server answers. The newest revision has no ping: there it is asked what
--- it is.
--- @return boolean|nil true, or nil, message, err
function Client:ping()
  local ok, message, err = caller.awake(self)
  if not ok then return nil, message, err end
  ok, message, err = self:request(self._link.modern and "server/discover" or "ping")
  if not ok then return nil, message, err end
  return true
end

-- ---- life --------------------------------------------------------------------------------

--- Ends the server: a child's stdin is closed, after 2 s it gets SIGTERM, then SIGKILL;
--- a session behind a URL is deleted. Waits for that, 5 s at most, where it may; else
--- it is done while the host's loop turns. Calls under way end as canceled.
function Client:close()
  if self._closed then return end
  self._closed = true
  local gate = self._reactor:gate()
  local function over()
    closing[self] = nil
    gate:open()
  end
  closing[self] = true -- the way is not to be collected meanwhile
  self._reactor:after(CLOSE_MAX, over)
  self._link:close(over)
  local current, may_wait = task.current(), pcall(wait.allowed)
  while closing[self] and may_wait and not (current and current._canceled) do wait.ready(gate) end
  if not closing[self] then return self:_release(gate) end
  self._reactor:watch(gate.timer, function() self:_release(gate) end)
end

function Client:_release(gate)
  self._reactor:unwatch(gate.timer)
  self._link:release()
  gate:close()
end

Client.__close = Client.close

function Client:__tostring()
  return ("oaichat.mcp.Client (%s, %s)"):format(self._url or self._command[1], self._link.state)
end

local function check(opts)
  if type(opts) ~= "table" then errors.misuse("connect: table expected, got " .. type(opts)) end
  options.check(opts, OPTIONS)
  if (opts.command == nil) == (opts.url == nil) then errors.misuse "connect: either command or url expected" end
  if opts.command and type(opts.command[1]) ~= "string" then errors.misuse "connect: command is a list of strings" end
  local wrong = options.bad_number(opts, "", true) or options.bad_number(opts.limits, "limits.", true)
  if not wrong and opts.version and opts.version ~= rpc.MODERN and not rpc.LEGACY_KNOWN[opts.version] then
    wrong = "version: no such revision of the Model Context Protocol: " .. opts.version
  end
  if wrong then return errors.fail { kind = "config", code = "config", message = wrong } end
  return true
end

-- What a server must not be quoted with.
local function secret_of(opts)
  for name, value in pairs(opts.headers or {}) do
    if tostring(name):lower() == "authorization" then return tostring(value):match "%S+$" end
  end
  return opts.api_key
end

local function hooks(client)
  return {
    on_notification = function(method, params)
      if method == "notifications/tools/list_changed" then
        client._tools, client._changed = nil, true
      elseif method == "notifications/message" then
        client:_note(rpc.typed(params, "level", "string") or "info", "mcp_message", {
          logger = rpc.get(params, "logger"), data = rpc.get(params, "data"),
        })
      else
        client:_note("debug", "mcp_notification", { method = method, params = params })
      end
    end,
    on_request = function(request)
      if not client._on_request then return false end
      client._inbox[#client._inbox + 1] = request
      local call = next(client._calls)
      if call then call:ring() end
      return true
    end,
    on_log = function(level, event, fields) client:_note(level, event, fields) end,
  }
end

--- Starts a server, or finds it behind its URL, and agrees with it on a revision
--- (2026-07-28 down to 2024-11-05). Options, besides either command or url:
---   command     a list: program and arguments, no shell; env: what it gets besides HOME, PATH and the like (true: the
---               host's value); cwd
---   url         http:// or https://; headers, api_key (a bearer token), allow_http, ca_file, proxy, unix_socket
---   timeout     seconds a request (30), once the server has started; start_timeout (60)
---   approve     true: a person is asked before a tool runs (the default); false; function(call, session)
---   include, exclude   lists of the server's names of tools; prefix: before our names of them
---   on_request  function(method, params) -> result | nil, message: what a server may ask (sampling, elicitation,
---               roots), as far as `capabilities` says; called while one of our calls waits
---   limits      message_bytes (16e6), depth (128), items (1000) and pages (100) of a list
---   version     a revision: no other is tried; log_level; log(level, event, fields); engine
--- @param opts table
--- @return oaichat.mcp.Client|nil client
--- @return string|nil message, oaichat.Error|nil err
function M.connect(opts)
  local ok, message, err = check(opts)
  if not ok then return nil, message, err end
  local own, limits = merged(opts, {}), merged(LIMITS, opts.limits or {})
  own.timeout, own.start_timeout = own.timeout or 30, own.start_timeout or 60
  own.secret = secret_of(own)
  own.message_bytes, own.depth = limits.message_bytes, math.min(limits.depth, 1000)
  local approve = own.approve
  if approve == nil then approve = true end
  local client = setmetatable({
    _url = own.url, _command = own.command, _timeout = own.timeout, _limits = limits, _approve = approve,
    _include = set_of(own.include), _exclude = set_of(own.exclude) or {}, _prefix = own.prefix or "",
    _on_request = own.on_request, _log = own.log, _inbox = {}, _calls = {}, _mirrored = {},
    _reactor = reactor.new(own.engine and own.engine.core or core.engine()),
  }, Client)
  client._link = link.new(own, client._reactor, hooks(client))
  ok, message, err = caller.awake(client)
  if ok then return client end
  client:close()
  return nil, message, err
end

return M
