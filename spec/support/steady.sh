#!/bin/sh
# Every request that the specs and the examples send, against OpenAI's own
# specification: recorded, then played to the `steady` server from npm.
# And the demo against a server that we did not write (npm's mock-llm).
set -eu
cd "$(dirname "$0")/../.."
spec=../shared/openapi/openapi.yaml
if [ ! -f "$spec" ] || ! command -v npx >/dev/null; then
  echo "skipped: needs $spec and npx"
  [ -z "${CI:-}" ]
  exit
fi

work=$(mktemp -d)
server= mock=
trap 'for p in $server $mock; do kill -- "-$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT
make -s all
LUA_PATH="$(make -s path)" && export LUA_PATH="./?.lua;$LUA_PATH"
LUA_CPATH="$(make -s cpath)" && export LUA_CPATH
export RECORD="$work/requests"
unset OPENAI_API_KEY OPENAI_BASE_URL OPENAI_MODEL

# RECORDED: what a run of the specs with RECORD has written already.
if [ -n "${RECORDED:-}" ]; then
  for wire in chat responses; do cp "$RECORDED.$wire" "$RECORD.$wire"; done
else
  echo "recording the requests of the specs"
  QUICK=1 busted --lua=lua5.4 --helper=spec/support/record.lua $(make -s polled-specs) >"$work/specs.log" 2>&1 ||
    echo "(some specs failed; make test says which)"
fi
for example in hello stream errors image; do
  lua5.4 -l spec.support.record "examples/$example.lua" >/dev/null 2>&1 || true
done
printf 'hello\nI am sad\n' | lua5.4 -l spec.support.record examples/chat.lua >/dev/null

port=$(lua5.4 spec/support/port.lua free)
setsid npx --yes --package=@stdy/cli@0.22.1 steady --host 127.0.0.1 -p "$port" "$spec" >"$work/steady.log" 2>&1 &
server=$!
lua5.4 spec/support/port.lua await "$port"
for wire in chat responses; do
  lua5.4 spec/support/replay.lua "$work/requests.$wire" "http://127.0.0.1:$port" "$wire"
done
lua5.4 spec/support/steady_endpoints.lua "http://127.0.0.1:$port" "$spec"

port=$(lua5.4 spec/support/port.lua free)
HOST=127.0.0.1 PORT=$port setsid npx --yes --package=@dwmkerr/mock-llm@0.1.29 mock-llm >"$work/mock.log" 2>&1 &
mock=$!
lua5.4 spec/support/port.lua await "$port"
answer=$(printf 'hello there\nand again\n' | OPENAI_BASE_URL="http://127.0.0.1:$port/v1" lua5.4 examples/chat.lua)
echo "a server that is not ours (mock-llm) says: $answer"
case $answer in
  *"hello there"*"and again"*) ;;
  *) exit 1 ;;
esac
