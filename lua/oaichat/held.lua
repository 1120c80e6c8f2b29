--- held: modules whose text is read now and compiled when they are first required, by way of
-- package.preload: a program starts sooner, and where a request failed for want of
-- descriptors there is none left to read them with.

local load_text = loadstring or load -- luacheck: globals loadstring

-- Lua 5.1 cannot be asked where a module is; a sandbox may have no files.
local search = load_text and package.preload and io and io.open and debug and package.searchpath

-- Where this file came from elsewhere than the path leads to, the others do too.
if search and "@" .. (search("oaichat.held", package.path) or "") ~= debug.getinfo(1, "S").source then search = nil end

local function text_of(path)
  local file = path and io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

--- A module that cannot be held (another loader has it, it is no text) is left as it is:
--- require finds it when it is asked.
--- @param name string
local function hold(name)
  if not search or package.loaded[name] or package.preload[name] then return end
  local path = search(name, package.path)
  local text = text_of(path)
  local first = text and text:byte()
  if not first or first == 27 then return end -- nothing, or compiled already
  package.preload[name] = function(...)
    package.preload[name] = nil
    return assert(load_text(text, "@" .. path))(...)
  end
end

--- @param names string[]
return function(names)
  for _, name in ipairs(names) do hold(name) end
end
