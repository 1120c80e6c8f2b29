--- routes: one server that plays several models, each after a list of its own, for
-- specs of the ladder. A session of it asks "first" and falls back to "second".

local assert = require "luassert"
local chat = require "oaichat"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local M = {}

--- Answers: each is played by what it is: a function of request and response; a table
--- { status, error object, headers }; a string: a good answer with that text.
function M.play(answer, request, response)
  if type(answer) == "function" then return answer(request, response) end
  if type(answer) == "table" then
    return response:json(answer[1], { error = answer[2] or { message = "no" } }, answer[3])
  end
  play.good(request, response, answer)
end

--- @param models table<string, table> model -> its answers in order; the last one is played for ever after
--- @return oaichat.testing.Server server, with `asked`: model -> requests
function M.serve(models)
  local asked = {}
  local server = assert(testing.server(function(request, response)
    local model = request:json().model
    local list = models[model] or error("nobody asks " .. model)
    asked[model] = (asked[model] or 0) + 1
    M.play(list[math.min(asked[model], #list)], request, response)
  end))
  server.asked = asked
  return server
end

--- Ends a server, on which nothing went wrong, and what still runs.
--- @param server oaichat.testing.Server|nil
function M.close(server)
  if server then
    assert.same({}, server.errors)
    server:close()
  end
  chat.run()
end

--- @param extra table|nil options of chat.new
function M.session(server, extra)
  local options = {
    base_url = server.url, api_key = "sk-spec-key", model = "first", retry = { max = 2 },
    fallbacks = { { model = "second" } },
  }
  for name, value in pairs(extra or {}) do options[name] = value end
  return assert(chat.new(options))
end

--- Reads a turn: "send", "stream" (for), "next", "events", "callbacks".
--- @return table reply, err, heard, events
function M.read(session, mode, input, opts)
  local out = { events = {}, heard = "" }
  if mode == "send" then
    local _
    out.reply, _, out.err = session:send(input, opts)
    out.heard = out.reply and out.reply.text or ""
    return out
  elseif mode == "callbacks" then
    local all = {}
    for name, value in pairs(opts or {}) do all[name] = value end
    function all.on_event(event) out.events[#out.events + 1] = event end
    function all.on_done(reply, _, err) out.reply, out.err, out.over = reply, err, true end
    session:stream(input, all)
    while not out.over do
      chat.wait(1)
      chat.step()
    end
  elseif mode == "next" then
    local stream = session:stream(input, opts)
    for text in stream.next, stream do out.heard = out.heard .. text end
    local _
    out.reply, _, out.err = stream:result()
    return out
  else
    local stream = session:stream(input, opts)
    for event in stream:events() do out.events[#out.events + 1] = event end
    local _
    out.reply, _, out.err = stream:result()
  end
  for _, event in ipairs(out.events) do
    if event.type == "restart" then out.heard = "" end
    if event.type == "text" then out.heard = out.heard .. event.text end
  end
  return out
end

--- Asserts an answer: its text, where it came from, and that what was heard is what it is.
function M.answered(out, text, step)
  if out.err then error(out.err.kind .. ": " .. out.err.message, 2) end
  assert.equal(text, out.reply.text)
  assert.equal(text, out.heard)
  local via = out.reply.via
  assert.equal(step, via and via[#via].step)
  return out.reply
end

--- A stream that breaks behind some text: by "close" or "reset", or stays silent.
function M.cut(text, ending)
  return function(_, response)
    response:event(testing.chunk(text))
    if ending ~= "hold" then response[ending or "close"](response) end
  end
end

return M
