--- providers: where each provider is, how it wants its key, and what of the API it does
--- otherwise: `provider = "groq"` in place of a base URL and its surroundings. What the
--- caller says himself wins. Facts; their sources and dates are in docs/PROVIDERS.md.

local errors = require "oaichat.errors"
local tables = require "oaichat.tables"

local M = {}

--- @class oaichat.Provider
--- @field base_url string|nil
--- @field key string|nil the variable of the environment that has its key; it goes to base_url's origin alone
--- @field optional boolean|nil it answers without a key
--- @field key_header string|nil in place of Authorization: Bearer
--- @field api string|nil the wire, where it is not chat completions
--- @field structured string|nil the first way to ask for a schema: "json_object" where json_schema is not known
--- @field where string|nil of docs/PROVIDERS.md

--- @type table<string, oaichat.Provider>
M.LIST = {
  openai = { base_url = "https://api.openai.com/v1", key = "OPENAI_API_KEY" },
  azure = { key = "AZURE_OPENAI_API_KEY", key_header = "api-key" },
  anthropic = { base_url = "https://api.anthropic.com/v1", key = "ANTHROPIC_API_KEY", api = "anthropic" },
  gemini = { base_url = "https://generativelanguage.googleapis.com/v1beta/openai", key = "GEMINI_API_KEY" },
  openrouter = { base_url = "https://openrouter.ai/api/v1", key = "OPENROUTER_API_KEY" },
  groq = { base_url = "https://api.groq.com/openai/v1", key = "GROQ_API_KEY" },
  mistral = { base_url = "https://api.mistral.ai/v1", key = "MISTRAL_API_KEY" },
  deepseek = { base_url = "https://api.deepseek.com/v1", key = "DEEPSEEK_API_KEY", structured = "json_object" },
  xai = { base_url = "https://api.x.ai/v1", key = "XAI_API_KEY" },
  together = { base_url = "https://api.together.xyz/v1", key = "TOGETHER_API_KEY" },
  fireworks = { base_url = "https://api.fireworks.ai/inference/v1", key = "FIREWORKS_API_KEY" },
  ollama = { base_url = "http://127.0.0.1:11434/v1", key = "OLLAMA_API_KEY", optional = true },
  llamacpp = { base_url = "http://127.0.0.1:8080/v1", key = "LLAMA_API_KEY", optional = true },
  vllm = { base_url = "http://127.0.0.1:8000/v1", key = "VLLM_API_KEY", optional = true },
}

--- Their names, in order.
--- @return string[]
function M.names()
  local names = {}
  for name in pairs(M.LIST) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function misuse_azure(text)
  errors.misuse("azure: " .. text)
end

-- With an api-version the path has the deployment; without one it is the v1 API, where the
-- deployment is the model (learn.microsoft.com, "Azure OpenAI API version lifecycle").
local function azure_url(given)
  local azure = given.azure or {}
  local base = given.base_url
  if not base and not azure.resource then misuse_azure "a resource (or base_url) is missing" end
  if azure.resource and not azure.resource:find "^[%w-]+$" then misuse_azure "resource: the name of one expected" end
  base = (base or ("https://%s.openai.azure.com"):format(azure.resource)):gsub("/+$", "")
  if base:find "[?#]" then misuse_azure "base_url: no query expected; the version is api_version" end
  base = base:gsub("/openai$", "")
  if not azure.api_version then
    return base:find("/openai/", 1, true) and base or base .. "/openai/v1"
  end
  local deployment = azure.deployment or given.model
  if not deployment then misuse_azure "deployment (or model) is missing" end
  if not deployment:find "^[%w._-]+$" or not azure.api_version:find "^[%w-]+$" then
    misuse_azure "deployment or api_version has a character that it cannot have"
  end
  return ("%s/openai/deployments/%s?api-version=%s"):format(base, deployment, azure.api_version)
end

--- Options with what their provider adds to them.
--- @param given table of chat.new, chat.client or a fallback; raises for a provider that is none
--- @return table options without `provider` and `azure`
--- @return table|nil preset for M.endpoint_options and M.missing
function M.apply(given)
  if given.provider == nil then return given end
  local preset = type(given.provider) == "string" and M.LIST[given.provider]
  if not preset then
    errors.misuse(("provider: %s is none of %s"):format(tostring(given.provider), table.concat(M.names(), ", ")))
  end
  if given.azure and given.provider ~= "azure" then misuse_azure "belongs to provider = \"azure\"" end
  local out = tables.merged(given)
  out.provider, out.azure = nil, nil
  if given.provider == "azure" then
    out.base_url = azure_url(given)
    if not out.model and given.azure then out.model = given.azure.deployment end
  end
  out.base_url = out.base_url or preset.base_url
  out.api = out.api or preset.api
  -- a function gives tokens of Entra ID: those are bearers
  local entra = given.provider == "azure" and type(given.api_key) == "function"
  if not entra then out.key_header = out.key_header or preset.key_header end
  return out, { name = given.provider, entry = preset, base_url = preset.base_url or out.base_url }
end

--- Adds what the core must know to find the key.
--- @param for_core table of core.new
--- @param preset table|nil of M.apply
function M.key(for_core, preset)
  if preset and for_core.api_key == nil then
    for_core.key_env, for_core.key_env_url = preset.entry.key, preset.base_url
  end
end

local function origin_of(url)
  local scheme, host, port = url:match "^(https?)://([^/:?]+):?(%d*)"
  return ("%s://%s:%s"):format(scheme, host, port ~= "" and port or scheme == "https" and "443" or "80")
end

--- What is wrong where an endpoint of the provider has no key.
--- @param endpoint table of the core
--- @param preset table|nil
--- @param asked any its key is asked for later
--- @param headers table|nil
--- @return string|nil text
function M.missing(endpoint, preset, asked, headers)
  if not preset or preset.entry.optional or asked or endpoint:has_key() then return nil end
  if endpoint:origin() ~= origin_of(preset.base_url) then return nil end
  for name in pairs(headers or {}) do
    local lower = tostring(name):lower()
    if lower == "authorization" or lower == preset.entry.key_header then return nil end
  end
  return ("no API key: set api_key or %s"):format(preset.entry.key)
end

return M
