--- bench/transfer: what an upload from disk and a download to disk hold in memory, whatever
-- their size: one file up, the same size down, against a server in a process of its own.
--
--   lua5.4 bench/transfer.lua [MiB, 1024]
--
-- Prints the resident set before and its peak behind each (Linux, VmHWM), and the rates.

local chat = require "oaichat"
local core = require "oaichat.core"

local PIECE = 65536

-- ---- the server: takes any form, gives as many bytes as the path says ------------------

local function serve()
  local listener = assert(core.listen {})
  print(listener:port())
  io.stdout:flush()
  local peers, piece = {}, ("0123456789abcdef"):rep(PIECE / 16)
  local function answer(one, head)
    local length = tonumber(head:lower():match "content%-length: (%d+)")
    if head:find "^GET [^ ]-/stop" then os.exit(0) end
    local size = tonumber(head:match "^GET [^ ]-/(%d+)/content")
    if size then
      one.peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(size))
      one.left = size
    elseif length and one.got - #head - 4 >= length then
      local body = ('{"id":"file-1","bytes":%d}'):format(length)
      one.peer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
      one.head = nil
    end
  end
  local function turn(one)
    local bytes = one.peer:read()
    if bytes and bytes ~= "" then
      if not one.head then
        one.text = (one.text or "") .. bytes
        one.head = one.text:match "^(.-)\r\n\r\n"
        if one.head then
          one.got = #one.text
          one.text = nil
        end
      else
        one.got = one.got + #bytes
      end
      if one.head then answer(one, one.head) end
    end
    while one.left and one.left > 0 and one.peer:pending() < 4 * PIECE do
      local n = math.min(PIECE, one.left)
      one.peer:write(n == PIECE and piece or piece:sub(1, n))
      one.left = one.left - n
      if one.left == 0 then one.left, one.head = nil, nil end
    end
  end
  while true do
    listener:step()
    local peer = listener:accept()
    if peer then peers[#peers + 1] = { peer = peer } end
    for _, one in ipairs(peers) do turn(one) end
  end
end

-- ---- the client -----------------------------------------------------------------------

local function resident(field)
  for line in io.lines "/proc/self/status" do
    local kb = line:match("^" .. field .. ":%s+(%d+)")
    if kb then return tonumber(kb) end
  end
end

local function forget_peak()
  collectgarbage()
  local file = io.open("/proc/self/clear_refs", "w")
  if file then
    file:write "5"
    file:close()
  end
end

local function measure(name, size, fn)
  forget_peak()
  local before, start = resident "VmRSS", core.now()
  fn()
  local seconds = core.now() - start
  local peak, mib = resident "VmHWM", size / 2 ^ 20
  print(("%-8s %6d MiB   RSS before %6d kB, peak %6d kB, growth %5d kB   %6.0f MiB/s")
    :format(name, mib, before, peak, peak - before, mib / seconds))
end

local function run(size)
  local interpreter = arg[-1]
  local pipe = assert(io.popen(("exec %s bench/transfer.lua serve"):format(interpreter)))
  local port = assert(pipe:read "*n")
  local client = assert(chat.client { base_url = ("http://127.0.0.1:%d/v1"):format(port), api_key = false })
  local source, target = os.tmpname(), os.tmpname()
  local file = assert(io.open(source, "wb"))
  file:seek("set", size - 1)
  file:write "x" -- sparse: what is sent takes no disk
  file:close()
  client:request("GET", "/files/1/content", { result = "bytes" }) -- what a first request makes is there
  measure("upload", size, function()
    local answer = assert(client.files:create { purpose = "user_data", file = { path = source } })
    assert(answer.bytes > size)
  end)
  local got = 0
  measure("download", size, function()
    assert(client.files:content(("%d"):format(size), nil, { to = function(bytes) got = got + #bytes end }))
  end)
  assert(got == size, got)
  measure("to disk", size, function()
    assert(client.files:content(("%d"):format(size), nil, { to = target }))
  end)
  os.remove(source)
  os.remove(target)
  client:request("GET", "/stop", { retry = { max = 0 } })
  pipe:close()
end

if arg[1] == "serve" then serve() else run((tonumber(arg[1]) or 1024) * 2 ^ 20) end
