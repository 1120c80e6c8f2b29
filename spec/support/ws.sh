#!/bin/sh
# The WebSocket client against a server that we did not write (npm's ws).
set -eu
cd "$(dirname "$0")/../.."
if ! command -v npm >/dev/null; then
  echo "skipped: needs npm"
  [ -z "${CI:-}" ]
  exit
fi

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" ws@8.18.0
cp spec/support/ws_server.js "$work/server.js"
mkdir "$work/certs"
sh spec/support/certs.sh "$work/certs"

serve() { # arguments of the server
  : >"$work/port"
  node "$work/server.js" "$@" >"$work/port" &
  server=$!
  while [ ! -s "$work/port" ]; do
    kill -0 "$server"
    sleep 0.05
  done
}

cases() { # arguments behind the port
  for lua in ${LUAS:-lua5.4 luajit}; do
    make -s LUA="$lua" all
    LUA_PATH="$(make -s LUA="$lua" path)" LUA_CPATH="$(make -s LUA="$lua" cpath)" \
      "$lua" spec/support/ws_cases.lua "$(cat "$work/port")" "$@"
  done
}

serve
cases
kill "$server"
echo "over TLS:"
serve "$work/certs"
cases "$work/certs/ca.pem"
