--- An output handler for busted: a line for each case whose title claims a row of the
-- fault table, into the file that -Xoutput names:
--   status, file, line, rows, title (tabs between)

local faults = require "spec.support.faults"

return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local file = assert(io.open(assert(options.arguments[1], "-Xoutput FILE"), "w"))

  local function say(...)
    local line = table.concat({ ... }, "\t"):gsub("\n", " ")
    file:write(line, "\n")
    file:flush()
  end

  -- Its own name and those around it, the rows taken out of them.
  local function read(element)
    local rows, names = nil, {}
    while element and element.descriptor ~= "file" and element.name do
      local own, words = faults.claims(element.name)
      rows = rows or own
      if words ~= "" then table.insert(names, 1, words) end
      element = busted.parent(element)
    end
    return rows, table.concat(names, " ")
  end

  -- The last case: what fails in its after_each is told behind its end.
  local held

  local function let_go()
    if held then say(held.status, held.file, held.line, held.rows, held.title) end
    held = nil
  end

  function handler.testEnd(element, _, status)
    local rows, title = read(element)
    local at = element.trace
    let_go()
    held = rows and {
      status = status, file = at.short_src:gsub("^%./", ""), line = tostring(at.currentline),
      rows = table.concat(rows, ","), title = title,
    }
    return nil, true
  end

  function handler.failed(element, _, message)
    local descriptor = element.descriptor
    io.stderr:write(handler.getFullName(element), "\n  ", tostring(message), "\n")
    if descriptor == "after_each" and held then held.status = "failure" end
    if descriptor ~= "it" then say("error", "", "", "", handler.getFullName(element)) end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "failure" }, handler.failed)
  busted.subscribe({ "error" }, handler.failed)
  busted.subscribe({ "suite", "end" }, function()
    let_go()
    say "end"
    return nil, true
  end)
  return handler
end
