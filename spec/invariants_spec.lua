--- What is sent is always valid: random edits, failures, cuts and crashes, then every
-- request is held against the API's rules (spec/support/strict.lua).

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local message = require "oaichat.message"
local play = require "spec.support.play"
local script = require "spec.support.script"
local strict = require "spec.support.strict"

-- Park and Miller's generator: the same walks on every Lua.
local function generator(seed)
  return function(n)
    seed = seed * 48271 % 2147483647
    return seed % n + 1
  end
end

local function call(draw, id)
  local names = { "look", "fail", "ask", "nosuch" }
  return { names[draw(#names)], draw(5) == 1 and "{" or "{}", id = id }
end

-- An answer of the server: text, calls, a failure, a cut.
local function answer(draw, n)
  local kind = draw(6)
  if kind <= 2 then return { text = "answer " .. n } end
  if kind <= 4 then
    local calls = {}
    for i = 1, draw(3) do calls[i] = call(draw, ("c%d_%d"):format(n, i)) end
    return { text = draw(2) == 1 and "wait" or nil, calls = calls, finish = draw(6) == 1 and "length" or nil }
  end
  if kind == 5 then
    return function(_, response) response:json(500, { error = { message = "down" } }) end
  end
  return function(request, response)
    if not request:json().stream then return response:json(429, { error = { message = "slow" } }) end
    response:event(require "oaichat.testing".chunk "cut"):reset()
  end
end

local function made(id, name)
  return { id = id, type = "function", ["function"] = { name = name, arguments = "{}" } }
end

local TOOLS = {
  { name = "look", run = function() return "seen" end },
  { name = "fail", run = function() error "no" end },
  { name = "ask", approve = true, run = function() return "asked" end },
}

local JUNK = {
  { role = "tool", tool_call_id = "nobody", content = "x" },
  { { role = "assistant", tool_calls = { made("j", "look") } } },
  {
    { role = "assistant", tool_calls = { made("k", "a"), made("k", "b") } },
    { role = "tool", tool_call_id = "k", content = "1" }, { role = "tool", tool_call_id = "k", content = "2" },
  },
  { role = "system", content = "be brief" },
}

local function step(draw, state)
  local session, kind = state.session, draw(12)
  if kind <= 3 then
    session:send("say " .. draw(100))
  elseif kind == 4 then
    local stream = session:stream "go"
    for _ = 1, draw(4) do stream:next() end
    if draw(2) == 1 then stream:cancel() else stream:result() end
  elseif kind == 5 then
    if session:messages()[1] then session:send() end
  elseif kind == 6 then
    session:append(JUNK[draw(#JUNK)])
  elseif kind == 7 then
    session:rewind(draw(2))
  elseif kind == 8 then
    if session:parked()[1] then session[draw(2) == 1 and "approve" or "deny"](session) end
  elseif kind == 9 then
    state.session = assert(session:fork("fork" .. state.forks))
    state.forks = state.forks + 1
  elseif kind == 10 then
    local list = session:messages()
    if list[2] and list[1].role == "user" and list[#list].role == "assistant" then session:regenerate() end
  elseif kind == 11 then -- a crash: what memory had is gone
    state.session = state.open(session.id)
  else -- a crash between the input and its answer
    local id = session.id
    local stored = state.store:load(id)
    assert(state.store:begin(id, stored and stored.version or 0, { { role = "user", content = "lost" } }))
    state.session = state.open(id)
  end
end

describe("what is sent", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  it("is valid after any walk of edits, failures, cuts and crashes", function()
    local requests, walks = 0, os.getenv "WALKS" or 60
    for seed = 1, tonumber(walks) do
      local draw = generator(seed * 7919)
      local answers = setmetatable({}, { __index = function(_, n) return answer(draw, n) end })
      local server = script.serve(answers)
      local state = { store = chat.history.memory {}, forks = 0 }
      function state.open(id)
        return play.session(server, { history = state.store, id = id, tools = TOOLS, keep_partial = seed % 3 == 0 })
      end
      state.session = state.open "walk"
      for _ = 1, 25 do step(draw, state) end
      for i, body in ipairs(server.bodies) do
        requests = requests + 1
        local problem = strict.problem(body.messages)
        assert(not problem, ("seed %d, request %d: %s"):format(seed, i, tostring(problem)))
      end
      server:close()
      chat.run()
    end
    print(("walks: %d requests, all valid"):format(requests))
    assert.is_true(requests > 100)
  end)

  it("is mended, and told, where a history was broken", function()
    local list, notes = message.mend {
      { role = "tool", tool_call_id = "x", content = "1" },
      JUNK[3][1], JUNK[3][2], JUNK[3][3],
      JUNK[2][1],
      { role = "user", content = "hi" },
    }
    assert.is_nil(strict.problem(list))
    assert.equal(4, #notes)
    local same = { { role = "user", content = "hi" } }
    assert.equal(same, (message.mend(same)))
  end)
end)
