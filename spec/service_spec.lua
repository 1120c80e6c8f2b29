--- service: turns of a user in order, users side by side, eviction, limits, feedback,
-- shutdown; two replicas on one store.
-- luacheck: no max line length

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local service_of = require "oaichat.service"
local testing = require "oaichat.testing"

local function texts(messages)
  local out = {}
  for i, one in ipairs(messages) do out[i] = tostring(one.content) end
  return table.concat(out, " ")
end

describe("a service", function()
  local server, store, log
  before_each(function()
    leaks.remember()
    store = chat.history.memory {}
    log = {}
    -- answers "re:" and the last input, after a while
    server = testing.server(function(request, response)
      local messages = request:json().messages
      local said = messages[#messages].content
      log[#log + 1] = said
      response:pause(0.01)
      if request:json().stream then
        response:event(testing.chunk("re:" .. said)):event(testing.chunk({}, { finish_reason = "stop" })):done():finish()
      else
        response:json(200, testing.completion("re:" .. said))
      end
    end)
  end)
  after_each(function()
    server:close()
    chat.run()
    leaks.check()
  end)

  local function new(opts)
    local all = { history = store, session = { base_url = server.url, api_key = "sk-spec", model = "m" } }
    for name, value in pairs(opts or {}) do all[name] = value end
    return chat.service(all)
  end

  it("keeps one conversation a user, in the store", function()
    local service = new()
    assert.equal("re:hi", service:process_message("ada", "hi").text)
    assert.equal("re:yo", service:process_message("bob", "yo").text)
    assert.equal("re:more", service:process_message("ada", "more").text)
    assert.equal("hi re:hi more re:more", texts(service:get_conversation_history "ada"))
    assert.equal("yo re:yo", texts(service:get_conversation_history "bob"))
    assert.same({}, service:get_conversation_history "nobody")
  end)

  it("has the turns of a user one after the other, and users side by side", function()
    local service, tasks, got = new(), {}, {}
    for i = 1, 4 do
      for _, user in ipairs { "ada", "bob", "cy" } do
        tasks[#tasks + 1] = chat.spawn(function()
          local reply = assert(service:process_message(user, user .. i))
          got[#got + 1] = reply.text
        end)
      end
    end
    chat.run()
    for _, task in ipairs(tasks) do assert.is_true(task:done()) end
    for _, user in ipairs { "ada", "bob", "cy" } do
      local want = {}
      for i = 1, 4 do want[i] = ("%s%d re:%s%d"):format(user, i, user, i) end
      assert.equal(table.concat(want, " "), texts(service:get_conversation_history(user)))
    end
    assert.equal(12, service:health().served)
    assert.equal(0, service:health().active)
    -- the first three requests are of three users: none waited for another
    local firsts = { [log[1]] = true, [log[2]] = true, [log[3]] = true }
    assert.same({ ada1 = true, bob1 = true, cy1 = true }, firsts)
  end)

  it("streams; the next message of the user waits for the stream's end", function()
    local service, order = new(), {}
    local stream = service:stream_message("ada", "one")
    local task = chat.spawn(function()
      local reply = service:process_message("ada", "two")
      order[#order + 1] = reply.text
    end)
    for _ = 1, 5 do chat.step() end
    local heard = ""
    for text in stream do heard = heard .. text end
    order[#order + 1] = heard
    task:wait()
    assert.same({ "re:one", "re:two" }, order)
    stream = service:stream_message("ada", "three")
    stream:cancel() -- gives the turn back
    assert.equal("re:four", service:process_message("ada", "four").text)
    assert.equal("one re:one two re:two four re:four", texts(service:get_conversation_history "ada"))
  end)

  it("refuses what is too much, and says when to come again", function()
    local service = new { queue = 1, per_minute = 3 }
    local errs = {}
    for i = 1, 3 do
      chat.spawn(function()
        local _, _, err = service:process_message("ada", "m" .. i)
        errs[i] = err or false
      end)
    end
    chat.run()
    assert.is_false(errs[1])
    assert.is_false(errs[2])
    assert.equal("queue_full", errs[3].code)
    local _, _, err = service:process_message("ada", "again")
    assert.equal("rate_limit", err.kind)
    assert.equal("per_minute", err.code)
    assert.is_true(err.retry_after > 50 and err.retry_after <= 60)
    assert.equal("re:x", service:process_message("bob", "x").text)
  end)

  it("lets go of what is idle and reads it again", function()
    local service = new { max_sessions = 2 }
    for i = 1, 5 do service:process_message("u" .. i, "hi") end
    assert.equal(2, service:health().users)
    assert.equal("re:back", service:process_message("u1", "back").text)
    assert.equal("hi re:hi back re:back", texts(service:get_conversation_history "u1"))
    service = new { idle = 0 }
    for i = 1, 4 do service:process_message("u" .. i, "x") end
    assert.equal(1, service:health().users) -- the last one, who was just here
  end)

  it("keeps what users think of an answer", function()
    local service = new()
    local reply = service:process_message("ada", "hi")
    assert.is_true(service:feedback("ada", reply.reply_id, 1, "good"))
    local meta = store:load(service_of.conversation_id "ada").meta
    assert.equal(1, meta["feedback:" .. reply.reply_id].score)
    assert.equal("good", meta["feedback:" .. reply.reply_id].note)
    assert.equal("not_found", select(3, service:feedback("ada", "nosuch", 1)).kind)
    assert.equal("re:more", service:process_message("ada", "more").text)
  end)

  it("writes what a full disk kept from it before it reads again", function()
    local full = true
    local failing = setmetatable({ commit = function(_, ...)
      if full then return nil, "full", require "oaichat.errors".new { kind = "storage", code = "full" } end
      return store:commit(...)
    end }, { __index = function(_, name)
      return function(_, ...) return store[name](store, ...) end
    end })
    local service = new { history = failing }
    assert.equal("full", service:process_message("ada", "one").unsaved.code)
    full = false
    assert.is_nil(service:process_message("ada", "two").unsaved)
    assert.equal("one re:one two re:two", texts(service:get_conversation_history "ada"))
  end)

  it("forgets a user: in the store and in memory", function()
    local service = new()
    service:process_message("ada", "hi")
    assert.is_true(service:erase "ada")
    assert.is_nil((store:load(service_of.conversation_id "ada")))
    assert.equal("re:new", service:process_message("ada", "new").text)
    assert.equal("new re:new", texts(service:get_conversation_history "ada"))
    assert.is_true(service:erase "nobody")
    local guarded = new { history = chat.history.guard(store, {}) }
    guarded:process_message("bob", "hi")
    assert.is_true(guarded:erase "bob")
    assert.is_nil((store:load(service_of.conversation_id "bob")))
  end)

  it("keeps caches and ledgers apart by user, and forgets a user there too", function()
    local cache, ledger = chat.cache.memory {}, chat.ledger {}
    local service = new {
      session = { base_url = server.url, api_key = "sk-spec", model = "m", cache = cache, ledger = ledger },
    }
    for _, user in ipairs { "ada", "bob" } do assert(service:process_message(user, "hi")) end
    assert.equal(2, cache:size())
    assert.equal(1, #ledger:rows { user = "ada" })
    assert.is_true(service:erase "ada")
    assert.equal(1, cache:size())
    assert.same({}, ledger:rows { user = "ada" })
    assert.equal(1, #ledger:rows { user = "bob" })
  end)

  it("takes any user id", function()
    local service = new()
    for _, id in ipairs { "a b", "../../etc/passwd", ("x"):rep(1000), "\0", "ä", ".hidden" } do
      assert.equal("re:hi", service:process_message(id, "hi").text)
      assert.equal("hi re:hi", texts(service:get_conversation_history(id)))
    end
    assert.has_error(function() service:process_message("", "hi") end)
  end)

  it("shuts down: refuses what is new, waits for what runs, cancels the rest", function()
    local service, cut = new(), nil
    local task = chat.spawn(function() return service:process_message("ada", "hi") end)
    chat.spawn(function()
      chat.sleep(0.003)
      cut = service:shutdown(5)
    end)
    chat.spawn(function()
      chat.sleep(0.006)
      local _, _, err = service:process_message("bob", "hi")
      assert.equal("shutting_down", err.code)
      assert.is_false((service:ready()))
    end)
    chat.run()
    assert.equal("re:hi", task:wait().text)
    assert.equal(0, cut)
    service = new()
    task = chat.spawn(function() return service:process_message("cy", "hi") end)
    chat.spawn(function() cut = service:shutdown(0.002) end)
    chat.run()
    assert.equal(1, cut)
    assert.equal("canceled", select(3, task:wait()).kind)
    assert.same({}, service:get_conversation_history "cy")
  end)

  it("shares nothing with its replicas but the store", function()
    local one, two = new(), new()
    assert.is_true(one:ready())
    local tasks = {}
    for i = 1, 6 do
      local service = i % 2 == 0 and one or two
      tasks[i] = chat.spawn(function() return service:process_message("ada", "m" .. i) end)
    end
    chat.run()
    for i = 1, 6 do assert.equal("re:m" .. i, (tasks[i]:wait() or {}).text) end
    local messages = one:get_conversation_history "ada"
    assert.equal(12, #messages)
    for i = 1, 12, 2 do assert.equal("re:" .. messages[i].content, messages[i + 1].content) end
    assert.equal(texts(messages), texts(two:get_conversation_history "ada"))
  end)
end)
