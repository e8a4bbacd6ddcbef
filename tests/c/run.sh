#!/bin/sh
# Builds and tests the C core in each preset and prints a line for each; status 1 if any failed.
#   gcc clang   warnings are errors, optimised
#   asan tsan   gcc with the address and undefined-behaviour, or the thread sanitizer
#   mutants     faults planted on purpose, each of which its test must find (mutants.txt)
#   fuzz        libFuzzer with sanitizers, FUZZ_SECONDS (5) a target on top of the committed corpus
# Usage: tests/c/run.sh [PRESET... | --failed]; all without an argument, and what failed in the last run with --failed:
# those presets, and of the planted faults those that were not found.
# Logs and binaries: build/c/PRESET. JOBS (2) at a time.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/c
jobs=${JOBS:-2}
seconds=${FUZZ_SECONDS:-5}
planted=.
if [ "${1:-}" = --failed ]; then
  planted=--failed
  set -- $(cat "$out/failed")
fi
[ $# -gt 0 ] || set -- gcc clang asan tsan mutants fuzz
PATH=$PATH:$root/.venv/bin

build() { # DIR CMAKE_ARGUMENT...
  dir=$1
  shift
  cmake -S "$root" -B "$dir" -G Ninja -DFA_WERROR=ON "$@" && cmake --build "$dir" -j "$jobs"
}
tested() { build "$@" && ctest --test-dir "$1" -j "$jobs" --output-on-failure; }
fuzzed() {
  build "$out/fuzz" -DCMAKE_C_COMPILER=clang -DFA_SANITIZE=address,undefined -DFA_FUZZ=ON || return 1
  ls "$out"/fuzz/tests/c/fuzz_* | sed 's/.*fuzz_//' | xargs -P "$jobs" -I{} "$0" --fuzz-one {} || return 1
  echo "$(ls "$out"/fuzz/tests/c/fuzz_* | wc -l) fuzz targets, nothing found in $seconds s each"
}
# What is found is in build/c/fuzz/TARGET-crash-*, and what ran before in TARGET.log.
fuzz_one() { # TARGET
  mkdir -p "$out/fuzz/corpus-$1"
  "$out/fuzz/tests/c/fuzz_$1" -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$out/fuzz/$1-" "$out/fuzz/corpus-$1" "$root/tests/fuzz/corpus/$1" >"$out/fuzz/$1.log" 2>&1 ||
    { echo "fuzz_$1 found something:"; grep -vE '^#[0-9]+\s' "$out/fuzz/$1.log" | tail -40; exit 255; }
}

if [ "${1:-}" = --fuzz-one ]; then
  fuzz_one "$2"
  exit
fi

run() {
  case $1 in
    gcc) tested "$out/gcc" -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release ;;
    clang) tested "$out/clang" -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Release ;;
    asan) tested "$out/asan" -DCMAKE_C_COMPILER=gcc -DFA_SANITIZE=address,undefined ;;
    tsan) tested "$out/tsan" -DCMAKE_C_COMPILER=gcc -DFA_SANITIZE=thread ;;
    mutants) JOBS=$jobs "$root/tests/c/mutants.sh" "$out/mutants" "$planted" ;;
    fuzz) fuzzed ;;
    *) echo "no preset $1: gcc clang asan tsan mutants fuzz" && false ;;
  esac
}

failed=""
mkdir -p "$out"
for preset in "$@"; do
  began=$(date +%s)
  if run "$preset" >"$out/$preset.log" 2>&1; then verdict=ok; else verdict=FAILED failed="$failed $preset"; fi
  printf '%-8s %-6s %3d s  %s\n' "$preset" "$verdict" $(($(date +%s) - began)) \
    "$(grep -E 'tests passed|tests failed|faults planted|fuzz targets|found something' "$out/$preset.log" | tail -1)"
  [ "$verdict" = ok ] || { tail -40 "$out/$preset.log"; }
done
echo "$failed" >"$out/failed"
[ -z "$failed" ]
