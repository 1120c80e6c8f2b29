#!/bin/sh
# What oaichat.schema accepts, ajv accepts, and the reverse; patterns likewise against
# Node's RegExp. Random cases from SEED (a number; by default the date), on lua5.4
# and luajit. ajv comes from npm into build/npm.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "skipped: needs node and npm"
  [ -z "${CI:-}" ]
  exit
fi
modules=build/npm/node_modules
version=8.17.1
if ! grep -qs "\"version\": \"$version\"" "$modules/ajv/package.json"; then
  npm install --silent --prefix build/npm --no-save --no-package-lock --no-audit --no-fund \
    --ignore-scripts "ajv@$version"
fi

seed=${SEED:-$(date +%Y%m%d)}
cases=$(mktemp)
trap 'rm -f "$cases"' EXIT
for lua in lua5.4 luajit; do
  command -v "$lua" >/dev/null || continue
  make -s LUA="$lua" all
  LUA_PATH="$(make -s LUA="$lua" path)" LUA_CPATH="$(make -s LUA="$lua" cpath)" \
    "$lua" spec/support/ajv_cases.lua "$seed" "${SCHEMAS:-2000}" 4000 >"$cases"
  printf '%s, seed %s: ' "$lua" "$seed"
  node spec/support/ajv.js "$modules" <"$cases"
done
