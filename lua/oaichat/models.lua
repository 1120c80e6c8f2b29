--- models: what is known of models: how much they take, what they cost, which parameters they
-- refuse, when they end. Facts as data that a user can refresh; of a model that the data
-- does not name nothing is known, and nothing is guessed from its name.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local observe = require "oaichat.observe"
local tables = require "oaichat.tables"

local M = {}

-- Whose server a fact holds at; elsewhere a name may mean another model.
local ORIGINS = { openai = "https://api.openai.com:443", anthropic = "https://api.anthropic.com:443" }

--- @class oaichat.Model
--- @field id string
--- @field provider string
--- @field context integer|nil tokens
--- @field output integer|nil tokens
--- @field input string[]|nil "text", "image", "audio"
--- @field reasoning boolean|nil
--- @field tools boolean|nil
--- @field structured boolean|nil it takes a JSON Schema for its answer
--- @field effort string|nil its reasoning effort where none is said
--- @field refused string[]|nil parameters that it refuses while it reasons
--- @field renamed table<string, string>|nil parameters with another name
--- @field price oaichat.Price|nil
--- @field aliases string[]|nil
--- @field shutdown string|nil "YYYY-MM-DD"
--- @field replacement string|nil

local known -- { date, sources, models }: decoded at the first need
local by_name -- id or alias -> model

local FIELDS = {
  provider = "string", context = "number", output = "number", input = "table", reasoning = "boolean",
  tools = "boolean", structured = "boolean", effort = "string", refused = "table", renamed = "table", price = "table",
  aliases = "table", shutdown = "string", replacement = "string",
}

-- What is wrong with a model's facts.
local function wrong_model(id, model)
  if type(id) ~= "string" or type(model) ~= "table" then return "models: { name = facts } expected" end
  for name, value in pairs(model) do
    local kind = FIELDS[name]
    if not kind and name ~= "id" then return ("models.%s: unknown field %s"):format(id, tostring(name)) end
    if kind and type(value) ~= kind then
      return ("models.%s.%s: %s expected, got %s"):format(id, name, kind, type(value))
    end
  end
  if not model.provider then return ("models.%s.provider is missing"):format(id) end
  if model.shutdown and not model.shutdown:find "^%d%d%d%d%-%d%d%-%d%d$" then
    return ("models.%s.shutdown: a date (YYYY-MM-DD) expected"):format(id)
  end
  for name, value in pairs(model.price or {}) do
    if name ~= "source" and name ~= "date" and not (type(value) == "number" and value >= 0 and value < math.huge) then
      return ("models.%s.price.%s: US dollars for 1e6 tokens expected"):format(id, tostring(name))
    end
  end
end

local function index()
  by_name = {}
  for id, model in pairs(known.models) do
    model.id = id
    for _, alias in ipairs(model.aliases or {}) do by_name[alias] = by_name[alias] or model end
  end
  for id, model in pairs(known.models) do by_name[id] = model end
end

local function need()
  if by_name then return end
  known = assert(json.decode(require "oaichat.models.data"))
  index()
end

--- What is known of a model, by its name or another name of it.
--- @param name string
--- @return oaichat.Model|nil
function M.get(name)
  need()
  return by_name[name]
end

--- All models, by name.
--- @return oaichat.Model[]
function M.list()
  need()
  local out = {}
  for _, model in pairs(known.models) do out[#out + 1] = model end
  table.sort(out, function(a, b) return a.id < b.id end)
  return out
end

--- When the facts are from, and where.
--- @return string date "YYYY-MM", table<string, string> sources
function M.source()
  need()
  return known.date, known.sources
end

local function fail(text)
  return errors.fail { kind = "config", code = "config", message = text }
end

local function read(path)
  local file, why = io.open(path, "rb")
  if not file then return fail("models: " .. why) end
  local text = file:read "*a"
  file:close()
  local value, wrong = json.decode(text or "")
  if type(value) ~= "table" then return fail(("models: %s: %s"):format(path, wrong or "an object expected")) end
  return value
end

--- Newer facts: those of a file (models.json) or a table of the same form. A model that is in
--- both is the newer one; all that is wrong is refused, and then nothing changes.
--- @param from string|table
--- @return integer|nil models how many it has, string|nil message, oaichat.Error|nil err kind "config"
function M.load(from)
  need()
  local value, why, err = from, nil, nil
  if type(from) == "string" then value, why, err = read(from) end
  if not value then return nil, why, err end
  if type(value) ~= "table" or type(value.models) ~= "table" then return fail "models: { models = { … } } expected" end
  local count, merged = 0, tables.merged(known.models)
  for id, model in pairs(value.models) do
    local wrong = wrong_model(id, model)
    if wrong then return fail(wrong) end
    merged[id], count = tables.copy(model), count + 1
  end
  known = {
    date = type(value.date) == "string" and value.date or known.date,
    sources = tables.merged(known.sources, type(value.sources) == "table" and value.sources or nil), models = merged,
  }
  index()
  return count
end

--- The facts as JSON, to a file: what M.load takes.
--- @param path string
--- @return boolean|nil true, string|nil message, oaichat.Error|nil err kind "storage"
function M.export(path)
  need()
  local file, why = io.open(path, "wb")
  local ok = file
  if file then
    local out = { date = known.date, sources = known.sources, models = {} }
    for id, model in pairs(known.models) do
      out.models[id] = tables.merged(model)
      out.models[id].id = nil
    end
    ok, why = file:write(assert(json.encode(out)), "\n")
    local closed, wrong = file:close()
    ok, why = ok and closed, why or wrong
  end
  if ok then return true end
  return errors.fail { kind = "storage", code = "io", message = "models: " .. tostring(why) }
end

--- Only for specs: as if nothing had been loaded.
function M.reset()
  known, by_name = nil, nil
end

-- ---- at a session ----------------------------------------------------------------

-- A fact about the name holds at its provider's own server alone.
local function at(name, origin)
  local model = M.get(name)
  if model and ORIGINS[model.provider] == origin then return model end
end

local told = {} -- name -> true: once a process

--- Tells the log that a model ends, or has ended.
--- @param name string
--- @param origin string
--- @param log function|nil
--- @param today string|nil "YYYY-MM-DD", for specs
function M.warn(name, origin, log, today)
  if not log or told[name] then return end
  local model = at(name, origin)
  if not model or not model.shutdown then return end
  told[name] = true
  observe.tell(log, "warn", "deprecated", {
    model = name, shutdown = model.shutdown, replacement = model.replacement,
    over = model.shutdown <= (today or os.date "!%Y-%m-%d"),
  })
end

--- Parameters as a model takes them: those with another name get it, those that it refuses
--- while it reasons are left out; the log is told of each.
--- @param name string
--- @param origin string
--- @param params table
--- @param log function|nil
--- @return table params the same where nothing is to be done
function M.fix(name, origin, params, log)
  local model = at(name, origin)
  if not model then return params end
  local out
  for old, new in pairs(model.renamed or {}) do
    if params[old] ~= nil then
      out = out or tables.merged(params)
      if out[new] == nil then out[new] = out[old] end
      out[old] = nil
      observe.tell(log, "warn", "parameter", { model = name, parameter = old, renamed = new })
    end
  end
  local reasoning = type(params.reasoning) == "table" and params.reasoning.effort
  local effort = params.reasoning_effort or reasoning or model.effort
  for _, refused in ipairs(effort ~= "none" and model.refused or {}) do
    if params[refused] ~= nil then
      out = out or tables.merged(params)
      out[refused] = nil
      observe.tell(log, "warn", "parameter", { model = name, parameter = refused, dropped = true })
    end
  end
  return out or params
end

return M
