-- nvim: :lua Ask "question" streams the answer into the buffer; nothing blocks.
--   nvim -c 'luafile examples/nvim.lua', with oaichat installed as a plugin (make nvim)

local chat = require "oaichat"

require("oaichat.loop.luv").attach()

local session = assert(chat.new())

function _G.Ask(question)
  local buffer = vim.api.nvim_get_current_buf()
  _G.Answered = false
  session:stream(question, {
    on_event = function(event) -- scheduled: the editor's API may be called
      if event.type ~= "text" then return end
      local last = vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1]
      local lines = vim.split(last .. event.text, "\n", { plain = true })
      vim.api.nvim_buf_set_lines(buffer, -2, -1, false, lines)
    end,
    on_done = function(_, message)
      _G.Answered = true
      if message then vim.notify(message, vim.log.levels.ERROR) end
    end,
  })
end
