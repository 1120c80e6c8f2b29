--- client/uploads: a file of any size through the Uploads API: parts of 64 MB, read from
-- disk while they are sent (API reference, uploads).

local core = require "oaichat.core"
local errors = require "oaichat.errors"
local endpoints = require "oaichat.client.endpoints"
local json = require "oaichat.json"
local options = require "oaichat.options"
local tables = require "oaichat.tables"

local M = {}

--- Bytes of a part at most.
M.PART = 64 * 1024 * 1024

local KNOWN = { path = "string", purpose = "string", mime_type = "string", filename = "string", part = "number",
  expires_after = "table" }

local function size_of(path)
  local facts, why = core.file.stat(path)
  if not facts then return nil, ("%s: %s"):format(path, why) end
  if facts.kind ~= "file" then return nil, path .. ": it is no regular file" end
  if facts.size == 0 then return nil, path .. ": the file is empty" end
  return facts.size
end

-- Tells of the whole what a part tells of itself.
local function progress_of(opts, done, total)
  if not opts.progress then return opts end
  return tables.merged(opts, {
    progress = function(p)
      return opts.progress {
        uploaded = math.min(done + p.uploaded, total), upload_total = total, downloaded = p.downloaded,
        download_total = p.download_total,
      }
    end,
  })
end

local function broken(text)
  return errors.fail { kind = "protocol", code = "bad_response", message = "uploads: " .. text }
end

local function send_parts(client, upload, spec, size, opts)
  local endpoint, ids = endpoints.groups["uploads.parts"].create, json.array {}
  local part = math.floor(spec.part or M.PART)
  local offset = 0
  while offset < size do
    local own = math.min(part, size - offset)
    local answer, why, err = client:_call(endpoint, { upload.id },
      { data = { path = spec.path, offset = offset, size = own } }, progress_of(opts, offset, size))
    if not answer then return nil, why, err end
    if type(answer.id) ~= "string" then return broken "a part's answer has no id" end
    ids[#ids + 1] = answer.id
    offset = offset + own
  end
  return ids
end

--- Uploads a file in parts and completes it. A part that fails is tried again by itself;
--- where it fails for good the upload is canceled, so that nothing of it stays.
--- @param client oaichat.Client
--- @param spec { path: string, purpose: string, mime_type: string, filename: string|nil, part: number|nil } part: bytes
---   of one, 64 MB
--- @param opts table|nil as every call; progress is told of the whole
--- @return table|nil upload completed, with its `file`; string|nil message, oaichat.Error|nil err
function M.file(client, _, spec, opts)
  if type(spec) ~= "table" then errors.misuse "uploads:file: table expected" end
  options.check(spec, KNOWN, "uploads:file: ")
  for _, name in ipairs { "path", "purpose", "mime_type" } do
    if not spec[name] then errors.misuse("uploads:file: " .. name .. " is missing") end
  end
  if spec.part and not (spec.part >= 1 and spec.part < math.huge) then
    errors.misuse "uploads:file: part: bytes expected"
  end
  local size, wrong = size_of(spec.path)
  if not size then return errors.fail { kind = "storage", code = "io", message = wrong } end
  opts = opts or {}
  local quiet = tables.merged(opts)
  quiet.progress = nil
  local upload, why, err = client:_call(endpoints.groups.uploads.create, {}, {
    filename = spec.filename or spec.path:match "[^/\\]+$", purpose = spec.purpose, bytes = size,
    mime_type = spec.mime_type, expires_after = spec.expires_after,
  }, quiet)
  if not upload then return nil, why, err end
  if type(upload.id) ~= "string" then return broken "the answer has no id" end
  local ids
  ids, why, err = send_parts(client, upload, spec, size, opts)
  if not ids then
    -- a task that was canceled can ask nothing any more
    if err.kind ~= "canceled" or err.code == "callback" then
      client:_call(endpoints.groups.uploads.cancel, { upload.id }, {}, quiet)
    end
    return nil, why, err
  end
  return client:_call(endpoints.groups.uploads.complete, { upload.id }, { part_ids = ids }, quiet)
end

return M
