--- tokens: how many tokens a text, a message, a conversation takes. Exact with the
-- ranks of the model's encoding, a file that the user points to; an estimate without
-- it, and called one. It decides nothing about what is sent.

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local options = require "oaichat.options"

local M = {}

--- Encodings by the name of the model, or by what its name begins with up to a "-"
--- (tiktoken, model.py). A model that is not here is only estimated.
M.MODELS = {
  ["gpt-5"] = "o200k_base", ["gpt-4.5"] = "o200k_base", ["gpt-4.1"] = "o200k_base", ["gpt-4o"] = "o200k_base",
  ["chatgpt-4o"] = "o200k_base", ["gpt-oss"] = "o200k_base",
  o1 = "o200k_base", o3 = "o200k_base", ["o4-mini"] = "o200k_base",
  ["gpt-4"] = "cl100k_base", ["gpt-3.5"] = "cl100k_base", ["gpt-35"] = "cl100k_base",
  ["text-embedding-ada-002"] = "cl100k_base", ["text-embedding-3"] = "cl100k_base",
}

-- SHA-256 of the files, as tiktoken holds them to it (openai_public.py): with other
-- ranks a count would be wrong without a sign.
local FILES = {
  cl100k_base = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
  o200k_base = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}

local FILE_MAX = 16000000 -- bytes, as in bpe.h

-- OpenAI's cookbook, "How to count tokens with tiktoken", for gpt-3.5-turbo and later.
local PER_MESSAGE, PER_NAME, PER_REPLY = 3, 1, 3

-- What is no text is estimated: an image of 1024 by 1024 and one with detail "low"
-- (OpenAI, "Images and vision", gpt-4o); audio by its seconds, at 10 tokens each.
local IMAGE, IMAGE_LOW, AUDIO_BYTES = 765, 85, 6400
local FILE_BYTES = 16 -- of base64, a token

-- Encoders are shared by all counters that need the same, while one of them lives.
local shared = setmetatable({}, { __mode = "v" })

--- The encoding of a model.
--- @param model string|nil "gpt-4o-mini", "ft:gpt-4o-mini:org::id"
--- @return "o200k_base"|"cl100k_base"|nil encoding nil: not known
function M.encoding(model)
  if type(model) ~= "string" then return nil end
  local name = model:match "^ft:([^:]*)" or model
  while name do
    if M.MODELS[name] then return M.MODELS[name] end
    name = name:match "^(.*)%-[^-]*$"
  end
end

local function config(path, why)
  return errors.fail { kind = "config", code = "ranks", message = ("%s: %s"):format(path, why) }
end

local function read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, (tostring(why):gsub("^.*: ", "")) end
  local bytes = file:read(FILE_MAX + 1)
  file:close()
  if not bytes then return nil, "it is empty or no file" end
  return bytes
end

local function load_encoder(encoding, path)
  local bytes, why = read(path)
  if not bytes then return config(path, why) end
  local encoder, wrong = core.bpe(encoding, bytes)
  if not encoder then return config(path, wrong) end
  if core.sha256(bytes) ~= FILES[encoding] then
    encoder:close()
    return config(path, ("not the ranks of %s"):format(encoding))
  end
  return encoder
end

local function encoder_of(encoding, path)
  local key = encoding .. "\0" .. (path or "")
  if shared[key] then return shared[key] end
  local encoder, why, err
  if path then
    encoder, why, err = load_encoder(encoding, path)
  else
    encoder = core.bpe(encoding)
  end
  if not encoder then return nil, why, err end
  shared[key] = encoder
  return encoder
end

--- @class oaichat.TokenCounter
--- @field encoding "o200k_base"|"cl100k_base"|nil nil: the model's is not known
--- @field exact boolean it has the ranks
local Counter = {}
Counter.__index = Counter

--- A counter. The ranks are a .tiktoken file (npm's gpt-tokenizer ships them), which
--- is read once for all counters: 8 MB of memory for o200k_base, 4 MB for cl100k_base.
--- `encoding` goes before the model's own; without either, or with a model that is not
--- known, all is estimated.
--- @param opts? { encoding?: "o200k_base"|"cl100k_base", model?: string, ranks?: string }
--- @return oaichat.TokenCounter|nil counter
--- @return string|nil message
--- @return oaichat.Error|nil err kind "config": the file, and which line of it, is wrong
function M.new(opts)
  opts = opts or {}
  options.check(opts, { encoding = "string", model = "string", ranks = "string" })
  if opts.encoding and not FILES[opts.encoding] then
    errors.misuse(("encoding: %s is not known (o200k_base, cl100k_base)"):format(opts.encoding))
  end
  local encoding = opts.encoding or M.encoding(opts.model)
  local path = encoding and opts.ranks or nil
  local encoder, why, err = encoder_of(encoding or "o200k_base", path)
  if not encoder then return nil, why, err end
  return setmetatable({
    encoding = encoding, exact = path ~= nil, _encoder = encoder,
    _known = setmetatable({}, { __mode = "k" }), _guessed = setmetatable({}, { __mode = "k" }),
  }, Counter)
end

--- @param text string any bytes; special tokens are plain text
--- @return integer tokens
--- @return boolean estimated
function Counter:count(text)
  return self._encoder:count(text)
end

local function part_cost(counter, part)
  if part.type == "image_url" then
    local image = part.image_url
    return type(image) == "table" and image.detail == "low" and IMAGE_LOW or IMAGE
  elseif part.type == "input_audio" and type(part.input_audio) == "table" then
    return math.ceil(#tostring(part.input_audio.data or "") / AUDIO_BYTES)
  elseif part.type == "file" and type(part.file) == "table" then
    return math.ceil(#tostring(part.file.file_data or "") / FILE_BYTES)
  end
  local text = part.text or part.refusal
  return type(text) == "string" and counter:count(text) or 0
end

local function content_cost(counter, content)
  if type(content) == "string" then return (counter:count(content)), false end
  local sum = 0
  if type(content) ~= "table" then return sum, false end
  for _, part in ipairs(content) do
    if type(part) == "string" then
      sum = sum + counter:count(part)
    elseif type(part) == "table" then
      sum = sum + part_cost(counter, part)
    end
  end
  return sum, true
end

-- How calls are written for the model is not documented.
local function calls_cost(counter, calls)
  local sum = 0
  for _, call in ipairs(calls) do
    local fn = type(call) == "table" and (call["function"] or call.custom)
    if type(fn) == "table" then
      sum = sum + PER_MESSAGE + counter:count(tostring(fn.name or ""))
        + counter:count(tostring(fn.arguments or fn.input or ""))
    end
  end
  return sum
end

local function message_cost(counter, message)
  local sum, estimated = content_cost(counter, message.content)
  sum = sum + PER_MESSAGE + counter:count(tostring(message.role))
  if type(message.name) == "string" then sum = sum + PER_NAME + counter:count(message.name) end
  if type(message.refusal) == "string" then
    sum, estimated = sum + counter:count(message.refusal), true
  end
  if type(message.tool_calls) == "table" and message.tool_calls[1] then
    sum, estimated = sum + calls_cost(counter, message.tool_calls), true
  end
  return sum, estimated or message.role == "tool" or message.role == "function" or not counter.exact
end

--- What a message adds to a request. Kept by the message's table, so that it is
--- counted once: a message of a history never changes.
--- @param message table
--- @return integer tokens
--- @return boolean estimated also where it has more than a role, a name and a text
function Counter:message(message)
  local known = self._known[message]
  if known then return known, self._guessed[message] or false end
  local cost, estimated = message_cost(self, message)
  self._known[message] = cost
  if estimated then self._guessed[message] = true end
  return cost, estimated
end

--- The tokens of a request with these messages (OpenAI's cookbook, "How to count
--- tokens with tiktoken"); what the tools add is Counter:tools.
--- @param messages table[]
--- @return integer tokens
--- @return boolean estimated
function Counter:messages(messages)
  local sum, estimated = PER_REPLY, not self.exact
  for _, message in ipairs(messages) do
    local cost, guessed = self:message(message)
    sum, estimated = sum + cost, estimated or guessed
  end
  return sum, estimated
end

--- What definitions of tools, or a schema, add: how they are written for the model is
--- not documented, so that it is always an estimate, by their JSON.
--- @param definitions table|nil
--- @return integer tokens
--- @return boolean estimated
function Counter:tools(definitions)
  if type(definitions) ~= "table" or next(definitions) == nil then return 0, false end
  local text = core.json_encode(definitions)
  return text and (self:count(text)) or 0, true
end

return M
