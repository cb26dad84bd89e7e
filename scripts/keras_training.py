"""Writes small models of Keras in the middle of their training, and the losses of Keras' next steps.

python scripts/keras_training.py [FOLDER]    (crates/cli/tests/program/keras_training by default)

Needs keras 3 with TensorFlow. For each optimiser NAME there is NAME.keras, saved after some steps over
all rows of data.csv (numbers) or classes.csv, and in losses.json the loss before each step from there on.
"""

import csv
import json
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras import layers
from keras import optimizers as O

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "crates/cli/tests/program/keras_training")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
BEFORE, AFTER, ROWS = 7, 30, 60
x = rng.normal(size=(ROWS, 4)).astype("float32").round(3)
y = (np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.5).astype("float32").round(3)
label = (x[:, 0] + x[:, 3] > 0).astype(int) + (x[:, 1] > 0.5)
for name, target in (("data.csv", y), ("classes.csv", np.array(["low", "middle", "top"])[label])):
    with open(folder / name, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["a", "b", "c", "d", "y"])
        out.writerows([*(f"{v:g}" for v in row), t if isinstance(t, str) else f"{t:g}"] for row, t in zip(x, target))


def network(classes):
    last = layers.Dense(3, activation="softmax") if classes else layers.Dense(1)
    stack = [keras.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dropout(0.0), layers.Dense(5, activation="tanh"), last]
    return keras.Sequential(stack)


optimizers = {
    "adam": O.Adam(0.01),
    "adam_amsgrad": O.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3, amsgrad=True),
    "adamw": O.AdamW(0.01, weight_decay=0.05, global_clipnorm=0.7),
    "sgd": O.SGD(0.05),
    "momentum": O.SGD(0.02, momentum=0.9, clipvalue=0.3),
    "nesterov": O.SGD(0.02, momentum=0.9, nesterov=True),
    "rmsprop": O.RMSprop(0.003, epsilon=1e-4),
    "rmsprop_centered": O.RMSprop(0.003, momentum=0.5, centered=True),
    "adagrad": O.Adagrad(0.05, epsilon=1e-2),
}
losses = {}
for name, optimizer in optimizers.items():
    classes = name in ("adam_amsgrad", "nesterov")
    keras.utils.set_random_seed(1)
    model = network(classes)
    model.compile(optimizer, "sparse_categorical_crossentropy" if classes else "mse")
    steps = lambda n: model.fit(x, label if classes else y, batch_size=ROWS, shuffle=False, epochs=n, verbose=0).history["loss"]
    steps(BEFORE)
    # Keras numbers layers on from the models before.
    model.save(folder / f"{name}.keras")
    losses[name] = steps(AFTER)
# What has no counterpart: each is named at import.
for name, optimizer in {"lion": O.Lion(0.001), "clipnorm": O.Adam(clipnorm=1.0), "schedule": O.SGD(O.schedules.CosineDecay(0.1, 50))}.items():
    model = network(False)
    model.compile(optimizer, "mse")
    model.fit(x, y, epochs=1, verbose=0)
    model.save(folder / f"{name}.keras")
model = network(False)
model.layers[0].trainable = False
model.compile("adam", "mse")
model.fit(x, y, epochs=1, verbose=0)
model.save(folder / "frozen.keras")
(folder / "losses.json").write_text(json.dumps(losses, indent=1) + "\n")
