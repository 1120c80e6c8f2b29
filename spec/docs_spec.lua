-- The README and the pages of docs/: every Lua block in them runs as it stands, against
-- the offline bot; a block that begins with "```lua (" needs what it names there and
-- is not run. Knows the documents, the examples and the interpreter that runs the
-- specs; each block runs in a process of its own (spec/support/offline.lua).

local core = require "oaichat.core"
local interpreter = require "spec.support.interpreter"

local function blocks_of(path)
  local list, block, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    if block and line == "```" then
      list[#list + 1] = block
      block = nil
    elseif block then
      block.lines[#block.lines + 1] = line
    elseif line == "```lua" then
      block = { at = number, lines = {} }
    end
  end
  return list
end

local function free_port()
  local listener = assert(core.listen { host = "127.0.0.1", port = 0 })
  local port = listener:port()
  listener:close()
  return port
end

-- Runs a Lua file with the environment pointing at a bot of its own; returns
-- what it wrote, and its exit code.
local function run(path, input)
  local command = ("OPENAI_BASE_URL=http://127.0.0.1:%d/v1 '%s' spec/support/offline.lua '%s' 2>&1 <'%s';"
    .. ' echo "exit $?"'):format(free_port(), interpreter(), path, input or "/dev/null")
  local pipe = assert(io.popen(command))
  local out = pipe:read "*a"
  pipe:close()
  local text, code = out:match "^(.-)exit (%d+)\n$"
  return text, tonumber(code)
end

local function runs(block)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(table.concat(block.lines, "\n"), "\n")
  file:close()
  local out, code = run(path)
  os.remove(path)
  assert.equal(0, code, out)
end

-- Links to files stand relative to the document's folder.
local function names_files(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  local folder = path:match "^.*/" or ""
  for target in text:gmatch "%]%(([%w_/%.]+)#?[%w-]*%)" do
    local there = io.open(folder .. target)
    assert.truthy(there, target)
    there:close()
  end
end

describe("the README", function()
  local blocks = blocks_of "README.md"

  it("has the program of its first screen in six lines", function()
    assert.equal(6, #blocks[1].lines)
  end)

  for _, block in ipairs(blocks) do
    it(("runs as it stands: the block at line %d"):format(block.at), function() runs(block) end)
  end

  it("names files that exist", function() names_files "README.md" end)
end)

-- What their blocks need of each other, or of the machine, is said in their first line.
local PAGES = { "docs/TOOLS.md", "docs/HISTORY.md", "docs/OPTIONS.md", "docs/ERRORS.md", "docs/RESILIENCE.md",
  "docs/API.md", "docs/PROVIDERS.md" }
for _, path in ipairs(PAGES) do
  describe(path, function()
    for _, block in ipairs(blocks_of(path)) do
      it(("runs as it stands: the block at line %d"):format(block.at), function() runs(block) end)
    end

    it("names files that exist", function() names_files(path) end)
  end)
end

describe("the examples", function()
  for _, name in ipairs { "hello", "stream", "errors", "image", "prompt", "fallbacks" } do
    it(("run: %s.lua"):format(name), function()
      local out, code = run("examples/" .. name .. ".lua")
      assert.equal(0, code, out)
      assert.truthy(out:find "%w")
    end)
  end
end)

describe("the terminal chat without a terminal", function()
  local function answer(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local out, code = run("examples/chat.lua", path)
    os.remove(path)
    return out, code
  end

  it("answers each line with one request, and no other", function()
    local out, code = answer "hello\n\nI am sad\n"
    assert.equal(0, code)
    assert.truthy(out:find "^Hello!" and out:find "\nI am sorry")
    assert.truthy(out:find("\n2 requests\n", 1, true), out)
  end)

  it("sends nothing when there is no line", function()
    local out, code = answer ""
    assert.equal(0, code)
    assert.truthy(out:find("\n0 requests\n", 1, true), out)
  end)

  it("shows what would command the terminal instead of obeying it", function()
    local out = answer "say a\27[31mb\226\128\174c\194\155d\n"
    assert.truthy(out:find([[a\x1B[31mb\u{202E}c\u{009B}d]], 1, true), out)
    assert.is_nil(out:find "\27")
  end)
end)
