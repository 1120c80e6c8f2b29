--- message/part: content parts from bytes: pictures, sound, files.

local core = require "oaichat.core"

local M = {}

-- Media types by the file's first bytes.
local MAGIC = {
  { "^\137PNG\r\n\26\n", "image/png" },
  { "^\255\216\255", "image/jpeg" },
  { "^GIF8[79]a", "image/gif" },
  { "^RIFF....WEBP", "image/webp" },
  { "^RIFF....WAVE", "audio/wav" },
  { "^ID3", "audio/mp3" },
  { "^\255[\251\243\242]", "audio/mp3" },
  { "^%%PDF%-", "application/pdf" },
}

--- The media type of bytes, by content, never by name.
--- @param bytes string
--- @return string|nil type nil when it is none of PNG, JPEG, GIF, WebP, WAV, MP3, PDF
function M.media_type(bytes)
  for _, rule in ipairs(MAGIC) do
    if bytes:find(rule[1]) then return rule[2] end
  end
end

--- A content part from bytes in memory (RFC 2397 data URL, base64).
--- @param bytes string
--- @param name string file name for parts of type file
--- @return table|nil part, string|nil message
function M.part(bytes, name)
  local media = M.media_type(bytes)
  if not media then
    return nil, ("%s: not a PNG, JPEG, GIF, WebP, WAV, MP3 or PDF file"):format(name)
  end
  local data = core.base64(bytes)
  if media:find("^image/") then
    return { type = "image_url", image_url = { url = ("data:%s;base64,%s"):format(media, data) } }
  elseif media:find("^audio/") then
    return { type = "input_audio", input_audio = { data = data, format = media:sub(7) } }
  end
  return {
    type = "file",
    file = { filename = name:match("[^/\\]+$") or name, file_data = ("data:%s;base64,%s"):format(media, data) },
  }
end

return M
