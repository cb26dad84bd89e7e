"""Losses and gradients of transformers and sentence-transformers for an encoder's objectives, and folders that
feedforward wrote, opened by both.

    python crates/testkit/scripts/encoder_fixtures.py [target/debug/feedforward [MODEL]]

Without a program, writes crates/testkit/fixtures/encoder: a small BERT whose file has the tensors of all heads, and
expected.json with batches, their losses, and of each gradient its norm and its product with cos 0, cos 1, …. With a
program, trains every objective on that model, or on a published MODEL, and compares what it writes.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

ROOT = pathlib.Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "crates/testkit/fixtures"
OUT = FIXTURES / "encoder"
MOST = 24
TEXTS = ["the quick notes", "Café brown words in the notes", "fox", "the quick brown fox jumps over " * 8]
LABELS = ["late", "broken", "lost", "late again", "never"]
TRUTH = [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1]]
NUMBERS = [[0.5, -1.0, 0.0, 2.0, 0.25], [-0.5, 1.0, 0.0, 0.0, 0.5], [1.5, 0.0, -1.0, 0.5, 0.0], [0.0, 0.0, 1.0, -2.0, 0.75]]
TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
WORDS = [
    (["the", "quickest", "notes", "naïve"], ["O", "B-A", "I-A", "B-B"]),
    (["fox"], ["B-B"]),
    (["jumping", "unquoted", "words"] * 9, ["O", "B-A", "I-B"] * 9),
]
PAIRS = [("the quick notes", "brown words", "fox in"), ("quotes", "mixed the words", "the fox"), ("fox", "quick brown fox", "notes")]


def tokenizer(folder):
    # Byte pairs of words begin with a space.
    return transformers.AutoTokenizer.from_pretrained(folder, add_prefix_space=True)


def heads():
    """A config for each head over the same tensors."""
    for name, kind, more in [
        ("labels", "ForSequenceClassification", {"problem_type": "multi_label_classification"}),
        ("numbers", "ForSequenceClassification", {"problem_type": "regression"}),
        ("tags", "ForTokenClassification", {}),
        ("masked", "ForMaskedLM", {}),
        ("pairs", "Model", {}),
    ]:
        yield name, f"Bert{kind}", more


def build():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    shutil.copy(FIXTURES / "embedding/bert/vocab.txt", OUT)
    torch.manual_seed(5)
    vocabulary = len((OUT / "vocab.txt").read_text().splitlines())
    config = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=MOST, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    config.num_labels = len(LABELS)
    tensors = {}
    for model in [transformers.BertForSequenceClassification(config), transformers.BertForMaskedLM(config)]:
        tensors.update(model.state_dict())
    tied = ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"]
    tensors = {k: torch.randn_like(v) * 0.2 for k, v in tensors.items() if v.is_floating_point() and k not in tied}
    save_file(tensors, OUT / "model.safetensors", metadata={"format": "pt"})
    for name, architecture, more in heads():
        names = {"labels": LABELS, "numbers": LABELS, "tags": TAGS}.get(name)
        json_ = config.to_dict() | {"architectures": [architecture]} | more
        for key in ["id2label", "label2id", "num_labels"]:
            json_.pop(key, None)
        if names:
            json_ |= {"id2label": {str(i): n for i, n in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}
        (OUT / f"{name}.json").write_text(json.dumps(json_, indent=1) + "\n")


def opened(name, auto, where):
    for file in ["model.safetensors", "vocab.txt"]:
        shutil.copy(OUT / file, where)
    shutil.copy(OUT / f"{name}.json", where / "config.json")
    return auto.from_pretrained(where).double().eval(), transformers.BertTokenizerFast.from_pretrained(where)


def gradients(model):
    """The norm of each gradient, and its product with cos 0, cos 1, …."""
    found = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            g = p.grad.flatten().double()
            at = torch.cos(torch.arange(len(g), dtype=torch.float64))
            found[name] = [float(g.norm()), float(g @ at)]
    return found


def aligned(tokens, words, tags):
    """The recipe of transformers: a word's first token has its label, the others −100."""
    inputs = tokens(words, is_split_into_words=True, truncation=True, max_length=MOST)
    labels, last = [], None
    for word in inputs.word_ids():
        labels.append(-100 if word is None or word == last else TAGS.index(tags[word]))
        last = word
    return inputs["input_ids"], labels


def padded(rows, with_):
    length = max(map(len, rows))
    return torch.tensor([row + [with_] * (length - len(row)) for row in rows])


def expected(where):
    found = {}
    for name, target in [("labels", TRUTH), ("numbers", NUMBERS)]:
        model, tokens = opened(name, AutoModelForSequenceClassification, where)
        inputs = tokens(TEXTS, truncation=True, max_length=MOST, padding=True, return_tensors="pt")
        outputs = model(**inputs, labels=torch.tensor(target, dtype=torch.float64))
        outputs.loss.backward()
        found[name] = {
            "texts": TEXTS, "target": target, "loss": float(outputs.loss), "logits": outputs.logits.tolist(),
            "gradients": gradients(model),
        }
    model, tokens = opened("tags", AutoModelForTokenClassification, where)
    rows = [aligned(tokens, words, tags) for words, tags in WORDS]
    ids, labels = padded([r[0] for r in rows], 0), padded([r[1] for r in rows], -100)
    mask = padded([[1] * len(r[0]) for r in rows], 0)
    outputs = model(input_ids=ids, attention_mask=mask, labels=labels)
    outputs.loss.backward()
    found["tags"] = {
        "words": [w for w, _ in WORDS], "tags": [t for _, t in WORDS], "ids": [r[0] for r in rows],
        "labels": [r[1] for r in rows], "loss": float(outputs.loss), "logits": outputs.logits[0, : len(rows[0][0])].tolist(),
        "gradients": gradients(model),
    }
    model, tokens = opened("masked", AutoModelForMaskedLM, where)
    collator = transformers.DataCollatorForLanguageModeling(tokens, mlm_probability=0.3, seed=3)
    rows = [tokens(t, truncation=True, max_length=MOST)["input_ids"] for t in TEXTS]
    batch = collator([{"input_ids": row} for row in rows])
    mask = padded([[1] * len(row) for row in rows], 0)
    outputs = model(input_ids=batch["input_ids"], attention_mask=mask, labels=batch["labels"])
    outputs.loss.backward()
    cut = lambda t: [row[: len(own)] for row, own in zip(t.tolist(), rows)]
    found["masked"] = {
        "ids": cut(batch["input_ids"]), "labels": cut(batch["labels"]), "loss": float(outputs.loss),
        "logits": [row[len(row) // 2] for row in cut(outputs.logits)], "gradients": gradients(model),
    }
    for file in (FIXTURES / "embedding/bert").glob("**/*.json"):
        if file.name not in ["config.json", "expected.json"]:
            shutil.copy(file, where)
    opened("pairs", transformers.AutoModel, where)
    (where / "1_Pooling").mkdir(exist_ok=True)
    (where / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}))
    (where / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    for columns, name in [(2, "pairs"), (3, "triplets")]:
        model = SentenceTransformer(str(where), device="cpu").double().eval()
        model[0].do_lower_case = False
        features = [model.tokenize([row[c] for row in PAIRS]) for c in range(columns)]
        loss = MultipleNegativesRankingLoss(model)(features, torch.zeros(len(PAIRS)))
        loss.backward()
        inner = model[0].auto_model
        found[name] = {"texts": [row[:columns] for row in PAIRS], "loss": float(loss), "gradients": gradients(inner)}
    return found


def write(path, json_):
    path.write_text(json.dumps(json_, ensure_ascii=False, separators=(",", ":")) + "\n")


def train(program, folder, kind, data, base, sets, out):
    line = [program, "train", data, "--out", out, "--quiet", "--set", f"model.encoder={base}", "--set", f"objective.kind={kind}"]
    for set_ in ["train.epochs=3", "optimizer.lr=1e-3", *sets]:
        line += ["--set", set_]
    subprocess.run(line, cwd=folder, check=True)


def compare(program, base):
    """Trains each objective, opens what was written in transformers, and compares its outputs with the program's."""
    import csv

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with open(folder / "data.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "late", "broken", "size"])
            for i in range(60):
                rows.writerow([TEXTS[i % 3] + f" {i // 7}", i % 2, "yes" if i % 3 else "no", i])
        with open(folder / "words.jsonl", "w") as file:
            for i in range(60):
                words, tags = WORDS[i % 3]
                file.write(json.dumps({"tokens": words, "tags": tags}) + "\n")
        with open(folder / "pairs.csv", "w", newline="") as file:
            csv.writer(file).writerows([("a", "b", "c")] + [tuple(f"{t} {i}" for t in PAIRS[i % 3]) for i in range(60)])
        (folder / "lines.txt").write_text("".join(f"{TEXTS[i % 4]} {i}\n" for i in range(60)))
        text = ['data.text=["text"]', "model.pooling=cls"]
        train(program, folder, "labels", "data.csv", base, text + ['data.targets=["late","broken"]'], "labels")
        train(program, folder, "numbers", "data.csv", base, text + ['data.targets=["late","size"]'], "numbers")
        train(program, folder, "tags", "words.jsonl", base, [], "tags")
        train(program, folder, "masked", "lines.txt", base, [], "masked")
        train(program, folder, "pairs", "pairs.csv", base, ['data.text=["a","b","c"]'], "pairs")
        predict = lambda run, *more: subprocess.run(
            [program, "predict", run, "--force", "--quiet", *more], cwd=folder, check=True)
        for kind in ["labels", "numbers"]:
            model = AutoModelForSequenceClassification.from_pretrained(folder / kind / "model").eval()
            tokens = transformers.AutoTokenizer.from_pretrained(folder / kind / "model")
            predict(kind, "--data", "data.csv", "--out", "found.csv", *(["--proba"] if kind == "labels" else []))
            largest = 0.0
            for row in csv.DictReader(open(folder / "found.csv")):
                with torch.no_grad():
                    logits = model(**tokens(row["text"], truncation=True, max_length=MOST, return_tensors="pt")).logits[0]
                for i, name in model.config.id2label.items():
                    if kind == "labels":
                        largest = max(largest, abs(float(torch.sigmoid(logits[i])) - float(row[f"probability_{name}"])))
                    else:
                        largest = max(largest, abs(float(logits[i]) / float(row[f"prediction_{name}"]) - 1))
            print(f"{kind}: {model.config.problem_type}, {largest:.1e} from transformers {transformers.__version__}")
            assert largest < 1e-4
        model = AutoModelForTokenClassification.from_pretrained(folder / "tags/model").eval()
        tokens = tokenizer(folder / "tags/model")
        predict("tags", "--data", "words.jsonl", "--out", "found.jsonl")
        most = json.loads((folder / "tags/model/feedforward.json").read_text())["max_tokens"]
        same = 0
        for line in open(folder / "found.jsonl"):
            row = json.loads(line)
            inputs = tokens(row["tokens"], is_split_into_words=True, truncation=True, max_length=most, return_tensors="pt")
            with torch.no_grad():
                best = model(**inputs).logits[0].argmax(-1).tolist()
            seen = {}
            for at, word in enumerate(inputs.word_ids()):
                if word is not None:
                    seen.setdefault(word, model.config.id2label[best[at]])
            for word, tag in seen.items():
                # The last word may be cut within: the program leaves it out.
                assert row["tags"][word] == tag or word == max(seen), (row, word, tag)
                same += 1
        print(f"tags: {same} words as by transformers")
        model = AutoModelForMaskedLM.from_pretrained(folder / "masked/model", output_loading_info=True)
        print("masked: missing", model[1]["missing_keys"], "unexpected", model[1]["unexpected_keys"])
        assert not model[1]["missing_keys"] and not model[1]["unexpected_keys"]
        model = SentenceTransformer(str(folder / "pairs/model"), device="cpu")
        (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
        subprocess.run([program, "embed", "pairs", "--data", "texts.txt", "--out", "v.npy", "--quiet"], cwd=folder, check=True)
        import numpy as np

        largest = float(np.abs(model.encode(TEXTS) - np.load(folder / "v.npy")).max())
        print(f"pairs: vectors {largest:.1e} from sentence-transformers")
        assert largest < 1e-5


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    if len(sys.argv) > 1:
        base = sys.argv[2] if len(sys.argv) > 2 else FIXTURES / "embedding/bert"
        compare(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(base).resolve())
    else:
        build()
        with tempfile.TemporaryDirectory() as where:
            write(OUT / "expected.json", expected(pathlib.Path(where)))
