--- settings: what chat.new and session:send take, by name and type; one table for those
--- who check them (session) and those who gather them (config).

local M = {}

local TIMEOUTS = {
  connect = "number", first_byte = "number", first_content = "number", content_idle = "number", attempt = "number",
}

--- What the C core gets of chat.new's options, as it is.
M.CORE = {
  "base_url", "api_key", "allow_http", "headers", "timeouts", "limits", "ca_file", "proxy", "unix_socket",
  "client_cert", "client_key", "resolve", "http2", "redirects", "key_header",
}

--- What chat.new takes.
M.NEW = {
  api = "string", state = "string", provider = "string",
  azure = { resource = "string", deployment = "string", api_version = "string" },
  model = "string", system = "string", params = "table", messages = "table",
  base_url = "string", api_key = "string|boolean|table|function", key_header = "string", allow_http = "boolean",
  headers = "table",
  timeouts = TIMEOUTS, deadline = "number", retry = { max = "number" }, idempotency = "boolean",
  limits = {
    event_bytes = "number", response_bytes = "number", header_bytes = "number", tool_calls = "number",
    depth = "number", request_bytes = "number",
  },
  keep_partial = "boolean", schema = "table", repairs = "number",
  tools = "table|function", tool_choice = "string|table", parallel_tool_calls = "boolean", max_rounds = "number",
  max_calls = "number", tool_timeout = "number", approve = "function", on_call = "function", on_result = "function",
  ca_file = "string", proxy = "string", unix_socket = "string", client_cert = "string", client_key = "string",
  resolve = "table", http2 = "boolean", redirects = "boolean", engine = "table",
  log = "function",
  hooks = { request = "function", attempt = "function", first_content = "function", done = "function" },
  history = "table|string", id = "string", context = "table",
  fallbacks = "table", human = "function", commit = { chars = "number", seconds = "number" }, hedge = "number",
  route_wait = "number", cache = "table|boolean", limiter = "table", budget = "table", ledger = "table|boolean",
  prices = "table", user = "string",
  guards = { input = "function", output = "function", window = "number" }, moderation = "table|boolean",
}

--- Those that ask for a policy: without one of them its files are not loaded.
M.POLICY = { "fallbacks", "cache", "limiter", "budget", "ledger", "hedge", "commit" }

--- What session:send and session:stream take: some of these for one input, and more.
M.SEND = { on_event = "function", on_done = "function", meta = "table" }
for _, name in ipairs {
  "model", "params", "schema", "repairs", "tools", "tool_choice", "parallel_tool_calls", "max_rounds", "max_calls",
  "tool_timeout", "approve", "on_call", "on_result", "timeouts", "deadline", "headers", "keep_partial", "retry",
  "idempotency", "cache", "hedge", "commit",
} do
  M.SEND[name] = M.NEW[name]
end

--- Headers of a request: those that an API wants of each, and the user's, which win.
--- @param own table|nil
--- @param wanted table|nil
--- @return table|nil
function M.headers(own, wanted)
  if not wanted then return own end
  local out, said = {}, {}
  for name, value in pairs(own or {}) do
    out[name] = value
    if type(name) == "string" then said[name:lower()] = true end
  end
  for name, value in pairs(wanted) do
    if not said[name:lower()] then out[name] = value end
  end
  return out
end

return M
