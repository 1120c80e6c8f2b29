-- A cqueues server serves 100 chats at once: examples/cqueues_server.lua and its
-- 100 clients in one controller.

package.path = "examples/?.lua;" .. package.path

local cqueues = require "cqueues"
local request = require "http.request"
local support = require "spec.hosts.support"
local web = require "cqueues_server"

local CHATS, CHUNKS = 100, 50
local cq = cqueues.new()
local server = web.start(cq, { base_url = support.url })
local good, started = 0, cqueues.monotime()
for i = 1, CHATS do
  cq:wrap(function()
    local input, expected = support.ask("w" .. i, CHUNKS, 0.02)
    local ask = request.new_from_uri(server.url)
    ask.headers:upsert(":method", "POST")
    ask:set_body(input)
    local headers, stream = assert(ask:go(20))
    assert(headers:get ":status" == "200")
    assert(stream:get_body_as_string(20) == expected, "the text is wrong")
    good = good + 1
    if good == CHATS then server:close() end
  end)
end
assert(cq:loop(30))
print(("cqueues: %d of %d chats at once, %.2f s (one alone takes %.2f s)"):format(
  good, CHATS, cqueues.monotime() - started, CHUNKS * 0.02))
assert(good == CHATS)
