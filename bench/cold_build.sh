#!/usr/bin/env bash
# The README's first command from an empty target folder: wall and CPU time, size of the program, and the time of a rebuild after
# a change in crates/ops. Run it alone on the machine.
#
#   bench/cold_build.sh            one line of the table in ARCHITECTURE.md
#   bench/cold_build.sh --crates   CPU time of each dependency instead (bench/dependencies.py); other work on the machine is no matter
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="$work/target" CARGO_TERM_COLOR=never
cargo fetch --locked --quiet

if [ "${1:-}" = --crates ]; then
  cat > "$work/rustc" <<'W'
#!/usr/bin/env bash
# rustc, and a line with its crate, whether that is a build script, and the CPU seconds it took.
name=- kind=lib rustc=$1
shift
for ((i = 1; i <= $#; i++)); do
  [ "${!i}" != --crate-name ] || { j=$((i + 1)); name=${!j}; }
done
[ "$name" != - ] || exec "$rustc" "$@"
TIMEFORMAT='%U %S'
{ time "$rustc" "$@" 2>&3; } 3>&2 2> "$RUSTC_TIMES.$$" || exit $?
read -r user system < "$RUSTC_TIMES.$$"
echo "${CARGO_PKG_NAME:-$name} ${CARGO_PKG_VERSION:-0} $user $system" >> "$RUSTC_TIMES"
rm -f "$RUSTC_TIMES.$$"
W
  chmod +x "$work/rustc"
  TIMEFORMAT='total 0 %U %S'
  { time RUSTC_TIMES="$work/times" RUSTC_WRAPPER="$work/rustc" cargo build --release --locked 2>&3; } 3>&2 2> "$work/total"
  cat "$work/total" >> "$work/times"
  python3 bench/dependencies.py "$work/times"
  exit
fi

TIMEFORMAT='%R %U %S'
{ time cargo run --release --locked --quiet -- train recipes/digits.toml --out "$work/run" --quiet 2>&3; } 3>&2 2> "$work/cold"
touch crates/ops/src/lib.rs
{ time cargo build --release --locked --quiet 2>&3; } 3>&2 2> "$work/warm"
read -r wall user system < "$work/cold"
read -r warm _ _ < "$work/warm"
size=$(stat -c %s "$work/target/release/feedforward")
crates=$(grep -c '^name = ' Cargo.lock)
echo "| commit | cores | wall | CPU | rebuild after a change in ops | program | crates in Cargo.lock |"
echo "|---|---|---|---|---|---|---|"
awk -v commit="$(git rev-parse --short HEAD)" -v cores="$(nproc)" -v wall="$wall" -v user="$user" -v system="$system" \
  -v warm="$warm" -v size="$size" -v crates="$crates" 'BEGIN {
    printf "| %s | %d | %.0f s | %.0f s | %.0f s | %.1f MB | %d |\n", commit, cores, wall, user + system, warm, size / 1e6, crates }'
