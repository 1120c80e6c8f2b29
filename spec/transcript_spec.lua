--- transcript: what is exported comes back, and what is malformed is named by its line.

local errors = require "oaichat.errors"
local json = require "oaichat.json"
local transcript = require "oaichat.transcript"

local MARK = "<!-- oaichat "

local function fails(pattern, ok, text, err)
  assert.is_nil(ok)
  assert.is_true(errors.is(err), tostring(err))
  assert.equal("transcript", err.code)
  assert.truthy(text:find(pattern, 1, true), text)
  return err
end

local function same(a, b)
  assert.equal(json.encode(a), json.encode(b))
end

local function answered()
  return {
    system = "be brief",
    messages = {
      { role = "user", content = "Weather in Paris?", name = "bob" },
      { role = "assistant", tool_calls = {
        { id = "call_1", type = "function", ["function"] = { name = "weather",
          arguments = '{ "city": "Paris", "n": 1.0 }' } },
        { id = "call_2", type = "function", ["function"] = { name = "time", arguments = "{}" } },
      }, meta = { origin = "https://api.openai.com", opaque = { reasoning = "hm" }, weight = 0 } },
      { role = "tool", tool_call_id = "call_1", content = '{"c":21}' },
      { role = "tool", tool_call_id = "call_2", content = "noon ```" },
      { role = "assistant", content = "21 degrees.", meta = { finish_reason = "stop" } },
    },
  }
end

local function without_meta(conversation)
  for _, one in ipairs(conversation.messages) do one.meta = nil end
  return conversation
end

-- Pieces that texts are made of: all that could be taken for something of ours.
local PIECES = {
  "\n", "\n\n", "```", "```lua", "~~~", "````", "# ", "## User", "## User " .. MARK .. 'message {"role":"user"} -->',
  MARK .. "closed {} -->", "\\", "\\" .. MARK .. "closed {} -->", "\\\\" .. MARK .. "x", MARK, "-->", "--", ">", "\r\n",
  "\0", " ", "    ", "text", "é日本", "<!--", "# Conversation " .. MARK .. 'transcript {"version":1} -->', "{}",
    "[1]", "`",
  "\t", "### Tool call: x " .. MARK .. "call {} -->", '"', "\\n",
}

local function random_text()
  local out = {}
  for i = 1, math.random(0, 9) do
    out[i] = PIECES[math.random(#PIECES)]
    if math.random(3) == 1 then out[i] = out[i] .. "\n" end
  end
  return table.concat(out)
end

local function random_conversation()
  local out = { messages = {} }
  if math.random(2) == 1 then out.system = random_text() end
  for _ = 1, math.random(5) do
    local role = ({ "user", "assistant", "tool", "developer", "system" })[math.random(5)]
    local one = { role = role, content = random_text() }
    if role == "tool" then one.tool_call_id = random_text() end
    if role == "assistant" and math.random(2) == 1 then
      if math.random(2) == 1 then one.content = nil end
      one.tool_calls = {}
      for i = 1, math.random(3) do
        one.tool_calls[i] = {
          id = random_text(), type = "function", ["function"] = { name = random_text(), arguments = random_text() },
        }
      end
    elseif math.random(4) == 1 then
      one.content = {
        { type = "text", text = random_text() }, { type = "image_url", image_url = { url = random_text() } },
        { type = "text", text = random_text(), cache = true },
      }
    end
    if math.random(4) == 1 then one.name = random_text() end
    if math.random(8) == 1 then one.refusal = random_text() end
    out.messages[#out.messages + 1] = one
  end
  return out
end

describe("transcripts", function()
  describe("in JSON", function()
    it("have all there is, one message a line", function()
      local mine = answered()
      mine.id, mine.meta, mine.tools, mine.parallel_tool_calls = "a", { user = "u" }, json.array {}, false
      local text = assert(transcript.export(mine, "json"))
      same(mine, assert(transcript.import(text, "json")))
      assert.equal('{"format":"oaichat","version":1,', text:match "[^\n]*")
      local _, lines = text:gsub("\n", "")
      assert.equal(6 + 1 + 5 + 1, lines)
      assert.equal(text, transcript.export(transcript.import(text, "json"), "json"))
    end)

    it("come back from any conversation", function()
      math.randomseed(11)
      for _ = 1, 300 do
        local mine = random_conversation()
        same(mine, assert(transcript.import(assert(transcript.export(mine, "json")), "json")))
      end
    end)

    it("name the line of what is wrong", function()
      local text = transcript.export(answered(), "json")
      local err = fails("line 4: messages[1].role: nil is no role", transcript.import(text:gsub('"role":"user"',
        '"rule":"user"', 1), "json"))
      assert.equal(4, err.line)
      err = fails("line 7:", transcript.import(text:gsub('"noon', 'noon'), "json"))
      assert.equal(7, err.line)
    end)

    it("are refused when they are something else", function()
      for bad, pattern in pairs {
        [""] = "line 1", ["[]"] = '"format":"oaichat" is missing', ["7"] = "is missing", ["{"] = "line 1",
        ['{"format":"oaichat","version":2,"messages":[]}'] = "version 2",
        ['{"format":"oaichat","version":{},"messages":[]}'] = "version {}",
        ['{"format":"oaichat","messages":[]}'] = "version (none)",
        ['{"format":"oaichat","version":1}'] = "messages: a list",
        ['{"format":"oaichat","version":1,"messages":{"a":1}}'] = "messages: a list",
        ['{"format":"oaichat","version":1,"messages":[7]}'] = "messages[1]: message expected",
        ['{"format":"oaichat","version":1,"messages":[],"x":1}'] = '"x" is no field',
        ['{"format":"oaichat","version":1,"messages":[],"system":1}'] = "system: string expected",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":[1]}]}'] = "content[1]: a part",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}']
          = "content[1].text",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":{"a":1}}]}'] = "content: a string or",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":"","name":1}]}'] = "name: a string",
        ['{"format":"oaichat","version":1,"messages":[{"role":"assistant","tool_calls":1}]}'] = "tool_calls: a list",
        ['{"format":"oaichat","version":1,"messages":[{"role":"assistant","tool_calls":[1]}]}'] = "tool_calls[1].id",
        ['{"format":"oaichat","version":1,"messages":[{"role":"assistant","tool_calls":[{"id":"x","function":{}}]}]}']
          = "tool_calls[1].function",
        ['{"format":"oaichat","version":1,"messages":[{"role":"tool","content":"x"}]}'] = "tool_call_id is missing",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":"","meta":[]}]}'] = "meta: an object",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":"","meta":{"alternatives":[{}]}}]}']
          = "alternatives[1]: messages expected",
        ['{"format":"oaichat","version":1,"messages":[{"role":"user","content":"",'
          .. '"meta":{"alternatives":[{"messages":[{"role":"x"}]}]}}]}'] = "alternatives[1].messages[1].role",
      } do
        fails(pattern, transcript.import(bad, "json"))
      end
    end)

    it("bring no approval that nobody here gave", function()
      local function approved()
        return { role = "assistant", tool_calls = {
          { id = "c", type = "function", ["function"] = { name = "rm", arguments = "{}" } },
        }, meta = { calls = { { id = "c", hash = "h", state = "approved" } } } }
      end
      local outer = approved()
      outer.meta.alternatives = { { messages = { approved() } } }
      local text = transcript.export({ messages = { outer } }, "json")
      local one = transcript.import(text, "json").messages[1]
      assert.equal("waiting", one.meta.calls[1].state)
      assert.equal("waiting", one.meta.alternatives[1].messages[1].meta.calls[1].state)
      assert.equal("approved", transcript.import(text, "json", { trusted = true }).messages[1].meta.calls[1].state)
    end)
  end)

  describe("in JSONL", function()
    it("have OpenAI's fine-tuning form and no meta", function()
      local mine = answered()
      mine.tools, mine.parallel_tool_calls = { { type = "function", ["function"] = { name = "weather" } } }, false
      local text = assert(transcript.export(mine, "jsonl"))
      assert.equal(1, select(2, text:gsub("\n", "")))
      local line = json.decode(text)
      same({ role = "system", content = "be brief" }, line.messages[1])
      assert.equal(0, line.messages[3].weight)
      assert.is_nil(text:find("meta", 1, true) or text:find("opaque", 1, true))
      local back = assert(transcript.import(text, "jsonl"))
      assert.equal(1, #back)
      mine = without_meta(mine)
      mine.messages[2].meta = { weight = 0 }
      same(mine, back[1])
    end)

    it("have a conversation a line", function()
      local list = { answered(), { messages = { { role = "developer", content = "d" }, { role = "assistant",
        content = "x\ny" } } } }
      local back = assert(transcript.import(assert(transcript.export(list, "jsonl")) .. "\r\n  \n", "jsonl"))
      assert.equal(2, #back)
      assert.equal("d", back[2].system)
      assert.equal("x\ny", back[2].messages[1].content)
    end)

    it("leave out of the lesson what broke off", function()
      local text = assert(transcript.export({ messages = { { role = "assistant", content = "x", meta = {
        incomplete = true } } } }, "jsonl"))
      assert.equal(0, json.decode(text).messages[1].weight)
    end)

    it("refuse what cannot be trained on", function()
      local audio = { role = "user", content = { { type = "input_audio", input_audio = {} } } }
      fails("messages[1]: a part of type input_audio", transcript.export({ messages = { audio } }, "jsonl"))
      fails("without an answer", transcript.export({ messages = { { role = "user", content = "x" } } }, "jsonl"))
      fails("conversations[2]: ", transcript.export({ answered(), { messages = {} } }, "jsonl"))
      fails("no call of a function", transcript.export({ messages = { { role = "assistant", tool_calls = { {
        id = "c", type = "custom", custom = {} } } } } }, "jsonl"))
    end)

    it("take nulls of other writers", function()
      local back = assert(transcript.import(
        '\239\187\191{"messages":[{"role":"user","content":"a","name":null},{"role":"assistant",'
        .. '"content":null,"refusal":null,'
        .. '"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}],'
        .. '"weight":1}],"tools":null}', "jsonl"))
      same({ messages = { { role = "user", content = "a" }, { role = "assistant", meta = { weight = 1 }, tool_calls = {
        { id = "c", type = "function", ["function"] = { name = "f", arguments = "{}" } } } } } }, back[1])
    end)

    it("name the line of what is wrong", function()
      local good = '{"messages":[{"role":"assistant","content":"x"}]}\n'
      for bad, pattern in pairs {
        ["{"] = "line 3: ", ["7"] = "line 3: an object", ["{}"] = "line 3: messages", ['{"messages":[]}']
          = "line 3: messages",
        ['{"messages":{"a":1}}'] = "line 3: messages", ['{"messages":[1]}'] = "line 3: messages[1]",
        ['{"messages":[{"role":"pope","content":"x"}]}'] = "line 3: messages[1].role: pope is no role",
        ['{"messages":[{"role":"user","content":"x"}],"tools":"x"}'] = "line 3: tools: table expected",
        ['{"messages":[{"role":"user","content":"x"}],"extra":1}'] = 'line 3: "extra" is no field',
        ['{"input":{},"preferred_output":[]}'] = "line 3: this is no chat example",
        ['{"prompt":"a","completion":"b"}'] = "line 3: this is no chat example",
      } do
        local err = fails(pattern, transcript.import(good .. "\n" .. bad .. "\n" .. good, "jsonl"))
        assert.equal(3, err.line)
      end
    end)
  end)

  describe("in Markdown", function()
    it("are what a person reads", function()
      assert.equal(table.concat({
        '# Conversation <!-- oaichat transcript {"version":1} -->', "",
        "## System prompt <!-- oaichat system {} -->", "", "be brief", "",
        '## User <!-- oaichat message {"name":"bob","role":"user"} -->', "", "Weather in Paris?", "",
        '## Assistant <!-- oaichat message {"role":"assistant"} -->', "",
        '### Tool call: weather <!-- oaichat call {"function":{"name":"weather"},"id":"call_1","type":"function"} -->',
        "",
        "```json", '{ "city": "Paris", "n": 1.0 }', "```", "",
        '### Tool call: time <!-- oaichat call {"function":{"name":"time"},"id":"call_2","type":"function"} -->', "",
        "```json", "{}", "```", "",
        '## Tool result <!-- oaichat result {"role":"tool","tool_call_id":"call_1"} -->', "",
        "```json", '{"c":21}', "```", "",
        '## Tool result <!-- oaichat result {"role":"tool","tool_call_id":"call_2"} -->', "",
        "````", "noon ```", "````", "",
        '## Assistant <!-- oaichat message {"role":"assistant"} -->', "", "21 degrees.", "",
      }, "\n"), transcript.export(answered(), "markdown"))
    end)

    it("come back exactly, whatever stands in the texts", function()
      math.randomseed(23)
      for _ = 1, 3000 do
        local mine = random_conversation()
        local text = assert(transcript.export(mine, "markdown"))
        local back, why = transcript.import(text, "markdown")
        assert.truthy(back, tostring(why) .. "\n" .. text)
        same(mine, back)
      end
      same(without_meta(answered()), transcript.import(transcript.export(answered(), "markdown"), "markdown"))
    end)

    it("keep texts as they are, fences and headings too", function()
      local code = "# A heading\n\n```lua\nprint(1)\n```\n\n## User\nno message"
      local text = transcript.export({ messages = { { role = "assistant", content = code } } }, "markdown")
      assert.truthy(text:find("\n" .. code .. "\n", 1, true))
    end)

    it("close a fence that a text leaves open, and open it again", function()
      local mine = { messages = { { role = "assistant", content = "~~~lua\nprint(" }, { role = "user",
        content = "go on" } } }
      local text = transcript.export(mine, "markdown")
      assert.truthy(text:find("print(\n~~~\n", 1, true))
      same(mine, transcript.import(text, "markdown"))
    end)

    it("name the line of what is wrong", function()
      local good = transcript.export(answered(), "markdown")
      for _, case in ipairs {
        { "x\n" .. good, "line 1: this is no transcript" }, { "", "line 1: this is no transcript" },
        { "\n\n", "line 1" }, { good:sub(2 + #good:match "[^\n]*"), "line 2: this is no transcript of oaichat" },
        { good:gsub('"version":1', '"version":9'), "line 1: version 9" },
        { good:gsub('{"name":"bob","role":"user"}', '{"name":"bob"}'), "line 7: messages[1].role" },
        { good:gsub('{"name":"bob","role":"user"}', '{"name":"bob"'), "line 7: this line is no mark" },
        { good:gsub('{"name":"bob","role":"user"}', '{"name":}'), "line 7:" },
        { good:gsub("oaichat message", "oaichat massage", 1), "line 7: massage is no part" },
        { good:gsub("1.0 }\n```", "1.0 }"), "line 13: a code block" },
        { good .. good, "a second transcript begins" },
        { good:gsub('"id":"call_1",', ""), "line 11: messages[2].tool_calls[1].id" },
        { (good:gsub('"function":{"name":"time"},', "")), "line 19: a tool call without its function" },
        { good:gsub("\n## User.*", "\n### x <!-- oaichat part {} -->\n\n```\n{}\n```\n"),
          "a part without its message" },
        { good:gsub("\n## User.*", "\n" .. MARK .. "call {} -->\n\n```\n{}\n```\n"), "a tool call without its" },
        { "# x " .. MARK .. 'transcript {"version":1} -->\n' .. MARK .. "closed {} -->",
          "line 2: this line closes nothing" },
        { good .. "## System prompt " .. MARK .. "system {} -->\n", "the system prompt stands first" },
      } do
        fails(case[2], transcript.import(case[1], "markdown"))
      end
    end)
  end)

  it("are bounded", function()
    for _, format in ipairs { "json", "jsonl", "markdown" } do
      local text = transcript.export(answered(), format)
      local err = fails("more than 10 bytes", transcript.import(text, format, { bytes = 10 }))
      assert.equal("too_large", err.kind)
      err = fails("more than 3 messages", transcript.import(text, format, { messages = 3 }))
      assert.equal("too_large", err.kind)
    end
    local lines = transcript.export({ answered(), answered() }, "jsonl")
    fails("line 2: there are more than 1 conversations", transcript.import(lines, "jsonl", { conversations = 1 }))
    local deep = ("["):rep(5000)
    assert.equal("too_large", fails("line 1", transcript.import(deep, "json")).kind)
    assert.equal("too_large", fails("line 1", transcript.import(deep, "jsonl")).kind)
  end)

  it("take no time that grows faster than the text", function()
    local cases = {
      MARK .. "a {", "} -->  ", "`", "\\" .. MARK, "\n", "# ", ",  ", '{"', "<!-- ",
    }
    local head = transcript.export({ messages = { { role = "user", content = "" } } }, "markdown")
    for _, piece in ipairs(cases) do
      local began = os.clock()
      local text = piece:rep(math.floor(2e6 / #piece))
      transcript.import(head .. text, "markdown")
      transcript.import(text, "json")
      transcript.import('{"format":"oaichat","version":1,\n"messages":[\n{"role":"x"' .. text .. "\n]}", "json")
      transcript.import(text, "jsonl")
      transcript.export({ messages = { { role = "user", content = text } } }, "markdown")
      assert.is_true(os.clock() - began < 10, piece)
    end
  end)

  it("never raise on what they read, and what they take can be written again", function()
    math.randomseed(5)
    local taken = 0
    for _, format in ipairs { "json", "jsonl", "markdown" } do
      local good = transcript.export(answered(), format)
      for _ = 1, 1500 do
        local bad = good
        for _ = 1, math.random(3) do
          local at, n = math.random(#bad), math.random(0, 12)
          local piece = math.random(2) == 1 and PIECES[math.random(#PIECES)] or string.char(math.random(0, 255))
          bad = bad:sub(1, at - 1) .. piece .. bad:sub(at + n)
        end
        local value, text, err = transcript.import(bad, format)
        if value then
          local again, why, failure = transcript.export(value, format)
          -- invalid UTF-8 passes through Markdown alone
          assert.truthy(again or errors.is(failure), why)
          taken = taken + 1
        else
          assert.is_true(errors.is(err) and type(text) == "string")
        end
      end
    end
    assert.is_true(taken > 100)
  end)

  it("are of sessions, too, and misuse raises", function()
    local session = { system = "s", meta = {}, messages = function() return { { role = "user", content = "x" } } end }
    same({ system = "s", messages = { { role = "user", content = "x" } } },
      transcript.import(transcript.export(session, "json"), "json"))
    assert.has_error(function() transcript.export(answered(), "xml") end)
    assert.has_error(function() transcript.import("", "xml") end)
    assert.has_error(function() transcript.import(nil, "json") end)
    assert.has_error(function() transcript.import("", "json", { bites = 1 }) end)
    assert.has_error(function() transcript.export({}, "json") end)
    assert.has_error(function()
      transcript.export({ messages = { { role = "assistant", tool_calls = { 7 } } } }, "jsonl")
    end)
    assert.has_error(function() transcript.export({ messages = { { role = "pope" } } }, "json") end)
    fails("messages[1].content", transcript.export({ messages = { { role = "user", content = "\255" } } }, "json"))
  end)
end)
