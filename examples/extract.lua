-- extract: an order out of free text: what the model says is checked against a schema
-- before the program sees it. The growing record goes to stderr, the proved one to stdout.
--   export LUA_PATH="$(make -s path)" LUA_CPATH="$(make -s LUA=lua5.4 cpath)"
--   OPENAI_API_KEY=sk-... lua5.4 examples/extract.lua "I am Ada, I need 2 lamps at 19.90 by 2026-12-01."
--   lua5.4 examples/extract.lua < mail.txt       without a key: the offline bot, by the rules of bot_data.lua

local here = arg and arg[0] and arg[0]:match "^(.*[/\\])" or "examples/"
package.path = here .. "?.lua;" .. package.path

local chat = require "oaichat"
local core = require "oaichat.core"
local terminal = require "terminal"

local schema = chat.schema

local ORDER = schema.object {
  name = schema.string "Who orders",
  email = schema.string { format = "email", optional = true },
  date = schema.string { description = "When it is needed", pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", optional = true },
  items = schema.array(schema.object {
    quantity = schema.integer { min = 1 },
    name = schema.string "What, without the number",
    price = schema.number { description = "Each", min = 0, optional = true },
  }, { min = 1 }),
}

local text = arg[1] or io.read "*a"
if not text:find "%S" then
  io.stderr:write "usage: extract.lua TEXT, or the text on stdin\n"
  os.exit(2)
end

local server
if not (terminal.is_set "OPENAI_API_KEY" or terminal.is_set "OPENAI_BASE_URL") then
  server = require("server").start { pause = core.isatty(2) and 0.03 or 0 }
end
local session = assert(chat.new {
  base_url = server and server.url, model = server and "offline-bot" or nil,
  system = "Take the order out of the text. Leave out what it does not say.",
})

-- On a terminal one line that is written again, else a line for each change.
local shown
local function show_growing(value)
  local json = chat.json.encode(value)
  if not json or json == shown then return end
  shown = json
  if core.isatty(2) then
    io.stderr:write("\r\27[K", terminal.line(#json > 70 and "..." .. json:sub(-67) or json, 78))
  else
    io.stderr:write("... ", terminal.visible(json), "\n")
  end
end

local stream = session:stream(text, { schema = ORDER })
for event in stream:events() do
  if event.type == "text" and event.partial ~= nil then
    show_growing(event.partial) -- as far as it has come; nothing of it is checked
  elseif event.type == "item" and not core.isatty(2) then
    io.stderr:write(("item %d is whole: %s\n"):format(event.index, terminal.visible(chat.json.encode(event.value))))
  end
end
if core.isatty(2) then io.stderr:write "\r\27[K" end

local reply, message, err = stream:result()
if not reply then
  -- what is wrong, and where: "/items/0/quantity"
  io.stderr:write("error: ", terminal.visible(message), "\n")
  if err.kind == "validation" and err.path then io.stderr:write("at: ", terminal.visible(err.path), "\n") end
  os.exit(1)
end

-- From here on it is data: no field can be missing or of another type.
print(terminal.visible(chat.json.encode(reply.data)))
local total = 0
for _, item in ipairs(reply.data.items) do total = total + item.quantity * (item.price or 0) end
print(("%d kinds of things, %.2f in all"):format(#reply.data.items, total))
if server then server:close() end
