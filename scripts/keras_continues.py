"""Trains small networks with the program, exports them for Keras in the middle, and lets Keras go on:
keras_continues.py PROGRAM

For each optimiser the losses of Keras' next 30 steps, all rows in each, are compared with those of the program's
own run of 7 + 30 steps; the table has the largest difference of each. What has no counterpart must be named.
Needs keras 3 with TensorFlow; fails where a loss differs by more than 1e-5."""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf

BEFORE, AFTER, ROWS = 7, 30, 60
PLAIN = [
    "train.bags=", "train.refit=false", "train.temperature=false", "model.members=", "model.dropout=0", "optimizer.ema=",
    "data.split.valid=0", "data.split.test=0", "data.categories.unseen=0", "data.categories.one_hot_max=2",
    "model.hidden=[8, 5]", "model.numeric='linear'", "model.activation='tanh'", "model.double_above=", f"train.batch_size={ROWS}",
]  # fmt: skip
ADAM = "{kind='adam', lr=0.01"
CASES = {
    "adamw": ("number", ["optimizer={kind='adamw', lr=0.01, weight_decay=0.05}"]),
    "adamw, all weights decayed": ("number", ["optimizer={kind='adamw', lr=0.01, groups=[{match='*', weight_decay=0.05}]}"]),
    "adam": ("number", [f"optimizer={ADAM}}}"]),
    "adam, relu": ("number", [f"optimizer={ADAM}}}", "model.activation='relu'"]),
    "adam, amsgrad, eps 1e-3, eps_first": ("number", [f"optimizer={ADAM}, amsgrad=true, eps=1e-3, eps_first=true}}"]),
    "adam, clip_norm": ("class", [f"optimizer={ADAM}, clip_norm=0.05}}", "data.columns.word='drop'"]),
    "adam, layer norm": ("class", [f"optimizer={ADAM}}}", "model.norm='layer'"]),
    "adam, huber": ("number", [f"optimizer={ADAM}}}", "loss.kind='huber'", "loss.delta=0.5"]),
    "adam, label_smoothing": ("class", [f"optimizer={ADAM}}}", "loss.label_smoothing=0.1"]),
    "sgd": ("number", ["optimizer={kind='sgd', lr=0.05}"]),
    "sgd, momentum, clip_value": ("number", ["optimizer={kind='sgd', lr=0.02, momentum=0.9, clip_value=0.3}", "data.columns.word='drop'"]),
    "sgd, nesterov": ("class", ["optimizer={kind='sgd', lr=0.02, momentum=0.9, nesterov=true}"]),
    "rmsprop, eps_first": ("number", ["optimizer={kind='rmsprop', lr=0.003, eps=1e-6, eps_first=true}"]),
    "rmsprop, eps 1e-8": ("number", ["optimizer={kind='rmsprop', lr=0.003}"]),
    "rmsprop, centered, momentum": ("number", ["optimizer={kind='rmsprop', lr=0.003, centered=true, momentum=0.5, eps=1e-6, eps_first=true}"]),
    "adagrad": ("number", ["optimizer={kind='adagrad', lr=0.05, initial_accumulator_value=0.1}"]),
    "lion": ("number", ["optimizer={kind='lion', lr=0.001}"]),
    "adam, two classes by bce": ("pair", [f"optimizer={ADAM}}}", "loss.kind='bce'"]),
}  # fmt: skip
REFUSED = {
    "optimizer.ema": ["optimizer.ema=0.9"],
    "model.members": ["model.members=2"],
    "train.refit": ["train.refit=true", "data.split.valid=0.2"],
    "train.restore_best": ["data.split.valid=0.3", "optimizer={kind='sgd', lr=0.8, momentum=0.9}"],
    "layers.0.norm.weight": ["model.norm='batch'"],
    "muon": ["optimizer={kind='muon'}"],
    "optimizer.l1": ["optimizer={kind='sgd', l2=0.1}"],
    "part of the gradient": ["optimizer={kind='adam', weight_decay=0.1}"],
}


def table(folder: Path) -> tuple[dict, dict]:
    """Writes the tables; gives the columns of numbers and words, and the targets as Keras takes them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).round(3) * [1, 5, 0.1, 1] + [0, 20, 0, 0]
    words = np.array(["red", "green", "blue", "grey"])[rng.integers(0, 4, ROWS)]
    y = (200 + 40 * (np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + (words == "red"))).round(3)
    three = (x[:, 0] + x[:, 3] > 0).astype(int) + (x[:, 1] > 21)
    targets = {"number": y, "class": three, "pair": (three > 0).astype(int)}
    for name, target in targets.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            out = csv.writer(file)
            out.writerow([*"abcd", "word", "y"])
            out.writerows([*row, word, t] for row, word, t in zip(x, words, target))
    columns = {name: tf.constant(x[:, i : i + 1]) for i, name in enumerate("abcd")}
    return {**columns, "word": tf.constant(words[:, None])}, targets


def trained(program: str, folder: Path, target: str, sets: list[str], epochs: int) -> Path:
    """A run of so many steps."""
    run = folder / f"run-{epochs}-{len(list(folder.iterdir()))}"
    task = {"number": "regression", "class": "multiclass", "pair": "binary"}[target]
    words = [program, "train", folder / f"{target}.csv", "--target", "y", "--task", task, "--quiet", "--threads", "1", "--out", run]
    for one in [*PLAIN, *sets, f"train.epochs={epochs}"]:
        words += ["--set", one]
    subprocess.run(words, check=True)
    return run


def exported(program: str, run: Path) -> tuple[str, dict]:
    path = f"{run}.keras"
    words = [program, "export", run, "--to", "keras", "--out", path, "--json"]
    return path, json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["check"]


def main() -> None:
    program = os.path.abspath(sys.argv[1])
    failed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs, targets = table(folder)
        print("| optimiser | largest difference |\n|---|---|")
        for case, (target, sets) in CASES.items():
            path, check = exported(program, trained(program, folder, target, sets, BEFORE))
            assert f"its state after {BEFORE} steps" in check.get("optimizer", ""), (case, check)
            model = keras.saving.load_model(path, safe_mode=True)
            assert int(model.optimizer.iterations) == BEFORE
            for note in check.get("notes", []):
                # What the export says that the caller does.
                if found := re.search(r"exclude_from_weight_decay\(var_names=(.*)\)", note):
                    model.optimizer.exclude_from_weight_decay(var_names=json.loads(found[1]))
            y = targets[target]
            if "label_smoothing" in case:
                y = np.eye(3)[y]
            own = {port.name: inputs[port.name] for port in model.inputs}
            losses = model.fit(own, y, batch_size=ROWS, shuffle=False, epochs=AFTER, verbose=0).history["loss"]
            run = trained(program, folder, target, sets, BEFORE + AFTER)
            lines = (run / "metrics.jsonl").read_text().splitlines()
            own = [json.loads(line)["train_loss"] for line in lines][BEFORE:]
            apart = np.abs(np.array(losses) - own)
            print(f"| {case} | {apart.max():.1e} |", flush=True)
            if not apart.max() < 1e-5:
                failed.append(case)
        for why, sets in REFUSED.items():
            path, check = exported(program, trained(program, folder, "number", sets, BEFORE))
            notes = check.get("notes", [])
            if "optimizer" in check or not any(why in note for note in notes):
                failed.append(f"{why}: {check}")
            assert getattr(keras.saving.load_model(path, safe_mode=True), "optimizer", None) is None
    for case in failed:
        print("failed:", case)
    sys.exit(bool(failed))


main()
