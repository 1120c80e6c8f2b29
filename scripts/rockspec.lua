-- Writes the lists of files in the rockspec anew from what exists.
--   lua5.4 scripts/rockspec.lua      in the root of the repository
-- spec/rockspec_spec.lua fails when this was forgotten.

local NAME = "oaichat-scm-1.rockspec"

local function files(command)
  local list = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local file = assert(io.open(NAME))
local text = file:read "*a"
file:close()

local sources = {}
for _, path in ipairs(files "LC_ALL=C ls src/*.c") do
  sources[#sources + 1] = ('        "%s",\n'):format(path)
end

local modules = {}
for _, path in ipairs(files "LC_ALL=C find lua -name '*.lua' | LC_ALL=C sort") do
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  modules[#modules + 1] = ('    ["%s"] = "%s",\n'):format(name, path)
end

-- Both by function: a path may hold a "%".
text = text:gsub("(sources = {\n).-(      },\n)", function(open, close)
  return open .. table.concat(sources) .. close
end)
text = text:gsub('    %["[%w_.]+"%] = "lua/[^\n]+\n', "")
text = text:gsub("(  modules = {\n)", function(open)
  return open .. table.concat(modules)
end)

file = assert(io.open(NAME, "w"))
file:write(text)
file:close()
