-- JSON Schema's own test suite (draft 2020-12) against oaichat.schema. Knows the suite's
-- folder beside the repository.

local json = require "oaichat.json"
local schema = require "oaichat.schema"

local folder = "../shared/fixtures/json-schema-suite/"
local in_ci = os.getenv "CI" == "1" or os.getenv "CI" == "true"

local function read(name)
  local file = io.open(folder .. name, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return assert(json.decode(text))
end

local FILES = {
  "additionalProperties", "allOf", "anyOf", "boolean_schema", "const", "defs", "enum", "exclusiveMaximum",
  "exclusiveMinimum", "format", "infinite-loop-detection", "items", "maxItems", "maxLength", "maximum", "minItems",
  "minLength", "minimum", "multipleOf", "not", "oneOf", "pattern", "prefixItems", "properties", "ref", "required",
  "type", "uniqueItems",
}

local function skipped_groups()
  local skipped = {}
  for _, one in ipairs(read "SKIP.json".groups) do skipped[one.file .. "|" .. one.group] = true end
  return skipped
end

-- Counts the tests that end as the suite says, and lists the others.
local function count(names, opts, wanted)
  local good, total, wrong = 0, 0, {}
  for _, name in ipairs(names) do
    for _, group in ipairs(read(name .. ".json")) do
      local validator, why
      if wanted(name, group) then validator, why = schema.compile(group.schema, opts) end
      for _, test in ipairs(wanted(name, group) and group.tests or {}) do
        total = total + 1
        local ok = validator and (validator:check(test.data) == true) == test.valid
        if ok and validator:valid(test.data) == test.valid then
          good = good + 1
        else
          wrong[#wrong + 1] = ("%s: %s: %s (%s)"):format(name, group.description, test.description, why or "verdict")
        end
      end
    end
  end
  return good, total, table.concat(wrong, "\n")
end

describe("the JSON Schema suite", function()
  local present = read "SKIP.json" ~= nil

  local function check(sentence, test)
    it(sentence, function()
      if present then return test() end
      assert(not in_ci, folder .. " is missing")
      pending(folder .. " is not here")
    end)
  end

  check("has every test of its required core pass", function()
    local skipped = skipped_groups()
    local good, total, wrong = count(FILES, nil, function(name, group)
      return not skipped[name .. ".json|" .. group.description]
    end)
    print(("schema suite: %d of %d"):format(good, total))
    assert.equal("", wrong)
    assert.equal(738, total)
  end)

  check("has the groups with $id and $anchor pass too, where they fetch nothing", function()
    local skipped = skipped_groups()
    local good, total = count(FILES, nil, function(name, group)
      return skipped[name .. ".json|" .. group.description]
    end)
    print(("schema suite, beyond the core: %d of %d"):format(good, total))
    assert.same({ 44, 48 }, { good, total }) -- the other four ask for the metaschema by its URL
  end)

  check("has its formats pass when they are asserted", function()
    local names = { "date-time", "date", "time", "duration", "ipv4", "ipv6", "email", "uri", "uuid" }
    for i, name in ipairs(names) do names[i] = "optional/format/" .. name end
    local good, total, wrong = count(names, { formats = true }, function() return true end)
    print(("schema suite, formats: %d of %d"):format(good, total))
    assert.equal("", wrong)
    assert.equal(397, total)
  end)

  check("has its host names pass but for what punycode hides", function()
    local good, total = count({ "optional/format/hostname" }, { formats = true }, function() return true end)
    assert.same({ 41, 64 }, { good, total })
  end)
end)
