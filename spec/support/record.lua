--- record: a busted helper (by nokey too, and `lua -l spec.support.record`) that appends the body
-- of every request that is rendered to the file named by RECORD and the wire's name, one a
-- line. spec/support/steady.sh plays them to a server that knows OpenAI's specification.

local path = os.getenv "RECORD"

local function record(wire)
  local render = wire.render
  function wire.render(...)
    local parts, why, err = render(...)
    if parts and path then
      local file = assert(io.open(path .. "." .. wire.name, "ab"))
      file:write((table.concat(parts):gsub("[\r\n]", "")), "\n")
      file:close()
    end
    return parts, why, err
  end
end

record(require "oaichat.wire.chat")
record(require "oaichat.wire.responses")

return true
