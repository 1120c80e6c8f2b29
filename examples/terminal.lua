-- terminal: what the examples that talk in a terminal share: colours, and text of a
-- model or a tool as it may be shown. Knows no session.

local core = require "oaichat.core"

local M = {}

local colours = core.isatty(1) and (os.getenv "NO_COLOR" or "") == "" and os.getenv "TERM" ~= "dumb"

function M.paint(code, text)
  return colours and ("\27[%sm%s\27[0m"):format(code, text) or text
end

function M.show(text)
  io.stdout:write(text)
  io.stdout:flush()
end

local function codepoint(bytes)
  local lead = bytes:byte(1)
  local value = lead < 224 and lead % 32 or lead % 16
  for i = 2, #bytes do value = value * 64 + bytes:byte(i) % 64 end
  return ("\\u{%04X}"):format(value)
end

--- A model may not command the terminal: control characters and the marks that
--- reorder text (bidi) are shown, not obeyed.
function M.visible(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", function(byte) return ("\\x%02X"):format(byte:byte()) end)
  text = text:gsub("\194[\128-\159]", codepoint)
  text = text:gsub("\216\156", codepoint)
  text = text:gsub("\226\128[\142\143\168-\174]", codepoint)
  return (text:gsub("\226\129[\166-\169]", codepoint))
end

--- On one line, cut.
function M.line(text, bytes)
  text = M.visible(text):gsub("[\n\t]", " ")
  if #text <= bytes then return text end
  while text:byte(bytes + 1) >= 128 and text:byte(bytes + 1) < 192 do bytes = bytes - 1 end
  return text:sub(1, bytes) .. "…"
end

function M.is_set(name)
  return (os.getenv(name) or "") ~= ""
end

return M
