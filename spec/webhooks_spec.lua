--- webhooks: what is genuine is taken, everything else is refused by name. The vector is
-- that of the Standard Webhooks libraries.

local chat = require "oaichat"
local core = require "oaichat.core"

local SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
local BODY = '{"test": 2432232314}'
local AT = 1614265330
local SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

local function headers(changed)
  local all = {
    ["webhook-id"] = "msg_p5jXN8AQM9LWM0D4loKWxJek", ["webhook-timestamp"] = tostring(AT),
    ["webhook-signature"] = SIGNATURE,
  }
  for name, value in pairs(changed or {}) do all[name] = value or nil end
  return all
end

local function code_of(body, given, opts, secret)
  local ok, text, err = chat.webhooks.verify(body, given, secret or SECRET, opts or { now = AT })
  assert.is_nil(ok)
  assert.equal(text, err.message)
  return err.code, err.kind
end

describe("a webhook", function()
  it("is taken when it is signed as the standard has it", function()
    assert.is_true(chat.webhooks.verify(BODY, headers(), SECRET, { now = AT }))
    assert.is_true(chat.webhooks.verify(BODY, headers(), SECRET, { now = AT + 0.5 }))
    assert.equal("too_old", select(3, chat.webhooks.verify(BODY, headers(), SECRET, { now = AT + 1e4 + 0.5 })).code)
    local signed = chat.webhooks.sign(BODY, SECRET, { now = AT + 0.5 })
    assert.equal(("%d"):format(AT), signed["webhook-timestamp"])
    assert.same({ test = 2432232314 }, chat.webhooks.unwrap(BODY, headers(), SECRET, { now = AT }))
    -- names in any case, a list with one value, the secret without its prefix
    local given = headers { ["webhook-id"] = false }
    given["Webhook-Id"] = { "msg_p5jXN8AQM9LWM0D4loKWxJek" }
    assert.is_true(chat.webhooks.verify(BODY, given, SECRET, { now = AT }))
    local key = core.unbase64 "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert.is_true(chat.webhooks.verify(BODY, headers(), key, { now = AT }))
  end)

  it("is taken when one of several signatures is right", function()
    local other = "v1," .. core.base64(("x"):rep(32))
    for _, list in ipairs { other .. " " .. SIGNATURE, SIGNATURE .. " " .. other, "v2,abc " .. SIGNATURE } do
      assert.is_true(chat.webhooks.verify(BODY, headers { ["webhook-signature"] = list }, SECRET, { now = AT }))
    end
  end)

  it("is refused when a byte of it is another one", function()
    assert.equal("bad_signature", code_of(BODY .. " ", headers()))
    assert.equal("bad_signature", code_of("", headers()))
    assert.equal("bad_signature", code_of(BODY, headers { ["webhook-id"] = "msg_other" }))
    assert.equal("bad_signature", code_of(BODY, headers { ["webhook-timestamp"] = tostring(AT + 1) }))
    assert.equal("bad_signature", code_of(BODY, headers(), nil, "whsec_" .. core.base64 "another secret"))
    local version, sum = SIGNATURE:match "(v1),(.*)"
    for _, text in ipairs { "v1,", "v1", "v2," .. sum, sum, version .. "," .. sum:sub(1, -5), "v1,%%%%", "," } do
      assert.equal("bad_signature", code_of(BODY, headers { ["webhook-signature"] = text }), text)
    end
    assert.equal("authentication", select(2, code_of(BODY .. " ", headers())))
  end)

  it("is refused when it is too old or from the future, beyond the tolerance", function()
    assert.is_true(chat.webhooks.verify(BODY, headers(), SECRET, { now = AT + 300 }))
    assert.is_true(chat.webhooks.verify(BODY, headers(), SECRET, { now = AT - 300 }))
    assert.equal("too_old", code_of(BODY, headers(), { now = AT + 301 }))
    assert.equal("too_new", code_of(BODY, headers(), { now = AT - 301 }))
    assert.equal("too_old", code_of(BODY, headers(), { now = AT + 11, tolerance = 10 }))
    assert.equal("too_old", code_of(BODY, headers(), {})) -- by the clock: it is of 2021
    for _, text in ipairs { "x", "-5", "1e9", "0x10", "1614265330.5", ("9"):rep(30), "nan" } do
      assert.equal("bad_timestamp", code_of(BODY, headers { ["webhook-timestamp"] = text }), text)
    end
  end)

  it("is refused without a header, or with two of one", function()
    for _, name in ipairs { "webhook-id", "webhook-timestamp", "webhook-signature" } do
      assert.equal("missing_header", code_of(BODY, headers { [name] = false }))
      assert.equal("missing_header", code_of(BODY, headers { [name] = "" }))
      local twice = headers()
      twice[name:upper()] = twice[name]
      assert.equal("missing_header", code_of(BODY, twice))
      assert.equal("missing_header", code_of(BODY, headers { [name] = { "a", "b" } }))
    end
  end)

  it("names a secret that is none, and misuse", function()
    for _, secret in ipairs { "whsec_", "whsec_%%%", "" } do
      assert.equal("config", select(2, code_of(BODY, headers(), nil, secret)))
    end
    assert.has_error(function() chat.webhooks.verify(nil, {}, SECRET) end)
    assert.has_error(function() chat.webhooks.verify(BODY, "x", SECRET) end)
    assert.has_error(function() chat.webhooks.verify(BODY, {}, 7) end)
  end)

  it("is no event when its body is no JSON object", function()
    for _, body in ipairs { "", "[1]", "7", "{" } do
      local given = assert(chat.webhooks.sign(body, SECRET))
      local event, text, err = chat.webhooks.unwrap(body, given, SECRET)
      assert.is_nil(event)
      assert.equal("protocol", err.kind)
      assert.equal(text, err.message)
    end
  end)

  it("can be made for a test of one's own", function()
    local body = '{"id":"evt_1","type":"response.completed","data":{"id":"resp_1"}}'
    local event = assert(chat.webhooks.unwrap(body, assert(chat.webhooks.sign(body, SECRET)), SECRET))
    assert.equal("response.completed", event.type)
    assert.same(headers(), chat.webhooks.sign(BODY, SECRET, { id = "msg_p5jXN8AQM9LWM0D4loKWxJek", now = AT }))
  end)

  it("compares in full, whatever the lengths", function()
    assert.is_true(core.same("", "") and core.same("abc", "abc"))
    assert.is_false(core.same("abc", "abd") or core.same("abc", "ab") or core.same("", "a") or core.same("a", ""))
  end)
end)
