#!/bin/sh
# Token counts against npm's gpt-tokenizer and tiktoken, on 10,000 texts of many
# scripts from SEED (a number; by default the date), with the speed in the same run.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "skipped: needs node and npm"
  [ -z "${CI:-}" ]
  exit
fi
modules=build/npm/tokens/node_modules
have() { grep -qs "\"version\": \"$2\"" "$modules/$1/package.json"; }
if ! have gpt-tokenizer 4.0.0 || ! have tiktoken 1.0.22; then
  npm install --silent --prefix build/npm/tokens --no-save --no-package-lock --no-audit --no-fund \
    --ignore-scripts gpt-tokenizer@4.0.0 tiktoken@1.0.22
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=spec/support
node $here/tokens_reference.js make "${SEED:-$(date +%Y%m%d)}" "${TEXTS:-10000}" >"$work/texts"
for lua in lua5.4 luajit; do
  command -v "$lua" >/dev/null || continue
  make -s LUA="$lua" all
  LUA_PATH="$(make -s LUA="$lua" path)" LUA_CPATH="$(make -s LUA="$lua" cpath)" \
    "$lua" $here/tokens_count.lua $modules/gpt-tokenizer/data <"$work/texts" >"$work/ours"
  echo "$lua:"
  node $here/tokens_reference.js judge $modules "$work/texts" "$work/ours"
done
