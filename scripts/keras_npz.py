"""Saves a model of Keras with its weights as .npz, on each of Keras' engines.

python scripts/keras_npz.py [FOLDER]    (crates/interop/tests/keras by default)

Needs keras 3 with TensorFlow, JAX and PyTorch. From compiled.keras it makes npz_ENGINE.keras, and npz.weights.npz
of TensorFlow's. Prints what Keras itself says when it opens them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ENGINES = ["tensorflow", "jax", "torch"]


def save(folder: Path, engine: str) -> None:
    import keras
    from keras.src.saving import saving_lib

    path = folder / f"npz_{engine}.keras"
    saving_lib.save_model(keras.saving.load_model(folder / "compiled.keras"), path, weights_format="npz")
    try:
        keras.saving.load_model(path)
        print(f"{engine}: Keras {keras.__version__} opens it")
    except ValueError as error:
        print(f"{engine}: Keras {keras.__version__}: {error}")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "crates/interop/tests/keras")
    if len(sys.argv) > 2:
        save(folder, sys.argv[2])
        return
    for engine in ENGINES:
        variables = {**os.environ, "KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, __file__, folder, engine], check=True, env=variables)
    with zipfile.ZipFile(folder / "npz_tensorflow.keras") as archive:
        (folder / "npz.weights.npz").write_bytes(archive.read("model.weights.npz"))


main()
