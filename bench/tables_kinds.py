#!/usr/bin/env python3
"""The default on made-up tables of kinds that are hard in their own way.

    python bench/tables_kinds.py FOLDER PROGRAM [KIND…] [--quality good] [--threads 2] [--more OPTION…]

Each kind is written to FOLDER once, as KIND.csv and, from the same source, KIND-new.csv with rows that no run sees.
Prints a row of a Markdown table for each: what `plan` says of time and memory, what `train` then took, the scores of the
verdict beside its baseline, and the score on the new rows beside LightGBM's with its defaults, of one thread (accuracy
and log loss, or R²). Needs numpy, pandas, scikit-learn and lightgbm.
"""
import argparse, json, shutil, subprocess, time
from pathlib import Path

import numpy as np, pandas as pd
from sklearn.metrics import log_loss, r2_score, roc_auc_score

P = argparse.ArgumentParser()
P.add_argument("folder", type=Path)
P.add_argument("program")
P.add_argument("kinds", nargs="*")
P.add_argument("--quality", default="good")
P.add_argument("--threads", default="2")
P.add_argument("--more", nargs=argparse.REMAINDER, default=[])
A = P.parse_args()
NEW = 10_000


def numbers(rng, rows, columns):
    return pd.DataFrame(rng.normal(size=(rows, columns)), columns=[f"x{i}" for i in range(columns)])


def bent(x, rng, columns):
    """A sum of bent columns and of products of two, with a deviation of 1."""
    x = x.iloc[:, :columns].to_numpy(float)
    sums = sum(rng.normal() * np.tanh(x[:, i] + rng.normal()) + rng.normal() * x[:, i] * x[:, i - 1] for i in range(columns))
    return (sums - sums.mean()) / sums.std()


def drawn(rng, z):
    return np.where(rng.uniform(size=len(z)) < 1 / (1 + np.exp(-z)), "yes", "no")


def many_columns(rng, rows):
    t = numbers(rng, rows, 2000)
    return t.assign(y=drawn(rng, 3 * bent(t, np.random.default_rng(1), 10)))


def many_rows(rng, rows):
    t = numbers(rng, rows, 17)
    for i, n in enumerate((4, 12, 60)):
        t[f"c{i}"] = pd.Series(rng.integers(n, size=rows)).map(lambda v: f"v{v}")
    effect = np.random.default_rng(2).normal(size=60)
    z = bent(t, np.random.default_rng(1), 8) + 0.5 * effect[t["c2"].str[1:].astype(int)]
    return t.assign(y=drawn(rng, 2 * z))


def many_categories(rng, rows):
    t = numbers(rng, rows, 6)
    ids = (5000 * rng.beta(0.6, 1.6, size=rows)).astype(int)
    t["shop"] = [f"s{i}" for i in ids]
    effect = np.random.default_rng(2).normal(size=5000)
    return t.assign(y=bent(t, np.random.default_rng(1), 5) + effect[ids] + 0.3 * rng.normal(size=rows))


def few_positives(rng, rows):
    t = numbers(rng, rows, 12)
    return t.assign(y=drawn(rng, 2.5 * bent(t, np.random.default_rng(1), 5) - 8))


def few_rows(rng, rows):
    t = numbers(rng, rows, 12)
    return t.assign(y=drawn(rng, 2 * bent(t, np.random.default_rng(1), 4)))


KINDS = {
    "many-columns": (many_columns, 3_000, "3,000 rows of 2,000 columns"),
    "many-rows": (many_rows, 500_000, "500,000 rows of 20 columns"),
    "many-categories": (many_categories, 40_000, "40,000 rows with 5,000 categories"),
    "few-positives": (few_positives, 30_000, "30,000 rows, 1 % positives"),
    "few-rows": (few_rows, 500, "500 rows of 12 columns"),
}


def write(kind):
    make, rows, _ = KINDS[kind]
    path = A.folder / f"{kind}.csv"
    if not path.exists():
        rng = np.random.default_rng(0)
        table = make(rng, rows + NEW)
        table[:rows].to_csv(path, index=False, float_format="%.5g")
        table[rows:].to_csv(A.folder / f"{kind}-new.csv", index=False, float_format="%.5g")
    return path, A.folder / f"{kind}-new.csv"


def measured(command):
    """Output, wall and CPU seconds, and the most memory in MB, by GNU time: a child of this process would count its memory."""
    command = ["/usr/bin/time", "-f", "%e %U %S %M", *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    wall, user, system, memory = map(float, done.stderr.split("\n")[-2].split())
    return done.stdout, wall, user + system, memory / 1000


def judge(truth, regression, values):
    if regression:
        return f"{r2_score(truth, values):.4f}"
    hits = ((values > 0.5) == (truth == "yes")).mean()
    return f"{hits:.4f} · {log_loss(truth == 'yes', np.clip(values, 1e-7, 1 - 1e-7)):.4f} · AUC {roc_auc_score(truth == 'yes', values):.4f}"


def peer(train, new, regression):
    import lightgbm

    train, new = pd.read_csv(train), pd.read_csv(new)
    for t in (train, new):
        for c in t.select_dtypes(["object", "string"]).columns.drop("y", errors="ignore"):
            t[c] = pd.Categorical(t[c], categories=sorted(train[c].unique()) if t is train else list(train[c].cat.categories))
    model = (lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier)(verbose=-1, n_jobs=1)
    start = time.time()
    model.fit(train.drop(columns="y"), train["y"])
    seconds = time.time() - start
    x = new.drop(columns="y")
    return judge(new["y"], regression, model.predict(x) if regression else model.predict_proba(x)[:, 1]), seconds


print("| table | plan: at most | memory | `train`: wall | CPU | memory | verdict beside the baseline | new rows | LightGBM | s |")
print("|---|---|---|---|---|---|---|---|---|---|")
for kind in A.kinds or KINDS:
    train, new = write(kind)
    data = [A.program, "plan", train, "--target", "y", "--quality", A.quality, "--threads", A.threads, "--json", "--quiet", *A.more]
    plan = json.loads(measured(data)[0])
    run = A.folder / f"run-{kind}"
    shutil.rmtree(run, ignore_errors=True)
    command = [A.program, "train", train, "--target", "y", "--quality", A.quality, "--threads", A.threads, "--json", "--quiet", "--out", run, *A.more]
    text, wall, cpu, memory = measured(command)
    result = json.loads(text)
    first = result["verdict"]["comparisons"]
    verdict = ", ".join(f"{c['metric']} {c['model']:.4f} ({c['baseline']:.4f}, {c['outcome']})" for c in first if c["metric"] in ("r2", "accuracy", "log_loss", "pr_auc"))
    measured([A.program, "predict", run, "--data", new, "--out", A.folder / "p.csv", "--force", "--quiet", *(["--proba"] if "accuracy" in verdict else [])])
    regression = "accuracy" not in verdict
    p = pd.read_csv(A.folder / "p.csv")
    values = p["prediction" if regression else "probability_yes"].to_numpy()
    score = judge(pd.read_csv(new)["y"], regression, values)
    other, seconds = peer(train, new, regression)
    steps = plan["seconds_per_step"] * (plan["total_steps"] + plan["steps_after"])
    print(
        f"| {KINDS[kind][2]} | {steps:.0f} s | {plan['process_bytes'] / 1e6:.0f} MB | {wall:.1f} s | {cpu:.1f} s | {memory:.0f} MB "
        f"| {verdict} | {score} | {other} | {seconds:.1f} |",
        flush=True,
    )
