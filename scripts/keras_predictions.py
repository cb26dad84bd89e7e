"""Compares Keras on an exported model with `feedforward predict`, on real rows in which every
seventh cell is emptied and every eleventh text is one that training never met:
keras_predictions.py PROGRAM RUN TABLE.csv[.gz]

Opens the file in Keras' safe mode, saves and opens it again with the same predictions, prints the largest
difference of a probability, or of a number in standard deviations, and fails above 1e-5."""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf
from exported import TOLERANCE, difference, export, number, predict, read


def truths(run: Path) -> set[str]:
    """Columns of truth values: one of two, and nothing unseen."""
    text = next(run.rglob("transforms.json")).read_text()
    return {c["name"] for c in json.loads(text)["columns"] if "boolean" in json.dumps(c).lower()}


def main() -> None:
    program, run, table = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows = read(table)
    with tempfile.TemporaryDirectory() as folder:
        path = export(program, run, "keras", folder)
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
        classes = bool(notes["classes"])
        expected = predict(program, run, rows, folder, classes)
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
        # The weights alone bring a changed model back.
        alone = Path(folder) / "alone.weights.h5"
        subprocess.run([program, "export", run, "--to", "keras", "--out", alone], check=True, capture_output=True)
        for weight in model.trainable_weights:
            weight.assign(weight * 0)
        model.load_weights(alone)
        assert np.array_equal(output, model(inputs).numpy())
    apart = difference(output, expected, classes)
    layers = sum(bool(layer.trainable_weights) for layer in model.layers)
    print(f"{table.name}: {len(rows)} rows, {layers} layers with weights, largest difference {apart:.1e}")
    if not apart <= TOLERANCE:
        sys.exit(1)


main()
