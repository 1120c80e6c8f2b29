--- offline_endpoints: the other endpoints, for the blocks of the documents: fixed answers in
-- the forms of the API reference. The bot answers what is not here.

local dialects = require "spec.support.dialects"
local play = require "spec.support.play"

local M = {}

local ANSWERS = {
  ["POST /v1/embeddings"] = function(request, response)
    local input, data = request:json().input, {}
    for i = 1, type(input) == "table" and #input or 1 do
      data[i] = { object = "embedding", index = i - 1, embedding = "AACAPwAAAMA=" }
    end
    response:json(200, { object = "list", data = data, usage = { prompt_tokens = #data, total_tokens = #data } })
  end,
  ["POST /v1/files"] = function(_, response) response:json(200, { id = "file-1", object = "file" }) end,
  ["GET /v1/files/file-1/content"] = function(_, response) response:body(200, "what was in it") end,
  ["DELETE /v1/files/file-1"] = function(_, response) response:json(200, { id = "file-1", deleted = true }) end,
  ["POST /v1/audio/speech"] = function(_, response) response:body(200, "ID3 and some sound") end,
  ["POST /v1/images/generations"] = function(_, response)
    response:raw(play.HEAD .. 'data: {"type":"image_generation.partial_image","b64_json":"AA=="}\n\n'
      .. 'data: {"type":"image_generation.completed","b64_json":"AAAA"}\n\n'):close()
  end,
}

local function answer(request, response)
  local own = ANSWERS[request.method .. " " .. request.path]
  if own then
    own(request, response)
  elseif dialects.of(request) then
    play.good(request, response, "An answer.")
  else
    return false
  end
  return true
end

--- Has the servers that are made from now on answer them.
--- @param testing table oaichat.testing
function M.beside(testing)
  local make = testing.server
  function testing.server(handler, opts)
    return make(function(request, response)
      if not answer(request, response) then return handler(request, response) end
    end, opts)
  end
end

return M
