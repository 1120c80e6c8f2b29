--- record: a busted helper (and `lua -l spec.support.record`) that appends the body
-- of every request that is rendered to the file named by RECORD, one a line.
-- spec/support/steady.sh plays them to a server that knows OpenAI's specification.

local path = os.getenv "RECORD"
local wire = require "oaichat.wire.chat"
local render = wire.render

function wire.render(...)
  local parts, why, err = render(...)
  if parts and path then
    local file = assert(io.open(path, "ab"))
    file:write((table.concat(parts):gsub("[\r\n]", "")), "\n")
    file:close()
  end
  return parts, why, err
end

return true
