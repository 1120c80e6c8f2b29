--- steady_endpoints: calls each endpoint of the client's table once, with parameters that the
-- API takes, against a server that knows OpenAI's specification (arg 1: its base URL) and
-- answers 400 to what breaks it. Prints how many it takes, and which operations of the
-- specification (arg 2) the table does not have.

local chat = require "oaichat"
local endpoints = require "oaichat.client.endpoints"

local FILE = { data = "RIFF----WAVEfmt ", filename = "f.wav", type = "audio/wav" }
local IMAGE = { data = "\137PNG\r\n", filename = "f.png", type = "image/png" }

--- What each operation is asked with; {}: nothing is needed.
local PARAMS = {
  createSpeech = { model = "tts-1", input = "hi", voice = "alloy" },
  createTranscription = { model = "whisper-1", file = FILE },
  createTranslation = { model = "whisper-1", file = FILE },
  createBatch = { input_file_id = "file-1", endpoint = "/v1/chat/completions", completion_window = "24h" },
  createChatCompletion = { model = "gpt-4o", messages = { { role = "user", content = "hi" } } },
  updateChatCompletion = { metadata = { a = "b" } },
  createCompletion = { model = "gpt-3.5-turbo-instruct", prompt = "hi" },
  createConversation = { metadata = { a = "b" } },
  updateConversation = { metadata = { a = "b" } },
  createConversationItems = { items = { { type = "message", role = "user", content = "hi" } } },
  createEmbedding = { model = "text-embedding-3-small", input = { "a", "b" } },
  createFile = { purpose = "batch", file = { data = "{}\n", filename = "f.jsonl" } },
  createFineTuningJob = { model = "gpt-4o-mini", training_file = "file-1" },
  createImage = { prompt = "a cat" },
  createImageEdit = { prompt = "a cat", image = IMAGE },
  createImageVariation = { image = IMAGE },
  createModeration = { input = "hi" },
  createResponse = { model = "gpt-4o", input = "hi" },
  Compactconversation = { model = "gpt-5", input = "hi" },
  Getinputtokencounts = { model = "gpt-5", input = "hi" },
  createUpload = { filename = "f", purpose = "batch", bytes = 3, mime_type = "text/plain" },
  addUploadPart = { data = { data = "abc", filename = "p" } },
  completeUpload = { part_ids = { "part-1" } },
  createVectorStore = { name = "n" },
  modifyVectorStore = { name = "n" },
  searchVectorStore = { query = "q" },
  createVectorStoreFile = { file_id = "file-1" },
  updateVectorStoreFileAttributes = { attributes = { a = "b" } },
  createVectorStoreFileBatch = { file_ids = { "file-1" } },
}

local client = assert(chat.client { base_url = arg[1], api_key = "sk-replay", retry = { max = 0 } })

local function call(endpoint)
  local ids = {}
  for i in ipairs(endpoint.ids) do ids[i] = "id-1" end
  local params = PARAMS[endpoint.op] or endpoint.page and endpoint.method == "GET" and { limit = 2 } or {}
  if endpoint.op == "listModels" then params = {} end
  local value, why, err = client:_call(endpoint, ids, params, {})
  -- the server invents the answer; only its verdict on the request counts
  return value ~= nil or err.status ~= 400, why
end

local taken, claimed = 0, {}
for _, endpoint in ipairs(endpoints.list) do
  claimed[endpoint.op] = true
  local ok, why = call(endpoint)
  if ok then taken = taken + 1 else print(("refused: %s\n  %s"):format(endpoint.op, tostring(why))) end
end

-- The operations of the specification, by the first segment of their paths.
local others, order, count, path = {}, {}, 0, nil
for line in io.lines(arg[2]) do
  path = line:match "^  (/[^:]*):" or path
  local op = line:match "^      operationId: (.-)%s*$"
  if op and not claimed[op] then
    local group = path:match "^/([%w_]+)" or path
    if not others[group] then
      others[group], order[#order + 1] = {}, group
    end
    table.insert(others[group], op)
    count = count + 1
  end
end
print(("endpoints: requests accepted by the specification: %d of %d operations"):format(taken, #endpoints.list))
print(("operations that the table does not have (client:request sends them): %d"):format(count))
for _, group in ipairs(order) do print(("  %s: %d"):format(group, #others[group])) end
os.exit(taken == #endpoints.list and 0 or 1)
