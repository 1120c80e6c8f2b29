-- Nicolas Seriot's JSON test suite (MIT) against oaichat.json: y_ must be read,
-- n_ refused, i_ is left to us. Knows the suite's folder beside the repository.

local json = require "oaichat.json"

local folder = "../shared/fixtures/json-suite"
local in_ci = os.getenv "CI" == "1" or os.getenv "CI" == "true"

local function read(name)
  local file = assert(io.open(folder .. "/" .. name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function names(prefix)
  local list = {}
  local pipe = assert(io.popen("ls " .. folder .. "/ 2>/dev/null"))
  for name in pipe:lines() do
    if name:sub(1, #prefix) == prefix then list[#list + 1] = name end
  end
  pipe:close()
  return list
end

-- Counts the texts for which is_right holds and lists the others.
local function count(prefix, is_right)
  local list, right, wrong = names(prefix), 0, {}
  for _, name in ipairs(list) do
    local value, message, err = json.decode(read(name))
    if is_right(value, message, err) then
      right = right + 1
    else
      wrong[#wrong + 1] = name
    end
  end
  print(("json-suite %s: %d of %d"):format(prefix, right, #list))
  return right, table.concat(wrong, " ")
end

local function accepted(value) return value ~= nil end

local function refused(value, message, err)
  return value == nil and type(message) == "string" and
    (err.code == "decode" or err.code == "too_deep")
end

describe("the JSON suite", function()
  local present = #names "y_" > 0

  local function check(sentence, test)
    it(sentence, function()
      if present then return test() end
      assert(not in_ci, folder .. " is missing")
      pending(folder .. " is not here")
    end)
  end

  check("has its 95 valid texts accepted", function()
    local right, wrong = count("y_", accepted)
    assert.equal("", wrong)
    assert.equal(95, right)
  end)

  check("row 89: has its 188 invalid texts refused", function()
    local right, wrong = count("n_", refused)
    assert.equal("", wrong)
    assert.equal(188, right)
  end)

  check("has its undefined texts read or refused without a crash", function()
    local right = count("i_", function(...)
      return accepted(...) or refused(...)
    end)
    assert.equal(35, right)
  end)

  check("reads back what it writes of every text it accepts", function()
    for _, prefix in ipairs { "y_", "i_" } do
      for _, name in ipairs(names(prefix)) do
        local value = json.decode(read(name))
        if value ~= nil then
          local text = assert(json.encode(value))
          assert.equal(text, json.encode((json.decode(text))), name)
        end
      end
    end
  end)
end)
