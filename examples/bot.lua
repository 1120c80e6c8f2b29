-- bot: an offline companion in the manner of ELIZA, for the demo, the specs and
-- the README. It knows a conversation (a list of chat messages) and nothing
-- else: no network, no clock, no chance. The same conversation always gets the
-- same answer; what varies, varies by how often a rule has spoken before.
--
--   local bot = require "bot"
--   print(bot.reply { { role = "user", content = "I am sad" } })
--
-- How it works: every user turn is replayed through the rules, so that the
-- memory (a name, likes, a mood) needs no storage: it is the conversation.

local M = {}

-- Words ---------------------------------------------------------------------

local function words(list)
  local set = {}
  for word in list:gmatch "%S+" do set[word] = true end
  return set
end

-- " i am sad " : lower case, no punctuation, a space at both ends.
local function normalise(text)
  text = text:lower():gsub("\226\128\153", "'"):gsub("n't%f[^%w]", " not"):gsub("can not", "cannot")
  text = text:gsub("%f[%w]i'm%f[^%w]", "i am"):gsub("'re%f[^%w]", " are"):gsub("'ve%f[^%w]", " have")
  text = text:gsub("'ll%f[^%w]", " will"):gsub("'d%f[^%w]", " would"):gsub("(%f[%w]%w+)'s%f[^%w]", function(word)
    local is = { what = true, who = true, where = true, how = true, it = true, that = true, there = true }
    return is[word] and word .. " is" or nil
  end)
  text = text:gsub("[^%w'\128-\255]+", " ")
  return " " .. text:gsub("^ +", ""):gsub(" +$", "") .. " "
end

local MIRROR = {
  i = "you", me = "you", my = "your", mine = "yours", myself = "yourself", am = "are",
  you = "I", your = "my", yours = "mine", yourself = "myself", was = "were", we = "you", our = "your",
}

-- What was said of the speaker becomes what is said to the speaker.
local function mirror(text)
  text = text:gsub("you are", "I am"):gsub("^%s+", ""):gsub("%s+$", "")
  local out, after_I = {}, false
  for word in text:gmatch "%S+" do
    if word == "am" and after_I then
      out[#out + 1] = "am"
    else
      out[#out + 1] = word == "I" and "I" or MIRROR[word] or word
    end
    after_I = word == "I"
  end
  return table.concat(out, " ")
end

-- The words of text as they are written in raw: "rex" becomes "Rex".
local function as_written(text, raw)
  local written = {}
  for word in raw:gsub("^%s*%S+", ""):gmatch "[%w'\128-\255]+" do written[word:lower()] = word end
  return (text:gsub("[%w'\128-\255]+", function(word)
    return word ~= "i" and word ~= "you" and word ~= "your" and written[word] or nil
  end))
end

local function capital(word)
  return (word:gsub("^%l", string.upper))
end

-- A small hash, the same on every Lua: all values stay below 2^31.
local function hash(text)
  local h = 5381
  for i = 1, #text do h = (h * 33 + text:byte(i)) % 2147483647 end
  return h
end

local function letters(text)
  local list = {}
  for letter in text:gmatch "[%z\1-\127\194-\244][\128-\191]*" do list[#list + 1] = letter end
  return list
end

-- Arithmetic ----------------------------------------------------------------

local SPOKEN = {
  { "plus", "+" }, { "minus", "-" }, { "times", "*" }, { "multiplied by", "*" }, { "divided by", "/" },
  { "over", "/" }, { "to the power of", "^" }, { "squared", "^2" }, { "percent of", "%% of" },
}

local NUMBERS = {
  zero = 0, one = 1, two = 2, three = 3, four = 4, five = 5, six = 6, seven = 7, eight = 8, nine = 9, ten = 10,
  eleven = 11, twelve = 12,
}

-- Recursive descent over the rest of the text: sum > product > power > atom.
local function parse_sum(text)
  local rest = text
  local sum

  local function skip(pattern)
    local found = rest:match("^%s*(" .. pattern .. ")")
    if found then rest = rest:gsub("^%s*" .. pattern, "", 1) end
    return found
  end

  local function atom()
    if skip "%-" then
      local value = atom()
      return value and -value
    end
    if skip "%(" then
      local value = sum()
      return skip "%)" and value
    end
    local number = skip "%d+%.?%d*"
    return number and tonumber(number)
  end

  local function power()
    local base = atom()
    if base and skip "%^" then
      local exponent = power()
      return exponent and base ^ exponent
    end
    return base
  end

  local function product()
    local value = power()
    while value do
      local op = skip "[%*/%%x]"
      if not op then return value end
      local right = power()
      if not right then return nil end
      if op == "/" then
        value = value / right
      elseif op == "%" then
        value = value * right / 100
      else
        value = value * right
      end
    end
  end

  function sum()
    local value = product()
    while value do
      local op = skip "[%+%-]"
      if not op then return value end
      local right = product()
      if not right then return nil end
      value = op == "+" and value + right or value - right
    end
  end

  local value = sum()
  return rest:match "^[%s%?=%.!]*$" and value or nil
end

local function calculate(text)
  text = text:lower():gsub(",", "")
  text = text:gsub("%f[%a]%a+%f[%A]", function(word) return NUMBERS[word] and tostring(NUMBERS[word]) end)
  for _, pair in ipairs(SPOKEN) do text = text:gsub("%f[%a]" .. pair[1] .. "%f[%A]", pair[2]) end
  local root = text:match "square root of%s*(%d+%.?%d*)"
  if root then return tonumber(root) ^ 0.5, "the square root of " .. root end
  local shown = text:match "[%(%d%-].*"
  text = text:gsub("%%%s*of%f[%A]", "%%"):gsub("\195\151", "*"):gsub("\195\183", "/")
  local start = text:find "[%(%d%-]"
  if not start or text:find "%d%d%d%d%-%d%d?%-%d" then return nil end
  local sum = text:sub(start)
  -- Two numbers and a sign between them, or it was only a number.
  if not sum:find "%d[%)%s]*[%+%-%*/%^%%x]+%s*[%(%d%-]" then return nil end
  local before = text:sub(1, start - 1)
  if before:find "%a" and not before:find "what" and not before:find "how much" and not before:find "comput"
    and not before:find "calcul" and not before:find "and " then
    return nil
  end
  return parse_sum(sum), (shown:gsub("[%s%?=%.!]+$", ""):gsub("%%%%", "%%"))
end

local function number_text(value)
  if value ~= value or value == math.huge or value == -math.huge then return nil end
  if value == math.floor(value) and math.abs(value) < 1e15 then return ("%d"):format(value) end
  return (("%.6f"):format(value):gsub("0+$", ""):gsub("%.$", ""))
end

-- Moods and memory ----------------------------------------------------------

local MOODS = {
  sad = words "sad unhappy depressed down blue miserable lonely heartbroken gloomy low crying upset hurt",
  happy = words "happy glad great good fine well cheerful delighted excited fantastic wonderful proud content",
  tired = words "tired sleepy exhausted weary knackered drained",
  angry = words "angry furious mad annoyed cross frustrated irritated",
  anxious = words "anxious worried nervous afraid scared stressed overwhelmed panicking tense",
  bored = words "bored",
  hungry = words "hungry starving thirsty",
  ill = words "ill sick unwell",
}

local SOFTENERS = words("so very really quite a bit rather too still feeling pretty kind of just "
  .. "totally all also little")

-- The mood word in "i am not so very sad", and whether it was denied.
local function find_mood(text)
  local rest = text:match " i am (.+) $" or text:match " i feel (.+) $" or text:match " feeling (.+) $"
    or text:match " makes? me (.+) $" or text:match " made me (.+) $" or text:match "^ (%a+) $"
  if not rest then return nil end
  local denied = false
  for word in rest:gmatch "%S+" do
    if word == "not" or word == "never" then
      denied = true
    elseif not SOFTENERS[word] then
      for mood, set in pairs(MOODS) do
        if set[word] then return mood, denied, word end
      end
      return nil
    end
  end
end

local NOT_NAMES = words("a an the not so very really just here there in on at from going trying using your my no yes "
  .. "sure sorry ok okay back done new lost stuck old young also still afraid always never what who how why and but "
  .. "good fine well tired writing working looking thinking feeling happy sad bored hungry it that this he she they")

local function find_name(raw, text)
  local name = text:match " my name is (%S+)" or text:match " call me (%S+)" or text:match " i am called (%S+)"
  if not name then
    -- "I'm Ada" only when the word is written as a name and ends the line.
    local plain = " " .. raw:gsub("\226\128\153", "'")
    name = plain:match "%A[Ii]'m (%u[%w\128-\255'-]+)[%.!,%s]*$" or plain:match "%AI am (%u%l+)[%.!,]?%s*$"
    if name and (NOT_NAMES[name:lower()] or find_mood(" i am " .. name:lower() .. " ")) then name = nil end
  end
  if not name or NOT_NAMES[name:lower()] then return nil end
  local written = raw:match("%f[%a]" .. capital(name:lower()) .. "%f[%A]") or name
  return capital(written)
end

local RULES, BY_ID = {}, {}

local function rule(id, weight, patterns, replies)
  local one = { id = id, weight = weight, patterns = patterns, replies = replies }
  RULES[#RULES + 1] = one
  BY_ID[id] = one
end

require "bot_rules"(rule, { capital = capital, letters = letters, numbers = NUMBERS })

local function short(text)
  if #text <= 60 then return text end
  return (text:sub(1, 60):gsub("%s+%S*$", "")) .. " …"
end

local COMMON = words("about above after again also another because been before being could does doing done dont "
  .. "each even ever every first from give have having here hers himself into just know like made make many maybe "
  .. "more most much must need next only other over really said same should some something still such take "
  .. "tell than that their them then there these they thing things think this those through time today "
  .. "very want well were what when where which while will with would your yours you're it's")

-- One turn --------------------------------------------------------------------

-- The text of a message, and how many pictures of how many bytes are in it.
local function content_of(message)
  local content = message.content
  if type(content) ~= "table" then return type(content) == "string" and content or "", 0, 0 end
  local text, images, bytes = {}, 0, 0
  for _, part in ipairs(content) do
    if part.type == "text" and type(part.text) == "string" then
      text[#text + 1] = part.text
    elseif part.type == "image_url" and type(part.image_url) == "table" then
      images = images + 1
      local url = tostring(part.image_url.url)
      local encoded = url:match "^data:[^,]*;base64,(.*)$"
      bytes = bytes + (encoded and math.floor(#encoded * 3 / 4) or #url)
    end
  end
  return table.concat(text, " "), images, bytes
end

local function learn(c, raw, text)
  local name = find_name(raw, text)
  if name then c.old_name, c.name = c.name, name end
  local mood, denied, word = find_mood(text)
  if mood and not denied then c.mood, c.mood_word = mood, word end
  local fact = text:match "^ my (.- is .+) $"
  if fact and not name then c.facts[#c.facts + 1] = "your " .. mirror(as_written(fact, raw)) end
  for _, verb in ipairs { "like", "love", "have", "enjoy", "live in", "work as", "work on", "play" } do
    local what = text:match("^ i " .. verb .. " (.+) $")
    if what and what ~= "you" and #what < 60 then
      c.facts[#c.facts + 1] = "you " .. verb .. " " .. mirror(as_written(what, raw))
      break
    end
  end
  return name, mood, denied, word
end

local function special(c, raw, text)
  local name, mood, denied, word = learn(c, raw, text)
  c.spoken_mood = word
  if c.images > 0 then return BY_ID.image end
  if c.knock == 1 then return nil, (raw:gsub("[%s%.!%?]+$", "")) .. " who?" end
  if c.knock == 2 then
    return nil, "Ha! I had not heard that one before. (I never have.)"
  end
  local letter, of = text:match " how many (%a)'?s? .-in t?h?e? ?w?o?r?d? ?(%a+) $"
  if letter then
    local _, count = of:gsub(letter, "")
    c.letter, c.word, c.count = letter, of, count
    return BY_ID.letters
  end
  local value, sum = calculate(raw)
  if value then
    c.sum, c.result = sum, number_text(value)
    return c.result and BY_ID.sum or BY_ID.no_sum
  end
  if name then return BY_ID.name end
  if mood then
    if denied then return mood == "happy" and BY_ID.not_happy or BY_ID.relieved end
    return BY_ID[mood]
  end
end

local function best_match(c, text)
  local best, captured
  for _, one in ipairs(RULES) do
    if not best or one.weight > best.weight then
      for _, pattern in ipairs(one.patterns) do
        local first, _, capture = text:find(pattern)
        if first then
          best, captured = one, capture
          break
        end
      end
    end
  end
  c.raw_capture = captured
  return best
end

local function topic_of(text)
  local found
  for word in text:gmatch "%S+" do
    if #word > 3 and not COMMON[word] and (not found or #word > #found) then found = word end
  end
  return found
end

local function choose(c, raw, text)
  local one, said = special(c, raw, text)
  if said then return nil, said end
  local match = best_match(c, text)
  if not one or (match and match.weight > one.weight) then one = match or one end
  if one and one.id == "more" and c.previous then one = c.previous end
  if one and one.weight >= 12 then return one end
  if raw:find "%?%s*$" then return BY_ID.question end
  c.topic = topic_of(text)
  if #c.facts > 0 and (c.turns % 3 == 0 or not c.topic) then return BY_ID.recall end
  return c.topic and BY_ID.topic or BY_ID.other
end

local function fill(c, template)
  if type(template) == "function" then return template(c) end
  local values = {
    name = c.name_text,
    mood = c.spoken_mood,
    turns = tostring(c.turns),
    first = c.first and short(c.first),
    last = c.last and short(c.last) or "nothing yet",
    topic = c.topic,
    fact = c.facts[#c.facts > 0 and c.turns % #c.facts + 1 or 1],
    ["1"] = c.raw_capture and short(mirror(as_written(c.raw_capture, c.raw))),
  }
  return (template:gsub("{(%w+)}", function(key) return values[key] or "" end))
end

-- One user turn of the replay: what the bot would say to it.
local function turn(c, raw)
  local text = normalise(raw)
  c.turns = c.turns + 1
  c.first = c.first or raw
  c.raw = raw
  c.hash = hash(c.hash .. raw)
  local one, said = choose(c, raw, text)
  if c.knock then c.knock = c.knock < 2 and c.knock + 1 or nil end
  if one then
    if one.id == "knock" then c.knock = 1 end
    c.name_text = c.name and one.id ~= "name" and ", " .. c.name or ""
    local used = c.used[one.id] or 0
    c.used[one.id] = used + 1
    said = fill(c, one.replies[used % #one.replies + 1])
    if one.weight > 20 then c.previous = one end
  end
  c.last = raw
  return said
end

-- A system message may set the tone.
local function in_tone(system, text)
  system = system:lower()
  if system:find "terse" or system:find "brief" or system:find "concise" or system:find "one sentence" then
    text = (text .. " "):match "^(.-[%.!%?])%s" or text
  end
  if system:find "pirate" then
    text = text:gsub("%f[%a]Hello%f[%A]", "Ahoy"):gsub("%f[%a]my%f[%A]", "me"):gsub("%f[%a]is%f[%A]", "be")
    text = text:gsub("%f[%a]you%f[%A]", "ye"):gsub("%f[%a]are%f[%A]", "be") .. " Arr!"
  end
  if system:find "shout" or system:find "upper case" or system:find "uppercase" then text = text:upper() end
  return text
end

--- What the bot says next.
---@param messages table list of chat messages {role=, content= string | parts}
---@return string text never empty
function M.reply(messages)
  local c = { turns = 0, used = {}, facts = {}, hash = "", name_text = "" }
  local system, said = "", nil
  for _, message in ipairs(messages) do
    local text, images, bytes = content_of(message)
    if message.role == "user" then
      c.images, c.image_bytes = images, bytes
      said = turn(c, text)
    elseif message.role == "system" or message.role == "developer" then
      system = system .. " " .. text
    end
  end
  return in_tone(system, said or "Say something, and I shall answer.")
end

return M
