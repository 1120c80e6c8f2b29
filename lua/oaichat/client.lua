--- client: the endpoints of the API besides conversations, made of client/endpoints.lua:
--- client.models:list(), client.files:create { … }, client:request("GET", "/models").
--- Each call blocks or yields as session:send does, with the same attempts, limits, errors.

local answers = require "oaichat.client.answer"
local attempts = require "oaichat.attempts"
local core = require "oaichat.core"
local endpoints = require "oaichat.client.endpoints"
local errors = require "oaichat.errors"
local events = require "oaichat.client.events"
local json = require "oaichat.json"
local keys = require "oaichat.keys"
local options = require "oaichat.options"
local pages = require "oaichat.client.pages"
local providers = require "oaichat.providers"
local requests = require "oaichat.client.request"
local loop = require "oaichat.loop.default"
local settings = require "oaichat.settings"
local transfers = require "oaichat.transfer"
local wait = require "oaichat.wait"
local wires = require "oaichat.wires"

local M = {}

--- Attempts besides the first (the official SDKs' number).
M.RETRIES = 2

local KNOWN = { engine = "table", deadline = "number", retry = settings.NEW.retry, idempotency = "boolean",
  log = "function", hooks = settings.NEW.hooks, provider = "string", azure = settings.NEW.azure }
for _, name in ipairs(settings.CORE) do KNOWN[name] = settings.NEW[name] end

local CALL = { timeouts = settings.NEW.timeouts, deadline = "number", headers = "table", retry = settings.NEW.retry,
  idempotency = "boolean", progress = "function", to = "string|function" }
local REQUEST = { query = "table", body = "table|string", form = "table", stream = "boolean", result = "string" }
for name, kind in pairs(CALL) do REQUEST[name] = kind end

--- What is more than one request, by group and method: loaded when it is called.
local MORE = {
  ["embeddings.create"] = "oaichat.client.embeddings", ["batches.run"] = "oaichat.client.batches",
  ["batches.submit"] = "oaichat.client.batches", ["batches.wait"] = "oaichat.client.batches",
  ["batches.results"] = "oaichat.client.batches", ["uploads.file"] = "oaichat.client.uploads",
}

local NONE = {}

--- @class oaichat.Client
local Client = {}

-- ---- one request -----------------------------------------------------------------

-- The session of the core for a kind of answer; the key stays in it.
local function core_of(client, kind)
  local wire = (kind == "json" or kind == "events") and "json" or "raw"
  local known = client._cores[wire]
  if known then return known end
  local own = { wire = wire, path = "", key_of = client._cores.json }
  for name, value in pairs(client._core_options) do own[name] = value end
  if own.api_key == nil and not client._cores.json then own.key_of = nil end
  own.key_later = keys.sources[client._cores.json or false] and true -- it may not have been asked for yet
  local made, why = keys.open(own)
  if made then
    client._cores[wire] = made
    if client._cores.json then keys.share(made, client._cores.json) end
  end
  return made, why
end

local function call_of(client, ask, opts, sink)
  local own, call = client._options, nil
  local kind = ask.stream and "events" or sink and "file" or ask.result
  local deadline = opts.deadline or own.deadline
  local session = assert(core_of(client, kind)) -- what `new` has tried; nil: no memory
  call = attempts.new(session, ask.parts, {
    engine = client._engine, origin = client._origin, stream = ask.stream, method = ask.method, path = ask.path,
    form = ask.form, sink = sink, progress = opts.progress, timeouts = opts.timeouts, headers = opts.headers,
    stop_at = deadline and core.now() + deadline, retries = (opts.retry or own.retry or NONE).max or M.RETRIES,
    idempotency = opts.idempotency or own.idempotency, log = own.log, hooks = own.hooks,
    read = function(raw, _, facts)
      local value, wrong = answers[kind](raw, call)
      return { value, facts, wrong }
    end,
  })
  return call
end

local function drive(call)
  call:drain()
  while call:pause() and call:again() do call:drain() end
end

-- Reads a call to its end; whatever is raised on the way closes it first.
local function complete(call, sink)
  local begun, ok, why, err = wait.pcall(call.begin, call)
  if not begun then
    if sink and sink.drop then sink:drop() end
    error(ok, 0)
  end
  if ok then
    local fine, raised = wait.pcall(drive, call)
    local answer
    if not fine then call:cancel() end
    answer, why, err = call:result()
    if answer and answer[1] == nil then
      answer, why, err = errors.fail(answer[3]
        or { kind = "protocol", code = "bad_response", message = "the server's answer cannot be decoded" })
    end
    if answer and fine and sink and sink.finish then
      ok, why, err = sink:finish()
      if ok then return answer[1], answer[2] end
    elseif sink and sink.drop then
      sink:drop()
    end
    if not fine then error(raised, 0) end
    if answer and not err then return answer[1], answer[2] end
  elseif sink and sink.drop then
    sink:drop()
  end
  return nil, why, err
end

--- Sends a request that is ready. Waits, but for one that streams.
--- @param ask table method, path, parts, form, stream, result
--- @param opts table
function Client:_send(ask, opts)
  local wrong = options.bad_number(opts.timeouts, "timeouts.", true) or options.bad_number(opts.retry, "retry.")
    or options.bad_number({ deadline = opts.deadline }, "", true)
  if wrong then return errors.fail { kind = "config", code = "config", message = wrong } end
  if ask.stream then
    local call = call_of(self, ask, opts)
    local ok, why, err = call:begin()
    if not ok then return nil, why, err end
    return events.new(call)
  end
  local sink, why, err
  if opts.to then
    sink, why, err = transfers.receiver(opts.to)
    if not sink then return nil, why, err end
  end
  return complete(call_of(self, ask, opts, sink), sink)
end

-- ---- an endpoint -----------------------------------------------------------------

local function streams(endpoint, params)
  if type(endpoint.stream) ~= "string" then return endpoint.stream and params.stream == true end
  local name, value = endpoint.stream:match "^(.-)=(.*)$"
  return params[name] == value
end

-- The body, or the query, of parameters.
local function fill(ask, endpoint, params)
  local why, err
  if endpoint.files then
    ask.form, why, err = requests.form(params, endpoint.files)
    return ask.form, why, err
  elseif endpoint.method == "POST" then
    ask.parts[1], why, err = json.encode(next(params) ~= nil and params or json.object {})
    return ask.parts[1], why, err
  end
  local query
  query, why, err = requests.query(params)
  if query then ask.path = ask.path .. query end
  return query, why, err
end

--- Calls an endpoint of the table.
--- @param endpoint oaichat.Endpoint
--- @param ids string[]
--- @param params table
--- @param opts table
--- @param way table|nil how far a list has been gone through: see pages
--- @return any value, any facts request_id, attempts, ratelimit; or nil, message, err
function Client:_call(endpoint, ids, params, opts, way)
  local ok, why, err = requests.check(endpoint, params)
  if not ok then return nil, why, err end
  local path
  path, why, err = requests.path(endpoint, ids)
  if not path then return nil, why, err end
  local ask = {
    method = endpoint.method, path = path, parts = { "" }, stream = streams(endpoint, params), result = endpoint.result,
  }
  ok, why, err = fill(ask, endpoint, params)
  if not ok then return nil, why, err end
  local value, facts
  value, facts, err = self:_send(ask, opts)
  if value ~= nil and not ask.stream and endpoint.result == "json" and type(value) ~= "table" then
    return errors.fail {
      kind = "protocol", code = "bad_response",
      message = ("%s:%s: the server's answer is no JSON object"):format(endpoint.group, endpoint.name),
    }
  end
  if value == nil or ask.stream or not endpoint.page then return value, facts, err end
  local function ask_more(more, on) return self:_call(endpoint, ids, more, opts, on) end
  return pages.new(value, params, ask_more, way), facts
end

local function arguments(where, ids, params, opts)
  for i = 1, ids.n do
    if type(ids[i]) ~= "string" then
      errors.misuse(("%s: %s: string expected, got %s"):format(where, ids.names[i], type(ids[i])))
    end
  end
  if params ~= nil and type(params) ~= "table" then
    errors.misuse(("%s: parameters: table expected, got %s"):format(where, type(params)))
  end
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse(("%s: options: table expected, got %s"):format(where, type(opts)))
  end
  options.check(opts or NONE, CALL)
end

-- client.group:name(id, …, params, opts)
local function method_of(client, endpoint)
  local n, where = #endpoint.ids, endpoint.group .. ":" .. endpoint.name
  return function(_, ...)
    local ids, params, opts = { n = n, names = endpoint.ids }, (select(n + 1, ...)), (select(n + 2, ...))
    for i = 1, n do ids[i] = (select(i, ...)) end
    arguments(where, ids, params, opts)
    return client:_call(endpoint, ids, params or {}, opts or NONE)
  end
end

-- ---- groups ----------------------------------------------------------------------

local function names_in(group)
  local names = {}
  for name in pairs(endpoints.groups) do
    local inner = group == "" and name or name:match("^" .. group:gsub("%.", "%%.") .. "%.(.+)$")
    if inner and not inner:find(".", 1, true) then names[#names + 1] = inner end
  end
  for name in pairs(endpoints.groups[group] or {}) do names[#names + 1] = name end
  for name in pairs(MORE) do
    local outer, inner = name:match "^(.*)%.([^.]+)$"
    if outer == group and not (endpoints.groups[group] or {})[inner] then names[#names + 1] = inner end
  end
  table.sort(names)
  return table.concat(names, ", ")
end

local group_of

-- A group, or a method, by its name within a group ("": the client itself).
local function member(client, group, name)
  local whole = group == "" and name or group .. "." .. name
  local endpoint = group ~= "" and endpoints.groups[group][name]
  local more = MORE[whole]
  if more then
    return function(_, ...) return require(more)[name](client, endpoint, ...) end
  elseif endpoint then
    return method_of(client, endpoint)
  elseif endpoints.groups[whole] then
    return group_of(client, whole)
  end
  errors.misuse(("client.%s: there is no such thing; there are: %s"):format(whole, names_in(group)))
end

function group_of(client, group)
  return setmetatable({}, {
    __index = function(own, name)
      if type(name) ~= "string" then return nil end
      local found = member(client, group, name)
      rawset(own, name, found)
      return found
    end,
    __name = "oaichat.Client." .. group,
  })
end

-- ---- the client ------------------------------------------------------------------

-- A path below the base URL; an absolute URL only where it names just that.
local function own_path(client, path)
  -- whoever reads it takes dots away, and what is before them (RFC 3986, 5.2.4)
  for segment in path:match("^[^?#]*"):gmatch "[^/]+" do
    segment = segment:gsub("%%2[eE]", ".")
    if segment == "." or segment == ".." then
      return errors.fail {
        kind = "config", code = "parameter", message = "the path has a segment of dots: it would leave base_url",
      }
    end
  end
  if not path:find "^%a[%w+.-]*:" and path:sub(1, 2) ~= "//" then
    return path:sub(1, 1) == "/" and path or "/" .. path
  end
  local base = client._base
  if path:sub(1, #base) == base and path:find("^[/?]", #base + 1) then return path:sub(#base + 1) end
  return errors.fail {
    kind = "config", code = "origin", message = "the URL is not below base_url: its server would get the key",
  }
end

--- Any request: what the table does not have.
--- @param method string GET, POST, PUT, PATCH, DELETE
--- @param path string below base_url, or an absolute URL there
--- @param opts table|nil query, body (a table is sent as JSON, a string as it is), form (a list of { name =, value = }
---   or { name =, path = | data =, filename =, type = }), stream, result ("json", "text", "bytes"), and what every
---   call takes: timeouts, deadline, headers, retry, idempotency, progress, to
--- @return any value, any facts; or nil, message, err; with stream = true oaichat.Events
function Client:request(method, path, opts)
  opts = opts or NONE
  options.check(opts, REQUEST)
  if type(method) ~= "string" or type(path) ~= "string" then
    errors.misuse "request: method and path: strings expected"
  end
  local result = opts.result or "json"
  if result ~= "json" and result ~= "text" and result ~= "bytes" then
    errors.misuse 'request: result is "json", "text" or "bytes"'
  end
  local own, why, err = own_path(self, path)
  if not own then return nil, why, err end
  local body, query = opts.body or ""
  query, why, err = requests.query(opts.query)
  if not query then return nil, why, err end
  if own:find("?", 1, true) then query = query:gsub("^%?", "&") end
  if type(body) == "table" then
    body, why, err = json.encode(body)
    if not body then return nil, why, err end
  end
  return self:_send({
    method = method, path = own .. query, parts = { body }, form = opts.form, stream = opts.stream,
    result = result,
  }, opts)
end

function Client:__index(name)
  local method = Client[name]
  if method ~= nil or type(name) ~= "string" or name:sub(1, 1) == "_" then return method end
  local found = member(self, "", name)
  rawset(self, name, found)
  return found
end

Client.__name = "oaichat.Client"

function Client:__tostring()
  return ("oaichat.Client (%s)"):format(self._origin)
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- Makes a client. Nothing is sent.
--- @param opts table|nil as chat.new: base_url, api_key, headers, timeouts, limits, retry, deadline, engine, …
--- @return oaichat.Client|nil client, string|nil message, oaichat.Error|nil err kind "config"
function M.new(opts)
  opts = opts or {}
  if type(opts) ~= "table" then errors.misuse("options: table expected, got " .. type(opts)) end
  options.check(opts, KNOWN)
  local preset
  opts, preset = providers.apply(opts)
  local wire = opts.api and wires.of(opts.api) or NONE
  local bad_key = keys.wrong(opts.api_key)
  if bad_key then errors.misuse(bad_key) end
  local wrong = options.bad_number(opts.timeouts, "timeouts.", true) or options.bad_number(opts.limits, "limits.", true)
    or options.bad_number(opts.retry, "retry.") or options.bad_number({ deadline = opts.deadline }, "", true)
  if wrong then return errors.fail { kind = "config", code = "config", message = wrong } end
  local engine = opts.engine or loop.scheduler()
  local for_core = { engine = engine.core }
  for _, name in ipairs(settings.CORE) do for_core[name] = opts[name] end
  for_core.headers = settings.headers(opts.headers, wire.headers)
  for_core.key_header = opts.key_header or wire.key_header
  for_core.base_url = opts.base_url or environment "OPENAI_BASE_URL" or "https://api.openai.com/v1"
  providers.key(for_core, preset)
  local client = setmetatable({
    _cores = {}, _core_options = for_core, _engine = engine, _base = for_core.base_url:gsub("/+$", ""),
    _options = { retry = opts.retry, deadline = opts.deadline, idempotency = opts.idempotency, log = opts.log,
      hooks = opts.hooks },
  }, Client)
  local first, why = core_of(client, "json")
  why = why or providers.missing(first, preset, keys.sources[first], opts.headers)
  if why then return errors.fail { kind = "config", code = "config", message = why } end
  client._origin = first:origin()
  -- the core has it; no table of ours keeps a secret
  for_core.api_key, for_core.key_env, for_core.key_env_url = nil, nil, nil
  return client
end

return M
