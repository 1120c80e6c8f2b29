--- play: plays one answer to a session in the same thread, to the byte, and holds
-- what every row of the fault table promises besides its own: a failure leaves
-- the history as it was, and the session goes on.

local assert = require "luassert"
local chat = require "oaichat"
local core = require "oaichat.core"
local dialects = require "spec.support.dialects"
local testing = require "oaichat.testing"

local M = {}

M.HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
M.DONE = "data: [DONE]\n\n"

--- A chunk of the first choice out of a delta's JSON.
function M.chunk(delta, finish)
  return ('data: {"id":"c-1","model":"m-1","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n')
    :format(delta, finish and '"' .. finish .. '"' or "null")
end

--- A chunk of text (without anything that JSON escapes).
function M.text(text)
  return M.chunk('{"content":"' .. text .. '"}')
end

M.FINISH = M.chunk("{}", "stop")
M.END = M.FINISH .. M.DONE

--- A whole HTTP answer; headers is a string of lines.
function M.http(status, body, headers)
  return ("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s")
    :format(status, headers or "Content-Type: application/json\r\n", #body, body)
end

--- A whole completion out of a message's JSON.
function M.completion(message, finish)
  return ('{"id":"c-1","model":"m-1","choices":[{"index":0,"message":%s,"finish_reason":%s}]}')
    :format(message, finish == false and "null" or '"' .. (finish or "stop") .. '"')
end

-- Park and Miller's generator: the same splits on every Lua.
local function random(seed)
  return function(n)
    seed = seed * 48271 % 2147483647
    return seed % n + 1
  end
end

local function whole(bytes) return { bytes } end

local function randomly(bytes)
  local draw, pieces, at = random(#bytes + 7), {}, 1
  while at <= #bytes do
    local n = draw(draw(60))
    pieces[#pieces + 1] = bytes:sub(at, at + n - 1)
    at = at + n
  end
  return pieces
end

--- The splits: name -> function or bytes a piece.
M.splits = { whole = whole, bytewise = 1, random = randomly }

--- Writes bytes to the socket, split.
function M.write(response, bytes, split)
  if type(split) == "number" then return response:raw(bytes, split) end
  for _, piece in ipairs((split or whole)(bytes)) do response:raw(piece, #piece) end
  return response
end

--- A good answer, as the request asks for it, in the format of its API.
function M.good(request, response, text)
  local other = dialects.of(request)
  if other and request:json().stream then
    response:raw(M.HEAD .. other.open .. other.text(text or "good") .. other.stop):close()
  elseif other then
    response:raw(M.http(200, other.whole(text or "good"))):close()
  elseif request:json().stream then
    response:event(testing.chunk(text or "good")):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
  else
    response:json(200, testing.completion(text or "good"))
  end
end

local function serve(answer, opts)
  return assert(testing.server(function(request, response)
    if request.number > 1 then return M.good(request, response) end
    if type(answer) == "function" then return answer(request, response) end
    M.write(response, answer, opts.split)
    local ending = opts.ending or "close"
    if ending ~= "hold" then response[ending](response) end
  end))
end

--- A server that gives these answers (functions of a request and a response) one after
--- the other, then good ones. The list may grow meanwhile.
function M.server(answers)
  return assert(testing.server(function(request, response)
    local answer = answers[request.number]
    if answer then return answer(request, response) end
    M.good(request, response)
  end))
end

function M.session(server, extra)
  -- one attempt: what it met is what is asserted (spec/retry_spec.lua has the others)
  local options = { base_url = server.url, api_key = "sk-spec-key", model = "any", retry = { max = 0 } }
  for name, value in pairs(extra or {}) do options[name] = value end
  return assert(chat.new(options))
end

-- One turn, read in the way the mode says.
local function turn(session, mode, input)
  local out = { pieces = {} }
  if mode == "send" then
    out.reply, out.message, out.err = session:send(input)
  else
    local stream = session:stream(input)
    while true do
      local text, _, err = stream:next()
      if not text then
        out.next_err = err
        break
      end
      out.pieces[#out.pieces + 1] = text
      out.last_piece = core.now()
    end
    out.reply, out.message, out.err = stream:result()
    assert.equal(out.err, out.next_err)
  end
  out.heard = table.concat(out.pieces)
  return out
end

local function hold_failure(out, session, before, input)
  local err = out.err
  assert.equal(err.message, out.message)
  assert.equal(err.message, tostring(err))
  assert.equal("string", type(err.safe_message))
  assert.same(before, session:messages())
  assert.equal(input, err.input[#err.input].content)
  assert.equal(1, #err.attempts)
  assert.equal(err.kind, err.attempts[1].kind)
  if out.heard ~= "" then assert.equal(out.heard, err.partial.text) end
end

local function hold_success(out, session, before, mode)
  assert.equal(#before + 2, #session:messages())
  if mode == "stream" then assert.equal(out.reply.text, out.heard) end
end

local function two_turns(server, opts)
  local mode = opts.mode or "stream"
  local session = M.session(server, opts.new)
  session:append { { role = "user", content = "before" }, { role = "assistant", content = "yes" } }
  local before = session:messages()
  local start = core.now()
  local out = turn(session, mode, "hello")
  out.stop = core.now()
  out.seconds = out.stop - start
  assert.is_true((out.reply == nil) ~= (out.err == nil))
  if out.err then hold_failure(out, session, before, "hello") else hold_success(out, session, before, mode) end
  out.history = session:messages()
  out.requests = server.requests
  local again = turn(session, mode, "again")
  assert.is_nil(again.err)
  assert.equal("good", again.reply.text)
  return out
end

--- Plays `answer` (bytes, or a function of request and response) to one turn, then
--- a good one.
--- @param opts table|nil mode "stream"|"send", split, ending "close"|"reset"|"hold", new: options of chat.new
--- @return table reply, err, heard, pieces, seconds, history, requests
function M.run(answer, opts)
  opts = opts or {}
  local server = serve(answer, opts)
  local ok, out = pcall(two_turns, server, opts)
  server:close()
  if not ok then error(out, 0) end
  assert.same({}, server.errors)
  return out
end

--- Plays it in every mode (`opts.modes`, by default both) and at every split, and
--- lets `check` look at what came of it.
function M.each(answer, opts, check)
  for _, mode in ipairs(opts.modes or { "stream", "send" }) do
    for name, split in pairs(M.splits) do
      local all = {}
      for key, value in pairs(opts) do all[key] = value end
      all.mode, all.split = mode, split
      local ok, why = pcall(function() check(M.run(answer, all), mode) end)
      if not ok then
        error(("%s, %s: %s"):format(mode, name, tostring(type(why) == "table" and why.message or why)), 0)
      end
    end
  end
end

--- The same for event streams: `body` is what follows the head.
function M.events(body, check, opts)
  local all = { modes = { "stream" } }
  for key, value in pairs(opts or {}) do all[key] = value end
  M.each(M.HEAD .. body, all, check)
end

--- Asserts a failure's kind and code (nil: none is asserted), and its partial text.
function M.failed(out, kind, code, partial)
  assert.is_nil(out.reply, "a failure was expected")
  assert.equal(kind, out.err.kind)
  if code ~= nil then assert.equal(code, out.err.code) end
  if partial then assert.equal(partial, out.err.partial and out.err.partial.text) end
  return out.err
end

--- Asserts success and its text.
function M.succeeded(out, text)
  assert.is_nil(out.err and tostring(out.err.kind) .. ": " .. tostring(out.err))
  assert.equal(text, out.reply.text)
  return out.reply
end

return M
