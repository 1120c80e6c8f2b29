-- loop/tick, and loop/ngx with a played ngx: what blocks, what parks, and detach.

local chat = require "oaichat"
local core = require "oaichat.core"
local testing = require "oaichat.testing"

describe("the adapters", function()
  local server, session

  before_each(function()
    server = testing.server(function(_, response) response:json(200, testing.completion "hello") end)
    session = assert(chat.new { base_url = server.url })
  end)
  after_each(function() server:close() end)

  it("refuses to block under tick, runs tasks by steps, and allows it after detach", function()
    local loop = require("oaichat.loop.tick").attach()
    assert.error_matches(function() session:send "x" end, "would block the host %(tick%)")
    local task = chat.spawn(function() return session:send("x").text end)
    local stop = core.now() + 5
    while not task:done() and core.now() < stop do
      loop:step(0.001)
      chat.wait(0.005)
    end
    assert.equal("hello", (task:wait()))
    loop:detach()
    loop:detach()
    assert.equal("hello", session:send("x").text)
  end)

  it("sleeps by ngx.sleep where nginx may yield", function()
    local sleeps, phase = 0, "content"
    local ngx = {
      get_phase = function() return phase end,
      sleep = function()
        sleeps = sleeps + 1
        server:step()
      end,
      timer = { at = function() return true end },
      worker = { exiting = function() return false end },
    }
    local loop = require("oaichat.loop.ngx").attach { ngx = ngx }
    assert.equal("hello", session:send("x").text)
    assert.is_true(sleeps > 0)
    loop:detach()
    sleeps = 0
    assert.equal("hello", session:send("x").text)
    assert.equal(0, sleeps)
  end)
end)
