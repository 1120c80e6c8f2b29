#!/bin/sh
# Runs tests and counts them. The last line is "N passed, N failed".
#   sh scripts/test.sh all
#   sh scripts/test.sh c | specs [file...] | smoke | valgrind | steady
# `specs` runs on the interpreter named by LUA.

cd "$(dirname "$0")/.." || exit 1
MAKE=${MAKE:-make}
passed=0
failed=0

log=$(mktemp -d) || exit 1
trap 'rm -rf "$log"' EXIT

has() { command -v "$1" >/dev/null 2>&1; }
title() { printf '\n== %s\n' "$*"; }
pass() { passed=$((passed + ${1:-1})); }
fail() {
  failed=$((failed + 1))
  echo "FAILED: $*"
}

build() { # variables for make, as arguments
  "$MAKE" -s "$@" all </dev/null || {
    fail "make $* all"
    return 1
  }
}

# Each C test ends with "NAME: N passed, N failed" (spec/support/test.h).
run_c() {
  title 'C tests, AddressSanitizer and UndefinedBehaviorSanitizer'
  for source in spec/*_test.c; do
    [ -f "$source" ] || continue
    name=$(basename "$source" .c)
    if ! "$MAKE" -s "build-asan/c/$name" </dev/null; then
      fail "$name does not build"
      continue
    fi
    "build-asan/c/$name" >"$log/c" 2>&1 </dev/null
    code=$?
    cat "$log/c"
    counts=$(sed -n 's/^.*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' \
      "$log/c" | tail -n 1)
    good=${counts% *}
    bad=${counts#* }
    pass "${good:-0}"
    failed=$((failed + ${bad:-0}))
    # A sanitizer's report is a failure after tests that all passed.
    if [ $code -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then
      fail "$name (exit code $code)"
    fi
  done
}

run_specs() { # interpreter, files
  lua=$1
  shift
  [ $# -gt 0 ] || set -- spec/*_spec.lua
  title "specs on $lua"
  build LUA="$lua" SANITIZE="$SANITIZE" || return
  # busted keeps what it ran: in one process the collector would cost the most.
  files= n=0
  for file in "$@"; do
    files="$files $file" n=$((n + 1))
    [ $n -eq 15 ] || continue
    run_busted "$lua" $files
    files= n=0
  done
  [ $n -eq 0 ] || run_busted "$lua" $files
}

run_busted() { # interpreter, files
  lua=$1
  shift
  # `busted` itself asks for whichever interpreter is called lua: name it. A
  # wrapper made by LuaRocks is a shell script and takes the name as an option.
  busted=$(command -v busted) || {
    fail 'busted is not installed'
    return
  }
  set -- --helper=spec/support/nokey.lua "$@"
  case $(head -n 1 "$busted") in
  *lua*) set -- "$lua" "$busted" -o plainTerminal "$@" ;;
  *) set -- "$busted" --lua="$(command -v "$lua")" -o plainTerminal "$@" ;;
  esac
  preload=
  if [ "$SANITIZE" = 1 ]; then
    preload=$(${CC:-cc} -print-file-name=libasan.so)
  fi
  # Nothing of the machine may decide a test: no key, no endpoint, no proxy.
  {
    env -u OPENAI_API_KEY -u OPENAI_BASE_URL -u OPENAI_MODEL \
      -u http_proxy -u https_proxy -u all_proxy -u no_proxy \
      -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY \
      ${preload:+LD_PRELOAD="$preload"} \
      ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" \
      LUA_PATH="$("$MAKE" -s LUA="$lua" path)" \
      LUA_CPATH="$("$MAKE" -s LUA="$lua" SANITIZE="$SANITIZE" cpath)" \
      "$@" </dev/null 2>&1
    echo $? >"$log/code"
  } | tee "$log/specs"
  code=$(cat "$log/code")
  sum=$(grep -E '^[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors?' \
    "$log/specs" | tail -n 1)
  if [ -z "$sum" ]; then
    fail "$lua: the specs did not end (exit code $code)"
    return
  fi
  set -- $(printf '%s\n' "$sum" | tr -cs '0-9' ' ')
  pass "$1"
  failed=$((failed + $2 + $3))
  if [ "$code" -ne 0 ] && [ $(($2 + $3)) -eq 0 ]; then
    fail "$lua: busted's exit code is $code"
  fi
}

run_smoke() {
  title 'smoke on the other interpreters'
  for lua in lua5.1 lua5.2 lua5.3 lua5.5; do
    has "$lua" || continue
    flags=$(sh scripts/luaflags.sh "$lua" "${lua#lua}")
    if [ -z "$flags" ]; then
      echo "$lua: skipped, its headers are not installed"
      continue
    fi
    build LUA="$lua" || continue
    if LUA_PATH="$("$MAKE" -s LUA="$lua" path)" \
      LUA_CPATH="$("$MAKE" -s LUA="$lua" cpath)" \
      "$lua" scripts/smoke.lua </dev/null; then
      pass
    else
      fail "$lua scripts/smoke.lua"
    fi
  done
}

run_valgrind() {
  title 'valgrind on lua5.4'
  build LUA=lua5.4 || return
  if LUA_PATH="$("$MAKE" -s LUA=lua5.4 path)" \
    LUA_CPATH="$("$MAKE" -s LUA=lua5.4 cpath)" \
    valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect \
    --show-leak-kinds=definite,indirect --error-exitcode=1 \
    lua5.4 spec/support/mixed.lua </dev/null; then
    pass
  else
    fail 'spec/support/mixed.lua under valgrind'
  fi
}

# Scripts that hold us against what npm has; each takes no arguments.
run_script() { # title, script
  title "$1"
  if LUA_PATH="$("$MAKE" -s LUA=lua5.4 path)" \
    LUA_CPATH="$("$MAKE" -s LUA=lua5.4 cpath)" sh "$2" </dev/null; then
    pass
  else
    fail "$2"
  fi
}

run_steady() {
  build LUA=lua5.4 || return
  run_script "requests against OpenAI's specification" spec/support/steady.sh
  run_script "WebSocket against npm's ws" spec/support/ws.sh
  run_script 'schemas against ajv, patterns against RegExp' spec/support/ajv.sh
  run_script 'the MCP client against servers from npm' spec/support/mcp.sh
  run_script 'token counts against gpt-tokenizer and tiktoken' spec/support/tokens.sh
}

# The shared fixtures are beside the repository; without them their specs are
# pending, which CI must not take for a success.
check_shared() {
  case $CI in
  1 | true)
    if [ -d ../shared ]; then return; fi
    title 'shared fixtures'
    fail 'CI is set and ../shared is missing'
    ;;
  esac
}

part=${1:-all}
[ $# -eq 0 ] || shift
case $part in
all)
  check_shared
  run_c
  # first: a spec on lua5.4 runs the 5.1 build in a child
  build LUA=luajit SANITIZE="$SANITIZE"
  run_specs lua5.4
  run_specs luajit
  run_smoke
  ;;
c) run_c ;;
specs)
  check_shared
  run_specs "${LUA:-lua5.4}" "$@"
  ;;
smoke) run_smoke ;;
valgrind) run_valgrind ;;
steady)
  run_steady
  ;;
*)
  echo "test.sh: no such part: $part" >&2
  exit 2
  ;;
esac

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
