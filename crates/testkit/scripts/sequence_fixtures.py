"""Encoders that feedforward trained under a head, opened by transformers, with the logits that it gives.

    python crates/testkit/scripts/sequence_fixtures.py target/debug/feedforward [MODEL DATA TARGET]

Trains on crates/testkit/fixtures/embedding/bert and compares the predictions of the program with those of
AutoModelForSequenceClassification over the same folder; writes crates/testkit/fixtures/sequence/{classes,number}: the
folder, with texts and logits in expected.json. With a published MODEL and a table, only compares, and writes nothing.
"""

import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "crates/testkit/fixtures"
WORDS = {"no": "quick", "yes": "brown", "peut-être": "fox"}
FILLERS = ["the notes", "in the notes", "mixed the words", "quotes in the"]
# Texts longer than the positions of a model are cut by both.
TEXTS = ["the quick notes", "", "Café brown words in the notes", "the quick brown fox " * 20, "汉字 mixed"]


def rows():
    for i in range(90):
        answer = list(WORDS)[i % 3]
        yield f"{FILLERS[i % 4]} {WORDS[answer]} {i // 12} the", answer, 10 + 40 * (i % 3)


def train(program, folder, data, target, sets):
    line = [program, "train", data, "--target", target, "--out", "run", "--quiet"]
    for set_ in sets:
        line += ["--set", set_]
    subprocess.run(line, cwd=folder, check=True)


def compare(program, folder, texts, columns=("text",), cut=None):
    """The largest difference between the program's predictions and those of transformers; its logits."""
    with open(folder / "texts.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, *([text] for text in texts)])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "run/model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "run/model")
    number = model.config.num_labels == 1
    line = [program, "predict", "run", "--data", "texts.csv", "--out", "predicted.csv", "--force", "--quiet"]
    subprocess.run(line + ([] if number else ["--proba"]), cwd=folder, check=True)
    with open(folder / "predicted.csv", newline="") as file:
        found = list(csv.DictReader(file))
    largest, all_logits = 0.0, []
    for text, row in zip(texts, found, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=cut, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        all_logits.append(logits.tolist())
        if number:
            largest = max(largest, abs(float(row["prediction"]) / float(logits[0]) - 1))
            continue
        names = [model.config.id2label[i] for i in range(len(logits))]
        for name, p in zip(names, torch.softmax(logits, 0).tolist(), strict=True):
            largest = max(largest, abs(float(row[f"probability_{name}"]) - p))
        assert row["prediction"] == names[int(logits.argmax())]
    return largest, all_logits


def fixture(program, name, target, sets):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with open(folder / "data.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "answer", "size"), *rows()])
        shutil.copytree(FIXTURES / "embedding/bert", folder / "bert")
        common = ["model.encoder=bert", "model.pooling=cls", "optimizer.lr=0.005", "train.epochs=8", "data.columns.text=text"]
        train(program, folder, "data.csv", target, common + sets)
        largest, logits = compare(program, folder, TEXTS, cut=24)
        print(f"{name}: {largest:.1e} from transformers {transformers.__version__}")
        assert largest < 1e-5
        out = FIXTURES / "sequence" / name
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "run/model", out)
        (out / "expected.json").write_text(json.dumps({"texts": TEXTS, "logits": logits}, ensure_ascii=False) + "\n")


def published(program, model, data, target):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sets = [f"model.encoder={pathlib.Path(model).resolve()}", "model.pooling=cls", "train.steps=3"]
        train(program, folder, str(pathlib.Path(data).resolve()), target, sets)
        with open(data, newline="", encoding="utf-8") as file:
            texts = [row["text"] for row in csv.DictReader(file)][:200]
        cut = json.loads((folder / "run/model/feedforward.json").read_text())["max_tokens"]
        largest, _ = compare(program, folder, texts, cut=cut)
        print(f"{model}: {largest:.1e} from transformers {transformers.__version__} over {len(texts)} texts")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    program = str(pathlib.Path(sys.argv[1]).resolve())
    if len(sys.argv) > 2:
        published(program, *sys.argv[2:5])
    else:
        fixture(program, "classes", "answer", ["data.columns.size=drop"])
        fixture(program, "number", "size", ["data.columns.answer=drop", "data.task='regression'"])
