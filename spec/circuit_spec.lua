--- a circuit: when a route may be asked again. The clock is the spec's.

local circuits = require "oaichat.circuit"

describe("a circuit", function()
  local circuit
  before_each(function() circuit = circuits.of("spec " .. tostring({})) end)

  it("is one a route", function()
    assert.equal(circuits.of "a", circuits.of "a")
    assert.not_equal(circuits.of "a", circuits.of "b")
  end)

  it("opens after three failures in a row for 30 s; a success between begins anew", function()
    circuit:failed(0)
    circuit:failed(1)
    circuit:succeeded()
    circuit:failed(2)
    circuit:failed(3)
    assert.equal(0, circuit:wait(4))
    circuit:failed(4)
    assert.equal(30, circuit:wait(4))
    assert.is_false(circuit:enter(33.9))
    assert.equal(0, circuit:wait(34))
  end)

  local function open(at)
    for _ = 1, 3 do circuit:failed(at) end
  end

  it("lets one probe through, and opens for twice as long when that fails, up to 5 min", function()
    open(0)
    local now, lengths = 0, {}
    for i = 1, 6 do
      lengths[i] = circuit:wait(now)
      now = now + lengths[i]
      assert.is_true(circuit:enter(now))
      assert.is_false(circuit:enter(now))
      circuit:failed(now)
    end
    assert.same({ 30, 60, 120, 240, 300, 300 }, lengths)
  end)

  it("closes when the probe succeeds", function()
    open(0)
    assert.is_true(circuit:enter(30))
    circuit:succeeded()
    assert.is_true(circuit:enter(30) and circuit:enter(30))
    circuit:failed(31)
    assert.equal(0, circuit:wait(31))
  end)

  it("lets another one try when a probe ended without a verdict, or never came back", function()
    open(0)
    assert.is_true(circuit:enter(30))
    circuit:leave()
    assert.is_true(circuit:enter(31))
    assert.is_false(circuit:enter(31 + circuits.PROBE - 1))
    assert.is_true(circuit:enter(31 + circuits.PROBE))
  end)

  it("lets another one try when who had the probe is collected", function()
    open(0)
    local who = {}
    assert.is_true(circuit:enter(30, who))
    collectgarbage()
    assert.is_false(circuit:enter(31, {}))
    assert.is_table(who)
    who = nil -- luacheck: ignore 311
    collectgarbage()
    assert.is_true(circuit:enter(31, {}))
  end)

  it("is not opened further by those who were under way when it opened", function()
    open(0)
    circuit:failed(1)
    circuit:failed(2)
    assert.equal(28, circuit:wait(2))
  end)

  it("cools down for as long as the server asked, never for less than before", function()
    circuit:cool(20, 0)
    circuit:cool(5, 1)
    assert.equal(19, circuit:wait(1))
    circuit:succeeded()
    assert.equal(0, circuit:wait(20))
  end)
end)
