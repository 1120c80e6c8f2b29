-- The spec of a user, examples/testing_spec.lua, which docs/TESTING.md shows: it is the
-- same, and it runs. The page's other blocks run in a process each.

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function loaded(path)
  local env = setmetatable({
    describe = describe, it = it, before_each = before_each, after_each = after_each, assert = assert,
  }, { __index = _G })
  if not setfenv then return assert(load(read(path), "@" .. path, "t", env)) end
  return setfenv(assert(loadstring(read(path), "@" .. path)), env)
end

local interpreter = require "spec.support.interpreter"

describe("examples/testing_spec.lua:", function()
  loaded "examples/testing_spec.lua"()

  it("is what docs/TESTING.md shows", function()
    local shown = read "docs/TESTING.md":match "```lua %(busted[^\n]*\n(.-)```\n"
    assert.equal(read "examples/testing_spec.lua", shown)
  end)
end)

describe("docs/TESTING.md", function()
  local number = 0
  for block in read "docs/TESTING.md":gmatch "```lua\n(.-)```\n" do
    number = number + 1
    it("runs as it stands: block " .. number, function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(block)
      file:close()
      local pipe = io.popen(("'%s' '%s' 2>&1; echo \"exit $?\""):format(interpreter(), path))
      local out = pipe:read "*a"
      pipe:close()
      os.remove(path)
      assert.equal("exit 0\n", out)
    end)
  end
end)
