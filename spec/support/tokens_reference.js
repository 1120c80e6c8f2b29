// Texts for tokens_count.lua, and what gpt-tokenizer and tiktoken say of them.
//   node tokens_reference.js make SEED COUNT > texts
//   node tokens_reference.js judge NODE_MODULES texts ours
// Both read one JSON value a line.
const fs = require("fs");
const path = require("path");
const texts = require("./tokens_texts.js");

const read = name => fs.readFileSync(name, "utf8").trimEnd().split("\n").map(line => JSON.parse(line));

function make(seed, count) {
  const shared = texts.shared("../shared", 2000, Math.floor(count / 5));
  const rows = [...shared, ...texts.make(seed, count - shared.length, false)].map(text => ({ text }));
  for (const text of texts.make(seed + 1, Math.ceil(count / 20), true)) rows.push({ text, strange: true });
  if (fs.existsSync("../shared/openapi/openapi.yaml")) {
    const text = fs.readFileSync("../shared/openapi/openapi.yaml", "utf8").slice(0, 1e6);
    rows.push({ text, long: "English and YAML" });
  }
  const long = [];
  for (const sentence of Object.values(texts.sentences)) long.push(sentence);
  rows.push({ text: (long.join("\n") + "\n").repeat(100), long: "many scripts" });
  fs.writeSync(1, rows.map(row => JSON.stringify(row) + "\n").join(""));
}

const same = (a, b) => a.length === b.length && a.every((id, i) => id === b[i]);

function time(run) {
  let best = Infinity;
  for (let i = 0; i < 3; i++) {
    const from = process.hrtime.bigint();
    run();
    best = Math.min(best, Number(process.hrtime.bigint() - from) / 1e9);
  }
  return best;
}

// What each reference is asked. U+FEFF and U+0085 are spaces to JavaScript or to
// Rust, not to both, and 's with U+017F is one to Rust only: there tiktoken decides.
// The npm tiktoken has cl100k_base's older pattern, which cuts blanks at the end of a
// text behind a line's end: there gpt-tokenizer decides.
function judge(modules, name, rows, ours) {
  const gpt = require(path.resolve(modules, "gpt-tokenizer/cjs/encoding", name));
  const wasm = require(path.resolve(modules, "tiktoken")).get_encoding(name);
  const plain = { disallowedSpecial: new Set() };
  const count = { equal: 0, asked: 0, also: 0, equalAlso: 0, strange: 0, equalStrange: 0 };
  let wrong = 0;
  rows.forEach((row, i) => {
    if (row.long) return;
    const mine = ours[i][name];
    const cut = name === "cl100k_base" && /[\r\n]\s+$/.test(row.text);
    const theirs = [...wasm.encode(row.text, [], [])];
    const bad = what => { if (++wrong <= 10) console.log("DIFFERENT", name, what, JSON.stringify(row.text.slice(0, 300))); };
    if (row.strange) {
      if (cut) return;
      count.strange++;
      if (same(mine, theirs)) count.equalStrange++; else bad("tiktoken");
      return;
    }
    count.asked++;
    if (same(mine, gpt.encode(row.text, plain)) && ours[i][name + "_count"] === mine.length) count.equal++;
    else bad("gpt-tokenizer");
    if (cut) return;
    count.also++;
    if (same(mine, theirs)) count.equalAlso++; else bad("tiktoken");
  });
  console.log(`${name}: ${count.equal} of ${count.asked} texts as gpt-tokenizer has them, `
    + `${count.equalAlso} of ${count.also} as tiktoken, `
    + `${count.equalStrange} of ${count.strange} where the two differ as tiktoken`);
  const many = rows.filter(row => !row.long).map(row => row.text);
  const speeds = [["short texts", time(() => many.forEach(text => wasm.encode(text, [], []).length))]];
  rows.forEach(row => row.long && speeds.push([row.long, time(() => wasm.encode(row.text, [], []).length)]));
  for (const [what, seconds] of speeds) {
    const own = ours[ours.length - 1][name][what];
    console.log(`${name}, ${what}: count ${(own * 1e3).toFixed(1)} ms, tiktoken's encode (WASM) ${(seconds * 1e3).toFixed(1)} ms: `
      + `${(seconds / own).toFixed(1)} times its speed`);
  }
  return wrong === 0 && count.equal === count.asked && count.asked > 0;
}

function estimates(rows, ours) {
  let sum = 0, all = 0, theirs = 0, n = 0;
  rows.forEach((row, i) => {
    if (row.long) return;
    const want = ours[i].o200k_base.length, got = ours[i].estimate;
    sum += Math.abs(got - want), all += got, theirs += want, n++;
  });
  console.log(`estimates without ranks: ${(100 * sum / theirs).toFixed(1)} % mean error a token, `
    + `sum ${(100 * (all / theirs - 1)).toFixed(1)} % off, on ${n} texts`);
}

const [what, ...rest] = process.argv.slice(2);
if (what === "make") {
  make(Number(rest[0]), Number(rest[1]));
} else {
  const rows = read(rest[1]), ours = read(rest[2]);
  const ok = ["cl100k_base", "o200k_base"].map(name => judge(rest[0], name, rows, ours));
  estimates(rows, ours);
  process.exit(ok.every(Boolean) ? 0 : 1);
}
