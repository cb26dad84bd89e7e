"""Texts: the default of `feedforward train` beside scikit-learn on the same splits, in one run.

    python bench/text.py --program target/release/feedforward --data ../shared/data [sms banking clinc polarity]
        [--encoder models/all-MiniLM-L6-v2 --set model.precision=bf16 --set optimizer.lr=2e-4]

Needs scikit-learn. With an encoder, it is fine-tuned on the same splits too, with these settings. Each row of the table
is the mean over five seeds (sms, polarity: stratified fifths and tenths; banking77 and CLINC150: their own parts, with
five seeds of training), or over the first `--most` of them. With `--rows N` instead: the rows a second of predictions for the
test texts of the first split, repeated to N, ours from file to file and the peers' in memory, the better of two. Times are those of one training on its rows and of the
prediction of the test part, reading and starting the program included.
"""

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC


def words():
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))


def characters():
    return TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2)


PEERS = {
    "TF-IDF + LogisticRegression": lambda: make_pipeline(words(), LogisticRegression(max_iter=1000)),
    "TF-IDF + LinearSVC": lambda: make_pipeline(words(), LinearSVC()),
    "with characters + LinearSVC": lambda: make_pipeline(make_union(words(), characters()), LinearSVC()),
}


def read_csv(path, text, label):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row[text] for row in rows], [row[label] for row in rows]


def splits(name, data):
    """Training and test parts: texts and labels of each."""
    if name == "banking":
        parts = [read_csv(data / f"banking77_{part}.csv", "text", "category") for part in ("train", "test")]
        return [tuple(parts)] * 5
    if name == "clinc":
        both = json.loads((data / "clinc150.json").read_text())
        parts = [tuple(map(list, zip(*both[part]))) for part in ("train", "test")]
        return [tuple(parts)] * 5
    if name == "sms":
        texts, labels = read_csv(data / "sms_spam.csv", "text", "type")
        rows = StratifiedShuffleSplit(5, test_size=0.2, random_state=0).split(texts, labels)
    else:
        with zipfile.ZipFile(data / "sentence_polarity.zip") as archive:
            read = lambda end: archive.read(f"sentence_polarity/rt-polarity.{end}").decode("latin-1").splitlines()
            positive, negative = read("pos"), read("neg")
        texts, labels = positive + negative, ["positive"] * len(positive) + ["negative"] * len(negative)
        rows = StratifiedKFold(10, shuffle=True, random_state=0).split(texts, labels)
    take = lambda part: ([texts[i] for i in part], [labels[i] for i in part])
    return [(take(train), take(test)) for train, test in rows]


def score(name, truth, found):
    if name == "sms":
        return f1_score(truth, found, pos_label="spam")
    return float(np.mean(np.array(truth) == np.array(found)))


def write(path, texts, labels):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels))


def program(path, train, test, seed, folder, sets=()):
    write(folder / "train.csv", *train)
    write(folder / "test.csv", *test)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    command = [path, "train", folder / "train.csv", "--target", "label", "--seed", str(seed), "--quiet"]
    command += ["--set", "data.columns.text=text", "--set", "data.split.test=0", "--out", folder / "runs"]
    command += [part for value in sets for part in ("--set", value)]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    trained = time.perf_counter()
    run = folder / "runs"
    run = run if (run / "model").is_dir() else next(run.iterdir())
    subprocess.run(
        [path, "predict", run, "--data", folder / "test.csv", "--out", folder / "found.csv", "--quiet", "--force"],
        check=True,
    )
    end = time.perf_counter()
    found = read_csv(folder / "found.csv", "prediction", "prediction")[0]
    return found, trained - start, end - trained


def rows_a_second(path, train, texts):
    """Of our program on one thread and on all, and of the peers."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        program(path, train, ([texts[0]], ["x"]), 0, folder)
        write(folder / "rows.csv", texts, ["x"] * len(texts))
        command = [path, "predict", folder / "runs", "--data", folder / "rows.csv", "--out", folder / "out.csv"]
        for threads, name in ((["--threads", "1"], "feedforward, one thread"), ([], "feedforward")):
            run = lambda: subprocess.run([*command, *threads, "--quiet", "--force"], check=True)
            found[name] = timed(run)
    for model, make in PEERS.items():
        pipeline = make().fit(*train)
        found[model] = timed(lambda: pipeline.predict(texts))
    return {model: len(texts) / seconds for model, seconds in found.items()}


def timed(work):
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peer(make, train, test):
    start = time.perf_counter()
    pipeline = make().fit(*train)
    trained = time.perf_counter()
    found = pipeline.predict(test[0])
    return list(found), trained - start, time.perf_counter() - trained


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--most", type=int, default=10, help="splits of each set at most")
    parser.add_argument("--encoder", type=Path, help="a published encoder, to be fine-tuned as well")
    parser.add_argument("--set", action="append", default=[], help="a setting of the encoder's runs")
    parser.add_argument("--no-peers", action="store_true", help="leave scikit-learn out")
    parser.add_argument("--rows", type=int, help="rows a second of predictions for so many rows")
    parser.add_argument("sets", nargs="*", default=["sms", "banking", "clinc", "polarity"])
    arguments = parser.parse_args()
    if arguments.rows:
        print("| data | model | rows a second |\n|---|---|---|")
        for name in arguments.sets:
            train, (texts, _) = splits(name, arguments.data)[0]
            texts = (texts * (arguments.rows // len(texts) + 1))[: arguments.rows]
            for model, rate in rows_a_second(arguments.program, train, texts).items():
                print(f"| {name} | {model} | {rate:,.0f} |", flush=True)
        return
    print("| data | model | score | deviation | training, s | prediction, s |\n|---|---|---|---|---|---|")
    for name in arguments.sets:
        measured = {}
        for seed, (train, test) in enumerate(splits(name, arguments.data)[: arguments.most]):
            with tempfile.TemporaryDirectory() as folder:
                runs = {"feedforward": program(arguments.program, train, test, seed, Path(folder))}
                if arguments.encoder:
                    sets = [f"model.encoder={arguments.encoder}", "data.split.valid=0.1", *arguments.set]
                    found = program(arguments.program, train, test, seed, Path(folder), sets)
                    runs[f"feedforward, {arguments.encoder.name}"] = found
            # The parts of banking77 and CLINC150 are given: peers without a seed are the same each time.
            if not arguments.no_peers and (seed == 0 or name in ("sms", "polarity")):
                runs |= {model: peer(make, train, test) for model, make in PEERS.items()}
            for model, (found, training, prediction) in runs.items():
                measured.setdefault(model, []).append((score(name, test[1], found), training, prediction))
        for model, values in measured.items():
            mean, std = np.mean(values, 0), np.std([v[0] for v in values], ddof=min(1, len(values) - 1))
            print(f"| {name} | {model} | {mean[0]:.4f} | {std:.4f} | {mean[1]:.2f} | {mean[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
