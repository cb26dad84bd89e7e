"""Compares ONNX Runtime on an exported model with `feedforward predict`, on real rows in which every
seventh cell is emptied and every eleventh text is one that training never met:
onnx_predictions.py PROGRAM RUN TABLE.csv[.gz]

Checks the file with onnx.checker in full, prints the largest difference of a probability, or of a
number in standard deviations, and fails above 1e-5."""

import csv
import gzip
import math
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

TOLERANCE = 1e-5


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return math.nan


def main() -> None:
    program, run, table = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    opener = gzip.open if table.suffix == ".gz" else open
    with opener(table, "rt", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))[:5000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        subprocess.run([program, "export", run, "--to", "onnx", "--out", path, "--quiet"], check=True)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        kinds = {port.name: port.type.tensor_type.elem_type for port in model.graph.input}
        text = onnx.TensorProto.STRING
        for i, row in enumerate(rows):
            for j, (name, kind) in enumerate(kinds.items()):
                # A truth value is one of two, and nothing unseen.
                free = kind == text and "` or `" not in next(p.doc_string for p in model.graph.input if p.name == name)
                if (i + 3 * j) % 7 == 0:
                    row[name] = ""
                elif free and (i + 5 * j) % 11 == 0:
                    row[name] = "a value of no training row"
        changed, predicted = Path(folder) / "rows.csv", Path(folder) / "predicted.csv"
        with open(changed, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        classes = any(port.name == "probabilities" for port in model.graph.output)
        proba = ["--proba"] if classes else []
        subprocess.run([program, "predict", run, "--data", changed, "--out", predicted, "--quiet", *proba], check=True)
        with open(predicted, newline="") as file:
            expected = list(csv.DictReader(file))
        feeds = {}
        for name, kind in kinds.items():
            cells = [row[name].strip() for row in rows]
            values = np.array(cells, object) if kind == text else np.array([number(c) for c in cells], np.float64)
            feeds[name] = values.reshape(-1, 1)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    if classes:
        names = [name for name in expected[0] if name.startswith("probability_")]
        wanted = np.array([[float(row[name]) for name in names] for row in expected])
        difference = np.abs(outputs["probabilities"] - wanted).max()
        ties = np.sort(wanted, axis=1)
        sure = ties[:, -1] - ties[:, -2] > TOLERANCE
        wrong = [row["prediction"] != str(label) for row, label in zip(expected, outputs["label"])]
        labels = int((np.array(wrong) & sure).sum())
    else:
        wanted = np.array([float(row["prediction"]) for row in expected])
        difference = np.abs(outputs["prediction"][:, 0] - wanted).max() / max(wanted.std(), 1e-300)
        labels = 0
    print(f"{table.name}: {len(rows)} rows, largest difference {difference:.1e}, {labels} other labels")
    if not difference <= TOLERANCE or labels:
        sys.exit(1)


main()
