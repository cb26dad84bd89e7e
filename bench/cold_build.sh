#!/usr/bin/env bash
# The README's first command from an empty target folder: wall and CPU time, size of the program,
# and the time of a rebuild after a change in crates/ops, as a line of the table in ARCHITECTURE.md.
# Run it alone on the machine.
#
#   bench/cold_build.sh            that line
#   bench/cold_build.sh --crates   preceded by the cost of each dependency (bench/dependencies.py)
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="$work/target" CARGO_TERM_COLOR=never
cargo fetch --locked --quiet

if [ "${1:-}" = --crates ]; then
  export RUSTC_WRAPPER="$work/rustc" RUSTC_TIMES="$work/times"
  cat > "$RUSTC_WRAPPER" <<'W'
#!/usr/bin/env bash
# rustc, and a line with the package and its CPU seconds.
compiler=$1
shift
[[ " $* " == *" --crate-name "* && " $* " != *" --crate-name ___ "* ]] || exec "$compiler" "$@"
TIMEFORMAT='%U %S'
{ time "$compiler" "$@" 2>&3; } 3>&2 2> "$RUSTC_TIMES.$$" || exit $?
read -r user system < "$RUSTC_TIMES.$$"
echo "$CARGO_PKG_NAME $CARGO_PKG_VERSION $user $system" >> "$RUSTC_TIMES"
W
  chmod +x "$RUSTC_WRAPPER"
fi

TIMEFORMAT='%R %U %S'
first=(cargo run --release --locked -- train recipes/digits.toml --out "$work/run" --quiet)
{ time "${first[@]}" 2>&3; } 3> "$work/log" 2> "$work/cold" || { cat "$work/log" >&2; exit 1; }
read -r wall user system < "$work/cold"
if [ "${1:-}" = --crates ]; then
  python3 bench/dependencies.py "$RUSTC_TIMES" "$(awk "BEGIN { print $user + $system }")"
fi
touch crates/ops/src/lib.rs
{ time cargo build --release --locked --quiet; } 2> "$work/warm"
read -r warm _ _ < "$work/warm"
size=$(stat -c %s "$CARGO_TARGET_DIR/release/feedforward")

echo
echo "| commit | cores | wall | CPU | rebuild after a change in ops | program | crates in Cargo.lock |"
echo "|---|---|---|---|---|---|---|"
printf '| %s | %d | %.0f s | %.0f s | %.0f s | %.1f MB | %d |\n' "$(git rev-parse --short HEAD)" "$(nproc)" "$wall" \
  "$(awk "BEGIN { print $user + $system }")" "$warm" "$(awk "BEGIN { print $size / 1e6 }")" "$(grep -c '^name = ' Cargo.lock)"
