--- ledger: what was used, a row for each request that went out (retries, fallbacks,
-- canceled ones) and each answer that came from a cache, and the sums by session and
-- user. What nobody knows is nil in a row and counted in a sum, never 0. Keeps the
-- last rows and the sums of the last sessions and users; the sum of all forgets nothing.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local lru = require "oaichat.lru"
local observe = require "oaichat.observe"
local options = require "oaichat.options"
local prices = require "oaichat.prices"
local tables = require "oaichat.tables"

local M = {}

--- The version of what export gives.
M.FORMAT = 1

local Ledger = {}
Ledger.__index = Ledger
Ledger.__name = "oaichat.Ledger"

-- ---- sums -------------------------------------------------------------------------

local PARTS = { "tokens", "input", "output", "cached", "reasoning", "cost" }

local function new_sum(session, user)
  return { session = session, user = user, requests = 0, unknown = 0, unpriced = 0, hits = 0 }
end

local function add_to(sum, row)
  sum.since = sum.since or row.at
  if row.cached_reply then sum.hits = sum.hits + 1 else sum.requests = sum.requests + 1 end
  if not row.tokens and not row.input and not row.output then
    sum.unknown = sum.unknown + 1
  elseif not row.cost then
    sum.unpriced = sum.unpriced + 1
  end
  for _, name in ipairs(PARTS) do
    if row[name] then sum[name] = (sum[name] or 0) + row[name] end
  end
end

-- What a sum stands under. Lengths, so that no two users and sessions are one.
local function key_of(session, user)
  return (session and #session .. ":" .. session or "-") .. (user and "+" .. user or "")
end

local function sum_of(ledger, session, user)
  local key = key_of(session, user)
  local sum = ledger._sums:get(key)
  if sum then return sum end
  sum = new_sum(session, user)
  sum.partial = ledger._forgot or nil
  ledger._sums:put(key, sum)
  if ledger._sums.count > ledger._scopes then
    ledger._sums:remove((ledger._sums:oldest()))
    ledger._forgot = true
  end
  return sum
end

local function add_to_sums(ledger, row)
  add_to(ledger._all, row)
  local session, user = row.session, row.user
  if session then add_to(sum_of(ledger, session), row) end
  if user then add_to(sum_of(ledger, nil, user), row) end
  if session and user then add_to(sum_of(ledger, session, user), row) end
end

-- ---- rows -------------------------------------------------------------------------

local function keep(ledger, row)
  if ledger._keep < 1 then return end
  ledger._at = ledger._at % ledger._keep + 1
  ledger._rows[ledger._at] = row
end

-- From the oldest to the newest: the ring begins behind the row that came last.
local function each_row(ledger)
  local rows, n, i = ledger._rows, #ledger._rows, 0
  return function()
    i = i + 1
    if i <= n then return rows[(ledger._at + i - 1) % n + 1] end
  end
end

local ROW = {
  at = "number", session = "string", user = "string", route = "string", model = "string", origin = "string",
  via = "table|string", attempt = "number", kind = "string", code = "string|number", status = "number",
  request_id = "string", seconds = "number", usage = "table|userdata", input = "number", output = "number",
  cached = "number", reasoning = "number", tokens = "number", cost = "number", cached_reply = "boolean",
}

local FREE = { input = 0, output = 0, cached = 0, reasoning = 0, tokens = 0, cost = 0 }

local function usage_of(row)
  return row.usage or {
    prompt_tokens = row.input, completion_tokens = row.output, prompt_tokens_details = { cached_tokens = row.cached },
  }
end

-- The row as it is kept: a table of our own.
local function made(ledger, given)
  local row = tables.merged(given)
  row.at = row.at or core.time()
  if row.cached_reply then
    row = tables.merged(row, FREE)
  else
    local counts = prices.read(row.usage)
    for _, name in ipairs { "input", "output", "cached", "reasoning", "tokens" } do
      row[name] = row[name] or counts[name]
    end
    if not row.tokens and row.input and row.output then row.tokens = row.input + row.output end
    row.cost = row.cost or prices.cost(row.model, usage_of(row), ledger._prices)
  end
  row.usage = nil
  return row
end

--- Notes one request, or one answer of a cache (cached_reply = true: it cost nothing).
--- @param row table at (Unix seconds, now by default), session, user, route, model, origin, via, attempt, kind, code,
---   status, request_id, seconds, cached_reply, and usage: the wire's; or input, output, cached, reasoning, tokens
--- @return table row a copy of what is kept: usage became input, output, cached, reasoning, tokens and cost
function Ledger:add(row)
  options.check(row, ROW, "row.")
  local own = made(self, row)
  keep(self, own)
  add_to_sums(self, own)
  observe.call(self._log, "ledger.sink", self._sink, tables.merged(own))
  return tables.merged(own)
end

local FILTER = {
  session = "string", user = "string", route = "string", model = "string", kind = "string", since = "number",
  limit = "number",
}

local function passes(row, filter)
  if filter.since and row.at < filter.since then return false end
  for name, value in pairs(filter) do
    if name ~= "since" and name ~= "limit" and row[name] ~= value then return false end
  end
  return true
end

--- The rows that are kept, oldest first; copies.
--- @param filter table|nil session, user, route, model, kind; since: Unix seconds; limit: the newest so many
--- @return table[]
function Ledger:rows(filter)
  filter = filter or {}
  options.check(filter, FILTER)
  local found = {}
  for row in each_row(self) do
    if passes(row, filter) then found[#found + 1] = row end
  end
  local out = {}
  for i = math.max(1, #found - (filter.limit or #found) + 1), #found do out[#out + 1] = tables.merged(found[i]) end
  return out
end

--- The sums: of all, of a session, of a user, of a user's part in a session.
--- @param of table|nil session, user
--- @return table totals requests (cached answers not among them), tokens, input, output, cached, reasoning, cost (US
---   dollars): each the sum of what is known, nil where requests were made and none of it is known; unknown: how many
---   nobody knows the usage of; unpriced: how many have a usage and no price; hits: answers of a cache; since: Unix
---   seconds of the first; partial: earlier ones may have been forgotten
function Ledger:totals(of)
  of = of or {}
  options.check(of, { session = "string", user = "string" })
  local sum = self._all
  if of.session or of.user then sum = self._sums:peek(key_of(of.session, of.user)) end
  local out = tables.merged(sum or new_sum(of.session, of.user))
  if not sum then out.partial = self._forgot or nil end
  if out.requests + out.hits == 0 then
    for _, name in ipairs(PARTS) do out[name] = 0 end
  end
  return out
end

-- ---- to keep and to forget ----------------------------------------------------------

-- Rows and sums anew without those of one session or user.
local function without(ledger, name, value)
  local rows, gone = {}, 0
  for row in each_row(ledger) do
    if row[name] == value then gone = gone + 1 else rows[#rows + 1] = row end
  end
  ledger._rows, ledger._at = rows, #rows
  for key, sum in ledger._sums:each() do
    if sum[name] == value then ledger._sums:remove(key) end
  end
  return gone
end

--- Forgets rows and sums of a session or a user; the sum of all stays.
--- @param of table session or user
--- @return integer rows that are gone
function Ledger:forget(of)
  options.check(of, { session = "string", user = "string" })
  if (of.session == nil) == (of.user == nil) then errors.misuse "forget: one of session and user expected" end
  return without(self, of.session and "session" or "user", of.session or of.user)
end

--- All that is kept, as plain JSON: for oaichat.json, and for import.
--- @return table
function Ledger:export()
  local sums = json.array {}
  for _, sum in self._sums:each() do sums[#sums + 1] = tables.merged(sum) end
  return {
    format = M.FORMAT, rows = json.array(self:rows()), sums = sums, all = tables.merged(self._all),
    forgot = self._forgot or false,
  }
end

local SUM = {
  session = "string", user = "string", requests = "number", unknown = "number", unpriced = "number", hits = "number",
  since = "number", partial = "boolean", tokens = "number", input = "number", output = "number", cached = "number",
  reasoning = "number", cost = "number",
}

local function is_list_of(list, known)
  if type(list) ~= "table" then return false end
  for _, item in ipairs(list) do
    if type(item) ~= "table" or not pcall(options.check, item, known) then return false end
  end
  return true
end

local function is_export(data)
  if type(data) ~= "table" or data.format ~= M.FORMAT then return false end
  if not is_list_of(data.rows, ROW) or not is_list_of(data.sums, SUM) or not is_list_of({ data.all }, SUM) then
    return false
  end
  for _, row in ipairs(data.rows) do
    if not row.at then return false end
  end
  for _, sum in ipairs(tables.add({ data.all }, data.sums)) do
    if not (sum.requests and sum.unknown and sum.unpriced and sum.hits) then return false end
  end
  return type(data.all) == "table"
end

local KNOWN = {
  prices = "table", sink = "function", keep = "number", scopes = "number", log = "function",
}

--- @param opts table|nil prices: instead of ours; sink(row): told of each row, what it raises goes to the log; keep:
---   how many rows, 1000; scopes: of how many sessions and users the sums, 10000 (those added to last); log
--- @return oaichat.Ledger
function M.new(opts)
  opts = opts or {}
  options.check(opts, KNOWN)
  local wrong = options.bad_number(opts, "")
  if wrong then errors.misuse(wrong) end
  return setmetatable({
    _prices = opts.prices and prices.check(opts.prices), _sink = opts.sink, _log = opts.log,
    _keep = math.floor(opts.keep or 1000), _scopes = math.max(3, math.floor(opts.scopes or 10000)),
    _rows = {}, _at = 0, _sums = lru.new(), _all = new_sum(), _forgot = false,
  }, Ledger)
end

--- A ledger that goes on where another was exported.
--- @param data table of export
--- @param opts table|nil as for new
--- @return oaichat.Ledger|nil ledger, string|nil message, oaichat.Error|nil err kind "storage", code "corrupt"
function M.import(data, opts)
  local ledger = M.new(opts)
  if not is_export(data) then
    return errors.fail { kind = "storage", code = "corrupt", message = "this is not what a ledger exported" }
  end
  for _, row in ipairs(data.rows) do keep(ledger, tables.merged(row)) end
  ledger._all, ledger._forgot = tables.merged(data.all), data.forgot == true
  for _, sum in ipairs(data.sums) do ledger._sums:put(key_of(sum.session, sum.user), tables.merged(sum)) end
  return ledger
end

return M
