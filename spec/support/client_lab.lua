--- client_lab: a chat.client, its server and a folder, made anew for each case:
--   local lab = require "spec.support.client_lab"
--   lab.case("…", function() local one = lab.client(function(request, response) … end) … end)
-- Behind a case the server has no error, the folder is gone, and nothing has leaked.

local assert = require "luassert"
local busted = require "busted"
local chat = require "oaichat"
local folder = require "spec.support.folder"
local leaks = require "spec.support.leaks"
local testing = require "oaichat.testing"

local M = {}

--- A client of a server that answers so; the server is in `server`, instead of the last one.
--- @param answer function as testing.server takes it
--- @param opts table|nil more for chat.client
function M.client(answer, opts)
  if M.server then M.server:close() end
  M.server = assert(testing.server(answer, { body_bytes = 1e9 }))
  local own = { base_url = M.server.url, api_key = "sk-spec-key", retry = { max = 0 } }
  for name, value in pairs(opts or {}) do own[name] = value end
  return assert(chat.client(own))
end

--- Writes a file into the case's folder, `dir`.
--- @return string path
function M.write(name, text)
  local path = M.dir .. "/" .. name
  folder.write(path, text)
  return path
end

--- The names in the case's folder.
function M.files()
  local out, pipe = {}, io.popen("ls -A '" .. M.dir .. "'")
  for name in pipe:lines() do out[#out + 1] = name end
  pipe:close()
  return out
end

function M.case(name, fn)
  busted.it(name, function()
    M.dir = folder.new()
    leaks.remember()
    local ok, why = pcall(fn)
    if M.server then
      M.server:close()
      if ok then assert.same({}, M.server.errors) end
    end
    M.server = nil
    folder.remove(M.dir)
    if not ok then error(why, 0) end
    leaks.check()
  end)
end

return M
