#!/usr/bin/env bash
# Builds the wheel of the Python package, installs it into a fresh virtual environment with what its
# tests need (`.[test]`), and runs them. PYTORCH=1 installs PyTorch and transformers too, SCALE=1 PySpark (which needs Java) and
# Ray; each is the default where Python has these packages already. Without them their tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "skipped: there is no Python 3.10 or newer with venv"
  exit 0
fi
has() { python3 -c "import $1" 2>/dev/null && echo 1 || true; }
PYTORCH="${PYTORCH-$(has torch)}"
SCALE="${SCALE-$(has 'pyspark, ray')}"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
bin="$place/venv/bin"
began=$SECONDS
"$bin/pip" install --quiet --disable-pip-version-check "maturin>=1.9,<2"
# The program's release build compiled all crates but PyO3 and NumPy's with the same features.
"$bin/maturin" build --locked --release --out "$place/wheels" 2>&1 | tee "$place/log" | tail -3
echo "the wheel was built in $((SECONDS - began)) s, with $(grep -c Compiling "$place/log" || true) crates compiled"
wheel="$(echo "$place"/wheels/*.whl)"
"$bin/pip" install --quiet --disable-pip-version-check "$wheel[test]" ${PYTORCH:+torch transformers} ${SCALE:+pyspark "ray[data]"}
export SCIPY_ARRAY_API=1
"$bin/python" -m pytest -q -rs -p no:cacheprovider
