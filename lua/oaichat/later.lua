--- later: a module that is loaded when something of it is first used, so that a
-- program pays for what it does. `local tools = later "oaichat.tools"`.

--- @param name string of a module that returns a table
--- @return table its fields
return function(name)
  return setmetatable({}, {
    __index = function(proxy, key)
      local value = require(name)[key]
      proxy[key] = value
      return value
    end,
  })
end
