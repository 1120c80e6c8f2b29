--- dialects: the same answers in the formats of several APIs, for specs that hold for each
-- of them; `busy` is the code of an overloaded server. Texts are written without anything
-- that JSON escapes, unless an escape is meant.
-- luacheck: no max line length

local M = {}

local function event(name, json)
  return ("event: %s\ndata: %s\n\n"):format(name, json)
end

-- ---- Responses -------------------------------------------------------------------

local function typed(name, members)
  return event("response." .. name, ('{"type":"response.%s",%s}'):format(name, members))
end

local function ended(status, members)
  return typed(status, ('"response":{"id":"r-1","object":"response","model":"m-1","status":"%s",%s}')
    :format(status, members))
end

M.responses = {
  api = "responses", path = "/v1/responses", busy = "server_is_overloaded",
  open = typed("created", '"response":{"id":"r-1","model":"m-1","status":"in_progress","output":[]}'),
  text = function(text) return typed("output_text.delta", '"output_index":0,"content_index":0,"delta":"' .. text .. '"') end,
  reasoning = function(text) return typed("reasoning_summary_text.delta", '"output_index":0,"delta":"' .. text .. '"') end,
  refusal = function(text) return typed("refusal.delta", '"output_index":0,"content_index":0,"delta":"' .. text .. '"') end,
  --- A call whose arguments come in pieces; place counts from 0.
  call = function(place, id, name, ...)
    local out = { typed("output_item.added",
      ('"output_index":%d,"item":{"type":"function_call","id":"fc_%s","call_id":"%s","name":"%s","arguments":""}')
        :format(place, id, id, name)) }
    for _, piece in ipairs { ... } do
      out[#out + 1] = typed("function_call_arguments.delta", ('"output_index":%d,"delta":"%s"'):format(place, piece))
    end
    return table.concat(out)
  end,
  stop = ended("completed", '"output":[],"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}'),
  length = ended("incomplete", '"output":[],"incomplete_details":{"reason":"max_output_tokens"}'),
  filtered = ended("incomplete", '"output":[],"incomplete_details":{"reason":"content_filter"}'),
  ping = event("keepalive", '{"type":"keepalive"}'),
  --- What servers say in a stream when they fail.
  error = function(code, message) return event("error", ('{"type":"error","code":"%s","message":"%s","param":null}'):format(code, message)) end,
  whole = function(text)
    return ('{"id":"r-1","object":"response","model":"m-1","status":"completed","error":null,"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"%s","annotations":[]}]}],"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}}')
      :format(text)
  end,
  refused = function(code, message) return ('{"error":{"type":"x","code":"%s","message":"%s"}}'):format(code, message) end,
}

-- ---- Anthropic -------------------------------------------------------------------

local function named(name, members)
  return event(name, ('{"type":"%s"%s}'):format(name, members and "," .. members or ""))
end

local function block(place, start, ...)
  local out = { named("content_block_start", ('"index":%d,"content_block":%s'):format(place, start)) }
  for _, delta in ipairs { ... } do
    out[#out + 1] = named("content_block_delta", ('"index":%d,"delta":%s'):format(place, delta))
  end
  out[#out + 1] = named("content_block_stop", '"index":' .. place)
  return table.concat(out)
end

local function stopped(reason)
  return named("message_delta", ('"delta":{"stop_reason":"%s"},"usage":{"output_tokens":2}'):format(reason))
    .. named "message_stop"
end

M.anthropic = {
  api = "anthropic", path = "/v1/messages", busy = "overloaded_error",
  open = named("message_start",
    '"message":{"id":"r-1","type":"message","role":"assistant","model":"m-1","content":[],"usage":{"input_tokens":7,"output_tokens":1}}')
    .. named("content_block_start", '"index":0,"content_block":{"type":"text","text":""}'),
  text = function(text) return named("content_block_delta", '"index":0,"delta":{"type":"text_delta","text":"' .. text .. '"}') end,
  reasoning = function(text) return block(1, '{"type":"thinking","thinking":""}', '{"type":"thinking_delta","thinking":"' .. text .. '"}') end,
  call = function(place, id, name, ...)
    local deltas = {}
    for i, piece in ipairs { ... } do deltas[i] = ('{"type":"input_json_delta","partial_json":"%s"}'):format(piece) end
    return block(place + 1, ('{"type":"tool_use","id":"%s","name":"%s","input":{}}'):format(id, name), (table.unpack or unpack)(deltas))
  end,
  stop = stopped "end_turn", length = stopped "max_tokens", filtered = stopped "refusal",
  ping = named "ping",
  error = function(code, message) return event("error", ('{"type":"error","error":{"type":"%s","message":"%s"}}'):format(code, message)) end,
  whole = function(text)
    return ('{"id":"r-1","type":"message","role":"assistant","model":"m-1","content":[{"type":"text","text":"%s"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":2}}')
      :format(text)
  end,
  refused = function(code, message) return ('{"type":"error","error":{"type":"%s","message":"%s"}}'):format(code, message) end,
}

--- The dialect that a request was written in; nil: chat completions.
function M.of(request)
  for _, dialect in pairs { M.responses, M.anthropic } do
    if request.path == dialect.path then return dialect end
  end
end

--- The apis whose sessions these specs run.
M.spoken = { M.responses, M.anthropic }

return M
