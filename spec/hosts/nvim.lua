-- Headless Neovim: 50 streams go into a buffer while a timer of 5 ms ticks. With
-- HOSTS_TLS, each of them on a fresh TLS connection.

local ok, why = xpcall(function()
  local support = require "spec.hosts.support"
  local uv = vim.uv or vim.loop

  local STREAMS, CHUNKS = 50, 100
  local handle = require("oaichat.loop.luv").attach()
  local buffer = vim.api.nvim_create_buf(false, true)
  local done, ticks, worst, last = 0, 0, 0, nil
  local timer = uv.new_timer()
  local sessions, expected = {}, {}
  for i = 1, STREAMS do sessions[i] = support.session() end
  timer:start(5, 5, function()
    local now = uv.hrtime()
    if last then worst = math.max(worst, (now - last) / 1e6) end
    last, ticks = now, ticks + 1
  end)
  vim.wait(50)
  for i = 1, STREAMS do
    local input, text = support.ask("n" .. i, CHUNKS, 0.01)
    expected[i] = text
    vim.api.nvim_buf_set_lines(buffer, i - 1, i, false, { "" })
    sessions[i]:stream(input, {
      on_event = function(event)
        if event.type ~= "text" then return end
        local line = vim.api.nvim_buf_get_lines(buffer, i - 1, i, false)[1]
        vim.api.nvim_buf_set_text(buffer, i - 1, #line, i - 1, #line, { event.text })
      end,
      on_done = function(reply, message)
        assert(reply, message)
        done = done + 1
      end,
    })
  end
  assert(vim.wait(20000, function() return done == STREAMS end, 10), "not all streams ended")
  timer:close()
  for i, line in ipairs(vim.api.nvim_buf_get_lines(buffer, 0, STREAMS, false)) do
    assert(line == expected[i], "the buffer's text is wrong")
  end
  local fine, refused = pcall(function() return sessions[1]:send "x 1 0" end)
  assert(not fine and tostring(refused):find "would block the host %(Neovim%)", refused)
  handle:detach()
  print(("%d ticks while %d streams of %d chunks came\n"):format(ticks, STREAMS, CHUNKS))
  support.connections(STREAMS)
  support.figure("largest gap of a 5 ms timer in Neovim", worst, "ms", 25)
end, debug.traceback)
if not ok then
  io.stderr:write(tostring(why), "\n")
  vim.cmd "cquit 1"
end
vim.cmd "qall!"
