--- For tests: providers that are played in the test's own thread over real sockets,
-- to the byte, while a session waits in the same program; a clock that skips what
-- nobody wants to wait for; record and replay.
--
--   local testing = require "oaichat.testing"
--   local provider = testing.provider { "Hello!", { status = 500 }, { chunks = { "a", "b" }, cut = 1 } }
--   local session = chat.new { base_url = provider.url, api_key = "any", model = "any" }
--
-- This file wires the parts in testing/; docs/TESTING.md has it all.

local bodies = require "oaichat.testing.bodies"
local later = require "oaichat.later"
local server = require "oaichat.testing.server"

local chaos = later "oaichat.testing.chaos"
local clock = later "oaichat.testing.clock"
local provider = later "oaichat.testing.provider"
local record = later "oaichat.testing.record"
local replay = later "oaichat.testing.replay"

local M = { completion = bodies.completion, chunk = bodies.chunk, server = server.new }

--- A provider that answers by a script: one step a request. See testing/provider.lua.
--- @param steps table|fun(request: oaichat.testing.Request, body: any): table|string|nil
--- @param options table|nil repeat_last: the last step answers whatever comes after it
--- @return oaichat.testing.Provider|nil provider
--- @return string|nil message
function M.provider(steps, options) return provider.new(steps, options) end

--- A provider's misbehaviour out of a seed. See testing/chaos.lua.
--- @param options { seed: integer, weights: table|nil, text: function|nil, pause: number|nil }
--- @return oaichat.testing.Chaos chaos for testing.provider or testing.server
function M.chaos(options) return chaos.new(options) end

--- Stops time: from now on it skips to what is due next. See testing/clock.lua.
--- @param options { idle: number|nil }|nil
--- @return oaichat.testing.Clock
function M.clock(options) return clock.new(options) end

--- A server that hands all on to an upstream and writes a cassette.
--- @param options table upstream, file, secrets, ca_file
--- @return oaichat.testing.Recorder|nil recorder
--- @return string|nil message
function M.record(options) return record.new(options) end

--- A server that answers from a cassette.
--- @param options table file, speed, match, secrets, repeats
--- @return oaichat.testing.Replay|nil replay
--- @return string|nil message
function M.replay(options) return replay.new(options) end

--- Replays the file where there is one, and records it where there is none.
--- @param options table as for record, with speed, match and repeats of replay
--- @return oaichat.testing.Replay|oaichat.testing.Recorder|nil
--- @return string|nil message
function M.cassette(options)
  local file = io.open(options.file, "rb")
  if not file then
    return record.new {
      file = options.file, upstream = options.upstream, secrets = options.secrets, ca_file = options.ca_file,
    }
  end
  file:close()
  return replay.new {
    file = options.file, speed = options.speed, match = options.match, repeats = options.repeats,
    secrets = options.secrets,
  }
end

return M
