// Prints the runs of general categories for src/regex_unicode.c, as this Node's
// Unicode has them: length * 32 + category. Category 30 is a run of Lu and Ll in turn.
//   node scripts/unicode.js
const names = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So "
  + "Zs Zl Zp Cc Cf Cs Co Cn").split(" ");
const tests = names.map(name => new RegExp(`^\\p{${name}}$`, "u"));
const END = 0x110000;
const category = new Uint8Array(END + 4);
for (let code = 0; code < END; code++) {
  const text = String.fromCodePoint(code);
  category[code] = tests.findIndex(test => test.test(text));
}
const pair = at => category[at] === 0 && category[at + 1] === 1 && at + 1 < END;
const out = [];
for (let at = 0; at < END;) {
  let end = at, kind = category[at];
  if (pair(at) && pair(at + 2)) {
    for (kind = 30; pair(end); end += 2);
  } else {
    do end++; while (end < END && category[end] === kind && !(pair(end) && pair(end + 2)));
  }
  out.push((end - at) * 32 + kind);
  at = end;
}
console.log(`/* Unicode ${process.versions.unicode} */\n${out.join(", ")}`);
