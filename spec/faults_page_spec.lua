--- docs/FAULTS.md against the titles that claim rows: `make faults` writes it, and this
-- says when that was forgotten. It runs nothing.
-- luacheck: no max line length

local faults = require "spec.support.faults"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- row -> { file, words, whole }[]
local function claimed()
  local pipe = assert(io.popen "ls spec/*_spec.lua spec/history_contract.lua spec/*_test.c")
  local out = {}
  for path in pipe:lines() do
    for _, one in ipairs(faults.literals(read(path))) do
      for _, row in ipairs(one.rows) do
        out[row] = out[row] or {}
        table.insert(out[row], { file = path, words = one.words, whole = one.whole })
      end
    end
  end
  pipe:close()
  return out
end

describe("the fault table", function()
  it("has a title for each of its rows, and no other", function()
    local rows = claimed()
    local without = {}
    for row in ipairs(faults.ROWS) do
      if not rows[row] and not faults.UNKEPT[row] then without[#without + 1] = row end
    end
    assert.equal("", table.concat(without, " "), "rows without a spec")
    for row in pairs(rows) do assert.truthy(faults.ROWS[row], "there is no row " .. row) end
  end)

  it("is as docs/FAULTS.md shows it: make faults", function()
    local rows, page = claimed(), {}
    for line in read "docs/FAULTS.md":gmatch "[^\n]+" do
      local number = line:match "^| (%d+) |"
      if number then page[tonumber(number)] = line end
    end
    for row, fault in ipairs(faults.ROWS) do
      local line = assert(page[row], "row " .. row .. " is missing")
      assert.truthy(line:find("| " .. faults.markdown(fault) .. " |", 1, true), line)
      assert.truthy(line:find "| kept |$" or line:find "| unkept: [^|]+ |$", line)
      for _, one in ipairs(rows[row] or {}) do
        assert.truthy(line:find("`" .. one.file .. "`", 1, true), ("row %d: %s is not named"):format(row, one.file))
        if one.whole then
          assert.truthy(line:find(faults.markdown(one.words), 1, true), ("row %d: %q is not named"):format(row, one.words))
        end
      end
    end
  end)

  it("names at most five rows that a platform forbids, each with the call that fails", function()
    local n = 0
    for row, call in pairs(faults.UNKEPT) do
      n = n + 1
      assert.truthy(faults.ROWS[row])
      assert.matches("%w", call)
    end
    assert.is_true(n <= 5)
  end)
end)
