#!/usr/bin/env bash
# Runs the fuzz targets one after the other, each for some seconds, and keeps what they find outside the clone.
# Then: `run.sh --keep TARGET` adds to corpora/TARGET the few new inputs that reach code the corpus does not.
set -euo pipefail
cd "$(dirname "$0")"
store=${CARGO_TARGET_DIR:?set it, or use make fuzz}/fuzz
program() { cargo +nightly fuzz "$1" --fuzz-dir . --target-dir "$store/build" --sanitizer none --features engine "${@:2}"; }

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "run.sh: cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2
  exit 1
fi

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "run.sh: nightly Rust is missing: rustup toolchain install nightly" >&2
  exit 1
fi

if [ "${1:-}" = --keep ]; then
  target=${2:?usage: run.sh --keep TARGET}
  # libFuzzer's own merge: files of the second directory that add coverage to the first are copied there.
  program run "$target" "corpora/$target" "$store/found/$target" -- -merge=1
  exit
fi

targets=${1:-} seconds=${2:-120} failed=()
[ -n "$targets" ] || targets=$(for file in fuzz_targets/*.rs; do basename "$file" .rs; done)
# Threads, files and directories of the queue's target are cheaper in memory.
if [ -d /dev/shm ]; then export TMPDIR=/dev/shm; fi
for target in $targets; do
  mkdir -p "$store/found/$target" "$store/failures"
  echo "--- $target, $seconds s"
  program run "$target" "$store/found/$target" "corpora/$target" -- -max_total_time="$seconds" -max_len=20000 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$store/failures/$target-" || failed+=("$target")
done
if [ ${#failed[@]} != 0 ]; then
  echo "run.sh: ${failed[*]} failed; the inputs are in $store/failures: put them into corpora/<target>/, where make test replays them" >&2
  exit 1
fi
