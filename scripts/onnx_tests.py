"""Writes the tests of the package onnx to a folder, for crates/interop/examples/standard_tests.rs:
onnx_tests.py FOLDER [KIND…], the kinds node, simple, pytorch-operator and pytorch-converted by default.

    python scripts/onnx_tests.py target/onnx-tests
    cargo run --release -p ff-interop --example standard_tests target/onnx-tests crates/interop/tests/standard_tests.txt
"""

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

warnings.simplefilter("ignore")
FLOOR = 1500  # A loader that finds nothing is an error, too.


def serialised(value) -> bytes:
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    if isinstance(value, (np.ndarray, np.generic)):
        return numpy_helper.from_array(np.asarray(value)).SerializeToString()
    return b"a sequence, an option or a sparse tensor"


def main() -> None:
    folder, kinds = Path(sys.argv[1]), sys.argv[2:] or ["node", "simple", "pytorch-operator", "pytorch-converted"]
    shutil.rmtree(folder, ignore_errors=True)
    written = 0
    for kind in kinds:
        for case in load_model_tests(kind=kind):
            path = folder / case.name
            if case.model_dir and (Path(case.model_dir) / "model.onnx").is_file():
                path.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(case.model_dir) / "model.onnx", path)
                for data in sorted((Path(case.model_dir) / "test_data_set_0").glob("*.pb")):
                    shutil.copy(data, path)
            elif case.model is not None:
                path.mkdir(parents=True, exist_ok=True)
                (path / "model.onnx").write_bytes(case.model.SerializeToString())
                inputs, outputs = case.data_sets[0]
                for name, values in (("input", inputs), ("output", outputs)):
                    for i, value in enumerate(values):
                        (path / f"{name}_{i}.pb").write_bytes(serialised(value))
            else:
                continue
            (path / "tolerance").write_text(f"{case.rtol} {case.atol}")
            written += 1
    print(f"{written} tests in {folder}")
    if kinds[0] == "node" and written < FLOOR:
        sys.exit(f"fewer than {FLOOR} tests were found")


main()
