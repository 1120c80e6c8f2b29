#!/bin/sh
# bench/run.sh [rounds [scenarios [clients]]], or by ROUNDS, SCENARIOS, CLIENTS, RUNS:
# oaichat against bare libcurl that receives and discards (`limit`), plain C that walks
# each chunk's JSON (`walk`), and other clients where they are, interleaved in one run.
# Needs the harness in ../shared/bench.
set -eu
cd "$(dirname "$0")/.."
harness=$PWD/../shared/bench/run.sh
if [ ! -f "$harness" ]; then
  echo "the harness ../shared/bench is not here" >&2
  exit 1
fi
make -s LUA=lua5.4
make -s LUA=luajit
make -s bench-tools
export BENCH_EXTRA="$PWD/build/bench/start" BUILD="${BUILD:-$PWD/build/bench}"
bash "$harness" -r "${1:-${ROUNDS:-5}}" -s "${2:-${SCENARIOS:-S1 S1c S2 S2c S2p S3 S4 S5 S5b S6 S7}}" \
  -c "${3:-${CLIENTS:-limit walk oaichat:lua5.4 oaichat:luajit}}" -o "${RUNS:-$BUILD/peers.jsonl}"
