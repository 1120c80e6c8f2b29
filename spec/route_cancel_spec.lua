--- cancels: whatever a turn waits for behind its policy, each way of canceling frees
-- its reader at once and leaves nothing behind.

local chat = require "oaichat"
local circuits = require "oaichat.circuit"
local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local routes = require "spec.support.routes"

local LATER = { ["retry-after"] = "20" }
local BAD, SLOW, COOL = { 404 }, { 500, nil, { ["retry-after"] = "1.5" } }, { 429, nil, LATER }
local function hold(_, response) response:head(200) end
local function silence() end

-- What a turn may wait for: the models it meets, the options that make it wait, what is done before.
local STATES = {
  ["its server"] = { { first = { silence } }, { hedge = 50 } },
  ["two servers"] = { { first = { silence }, second = { hold } }, { hedge = 0.005 } },
  ["a pause between two attempts"] = { { first = { SLOW } }, { fallbacks = {} } },
  ["its commit window"] = { { first = { routes.cut("half", "hold") } }, { commit = { chars = 1000, seconds = 50 } } },
  ["a person"] = { { first = { BAD } }, { fallbacks = { { human = function() end } } } },
  ["a function that asks a person"] = {
    { first = { BAD } }, { fallbacks = { { human = function() chat.sleep(0.4) end } } },
  },
  ["its guard"] = { { first = { "fine" } }, { guards = { output = function() chat.sleep(50) end } } },
  ["routes that cool down"] = {
    { first = { COOL }, second = { COOL } }, { retry = { max = 0 }, route_wait = 100 },
    function(session) assert.equal("rate_limit", select(3, session:send "first").kind) end,
  },
  ["its limiter"] = {
    { first = { "fine" } }, { limiter = { requests = 1, per = 60 } },
    function(session) assert(session:send "first") end,
  },
}

local function turn_for(seconds)
  local stop = core.now() + seconds
  while core.now() < stop do
    chat.wait(stop - core.now())
    chat.step()
  end
end

-- Ways of canceling: each starts a turn, lets it come to its wait, cancels, and gives the kind of its end.
local function in_task(session, start, cancel)
  local stream
  local task = chat.spawn(function()
    stream = start(session)
    if not stream then return session:send "hi" end
    local pull, of = stream:events()
    repeat local event = pull(of) until not event -- PUC 5.1 cannot wait inside `for`
    return stream:result()
  end)
  turn_for(0.04)
  cancel(task, stream)
  local _, _, err = task:wait()
  return err and err.kind
end

local function nothing() end
local function stream_of(session) return session:stream "hi" end
local WAYS = {
  ["task:cancel, send"] = function(session)
    return in_task(session, nothing, function(task) task:cancel() end)
  end,
  ["session:cancel, send"] = function(session)
    return in_task(session, nothing, function() session:cancel() end)
  end,
  ["task:cancel, events"] = function(session)
    return in_task(session, stream_of, function(task) task:cancel() end)
  end,
  ["stream:cancel from another task, events"] = function(session)
    return in_task(session, stream_of, function(_, stream) stream:cancel() end)
  end,
  ["stream:cancel, callbacks"] = function(session)
    local kind
    local stream = session:stream("hi", { on_done = function(_, _, err) kind = err and err.kind end })
    turn_for(0.04)
    stream:cancel()
    return kind
  end,
}

describe("a turn that waits for", function()
  local server
  before_each(leaks.remember)
  after_each(function()
    routes.close(server)
    server = nil
    leaks.check()
  end)

  for name, state in pairs(STATES) do
    it(name .. " can be canceled in every way", function()
      for way, cancel in pairs(WAYS) do
        server = routes.serve(state[1])
        -- ports come again, and routes are remembered: a path of its own
        local options = { base_url = server.url .. "/" .. core.random(4) }
        for option, value in pairs(state[2]) do options[option] = value end
        local session = routes.session(server, options)
        if state[3] then state[3](session) end
        local start = core.now()
        assert.equal("canceled", cancel(session), way)
        assert.is_true(core.now() - start < 0.3, way)
        chat.run()
        assert.is_true(core.now() - start < 0.6, way) -- nothing goes on behind it
        routes.close(server)
      end
      server = nil
    end)
  end

  it("nothing yet: a call that its own hook cancels ends, and its probe is free again", function()
    server = routes.serve { first = { hold } }
    local circuit
    local session
    session = routes.session(server, { hooks = { request = function()
      circuit.probed = circuit.probe
      session:cancel()
    end } })
    circuit = circuits.of(session._core:identity "first")
    circuit.opened = 1 -- it was open; its time is over
    assert.equal("canceled", select(3, session:send "hi").kind)
    assert.is_number(circuit.probed)
    assert.is_nil(circuit.probe)
  end)
end)
