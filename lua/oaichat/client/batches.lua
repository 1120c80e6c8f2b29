--- client/batches: the Batch API from end to end: requests to a JSONL file, the wait, and
-- the results by their requests (API reference, batch).

local core = require "oaichat.core"
local endpoints = require "oaichat.client.endpoints"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local options = require "oaichat.options"
local tables = require "oaichat.tables"
local transfers = require "oaichat.transfer"

local M = {}

--- Seconds between two looks at a batch: from the first to the second of these, each half
--- as much again.
M.POLL_FIRST, M.POLL_LAST = 1, 60

--- Requests of one batch at most (API reference).
M.REQUESTS = 50000

local NONE = {}

local function misuse_unless(ok, text)
  if not ok then errors.misuse("batches: " .. text) end
end

-- The lines of a batch; ids that are missing are made, ones that come twice refused: an
-- answer could not be told from another's.
local function jsonl_of(requests, endpoint)
  local lines, ids, seen = {}, {}, {}
  for i, request in ipairs(requests) do
    misuse_unless(type(request) == "table", ("requests[%d]: table expected"):format(i))
    local body = request.body or request
    local id = request.body and request.custom_id or ("request-%d"):format(i)
    if seen[id] then
      return errors.fail {
        kind = "config", code = "parameter", message = ("batches: two requests have the custom_id %s"):format(id),
      }
    end
    seen[id], ids[i] = true, id
    local line, why, err = json.encode { custom_id = id, method = "POST", url = endpoint, body = body }
    if not line then
      err.path = ("requests[%d].%s"):format(i, err.path or "")
      return nil, why, err
    end
    lines[i] = line
  end
  return table.concat(lines, "\n") .. "\n", ids
end

local SUBMIT = { requests = "table", endpoint = "string", completion_window = "string", metadata = "table",
  output_expires_after = "table" }

--- Uploads requests as a file and creates a batch of them.
--- @param client oaichat.Client
--- @param spec { requests: table[], endpoint: string|nil, completion_window: string|nil, metadata: table|nil }
---   requests: bodies, or { custom_id =, body = }; endpoint: "/v1/chat/completions"
--- @param opts table|nil as every call
--- @return table|nil batch batch.custom_ids has the ids in the requests' order
--- @return string|nil message
--- @return oaichat.Error|nil err
function M.submit(client, _, spec, opts)
  misuse_unless(type(spec) == "table" and type(spec.requests) == "table", "requests: a list expected")
  options.check(spec, SUBMIT, "batches: ")
  local endpoint = spec.endpoint or "/v1/chat/completions"
  local count = #spec.requests
  misuse_unless(count > 0, "requests: the list is empty")
  if count > M.REQUESTS then
    return errors.fail { kind = "config", code = "parameter",
      message = ("batches: %d requests; a batch takes %d"):format(count, M.REQUESTS) }
  end
  local text, ids, err = jsonl_of(spec.requests, endpoint)
  if not text then return nil, ids, err end
  local file, why
  file, why, err = client:_call(endpoints.groups.files.create, {}, {
    purpose = "batch", file = { data = text, filename = "batch.jsonl", type = "application/jsonl" },
  }, opts or NONE)
  if not file then return nil, why, err end
  local batch
  batch, why, err = client:_call(endpoints.groups.batches.create, {}, {
    input_file_id = file.id, endpoint = endpoint, completion_window = spec.completion_window or "24h",
    metadata = spec.metadata, output_expires_after = spec.output_expires_after,
  }, opts or NONE)
  if not batch then return nil, why, err end
  batch.custom_ids = ids
  return batch
end

-- ---- waiting ---------------------------------------------------------------------

local OVER = { completed = true, failed = true, expired = true, cancelled = true }

local function sleep(client, seconds)
  local timer = client._engine.core:timer(seconds)
  local ok, why, err = client._engine:await(timer)
  timer:close()
  return ok, why, err
end

local function too_late(id, batch)
  local err = errors.new { kind = "timeout", code = "timeout", phase = "total",
    message = ("batch %s is %s after the deadline"):format(id, tostring(batch and batch.status or "not known")) }
  err.batch = batch
  return nil, err.message, err
end

--- Waits until a batch is over, whichever way: look at batch.status.
--- @param client oaichat.Client
--- @param id string
--- @param opts table|nil as every call; progress(batch): after each look; deadline: of the whole wait, seconds;
---   poll: seconds between two looks at first
--- @return table|nil batch, string|nil message, oaichat.Error|nil err with the last batch seen in
---   err.batch; "timeout" when the deadline has passed
function M.wait(client, _, id, opts)
  misuse_unless(type(id) == "string", "wait: an id expected")
  opts = opts or NONE
  local each = tables.merged(opts)
  each.progress, each.deadline, each.poll = nil, nil, nil
  local stop_at = opts.deadline and core.now() + opts.deadline
  local pause = opts.poll or M.POLL_FIRST
  local last
  while true do
    local left = stop_at and stop_at - core.now()
    if left and left <= 0 then return too_late(id, last) end
    each.deadline = left
    local batch, why, err = client:_call(endpoints.groups.batches.retrieve, { id }, {}, each)
    if not batch then
      err.batch = last
      return nil, why, err
    end
    last = batch
    if opts.progress then opts.progress(batch) end
    if OVER[batch.status] then return batch end
    local ok
    ok, why, err = sleep(client, stop_at and math.max(math.min(pause, stop_at - core.now()), 0) or pause)
    if not ok then return nil, why, err end
    pause = math.min(pause * 1.5, M.POLL_LAST)
  end
end

-- ---- results ---------------------------------------------------------------------

-- Calls fn with each line as it comes.
local function each_line(fn)
  local pieces = {}
  return function(bytes)
    local at = 1
    while true do
      local stop = bytes:find("\n", at, true)
      if not stop then break end
      pieces[#pieces + 1] = bytes:sub(at, stop - 1)
      local line = table.concat(pieces)
      pieces, at = {}, stop + 1
      fn(line)
    end
    pieces[#pieces + 1] = at <= #bytes and bytes:sub(at) or nil
  end, function()
    if pieces[1] then fn(table.concat(pieces)) end
  end
end

local function read_file(client, id, seen, take, opts)
  if type(id) ~= "string" then return true end
  local broken
  local write, finish = each_line(function(line)
    if line:find "^%s*$" or broken then return end
    local value = json.decode(line)
    local of = type(value) == "table" and value.custom_id
    if type(of) ~= "string" then
      broken = "a line is no result"
    elseif seen[of] then
      broken = "an id comes twice"
    else
      seen[of] = true
      take(value)
    end
  end)
  local ok, why, err = client:_call(endpoints.groups.files.content, { id }, {}, tables.merged(opts, { to = write }))
  if not ok then return nil, why, err end
  err = transfers.ask("the receiver", finish)
  if err then return errors.fail(err) end
  if broken then
    return errors.fail {
      kind = "protocol", code = "bad_response", message = ("file %s: %s"):format(id, broken),
    }
  end
  return true
end

--- The results of a batch, read line by line while they come.
--- @param client oaichat.Client
--- @param batch table of wait
--- @param opts table|nil as every call; each(result): called for each as it comes, nothing is kept
--- @return table|nil results in the order of batch.custom_ids where it has them, else as they came; each: custom_id,
---   body (of the answer) or error, status · string|nil message · oaichat.Error|nil err
function M.results(client, _, batch, opts)
  misuse_unless(type(batch) == "table" and batch.id, "results: a batch expected")
  opts = tables.merged(opts)
  local each, list, by_id, seen = opts.each, {}, {}, {}
  opts.each = nil
  local function take(value)
    local response = type(value.response) == "table" and value.response or NONE
    local status = type(response.status_code) == "number" and response.status_code or nil
    local result = { custom_id = value.custom_id, status = status, request_id = response.request_id }
    local failed = value.error ~= nil and value.error ~= json.null or not status or status >= 400
      or response.body == nil
    if failed then
      local body = type(response.body) == "table" and response.body.error
      local told = value.error ~= json.null and value.error or body or response.body
      if told == nil or told == json.null then
        told = { code = "no_result", message = "the line has neither an answer nor an error" }
      end
      result.error = told
    else
      result.body = response.body
    end
    if each then
      each(result)
      return
    end
    list[#list + 1] = result
    by_id[result.custom_id] = result
  end
  for _, id in ipairs { batch.output_file_id or false, batch.error_file_id or false } do
    local ok, why, err = read_file(client, id, seen, take, opts)
    if not ok then return nil, why, err end
  end
  if each or not batch.custom_ids then return list end
  local out = {}
  for i, id in ipairs(batch.custom_ids) do
    out[i] = by_id[id] or { custom_id = id, error = { code = "no_result", message = "the batch has no result for it" } }
  end
  return out
end

local function split(opts)
  local plain = tables.merged(opts)
  plain.progress, plain.poll, plain.deadline = nil, nil, nil
  return plain
end

--- submit, wait and results in one. A canceled task leaves the batch to the server.
--- @return table|nil results, table|string|nil batch or message, oaichat.Error|nil err err.batch where there is one
function M.run(client, endpoint, spec, opts)
  opts = opts or {}
  local plain = split(opts)
  local made, why, err = M.submit(client, endpoint, spec, plain)
  if not made then return nil, why, err end
  local batch
  batch, why, err = M.wait(client, endpoint, made.id, opts)
  if not batch then
    err.batch = err.batch or made
    return nil, why, err
  end
  batch.custom_ids = made.custom_ids
  if batch.status ~= "completed" and not batch.output_file_id and not batch.error_file_id then
    err = errors.new { kind = "server", code = "batch_" .. tostring(batch.status),
      message = ("the batch %s is %s"):format(batch.id, tostring(batch.status)) }
    err.batch = batch
    return nil, err.message, err
  end
  local results
  results, why, err = M.results(client, endpoint, batch, plain)
  if not results then return nil, why, err end
  return results, batch
end

return M
