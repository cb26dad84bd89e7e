#!/usr/bin/env bash
# From a CSV of a million rows to a saved model: ours, PyTorch with a DataLoader, PyTorch on
# tensors, one after the other, several rounds. Prints one line of JSON per run.
#
#   PEERS_PYTHON=venv/bin/python bench/end_to_end/run.sh [rounds]
#
# PEERS_PYTHON  (or PYTHON) a Python with numpy, pandas, scikit-learn and torch
# DATA          the path of the table, written if missing; default target/end_to_end/big.csv
# WORKERS       worker processes of the DataLoader; default 0
set -euo pipefail
cd "$(dirname "$0")/../.."
here=bench/end_to_end
python=${PEERS_PYTHON:-${PYTHON:-python3}}
out=target/end_to_end
data=${DATA:-$out/big.csv}
threads=$(nproc)
export OMP_NUM_THREADS=$threads
mkdir -p "$out"

[ -f "$data" ] || "$python" "$here/make_csv.py" "$data"
cargo build --release --quiet
# Otherwise the first program would pay for the disk.
cat "$data" > /dev/null

measure() {
    "$python" "$here/measure.py" end_to_end/csv-1m "$1" "$out/$1.log" "${@:2}"
}

for _ in $(seq "${1:-3}"); do
    rm -rf "$out/run"
    measure feedforward target/release/feedforward train "$here/csv.toml" --set "data.path=$data" --out "$out/run"
    measure torch-tensors "$python" "$here/torch_tensors.py" "$data" "$out/tensors.pt"
    measure torch-dataloader "$python" "$here/torch_dataloader.py" "$data" "$out/dataloader.pt" "${WORKERS:-0}"
done
