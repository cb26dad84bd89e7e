#!/usr/bin/env python3
"""RealMLP-TD and TabM-D of pytabkit beside ours, on the same rows, seeds and thread.

    python bench/tables_peers.py FOLDER --bin target/release/feedforward --tables phoneme,abalone [--seeds 0,1] [--models realmlp] [--epochs 64]

FOLDER holds index.json (name, target, task) and NAME.csv.gz. Every fit sees the same training and
validation rows, one file each, and is judged on the same test rows: 80/20, random_state 11, and a fifth
of the training part to choose the epoch on. `realmlp` is RealMLP-TD and our `model.kind = "realmlp"`;
`tabm` is TabM-D (32 members, three layers of 512, relu, dropout 0.1, AdamW at 0.002) and our batch ensemble
with the same settings. `--epochs` shortens both alike. Seconds are CPU seconds of `fit` (pytabkit) and of
`feedforward train` as a process, without the reading of files for
pytabkit, and without permutation importance for ours: on one thread they are what an idle machine takes,
and other work beside them changes them less than the time on the clock. Needs pytabkit, pandas and
scikit-learn.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import train_test_split

OURS = {
    "realmlp": ["model.kind='realmlp'"],
    "tabm": [
        "model.members=32",
        "model.hidden=[512,512,512]",
        "model.dropout=0.1",
        "data.scaling='quantile_normal'",
        "optimizer.kind='adamw'",
        "optimizer.lr=0.002",
        "optimizer.weight_decay=0",
        "train.batch_size=256",
        "train.epochs=1000",
        "train.patience=16",
        "train.monitor='score'",
    ],
}


def split(path, target, regression):
    data = pd.read_csv(path, keep_default_na=False, na_values=[""])
    y = lambda d: None if regression else d[target]
    rest, test = train_test_split(data, test_size=0.2, random_state=11, stratify=y(data))
    train, valid = train_test_split(rest, test_size=0.2, random_state=11, stratify=y(rest))
    return train, valid, test


def judge(regression, truth, predicted, classes=None):
    if regression:
        return {"score": r2_score(truth, predicted)}
    predicted = np.clip(predicted, 1e-7, 1)
    predicted /= predicted.sum(1, keepdims=True)
    hits = np.asarray(classes)[predicted.argmax(1)] == truth.astype(str).to_numpy()
    return {"score": hits.mean(), "log loss": log_loss(truth.astype(str), predicted, labels=classes)}


def peer(model, parts, target, regression, seed, epochs):
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor, TabM_D_Classifier, TabM_D_Regressor

    train, valid, test = parts
    x, y = pd.concat([train, valid]).drop(columns=target), pd.concat([train, valid])[target]
    numbers = x.select_dtypes("number").columns
    fill = train[numbers].median()
    of = lambda d: d.drop(columns=target).fillna(fill).fillna({c: "" for c in d.columns if c not in numbers})
    x, new = of(pd.concat([train, valid])), of(test)
    kinds = {
        "realmlp": (RealMLP_TD_Classifier, RealMLP_TD_Regressor),
        "tabm": (TabM_D_Classifier, TabM_D_Regressor),
    }
    settings = {"random_state": seed, "device": "cpu", "n_threads": 1, "verbosity": 0}
    if epochs:
        settings["n_epochs"] = epochs
    made = kinds[model][regression](**settings)
    y = y.astype(float) if regression else y.astype(str)
    categories = [c for c in x.columns if c not in numbers]
    start = time.process_time()
    made.fit(x, y, val_idxs=np.arange(len(train), len(x)), cat_col_names=categories)
    seconds = time.process_time() - start
    if regression:
        return seconds, judge(True, test[target], made.predict(new))
    classes = [str(c) for c in made.classes_]
    return seconds, judge(False, test[target], made.predict_proba(new), classes)


def of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(program, model, parts, target, regression, seed, epochs, folder):
    names = ["train", "valid", "test"]
    for name, part in zip(names, parts):
        part.to_csv(folder / f"{name}.csv", index=False)
    sets = [
        *OURS[model],
        "evaluate.importance=0",
        f"data.path='{folder}/train.csv'",
        f"data.target='{target}'",
        f"data.split.valid_path='{folder}/valid.csv'",
        f"data.split.test_path='{folder}/test.csv'",
        "train.threads=1",
        f"train.seed={seed}",
        *([f"train.epochs={epochs}"] if epochs else []),
    ]
    (folder / "recipe.toml").write_text("")
    flags = [x for value in sets for x in ("--set", value)]
    out = folder / f"{model}-{seed}"
    start = of_children()
    run = [program, "train", str(folder / "recipe.toml"), *flags, "--out", str(out), "--quiet"]
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL)
    seconds = of_children() - start
    run = [program, "predict", str(out), "--data", str(folder / "test.csv"), "--out", str(folder / "p.csv"), "--quiet"]
    subprocess.run(run + ([] if regression else ["--proba"]), check=True, stdin=subprocess.DEVNULL)
    table = pd.read_csv(folder / "p.csv", keep_default_na=False, na_values=[""])
    if regression:
        return seconds, judge(True, parts[2][target], table["prediction"].astype(float))
    columns = sorted(c for c in table.columns if c.startswith("probability_"))
    classes = [c[len("probability_") :] for c in columns]
    return seconds, judge(False, parts[2][target], table[columns].to_numpy(float), classes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bin", default="feedforward")
    parser.add_argument("--tables", required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--models", default="realmlp,tabm")
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    index = {entry["name"]: entry for entry in json.loads((args.folder / "index.json").read_text())}
    print("| table | model | program | score | log loss | seconds |\n|---|---|---|---|---|---|")
    for table in args.tables.split(","):
        entry = index[table]
        regression = entry["task"] == "regression"
        parts = split(args.folder / f"{table}.csv.gz", entry["target"], regression)
        for model in args.models.split(","):
            times = {}
            for who in ("pytabkit", "ours"):
                found = []
                for seed in map(int, args.seeds.split(",")):
                    common = (model, parts, entry["target"], regression, seed, args.epochs)
                    with tempfile.TemporaryDirectory() as folder:
                        run = peer(*common) if who == "pytabkit" else ours(args.bin, *common, Path(folder))
                    found.append(run)
                times[who] = np.mean([seconds for seconds, _ in found])
                mean = lambda key: np.mean([scores.get(key, np.nan) for _, scores in found])
                spread = np.std([scores["score"] for _, scores in found])
                loss = "" if regression else f"{mean('log loss'):.4f}"
                score = f"{mean('score'):.4f} ± {spread:.4f}"
                print(f"| {table} | {model} | {who} | {score} | {loss} | {times[who]:.1f} |", flush=True)
            print(f"| | | | | | {times['pytabkit'] / times['ours']:.1f} × |", flush=True)


if __name__ == "__main__":
    main()
