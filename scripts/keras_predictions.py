"""Compares Keras on an exported model with `feedforward predict`, on real rows in which every
seventh cell is emptied and every eleventh text is one that training never met:
keras_predictions.py PROGRAM RUN TABLE.csv[.gz]

Opens the file in Keras' safe mode, saves and opens it again with the same predictions, prints the largest
difference of a probability, or of a number in standard deviations, and fails above 1e-5."""

import csv
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime, timezone
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf

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


def truths(run: Path) -> set[str]:
    """Columns of truth values: one of two, and nothing unseen."""
    text = next(run.rglob("transforms.json")).read_text()
    return {c["name"] for c in json.loads(text)["columns"] if "boolean" in json.dumps(c).lower()}


def main() -> None:
    program, run, table = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    opener = gzip.open if table.suffix == ".gz" else open
    with opener(table, "rt", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))[:5000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        subprocess.run([program, "export", run, "--to", "keras", "--out", path, "--quiet"], check=True)
        model = keras.saving.load_model(path, safe_mode=True)
        assert model.trainable_weights
        notes = json.loads(zipfile.ZipFile(path).read("metadata.json"))["feedforward"]
        fixed = truths(run)
        for i, row in enumerate(rows):
            for j, port in enumerate(model.inputs):
                if (i + 3 * j) % 7 == 0:
                    row[port.name] = ""
                elif port.dtype == "string" and port.name not in fixed and (i + 5 * j) % 11 == 0:
                    row[port.name] = "a value of no training row"
        changed, predicted = Path(folder) / "rows.csv", Path(folder) / "predicted.csv"
        with open(changed, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        classes = notes["classes"]
        proba = ["--proba"] if classes else []
        subprocess.run([program, "predict", run, "--data", changed, "--out", predicted, "--quiet", *proba], check=True)
        with open(predicted, newline="") as file:
            expected = list(csv.DictReader(file))
        inputs = {}
        for port in model.inputs:
            cells = [row[port.name].strip() for row in rows]
            if port.dtype != "string":
                cells = np.array([number(cell) for cell in cells], np.float64)
            inputs[port.name] = tf.reshape(tf.constant(cells), (-1, 1))
        output = model(inputs).numpy()
        again = Path(folder) / "again.keras"
        model.save(again)
        second = keras.saving.load_model(again, safe_mode=True)(inputs).numpy()
        assert np.array_equal(output, second)
    if classes:
        wanted = np.array([[float(row[f"probability_{name}"]) for name in classes] for row in expected])
        difference = np.abs(output - wanted).max()
    else:
        wanted = np.array([float(row["prediction"]) for row in expected])
        difference = np.abs(output[:, 0] - wanted).max() / max(wanted.std(), 1e-300)
    layers = sum(bool(layer.trainable_weights) for layer in model.layers)
    print(f"{table.name}: {len(rows)} rows, {layers} layers with weights, largest difference {difference:.1e}")
    if not difference <= TOLERANCE:
        sys.exit(1)


main()
