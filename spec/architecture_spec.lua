--- The levels of CONTRIBUTING.md, held: a file includes or requires only files of
-- lower levels; what knows curl does not know Lua, and the reverse; each file says
-- in its first line what it is.

local C_LEVELS = {
  clock = 0, buf = 0, utf8 = 0, failure = 0, digest = 0, scan = 0, platform = 0, pollset = 0, listen_port = 0,
  timers = 0, regex = 0, bpe = 0, unicode = 0, file = 0,
  sse = 1, websocket = 1, retry = 1, limit = 1, apierror = 1, pattern = 1, endpoint = 1, easy = 1, engine = 1,
  listen = 1,
  delta = 2, conn = 2,
  wire = 3, form = 1,
  exchange = 4,
  core = 5, compat = 5,
}

local LUA_LEVELS = {
  core = 0, errors = 0, later = 0, held = 0, aside = 0, tables = 0, settings = 0,
  json = 1, options = 1, observe = 1,
  wait = 2, message = 2, ["message/input"] = 1.5, ["message/mend"] = 1.5, ["message/meta"] = 1.5,
  ["message/part"] = 1.5, reply = 2, ["reply/raw"] = 1.5, ["reply/head"] = 0,
  partial = 2,
  prompt = 3, ["prompt/template"] = 1, ["prompt/render"] = 2,
  ["wire/chat"] = 3, ["wire/rope"] = 1, ["wire/list"] = 2,
  ["loop/task"] = 1, ["loop/scheduler"] = 3, ["loop/group"] = 2, ["loop/default"] = 3.5,
  ["loop/luv"] = 4, ["loop/cqueues"] = 4, ["loop/copas"] = 4, ["loop/tick"] = 4, ["loop/ngx"] = 4, ["loop/reactor"] = 3,
  ["schema/value"] = 1.1, ["schema/refs"] = 1.1, ["schema/formats"] = 1.1, ["schema/run"] = 1.2,
  ["schema/shape"] = 1.2,
  ["schema/assertions"] = 1.3, ["schema/applicators"] = 1.4,
  ["schema/legacy"] = 1.2, ["schema/compile"] = 2, ["schema/strict"] = 2,
  schema = 3, approval = 2, tools = 4, structured = 4, ["turn/round"] = 4,
  ["turn/asked"] = 3, ["turn/request"] = 4.2, ["turn/history"] = 4.3,
  tokens = 2, window = 3, context = 4, record = 3, attempts = 4, conversation = 5, turn = 5, stream = 5,
  session = 6, service = 6, history = 5,
  source = 3, canned = 3.2, account = 3, circuit = 1, limiter = 4, ["limiter/redis"] = 3.8, ["limiter/script"] = 0,
  route = 4.6, ["route/steps"] = 3.2, ["route/kinds"] = 4.4, ["route/hedge"] = 4.5,
  moderation = 4.5, gate = 4.6, policy = 4.8, ["turn/call"] = 4.9,
  ["turn/instead"] = 2, ["turn/quick"] = 5.5,
  ["wire/responses"] = 3, ["wire/anthropic"] = 3, ["wire/blocks"] = 2, ratelimit = 1,
  ["history/common"] = 3, ["history/journal"] = 3.1, ["history/disk"] = 3.2, ["history/memory"] = 4,
  ["history/file"] = 4,
  ["resp/url"] = 1, ["resp/faults"] = 1, ["resp/parser"] = 2, ["resp/link"] = 3.2, resp = 3.5,
  ["history/transaction"] = 1, ["history/redis_scripts"] = 1, ["history/sql"] = 4, ["history/redis"] = 4,
  ["history/sqlite"] = 5, ["history/postgres"] = 5,
  ["history/redact"] = 3, ["history/seal"] = 3.5, ["history/consent"] = 3.5, ["history/guard"] = 5,
  transcript = 3, ["transcript/check"] = 2.5, ["transcript/markdown"] = 2, config = 3, ["config/secret"] = 2.5,
  mcp = 7, ["mcp/caller"] = 6, ["mcp/link"] = 5, ["mcp/greet"] = 4, ["mcp/http"] = 4, ["mcp/stdio"] = 3,
  ["mcp/headers"] = 3, ["mcp/content"] = 3, ["mcp/rpc"] = 2,
  lru = 0, luasql = 1, prices = 2.2, models = 2.1, ["models/data"] = 0, ledger = 3, budget = 3, ["budget/spent"] = 0,
  keys = 3, providers = 1, opaque = 0, wires = 3.1, transfer = 3.5,
  ["client/endpoints"] = 0, ["client/answer"] = 3, ["client/request"] = 2, ["client/pages"] = 3, ["client/events"] = 3,
  ["client/embeddings"] = 3, ["client/batches"] = 5, ["client/uploads"] = 5, client = 6,
  ["websocket/handshake"] = 2, ["websocket/keepalive"] = 0, websocket = 3.6, realtime = 4,
  webhooks = 2, cache = 3, ["cache/common"] = 2, ["cache/memory"] = 2.5, ["cache/sqlite"] = 2.5,
  testing = 7, ["testing/http"] = 6, ["testing/bodies"] = 6, ["testing/clock"] = 6, ["testing/answer"] = 6,
  ["testing/redact"] = 6, ["testing/cassette"] = 6, ["testing/compare"] = 6, ["testing/response"] = 6.1,
  ["testing/steps"] = 6.1, ["testing/server"] = 6.2, ["testing/chaos"] = 6.3, ["testing/provider"] = 6.3,
  ["testing/record"] = 6.3, ["testing/replay"] = 6.3,
  init = 8,
}

local function lines_of(command)
  local out, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do out[#out + 1] = line end
  pipe:close()
  return out
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- A file belongs to the module with the longest name that begins its own:
-- exchange_curl.c to exchange, wire_chat.c to wire.
local function c_module(name)
  local best
  for module in pairs(C_LEVELS) do
    local mine = name == module or name:sub(1, #module + 1) == module .. "_"
    if mine and (not best or #module > #best) then best = module end
  end
  return best
end

local sources = lines_of "ls src/*.c src/*.h"
local modules = lines_of "find lua/oaichat -name '*.lua' -not -path '*/meta/*' | sort"

local function c_arrows(path)
  local from = c_module(path:match "([^/]+)%.[ch]$")
  local wrong = {}
  for header in read(path):gmatch '#include "([^"]+)%.h"' do
    local to = c_module(header)
    if not to then
      wrong[#wrong + 1] = path .. " includes " .. header .. ", which has no level"
    elseif to ~= from and C_LEVELS[to] >= C_LEVELS[from]
      and not (C_LEVELS[to] == 0 and C_LEVELS[from] == 0)
      and not (from == "core" and to == "compat") then
      wrong[#wrong + 1] = ("%s (level %d) includes %s (level %d)"):format(path, C_LEVELS[from], header, C_LEVELS[to])
    end
  end
  return wrong
end

local function lua_name(path)
  return path:match "^lua/oaichat/(.+)%.lua$"
end

local function lua_arrows(path)
  local from, wrong = lua_name(path), {}
  local text = read(path):gsub("%-%-[^\n]*", ""):gsub('later%s+"', 'require "')
  for required in text:gmatch 'require%s*%(?%s*"oaichat%.?([^"]*)"' do
    local to = required == "" and "init" or required:gsub("%.", "/")
    if not LUA_LEVELS[to] then
      wrong[#wrong + 1] = path .. " requires " .. to .. ", which has no level"
    elseif LUA_LEVELS[to] >= LUA_LEVELS[from] then
      wrong[#wrong + 1] = ("%s (level %s) requires %s (level %s)"):format(path, LUA_LEVELS[from], to, LUA_LEVELS[to])
    end
  end
  return wrong
end

local function collect(paths, check)
  local wrong = {}
  for _, path in ipairs(paths) do
    for _, one in ipairs(check(path)) do wrong[#wrong + 1] = one end
  end
  return wrong
end

describe("the architecture", function()
  it("has a level for every file", function()
    assert.is_true(#sources > 20 and #modules > 8)
    for _, path in ipairs(sources) do assert.is_truthy(c_module(path:match "([^/]+)%.[ch]$"), path) end
    for _, path in ipairs(modules) do assert.is_truthy(LUA_LEVELS[lua_name(path)], path) end
  end)

  it("has no C arrow that points up", function()
    assert.same({}, collect(sources, c_arrows))
  end)

  it("has no Lua arrow that points up", function()
    assert.same({}, collect(modules, lua_arrows))
  end)

  it("keeps Lua in the face and curl out of it", function()
    for _, path in ipairs(sources) do
      local text, name = read(path), path:match "([^/]+)%.[ch]$"
      local face = c_module(name) == "core" or name == "compat"
      assert.is_true(face or not text:match "#include <lua", path .. " includes Lua")
      local curl = { easy = true, form = true, endpoint = true, engine = true, exchange = true, conn = true }
      local knows = text:match "#include <curl" ~= nil
      local allowed = curl[c_module(name)] or name == "core" -- curl_global_init
      assert.is_true(allowed or not knows, path .. " includes curl")
    end
  end)

  it("never calls Lua from a file with curl's callbacks", function()
    for _, path in ipairs(sources) do
      local text = read(path)
      if text:find "WRITEFUNCTION" then assert.is_nil(text:match "lua_State", path) end
    end
  end)

  it("wires levels together in init.lua alone", function()
    for _, path in ipairs(modules) do
      if lua_name(path) ~= "init" then
        assert.is_nil(read(path):match 'require%s*%(?%s*"oaichat"', path)
      end
    end
  end)

  it("says in the first lines of each file what it is", function()
    for _, path in ipairs(sources) do
      local name = path:match "([^/]+)%.[ch]$"
      assert.is_truthy(read(path):match("^/%* ?[^\n]*" .. name:gsub("_.*", "")), path)
    end
    for _, path in ipairs(modules) do assert.is_truthy(read(path):match "^%-%-%- %S+", path) end
  end)

  it("keeps files below 400 lines", function()
    for _, list in ipairs { sources, modules } do
      for _, path in ipairs(list) do
        local _, n = read(path):gsub("\n", "")
        assert.is_true(n <= 400, ("%s has %d lines"):format(path, n))
      end
    end
  end)

  it("has no mutable global in C", function()
    -- `static` or file-level variables are const, but for the once-flag of curl
    local wrong = {}
    for _, path in ipairs(sources) do
      for line in read(path):gmatch "[^\n]+" do
        local declared = line:match "^%s*static%s+(.*[;={%[])%s*$" or line:match "^static%s+(.-)%s*=%s"
        local once = declared and (declared:find "_once" or declared:find "INIT_ONCE")
        if declared and not once and not declared:find "%(" and not declared:find "const" then
          wrong[#wrong + 1] = path .. ": " .. line
        end
      end
    end
    assert.same({}, wrong)
  end)
end)
