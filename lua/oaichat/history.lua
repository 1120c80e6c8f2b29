--- history: where conversations are kept. Each function makes a store; what a store
-- does is in docs/HISTORY.md, the files in lua/oaichat/history/.
--   chat.history.memory {}  ·  file { path = }  ·  sqlite { path = }  ·  postgres { … }
--   redis { url = }  ·  guard(store, { redact =, encrypt =, … })

local FOLDER = "oaichat.history."
local KINDS = { memory = true, file = true, sqlite = true, postgres = true, redis = true, guard = true }

return setmetatable({}, {
  __index = function(history, kind)
    if not KINDS[kind] then return nil end
    local module = require(FOLDER .. kind)
    history[kind] = module.new
    return module.new
  end,
})
