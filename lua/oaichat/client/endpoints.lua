--- client/endpoints: the endpoints of the API as data: one row each, from which the
-- client makes its methods, docs/API.md its table and the specs their cases. Source: the
-- API reference and its OpenAPI document (`op` is the operation's name there).
--
-- A row: group, method, HTTP method, path with its {ids}; and
--   required   parameters without which nothing is sent
--   page       the answer is a page of a list
--   stream     with stream = true the answer comes as events
--   files      parameters that are files: the body is multipart/form-data
--   result     "bytes": a file, to a path or function with opts.to · "text": JSON, or text where that
--              was asked for · else JSON

local M = {}

local ROWS = {
  { "audio.speech", "create", "POST", "/audio/speech", op = "createSpeech",
    required = { "model", "input", "voice" }, result = "bytes", stream = "stream_format=sse" },
  { "audio.transcriptions", "create", "POST", "/audio/transcriptions", op = "createTranscription",
    required = { "file", "model" }, files = { "file" }, result = "text", stream = true },
  { "audio.translations", "create", "POST", "/audio/translations", op = "createTranslation",
    required = { "file", "model" }, files = { "file" }, result = "text" },

  { "batches", "create", "POST", "/batches", op = "createBatch",
    required = { "input_file_id", "endpoint", "completion_window" } },
  { "batches", "list", "GET", "/batches", op = "listBatches", page = true },
  { "batches", "retrieve", "GET", "/batches/{batch_id}", op = "retrieveBatch" },
  { "batches", "cancel", "POST", "/batches/{batch_id}/cancel", op = "cancelBatch" },

  { "chat.completions", "create", "POST", "/chat/completions", op = "createChatCompletion",
    required = { "model", "messages" }, stream = true },
  { "chat.completions", "list", "GET", "/chat/completions", op = "listChatCompletions", page = true },
  { "chat.completions", "retrieve", "GET", "/chat/completions/{completion_id}", op = "getChatCompletion" },
  { "chat.completions", "update", "POST", "/chat/completions/{completion_id}", op = "updateChatCompletion",
    required = { "metadata" } },
  { "chat.completions", "delete", "DELETE", "/chat/completions/{completion_id}", op = "deleteChatCompletion" },
  { "chat.completions.messages", "list", "GET", "/chat/completions/{completion_id}/messages",
    op = "getChatCompletionMessages", page = true },

  { "completions", "create", "POST", "/completions", op = "createCompletion", required = { "model", "prompt" },
    stream = true },

  { "conversations", "create", "POST", "/conversations", op = "createConversation" },
  { "conversations", "retrieve", "GET", "/conversations/{conversation_id}", op = "getConversation" },
  { "conversations", "update", "POST", "/conversations/{conversation_id}", op = "updateConversation",
    required = { "metadata" } },
  { "conversations", "delete", "DELETE", "/conversations/{conversation_id}", op = "deleteConversation" },
  { "conversations.items", "create", "POST", "/conversations/{conversation_id}/items",
    op = "createConversationItems", required = { "items" } },
  { "conversations.items", "list", "GET", "/conversations/{conversation_id}/items", op = "listConversationItems",
    page = true },
  { "conversations.items", "retrieve", "GET", "/conversations/{conversation_id}/items/{item_id}",
    op = "getConversationItem" },
  { "conversations.items", "delete", "DELETE", "/conversations/{conversation_id}/items/{item_id}",
    op = "deleteConversationItem" },

  { "embeddings", "create", "POST", "/embeddings", op = "createEmbedding", required = { "model", "input" } },

  { "files", "create", "POST", "/files", op = "createFile", required = { "file", "purpose" }, files = { "file" } },
  { "files", "list", "GET", "/files", op = "listFiles", page = true },
  { "files", "retrieve", "GET", "/files/{file_id}", op = "retrieveFile" },
  { "files", "delete", "DELETE", "/files/{file_id}", op = "deleteFile" },
  { "files", "content", "GET", "/files/{file_id}/content", op = "downloadFile", result = "bytes" },

  { "fine_tuning.jobs", "create", "POST", "/fine_tuning/jobs", op = "createFineTuningJob",
    required = { "model", "training_file" } },
  { "fine_tuning.jobs", "list", "GET", "/fine_tuning/jobs", op = "listPaginatedFineTuningJobs", page = true },
  { "fine_tuning.jobs", "retrieve", "GET", "/fine_tuning/jobs/{fine_tuning_job_id}", op = "retrieveFineTuningJob" },
  { "fine_tuning.jobs", "cancel", "POST", "/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
    op = "cancelFineTuningJob" },
  { "fine_tuning.jobs", "pause", "POST", "/fine_tuning/jobs/{fine_tuning_job_id}/pause", op = "pauseFineTuningJob" },
  { "fine_tuning.jobs", "resume", "POST", "/fine_tuning/jobs/{fine_tuning_job_id}/resume",
    op = "resumeFineTuningJob" },
  { "fine_tuning.jobs.events", "list", "GET", "/fine_tuning/jobs/{fine_tuning_job_id}/events",
    op = "listFineTuningEvents", page = true },
  { "fine_tuning.jobs.checkpoints", "list", "GET", "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
    op = "listFineTuningJobCheckpoints", page = true },

  { "images", "generate", "POST", "/images/generations", op = "createImage", required = { "prompt" }, stream = true },
  { "images", "edit", "POST", "/images/edits", op = "createImageEdit", required = { "image", "prompt" },
    files = { "image", "mask" }, stream = true },
  { "images", "variation", "POST", "/images/variations", op = "createImageVariation", required = { "image" },
    files = { "image" } },

  { "models", "list", "GET", "/models", op = "listModels", page = true },
  { "models", "retrieve", "GET", "/models/{model}", op = "retrieveModel" },
  { "models", "delete", "DELETE", "/models/{model}", op = "deleteModel" },

  { "moderations", "create", "POST", "/moderations", op = "createModeration", required = { "input" } },

  { "responses", "create", "POST", "/responses", op = "createResponse", stream = true },
  { "responses", "retrieve", "GET", "/responses/{response_id}", op = "getResponse", stream = true },
  { "responses", "delete", "DELETE", "/responses/{response_id}", op = "deleteResponse" },
  { "responses", "cancel", "POST", "/responses/{response_id}/cancel", op = "cancelResponse" },
  { "responses", "compact", "POST", "/responses/compact", op = "Compactconversation", required = { "model" } },
  { "responses.input_items", "list", "GET", "/responses/{response_id}/input_items", op = "listInputItems",
    page = true },
  { "responses.input_tokens", "count", "POST", "/responses/input_tokens", op = "Getinputtokencounts" },

  { "uploads", "create", "POST", "/uploads", op = "createUpload",
    required = { "filename", "purpose", "bytes", "mime_type" } },
  { "uploads", "complete", "POST", "/uploads/{upload_id}/complete", op = "completeUpload", required = { "part_ids" } },
  { "uploads", "cancel", "POST", "/uploads/{upload_id}/cancel", op = "cancelUpload" },
  { "uploads.parts", "create", "POST", "/uploads/{upload_id}/parts", op = "addUploadPart", required = { "data" },
    files = { "data" } },

  { "vector_stores", "create", "POST", "/vector_stores", op = "createVectorStore" },
  { "vector_stores", "list", "GET", "/vector_stores", op = "listVectorStores", page = true },
  { "vector_stores", "retrieve", "GET", "/vector_stores/{vector_store_id}", op = "getVectorStore" },
  { "vector_stores", "update", "POST", "/vector_stores/{vector_store_id}", op = "modifyVectorStore" },
  { "vector_stores", "delete", "DELETE", "/vector_stores/{vector_store_id}", op = "deleteVectorStore" },
  { "vector_stores", "search", "POST", "/vector_stores/{vector_store_id}/search", op = "searchVectorStore",
    required = { "query" }, page = true },
  { "vector_stores.files", "create", "POST", "/vector_stores/{vector_store_id}/files", op = "createVectorStoreFile",
    required = { "file_id" } },
  { "vector_stores.files", "list", "GET", "/vector_stores/{vector_store_id}/files", op = "listVectorStoreFiles",
    page = true },
  { "vector_stores.files", "retrieve", "GET", "/vector_stores/{vector_store_id}/files/{file_id}",
    op = "getVectorStoreFile" },
  { "vector_stores.files", "update", "POST", "/vector_stores/{vector_store_id}/files/{file_id}",
    op = "updateVectorStoreFileAttributes", required = { "attributes" } },
  { "vector_stores.files", "delete", "DELETE", "/vector_stores/{vector_store_id}/files/{file_id}",
    op = "deleteVectorStoreFile" },
  { "vector_stores.files", "content", "GET", "/vector_stores/{vector_store_id}/files/{file_id}/content",
    op = "retrieveVectorStoreFileContent", page = true },
  { "vector_stores.file_batches", "create", "POST", "/vector_stores/{vector_store_id}/file_batches",
    op = "createVectorStoreFileBatch" },
  { "vector_stores.file_batches", "retrieve", "GET", "/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    op = "getVectorStoreFileBatch" },
  { "vector_stores.file_batches", "cancel", "POST", "/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
    op = "cancelVectorStoreFileBatch" },
  { "vector_stores.file_batches.files", "list", "GET",
    "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files", op = "listFilesInVectorStoreBatch", page = true },
}

--- @class oaichat.Endpoint
--- @field group string "vector_stores.files"
--- @field name string "create"
--- @field method string
--- @field path string "/vector_stores/{vector_store_id}/files"
--- @field ids string[] the names in its braces, in order
--- @field op string operationId
--- @field required string[]
--- @field page boolean|nil
--- @field stream boolean|string|nil "parameter=value" where it is not stream = true
--- @field files table<string, boolean>|nil
--- @field result string "json", "bytes" or "text"

--- All of them, in the order of the table.
--- @type oaichat.Endpoint[]
M.list = {}
--- group -> name -> endpoint; groups that only hold groups are there, too.
M.groups = {}

local function add_group(name)
  M.groups[name] = M.groups[name] or {}
  local outer = name:match "^(.*)%.[^.]+$"
  if outer then add_group(outer) end
end

for i, row in ipairs(ROWS) do
  local ids, files = {}, row.files and {} or nil
  for id in row[4]:gmatch "{([%w_]+)}" do ids[#ids + 1] = id end
  for _, name in ipairs(row.files or {}) do files[name] = true end
  M.list[i] = {
    group = row[1], name = row[2], method = row[3], path = row[4], ids = ids, op = row.op,
    required = row.required or {}, page = row.page, stream = row.stream, files = files, result = row.result or "json",
  }
  add_group(row[1])
  M.groups[row[1]][row[2]] = M.list[i]
end

return M
