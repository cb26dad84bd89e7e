"""Compares ONNX Runtime on an exported model with `feedforward predict`, on real rows in which every
seventh cell is emptied and every eleventh text is one that training never met:
onnx_predictions.py PROGRAM RUN TABLE.csv[.gz]

Checks the file with onnx.checker in full, prints the largest difference of a probability, or of a
number in standard deviations, and fails above 1e-5."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from exported import TOLERANCE, difference, export, number, predict, probabilities, read


def main() -> None:
    program, run, table = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows = read(table)
    with tempfile.TemporaryDirectory() as folder:
        path = export(program, run, "onnx", folder)
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
        classes = any(port.name == "probabilities" for port in model.graph.output)
        expected = predict(program, run, rows, folder, classes)
        feeds = {}
        for name, kind in kinds.items():
            cells = [row[name].strip() for row in rows]
            values = np.array(cells, object) if kind == text else np.array([number(c) for c in cells], np.float64)
            feeds[name] = values.reshape(-1, 1)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    apart = difference(outputs["probabilities" if classes else "prediction"], expected, classes)
    labels = 0
    if classes:
        ties = np.sort(probabilities(expected), axis=1)
        sure = ties[:, -1] - ties[:, -2] > TOLERANCE
        wrong = [row["prediction"] != str(label) for row, label in zip(expected, outputs["label"])]
        labels = int((np.array(wrong) & sure).sum())
    print(f"{table.name}: {len(rows)} rows, largest difference {apart:.1e}, {labels} other labels")
    if not apart <= TOLERANCE or labels:
        sys.exit(1)


main()
