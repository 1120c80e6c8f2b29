--- realtime: events both ways against a peer in the same thread.

local chat = require "oaichat"
local core = require "oaichat.core"
local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local peer_of = require "spec.support.ws_peer"

local rt, heard, asked

-- answer(event) -> a list of events, or a text that is said as it is
local function connect(answer, opts)
  local reader = core.websocket_reader { from_client = true }
  heard = {}
  local url = peer_of.play(function(key, head)
    asked = head
    return peer_of.yes(key)
  end, function(peer, bytes)
    local at = 1
    while true do
      local after, kind, data = reader:read(bytes, at)
      if not kind then break end
      at = after
      if kind == "text" then
        local event = assert(json.decode(data))
        heard[#heard + 1] = event
        local said = answer(event) or {}
        for _, one in ipairs(type(said) == "string" and { said } or said) do
          peer:write(peer_of.frame(1, type(one) == "table" and json.encode(one) or one), 60)
        end
      end
    end
  end)
  opts = opts or {}
  opts.base_url, opts.api_key = "http" .. url:match "^ws(.-)%?", "sk-secret-1"
  rt = assert(chat.realtime(opts))
end

local function answering(event)
  if event.type ~= "response.create" then return end
  return {
    { type = "response.created", response = { id = "r1" } },
    { type = "response.output_text.delta", response_id = "r1", delta = "Hel" },
    { type = "response.output_audio.delta", response_id = "r1", delta = core.base64 "\0\255\1" },
    { type = "response.output_audio_transcript.delta", response_id = "r1", delta = "hum" },
    { type = "response.output_text.delta", response_id = "other", delta = "no" },
    { type = "rate_limits.updated", rate_limits = {} },
    { type = "response.output_text.delta", response_id = "r1", delta = "lo" },
    { type = "response.done", response = { id = "r1", status = "completed", usage = { total_tokens = 5 } } },
  }
end

describe("realtime", function()
  before_each(leaks.remember)
  after_each(function()
    if rt then rt:cancel() end
    peer_of.stop()
    rt = nil
    leaks.check()
  end)

  it("connects with the model and the key, which no text of it shows", function()
    connect(function() end, { model = "gpt realtime" })
    assert.is_truthy(asked:find("^GET /v1/realtime%?model=gpt%%20realtime HTTP"))
    assert.is_truthy(asked:find("Authorization: Bearer sk-secret-1\r\n", 1, true))
    assert.is_nil(tostring(rt):find "secret")
  end)

  it("says a text and assembles text, transcript, audio and usage of the answer", function()
    connect(answering)
    local pieces = {}
    assert(rt:say "Hello?")
    local answer = assert(rt:reply(function(text) pieces[#pieces + 1] = text end))
    assert.same({ "Hel", "hum", "lo" }, pieces)
    assert.same({ id = "r1", status = "completed", text = "Hello", transcript = "hum", audio = "\0\255\1",
      usage = { total_tokens = 5 } }, answer)
    assert.equal("Hello?", heard[1].item.content[1].text)
    assert.same({ "event_1", "event_2" }, { heard[1].event_id, heard[2].event_id })
  end)

  it("works the same in tasks", function()
    connect(answering)
    local text
    chat.spawn(function()
      assert(rt:say "Hello?")
      text = assert(rt:reply()).text
    end)
    chat.run()
    assert.equal("Hello", text)
  end)

  it("sends audio as base64 and hands out audio events with their bytes", function()
    connect(function(event)
      return { { type = "response.output_audio.delta", delta = event.audio } }
    end)
    assert(rt:append_audio "\1\2\254")
    assert.equal("\1\2\254", rt:next().audio)
    assert.equal("input_audio_buffer.append", heard[1].type)
  end)

  it("hands out error events, keeps the last, and goes on", function()
    connect(function(event)
      if event.type == "bad" then
        return { { type = "error", error = { type = "invalid_request_error", code = "unknown_event" } } }
      end
      return answering(event)
    end)
    assert(rt:send { type = "bad" })
    local _, _, err = rt:reply()
    assert.same({ "invalid_request", "unknown_event" }, { err.kind, err.code })
    assert.equal("error", rt.last_error.type)
    assert(rt:say "x")
    assert.equal("Hello", rt:reply().text)
  end)

  it("tells of an error behind an answer that was read event by event", function()
    connect(function(event)
      if event.type == "bad" then
        return { { type = "error", error = { type = "invalid_request_error", code = "nope" } } }
      end
      return answering(event)
    end)
    assert(rt:say "x")
    for event in rt:events() do if event.type == "response.done" then break end end
    assert(rt:send { type = "bad" })
    assert.equal("nope", select(3, rt:reply()).code)
  end)

  it("reads answers that go on at once, in the order in which they began", function()
    local function text(id, delta) return { type = "response.output_text.delta", response_id = id, delta = delta } end
    connect(function(event)
      if event.type ~= "go" then return end
      return {
        { type = "response.created", response = { id = "a" } }, { type = "response.created", response = { id = "b" } },
        text("a", "1"), text("b", "x"), text("a", "2"),
        { type = "response.done", response = { id = "a", status = "completed" } }, text("b", "y"),
        { type = "response.done", response = { id = "b", status = "cancelled" } },
      }
    end)
    assert(rt:send { type = "go" })
    local told = {}
    local function tell(piece) told[#told + 1] = piece end
    local first = rt:reply(tell)
    assert.same({ "a", "12", "completed" }, { first.id, first.text, first.status })
    assert.same({ "1", "2" }, told)
    local second = rt:reply(tell)
    assert.same({ "b", "xy", "cancelled" }, { second.id, second.text, second.status })
    assert.same({ "1", "2", "x", "y" }, told)
  end)

  it("ends on what is no event, no base64, and an answer over its cap", function()
    for _, case in ipairs {
      { "{", "protocol" }, { "[]", "protocol" },
      { { { type = "response.output_audio.delta", delta = "?" } }, "protocol" },
      { { { type = "response.created", response = { id = "a" } },
        { type = "response.output_text.delta", response_id = "a", delta = ("x"):rep(30) } }, "too_large" },
    } do
      connect(function() return case[1] end, { answer_bytes = 20 })
      assert(rt:send { type = "go" })
      local _, _, err = rt:reply()
      assert.equal(case[2], err.kind)
      assert.equal(err, (select(3, rt:next())))
      peer_of.stop()
    end
  end)
end)
