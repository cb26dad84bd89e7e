"""Temperature, intervals and sets, and bags on tables: the figures of docs/tables.md.

    python bench/tables_calibration.py FOLDER PROGRAM TABLE… [--bags]

FOLDER holds `index.json` (name, target, task) and `NAME.csv.gz`. Of each table the training part (80 %,
`random_state` 11) is used alone, of large ones 12,000 rows. Printed are, as means over three folds, the
log loss without and with a temperature; of one run, the coverage on its test part (15 %) and the mean
width or size at each level; with --bags, the scores of that run beside those of five networks.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

MOST = 12_000


def run(program, table, target, *rest):
    command = [program, "train", table, "--target", target, "--seed", "0", "--threads", "1"]
    done = subprocess.run(
        [str(word) for word in [*command, "--json", "--quiet", *rest]],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("program")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--bags", action="store_true")
    options = parser.parse_args()
    index = {entry["name"]: entry for entry in json.loads((options.folder / "index.json").read_text())}
    place = Path(tempfile.mkdtemp())
    for name in options.tables:
        entry = index[name]
        target, numbers = entry["target"], entry["task"] == "regression"
        data = pd.read_csv(options.folder / f"{name}.csv.gz", keep_default_na=False, na_values=[""])
        stratify = None if numbers else data[target]
        part, _ = train_test_split(data, test_size=0.2, random_state=11, stratify=stratify)
        if len(part) > MOST:
            part = part.sample(MOST, random_state=0)
        path = place / f"{name}.csv"
        part.to_csv(path, index=False)
        parts = [f"{name} · {len(part)} rows"]
        if not numbers:
            losses = [
                run(options.program, path, target, "--folds", 3, "--set", f"train.temperature={on}")
                for on in ("false", "true")
            ]
            losses = [f"{found['mean']['log_loss']:.4f}" for found in losses]
            parts.append(f"log loss {losses[0]} → {losses[1]}")
        one = run(options.program, path, target, "--out", place / f"{name}-one")
        for level in one.get("coverage", []):
            parts.append(f"{level['level']}: {level['coverage']:.3f} · {level['size']:.4g}")
        if options.bags:
            five = run(options.program, path, target, "--out", place / f"{name}-five", "--set", "train.bags=5", "--set", "train.refit=false")
            for metric in ["r2"] if numbers else ["accuracy", "log_loss"]:
                pair = [f"{found['metrics']['test'][metric]:.4f}" for found in (one, five)]
                parts.append(f"{metric} {pair[0]} → {pair[1]}")
            for level in five.get("coverage", []):
                parts.append(f"bags {level['level']}: {level['coverage']:.3f} · {level['size']:.4g}")
            parts.append(f"{one['seconds']:.0f} s → {five['seconds']:.0f} s")
        print(" | ".join(parts), flush=True)


main()
