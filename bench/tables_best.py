#!/usr/bin/env python3
"""Ours at each `--quality` beside CatBoost, LightGBM, their mean, and AutoGluon, on held-out rows.

    tables_best.py FOLDER TABLES WHO [--bin FEEDFORWARD] [--seeds 0] [--seconds 60] [--results FILE]
    tables_best.py FOLDER --ranks FILE [--of best,autogluon,…]

FOLDER holds index.json (name, target, task), NAME.csv.gz and peers.json; TABLES is `all` or names with commas between.
WHO is any of fast, good, best (ours), catboost, lightgbm, catboost+lightgbm (the mean of both at their
defaults) and autogluon (the preset best_quality for `--seconds` CPU seconds, or for those of `best` in FILE if
these are more). Every fit sees the same 80 % of the rows (random_state 11, stratified for classes), has one
thread, and is judged on the others by accuracy and log loss, or R². Seconds are CPU seconds of one fit. FILE
collects the results, from which `--ranks` prints mean ranks.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

READ = {"keep_default_na": False, "na_values": [""]}


def seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def judge(regression, truth, predicted, classes):
    if regression:
        return {"score": r2_score(truth.astype(float), predicted)}
    p = np.clip(predicted, 1e-7, 1)
    p = p / p.sum(1, keepdims=True)
    at = {name: k for k, name in enumerate(classes)}
    k = np.array([at[t] for t in truth.astype(str)])
    return {"score": float((p.argmax(1) == k).mean()), "log_loss": float(-np.log(p[np.arange(len(k)), k]).mean())}


def ours(quality, train, test, target, regression, args, seed):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train.to_csv(folder / "train.csv", index=False)
        test.drop(columns=target).to_csv(folder / "test.csv", index=False)
        run = [args.bin, "train", folder / "train.csv", "--target", target, "--quality", quality, "--threads", "1"]
        run += ["--seed", str(seed), "--out", folder / "run", "--quiet"]
        start = seconds()
        subprocess.run(run, check=True, stdin=subprocess.DEVNULL)
        took = seconds() - start
        run = [args.bin, "predict", folder / "run", "--data", folder / "test.csv", "--out", folder / "p.csv", "--quiet"]
        subprocess.run(run + ([] if regression else ["--proba"]), check=True, stdin=subprocess.DEVNULL)
        table = pd.read_csv(folder / "p.csv", **READ)
    if regression:
        return took, table["prediction"].astype(float).to_numpy(), None
    columns = [c for c in table if c.startswith("probability_")]
    return took, table[columns].to_numpy(float), [c[len("probability_") :] for c in columns]


def trees(library, train, test, target, regression, seed):
    from catboost import CatBoostClassifier, CatBoostRegressor
    from lightgbm import LGBMClassifier, LGBMRegressor

    x = pd.concat([train, test]).drop(columns=target)
    names = [c for c in x if not pd.api.types.is_numeric_dtype(x[c])]
    if library == "catboost":
        x[names] = x[names].astype(object).fillna("").astype(str)
        kind = CatBoostRegressor if regression else CatBoostClassifier
        model = kind(thread_count=1, random_seed=seed, verbose=False, cat_features=names, allow_writing_files=False)
    else:
        x[names] = x[names].astype("category")
        x.columns = [f"c{i}" for i in range(x.shape[1])]
        kind = LGBMRegressor if regression else LGBMClassifier
        model = kind(n_jobs=1, random_state=seed, verbose=-1)
    y = train[target].astype(float) if regression else train[target].astype(str)
    start = seconds()
    model.fit(x.iloc[: len(train)], y)
    took, new = seconds() - start, x.iloc[len(train) :]
    return (took, model.predict(new), None) if regression else (took, model.predict_proba(new), list(model.classes_))


def autogluon(train, test, target, regression, args, least):
    import time

    # AutoGluon keeps to a time by the clock, which other work beside it would shorten.
    began, time.time = time.time(), lambda: began + time.process_time()
    from autogluon.tabular import TabularPredictor

    if not regression:
        train = train.assign(**{target: train[target].astype(str)})
    metric = "r2" if regression else "log_loss"
    with tempfile.TemporaryDirectory() as folder:
        start = seconds()
        # `dynamic_stacking` would fit a second time in a process of its own.
        kind = {"problem_type": "regression"} if regression else {}
        made = TabularPredictor(target, eval_metric=metric, path=folder, verbosity=0, **kind)
        fit = made.fit(
            train,
            time_limit=max(args.seconds, least),
            presets="best_quality",
            num_cpus=1,
            num_gpus=0,
            dynamic_stacking=False,
            ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
        )
        took = seconds() - start
        if regression:
            return took, fit.predict(test).to_numpy(float), None
        proba = fit.predict_proba(test)
    return took, proba.to_numpy(float), [str(c) for c in proba.columns]


def fits(who, train, test, target, regression, args, seed, least):
    """Seconds, predictions and classes by name: for a mean, those of its parts, too."""
    if who in ("fast", "good", "best"):
        return {who: ours(who, train, test, target, regression, args, seed)}
    if who == "autogluon":
        return {who: autogluon(train, test, target, regression, args, least)}
    found = {library: trees(library, train, test, target, regression, seed) for library in who.split("+")}
    parts = list(found.values())
    assert all(classes == parts[0][2] for *_, classes in parts), "classes in one order"
    return found | {who: (sum(f[0] for f in parts), np.mean([f[1] for f in parts], axis=0), parts[0][2])}


def measure(args):
    index = {entry["name"]: entry for entry in json.loads((args.folder / "index.json").read_text())}
    for name in index if args.tables == "all" else args.tables.split(","):
        target, regression = index[name]["target"], index[name]["task"] == "regression"
        data = pd.read_csv(args.folder / f"{name}.csv.gz", **READ)
        stratify = None if regression else data[target]
        train, test = train_test_split(data, test_size=0.2, random_state=11, stratify=stratify)
        for who in args.who.split(","):
            held = json.loads(args.results.read_text()) if args.results and args.results.exists() else {}
            least = held.get(name, {}).get("best", {}).get("seconds", 0)
            rows = {}
            for seed in map(int, args.seeds.split(",")):
                found = fits(who, train, test, target, regression, args, seed, least)
                for label, (took, predicted, classes) in found.items():
                    judged = judge(regression, test[target].to_numpy(), predicted, classes)
                    rows.setdefault(label, []).append({**judged, "seconds": took})
            for label, of in rows.items():
                mean = {key: float(np.mean([row[key] for row in of])) for key in of[0]}
                loss = f"{mean['log_loss']:.4f}" if "log_loss" in mean else ""
                print(f"{name:10} {label:18} {mean['score']:.4f} {loss:6} {mean['seconds']:.1f} s", flush=True)
                held.setdefault(name, {})[label] = mean
            if args.results:
                args.results.write_text(json.dumps(held, indent=1))


def ranks(args):
    held, peers = json.loads(args.ranks.read_text()), json.loads((args.folder / "peers.json").read_text())
    every = {name: {**peers[name], **found} for name, found in held.items()}
    for key in ("score", "log_loss"):
        table = pd.DataFrame({n: {w: r[key] for w, r in found.items() if key in r} for n, found in every.items()}).T
        table = table[args.of.split(",")].dropna()
        up = table if key == "score" else -table
        low, high = up.min(axis=1), up.max(axis=1)
        normal = up.sub(low, axis=0).div((high - low).replace(0, np.nan), axis=0).mean()
        print(f"\n{key}, {len(table)} tables\n{table.round(4).to_string()}")
        print("rank", up.rank(axis=1, ascending=False).mean().round(2).to_dict())
        print("normalised", normal.round(2).to_dict())
    for who in args.of.split(","):
        took = [found[who]["seconds"] for found in every.values() if who in found]
        print(f"{who}: median {np.median(took):.1f} s, sum {sum(took):.0f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="?", default="all")
    parser.add_argument("who", nargs="?", default="best")
    parser.add_argument("--bin", default="feedforward")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--ranks", type=Path)
    parser.add_argument("--of", default="best,catboost+lightgbm,autogluon")
    args = parser.parse_args()
    ranks(args) if args.ranks else measure(args)


if __name__ == "__main__":
    main()
