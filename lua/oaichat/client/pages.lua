--- client/pages: a page of a list, and the way through all of them. A page is what the
-- server gave (`data`, `has_more`, …) with the methods below.

local errors = require "oaichat.errors"
local tables = require "oaichat.tables"
local wait = require "oaichat.wait"

local M = {}

-- PUC 5.1 cannot yield out of a for loop's iterator; LuaJIT and 5.2+ can.
local FOR_CANNOT_YIELD = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

-- page -> how the next one is asked for; no field of the page, which is the server's
local asking = setmetatable({}, { __mode = "k" })

--- @class oaichat.Page
--- @field data table[]
local Page = {}

-- Where the next page begins; nil: this is the last one, also where a server says "more"
-- and names nothing.
local function cursor(page)
  local data = page.data
  if page.has_more ~= true or type(data) ~= "table" or #data == 0 then return nil end
  if type(page.next_page) == "string" then return "page", page.next_page end
  local last = data[#data]
  local after = type(page.last_id) == "string" and page.last_id or type(last) == "table" and last.id
  if type(after) ~= "string" then return nil end
  return "after", after
end

-- Brent's cycle detection, for servers whose pages go round: `mark` is a page's beginning,
-- taken anew after 1, 2, 4, … pages. nil: the mark has come again.
local function further(way, after)
  if after == way.mark then return nil end
  if way.left == 0 then return { mark = after, left = way.span * 2, span = way.span * 2 } end
  return { mark = way.mark, left = way.left - 1, span = way.span }
end

--- The next page. Waits.
--- @return oaichat.Page|nil page nil alone: this was the last one
--- @return string|nil message
--- @return oaichat.Error|nil err
function Page:next()
  local name, after = cursor(self)
  if not name then return nil end
  local own = asking[self]
  local way = further(own.way, after)
  if not way then
    return errors.fail {
      kind = "protocol", code = "bad_response", message = "the server gives the same pages again and again",
    }
  end
  return own.ask(tables.merged(own.params, { [name] = after }), way)
end

--- Iterates over the items of this page and of those behind it: `for item in page:items()`.
--- Raises the err object on failure, as io.lines does.
function Page:items()
  local page, at = self, 0
  return function()
    if FOR_CANNOT_YIELD and wait.parks() then errors.misuse("in a task of this Lua, use page:next()") end
    while page do
      at = at + 1
      local item = type(page.data) == "table" and page.data[at]
      if item then return item, page end
      local err, _
      page, _, err = page:next()
      if err then error(err, 0) end
      at = 0
    end
  end
end

local PAGE = {
  __index = Page,
  __name = "oaichat.Page",
}

--- @param value table what the server gave
--- @param params table what was asked
--- @param ask fun(params: table, way: table): table|nil, string|nil, table|nil
--- @param way table|nil of the page before it
--- @return oaichat.Page
function M.new(value, params, ask, way)
  if type(value) ~= "table" then return value end
  asking[value] = {
    params = params, ask = ask, way = way or { mark = params and (params.after or params.page), left = 0, span = 1 },
  }
  return setmetatable(value, PAGE)
end

return M
