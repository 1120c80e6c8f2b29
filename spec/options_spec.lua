--- Options: wrong names and types raise; bad numbers are told.
-- luacheck: no max line length

local options = require "oaichat.options"

local KNOWN = { model = "string", key = "string|boolean", timeouts = { connect = "number" } }

local function raised(opts)
  local ok, why = pcall(options.check, opts, KNOWN)
  assert.is_false(ok)
  local place, text = why:match "^(.-:%d+): (.*)$"
  assert.matches("options_spec%.lua:9$", place) -- the caller's line, not one of ours
  return text
end

describe("options", function()
  it("pass when names and types are right, nested ones too", function()
    options.check({ model = "m", key = false, timeouts = { connect = 1 } }, KNOWN)
    options.check({}, KNOWN)
  end)

  it("raise for an unknown name, and guess what was meant", function()
    assert.equal("unknown option modl (did you mean model?)", raised { modl = "x" })
    assert.equal("unknown option timeouts.conect (did you mean timeouts.connect?)", raised { timeouts = { conect = 1 } })
    assert.equal("unknown option temperature", raised { temperature = 1 })
    assert.equal("unknown option 1", raised { "x" })
  end)

  it("raise for a wrong type, and say which is expected", function()
    assert.equal("model: string expected, got number", raised { model = 1 })
    assert.equal("key: string or boolean expected, got number", raised { key = 1 })
    assert.equal("timeouts: table expected, got number", raised { timeouts = 1 })
    assert.equal("timeouts.connect: number expected, got string", raised { timeouts = { connect = "1" } })
  end)

  it("find numbers that cannot be meant", function()
    for _, bad in ipairs { -1, 0 / 0, -math.huge } do
      assert.truthy(options.bad_number({ x = bad }, "t."):find("t.x must be", 1, true))
    end
    assert.is_nil(options.bad_number({ x = 0 }, ""))
    assert.truthy(options.bad_number({ x = 0 }, "", true))
    assert.is_nil(options.bad_number({ x = 0.5 }, "", true))
    assert.is_nil(options.bad_number(nil, ""))
  end)
end)
