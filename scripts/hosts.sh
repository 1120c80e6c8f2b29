#!/bin/sh
# Proves the adapters in the real hosts, against a server that is a process of its
# own. The last line is "N passed, N failed". Each proof prints its figure.

cd "$(dirname "$0")/.." || exit 1
MAKE=${MAKE:-make}
passed=0
failed=0
work=$(mktemp -d) || exit 1
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$work"' EXIT

"$MAKE" -s LUA=lua5.4 all && "$MAKE" -s LUA=luajit all || exit 1
LUA_PATH="$PWD/?.lua;$("$MAKE" -s path)"
cpath54=$("$MAKE" -s LUA=lua5.4 cpath)
cpath51=$("$MAKE" -s LUA=luajit cpath)
export LUA_PATH
unset OPENAI_API_KEY OPENAI_BASE_URL OPENAI_MODEL \
  http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
ulimit -n 4096 2>/dev/null

prove() { # name, command...
  printf '\n== %s\n' "$1"
  name=$1
  shift
  if timeout 120 "$@" </dev/null; then
    passed=$((passed + 1))
  else
    echo "FAILED: $name (exit code $?)"
    failed=$((failed + 1))
  fi
}

serve() { # a command that prints its URL first
  : >"$work/url"
  env LUA_CPATH="$cpath54" "$@" >"$work/url" &
  server=$!
  n=0
  while [ ! -s "$work/url" ] && [ $n -lt 100 ]; do
    sleep 0.1
    n=$((n + 1))
  done
}

stop() {
  kill "$server"
  wait "$server" 2>/dev/null
  server=
}

lua54() { prove "$1" env LUA_CPATH="$cpath54" lua5.4 $2; }
jit() { prove "$1, LuaJIT" env LUA_CPATH="$cpath51" luajit $2; }

serve lua5.4 spec/hosts/server.lua
HOSTS_URL=$(head -n 1 "$work/url")
export HOSTS_URL

lua54 '1,000 streams' spec/hosts/many.lua
lua54 'memory' spec/hosts/memory.lua
lua54 'a burst' spec/hosts/burst.lua
lua54 'a soak' 'spec/hosts/soak.lua 10000'
jit 'a soak' 'spec/hosts/soak.lua 2000 7'
prove 'a burst, fresh TLS connections' env HOSTS_TLS=1 LUA_CPATH="$cpath54" lua5.4 spec/hosts/burst.lua
for host in plain tick luv cqueues; do
  lua54 "cancel, $host" "spec/hosts/cancel.lua $host"
done
for host in luv cqueues copas; do
  jit "cancel, $host" "spec/hosts/cancel.lua $host"
done
# Debian's lua-http has no directory for 5.4; it runs there.
prove 'a cqueues server' env LUA_CPATH="$cpath54" \
  LUA_PATH="${LUA_PATH%;;};/usr/share/lua/5.3/?.lua;/usr/share/lua/5.1/?.lua;;" \
  lua5.4 spec/hosts/cqueues.lua
prove 'Neovim' env LUA_CPATH="$cpath51" \
  nvim --headless -u NONE -i NONE -c 'luafile spec/hosts/nvim.lua'
prove 'Neovim, fresh TLS connections' env HOSTS_TLS=1 LUA_CPATH="$cpath51" \
  nvim --headless -u NONE -i NONE -c 'luafile spec/hosts/nvim.lua'
if [ -e build/ngx ] || command -v apt-get >/dev/null; then
  prove 'nginx' env LUA_CPATH="$cpath54" sh spec/hosts/ngx.sh "$work" "$cpath51"
else
  printf '\n== nginx: skipped: its Lua module is fetched by apt-get\n'
fi
prove 'LOVE' env LUA_CPATH="$cpath51" xvfb-run -a love spec/hosts/love

threads() { # output, flags...
  out=$1
  shift
  ${CC:-cc} -std=c99 -D_GNU_SOURCE -Wall -Wextra -g "$@" -Wl,-E \
    $(sh scripts/luaflags.sh lua5.4 5.4) spec/hosts/threads.c -o "$out" \
    $(pkg-config --libs lua5.4) -lpthread
}
threads "$work/threads" -O2
prove '64 threads' env LUA_CPATH="$cpath54" "$work/threads" 64

# The module and its host under ThreadSanitizer; setarch: it wants a plain layout.
mkdir -p "$work/tsan/oaichat"
${CC:-cc} -std=c99 -D_GNU_SOURCE -fPIC -g -O1 -fsanitize=thread -shared \
  $(sh scripts/luaflags.sh lua5.4 5.4) src/*.c -o "$work/tsan/oaichat/core.so" \
  -lcurl -lpthread -ldl -lm
threads "$work/threads-tsan" -O1 -fsanitize=thread
prove '8 threads, ThreadSanitizer' env LUA_CPATH="$work/tsan/?.so;;" \
  TSAN_OPTIONS=exitcode=66 setarch -R "$work/threads-tsan" 8
stop

# The examples, against the offline bot.
serve stdbuf -oL lua5.4 examples/server.lua 0
OPENAI_BASE_URL=$(sed -n 's/^OPENAI_BASE_URL=//p' "$work/url")
export OPENAI_BASE_URL
prove 'examples/love' env LOVE_ONCE=1 LUA_CPATH="$cpath51" xvfb-run -a love examples/love
lua54 'examples/luv.lua' examples/luv.lua
jit 'examples/copas.lua' examples/copas.lua
prove 'examples/nvim.lua' env LUA_CPATH="$cpath51" \
  nvim --headless -u NONE -i NONE -c 'luafile examples/nvim.lua' \
  -c 'lua Ask "hello"' \
  -c 'lua assert(vim.wait(9000, function() return Answered end, 10))' \
  -c 'lua print(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\\n"))' \
  -c 'qall!'
${CC:-cc} -std=c99 -Wall -Wextra -Wl,-E $(sh scripts/luaflags.sh lua5.4 5.4) \
  examples/c_host.c -o "$work/c_host" $(pkg-config --libs lua5.4)
prove 'examples/c_host.c' env LUA_CPATH="$cpath54" "$work/c_host" hello
stop

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
