--- Real providers' streams become what expected.json says, over a loopback socket,
--- at any split; and no cut of one is taken for a success.

local chat = require "oaichat"
local expect = require "spec.support.expect"
local files = require "spec.support.files"
local testing = require "oaichat.testing"

local rows = files.expected()

-- Cuts at every 97th byte; with QUICK set fewer.
local STRIDE = os.getenv "QUICK" and 997 or 97
local describe_streams = rows and describe or pending

-- A server that answers with `body`, in pieces, to whoever asks.
local function serve(body, pieces)
  return testing.server {
    on_data = function(peer, bytes)
      if not bytes:find "\r\n\r\n" then return end
      peer:write "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
      if type(pieces) == "number" then peer:write(body, pieces)
      else for _, piece in ipairs(pieces) do peer:write(piece, #piece) end end
      peer:close()
    end,
  }
end

local function run(body, pieces)
  local server = serve(body, pieces)
  local session = assert(chat.new { base_url = server.url, api_key = "sk-spec-key", retry = { max = 0 } })
  local stream = session:stream "hello"
  local heard = {}
  while true do
    local text = stream:next()
    if not text then break end
    heard[#heard + 1] = text
  end
  local reply, _, err = stream:result()
  server:close()
  return reply, err, table.concat(heard)
end

-- Park and Miller's generator: the same splits on every Lua.
local function random(seed)
  return function(n)
    seed = seed * 48271 % 2147483647
    return seed % n + 1
  end
end

local function split(body, seed)
  local next_random, pieces, at = random(seed), {}, 1
  while at <= #body do
    local n = next_random(next_random(400))
    pieces[#pieces + 1] = body:sub(at, at + n - 1)
    at = at + n
  end
  return pieces
end

local function check_all(how)
  local right, wrong = 0, {}
  for i, row in ipairs(rows) do
    local body = files.read(files.streams .. row.file)
    local reply, err, heard = run(body, how(body, i))
    local difference = expect.differs(row, reply, err)
    if not difference and heard ~= (reply and reply.text or row.text) then
      difference = "the pieces are not the text"
    end
    if difference then wrong[#wrong + 1] = row.file .. ": " .. difference else right = right + 1 end
  end
  print(("fixture streams: %d of %d"):format(right, #rows))
  assert.same({}, wrong)
end

describe_streams("the fixture streams", function()
  it("become what expected.json says in one write", function()
    check_all(function(body) return #body + 1 end)
  end)

  it("become what expected.json says in writes of one byte", function()
    check_all(function() return 1 end)
  end)

  it("become what expected.json says at random splits", function()
    check_all(split)
  end)

  it("are never a success when cut at a 97th byte, but behind the finish reason", function()
    local wrong, cuts, text = {}, 0, nil
    local server = testing.server {
      on_data = function(peer, bytes)
        if not bytes:find "\r\n\r\n" then return end
        peer:write "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        peer:write(text)
        peer:close()
      end,
    }
    local session = assert(chat.new { base_url = server.url, api_key = "sk-spec-key", retry = { max = 0 } })
    for _, row in ipairs(rows) do
      local body = files.read(files.streams .. row.file)
      local finish = body:find '"finish_reason"%s*:%s*"' or body:find("[DONE]", 1, true) or #body
      for cut = STRIDE, #body - 1, STRIDE do
        text = body:sub(1, cut)
        local reply, _, err = session:stream("hello"):result()
        if reply and cut < finish then wrong[#wrong + 1] = ("%s at %d"):format(row.file, cut) end
        if not reply and not err then wrong[#wrong + 1] = ("%s at %d: neither"):format(row.file, cut) end
        session:reset()
        cuts = cuts + 1
      end
    end
    server:close()
    print(("cuts of the fixture streams: %d, %d wrong"):format(cuts, #wrong))
    assert.same({}, wrong)
  end)
end)
