--- mcp/content: what a server hands out, as the messages and results of a chat:
-- content blocks to content parts, names to names that a model may say. Pure.

local json = require "oaichat.json"
local rpc = require "oaichat.mcp.rpc"

local M = {}

local AUDIO = { ["audio/wav"] = "wav", ["audio/x-wav"] = "wav", ["audio/mpeg"] = "mp3", ["audio/mp3"] = "mp3" }

local function text_part(text)
  return { type = "text", text = text }
end

local function image_part(mime, data)
  return { type = "image_url", image_url = { url = ("data:%s;base64,%s"):format(mime, data) } }
end

local function binary(uri, mime, data)
  return text_part(("[%s: %s, %d bytes that cannot be shown]"):format(uri, mime, math.floor(#data * 3 / 4)))
end

-- Bytes as the model may take them.
local function blob(uri, mime, data)
  mime = (mime or "application/octet-stream"):match "^[^;%s]*"
  if mime:find "^image/[%w.+-]+$" then return image_part(mime, data) end
  if AUDIO[mime] then return { type = "input_audio", input_audio = { data = data, format = AUDIO[mime] } } end
  return binary(uri, mime, data)
end

--- The contents of a resource.
local function resource(value)
  local uri = rpc.typed(value, "uri", "string") or "resource"
  local text, data = rpc.typed(value, "text", "string"), rpc.typed(value, "blob", "string")
  if text then return text_part(("[%s]\n%s"):format(uri, text)) end
  if data then return blob(uri, rpc.typed(value, "mimeType", "string"), data) end
  return text_part(("[%s]"):format(uri))
end

local function link(block)
  local name = rpc.typed(block, "title", "string") or rpc.typed(block, "name", "string") or "resource"
  local text = name .. ": " .. (rpc.typed(block, "uri", "string") or "")
  local about = rpc.typed(block, "description", "string")
  return text_part(about and text .. "\n" .. about or text)
end

--- One content block as a content part.
--- @param block table of CallToolResult.content or PromptMessage.content
--- @return table part
function M.part(block)
  local kind = rpc.get(block, "type")
  local data, mime = rpc.typed(block, "data", "string"), rpc.typed(block, "mimeType", "string")
  if kind == "text" then return text_part(rpc.typed(block, "text", "string") or "") end
  if kind == "image" and data then return blob("image", mime or "image/png", data) end
  if kind == "audio" and data then return blob("audio", mime or "audio/wav", data) end
  if kind == "resource" then return resource(rpc.get(block, "resource") or {}) end
  if kind == "resource_link" then return link(block) end
  return text_part(json.encode(block) or "[content of an unknown type]")
end

--- Content parts, or one string where all of it is text.
--- @param blocks table a block or a list of them
--- @return string|table content
function M.content(blocks)
  if rpc.get(blocks, "type") then blocks = { blocks } end
  local parts, texts = {}, {}
  for i, block in ipairs(blocks) do
    if type(block) ~= "table" then block = { type = "text", text = tostring(block) } end
    parts[i] = M.part(block)
    texts[#texts + 1] = parts[i].text
  end
  if #texts == #parts then return table.concat(texts, "\n") end
  return parts
end

local function words(content)
  if type(content) == "string" then return content end
  local texts = {}
  for _, part in ipairs(content) do texts[#texts + 1] = part.text end
  return table.concat(texts, "\n")
end

--- What a tool's run returns for a CallToolResult.
--- @return string|table|nil content, string|nil message where the tool failed
function M.of_result(result)
  local content = M.content(rpc.typed(result, "content", "table") or {})
  local structured = rpc.get(result, "structuredContent")
  if (content == "" or #content == 0) and structured ~= nil then content = json.encode(structured) or "" end
  if rpc.get(result, "isError") == true then
    local text = words(content)
    return nil, text ~= "" and text or "the tool failed"
  end
  return content
end

--- The messages of a prompt, for session:send.
--- @return table[]
function M.messages(result)
  local out = {}
  for _, message in ipairs(rpc.typed(result, "messages", "table") or {}) do
    local role = rpc.get(message, "role")
    if role == "user" or role == "assistant" then
      local content = M.content(rpc.typed(message, "content", "table") or {})
      if role == "assistant" then content = words(content) end
      out[#out + 1] = { role = role, content = content }
    end
  end
  return out
end

--- A name that a model may say: letters, digits, _ and -, at most 64 of them, and no
--- other in `taken`.
--- @param taken table<string, boolean>
--- @return string
function M.name(name, taken)
  local base = name:gsub("[^%w_-]", "_"):sub(1, 64)
  if base == "" then base = "tool" end
  local out, n = base, 1
  while taken[out] do
    n = n + 1
    local tail = "_" .. n
    out = base:sub(1, 64 - #tail) .. tail
  end
  taken[out] = true
  return out
end

return M
