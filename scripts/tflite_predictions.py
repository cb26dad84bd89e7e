"""Compares TensorFlow Lite on an exported model with `feedforward predict`, on real rows in which every
seventh cell is emptied and every eleventh category is one that training never met:
tflite_predictions.py PROGRAM RUN TABLE.csv[.gz]

Prints the largest difference of a probability, or of a number in standard deviations, and fails above 1e-5.
Numbers are rounded to single precision first, which the file takes."""

import json
import math
import os
import sys
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from exported import TOLERANCE, difference, export, number, predict, read
from tensorflow.lite.python import schema_py_generated as schema


def notes(content: bytes) -> dict:
    model = schema.Model.GetRootAsModel(content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    entry = next(entry for entry in entries if entry.Name() == b"feedforward")
    return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())


def main() -> None:
    program, run, table = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows = read(table)
    with tempfile.TemporaryDirectory() as folder:
        path = export(program, run, "tflite", folder)
        content = path.read_bytes()
        about = notes(content)
        for i, row in enumerate(rows):
            for j, column in enumerate(about["columns"]):
                name = column["name"]
                if (i + 3 * j) % 7 == 0:
                    row[name] = ""
                elif column["kind"] == "category" and (i + 5 * j) % 11 == 0:
                    row[name] = "-987654321.5"
                elif column["kind"] == "number" and not math.isnan(number(row[name])):
                    row[name] = repr(float(np.float32(row[name])))
        classes = bool(about["classes"])
        expected = predict(program, run, rows, folder, classes)
    inputs = {}
    for column in about["columns"]:
        cells = [row[column["name"]].strip() for row in rows]
        if column["kind"] == "category":
            places = {value: place for place, value in enumerate(column["values"])}
            unseen = len(places)
            values = np.array([-1 if cell == "" else places.get(cell, unseen) for cell in cells], np.int32)
        elif column["kind"] == "boolean":
            yes = column["takes"].split(" for ")[1].split(",")[0].lower()
            values = np.array([math.nan if c == "" else float(c.lower() in (yes, "1", "true")) for c in cells], np.float32)
        else:
            values = np.array([number(cell) for cell in cells], np.float32)
        inputs[column["name"]] = values.reshape(-1, 1)
    interpreter = tf.lite.Interpreter(model_content=content)
    (output,) = interpreter.get_signature_runner()(**inputs).values()
    apart = difference(output, expected, classes)
    print(f"{table.name}: {len(rows)} rows, {apart:.1e}")
    sys.exit(not apart <= TOLERANCE)


if __name__ == "__main__":
    main()
