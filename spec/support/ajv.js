// Asks ajv (draft 2020-12) and RegExp what ajv_cases.lua asked us, and counts.
//   node ajv.js NODE_MODULES < cases
const path = require("path");
const readline = require("readline");
const Ajv = require(path.resolve(process.argv[2], "ajv/dist/2020")).default;

const ajv = new Ajv({ strict: false, validateFormats: false, logger: false });
const counts = { schemas: 0, values: 0, valid: 0, patterns: 0, texts: 0, refused: 0, categories: 0 };
let wrong = 0;

function differ(...what) {
  if (++wrong <= 20) console.log("DIFFERENT", ...what.map(one => JSON.stringify(one)));
}

function judge(validate, values, ours, what) {
  values.forEach((value, i) => {
    const theirs = validate(value);
    counts.valid += what === "schema" && theirs ? 1 : 0;
    if (theirs !== ours[i]) differ({ theirs, ours: ours[i], value });
  });
}

function judgeSchema(one) {
  const before = wrong;
  counts.schemas++;
  counts.values += one.values.length;
  judge(ajv.compile(one.schema), one.values, one.ours, "schema");
  if (wrong > before && wrong <= 20) console.log("  schema", JSON.stringify(one.schema));
}

function judgePattern(one) {
  let regex;
  try { regex = new RegExp(one.pattern, "u"); } catch { regex = null; }
  if (!regex || one.refused) {
    counts.refused++;
    if (!!regex === !!one.refused) differ({ pattern: one.pattern, ours: one.refused || "accepted" });
    return;
  }
  const before = wrong;
  counts.patterns++;
  counts.texts += one.texts.length;
  judge(text => regex.test(text), one.texts, one.ours, "pattern");
  if (wrong > before && wrong <= 20) console.log("  pattern", one.pattern);
}

// This Node's Unicode may be another version than ours: what it does not know yet, or
// only it knows, is left out.
function judgeCategory(one) {
  const regex = new RegExp(`^\\p{${one.category}}$`, "u");
  const ours = new Set(one.codes);
  let different = 0;
  for (let code = 0; code < 0x10000; code++) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    const text = String.fromCharCode(code);
    if (/\p{Cn}/u.test(text)) continue;
    different += regex.test(text) !== ours.has(code);
  }
  counts.categories++;
  if (different > 8) differ({ category: one.category, different });
}

readline.createInterface({ input: process.stdin }).on("line", line => {
  const one = JSON.parse(line);
  if (one.schema !== undefined) judgeSchema(one);
  else if (one.pattern !== undefined) judgePattern(one);
  else judgeCategory(one);
}).on("close", () => {
  console.log(`ajv: ${counts.schemas} schemas, ${counts.values} values (${counts.valid} valid); RegExp: `
    + `${counts.patterns} patterns, ${counts.texts} texts, ${counts.refused} refused by both, `
    + `${counts.categories} categories; ${wrong} different`);
  process.exit(wrong === 0 && counts.values > 0 ? 0 : 1);
});
