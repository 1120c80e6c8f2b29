-- resume: another process goes on with a conversation whose call waits for approval.
--   lua resume.lua URL FILE approve|deny|change
-- FILE has session:messages() as JSON. Prints what became of it.

local chat = require "oaichat"
local json = require "oaichat.json"

local url, path, how = arg[1], arg[2], arg[3]
local file = assert(io.open(path, "rb"))
local messages = assert(json.decode(file:read "*a"))
file:close()
if how == "change" then
  messages[#messages].tool_calls[1]["function"].arguments = '{"path":"/"}'
end
local session = assert(chat.new {
  base_url = url, api_key = false, messages = messages,
  tools = { chat.tool {
    name = "delete", approve = true,
    parameters = chat.schema.object { path = chat.schema.string "What to delete" },
    run = function(args)
      print("deleted " .. args.path)
      return "deleted"
    end,
  } },
})
local waiting = session:parked()[1]
local ok, why
if how == "deny" then ok, why = session:deny(waiting.id, "not today") else ok, why = session:approve(waiting.id) end
if not ok then
  print(why)
else
  print(assert(session:send()).text)
end
