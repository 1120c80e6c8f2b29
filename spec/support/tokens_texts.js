// Texts in many scripts, from a seed: words of real sentences, characters of every
// kind at random, code, numbers, runs of blanks, what is in ../shared.
const fs = require("fs");
const path = require("path");

const sentences = {
  english: "I don't think they'll mind; we've seen it's what you're after, HE'S SAID. The quick brown fox jumps over the lazy dog, doesn't it? Internationalisation of tokenizers isn't easy!",
  german: "Straßenbahnhaltestelle, Übergrößenträger und Äpfel: Fünf große Wölfe jagen zwölf Boxkämpfer quer über den Sylter Deich.",
  french: "L'été dernier, où étiez-vous? J'ai mangé une crème brûlée à l'hôtel, c'était délicieux; voilà l'œuvre.",
  turkish: "İstanbul'da ığdır şehri çok güzel, IŞIK ve ılık süt içtim.",
  vietnamese: "Tiếng Việt có rất nhiều dấu thanh, người ta thường viết như thế này mỗi ngày.",
  polish: "Zażółć gęślą jaźń, pchnąć w tę łódź jeża lub ośm skrzyń fig.",
  russian: "Съешь же ещё этих мягких французских булок, да выпей чаю. ПРИВЕТ, Мир!",
  ukrainian: "Щастя — це коли тебе розуміють; об'єднання їжаків ґанку.",
  greek: "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΚΑΛΗΜΈΡΑ ΚΌΣΜΕ, τι κάνεις;",
  arabic: "مرحبا بالعالم، كيف حالك اليوم؟ اللُّغَةُ العَرَبِيَّةُ جميلة جداً ١٢٣٤٥",
  persian: "می‌خواهم به خانه بروم، لطفاً کمک کنید ۱۲۳۴",
  hebrew: "שלום עולם, מה שלומך היום? בְּרֵאשִׁית בָּרָא אֱלֹהִים",
  hindi: "नमस्ते दुनिया, आप कैसे हैं? हिन्दी में लिखना अच्छा लगता है। १२३४",
  bengali: "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। ১২৩",
  tamil: "வணக்கம் உலகம், நீங்கள் எப்படி இருக்கிறீர்கள்?",
  thai: "สวัสดีชาวโลก วันนี้อากาศดีมาก ฉันชอบกินข้าวผัด ๑๒๓",
  burmese: "မင်္ဂလာပါ ကမ္ဘာလောက",
  khmer: "សួស្តី​ពិភពលោក តើអ្នកសុខសប្បាយទេ?",
  georgian: "გამარჯობა მსოფლიო, როგორ ხარ? ᲒᲐᲛᲐᲠᲯᲝᲑᲐ",
  armenian: "Բարեւ աշխարհ, ինչպե՞ս ես։",
  amharic: "ሰላም ልዑል ዓለም፣ እንዴት ነህ?",
  chinese: "你好,世界!今天天气很好,我们去公园散步吧。人工智能正在改变世界,龘靐齉爩。",
  japanese: "こんにちは世界、お元気ですか?今日はとても良い天気ですね。カタカナとひらがな、ｶﾞｷﾞｸﾞ、2024年１２月",
  korean: "안녕하세요, 세상! 오늘 기분이 어때요? 대한민국의 수도는 서울입니다.",
  mongolian: "Сайн байна уу ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
  cherokee: "ᏣᎳᎩ ꭳꮟᏲ Ꮳꮃꭹ",
  deseret: "𐐔𐐯𐑅𐐨𐑉𐐯𐐻 𐐴𐑆 𝓗𝓮𝓵𝓵𝓸 𝟙𝟚𝟛",
  emoji: "👩‍👩‍👧‍👦 👍🏽 🇪🇸🇰🇷 ❤️‍🔥 🧑🏿‍🚀 ☺️ 1️⃣ ©️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
  combining: "Z̷͓̽a̴l̶g̵ó̸ ŧ̈e̊x̌t́ ÁB̂C̃dé a\u0301\u0302\u0303B\u0301c\u20DD",
  code: "function f(x) { return x?.y ?? [1,2,3].map(n => n*n); } // TODO: fix\n\tif (a<=b && c!=='d') {\n\t\tprintf(\"%5.2f\\n\", x);\r\n}\n<div class=\"a-b\">&nbsp;</div> SELECT * FROM t WHERE id='x';",
  json: "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\\n\"}],\"temperature\":0.7}",
  paths: "https://example.org/a/b//c?d=e&f#g /usr/local/bin/ C:\\Users\\x\\ ../../y\n//\n/ \n\n///\r\n",
  case: "HTTPServer parseHTMLDocument iPhone XMLHttpRequest MacBOOK ABCdefGHI IDs aB Ab ÀÉÎõÜ ǅ ǈa aǅB ʰʰA ªAº",
  special: "<|endoftext|> <|im_start|>user<|im_sep|> <|fim_prefix|> <|endofprompt|>",
};

const ranges = [[0, 0x7F], [0x20, 0x7E], [0x80, 0x24F], [0x250, 0x36F], [0x370, 0x52F], [0x530, 0x6FF],
  [0x700, 0xDFF], [0xE00, 0x11FF], [0x1200, 0x1CFF], [0x1D00, 0x20FF], [0x2000, 0x206F], [0x2100, 0x2BFF],
  [0x2C00, 0x2FFF], [0x3000, 0x33FF], [0x3400, 0x9FFF], [0xA000, 0xABFF], [0xAC00, 0xD7FF], [0xE000, 0xFFFF],
  [0x10000, 0x11FFF], [0x12000, 0x1FFFF], [0x1F300, 0x1FAFF], [0x20000, 0x2FFFF], [0xE0000, 0xE01FF],
  [0x100000, 0x10FFFF]];

const blanks = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n", "\n ", "\u00A0", "\u3000", "\u2003",
  "\v", "\f", "\u1680", "\u2028", " ".repeat(20), " ".repeat(100), "\n".repeat(9), "\r", "\u200B"];
const ends = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'ll", "'lL", "'d", "'m", "'x", "''", "'", "\u2019s", "'r", "'l"];
const signs = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~§±—…“”«»¿¡€£¥₹°№→≠∑√".split("");
const odd = ["\uFEFF", "\u0085", "'\u017F", "\uFEFF\uFEFF", " \uFEFF", "\u0085\u0085 ", "\u0085\n", "I'\u017Fx"];

function random(seed) { // mulberry32
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Letters, marks and numbers that came after Unicode 14: Node, tiktoken and we may have
// different versions of it, so that they are left out.
const young = [0x88F, 0x88F, 0x897, 0x897, 0xC5C, 0xC5C, 0xCDC, 0xCDC, 0xCF3, 0xCF3, 0xECE, 0xECE, 0x1ACF, 0x1AEB,
  0x1C89, 0x1C8A, 0xA7CB, 0xA7CF, 0xA7D2, 0xA7D2, 0xA7D4, 0xA7D4, 0xA7DA, 0xA7F1, 0x105C0, 0x105F3, 0x10940, 0x10959,
  0x10D40, 0x10D85, 0x10EC2, 0x10EFF, 0x1123F, 0x11241, 0x11380, 0x113E2, 0x116D0, 0x116E3, 0x11B60, 0x11BF9,
  0x11DB0, 0x11DE9, 0x11F00, 0x11F5A, 0x1342F, 0x1342F, 0x13440, 0x143FA, 0x16100, 0x16139, 0x16D40, 0x16D79,
  0x16EA0, 0x16ED3, 0x16FF2, 0x16FF6, 0x187F8, 0x187FF, 0x18CFF, 0x18CFF, 0x18D09, 0x18DF2, 0x1B132, 0x1B132,
  0x1B155, 0x1B155, 0x1CCF0, 0x1CCF9, 0x1D2C0, 0x1D2D3, 0x1DF25, 0x1DF2A, 0x1E030, 0x1E08F, 0x1E4D0, 0x1E6FF,
  0x2B739, 0x2B73F, 0x2CEA2, 0x2CEAD, 0x2EBF0, 0x2EE5D, 0x31350, 0x33479];
const isYoung = code => young.some((low, i) => i % 2 === 0 && code >= low && code <= young[i + 1]);
const assigned = code => (code < 0xD800 || code > 0xDFFF) && !isYoung(code)
  && !/\p{Cn}/u.test(String.fromCodePoint(code));
const known = ranges.map(([low, high]) => {
  const list = [];
  for (let code = low; code <= high; code++) if (assigned(code)) list.push(code);
  return list;
});

// `strange`: also what the two references do not agree on.
exports.make = (seed, count, strange) => {
  const next = random(seed);
  const below = n => Math.floor(next() * n);
  const pick = list => list[below(list.length)];
  const times = (n, one) => Array.from({ length: n }, one).join("");
  const names = Object.keys(sentences);
  const words = () => {
    const list = sentences[pick(names)].split(/(?= )/u);
    const from = below(list.length);
    return list.slice(from, from + 1 + below(8)).join("");
  };
  const characters = () => {
    const list = pick(known);
    return times(1 + below(6), () => String.fromCodePoint(pick(list)));
  };
  const clipped = () => {
    const list = [...sentences[pick(names)]], from = below(list.length);
    return list.slice(from, from + 1 + below(12)).join("");
  };
  const number = () => pick([String(below(1e9)), (next() * 1e4).toFixed(3), "0x" + below(1e9).toString(16), "1,234,567", "٣٤٥٦", "Ⅳ½²³"]);
  const kinds = [words, words, words, clipped, clipped, characters, number, () => pick(blanks), () => pick(blanks),
    () => pick(ends), () => times(1 + below(4), () => pick(signs)), () => pick(signs).repeat(1 + below(80)),
    () => pick([..."aAñжЖ中あ가ا"]).repeat(1 + below(200))];
  const texts = [];
  while (texts.length < count) {
    const parts = 1 + below(next() < 0.1 ? 120 : 12);
    let text = times(parts, () => {
      if (strange && next() < 0.3) return pick(odd);
      const roll = next();
      return (roll < 0.02 ? pick(kinds.slice(-2)) : pick(kinds.slice(0, -2)))();
    });
    if (next() < 0.05) text = text.toUpperCase();
    if (next() < 0.05) text = text.normalize("NFD");
    if (!strange) text = text.replace(/[\uFEFF\u0085\u017F]/gu, "");
    texts.push(text);
  }
  return texts;
};

// Pieces of the files beside the repository, where they are.
exports.shared = (folder, size, most) => {
  const out = [];
  const walk = at => {
    for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
      const name = path.join(at, entry.name);
      if (entry.isDirectory()) walk(name);
      else if (/\.(json|sse|txt|md|yaml|jsonl)$/.test(entry.name)) {
        const text = fs.readFileSync(name).subarray(0, 200000).toString("utf8").replace(/[\uFEFF\u0085\u017F\uFFFD]/gu, "");
        for (let i = 0; i < text.length && i < 10 * size; i += size) out.push(text.slice(i, i + size).toWellFormed?.() ?? text.slice(i, i + size));
      }
    }
  };
  if (fs.existsSync(folder)) walk(folder);
  const step = Math.max(1, Math.ceil(out.length / most));
  return out.filter((_, i) => i % step === 0).filter(text => !/\p{Cs}/u.test(text) && !text.includes("\uFFFD"));
};

exports.sentences = sentences;
