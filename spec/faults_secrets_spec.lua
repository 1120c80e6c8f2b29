--- FAULTS J, rows 119 to 121: a canary key is looked for in all that comes out.
-- luacheck: no max line length

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local KEY = "zq-canary-0123456789"

-- Every string in a value, as one text.
local function strings(value, out, seen)
  out, seen = out or {}, seen or {}
  if type(value) == "table" and not seen[value] then
    seen[value] = true
    for k, v in pairs(value) do
      strings(k, out, seen)
      strings(v, out, seen)
    end
    local mt = getmetatable(value)
    if mt and mt.__tostring then out[#out + 1] = tostring(value) end
  elseif type(value) == "string" then
    out[#out + 1] = value
  elseif type(value) == "userdata" then
    out[#out + 1] = tostring(value)
  end
  return out
end

local function clean(value, words)
  local text = table.concat(strings(value), "\n")
  for _, word in ipairs(words or { KEY }) do
    local at = text:find(word, 1, true)
    assert.is_nil(at, at and "the secret is in: ..." .. text:sub(math.max(1, at - 150), at + 60))
  end
end

-- A session whose every word is kept in `said`.
local function watched(server, said, opts)
  local function keep(...) said[#said + 1] = { ... } end
  opts = opts or {}
  opts.api_key, opts.log = KEY, keep
  opts.hooks = { request = keep, attempt = keep, first_content = keep, done = keep }
  return play.session(server, opts)
end

local function shell(value) return "'" .. value:gsub("'", "'\\''") .. "'" end

-- The same interpreter with this environment; what it printed.
local function child(env, ...)
  local interpreter, lowest = "lua", 0
  for i, word in pairs(arg or {}) do
    if type(i) == "number" and i < lowest then interpreter, lowest = word, i end
  end
  interpreter = os.getenv "LUA" or interpreter
  local command = { "env -u OPENAI_API_KEY -u OPENAI_BASE_URL -u OPENAI_MODEL" }
  for name, value in pairs(env) do command[#command + 1] = name .. "=" .. shell(value) end
  command[#command + 1] = "LUA_PATH=" .. shell(package.path) .. " LUA_CPATH=" .. shell(package.cpath)
  command[#command + 1] = interpreter .. " spec/support/canary.lua"
  for _, word in ipairs { ... } do command[#command + 1] = word end
  local pipe = assert(io.popen(table.concat(command, " ") .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  return out
end

local function free_port()
  local listener = assert(core.listen {})
  local port = listener:port()
  listener:close()
  return port
end

local opened = {}
local function serve(handler)
  opened[#opened + 1] = assert(testing.server(handler))
  return opened[#opened]
end

describe("secrets:", function()
  before_each(leaks.remember)
  after_each(function()
    while opened[1] do table.remove(opened):close() end
    leaks.check()
  end)

  local answers = {
    function(_, response) response:json(401, { error = { message = "Incorrect API key provided: " .. KEY .. ".", code = KEY,
      param = KEY, type = KEY } }) end,
    function(_, response) response:body(500, "<html>" .. KEY .. "</html>") end,
    function(_, response) response:raw(play.HEAD .. 'data: {"error":{"message":"bad ' .. KEY .. '"}}\n\n'):close() end,
    function(_, response) response:raw(play.HEAD .. "error: " .. KEY .. "\n\n"):close() end,
    function(_, response) response:raw(play.HEAD .. "data: {oops " .. KEY .. "\n\n"):close() end,
    function(_, response) response:raw(play.http(200, "please log in, " .. KEY, "Content-Type: text/html\r\n")):close() end,
    function(_, response) response:json(302, { x = KEY }, { Location = "http://127.0.0.1:9/?key=" .. KEY }) end,
    function(_, response) response:raw(play.HEAD .. play.text "fine" .. play.END):close() end,
    function(_, response) response:reset() end,
  }

  it("rows 119, 120: the key is in no log, hook, error, string or message", function()
    local server = serve(function(request, response) answers[(request.number - 1) % #answers + 1](request, response) end)
    local said = {}
    local session = watched(server, said, { headers = { ["X-Api-Key"] = KEY, Cookie = "c=" .. KEY } })
    for i = 1, 2 * #answers do
      local reply, message, err
      if i <= #answers then reply, message, err = session:stream("hello"):result() else reply, message, err = session:send "hello" end
      clean { tostring(session), tostring(message), tostring(err), err and ("" .. err) or "" }
      clean(err)
      clean(reply)
    end
    assert.equal("Bearer " .. KEY, server.requests[1].headers.authorization)
    assert.truthy(#said > 2 * #answers)
    clean(said)
    clean(session:messages())
    clean { json.encode(session:messages()) }
    clean(session)
  end)

  it("row 120: a key that the provider echoes is masked, its words are kept", function()
    local server = serve(answers[1])
    local _, _, err = watched(server, {}):send "hello"
    assert.equal("authentication", err.kind)
    assert.truthy(err.message:find("Incorrect API key provided: ", 1, true))
    clean(err)
  end)

  it("row 120: also when it is cut, escaped or split by the transport", function()
    local cases = {
      ('{"error":{"message":"%s %s"}}'):format(("x"):rep(292), KEY),
      '{"error":{"message":"k \\u007aq-canary-0123456789"}}',
      '{"detail":[{"msg":"k \\u007aq-canary-0123456789"}]}',
    }
    for _, body in ipairs(cases) do
      for _, split in pairs(play.splits) do
        local out = play.run(play.http(401, body), { split = split, mode = "send", new = { api_key = KEY } })
        clean(out.err, { KEY, "canary-0123" })
      end
    end
  end)

  it("row 121: what a malformed chunk holds is in no message, log or traceback", function()
    local body = play.text "a" .. "data: {\"secret\":\"SECRETWORD\",oops\n\n"
    local server = serve(function(_, response) response:raw(play.HEAD .. body):close() end)
    local said = {}
    local session = watched(server, said)
    local stream = session:stream "hello"
    local ok, trace = xpcall(function()
      for _ in stream do end -- luacheck: ignore 542
    end, function(err) return debug.traceback(tostring(err)) end)
    assert.is_false(ok)
    local _, _, err = stream:result()
    assert.equal("malformed_event", err.code)
    clean({ trace, err, said }, { "SECRETWORD" })
  end)

  it("row 119: a config error shows neither the key nor a URL's password", function()
    for _, opts in ipairs {
      { base_url = "http://u:" .. KEY .. "@127.0.0.1/v1" }, { base_url = "http://127.0.0.1/v1?key=" .. KEY .. " x" },
      { base_url = "http://127.0.0.1:9/v1", api_key = KEY .. "\n" }, { base_url = "http://example.com/", api_key = KEY },
    } do
      local session, message, err = chat.new(opts)
      assert.is_nil(session)
      clean { message, err }
    end
    local session = assert(chat.new { base_url = "http://127.0.0.1:9/v1?key=" .. KEY, api_key = false,
      proxy = "http://u:" .. KEY .. "@127.0.0.1:9" })
    clean { tostring(session), session }
    local _, message, err = session:send "x"
    clean { message, err }
  end)

  it("the environment's key goes to OPENAI_BASE_URL's origin", function()
    local out = child({ OPENAI_API_KEY = KEY, OPENAI_BASE_URL = ("http://127.0.0.1:%d/v1"):format(free_port()) }, "same")
    assert.truthy(out:find("authorization=Bearer " .. KEY, 1, true), out)
    assert.truthy(out:find("answered", 1, true), out)
    local _, times = out:gsub("canary", "")
    assert.equal(1, times)
  end)

  it("the environment's key goes to no other origin", function()
    local env = { OPENAI_API_KEY = KEY, OPENAI_BASE_URL = ("http://127.0.0.1:%d/v1"):format(free_port()) }
    for _, url in ipairs { env.OPENAI_BASE_URL, "https://api.openai.com/v1", "" } do
      env.OPENAI_BASE_URL = url
      local out = child(env, "other")
      assert.truthy(out:find("authorization=nil", 1, true), out)
      assert.truthy(out:find("answered", 1, true), out)
    end
  end)

  it("row 90: no key is config for api.openai.com alone", function()
    assert.truthy(child({}, "official"):find("^config\t"))
    assert.truthy(child({}, "other"):find("answered", 1, true))
  end)
end)
