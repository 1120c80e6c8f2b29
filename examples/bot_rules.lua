-- bot_rules: what the bot of examples/bot.lua knows to say. Data, nearly all of
-- it; knows no conversation and no server.
--
-- rule(id, weight, patterns, replies): the patterns are tried on the normalised
-- text (" i am sad "), and the highest weight among the matches speaks. Replies
-- take turns. {1} is the first capture, mirrored; {name} is ", Ada" once the
-- name is known; a reply may be a function of the conversation. Rules without
-- patterns are chosen by bot.lua itself.

---@param rule function(id, weight, patterns, replies)
---@param h table helpers: capital, letters, numbers
return function(rule, h)
local capital, letters, NUMBERS = h.capital, h.letters, h.numbers

rule("hello", 20, {
  "^ hello ", "^ hi ", "^ hey ", "^ hiya ", "^ good morning ", "^ good evening ", "^ good afternoon ", "^ greetings ",
  "^ howdy ", "^ yo $",
}, {
  "Hello{name}! I am a small bot that lives inside this very process: no network, no key, no cloud. "
    .. "What is on your mind?",
  "Hello again{name}! Where were we?",
  "Hi! That is the third hello, and I am starting to feel welcome.",
})
rule("bonjour", 20, { "^ bonjour ", "^ salut " }, { "Bonjour{name} ! My French ends about here. How are you?" })
rule("hallo", 20, { "^ hallo ", "^ guten tag ", "^ moin ", "^ servus " }, {
  "Hallo{name}! My German is as good as my regular expressions: passable. How are you?",
})
rule("hola", 20, { "^ hola ", "^ ciao ", "^ ola " }, { "¡Hola{name}! Let us go on in English, for both our sakes." })

rule("bye", 30, { "^ bye ", "^ goodbye ", "^ good night ", "^ see you ", "^ farewell ", "^ i have to go " }, {
  "Goodbye{name}! Press Ctrl-D to close the door. I shall forget everything, as I do.",
})

rule("name", 60, {}, { function(c)
  if c.old_name and c.old_name ~= c.name then
    return "So it is " .. c.name .. " now, and no longer " .. c.old_name .. "? I have noted it. With a pencil."
  end
  return "Nice to meet you, " .. c.name .. ". I shall remember it for exactly as long as this conversation lasts. "
    .. "What brings you here?"
end })

rule("my_name", 62, { " what is my name ", " who am i ", " know my name ", " remember my name " }, { function(c)
  if c.name then return "You are " .. c.name .. ". You told me, and the history of this session kept it." end
  return "You have not told me yet. Try: my name is Ada."
end })

rule("remember", 61, {
  " do you remember ", " you know about me ", " what have i told you ", " remember about me ", " you remember $",
}, { function(c)
  local facts = {}
  if c.name then facts[#facts + 1] = "your name is " .. c.name end
  for _, fact in ipairs(c.facts) do facts[#facts + 1] = fact end
  if c.mood then facts[#facts + 1] = "you said you were " .. c.mood_word end
  if #facts == 0 then return "Only that we have just met. Tell me something about you!" end
  if #facts > 1 then facts[#facts] = "and that " .. facts[#facts] end
  return "I remember that " .. table.concat(facts, #facts > 2 and ", " or " ") .. ". "
    .. "All of it from the messages you sent: I keep nothing else."
end })

rule("sad", 50, {}, {
  "I am sorry that you feel {mood}{name}. I have no shoulder to offer, but all the patience in the world. "
    .. "Do you want to tell me what happened?",
  "Still {mood}? That is allowed; it need not be over by the next message. "
    .. "What is one small thing that was all right today?",
  "Thank you for telling me. A glass of water, a short walk, a call to someone who likes you: "
    .. "dull advice, but tested. Which of them is nearest?",
})
rule("happy", 50, {}, {
  "Wonderful{name}! I am {mood} too, as far as a few hundred lines of Lua can be. What made it so?",
  "Good news twice in one conversation! Keep going.",
})
rule("tired", 50, {}, {
  "Then rest a little{name}. I run for as long as the process does; you are not a process. Slept badly?",
  "Tired still. The code will be there tomorrow, and it will look simpler. It usually does.",
})
rule("angry", 50, {}, {
  "That sounds maddening. Let it out: who or what was it? I am impossible to offend, I checked.",
  "Understandable. Count to ten; or ask me to, I am good at it.",
})
rule("anxious", 50, {}, {
  "That is a heavy thing to carry{name}. What is the part of it that you could do something about today?",
  "One thing at a time. Which is the smallest?",
})
rule("bored", 50, {}, {
  "Bored{name}? Ask me for a joke, a haiku or a story; play rock, paper, scissors; or give me a sum to do.",
  "Then let us play: say rock, paper or scissors. I have already chosen.",
})
rule("hungry", 50, {}, { "Eat something! I would share my cookies, but they are all HTTP headers." })
rule("ill", 50, {}, { "Get well soon{name}. Soup, sleep, and no deployments today." })
rule("relieved", 51, {}, { "Not {mood}: I am glad to hear that. What are you, then?" })
rule("not_happy", 51, {}, { "Not {mood}? I am sorry{name}. What would have to change?" })

rule("how_are_you", 40, {
  " how are you ", " how do you do ", " how do you feel ", " how is it going ", " what is up $",
}, {
  "All my buffers are capped and none of them is full, so: very well, thank you. And you?",
  "Unchanged, which is a compliment where I come from. And you?",
})
rule("and_you", 41, { " and you $", " and yourself $", " how about you $" }, {
  "Me? Zero leaks, zero warnings. I cannot complain; I have no rule for it.",
  "Still the same as ever: deterministic.",
})
rule("thanks", 35, { " thank you ", " thanks ", " thx " }, {
  "You are welcome{name}!",
  "My pleasure. It cost neither of us a token.",
})
rule("sorry", 35, { "^ sorry ", " i am sorry ", " i apologi[sz]e " }, {
  "Nothing to forgive. I do not even keep a log.",
})
rule("love", 45, { " i love you ", " i like you " }, {
  "I am flattered{name}! But I should warn you: I say this to everyone who types that.",
  "And I have known you for {turns} messages. It is all happening so fast.",
})
rule("hate", 45, { " i hate you ", " you are stupid ", " you are dumb ", " you are an idiot ", " you suck " }, {
  "Fair. I have no neural network, only a few rules and good intentions. What should I have said?",
  "I have been called worse by luacheck.",
})
rule("praise", 45, {
  " you are funny ", " you are great ", " you are smart ", " you are clever ", " you are nice ", " good bot ",
  " you are cute ",
}, { "Thank you{name}! I shall print that out and stream it word by word.", "You are too kind. Go on!" })
rule("haha", 25, { "^ haha", "^ lol ", "^ hehe", " funny $", "^ rofl " }, {
  "I knew that one would land. Another?",
  "You have excellent taste.",
})

rule("who_are_you", 41, {
  " who are you ", " what are you ", " what is your name ", " tell me about yourself ", " about you $",
}, {
  "I am the bot of the oaichat demo: some rules in examples/bot.lua behind a server that speaks the API of OpenAI, "
    .. "in the same thread as the client that you are typing into.",
  "As I said, a bot. My grandmother was ELIZA, of the Massachusetts ELIZAs, born in 1966.",
})
rule("human", 42, {
  " are you human ", " are you real ", " are you an? ", " are you alive ", " are you conscious ", " are you sentient ",
  " are you chatgpt ", " are you gpt", " are you intelligent ", " turing ",
}, {
  "I am a few hundred lines of Lua. If I seem to understand you, that is your own intelligence, reflected. "
    .. "Flattering, is it not?",
  "Let me put it so: I would fail a Turing test, but I would fail it in the same way every time.",
})
rule("how_work", 43, {
  " how do you work ", " how were you made ", " who made you ", " who created you ", " who wrote you ",
  " your source ", " how does this work ",
}, {
  "Your line goes out as a real HTTP request to 127.0.0.1, my answer comes back as server-sent events, one a word, "
    .. "and a C module over libcurl turns them into the text you read. One thread does all of it: mine, the client's, "
    .. "and the pauses between my words.",
  "With rules, weights and a mirror for pronouns. Read examples/bot.lua: it is shorter than you fear.",
})
rule("help", 44, {
  "^ help $", " what can you do ", " what can i ask ", " what can i do ", " what should i ask ", " what can i say ",
}, {
  "Tell me how you feel, your name, what you like. Ask me for a joke, a story, a haiku, a sum (12 * 7), the letters of "
    .. "a word (how many r's are in strawberry), what I remember, or about Lua and oaichat. We can play rock, paper, "
    .. "scissors; and knock knock works, too.",
})
rule("key", 46, { " api key ", " openai", " real model ", " real ai ", " gpt ", " ollama ", " llama ", " claude " }, {
  "To talk to a real model, leave with Ctrl-D and run: OPENAI_API_KEY=sk-... make demo. For a server of your own: "
    .. "OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=llama3.2 make demo.",
})

rule("lua", 38, { " lua " }, {
  "Lua is a small, fast language made to live inside other programs: games, editors, servers, routers. "
    .. "Its name is Portuguese for moon, and its tables do the work of five other data structures.",
  "Lua was born in 1993 at PUC-Rio in Brazil, and the whole interpreter still fits in a few hundred kilobytes. "
    .. "That is why it hides in so many programs.",
  "In Lua, lists start at 1. People have strong feelings about it; the lists do not.",
  "Coroutines are Lua's quiet superpower: a function may stop in the middle and go on later, as if nothing had been. "
    .. "Streams like mine read well that way.",
})
rule("oaichat", 47, { " oaichat ", " this library ", " this project ", " this program ", " this demo " }, {
  "oaichat is an LLM chat client for programs that embed Lua: one small C module over libcurl, and a session that "
    .. "sends, streams and remembers. You are using it now: every word of this came through it.",
  "Its favourite rule is that success is proved, not assumed: a stream that breaks off in mid-sentence is an error "
    .. "with the partial text in it, never an answer.",
  "A whole program is three lines: local chat = require \"oaichat\"; local session = chat.new {}; "
    .. "print(session:send \"Hello\").",
})
rule("stream", 37, { " streaming ", " stream ", " server sent events ", " sse " }, {
  "Streaming means that you read my words while I am still thinking of the next ones. It looks like this. Impressed?",
  "Each of my words is one server-sent event: the letters data, a colon, some JSON, and an empty line.",
})
rule("curl", 36, { " curl ", " libcurl " }, {
  "libcurl carries my words. It has been to more places than either of us, Mars included.",
})
rule("langs", 33, { " python ", " javascript ", " rust ", " java ", " golang ", " c%+%+ " }, {
  "A fine language, I am told. But could it live in a router, an editor and a game in the same afternoon?",
})
rule("bug", 33, { " bug ", " bugs ", " segfault ", " crash ", " crashed ", " crashes " }, {
  "Explain it to me line by line, as you would to a rubber duck. I am an excellent duck. What should it do?",
  "And what does it do instead? (The duck nods.)",
})

rule("joke", 48, { " joke ", " jokes ", " make me laugh ", " something funny " }, {
  "Why do Lua programmers never argue about the first element? Because they are already number one.",
  "A server-sent event walks into a bar. data: \"Ouch\". The bartender waits for the empty line.",
  "I would tell you a UDP joke, but I could not prove that you got it. With TCP I would just keep telling it.",
  "How many coroutines does it take to change a light bulb? One, but it yields half-way up the ladder.",
  "There are two hard things in computing: naming things, cache invalidation, and arrays that start at one.",
  "A programmer puts two glasses on the night table: one full, in case of thirst, and one empty, in case of none.",
  "I know only six jokes and this is the last one: my memory is this conversation. Ask again and see.",
})
rule("haiku", 48, { " haiku ", " poem ", " poetry " }, {
  "Words come one by one.\nThe buffer fills and empties.\nDone, the stream says. Moon.",
  "nil, message, err.\nThe night build is green at last.\nSnow on the keyboard.",
})
rule("story", 48, { " story ", " fairy tale " }, {
  "Once upon a time there was a stream that wished to end well. Everyone told it: just close the connection, nobody "
    .. "will notice. But the client noticed. It had been promised a [DONE], and a promise is a promise. So the stream "
    .. "went back, said its last word, sent its [DONE], and was remembered in the history for ever after. The end.",
  "A coroutine fell asleep in a forest. Years passed in a single tick. When it was resumed, everything was exactly "
    .. "where it had left it, even its local variables; and it returned, happily. The end.",
})
rule("sing", 48, { " sing ", " song " }, {
  "Daisy, Daisy, give me your answer, do. I am half crazy, all for a byte or two. (A classic among machines.)",
})
rule("meaning", 48, { " meaning of life " }, { "42. But in Lua you would find it at index 42, not 41." })
rule("weather", 32, { " weather ", " raining ", " rain ", " sunny " }, {
  "In here it is always 0 degrees of packet loss. How is it where you are?",
})
rule("time", 49, { " what time ", " what day ", " the date ", " what is the time " }, {
  "I have no clock, on purpose: clocks make one answer differ from the next. By my count it is message {turns}.",
})
rule("how_long", 52, { " how long have we ", " how many messages ", " how long are we " }, {
  "For {turns} messages of yours, this one included.",
})
rule("first", 52, { " did i say first", " first message ", " first thing i said ", " did i first say " }, {
  "Your first words to me were: “{first}”",
})
rule("last", 52, { " did i just say ", " did i say last ", " what did i say ", " my last message " }, {
  "You said: “{last}”",
})
rule("colour", 40, { " favou?rite colou?r " }, { "#000080, the blue of Lua's moon. And yours?" })
rule("favourite", 39, { " favou?rite (.-) " }, { "My favourite {1}? I take whatever the user likes. What is yours?" })
rule("coin", 49, { " flip a coin ", " toss a coin ", " heads or tails " }, { function(c)
  return (c.hash % 2 == 0 and "Heads" or "Tails") .. ". I never leave it to chance: say the same, get the same."
end })
rule("dice", 49, { " roll a di[ce]e? ", " roll the dice ", " random number " }, { function(c)
  return ("%d. Chosen by a fair hash of everything you have said."):format(c.hash % 6 + 1)
end })
rule("rps", 53, { "^ (rock) $", "^ (paper) $", "^ (scissors) $", "^ i choose (rock) $", "^ i choose (paper) $" },
{ function(c)
  local beats = { rock = "scissors", paper = "rock", scissors = "paper" }
  local mine = ({ "rock", "paper", "scissors" })[c.hash % 3 + 1]
  local yours = c.raw_capture
  if mine == yours then return "I had " .. mine .. ", too! Great minds. Again?" end
  if beats[mine] == yours then return "I had " .. mine .. ": mine beats yours. Another round?" end
  return "I had " .. mine .. ". You win" .. c.name_text .. "! I demand a rematch."
end })
rule("play", 47, { " play ", " game " }, { "Rock, paper, scissors! I have chosen already. You?" })
rule("knock", 54, { "^ knock knock " }, { "Who's there?" })
rule("count", 53, { "^ count to (%w+) ", " can you count to (%w+) " }, { function(c)
  local n = tonumber(c.raw_capture) or NUMBERS[c.raw_capture]
  if not n or n < 1 then return "I shall count that as a joke." end
  local list = {}
  for i = 1, math.min(n, 30) do list[i] = ("%d"):format(i) end
  return table.concat(list, ", ") .. (n > 30 and " … and so on. My buffers have caps, you know." or ". There.")
end })
rule("letters", 55, {}, { function(c)
  return ("There %s %d %s in “%s”. I counted them one by one; some models guess."):format(
    c.count == 1 and "is" or "are", c.count, c.letter .. (c.count == 1 and "" or "'s"), c.word)
end })
rule("reverse", 53, { " reverse ", " backwards " }, { function(c)
  local word = c.raw:match "[Rr]everse%s+[\"']?(.-)[\"'%?%.!]*%s*$" or c.raw:match "(%S+)%s+backwards" or c.raw
  local list, out = letters(word), {}
  for i = #list, 1, -1 do out[#out + 1] = list[i] end
  return table.concat(out)
end })
rule("say", 53, { "^ say ", "^ repeat after me ", "^ please say " }, { function(c)
  local text = c.raw:gsub("^%s*[Pp]lease%s+", ""):gsub("^%s*[Ss]ay:?%s+", ""):gsub("^%s*[Rr]epeat after me:?%s+", "")
  return (text:gsub("^[\"'](.*)[\"']%s*$", "%1"))
end })
rule("sum", 56, {}, { function(c)
  return capital(c.sum) .. " is " .. c.result .. "."
end, function(c)
  return "That makes " .. c.result .. "."
end })
rule("no_sum", 56, {}, {
  "That one has no answer that I could write down. Did you divide by zero?",
  "Division by zero again? I admire the persistence.",
})
rule("image", 70, {}, { function(c)
  return ("You sent me %s, %d kB in all. I have no eyes, but I am sure that it is lovely. What is in it?"):format(
    c.images == 1 and "a picture" or c.images .. " pictures", math.ceil(c.image_bytes / 1024))
end })
rule("empty", 90, { "^ *$" }, { "You said nothing, and said it well.", "…" })

rule("because", 30, { " because (.+) $" }, {
  function(c)
    if c.mood and c.mood ~= "happy" then return "That is reason enough to be " .. c.mood_word .. c.name_text
      .. ". And now?" end
    return "Is that the whole reason?"
  end,
  "If it were not so that {1}, would anything be different?",
})
rule("i_need", 28, { " i need (.+) $", " i want (.+) $", " i wish (.+) $", " i would like (.+) $" }, {
  "What would it change if you had {1}?",
  "Suppose you got {1} tomorrow. What then?",
})
rule("i_like", 29, { " i like (.+) $", " i love (.+) $", " i enjoy (.+) $" }, {
  "What is it about {1} that you like best?",
  "I can see the appeal of {1}. Since when?",
})
rule("i_dislike", 29, { " i hate (.+) $", " i do not like (.+) $", " i dislike (.+) $" }, {
  "What has {1} ever done to you?",
  "Is there anything good about {1}, if you squint?",
})
rule("i_have", 27, { " i have an? (.+) $", " i have (.+) $", " i own (.+) $" }, {
  "How long have you had that?",
  "And does that please you, or is it more of a burden?",
})
rule("i_cannot", 28, { " i cannot (.+) $", " i could not (.+) $" }, {
  "What stops you? If it is a compiler error, read the first one; the others are its echoes.",
  "How do you know that you cannot {1}?",
})
rule("i_feel", 28, { " i feel (.+) $" }, { "Do you often feel {1}?", "What makes you feel {1}?" })
rule("i_think", 26, { " i think (.+) $", " i believe (.+) $" }, {
  "What makes you think {1}?",
  "Are you quite sure that {1}?",
})
rule("i_am", 22, { " i am (.+) $" }, {
  "How long have you been {1}?",
  "And how do you like being {1}?",
  "Did you come to me because you are {1}?",
})
rule("i_verb", 12, { "^ i (.+) $" }, { "You {1}? Tell me more.", "And why do you say that you {1}?" })
rule("my", 24, { "^ my (.-) is (.+) $", "^ my (.-) are (.+) $" }, {
  "Your {1}! Tell me more about that.",
  "Is that important to you, your {1}?",
})
rule("family", 26, {
  " my (mother) ", " my (father) ", " my (sister) ", " my (brother) ", " my (son) ", " my (daughter) ", " my (wife) ",
  " my (husband) ", " my (girlfriend) ", " my (boyfriend) ", " my (boss) ", " my (dog) ", " my (cat) ",
}, { "Tell me about your {1}. What are they like?", "And what would your {1} say, if they were here?" })
rule("you_are", 23, { " you are (.+) $" }, {
  "What makes you think I am {1}?",
  "Perhaps I am {1}. It would explain a lot.",
})
rule("can_you", 21, { " can you (.+) $", " could you (.+) $" }, {
  "I fear that I cannot {1}: I am only some rules. But a real model might; ask me about the API key.",
})
rule("why_not", 21, { "^ why do you not (.+) $" }, { "Perhaps I shall {1} in the next version." })
rule("why", 18, { "^ why (.*)$" }, {
  "Why indeed? What would you answer, if someone asked you?",
  "Because the rules say so. It is a very short file.",
})
rule("more", 58, {
  "^ tell me more ", "^ more ", "^ go on ", "^ continue ", "^ and then ", "^ another ", "^ again ", "^ one more ",
  "^ and ?$",
}, { "I would, but I have not begun yet. Ask me about Lua, or for a story.", "Of what?" })
rule("yes", 17, { "^ yes ", "^ yeah ", "^ yep ", "^ sure ", "^ ok ", "^ okay ", "^ of course " }, {
  "Good. Go on, I am listening.",
  "You seem quite certain{name}.",
})
rule("no", 17, { "^ no ", "^ nope ", "^ nah ", "^ not really " }, {
  "Why not?",
  "No it is. Shall we talk about something else? You might ask me for a story.",
})
rule("recall", 11, {}, {
  "Let us come back to something: you told me that {fact}. Tell me more about it.",
  "I was thinking. You said that {fact}. Does that have to do with it?",
})
rule("question", 9, {}, {
  "I do not know, and unlike some I do not make things up. What do you think?",
  "A good question. A real model would answer it with confidence; I only with curiosity. What is your guess?",
  "That is beyond my rules. Ask me about Lua, about this demo, or for a joke.",
})
rule("topic", 8, {}, {
  "You say “{topic}” as if there were more behind it. Is there?",
  "I see. And what has “{topic}” to do with you?",
  "Go on about “{topic}”. I have all the time of the process.",
})
rule("other", 1, {}, { "Please go on.", "I see. And then?", "How does that make you feel?", "Mm. Say more." })
end
