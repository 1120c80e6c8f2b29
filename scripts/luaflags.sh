#!/bin/sh
# Prints the compiler's flags for the headers of one Lua.
#   sh scripts/luaflags.sh luajit 5.1
# Prints nothing when none are found: the compiler then names the lack.
lua=$1
abi=$2
pkg=${PKG_CONFIG:-pkg-config}

short=$(printf %s "$abi" | tr -d .)
names="lua$abi lua-$abi lua$short"
dirs="lua$abi lua/$abi lua-$abi lua$short"
# LuaJIT and 5.1 share an ABI: the headers of either serve both.
case $lua in
*jit*) names="luajit $names"; dirs="luajit-2.1 luajit-2.0 $dirs" ;;
*) if [ "$abi" = 5.1 ]; then names="$names luajit"; dirs="$dirs luajit-2.1"; fi ;;
esac

for name in $names; do
  # pkg-config answers also for a .pc whose headers were removed.
  dir=$($pkg --variable=includedir "$name" 2>/dev/null) || continue
  flags=$($pkg --cflags "$name" 2>/dev/null) || continue
  for one in ${flags:+$(printf '%s\n' $flags | sed -n 's/^-I//p')} "$dir"; do
    if [ -f "$one/lua.h" ]; then
      echo "-I$one"
      exit 0
    fi
  done
done
for prefix in /usr /usr/local /opt/homebrew /opt/local; do
  for dir in $dirs; do
    if [ -f "$prefix/include/$dir/lua.h" ]; then
      echo "-I$prefix/include/$dir"
      exit 0
    fi
  done
done
# A lone lua.h counts only when it is of this version.
for prefix in /usr /usr/local /opt/homebrew /opt/local; do
  if grep -qs "LUA_VERSION_NUM[^0-9]*$(printf %s "$abi" | tr . 0)" \
    "$prefix/include/lua.h"; then
    echo "-I$prefix/include"
    exit 0
  fi
done
exit 0
