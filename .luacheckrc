-- Every Lua from 5.1 to 5.5 and LuaJIT runs these files, so that they ask for
-- what only some have (`table.unpack or unpack`); the specs hold them to it.
std = "max"
max_line_length = 120
-- Lua-callables and handlers have the signature that their caller gives.
self = false

files["lua/oaichat/meta"] = {
  -- Definitions for editors: names and types, no bodies.
  ignore = { "111", "112", "113", "131", "211", "212", "241" },
  max_line_length = false,
}
files["spec"] = { std = "max+busted" }
files["examples/testing_spec.lua"] = { std = "max+busted" }
-- Stands in for the interpreter: it sets what a script finds in arg.
files["spec/support/offline.lua"] = { globals = { "arg" } }
files["*.rockspec"] = { std = "+rockspec" }
exclude_files = { "lua_modules", ".luarocks", "build", "build-asan", "build-portable" }
files["examples/love"] = { globals = { "love" } }
files["spec/hosts/love"] = { globals = { "love" } }
files["examples/nvim.lua"] = { globals = { "vim", "Ask", "Answered" } }
files["spec/hosts/nvim.lua"] = { read_globals = { "vim" } }
