--- endpoints: writes the table of the client's endpoints in docs/API.md out of the table that
-- the client is made of. A cell is a spec: "call: files.create" in spec/client_spec.lua.
--   lua5.4 scripts/endpoints.lua           (make endpoints)

package.path = "./?.lua;" .. package.path

local table_of = require "spec.support.endpoint_table"

local file = assert(io.open(table_of.PAGE, "rb"))
local text = file:read "*a"
file:close()
local before, after = text:match("^(.-" .. table_of.BEGIN .. "\n).-(" .. table_of.END .. ".*)$")
assert(before, "the page has no place for the table")
file = assert(io.open(table_of.PAGE, "wb"))
file:write(before, table_of.text(), after)
file:close()
