--- folder: a directory of its own for a test, and what lies in it.

local M = {}

local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

--- @return string path of a new, empty directory
function M.new()
  local pipe = assert(io.popen "mktemp -d")
  local path = pipe:read "*l"
  pipe:close()
  return assert(path)
end

function M.remove(path)
  assert(path:find "^/.*/")
  os.execute("rm -rf " .. quoted(path))
end

--- @return boolean the shell command succeeded
function M.run(command)
  local ok = os.execute(command)
  return ok == true or ok == 0
end

function M.read(path)
  local handle = assert(io.open(path, "rb"))
  local bytes = handle:read "*a"
  handle:close()
  return bytes
end

function M.write(path, bytes)
  local handle = assert(io.open(path, "wb"))
  handle:write(bytes)
  handle:close()
end

M.quoted = quoted

return M
