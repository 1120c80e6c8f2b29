#!/bin/sh
# Compiles every C file for Windows with mingw-w64, without linking: libcurl's and
# Lua's headers do for that, their Windows libraries are not needed.
set -eu
cd "$(dirname "$0")/.."
cc=x86_64-w64-mingw32-gcc
command -v "$cc" >/dev/null || {
  echo "skipped: no $cc (apt-get install gcc-mingw-w64-x86-64-posix)"
  [ -z "${CI:-}" ]
  exit
}
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
# The system's own include folder must not come along.
for dir in /usr/include /usr/include/"$(cc -print-multiarch)"; do
  [ ! -d "$dir/curl" ] || cp -R "$dir/curl" "$headers/"
done
n=0
for file in src/*.c; do
  # shellcheck disable=SC2046
  "$cc" -std=c99 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I"$headers" \
    $(sh scripts/luaflags.sh lua5.4 5.4) "$file"
  n=$((n + 1))
done
echo "$n files compile for Windows"
