#!/usr/bin/env python3
"""Compares settings of the default network on the training parts of tables: no test row is read.

    tables_settings.py FOLDER TABLES SETTINGS [--bin FEEDFORWARD] [--quality good] [--seeds 0,1] [--threads 1]

FOLDER holds index.json (name, target, task) and NAME.csv.gz; TABLES is `all` or names with commas between; SETTINGS are
alternatives with `|` between, each of KEY=VALUE with spaces between, the empty one being the quality itself. Of each
table 80 % (random_state 11, stratified for classes) is the training part; whole runs are fitted on 80 % of that
(random_state 5) and scored on its other 20 %. Prints accuracy and log loss, or R², CPU seconds and epochs, and for
several seeds the scores of their mean prediction too. With --peers, LightGBM and HistGradientBoosting at their defaults.
With --together also the score of the mean prediction of all settings (their first seed).
With --statistics each category also gets columns of its target's mean, over earlier rows of a random order in the rows
to fit and over all of these in the others (CatBoost's ordered statistics).
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
P.add_argument("--together", action="store_true")
P.add_argument("--statistics", action="store_true")
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


def with_statistics(name, train, rest):
    """Both tables with (Σ y + prior) / (n + 1) of each category, for a number or each class but the first."""
    i = INDEX[name]
    target, order = i["target"], np.random.default_rng(0).permutation(len(train))
    if i["task"] == "regression":
        aims = {"mean": train[target].astype(float)}
    else:
        aims = {c: (train[target] == c).astype(float) for c in sorted(train[target].unique())[1:]}
    train, rest, source = train.copy(), rest.copy(), train
    for column in source.drop(columns=target):
        if pd.api.types.is_numeric_dtype(source[column]):
            continue
        keys = source[column].astype(object).fillna("")
        for aim, y in aims.items():
            prior = y.mean()
            y, k = y.iloc[order], keys.iloc[order]
            groups = y.groupby(k)
            earlier = (groups.cumsum() - y + prior) / (groups.cumcount() + 1)
            every = (groups.sum() + prior) / (groups.count() + 1)
            label = f"{column} of {aim}"
            train[label] = earlier.reindex(source.index)
            rest[label] = rest[column].astype(object).fillna("").map(every).fillna(prior)
    return train, rest


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
    if A.statistics:
        train, rest = with_statistics(name, train, rest)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train.to_csv(folder / "train.csv", index=False)
        rest.to_csv(folder / "rest.csv", index=False)
        every = []
        for setting in A.settings.split("|"):
            sets = setting.split()
            rows = [run(name, sets, seed, folder) for seed in A.seeds.split(",")]
            every.append(rows[0])
            label = setting.strip() or A.quality
            show(name, label, {k: np.mean([r[0][k] for r in rows]) for k in rows[0][0]})
            if len(rows) > 1:
                show(name, f"  mean of {len(rows)} seeds", score(INDEX[name]["task"], rows[0][2], mean([r[1] for r in rows])))
        if A.together:
            show(name, "  mean of all settings", score(INDEX[name]["task"], every[0][2], mean([e[1] for e in every])))
