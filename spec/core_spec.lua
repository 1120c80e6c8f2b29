--- The C module has exactly the names that its LuaLS definitions say.

local core = require "oaichat.core"

local function declare(out, path)
  for line in io.lines(path) do
    local owner, name = line:match "^function (%a+)[.:]([%w_]+)"
    if not owner then owner, name = line:match "^(core)%.([%w_]+) = nil" end
    if owner then
      out[owner] = out[owner] or {}
      out[owner][name] = true
    end
  end
end

local function declared()
  local out = {}
  declare(out, "lua/oaichat/meta/core.lua")
  declare(out, "lua/oaichat/meta/conn.lua")
  declare(out, "lua/oaichat/meta/websocket.lua")
  return out
end

local function names(t)
  local out = {}
  for name in pairs(t) do
    if not name:find "^__" then out[name] = true end
  end
  return out
end

describe("the C module", function()
  it("has the names that lua/oaichat/meta declares, and no others", function()
    local meta = declared()
    local listener = assert(core.listen {})
    local session = assert(core.new { base_url = "http://127.0.0.1:" .. listener:port(), api_key = false })
    local exchange = session:send "{}"
    local peer
    while not peer do
      exchange:wait(0.05)
      listener:step()
      peer = listener:accept()
    end
    local sse = core.sse()
    local conn = assert(core.connect { url = "tcp://127.0.0.1:" .. listener:port() })
    local live = {
      Conn = conn, Reader = core.websocket_reader { message_bytes = 1000, frame_bytes = 1000 },
      core = core, Engine = core.engine(), Session = session, Exchange = exchange, Sse = sse,
      Listener = listener, Peer = peer, Timer = core.engine():timer(1),
      Limit = core.limit {}, Either = core.engine():either(core.engine():timer(1), core.engine():timer(1)),
    }
    for class, object in pairs(live) do
      local mt = getmetatable(object)
      assert.same(meta[class], names(mt and mt.__index or object), class)
    end
    for _, object in ipairs { exchange, session, sse, peer, listener, conn } do object:close() end
    assert.equal("oaichat.sse (closed)", tostring(sse))
  end)

  it("raises on a closed object, and closes twice without harm", function()
    local sse = core.sse()
    sse:close()
    sse:close()
    local ok, why = pcall(sse.feed, sse, "x")
    assert.is_false(ok)
    assert.truthy(why:find("oaichat.sse is closed", 1, true))
  end)

  it("makes a new engine only when asked", function()
    assert.equal(core.engine(), core.engine())
    local own = core.engine(true)
    assert.are_not.equal(core.engine(), own)
    own:close()
  end)

  it("encodes base64 as RFC 4648 does in section 10", function()
    local cases = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
      foobar = "Zm9vYmFy", ["\255\254\253"] = "//79" }
    for bytes, text in pairs(cases) do assert.equal(text, core.base64(bytes)) end
  end)
end)
