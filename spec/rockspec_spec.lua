-- The rockspec: lists exactly the files that exist, so that an installation by
-- LuaRocks or lazy.nvim has all of them. Knows the root of the repository only.

local function load_rockspec(path)
  local env = {}
  local chunk
  if rawget(_G, "setfenv") then
    chunk = assert(loadfile(path))
    rawget(_G, "setfenv")(chunk, env)
  else
    chunk = assert(loadfile(path, "t", env))
  end
  chunk()
  return env
end

local function files(command)
  local list = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  table.sort(list)
  return list
end

describe("the rockspec", function()
  local spec = load_rockspec "oaichat-scm-1.rockspec"

  it("compiles every C file of src/ into oaichat.core", function()
    local listed = {}
    for i, path in ipairs(spec.build.modules["oaichat.core"].sources) do listed[i] = path end
    table.sort(listed)
    assert.same(files "ls src/*.c", listed)
  end)

  it("installs every Lua file of lua/ under its module name", function()
    local listed = {}
    for name, path in pairs(spec.build.modules) do
      if type(path) == "string" then
        listed[#listed + 1] = path
        local base = "lua/" .. name:gsub("%.", "/")
        assert.is_true(path == base .. ".lua" or path == base .. "/init.lua", name)
      end
    end
    table.sort(listed)
    assert.same(files "find lua -name '*.lua'", listed)
  end)

  it("names the libcurl dependency by its library, never by its header", function()
    assert.same({ CURL = { library = "curl" } }, spec.external_dependencies)
  end)
end)
