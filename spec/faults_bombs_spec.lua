--- FAULTS G, rows 98-100: answers that grow, and encodings that are wrong. Sizes are
-- those of the table divided by 100, with limits.response_bytes scaled alike.

local core = require "oaichat.core"
local leaks = require "spec.support.leaks"
local peak = require "spec.support.peak"
local play = require "spec.support.play"
local testing = require "oaichat.testing"

local LIMIT = 1e6 -- limits.response_bytes
local HUGE = 100 * 1024 * 1024 -- what a bomb becomes

local function output_of(command)
  local pipe = assert(io.popen(command))
  local bytes = pipe:read "*a"
  pipe:close()
  return bytes
end

local function gzip(text)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  local bytes = output_of("gzip -9 -n -c " .. name)
  os.remove(name)
  assert(#bytes > 18, "gzip is missing")
  return bytes
end

local function big_endian(n)
  return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- RFC 1950 around what gzip deflated; Adler-32 of the text goes behind it.
local function adler(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return big_endian(b * 65536 + a)
end

local function raw_deflate(gzipped) return gzipped:sub(11, -9) end
local function zlib(text) return "\120\218" .. raw_deflate(gzip(text)) .. adler(text) end

-- RFC 8878: blocks that say "128 kB of this byte", four bytes each.
local function zstd_bomb(size)
  local n = math.floor(size / 131072)
  -- a window of 1 MB; last block: bit 0, RLE: 1 in bits 1-2, the size from bit 3
  local block = 2 + 131072 * 8
  local function header(v) return string.char(v % 256, math.floor(v / 256) % 256, math.floor(v / 65536)) end
  return "\40\181\47\253\0\80" .. (header(block) .. " "):rep(n - 1) .. header(block + 1) .. " "
end

-- `head -c 104857600 /dev/zero | tr '\0' ' ' | brotli -q 9`
local BROTLI = ("cfffff7f002440e2b14072effff9ffff0f8004401c1680eefd3fffffff01900088c302d0bdffe7ffff3f001200715800baf7"
  .. "fffcffff074002200e0b40f7fe9fffffff004800c46101e8deffe7ffff0f000980382c00ddfb1f"):gsub("%x%x", function(hex)
  return string.char(tonumber(hex, 16))
end)

local bombs = {}

local function bomb(encoding)
  if not bombs.gzip then
    bombs.gzip = output_of(("head -c %d /dev/zero | tr '\\0' ' ' | gzip -9 -n"):format(HUGE))
    bombs.deflate = raw_deflate(bombs.gzip)
    bombs.zstd = zstd_bomb(HUGE)
    bombs.br = BROTLI
  end
  return bombs[encoding]
end

local accepted -- the encodings that this libcurl has

local function accepts(encoding)
  if not accepted then
    play.run(function(request, response)
      accepted = request.headers["accept-encoding"] or ""
      play.good(request, response)
    end, { mode = "send" })
  end
  return accepted:find(encoding, 1, true) ~= nil
end

local function encoded(encoding, bytes, extra)
  return function(_, response)
    local headers = { ["Content-Encoding"] = encoding, ["Content-Type"] = "application/json" }
    for name, value in pairs(extra or {}) do headers[name] = value end
    response:body(200, bytes, headers)
  end
end

local BODY = play.completion '{"role":"assistant","content":"a"}'

describe("bombs:", function()
  before_each(leaks.remember)
  after_each(leaks.check)

  for _, encoding in ipairs { "gzip", "deflate", "zstd", "br" } do
    it("rows 98, 99: a " .. encoding .. " bomb is too_large, and memory stays small", function()
      if not accepts(encoding) then return pending("this libcurl has no " .. encoding) end
      local bytes = bomb(encoding)
      assert.is_true(#bytes < HUGE / 900)
      local base = peak.start()
      local out = play.run(encoded(encoding, bytes), { mode = "send", new = { limits = { response_bytes = LIMIT } } })
      local err = play.failed(out, "too_large", "too_large")
      assert.is_false(err.retryable)
      if base then assert.is_true(peak.above(base) <= 2 * LIMIT + 32e6, peak.above(base)) end
      assert.is_true(out.seconds < 5)
    end)
  end

  it("rows 98, 99: a bomb in an error's answer is cut; the status stays", function()
    for _, encoding in ipairs { "gzip", "deflate", "zstd", "br" } do
      if accepts(encoding) then
        local function answer(_, response)
          response:body(500, bomb(encoding), { ["Content-Encoding"] = encoding })
        end
        local base = peak.start()
        local err = play.failed(play.run(answer, { mode = "send" }), "server")
        assert.equal(500, err.status)
        assert.is_true(#err.message < 1000)
        if base then assert.is_true(peak.above(base) <= 32e6, peak.above(base)) end
      end
    end
  end)

  it("row 98: a stream is not asked to be encoded; one that is all the same does not blow up", function()
    local asked
    local function answer(request, response)
      asked = request.headers["accept-encoding"]
      response:body(200, bomb "gzip", { ["Content-Encoding"] = "gzip", ["Content-Type"] = "text/event-stream" })
    end
    local base = peak.start()
    local out = play.run(answer, { new = { limits = { response_bytes = LIMIT } } })
    assert.is_nil(asked)
    play.failed(out, "protocol")
    if base then assert.is_true(peak.above(base) <= 2 * LIMIT + 32e6, peak.above(base)) end
  end)

  it("encoded answers are read: each encoding, and two of them", function()
    local all = { gzip = gzip(BODY), deflate = zlib(BODY), ["gzip, gzip"] = gzip(gzip(BODY)), ["x-gzip"] = gzip(BODY),
      identity = BODY }
    for encoding, bytes in pairs(all) do
      play.succeeded(play.run(encoded(encoding, bytes), { mode = "send" }), "a")
    end
    play.succeeded(play.run(encoded("deflate", raw_deflate(gzip(BODY))), { mode = "send" }), "a")
  end)

  it("row 99: five encodings are read, six are decode", function()
    local bytes = BODY
    for _ = 1, 5 do bytes = gzip(bytes) end
    local function stacked(n) return ("gzip, "):rep(n - 1) .. "gzip" end
    play.succeeded(play.run(encoded(stacked(5), bytes), { mode = "send" }), "a")
    local err = play.failed(play.run(encoded(stacked(6), gzip(bytes)), { mode = "send" }), "protocol", "decode")
    assert.is_false(err.retryable)
    play.failed(play.run(encoded(stacked(100), gzip(bytes)), { mode = "send" }), "protocol", "decode")
    local lines = {}
    for i = 1, 6 do lines[i] = "gzip" end
    play.failed(play.run(function(_, response)
      response:body(200, gzip(bytes), { ["Content-Encoding"] = lines })
    end, { mode = "send" }), "protocol", "decode")
  end)

  it("row 99: an encoding that nobody asked for is decode", function()
    for _, encoding in ipairs { "compress", "aes128gcm", "gzipp", "lua" } do
      play.failed(play.run(encoded(encoding, BODY), { mode = "send" }), "protocol", "decode")
    end
  end)

  it("row 99: data that is not what it says is decode", function()
    for _, encoding in ipairs { "gzip", "deflate", "br", "zstd" } do
      if accepts(encoding) then
        play.failed(play.run(encoded(encoding, BODY), { mode = "send" }), "protocol", "decode")
        play.failed(play.run(encoded(encoding, "\0" .. ("\255"):rep(100)), { mode = "send" }), "protocol", "decode")
      end
    end
    local damaged = gzip(BODY)
    damaged = damaged:sub(1, 20) .. "\255\255\255" .. damaged:sub(24)
    play.failed(play.run(encoded("gzip", damaged), { mode = "send" }), "protocol", "decode")
    -- the checksum alone is wrong
    play.failed(play.run(encoded("gzip", gzip(BODY):sub(1, -9) .. "12345678"), { mode = "send" }), "protocol", "decode")
  end)

  it("row 99: data that is cut is decode", function()
    for encoding, bytes in pairs { gzip = gzip(BODY), deflate = zlib(BODY) } do
      for _, keep in ipairs { 1, 5, 11, 30, math.floor(#bytes / 2), #bytes - 20 } do
        play.failed(play.run(encoded(encoding, bytes:sub(1, keep)), { mode = "send" }), "protocol", "decode")
      end
    end
  end)

  it("row 99: cut by the connection's end it is an interruption", function()
    local bytes = gzip(BODY)
    local function answer(_, response)
      response:raw(("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"):format(#bytes)
        .. bytes:sub(1, 30)):close()
    end
    play.failed(play.run(answer, { mode = "send" }), "incomplete_stream", "stream_interrupted")
  end)

  it("row 100: an endless body is too_large, and memory stays small", function()
    for _, mode in ipairs { "send", "stream" } do
      local sent = 0
      local function answer(_, response)
        response:raw "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"id\":\""
        for _ = 1, 100 do
          sent = sent + 100000
          response:raw(("x"):rep(100000))
        end
      end
      local base = peak.start()
      local out = play.run(answer, { mode = mode, new = { limits = { response_bytes = LIMIT } } })
      play.failed(out, "too_large", "too_large")
      assert.is_true(sent > LIMIT)
      if base then assert.is_true(peak.above(base) <= 2 * LIMIT + 32e6, peak.above(base)) end
      assert.is_true(out.seconds < 2)
    end
  end)

  it("row 100: a body at the limit is read", function()
    local text = ("y"):rep(50000)
    local body = play.completion('{"content":"' .. text .. '"}')
    local function answer(_, response) response:body(200, body) end
    local out = play.run(answer, { mode = "send", new = { limits = { response_bytes = #body } } })
    play.succeeded(out, text)
    out = play.run(answer, { mode = "send", new = { limits = { response_bytes = #body - 1 } } })
    play.failed(out, "too_large")
  end)

  it("row 100: so is an endless stream", function()
    local server = assert(testing.server(function(_, response)
      response:raw(play.HEAD)
      for _ = 1, 200 do response:raw(play.text(("z"):rep(10000))) end
    end))
    local start = core.now()
    local _, _, err = play.session(server, { limits = { response_bytes = LIMIT } }):stream("hello"):result()
    assert.equal("too_large", err.kind)
    assert.is_true(#err.partial.text > 0 and #err.partial.text <= LIMIT)
    assert.is_true(core.now() - start < 2)
    server:close()
  end)
end)
