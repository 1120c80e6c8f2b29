--- Whole answers made by chance, in order and damaged: a quick turn gives what a whole one
-- gives, field by field, in whichever order they are looked at. N= for a longer campaign.
-- luacheck: no max line length

local json = require "oaichat.json"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local replies = require "oaichat.reply"
local testing = require "oaichat.testing"

local N, SEED = tonumber(os.getenv "N" or 700), tonumber(os.getenv "SEED" or 1)

-- Park and Miller's generator: the same answers on every Lua.
local state = SEED
local function draw(n)
  state = state * 48271 % 2147483647
  return state % n + 1
end
local function pick(list) return list[draw(#list)] end
local function percent(p) return draw(100) <= p end

-- ---- answers -------------------------------------------------------------------------

local STRINGS = {
  '"a"', '""', '"error"', '"h\\u00e9"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00x"', '"\255"', '"\195\169"', '"\195"', '"stop"', '"x\\ny"',
  '"chat.completion"', '"\\u0000"',
}
local OTHERS = { "null", "0", "1", "-0", "0.0", "1e2", "01", "1.", "true", "false", "tru", "[]", "{}" }

local function value(depth)
  if percent(35) then return pick(STRINGS) end
  if percent(70) or depth > 3 then return pick(OTHERS) end
  if percent(50) then return ("[%s,%s]"):format(value(depth + 1), value(depth + 1)) end
  return ('{"%s":%s}'):format(pick { "a", "usage", "message", "text", "type" }, value(depth + 1))
end

-- members: { chance in per cent, name, values }, the values by draw; now and then one is there twice, or is anything.
local function object(members)
  local out = {}
  for _, member in ipairs(members) do
    if percent(member[1]) then out[#out + 1] = ('"%s":%s'):format(member[2], percent(4) and value(0) or pick(member[3])) end
    if percent(2) then out[#out + 1] = ('"%s":%s'):format(member[2], value(0)) end
  end
  for i = #out, 2, -1 do
    local j = percent(30) and draw(i) or i
    out[i], out[j] = out[j], out[i]
  end
  return "{" .. table.concat(out, pick { ",", " , ", ",\n" }) .. "}"
end

local function message()
  local any = { "null", "[]", value(0) }
  return object {
    { 90, "role", { '"assistant"' } }, { 95, "content", { pick(STRINGS), pick(STRINGS), pick(STRINGS), value(0) } }, { 30, "refusal", any },
    { 30, "annotations", any }, { 15, "tool_calls", any }, { 5, "reasoning", any }, { 5, "reasoning_content", any },
    { 5, "reasoning_details", any }, { 5, "extra_content", any }, { 5, "audio", any }, { 3, "c\\u006fntent", { '"esc"' } },
  }
end

local function choice(index)
  return object {
    { 85, "index", { "0", "0", "0", tostring(index) } }, { 97, "message", { message() } }, { 30, "logprobs", { "null", value(0) } },
    { 80, "finish_reason", { '"stop"', '"length"', "null" } }, { 3, "delta", { value(0) } }, { 8, "error", { value(0) } },
  }
end

local function completion()
  local choices = "[" .. choice(0) .. (percent(8) and "," .. choice(1) or "") .. "]"
  local text = object {
    { 90, "id", { '"c"', "null" } }, { 90, "model", { '"m"', "null" } }, { 60, "object", { '"chat.completion"' } },
    { 98, "choices", { choices } }, { 70, "usage", { '{"total_tokens":5}', value(0) } }, { 8, "error", { value(0) } },
    { 8, "x_groq", { '{"usage":{"total_tokens":7}}', value(0) } }, { 15, pick { "x", "obfuscation", "opaque", "whole", "api" }, { value(0) } },
  }
  if percent(7) then
    local at = draw(#text)
    text = text:sub(1, at - 1) .. pick { "", "\255", '"', "}", "{", ",", "\0", " " } .. text:sub(at + draw(2) - 1)
  end
  return text .. (percent(3) and pick { " ", "x", "\n", "{}" } or "")
end

-- ---- the comparison ------------------------------------------------------------------

local FIELDS = {
  "text", "reasoning", "refusal", "tool_calls", "choices", "finish_reason", "usage", "model", "id", "request_id", "ratelimit", "message", "via",
}

local function shuffled(list)
  local out = {}
  for i, one in ipairs(list) do out[i] = one end
  for i = #out, 2, -1 do
    local j = draw(i)
    out[i], out[j] = out[j], out[i]
  end
  return out
end

-- As text; the ids that we give calls count up.
local function shown(what)
  return what == nil and "nil" or (assert(json.encode(what)):gsub("call_%x+_%d+", "call"))
end

local function same_reply(whole, quick)
  for _, name in ipairs(shuffled(FIELDS)) do
    if shown(whole[name]) ~= shown(quick[name]) then return name end
  end
  if shown(whole:raw()) ~= shown(quick:raw()) then return "raw" end
  if #quick.attempts ~= 1 or quick.attempts[1].request_id ~= whole.attempts[1].request_id then return "attempts" end
end

local function same_error(whole, quick)
  for _, name in ipairs { "kind", "code", "status", "message", "safe_message", "request_id" } do
    if whole[name] ~= quick[name] then return name end
  end
  if shown(whole.input) ~= shown(quick.input) then return "input" end
end

describe("a quick turn, on answers made by chance,", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("gives what a whole one gives", function()
    local body, headers
    local server = assert(testing.server(function(_, response) response:body(200, body, headers) end))
    local session = play.session(server, { api_key = "sk-fuzz-key" })
    local plain, made, good = 0, replies.plain, 0
    replies.plain = function(...)
      plain = plain + 1
      return made(...)
    end
    local ok, why = pcall(function()
      for i = 1, N do
        body, headers = completion(), { ["content-type"] = "application/json" }
        if percent(20) then headers["x-request-id"] = pick { "r", "sk-fuzz-key", "" } end
        local one, other = session:fork(), session:fork()
        local whole, _, failed = one:send("q", {})
        local quick, _, err = other:send "q"
        local where = "success"
        if whole and quick then
          where, good = same_reply(whole, quick), good + 1
        elseif not whole and not quick then
          where = same_error(failed, err)
        end
        where = where or shown(one:messages()) ~= shown(other:messages()) and "messages"
        assert.is_true(not where, ("SEED=%d, %d: %s differs for %q"):format(SEED, i, tostring(where), body))
      end
    end)
    replies.plain = made
    server:close()
    assert(ok, why)
    assert.is_true(plain > N / 20 and good > plain and good < N, ("%d plain, %d good"):format(plain, good))
  end)
end)
