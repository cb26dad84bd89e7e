#!/usr/bin/env bash
# Runs fuzz targets one after the other: fuzz/run.sh [SECONDS [TARGET…]], all of them for 600 s
# each by default. Needs a C++ compiler and, for seeds of binary formats, numpy, pyarrow, gguf and
# openpyxl. What a target finds is kept in fuzz/found/TARGET and becomes a test of its crate.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-600}
shift || true
host=$(rustc -vV | sed -n 's/^host: //p')
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing)
RUSTFLAGS="${coverage[*]}" cargo build --release --target "$host"
${PYTHON:-python3} seeds.py target/seeds
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(sed -nE 's/^ *(table\(|Target \{ name: )"([a-z0-9]+)".*/\2/p' src/main.rs)
status=0
for target in "${targets[@]}"; do
  mkdir -p "target/corpus/$target" "target/seeds/$target" "found/$target"
  printf '== %s\n' "$target"
  TARGET=$target "target/$host/release/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 -artifact_prefix="found/$target/" \
    "target/corpus/$target" "target/seeds/$target" 2> "target/$target.log" || status=1
  grep -E "panicked|ERROR|SUMMARY|Test unit|number_of_executed_units|stat::peak_rss_mb" "target/$target.log" || true
  rmdir --ignore-fail-on-non-empty "found/$target"
done
exit $status
