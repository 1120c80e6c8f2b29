#!/bin/sh
# Finds what a command of the Makefile needs and this machine lacks.
#   sh scripts/deps.sh demo|test|check|valgrind|rock|windows|steady|servers|stores|hosts|others
# Debian and Ubuntu: installs it by apt, by itself as root or with CI=1; else it
# prints the one line to run and asks. Other systems: says what to install.
# Only POSIX sh is assumed. Nothing missing: no apt call, a few milliseconds.

what=${1:-demo}
LUA=${LUA:-lua5.4}
PKG_CONFIG=${PKG_CONFIG:-pkg-config}
export PKG_CONFIG
here=$(dirname "$0")

missing=   # names for people
packages=  # names for apt

lack() {
  missing="$missing${missing:+, }$1"
  shift
  for one in "$@"; do
    case " $packages " in
    *" $one "*) ;;
    *) packages="$packages${packages:+ }$one" ;;
    esac
  done
}

has() { command -v "$1" >/dev/null 2>&1; }
is_ci() { [ "$CI" = 1 ] || [ "$CI" = true ]; }

compiler=
for one in "${CC:-cc}" cc gcc clang; do
  if has "$one"; then
    compiler=$one
    break
  fi
done

compiles() { # the text of a file, flags
  text=$1
  shift
  [ -n "$compiler" ] &&
    printf '%s\n' "$text" |
    "$compiler" "$@" -E -x c - >/dev/null 2>&1
}

need_build() {
  [ -n "$compiler" ] || lack 'a C compiler' gcc libc6-dev
  compiles '#include <stdio.h>' || lack 'C headers' gcc libc6-dev
  has "$PKG_CONFIG" || lack pkg-config pkg-config
  compiles '#include <curl/curl.h>' \
    $("$PKG_CONFIG" --cflags libcurl 2>/dev/null) ||
    lack 'libcurl and its headers' libcurl4-openssl-dev
}

need_servers() { # that specs run beside themselves
  has openssl || lack openssl openssl
  has nginx || lack nginx nginx-light libnginx-mod-stream
  [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] ||
    lack "nginx's stream module" libnginx-mod-stream
}

need_lua() { # interpreter, abi, its package, its headers' package
  has "$1" || lack "$1" "$3"
  compiles '#include <lauxlib.h>' $(sh "$here/luaflags.sh" "$1" "$2") ||
    lack "$1's headers" "$4"
}

need_module() { # interpreter, module, package
  if ! "$1" -e "require '$2'" >/dev/null 2>&1; then
    lack "$2 for $1" "$3"
  fi
}

need_stores() {
  has redis-server || lack redis-server redis-server
  set -- /usr/lib/postgresql/*/bin/initdb
  has initdb || [ -e "$1" ] || lack PostgreSQL postgresql
  for lua in lua5.4 luajit; do
    need_module $lua luasql.sqlite3 lua-sql-sqlite3
    need_module $lua luasql.postgres lua-sql-postgres
  done
}

case $LUA in
lua5.[1-5]) abi=${LUA#lua} ;;
*jit*) abi=5.1 ;;
*) abi=$("$LUA" -e 'io.write((_VERSION:match "%d+%.%d+"))' 2>/dev/null) ;;
esac
case $abi in
5.1) headers=liblua5.1-0-dev ;;
*) headers=liblua$abi-dev ;;
esac
case $LUA in
*jit*) need_main() { need_lua "$LUA" 5.1 luajit libluajit-5.1-dev; } ;;
*) need_main() { need_lua "$LUA" "$abi" "lua$abi" "$headers"; } ;;
esac

case $what in
demo)
  need_build
  need_main
  need_module "$LUA" cjson lua-cjson
  ;;
test)
  need_build
  need_lua lua5.4 5.4 lua5.4 liblua5.4-dev
  need_lua luajit 5.1 luajit libluajit-5.1-dev
  need_module lua5.4 cjson lua-cjson
  need_module luajit cjson lua-cjson
  need_module lua5.4 socket lua-socket
  if is_ci; then # elsewhere their specs are pending
    need_servers
    need_stores
  fi
  has busted || lack busted lua-busted
  ;;
check)
  has clang-format || lack clang-format clang-format
  has cppcheck || lack cppcheck cppcheck
  has luacheck || lack luacheck lua-check
  ;;
valgrind)
  has valgrind || lack valgrind valgrind
  ;;
steady) # servers from npm that check our requests
  has node || lack node nodejs
  has npx || lack npx npm
  ;;
windows)
  has x86_64-w64-mingw32-gcc || lack x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-posix
  ;;
rock)
  has luarocks || lack luarocks luarocks
  ;;
servers)
  need_servers
  ;;
stores) # the databases that the specs of the histories run beside themselves
  need_stores
  ;;
hosts) # what scripts/hosts.sh runs in
  need_servers
  has curl || lack curl curl
  has nvim || lack Neovim neovim
  has love || lack LÖVE love
  has xvfb-run || lack xvfb-run xvfb xauth
  need_module lua5.4 luv lua-luv
  need_module luajit luv lua-luv
  need_module lua5.4 cqueues lua-cqueues
  need_module luajit cqueues lua-cqueues
  need_module luajit copas lua-copas
  [ -e /usr/share/lua/5.3/http/server.lua ] || lack lua-http lua-http
  ;;
others) # what `make smoke` covers
  need_build
  need_lua lua5.1 5.1 lua5.1 liblua5.1-0-dev
  need_lua lua5.2 5.2 lua5.2 liblua5.2-dev
  need_lua lua5.3 5.3 lua5.3 liblua5.3-dev
  ;;
*)
  echo "deps.sh: no such set: $what" >&2
  exit 2
  ;;
esac

[ -n "$missing" ] || exit 0
echo "Missing: $missing."

if ! has apt-get; then
  case $(uname -s) in
  Darwin)
    echo 'Install: xcode-select --install; brew install lua luajit luarocks pkg-config curl'
    echo 'and, for make test: luarocks install busted; luarocks install lua-cjson'
    ;;
  *)
    echo 'Install with your package manager: a C compiler, pkg-config, libcurl with'
    echo 'its headers, Lua 5.4 (or name another: make LUA=lua5.3 demo) with its'
    echo 'headers, lua-cjson; for make test also luajit with its headers, and busted.'
    ;;
  esac
  exit 1
fi

install="apt-get install -y --no-install-recommends $packages"
if [ "$(id -u)" = 0 ]; then
  as=
elif has sudo; then
  as=sudo
  if is_ci; then as='sudo -n'; fi
else
  echo "Run as root: apt-get update && $install"
  exit 1
fi

if [ -n "$as" ] && ! is_ci; then
  echo "Run: sudo apt-get update && sudo $install"
  [ -t 0 ] || exit 1
  printf 'Run it now? [y/N] '
  read -r answer || exit 1
  case $answer in
  [yY]*) ;;
  *) exit 1 ;;
  esac
fi

# apt may not eat the lines that were piped to the demo.
run() {
  $as env DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}
if [ "$as" = sudo ]; then
  # A password may have to be typed.
  run() { sudo env DEBIAN_FRONTEND=noninteractive "$@"; }
fi
echo "Installing: $packages"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
quiet() { run "$@" >"$log" 2>&1 || {
  cat "$log"
  echo "deps.sh: failed: $*"
  exit 1
}; }
quiet apt-get -q update
quiet apt-get -q -y --no-install-recommends install $packages
