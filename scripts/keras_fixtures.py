"""Writes small models of Keras, inputs and what Keras predicts for them.

python scripts/keras_fixtures.py [FOLDER]    (crates/interop/tests/keras by default)

Needs keras 3 with TensorFlow. Each NAME has NAME.keras (or .h5) and a line in cases.json: the inputs
in their order, and the outputs.
"""

import json
import os
import pathlib
import sys
import zipfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "crates/interop/tests/keras")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
cases = []


def numbers(*shape):
    return rng.normal(size=shape).astype("float32") * 2


def shake(model):
    """Weights that are not those of a fresh model."""
    for weight in model.weights:
        if weight.dtype == "float32" and "normalization" not in weight.path.split("/")[-2][:13]:
            value = rng.normal(size=weight.shape) * 0.5
            weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)


def case(name, model, *inputs, suffix=".keras", change=True):
    if change:
        shake(model)
    path = folder / f"{name}{suffix}"
    model.save(path)
    names = [tensor.name for tensor in model.inputs]
    given = [tf.constant(x) for x in inputs]
    found = model(given if len(given) > 1 else given[0], training=False)
    found = found if isinstance(found, (list, tuple)) else list(found.values()) if isinstance(found, dict) else [found]
    flat = lambda x: np.asarray(x).reshape(len(x), -1)
    text = lambda x: [[None if v != v else v for v in row] for row in x.tolist()]
    cases.append(
        {
            "file": path.name,
            "inputs": [[n, str(model.inputs[i].dtype), text(flat(inputs[i]))] for i, n in enumerate(names)],
            "outputs": [np.asarray(y, "float64").reshape(len(inputs[0]), -1).tolist() for y in found],
        }
    )


def sequential(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


L = layers
x = numbers(9, 6)
dense = lambda: sequential(
    L.Dense(8, activation="relu"),
    L.BatchNormalization(),
    L.Dropout(0.3),
    L.Dense(5, activation="gelu", use_bias=False),
    L.BatchNormalization(center=False, scale=False, epsilon=1e-2),
    L.Dense(3, activation="softmax"),
)
case("dense", dense(), x)
case("dense_old", dense(), x, suffix=".h5")
case("compiled", (m := dense(), m.compile("adam", "mse"), m.fit(x, numbers(9, 3), epochs=1, verbose=0))[0], x)
names = "linear relu relu6 leaky_relu softmax log_softmax elu selu celu softplus softsign tanh sigmoid exponential mish gelu silu hard_sigmoid hard_silu hard_tanh tanh_shrink hard_shrink soft_shrink log_sigmoid sparse_sigmoid sparse_plus squareplus glu"
given = keras.Input((6,), name="x")
case("activations", keras.Model(given, [L.Activation(name)(given) for name in names.split()]), x)
case(
    "activation_layers",
    keras.Model(
        given,
        [
            L.ReLU()(given),
            L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.5)(given),
            L.LeakyReLU(0.15)(given),
            L.ELU(0.7)(given),
            L.PReLU()(given),
            L.Softmax()(given),
        ],
    ),
    x,
)
case(
    "norms",
    keras.Model(
        given,
        [
            L.LayerNormalization()(given),
            L.LayerNormalization(center=False, epsilon=1e-5)(given),
            L.LayerNormalization(scale=False)(given),
            L.RMSNormalization()(given),
            L.GroupNormalization(3)(given),
            L.GroupNormalization(2, scale=False)(given),
            L.UnitNormalization()(given),
        ],
    ),
    x,
)
a, b = L.Dense(4)(given), L.Dense(4, activation="tanh")(given)
case(
    "merges",
    keras.Model(
        given,
        L.Concatenate()(
            [
                L.Add()([a, b]),
                L.Subtract()([a, b]),
                L.Multiply()([a, b]),
                L.Average()([a, b, a]),
                L.Maximum()([a, b]),
                L.Minimum()([a, b]),
            ]
        ),
    ),
    x,
)
y = L.Reshape((2, 3))(given)
y = L.Permute((2, 1))(y)
y = L.Dense(4, activation="silu")(y)
case(
    "shapes",
    keras.Model(
        given,
        [
            L.Flatten()(y),
            L.GlobalAveragePooling1D()(y),
            L.GlobalMaxPooling1D()(y),
            L.Flatten()(L.RepeatVector(2)(given)),
            L.Reshape((-1, 6))(y),
        ],
    ),
    x,
)
image = keras.Input((2, 3), name="image")
case("rows", keras.Model(image, L.Dense(1)(L.Flatten()(image))), numbers(4, 2, 3))
ids = keras.Input((3,), dtype="int32", name="ids")
case(
    "embedding",
    keras.Model([ids, given], L.Dense(2)(L.Concatenate()([L.Flatten()(L.Embedding(7, 4)(ids)), given]))),
    rng.integers(0, 7, (9, 3)).astype("int32"),
    x,
)
shared = L.Dense(6, activation="tanh")
inner = keras.Sequential([keras.Input((6,)), L.Dense(6, activation="relu"), L.Dense(6)], name="inner")
deep = keras.Model(given, L.Add()([inner(given), given]), name="deep")
case("nested", keras.Model(given, L.Dense(2)(deep(shared(shared(given))))), x)
norm = L.Normalization()
norm.adapt(x * 3 + 1)
case(
    "normalization",
    keras.Model(
        given,
        [
            norm(given),
            L.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[1, 2, 3, 4, 5, 0])(given),
            L.Normalization(mean=1.5, variance=4.0, invert=True)(given),
            L.Rescaling(0.5, offset=-1)(given),
            L.Discretization([-1.0, 0.0, 1.5])(given),
            L.Flatten()(L.Discretization([-1.0, 0.0, 1.5], output_mode="one_hot")(given)),
        ],
    ),
    x,
    change=False,
)
word = keras.Input((1,), dtype="string", name="word")
whole = keras.Input((1,), dtype="int64", name="whole")
learned = L.StringLookup(output_mode="one_hot")
learned.adapt(np.array([["b"], ["a"], ["b"], ["né"]]))
case(
    "lookups",
    keras.Model(
        [word, whole],
        [
            L.StringLookup(vocabulary=["a", "b", "né"])(word),
            L.StringLookup(vocabulary=["a", "b"], mask_token="", output_mode="int")(word),
            L.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(word),
            learned(word),
            L.IntegerLookup(vocabulary=[10, 20, -3])(whole),
            L.IntegerLookup(vocabulary=[10, 20], mask_token=0)(whole),
            L.IntegerLookup(vocabulary=[10, 20], output_mode="count")(whole),
            L.CategoryEncoding(num_tokens=21, output_mode="one_hot")(L.Maximum()([whole, whole * 0])),
        ],
    ),
    np.array([["a"], ["b"], ["né"], [""], ["zz"]]),
    np.array([[10], [20], [-3], [0], [7]]),
    change=False,
)
y = ops.where(ops.logical_or(ops.isnan(given), given > 3.0), np.float32(0.5), ops.minimum(ops.maximum(given, -1.0), 2.0))
z = ops.expand_dims(L.Dense(4)(y), 1)
z = L.EinsumDense("abc,bc->abc", output_shape=(3, 4))(ops.concatenate([z, z, z], axis=1))
z = L.EinsumDense("abc,bcd->abd", output_shape=(3, 2), bias_axes="bd", activation="tanh")(z)
case(
    "operations",
    keras.Model(
        given,
        [
            ops.mean(ops.softmax(z, axis=-1), axis=1),
            ops.take(y, np.array([5, 0, 2]), axis=1),
            ops.sqrt(ops.square(y) + 1.0) / 2.0 - ops.exp(-ops.absolute(y)),
            ops.log1p(ops.square(y)) * np.array([1, 2, 3, 4, 5, 6], "float32"),
            ops.cast(ops.floor(y * 2), "int32"),
            ops.sin(y) + ops.sign(y),
            ops.matmul(y, rng.normal(size=(6, 2)).astype("float32")),
            ops.reshape(ops.transpose(ops.reshape(y, (-1, 2, 3)), (0, 2, 1)), (-1, 6)),
            ops.gelu(y),
            1.0 - ops.sigmoid(y),
        ],
    ),
    np.where(rng.random((9, 6)) < 0.2, np.float32("nan"), x),
)
image, line = keras.Input((7, 6, 4), name="image"), keras.Input((9, 4), name="line")
case(
    "convolutions",
    keras.Model(
        [image, line],
        [
            L.Conv2D(5, 3, activation="relu")(image),
            L.Conv2D(4, (2, 3), strides=2, padding="same", use_bias=False)(image),
            L.Conv2D(6, 3, dilation_rate=2, groups=2)(image),
            L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(image),
            L.SeparableConv2D(3, 2, activation="tanh")(image),
            L.MaxPooling2D(2)(image),
            L.MaxPooling2D(3, strides=2, padding="same")(image),
            L.AveragePooling2D((2, 3), strides=1, padding="same")(image),
            L.ZeroPadding2D(((1, 2), (0, 3)))(image),
            L.Conv1D(5, 3, padding="causal", dilation_rate=2)(line),
            L.Conv1D(3, 4, strides=3)(line),
            L.DepthwiseConv1D(3)(line),
            L.SeparableConv1D(3, 2)(line),
            L.MaxPooling1D(2)(line),
            L.AveragePooling1D(3, strides=2, padding="same")(line),
            L.ZeroPadding1D(2)(line),
        ],
    ),
    numbers(3, 7, 6, 4) / 8,
    numbers(3, 9, 4) / 8,
)
other = keras.Input((5, 3), name="other")
case(
    "attention",
    keras.Model(
        [line, other],
        [
            L.MultiHeadAttention(2, 3)(line, line),
            L.MultiHeadAttention(3, 4, value_dim=2, use_bias=False, output_shape=6, dropout=0.1)(line, other),
            L.MultiHeadAttention(1, 5)(line, other, other),
        ],
    ),
    numbers(3, 9, 4) / 8,
    numbers(3, 5, 3) / 8,
)
seq = lambda: sequential(L.Conv1D(3, 2), L.MaxPooling1D(2), L.Flatten(), L.Dense(2), shape=(9, 4))
case("convolutions_old", seq(), numbers(3, 9, 4) / 8, suffix=".h5")
(folder / "cases.json").write_text(json.dumps(cases) + "\n")


def forms(name, **options):
    """Arrays and attributes of every form that is read."""
    counted = np.arange(42).reshape(6, 7)
    with h5py.File(folder / name, "w", **options) as file:
        file["plain"] = counted.astype("float32")
        file.create_dataset("chunks", data=counted.astype("float64"), chunks=(4, 3))
        file.create_dataset("deep/deflated", data=counted.astype("float32"), chunks=(2, 7), compression="gzip", shuffle=True)
        file.create_dataset("checked", data=counted.astype("int16"), chunks=(5, 5), fletcher32=True)
        file["big"] = counted.astype(">f4")
        file["half"] = counted.astype("float16")
        file["long"] = counted.astype("int64")
        file["truth"] = np.array([True, False])
        file["scalar"] = np.float32(1)
        file["empty"] = np.zeros((0, 3))
        file["words"] = ["a", "né", ""]
        file.attrs["words"] = ["a", "né", ""]
        file.attrs["fixed"] = np.array(["abc", "d"], dtype="S4")


forms("forms.hdf5")
forms("forms_18.hdf5", libver=("v108", "v108"))
with h5py.File(folder / "soft.hdf5", "w") as file:
    file["real"] = np.zeros(2)
    file["soft"] = h5py.SoftLink("/real")
with h5py.File(folder / "external_link.hdf5", "w") as file:
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
with h5py.File(folder / "external.hdf5", "w") as file:
    file.create_dataset("outside", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])
with h5py.File(folder / "virtual.hdf5", "w") as file:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    file.create_virtual_dataset("view", layout)


def hostile(name, module, kind, **options):
    """A model whose only layer is code."""
    layer = lambda module, kind, **options: {
        "module": module, "class_name": kind, "config": {"name": kind.lower(), **options}, "registered_name": None
    }
    given = layer("keras.layers", "InputLayer", batch_shape=[None, 2], dtype="float32")
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [given, layer(module, kind, **options)]}}
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(zipfile.ZipInfo("config.json"), json.dumps(config))


# Layers, whole and apart from their weights, which lie in several files.
whole = sequential(L.Dense(8, activation="relu"), L.Dense(5, activation="relu"), L.Dense(3, activation="softmax"))
shake(whole)
whole.save(folder / "shards.keras")
(folder / "shards.json").write_text(whole.to_json())
whole.save_weights(folder / "shards.weights.json", max_shard_size=2e-7)
hostile("lambda.keras", "keras.layers", "Lambda", function={"class_name": "__lambda__", "config": {"code": "4wE="}})
hostile("module.keras", "os", "system", command="true")
print(f"{len(cases)} models, {sum(f.stat().st_size for f in folder.iterdir()):,} bytes")
