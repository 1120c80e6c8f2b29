#!/bin/sh
# bench/client.sh oaichat:lua5.4 | oaichat:luajit: starts bench/client.lua on that
# interpreter with this checkout's build; the form that BENCH_EXTRA wants.
here=$(cd "$(dirname "$0")/.." && pwd)
lua=${1#*:}
LUA_PATH=$(make -s -C "$here" LUA="$lua" path) && export LUA_PATH
LUA_CPATH=$(make -s -C "$here" LUA="$lua" cpath) && export LUA_CPATH
exec "$lua" "$here/bench/client.lua"
