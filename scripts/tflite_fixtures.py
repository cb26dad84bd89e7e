"""Writes small models of TensorFlow Lite, inputs and what its interpreter computes.

python scripts/tflite_fixtures.py [FOLDER]    (crates/interop/tests/tflite by default)

Needs keras 3 with TensorFlow. Each NAME.tflite has an entry in cases.json: the inputs by name with their shapes, and the outputs.
"""

import json
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "crates/interop/tests/tflite")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
cases = []


def numbers(*shape):
    return rng.normal(size=shape).astype("float32")


def case(name, model, inputs, **options):
    """Converts a model of Keras, or a function of named inputs; the first dimension of each is open."""
    if isinstance(model, keras.Model):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    else:
        signature = {k: tf.TensorSpec((None, *x.shape[1:]), x.dtype, name=k) for k, x in inputs.items()}
        module = tf.Module()
        module.run = tf.function(lambda **given: model(given))
        concrete = module.run.get_concrete_function(**signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    for key, value in options.items():
        setattr(converter, key, value)
    content = converter.convert()
    (folder / f"{name}.tflite").write_bytes(content)
    interpreter = tf.lite.Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    found = runner(**inputs)
    flat = lambda x: np.asarray(x, "float64").ravel().tolist()
    cases.append(
        {
            "file": f"{name}.tflite",
            "inputs": {k: [list(x.shape), flat(x)] for k, x in inputs.items()},
            "outputs": {k: [list(x.shape), flat(x)] for k, x in found.items()},
        }
    )


def stack(*layers, shape):
    model = keras.Sequential([keras.Input(shape, name="x"), *layers])
    for weight in model.weights:
        value = rng.normal(size=weight.shape) * 0.3
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


dense = lambda: stack(L.Dense(40, activation="relu"), L.BatchNormalization(), L.Dense(40, activation="tanh"), L.LayerNormalization(), L.Dense(3, activation="softmax"), shape=(6,))
rows = {"x": numbers(5, 6)}
case("dense", dense(), rows)
case("half", dense(), rows, optimizations=[tf.lite.Optimize.DEFAULT], target_spec=tf.lite.TargetSpec(supported_types=[tf.float16]))
image = stack(
    L.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    L.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=1),
    L.MaxPooling2D(2, padding="same"),
    L.Conv2D(6, (1, 2), activation="relu6"),
    L.AveragePooling2D(2, strides=1, padding="same"),
    L.GlobalAveragePooling2D(),
    L.Dense(2),
    shape=(11, 13, 3),
)
case("image", image, {"x": numbers(2, 11, 13, 3) / 4})


def operations(given):
    a, b = given["a"], given["b"]
    t = tf.reshape(a, (-1, 3, 4))
    parts = tf.unstack(t, axis=1)
    low, high = tf.split(b, 2, axis=1)
    return {
        "sums": tf.concat([a + 1.0, b * a, a - b, a / (tf.abs(b) + 1.0), tf.maximum(a, b), tf.minimum(a, 0.5)], axis=1),
        "curves": tf.concat([tf.nn.elu(a), tf.nn.leaky_relu(a, 0.3), tf.nn.gelu(a), tf.nn.gelu(b, True), tf.sigmoid(a), tf.exp(a), tf.nn.log_softmax(a), tf.math.rsqrt(tf.abs(a) + 0.1), tf.square(b), tf.sin(a), tf.cos(b), tf.math.squared_difference(a, b)], axis=1),
        "reduced": tf.stack([tf.reduce_mean(a, 1), tf.reduce_sum(b, 1), tf.reduce_max(a, 1), tf.reduce_min(b, -1)], axis=1),
        "moved": tf.transpose(t, (0, 2, 1))[:, 1:4, ::-1],
        "parts": tf.concat([parts[2], parts[0], low[:, :2], high], axis=1),
        "first": t[:, 0, -1],
        "chosen": tf.where(a > b, a, b) + tf.cast(a < 0.0, tf.float32),
        "matrices": tf.matmul(t, t, transpose_b=True),
        "padded": tf.pad(a, [[0, 0], [1, 2]]) * 2.0,
        "rows": tf.gather(tf.constant(numbers(7, 2)), tf.argmax(t, axis=2)),
        "wide": tf.tile(a[:, :2], [1, 3]),
    }


case("operations", operations, {"a": numbers(3, 12), "b": numbers(3, 12)})
(folder / "cases.json").write_text(json.dumps(cases) + "\n")
print(f"{len(cases)} models, {sum(f.stat().st_size for f in folder.iterdir()):,} bytes")

# Variables of a SavedModel: index and data alone.
kept = tf.Module()
kept.steps = tf.Variable(7, dtype=tf.int64)
kept.layers = [tf.Variable(numbers(3, 4)), tf.Variable(numbers(4).astype("float16")), tf.Variable([True, False])]
tf.saved_model.save(kept, str(folder / "saved"))
for path in sorted((folder / "saved").rglob("*"), reverse=True):
    if path.is_file() and path.parent.name != "variables":
        path.unlink()
    elif path.is_dir() and not any(path.iterdir()):
        path.rmdir()
expected = {"steps": [[], [7]]}
for i, variable in enumerate(kept.layers):
    expected[f"layers/{i}"] = [list(variable.shape), np.asarray(variable, "float64").ravel().tolist()]
(folder / "saved.json").write_text(json.dumps(expected) + "\n")
