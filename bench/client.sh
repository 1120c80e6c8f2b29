#!/bin/sh
# bench/client.sh oaichat:lua5.4 | oaichat:luajit: starts bench/client.lua on that
# interpreter with this checkout's build; the form that BENCH_EXTRA wants. It forks
# nothing: what it costs is counted as the client's start.
here=${0%/*}/..
lua=${1#*:}
case $lua in luajit) abi=5.1 ;; *) abi=${lua#lua} ;; esac
export LUA_PATH="$here/lua/?.lua;$here/lua/?/init.lua;;" LUA_CPATH="$here/build/$abi/?.so;;"
exec "$lua" "$here/bench/client.lua"
