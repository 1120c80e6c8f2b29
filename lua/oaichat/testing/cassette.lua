--- The file of oaichat.testing's record and replay: JSON Lines, one interaction a
-- line, to be read by people and kept with the tests. The first line says what it is:
--
--   {"cassette":"oaichat","upstream":"https://api.openai.com/v1","version":1}
--   {"request":{"method":"POST","target":"/chat/completions","headers":{…},"json":{…}},
--    "response":{"status":200,"headers":[["Content-Type","text/event-stream"],…],"framing":"chunked","end":"finish",
--                "pieces":[[0.312,"data: …"],[0.33,"data: …"]]}}
--
-- A piece is what came at once: seconds since the request, and its bytes ("base64" beside them where they are no
-- UTF-8). A request that is not JSON has "body", or "base64", in json's place. Knows files and JSON.

local core = require "oaichat.core"
local json = require "oaichat.json"

local M = { VERSION = 1 }

local function is_text(bytes)
  return core.utf8_repair(bytes) == bytes
end

local function pack_piece(at, bytes)
  at = math.floor(at * 1e4 + 0.5) / 1e4
  if is_text(bytes) then return json.array { at, bytes } end
  return json.array { at, core.base64(bytes), "base64" }
end

local function pack_body(request)
  local value = json.decode(request.body)
  if value ~= nil then return value end
  if is_text(request.body) then return nil, request.body end
  return nil, nil, core.base64(request.body)
end

--- @param interaction { request: table, response: table } request.body and response.pieces ({ at, bytes }) are bytes
--- @return string line
function M.line(interaction)
  local request, response = interaction.request, interaction.response
  local value, body, coded = pack_body(request)
  local pieces, headers = json.array {}, json.array {}
  for i, piece in ipairs(response.pieces) do pieces[i] = pack_piece(piece[1], piece[2]) end
  for i, header in ipairs(response.headers) do headers[i] = json.array { header[1], core.utf8_repair(header[2]) } end
  return assert(json.encode {
    request = {
      method = request.method, target = request.target, headers = json.object(request.headers), json = value,
      body = body, base64 = coded,
    },
    response = {
      status = response.status, reason = response.reason, headers = headers, framing = response.framing,
      length = response.length, ["end"] = response["end"], pieces = pieces,
    },
  })
end

--- @param upstream string
--- @return string line
function M.header(upstream)
  return assert(json.encode { cassette = "oaichat", version = M.VERSION, upstream = upstream })
end

local function unpack_line(line, number)
  local entry, message = json.decode(line)
  if entry == nil then return nil, message end
  local request, response = entry.request, entry.response
  if type(request) ~= "table" or type(response) ~= "table" or type(response.pieces) ~= "table" then
    return nil, "no interaction"
  end
  if request.base64 then request.body = core.unbase64(request.base64) end
  if request.json ~= nil and not request.body then request.body = assert(json.encode(request.json)) end
  for _, piece in ipairs(response.pieces) do
    if piece[3] == "base64" then piece[2] = core.unbase64(piece[2]) end
    if type(piece[1]) ~= "number" or type(piece[2]) ~= "string" then return nil, "a piece is [seconds, bytes]" end
  end
  entry.line, request.path = number, tostring(request.target):match "^[^?]*"
  return entry
end

local function check_header(line)
  local header = json.decode(line or "")
  if type(header) ~= "table" or header.cassette ~= "oaichat" then return nil, "no cassette of oaichat" end
  if header.version ~= M.VERSION then
    return nil, ("version %s; this library reads version %d"):format(tostring(header.version), M.VERSION)
  end
  return true
end

--- @param path string
--- @return table[]|nil interactions with line, request (method, target, path, headers, body, json) and response
--- @return string|nil message with the line's number
function M.read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local list, number, message = {}, 0, nil
  for line in file:lines() do
    number = number + 1
    local ok
    if number == 1 then
      ok, message = check_header(line)
    elseif line:find "%S" then
      ok, message = unpack_line(line, number)
      list[#list + 1] = ok
    else
      ok = true
    end
    if not ok then break end
    message = nil
  end
  file:close()
  if number == 0 then number, message = 1, "no cassette of oaichat" end
  if message then return nil, ("%s:%d: %s"):format(path, number, message) end
  return list
end

return M
