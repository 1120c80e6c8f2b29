--- history/guard: what the store underneath gets to see, and what people may ask for.

local chat = require "oaichat"
local contract = require "spec.history_contract"
local core = require "oaichat.core"
local errors = require "oaichat.errors"
local file = require "oaichat.history.file"
local guard = require "oaichat.history.guard"
local json = require "oaichat.json"
local memory = require "oaichat.history.memory"
local testing = require "oaichat.testing"

local CANARY = "xanthippe-4711"

-- No cipher: a stand-in with the shape of one. The bytes hide the text from a search
-- for it, and are bound to the context.
local function stand_in(key)
  local count = 0
  local function stream(nonce, plain)
    local out, pad = {}, ""
    for i = 1, #plain do
      local at = (i - 1) % 32
      if at == 0 then pad = core.sha256(key .. nonce .. i) end
      out[i] = string.char((plain:byte(i) + tonumber(pad:sub(2 * at + 1, 2 * at + 2), 16)) % 256)
    end
    return table.concat(out)
  end
  local function unstream(nonce, bytes)
    local out, pad = {}, ""
    for i = 1, #bytes do
      local at = (i - 1) % 32
      if at == 0 then pad = core.sha256(key .. nonce .. i) end
      out[i] = string.char((bytes:byte(i) - tonumber(pad:sub(2 * at + 1, 2 * at + 2), 16)) % 256)
    end
    return table.concat(out)
  end
  return function(plain, context)
    count = count + 1
    local nonce = ("%08d"):format(count)
    return nonce .. core.sha256(key .. nonce .. context .. "\0" .. plain) .. stream(nonce, plain)
  end, function(bytes, context)
    local nonce, tag, rest = bytes:sub(1, 8), bytes:sub(9, 72), bytes:sub(73)
    local plain = unstream(nonce, rest)
    if core.sha256(key .. nonce .. context .. "\0" .. plain) == tag then return plain end
  end
end

local encrypt, decrypt = stand_in "key"

local function hide(text)
  return (text:gsub("[Xx]anthippe%-4711", "[name]"))
end

local function user(text) return { role = "user", content = text } end

local function fails(kind, code, ok, text, err)
  assert.is_nil(ok)
  assert.equal("string", type(text))
  assert.is_true(errors.is(err), tostring(err))
  assert.same({ kind, code }, { err.kind, err.code }, text)
  assert.is_nil(text:find(CANARY, 1, true))
  return err
end

-- All that a table holds, keys too.
local function dump(value, out, seen)
  out, seen = out or {}, seen or {}
  if type(value) == "table" then
    if seen[value] then return out end
    seen[value] = true
    for k, v in pairs(value) do
      dump(k, out, seen)
      dump(v, out, seen)
    end
  else
    out[#out + 1] = tostring(value)
  end
  return out
end

local function holds(value, text)
  return table.concat(dump(value), "\n"):find(text, 1, true) ~= nil
end

-- Texts in every place where one can stand.
local function everywhere(text)
  return {
    user(text),
    { role = "user", name = text, content = {
      { type = "text", text = text }, { type = "image_url", image_url = { url = "https://x/" .. text } },
      { type = "file", file = { filename = text, file_data = "data:text/plain;base64,AAAA" } },
    } },
    { role = "assistant", refusal = text, content = text, other = { deep = { text } },
      meta = {
        opaque = { reasoning_content = text },
        alternatives = { { messages = {
          { role = "assistant", content = text, meta = { note = text } },
        } } },
      },
      tool_calls = {
        { id = "c1", type = "function", ["function"] = { name = "f", arguments = '{"q":["' .. text .. '"]}' } },
        { id = "c2", type = "function", ["function"] = { name = "f",
          arguments = '{"\\u0078anthippe-4711":"' .. text:gsub("%-", "\\u002d") .. '"}' } },
        { id = "c3", type = "custom", custom = { name = "f", input = text } },
      } },
    { role = "tool", tool_call_id = "c1", content = '{"r":"' .. text:gsub("x", "\\u0078") .. '"}' },
    { role = "tool", tool_call_id = "c2", content = { { type = "text", text = text } } },
    { role = "tool", tool_call_id = "c3", content = '["{\\"a\\":\\"\\\\u0078anthippe-4711\\"}"]' },
  }
end

local function temporary()
  local path = os.tmpname()
  os.remove(path)
  return path
end

local function everything_in(path)
  local pipe = assert(io.popen("cat $(find '" .. path .. "' -type f) 2>/dev/null; find '" .. path .. "'"))
  local bytes = pipe:read "*a"
  pipe:close()
  return bytes
end

describe("history guard", function()
  describe("that encrypts keeps the contract of all stores", function()
    contract(function()
      local under = memory.new()
      local store = guard.new(under, { encrypt = encrypt, decrypt = decrypt, search = 1000 })
      return store, function() return store end
    end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
  end)

  describe("around files keeps the contract of all stores", function()
    contract(function()
      local path = temporary()
      local function open()
        local under = assert(file.new { path = path, durable = false })
        return guard.new(under, {
          redact = function(text) return text end, encrypt = encrypt, decrypt = decrypt, search = 1000,
        })
      end
      return open(), open, function() os.execute("rm -rf '" .. path .. "'") end
    end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
  end)

  describe("that redacts keeps the contract of all stores", function()
    contract(function()
      local store = guard.new(memory.new(), { redact = hide })
      return store, function() return store end
    end, { describe = describe, it = it, before_each = before_each, after_each = after_each })
  end)

  it("reads base64 strictly", function()
    for i = 0, 200 do
      local bytes = core.random(64):sub(1, i % 129)
      assert.equal(bytes, core.unbase64(core.base64(bytes)))
    end
    for _, bad in ipairs { "A", "AA", "AAA", "AAAA=", "A===", "AB==", "AAB=", "====", "AA=A", "AAA\n", "AA\0A",
      "AAA-" } do
      assert.is_nil((core.unbase64(bad)), bad)
    end
  end)

  describe("redaction", function()
    it("reaches every text before the store does, escaped in JSON too", function()
      local under = memory.new()
      local store = guard.new(under, { redact = hide })
      local v = assert(store:begin("a", 0, everywhere(CANARY)))
      assert(store:commit("a", v, everywhere(CANARY), { title = CANARY, list = { CANARY } }))
      v = assert(store:append("b", 0, everywhere(CANARY)))
      assert(store:replace("b", v, everywhere(CANARY)))
      assert.is_false(holds(under, CANARY))
      assert.is_false(holds(under, "anthippe"))
      local record = assert(store:load "a")
      assert.equal("[name]", record.messages[1].content)
      assert.is_nil(record.messages[2].name)
      assert.equal('{"q":["[name]"]}', record.messages[3].tool_calls[1]["function"].arguments)
      assert.same({ ["[name]"] = "[name]" }, json.decode(record.messages[3].tool_calls[2]["function"].arguments))
      assert.equal("[name]", record.messages[3].meta.alternatives[1].messages[1].content)
      assert.equal("data:text/plain;base64,AAAA", record.messages[2].content[3].file.file_data)
      assert.same({ title = "[name]", list = { "[name]" } }, record.meta)
    end)

    it("leaves what it does not change byte for byte, and what it was given", function()
      local store = guard.new(memory.new(), { redact = function(text) return text end })
      local mine = everywhere "other"
      mine[3].tool_calls[1]["function"].arguments = '{ "b" : 1.50, "a":12345678901234567890 }'
      local before = json.encode(mine)
      assert(store:append("a", 0, mine))
      assert.equal(before, json.encode(mine))
      assert.equal(before, json.encode(store:load("a").messages))
    end)

    it("sees numbers and keys of arguments", function()
      local store = guard.new(memory.new(), { redact = function(text) return (text:gsub("%f[%d]%d%d%d%d%d%d%d%d+",
        "#")) end })
      assert(store:append("a", 0, { { role = "assistant", tool_calls = {
        { id = "c", type = "function", ["function"] = { name = "pay",
          arguments = '{"card":"4111\\u0031111","n":12}' } } } } }))
      assert.same({ card = "#", n = 12 }, json.decode(store:load("a").messages[1].tool_calls[1]["function"].arguments))
    end)

    it("stores nothing when the redactor fails, and does not quote it", function()
      local under = memory.new()
      for _, bad in ipairs { function(text) error(text) end, function() return nil end, function() return 5 end } do
        local store = guard.new(under, { redact = bad })
        fails("storage", "redact", store:append("a", 0, { user(CANARY) }))
        fails("storage", "redact", store:begin("a", 0, { user(CANARY) }))
      end
      assert.same({}, (under:list()))
    end)

    it("gives the redactor the message", function()
      local roles = {}
      local store = guard.new(memory.new(), { redact = function(text, message)
        roles[#roles + 1] = message.role
        return text
      end })
      assert(store:append("a", 0, { user "x", { role = "assistant", content = "y" } }))
      assert.same({ "user", "assistant" }, roles)
    end)
  end)

  describe("encryption", function()
    local function secret(under, more)
      local opts = { encrypt = encrypt, decrypt = decrypt }
      for name, value in pairs(more or {}) do opts[name] = value end
      return guard.new(under, opts)
    end

    it("gives back exactly what was said", function()
      local under = memory.new()
      local store = secret(under)
      local mine = everywhere(CANARY .. "\0")
      assert(store:append("a", 0, mine, { title = CANARY, user = "u", n = 9007199254740991 }))
      local record = secret(under):load "a"
      assert.equal(json.encode(mine), json.encode(record.messages))
      assert.same({ title = CANARY, user = "u", n = 9007199254740991 }, record.meta)
      assert.same({ title = CANARY, user = "u", n = 9007199254740991 }, store:list()[1].meta)
    end)

    it("leaves no plain text in the memory store, whatever is done", function()
      local under = memory.new()
      local store = secret(under)
      math.randomseed(7)
      local versions = {}
      for i = 1, 300 do
        local id = "c" .. math.random(5)
        local v = versions[id] or 0
        local what = math.random(6)
        if what == 1 then
          versions[id] = assert(store:append(id, v, everywhere(CANARY), { title = CANARY, ["t" .. i] = { CANARY } }))
        elseif what == 2 then
          v = assert(store:begin(id, v, { user(CANARY) }))
          versions[id] = assert(store:commit(id, v, { user(CANARY), { role = "assistant", content = CANARY } }))
        elseif what == 3 then
          v = assert(store:begin(id, v, { user(CANARY) }))
          versions[id] = assert(store:abort(id, v))
        elseif what == 4 then
          versions[id] = assert(store:begin(id, v, { user(CANARY) }))
        elseif what == 5 then
          versions[id] = assert(store:replace(id, v, { user(CANARY) }))
        elseif v > 0 then
          assert.equal(v, assert(store:load(id)).version)
        end
      end
      assert.is_false(holds(under, "anthippe"))
      for id, v in pairs(versions) do
        local record = assert(store:load(id))
        assert.equal(v, record.version)
        for _, one in ipairs(record.messages) do assert.is_true(holds(one, "anthippe")) end
      end
    end)

    it("leaves no plain text in the files of the file store", function()
      local path = temporary()
      local under = assert(file.new { path = path })
      local store = secret(under, { redact = function(text) return text end })
      local v = assert(store:begin("a", 0, { user(CANARY) }, { title = CANARY }))
      v = assert(store:commit("a", v, everywhere(CANARY), { title = CANARY }))
      assert(store:begin("a", v, { user(CANARY) }))
      assert(store:append("b", 0, everywhere(CANARY)))
      assert(store:consent(CANARY, { granted = false, note = CANARY }))
      local bytes = everything_in(path)
      assert.is_true(#bytes > 500)
      -- the user of a record of consent is what it is found by
      assert.is_nil(bytes:gsub('"user":"' .. CANARY:gsub("%-", "%%-"), ""):find("anthippe", 1, true))
      local record = secret(assert(file.new { path = path })):load "a"
      assert.is_true(record.unanswered)
      assert.same({ content = CANARY, meta = { unanswered = true }, role = "user" }, record.messages[#record.messages])
      store:close()
      os.execute("rm -rf '" .. path .. "'")
    end)

    it("binds a message to its conversation, its place and its role", function()
      local function changed(edit)
        local under = memory.new()
        local store = secret(under)
        local v = assert(store:append("a", 0, { user "1", { role = "assistant", content = "2" } }, { title = "t",
          k = "k" }))
        v = assert(store:append("a", v, { user "3" }))
        assert(store:append("b", 0, { user "other" }))
        local record = under:load "a"
        local messages, meta = edit(record.messages, under:load("b").messages, record.meta)
        assert(under:replace("a", v, messages, meta))
        fails("storage", "corrupt", store:load "a")
      end
      changed(function(m) return { m[2], m[1], m[3] } end)
      changed(function(m) return { m[1], m[3] } end)
      changed(function(m) return { m[2], m[3] } end)
      changed(function(m) return { m[1], m[2], m[3], m[3] } end)
      changed(function(m) return { m[1], m[2], m[3], m[1], m[2] } end)
      changed(function(m) return { m[1] } end)
      changed(function(m, other) return { m[1], m[2], other[1] } end)
      changed(function(_, other) return other end)
      changed(function(m) m[1].role = "system" return m end)
      changed(function(m) m[1].meta.sealed.base = 7 return m end)
      changed(function(m) m[1].meta.sealed.data = m[2].meta.sealed.data return m end)
      changed(function(m) m[1].meta.sealed.data = "AAAA" return m end)
      changed(function(m) m[1].meta.sealed.data = nil return m end)
      changed(function(m) m[1].meta.sealed.index = "1" return m end)
      changed(function(m) m[3] = user "in plain" return m end)
      changed(function(m, _, meta) return m, { title = meta.k } end)
      changed(function(m) return m, { title = "in plain" } end)
    end)

    it("works with AES-256-GCM of a library", function()
      local found, cipher = pcall(require, "openssl.cipher")
      if not found then return pending "luaossl is not there" end
      local hmac, rand, key = require "openssl.hmac", require "openssl.rand", ("k"):rep(32)
      -- luaossl has no associated data: the context goes into the key
      local function bound(context) return hmac.new(key, "sha256"):final(context) end
      local opts = {
        encrypt = function(plain, context)
          local nonce = rand.bytes(12)
          local with = cipher.new("aes-256-gcm"):encrypt(bound(context), nonce)
          local bytes = with:final(plain)
          return nonce .. with:getTag(16) .. bytes
        end,
        decrypt = function(bytes, context)
          local with = cipher.new("aes-256-gcm"):decrypt(bound(context), bytes:sub(1, 12))
          with:setTag(bytes:sub(13, 28))
          return with:final(bytes:sub(29))
        end,
      }
      local under = memory.new()
      local store = guard.new(under, opts)
      assert(store:append("a", 0, everywhere(CANARY), { title = CANARY }))
      assert(store:append("b", 0, { user "x" }))
      assert.is_false(holds(under, "anthippe"))
      assert.equal(json.encode(everywhere(CANARY)), json.encode(store:load("a").messages))
      local other = under:load "b"
      assert(under:replace("b", other.version, under:load("a").messages))
      fails("storage", "corrupt", store:load "b")
    end)

    it("says so when the key is another, or there is none", function()
      local under = memory.new()
      assert(secret(under):append("a", 0, { user(CANARY) }))
      local e, d = stand_in "another"
      local err = fails("storage", "corrupt", guard.new(under, { encrypt = e, decrypt = d }):load "a")
      assert.truthy(err.message:find("message 1 of conversation a cannot be decrypted", 1, true))
      fails("storage", "corrupt", guard.new(under):load "a")
      fails("storage", "corrupt", guard.new(under, { decrypt = function() error(CANARY) end }):load "a")
      assert.equal(CANARY, guard.new(under, { decrypt = decrypt }):load("a").messages[1].content)
    end)

    it("takes what was stored in plain only when told to", function()
      local under = memory.new()
      local v = assert(under:append("a", 0, { user "old" }, { title = "t" }))
      fails("storage", "corrupt", secret(under):load "a")
      local store = secret(under, { allow_plain = true })
      assert(store:append("a", v, { user "new" }))
      local record = store:load "a"
      assert.same({ "old", "new", "t" }, { record.messages[1].content, record.messages[2].content, record.meta.title })
    end)

    it("stores nothing when the cipher fails", function()
      local under = memory.new()
      for _, bad in ipairs { function(text) error(text) end, function() return nil end } do
        local store = guard.new(under, { encrypt = bad, decrypt = decrypt })
        fails("storage", "encrypt", store:append("a", 0, { user(CANARY) }))
        fails("storage", "encrypt", store:append("a", 0, {}, { title = CANARY }))
      end
      assert.same({}, (under:list()))
      assert.has_error(function() guard.new(under, { encrypt = encrypt }) end)
      assert.has_error(function() guard.new(under, { encript = encrypt }) end)
    end)

    it("refuses a search, or decrypts at most so many", function()
      local under = memory.new()
      local store = secret(under)
      for i = 1, 5 do assert(store:append("c" .. i, 0, { user("word " .. i) }, {
        user = i < 3 and "few" or "many" })) end
      fails("storage", "unavailable", store:search "word")
      store = secret(under, { search = 3 })
      fails("storage", "too_large", store:search "word")
      assert.equal(2, #assert(store:search("word", { user = "few" })))
      assert.equal(3, #assert(store:search("word", { limit = 3 })))
    end)
  end)

  it("stands between a session and its store", function()
    local server = testing.server(function(request, response)
      local asked = request:json().messages
      response:json(200, { id = "r", object = "chat.completion", choices = { {
        index = 0, finish_reason = "stop",
        message = { role = "assistant", content = "heard: " .. asked[#asked].content },
      } } })
    end)
    local under = memory.new()
    local function open()
      return assert(chat.new {
        base_url = server.url, api_key = false, id = "a",
        history = guard.new(under, { redact = hide, encrypt = encrypt, decrypt = decrypt }),
      })
    end
    local session = open()
    assert.equal("heard: " .. CANARY, assert(session:send(CANARY)).text)
    assert(session:regenerate())
    assert(session:set_meta { title = CANARY, user = "u" })
    assert.is_false(holds(under, "anthippe"))
    assert.is_false(holds(under, "heard"))
    local later = open()
    local messages = later:messages()
    assert.same({ "[name]", "heard: [name]" }, { messages[1].content, messages[2].content })
    assert.equal("[name]", later.meta.title)
    assert.equal("heard: [name]", later:alternatives()[1][1].content)
    assert.equal("heard: x", assert(later:send "x").text)
    assert.equal(4, #open():messages())
    assert.equal(1, #guard.new(under, { decrypt = decrypt }):export "u")
    server:close()
  end)

  describe("consent", function()
    it("is kept as a list of decisions that ends with the valid one", function()
      local under = memory.new()
      for _, opts in ipairs { {}, { encrypt = encrypt, decrypt = decrypt } } do
        local now = 1000
        opts.clock = function() return now end
        local store, who = guard.new(under, opts), opts.encrypt and "eve" or "adam"
        assert.is_nil(store:consent(who))
        assert(store:consent(who, { granted = true, text = "v1" }))
        assert.same({ purpose = "storage", granted = true, at = 1000, text = "v1" }, store:consent(who))
        now = now + 1
        assert(store:consent(who, { granted = true, purpose = "research", at = 5 }))
        assert(store:consent(who, { granted = false }))
        assert.is_false(store:consent(who).granted)
        assert.is_true(store:consent(who, "research").granted)
        assert.is_nil(store:consent(who, "else"))
        assert.is_nil(store:consent "nobody")
        assert.has_error(function() store:consent(who, {}) end)
        assert.has_error(function() store:consent(nil) end)
      end
    end)

    it("is no conversation", function()
      local store = guard.new(memory.new(), { consent_required = true })
      for i = 1, 7 do assert(store:consent("u" .. i, { granted = true })) end
      assert(store:append("a", 0, { user "consent" }, { user = "u1" }))
      assert(store:append("z", 0, { user "x" }, { user = "u1" }))
      local rows, after = store:list { limit = 2 }
      assert.same({ "a", "z", 2 }, { rows[1].id, rows[2].id, #rows })
      assert.is_nil(after)
      assert.equal(1, #store:search "consent")
      fails("storage", "bad_id", store:load("consent:" .. core.sha256 "u1"))
      fails("storage", "bad_id", store:append("consent:x", 0, {}))
      fails("storage", "bad_id", store:delete "consent:x")
    end)

    it("is asked for before anything is kept, where it is required", function()
      local store = guard.new(memory.new(), {
        consent_required = true, user_of = function(id) return id:match "^of%-(.*)" end,
      })
      fails("storage", "consent", store:append("a", 0, { user "x" }))
      fails("storage", "consent", store:append("a", 0, { user "x" }, { user = "eve" }))
      for _, id in ipairs { "user:eve", "user-sha256:" .. core.sha256 "eve", "of-eve" } do
        fails("storage", "consent", store:begin(id, 0, { user "x" }))
      end
      assert(store:consent("eve", { granted = true, purpose = "else" }))
      fails("storage", "consent", store:begin("user:eve", 0, { user "x" }))
      assert(store:consent("eve", { granted = true }))
      local v = assert(store:append("a", 0, { user "x" }, { user = "eve" }))
      for _, id in ipairs { "user:eve", "user-sha256:" .. core.sha256 "eve", "of-eve" } do
        assert(store:begin(id, 0, { user "x" }))
      end
      v = assert(store:begin("a", v, { user "y" }))
      assert(store:consent("eve", { granted = false }))
      v = assert(store:commit("a", v, { user "y" }))
      fails("storage", "consent", store:begin("a", v, { user "z" }))
      fails("storage", "consent", store:replace("a", v, { user "z" }))
    end)
  end)

  describe("retention", function()
    it("deletes what is older, not what is newer, locked or a record of consent", function()
      local under, now = memory.new(), os.time()
      local store = guard.new(under, { retention = 100, clock = function() return now end })
      for i = 1, 230 do assert(store:append("c" .. i, 0, { user "x" })) end
      assert(store:consent("eve", { granted = true }))
      assert.same({ 0, 0 }, { store:sweep() })
      now = now + 200
      local lock = assert(store:lock "c7")
      assert.same({ 229, 1 }, { store:sweep() })
      assert.equal("c7", store:list()[1].id)
      lock:release()
      assert.same({ 1, 0 }, { store:sweep() })
      assert.same({}, (store:list()))
      assert.is_true(store:consent("eve").granted)
      assert.has_error(function() guard.new(under):sweep() end)
    end)
  end)

  describe("erasure and export", function()
    for _, kind in ipairs { "plain", "encrypted" } do
      it("reach all pages of a user and no one else's, " .. kind, function()
        local under = memory.new()
        local store = guard.new(under, kind == "encrypted" and { encrypt = encrypt, decrypt = decrypt } or {})
        for i = 1, 250 do
          assert(store:append("c" .. i, 0, { user("n " .. i) }, { user = i % 2 == 0 and "even" or "odd", n = i }))
        end
        assert(store:append("user:even", 0, { user "of the service" }))
        assert(store:append("user-sha256:" .. core.sha256 "even", 0, { user "of the service" }))
        assert(store:append("user:even2", 0, { user "another" }))
        assert(store:consent("even", { granted = true }))
        local records, decisions = store:export "even"
        assert.equal(127, #records)
        assert.is_true(decisions[1].granted)
        assert.truthy(json.encode(records))
        for _, record in ipairs(records) do
          assert.truthy(record.meta.user == "even" and record.messages[1].content == "n " .. record.meta.n
            or record.messages[1].content == "of the service")
        end
        assert.equal(127, store:erase "even")
        assert.same({}, (store:export "even"))
        assert.is_nil(store:consent "even")
        assert.is_false(holds(under, "even") and not holds(under, "even2"))
        assert.equal(125, #store:export "odd")
        assert(store:load "user:even2")
        assert.equal(0, store:erase "even")
      end)
    end

    it("asks user_of where the store does not know", function()
      local store = guard.new(memory.new(), { user_of = function(id) return id:match "^(%a+)%." end })
      assert(store:append("eve.1", 0, { user "x" }))
      assert(store:append("eve.2", 0, { user "x" }))
      assert(store:append("adam.1", 0, { user "x" }, { user = "eve" }))
      assert(store:append("adam.2", 0, { user "x" }))
      assert.equal(3, store:erase "eve")
      assert.equal("adam.2", store:list()[1].id)
    end)

    it("leave a conflict to a turn that was under way", function()
      local store = guard.new(memory.new())
      local v = assert(store:append("a", 0, { user "x" }, { user = "eve" }))
      v = assert(store:begin("a", v, { user "y" }))
      assert.equal(1, store:erase "eve")
      fails("conflict", "version", store:commit("a", v, { user "y" }))
    end)
  end)
end)
