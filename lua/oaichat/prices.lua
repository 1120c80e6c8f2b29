--- prices: what tokens cost, as data, and what a usage comes to. What is not known is
-- nil, never guessed. Knows the names of the wire; no request and no ledger.

local errors = require "oaichat.errors"
local models = require "oaichat.models"
local tables = require "oaichat.tables"

local M = {}

--- US dollars for 1e6 tokens, at the standard service tier: input, cached (input that
--- the provider had in its cache; without it such input costs as any other), written (input
--- that it put there for 5 minutes, where that has a price of its own; without it a usage
--- that has such input has no cost that is known), output (reasoning is part of it). Change it, or give
--- another table where prices are asked for.
--- @class oaichat.Price
--- @field input number
--- @field cached number|nil
--- @field written number|nil
--- @field output number
--- @field source string|nil
--- @field date string|nil
--- @type table<string, oaichat.Price>
M.TABLE = {}

-- The models' facts have them (models.json): one place for what they cost.
do
  local date, sources = models.source()
  for _, model in ipairs(models.list()) do
    if model.price then
      M.TABLE[model.id] = tables.merged({ source = sources[model.provider], date = date }, model.price)
    end
  end
end

--- A price must be a number of dollars, 0 or more. Raises; gives the table back.
--- @param list table
--- @return table list
function M.check(list)
  if type(list) ~= "table" then errors.misuse("prices: table expected, got " .. type(list)) end
  for model, price in pairs(list) do
    if type(model) ~= "string" or type(price) ~= "table" then
      errors.misuse("prices: { [model] = { input =, cached =, output = } } expected")
    end
    for _, name in ipairs { "input", "cached", "written", "output" } do
      local value = price[name]
      local fine = type(value) == "number" and value >= 0 and value < math.huge
      if not fine and not (value == nil and (name == "cached" or name == "written")) then
        errors.misuse(("prices[%q].%s: US dollars for 1e6 tokens expected, got %s"):format(model, name,
          tostring(value)))
      end
    end
  end
  return list
end

--- Our table with a user's changes: a new one.
--- @param changes table<string, table|false> false: the price is not known
--- @return table
function M.extended(changes)
  local out = {}
  for model, price in pairs(M.TABLE) do out[model] = price end
  for model, price in pairs(changes) do out[model] = price or nil end
  return M.check(out)
end

--- The price of a model. A snapshot (gpt-4o-2024-08-06) that has none of its own has
--- that of the name before the date; nothing else is taken for something else.
--- @param model string|nil
--- @param list table|nil instead of ours
--- @return table|nil price
function M.of(model, list)
  if type(model) ~= "string" then return nil end
  list = list or M.TABLE
  return list[model] or list[model:match "^(.+)%-%d%d%d%d%-[01]%d%-[0-3]%d$" or false]
end

local function count(value)
  if type(value) == "number" and value >= 0 and value < math.huge then return value end
end

local function detail(details, name)
  return type(details) == "table" and count(details[name]) or nil
end

--- The counts of a usage, by the ledger's names; each nil where the usage does not say.
--- `cached` is part of `input`, `reasoning` of `output`.
--- @param usage table|nil the wire's names
--- @return table counts input, output, cached, reasoning, tokens, audio, written (input that was put into the
---   provider's cache; part of `input`), kept_long (that for an hour; part of `written`)
function M.read(usage)
  if type(usage) ~= "table" then return {} end
  local sent = usage.prompt_tokens_details or usage.input_tokens_details
  local got = usage.completion_tokens_details or usage.output_tokens_details
  local read, written, input = count(usage.cache_read_input_tokens), count(usage.cache_creation_input_tokens), nil
  if count(usage.prompt_tokens) then
    input, read, written = usage.prompt_tokens, nil, nil
  elseif count(usage.input_tokens) then
    input = usage.input_tokens + (read or 0) + (written or 0) -- Anthropic counts them apart
  end
  local output = count(usage.completion_tokens) or count(usage.output_tokens)
  local heard, spoken = detail(sent, "audio_tokens"), detail(got, "audio_tokens")
  return {
    input = input, output = output, cached = read or detail(sent, "cached_tokens"),
    reasoning = detail(got, "reasoning_tokens") or detail(got, "thinking_tokens"),
    tokens = count(usage.total_tokens) or input and output and input + output,
    audio = (heard or 0) + (spoken or 0), written = written,
    kept_long = detail(usage.cache_creation, "ephemeral_1h_input_tokens"),
  }
end

--- What a usage costs.
--- @param model string|nil
--- @param usage table|nil the wire's names
--- @param list table|nil instead of our prices
--- @return number|nil dollars nil: the model, the usage or a part of it (audio) has no price that is known
function M.cost(model, usage, list)
  local price, counts = M.of(model, list), M.read(usage)
  local input, output, cached, written = counts.input, counts.output, counts.cached or 0, counts.written or 0
  if not price or not input or not output or cached + written > input or counts.audio > 0 then return nil end
  if written > 0 and not price.written or (counts.kept_long or 0) > 0 then return nil end
  return ((input - cached - written) * price.input + cached * (price.cached or price.input)
    + written * (price.written or 0) + output * price.output) / 1e6
end

return M
