--- interpreter: the command that runs the specs, for specs that start children.

--- @return string
return function()
  local i = 0
  while arg and arg[i - 1] do i = i - 1 end
  return i < 0 and arg[i] or (rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", ""))
end
