#!/usr/bin/env python3
"""Compares settings of the default network on the training parts of tables: no test row is read.

    tables_settings.py FOLDER TABLES SETTINGS [--bin FEEDFORWARD] [--quality good] [--seeds 0,1] [--threads 1]

FOLDER holds index.json (name, target, task) and NAME.csv.gz; TABLES is `all` or names with commas between; SETTINGS are
alternatives with `|` between, each of KEY=VALUE with spaces between, the empty one being the quality itself. Of each
table 80 % (random_state 11, stratified for classes) is the training part; whole runs are fitted on 80 % of that
(random_state 5) and scored on its other 20 %. Prints accuracy and log loss, or R², CPU seconds and epochs, and for
several seeds the scores of their mean prediction too. With --peers, LightGBM and HistGradientBoosting at their defaults.
"""
import argparse, json, os, shutil, subprocess, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

P = argparse.ArgumentParser()
P.add_argument("folder", type=Path)
P.add_argument("tables")
P.add_argument("settings", nargs="?", default="")
P.add_argument("--bin", default="feedforward")
P.add_argument("--quality", default="good")
P.add_argument("--seeds", default="0")
P.add_argument("--threads", default="1")
P.add_argument("--peers", action="store_true")
A = P.parse_args()
INDEX = {i["name"]: i for i in json.loads((A.folder / "index.json").read_text())}
READ = dict(keep_default_na=False, na_values=[""])


def parts(name):
    """The rows to fit and the rows to score."""
    i = INDEX[name]
    table = pd.read_csv(A.folder / f"{name}.csv.gz", **READ)
    for seed in (11, 5):
        y = None if i["task"] == "regression" else table[i["target"]]
        table, rest = train_test_split(table, test_size=0.2, random_state=seed, stratify=y)
    return table, rest


def score(task, truth, table):
    if task == "regression":
        return {"score": r2_score(truth.astype(float), table["prediction"].astype(float))}
    columns = [c for c in table if c.startswith("probability_")]
    names = np.array([c[len("probability_"):] for c in columns])
    p = np.clip(table[columns].to_numpy(float), 1e-7, 1)
    p /= p.sum(1, keepdims=True)
    at = {name: k for k, name in enumerate(names)}
    k = np.array([at[t] for t in truth])
    return {"score": (names[p.argmax(1)] == truth).mean(), "log_loss": -np.log(p[np.arange(len(k)), k]).mean()}


def run(name, sets, seed, folder):
    i = INDEX[name]
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [A.bin, "train", folder / "train.csv", "--target", i["target"], "--out", out, "--seed", seed, "--json"]
    command += ["--threads", A.threads, "--quality", A.quality, "--quiet"] + [x for s in sets for x in ("--set", s)]
    before = os.times().children_user
    trained = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    cpu = os.times().children_user - before
    command = [A.bin, "predict", out, "--data", folder / "rest.csv", "--out", out / "p.csv", "--quiet"]
    subprocess.run(command + ([] if i["task"] == "regression" else ["--proba"]), check=True)
    table = pd.read_csv(out / "p.csv", **READ)
    truth = pd.read_csv(folder / "rest.csv", dtype=str, **READ)[i["target"]].to_numpy()
    return dict(cpu=cpu, epochs=trained["epochs"], **score(i["task"], truth, table)), table, truth


def mean(tables):
    columns = [c for c in tables[0] if c.startswith("probability_")] or ["prediction"]
    return tables[0].assign(**{c: sum(t[c].astype(float) for t in tables) / len(tables) for c in columns})


def peers(name, train, rest):
    import lightgbm
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    i = INDEX[name]
    reg, target = i["task"] == "regression", i["target"]
    x = pd.concat([train, rest]).drop(columns=[target])
    for column in x.select_dtypes(["object", "string"]):
        x[column] = x[column].astype("category")
    fit, new = x.iloc[: len(train)], x.iloc[len(train):]
    light = lightgbm.LGBMRegressor if reg else lightgbm.LGBMClassifier
    hist = HistGradientBoostingRegressor if reg else HistGradientBoostingClassifier
    for label, model in (("LightGBM", light(verbose=-1, n_jobs=1)), ("HistGB", hist(categorical_features="from_dtype"))):
        y = train[target] if reg else train[target].astype(str)
        try:
            start = time.time()
            model.fit(fit, y)
        except ValueError as error:  # HistGB takes 255 categories at most
            print(f"{name:10} {label}: {str(error)[:80]}")
            continue
        if reg:
            table = pd.DataFrame({"prediction": model.predict(new)})
        else:
            table = pd.DataFrame(model.predict_proba(new), columns=[f"probability_{c}" for c in model.classes_])
        show(name, label, dict(cpu=time.time() - start, epochs=0, **score(i["task"], rest[target].astype(str).to_numpy(), table)))


def show(name, label, r):
    loss = f"{r['log_loss']:.4f}" if "log_loss" in r else ""
    print(f"{name:10} {label:60} {r['score']:.4f} {loss:6} cpu {r.get('cpu', 0):.1f} epochs {r.get('epochs', 0):.0f}", flush=True)


for name in INDEX if A.tables == "all" else A.tables.split(","):
    train, rest = parts(name)
    if A.peers:
        peers(name, train, rest)
        continue
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train.to_csv(folder / "train.csv", index=False)
        rest.to_csv(folder / "rest.csv", index=False)
        for setting in A.settings.split("|"):
            sets = setting.split()
            rows = [run(name, sets, seed, folder) for seed in A.seeds.split(",")]
            label = setting.strip() or A.quality
            show(name, label, {k: np.mean([r[0][k] for r in rows]) for k in rows[0][0]})
            if len(rows) > 1:
                show(name, f"  mean of {len(rows)} seeds", score(INDEX[name]["task"], rows[0][2], mean([r[1] for r in rows])))
