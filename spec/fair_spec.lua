--- Fairness where no budget is set: a stream that has megabytes to hand out holds
-- up nobody for longer than the cap on what may wait.

local chat = require "oaichat"
local leaks = require "spec.support.leaks"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local PIECE = ("x"):rep(1000)
local PIECES = 8000 -- 8 MB, far above all caps and the kernel's buffers

describe("a stream with a huge backlog", function()
  local server
  before_each(function()
    leaks.remember()
    server = testing.server(function(request, response)
      local huge = request:json().messages[1].content == "huge"
      response:head(200):write(play.text(huge and PIECE or "b"):rep(huge and PIECES or 3) .. play.END):finish()
    end)
  end)
  after_each(function()
    server:close()
    server = nil
    assert.equal(0, chat.pending())
    leaks.check()
  end)

  local forms = {}

  function forms.callbacks(input, heard, over)
    assert(chat.new { base_url = server.url }):stream(input, {
      on_event = function(event) if event.type == "text" then heard(#event.text) end end,
      on_done = function(reply) over(reply ~= nil) end,
    })
  end

  function forms.task(input, heard, over)
    chat.spawn(function()
      local stream = assert(chat.new { base_url = server.url }):stream(input)
      for text in stream.next, stream do heard(#text) end
      over(stream:result() ~= nil)
    end)
  end

  for greedy, start_greedy in pairs(forms) do
    for small, start_small in pairs(forms) do
      it(("read by %s does not starve a small one read by %s"):format(greedy, small), function()
        local bytes, at_end, good = 0, nil, 0
        start_greedy("huge", function(n) bytes = bytes + n end, function(ok) good = good + (ok and 1 or 0) end)
        -- the backlog is there before the small one begins
        while bytes == 0 do
          chat.wait(0.01)
          chat.step()
        end
        local from = bytes
        start_small("small", function() end, function(ok)
          at_end = bytes
          good = good + (ok and 1 or 0)
        end)
        assert.is_true(chat.run())
        assert.equal(2, good)
        assert.equal(PIECES * #PIECE, bytes)
        assert.is_true(at_end - from < bytes / 4, ("%d bytes before the small one ended"):format(at_end - from))
      end)
    end
  end
end)
