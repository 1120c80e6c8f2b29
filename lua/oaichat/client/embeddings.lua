--- client/embeddings: any number of inputs: cut into requests that the API takes, several
-- at once, each with its own attempts; the results stand in the order of the inputs.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local json = require "oaichat.json"
local tables = require "oaichat.tables"

local M = {}

--- Of one request: inputs, and tokens over all of them (API reference, embeddings). A
--- token has at least one byte: so many bytes are never too many tokens, and text has
--- three to four a token; half of that is still safe.
M.INPUTS, M.BYTES = 2048, 600000

--- Requests at once.
M.PARALLEL = 4

-- The size of an input: text, or a list of tokens.
local function size_of(input)
  if type(input) == "string" then return #input end
  return type(input) == "table" and 2 * #input or 0
end

local function is_many(input)
  return type(input) == "table" and (json.is_array(input) or input[1] ~= nil) and type(input[1]) ~= "number"
end

-- { first, last } of each request.
local function parts_of(inputs)
  local parts, first, bytes = {}, 1, 0
  for i = 1, #inputs do
    local size = size_of(inputs[i])
    if i > first and (i - first >= M.INPUTS or bytes + size > M.BYTES) then
      parts[#parts + 1] = { first, i - 1 }
      first, bytes = i, 0
    end
    bytes = bytes + size
  end
  parts[#parts + 1] = { first, #inputs }
  return parts
end

local function broken(text)
  return errors.fail { kind = "protocol", code = "bad_response", message = "embeddings: " .. text }
end

local function is_vector(list)
  for _, x in ipairs(list) do
    if type(x) ~= "number" then return false end
  end
  return list[1] ~= nil
end

-- An answer's vectors by their place in the request.
local function vectors_of(answer, count, as_text)
  local data, out = answer.data, {}
  if type(data) ~= "table" then return broken "the answer has no data" end
  for _, item in ipairs(data) do
    local index = type(item) == "table" and item.index
    if type(index) ~= "number" or index % 1 ~= 0 or index < 0 or index >= count or out[index + 1] then
      return broken "an index is wrong or comes twice"
    end
    local vector = item.embedding
    if type(vector) == "string" and not as_text then vector = core.floats(vector) end
    if type(vector) == "table" and is_vector(vector) then
      item.embedding = json.array(vector)
    elseif not (as_text and type(vector) == "string" and vector ~= "") then
      return broken "an embedding is no list of numbers"
    end
    out[index + 1] = item
  end
  if #out ~= count then return broken(("%d of %d inputs have no embedding"):format(count - #out, count)) end
  return out
end

local function ask(client, endpoint, params, opts)
  local own = params
  if params.encoding_format == nil then -- as the official libraries: a third of the bytes
    own = tables.merged(params, { encoding_format = "base64" })
  end
  local answer, facts, err = client:_call(endpoint, {}, own, opts)
  if not answer then return nil, facts, err end
  local vectors, why
  local count = is_many(params.input) and #params.input or 1
  vectors, why, err = vectors_of(answer, count, params.encoding_format == "base64")
  if not vectors then return nil, why, err end
  answer.data = json.array(vectors)
  return answer, facts
end

local function add_usage(into, usage)
  for name, value in pairs(type(usage) == "table" and usage or {}) do
    if type(value) == "number" then into[name] = (into[name] or 0) + value end
  end
end

-- The answers of all parts as one; where some failed, what there is.
local function join(inputs, parts, results)
  local data, whole, usage = {}, nil, {}
  for at, part in ipairs(parts) do
    local answer = results[at]
    if answer then
      whole = whole or answer
      add_usage(usage, answer.usage)
      for i, item in ipairs(answer.data) do
        item.index = part[1] + i - 2
        data[part[1] + i - 1] = item
      end
    end
  end
  local out = tables.merged(whole)
  out.usage = usage
  out.data = #inputs == #data and json.array(data) or data
  return out
end

-- Runs the parts, so many at once; where one fails for good no other is begun.
local function run_parts(client, parts, one, parallel)
  local results, failed, at = {}, {}, 0
  local function worker()
    while at < #parts and not next(failed) do
      at = at + 1
      local own = at
      local answer, _, err = one(parts[own])
      if answer then results[own] = answer else failed[own] = err end
    end
  end
  local workers = {}
  for i = 1, math.min(parallel, #parts) do workers[i] = worker end
  local _, problems = client._engine:gather(workers)
  return results, failed, at, problems
end

local function partial_error(parts, results, failed, inputs, begun)
  local first
  for at = 1, #parts do first = first or failed[at] end
  local err = errors.new(tables.merged(first))
  err.inputs = {}
  for at, part in ipairs(parts) do
    if not results[at] then err.inputs[#err.inputs + 1] = { first = part[1], last = part[2], sent = at <= begun } end
  end
  err.partial = join(inputs, parts, results)
  return nil, err.message, err
end

--- Makes embeddings. More inputs than one request takes are sent in several.
--- @param client oaichat.Client
--- @param endpoint oaichat.Endpoint
--- @param params table model, input (a string, tokens, or a list of either), dimensions, …; encoding_format: "base64"
---   leaves the API's text as it is, else vectors are lists of numbers
--- @param opts table|nil as every call; parallel: requests at once, 4
--- @return table|nil answer data[i] belongs to input i · string|nil message · oaichat.Error|nil err of the part that
---   failed; err.inputs: which have no embedding ({ first, last, sent }), err.partial: the answer with those that have
function M.create(client, endpoint, params, opts)
  if type(params) ~= "table" then errors.misuse "embeddings:create: parameters: table expected" end
  opts = tables.merged(opts)
  local parallel = opts.parallel or M.PARALLEL
  if type(parallel) ~= "number" or parallel ~= parallel or parallel < 1 then
    errors.misuse "embeddings:create: parallel: 1 or more expected"
  end
  opts.parallel = nil
  local inputs = params.input
  if not is_many(inputs) or #inputs == 0 then return ask(client, endpoint, params, opts) end
  local parts = parts_of(inputs)
  if not parts[2] then return ask(client, endpoint, params, opts) end
  local function one(part)
    local own = json.array {}
    for i = part[1], part[2] do own[#own + 1] = inputs[i] end
    return ask(client, endpoint, tables.merged(params, { input = own }), opts)
  end
  local results, failed, begun, problems = run_parts(client, parts, one, parallel)
  if next(failed) then return partial_error(parts, results, failed, inputs, begun) end
  if problems and next(problems) then
    local _, problem = next(problems)
    return errors.fail(errors.is(problem) and problem or { kind = "canceled", code = "canceled" })
  end
  return join(inputs, parts, results), { parts = #parts }
end

return M
