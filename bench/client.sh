#!/bin/sh
# bench/client.sh oaichat:lua5.4 | oaichat:luajit: starts bench/client.lua on that
# interpreter with this checkout's build; the form that BENCH_EXTRA wants.
here=$(cd "$(dirname "$0")/.." && pwd)
lua=${1#*:}
case $lua in luajit) abi=5.1 ;; *) abi=${lua#lua} ;; esac
# no make here: what it costs would be counted as the client's start
export LUA_PATH="$here/lua/?.lua;$here/lua/?/init.lua;;" LUA_CPATH="$here/build/$abi/?.so;;"
exec "$lua" "$here/bench/client.lua"
