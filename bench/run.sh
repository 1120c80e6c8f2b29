#!/bin/sh
# bench/run.sh [rounds [scenarios [clients]]]: oaichat against bare libcurl that
# receives and discards (`limit`) and against plain C that walks each chunk's JSON
# (`walk`), interleaved in one run. Needs the harness in ../shared/bench.
set -eu
cd "$(dirname "$0")/.."
harness=$PWD/../shared/bench/run.sh
if [ ! -f "$harness" ]; then
  echo "the harness ../shared/bench is not here" >&2
  exit 1
fi
make -s LUA=lua5.4
make -s LUA=luajit
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export BENCH_EXTRA="$PWD/bench/client.sh" BUILD="${BUILD:-$PWD/build/bench}"
bash "$harness" -r "${1:-5}" -s "${2:-S1c S1 S4 S7}" \
  -c "${3:-limit walk oaichat:lua5.4 oaichat:luajit}" -o "$out/results.jsonl"
