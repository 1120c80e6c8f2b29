-- assistant_tools: what the assistant may do: read, list and write files below one
-- folder, run a program, get a URL. Knows the folder and oaichat; asks nobody: what
-- needs a person says so (approve = true), and the session's approve asks.
--
-- Confined: paths are relative, have no "..", and are resolved by the system's own
-- `readlink -f` before they are opened, so that a symbolic link cannot lead out.
-- Not covered, as plain Lua cannot see it: a link that is changed between the check
-- and the opening, hard links, mounts. A program that you allow to run may do all that
-- you may; `get` sends what the model likes to the host that you allow.

local chat = require "oaichat"
local core = require "oaichat.core"
local wait = require "oaichat.wait"

local M = {}

--- Bytes of a file, an output or a page that the model gets to read.
local READ_MAX = 64 * 1024

-- A child gets no more of the environment: the rest may be keys.
local PASSED = { "PATH", "HOME", "LANG", "LC_ALL", "TERM", "TMPDIR", "USER" }

local function cut(text, what)
  if #text <= READ_MAX then return text end
  return text:sub(1, READ_MAX) .. ("\n[cut here: %s has more]"):format(what)
end

--- Runs a program, without a shell; other tasks go on meanwhile.
--- @param argv string[]
--- @param cwd string|nil
--- @return string|nil output, integer|string status, string stderr
local function capture(argv, cwd)
  local env = {}
  for _, name in ipairs(PASSED) do env[name] = os.getenv(name) end
  local conn, why = core.spawn { argv = argv, env = env, cwd = cwd, stderr_cap = 4096 }
  if not conn then return nil, why, "" end
  conn:shutdown() -- nothing comes on its stdin
  local parts, size = {}, 0
  local bytes, _, err = conn:read()
  while bytes do
    if bytes == "" then wait.ready(conn) end
    if size <= READ_MAX then parts[#parts + 1] = bytes end
    size = size + #bytes
    if size > 64 * READ_MAX then conn:cancel() end
    bytes, _, err = conn:read()
  end
  local status, said = conn:exit_status(), conn:stderr()
  conn:close()
  return table.concat(parts), status or err and err.message or "?", said
end

-- The real path of a name below the folder, or why not.
local function confine(root, path)
  if path == "" or path:find "[%z\1-\31\127]" then return nil, "the path is empty or has a control character" end
  if path:find "^[/~\\]" or path:find "^%a:" then return nil, "the path must be relative to the folder" end
  for part in path:gmatch "[^/\\]+" do
    if part == ".." then return nil, "the path must not have .. in it" end
  end
  local real, status = capture { "readlink", "-f", "--", root .. "/" .. path }
  real = real and real:match "^(.*)\n$"
  if not real or status ~= 0 then return nil, "there is no such folder" end
  if real ~= root and real:sub(1, #root + 1) ~= root .. "/" then return nil, "the path leads out of the folder" end
  return real
end

-- A plain file: no pipe or device, whose reading could last for ever.
local function is_file(real)
  local _, status = capture { "test", "-f", real }
  return status == 0
end

local function read_file(root, args)
  local real, why = confine(root, args.path)
  if not real then return nil, why end
  if not is_file(real) then return nil, "there is no such file" end
  local file = io.open(real, "rb")
  if not file then return nil, "the file cannot be opened" end
  local bytes = file:read(READ_MAX + 1) or ""
  file:close()
  return cut(bytes, "the file")
end

local function list_files(root, args)
  local real, why = confine(root, args.path)
  if not real then return nil, why end
  local names, status = capture { "ls", "-1Ap", "--", real }
  if not names or status ~= 0 then return nil, "there is no such folder" end
  return names == "" and "(empty)" or cut(names, "the folder")
end

local function write_file(root, args)
  local real, why = confine(root, args.path)
  if not real then return nil, why end
  local _, exists = capture { "test", "-e", real }
  if exists == 0 and not is_file(real) then return nil, "this is no plain file" end
  local file
  file, why = io.open(real, "wb")
  if not file then return nil, (why:gsub("^.*: ", "")) end
  local ok
  ok, why = file:write(args.content)
  file:close()
  if not ok then return nil, why end
  return ("%d bytes written"):format(#args.content)
end

local function run(root, args)
  local out, status, said = capture(args.argv, root)
  if not out then return nil, status end
  if status == 0 and said == "" then return cut(out, "the output") end
  return ("exit status %s\n%s%s"):format(status, cut(out, "the output"), said)
end

local function http_get(args)
  local origin, path = args.url:match "^(https?://[^/?#%s@]+)([^#]*)"
  if not origin then return nil, "the URL must begin with http:// or https://" end
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  local endpoint, why = core.new {
    base_url = origin, wire = "raw", path = "", api_key = false, allow_http = true, redirects = true,
    limits = { response_bytes = 16 * READ_MAX }, timeouts = { first_byte = 20, attempt = 50 },
  }
  if not endpoint then return nil, why end
  local exchange
  exchange, why = endpoint:send("", { method = "GET", path = path, headers = { Accept = "*/*" } })
  if not exchange then return nil, why end
  while not exchange:done() do wait.ready(exchange) end
  local reply, failure = exchange:result()
  exchange:close()
  endpoint:close()
  if failure and not reply.status then return nil, failure.detail or failure.kind end
  return ("HTTP %s\n\n%s"):format(reply.status or "?", cut(reply.body or "", "the page"))
end

--- The tools, for one folder.
--- @param folder string
--- @return oaichat.Tool[]
function M.tools(folder)
  local schema = chat.schema
  local root = assert(capture { "readlink", "-f", "--", folder }):match "^(.*)\n$"
  local function path(what) return schema.string(what .. ", relative to the folder") end
  local function within(fn)
    return function(args) return fn(root, args) end
  end
  return {
    chat.tool {
      name = "read_file", description = "Reads a text file", run = within(read_file),
      parameters = schema.object { path = path "The file" },
    },
    chat.tool {
      name = "list_files", description = "Lists a folder; folders end with /", run = within(list_files),
      parameters = schema.object { path = path "The folder, . for the top" },
    },
    chat.tool {
      name = "write_file", description = "Writes a text file, replacing what it has", run = within(write_file),
      approve = true, parameters = schema.object { path = path "The file", content = schema.string "All of its text" },
    },
    chat.tool {
      name = "run", description = "Runs a program in the folder; no shell, so no pipes and no wildcards",
      run = within(run), approve = true, timeout = 60,
      parameters = schema.object {
        argv = schema.array(schema.string(), { min = 1, description = "program, arguments" }),
      },
    },
    chat.tool {
      name = "http_get", description = "Gets a URL by HTTP", run = http_get, approve = true, timeout = 60,
      parameters = schema.object { url = schema.string "http://... or https://..." },
    },
  }
end

return M
