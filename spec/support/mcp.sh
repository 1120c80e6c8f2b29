#!/bin/sh
# Our MCP client against servers from npm: the reference server (stdio and HTTP) and
# one on the official SDK in the newest revision. One run on each interpreter.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v npx >/dev/null; then
  echo "skipped: needs npx"
  [ -z "${CI:-}" ]
  exit
fi
everything=@modelcontextprotocol/server-everything@2026.8.31
sdk=@modelcontextprotocol/server@2.4.0

work=$(mktemp -d)
servers=
trap 'for p in $servers; do kill -- "-$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT
for lua in lua5.4 luajit; do make -s LUA=$lua all; done

real() { # interpreter, arguments
  lua=$1
  shift
  LUA_PATH="$(make -s LUA="$lua" path)" LUA_CPATH="$(make -s LUA="$lua" cpath)" "$lua" "$@"
}

serve() { # command...: sets url
  port=$(real lua5.4 spec/support/port.lua free)
  PORT=$port setsid "$@" >"$work/$port.log" 2>&1 &
  servers="$servers $!"
  real lua5.4 spec/support/port.lua await "$port"
  url=http://127.0.0.1:$port/mcp
}

serve npx --yes --package=$everything mcp-server-everything streamableHttp
for lua in lua5.4 luajit; do
  real $lua spec/support/mcp_real.lua everything "$url"
  real $lua spec/support/mcp_real.lua everything npx --yes --package=$everything mcp-server-everything stdio
done

if [ "$(node -p 'parseInt(process.versions.node) >= 20')" != true ]; then
  echo "skipped: $sdk needs Node 20"
  exit
fi
npm install --silent --no-audit --no-fund --prefix "$work" $sdk zod@4.1.12 >/dev/null
cp spec/support/mcp_newest.mjs "$work"
serve node "$work/mcp_newest.mjs" http
for lua in lua5.4 luajit; do
  real $lua spec/support/mcp_real.lua newest "$url"
  real $lua spec/support/mcp_real.lua newest node "$work/mcp_newest.mjs" stdio
done
