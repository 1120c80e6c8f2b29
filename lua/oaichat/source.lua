--- source: what an answer comes from, piece by piece: `poll`, `done` and `await` are
--- its own; what else a reader asks of it is made of these here. Knows nothing else.

local M = {}

--- The next piece of the first choice's text; nil at the end. Waits.
--- @return string|nil
function M.text(source)
  while true do
    local kind, piece, choice = source:poll()
    if kind == "text" and choice == 0 then return piece end
    if not kind then
      if source:done() then return nil end
      source:await()
    end
  end
end

--- Reads on to the end, handing nothing out.
function M.drain(source)
  while true do
    if not source:poll() then
      if source:done() then return end
      source:await()
    end
  end
end

return M
