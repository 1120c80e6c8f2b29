--- files: reads the providers' streams that lie beside the repository.
-- They are not ours to copy; where they are missing the specs say so, and with
-- CI set that is a failure.

local json = require "oaichat.json"

local M = { streams = "../shared/fixtures/streams/" }

function M.read(path)
  local handle = io.open(path, "rb")
  if not handle then return nil end
  local bytes = handle:read "*a"
  handle:close()
  return bytes
end

--- @return table[]|nil rows of expected.json
function M.expected()
  local text = M.read(M.streams .. "expected.json")
  if text then return assert(json.decode(text)).files end
  if os.getenv "CI" then error("../shared is missing: CI must have it") end
end

return M
