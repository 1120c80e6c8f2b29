--- endpoint_table: the table "endpoint x (call, stream, paging, errors)" of docs/API.md, out of
-- the endpoints that the client has. A mark stands for a spec of that name.

local endpoints = require "oaichat.client.endpoints"

local M = { PAGE = "docs/API.md", BEGIN = "<!%-%- endpoints %-%->", END = "<!%-%- /endpoints %-%->" }

local function mark(on) return on and "✓" or "" end

--- @return string
function M.text()
  local out = { "| method | request | call | stream | paging | errors |\n|---|---|---|---|---|---|\n" }
  for _, one in ipairs(endpoints.list) do
    local ids = table.concat(one.ids, ", ")
    out[#out + 1] = ("| `%s:%s(%s)` | `%s %s` | ✓ | %s | %s | ✓ |\n"):format(one.group, one.name,
      ids ~= "" and ids .. ", …" or "…", one.method, one.path, mark(one.stream), mark(one.page))
  end
  return table.concat(out)
end

return M
