"""Embeddings of `feedforward embed` beside those of transformers, and the time of both.

    python scripts/embeddings.py PROGRAM MODEL TEXTS [--most 200] [--time | --cpu] [--precision bf16]

TEXTS is a CSV file with a column `text`. Prints the largest difference; with --time the texts a second of both at batches
of 1 and 32, in turn, as whole passes over the texts: ours without the start of the program, which a pass over one text measures.
transformers gets its texts sorted by length, as feedforward sorts them. --cpu measures the CPU time of one thread instead,
which other work on the machine disturbs little.
"""

import argparse
import csv
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers


def read(path, most):
    csv.field_size_limit(1 << 30)
    with open(path, newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:most]


def theirs(model, tokenizer, texts, batch, most):
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    out = [None] * len(texts)
    for at in range(0, len(texts), batch):
        rows = order[at : at + batch]
        inputs = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=most, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        for i, vector in zip(rows, vectors.numpy()):
            out[i] = vector
    return np.stack(out)


def cpu_seconds(of):
    used = resource.getrusage(of)
    return used.ru_utime + used.ru_stime


def ours(program, model, texts, batch, folder, more=()):
    data, out = folder / "texts.jsonl", folder / "out.npy"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    command = [program, "embed", model, "--data", data, "--out", out, "--force", "--json", "--normalize", "--pooling=mean"]
    if batch:
        command.append(f"--batch={batch}")
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([*command, *more], check=True, capture_output=True, text=True)
    cpu = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    return np.load(out), cpu if "--threads=1" in more else json.loads(ran.stdout)["seconds"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1 if options.cpu else os.cpu_count())
    more = [f"--precision={options.precision}", *(["--threads=1"] if options.cpu else [])]
    clock = time.process_time if options.cpu else time.perf_counter
    texts = read(options.texts, options.most)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model = transformers.AutoModel.from_pretrained(options.model).eval()
    settings = pathlib.Path(options.model) / "sentence_bert_config.json"
    most = json.loads(settings.read_text())["max_seq_length"] if settings.exists() else tokenizer.model_max_length
    folder = pathlib.Path(tempfile.mkdtemp())
    wanted = theirs(model, tokenizer, texts, 32, most)
    found, _ = ours(options.program, options.model, texts, None, folder, more)
    print(f"{len(texts)} texts, largest difference {np.abs(found - wanted).max():.2e}, least cosine {(found * wanted).sum(1).min():.6f}")
    if not (options.time or options.cpu):
        return
    for batch in [1, 32]:
        times = {"transformers": [], "feedforward": []}
        for _ in range(options.repeats):
            began = clock()
            theirs(model, tokenizer, texts, batch, most)
            times["transformers"].append(clock() - began)
            _, whole = ours(options.program, options.model, texts, batch, folder, more)
            _, start = ours(options.program, options.model, texts[:1], batch, folder, more)
            times["feedforward"].append(whole - start)
        rates = {name: len(texts) / statistics.median(seconds) for name, seconds in times.items()}
        print(
            f"batch {batch}{', one thread, CPU time' if options.cpu else ''}: "
            + ", ".join(f"{name} {rate:.0f} texts/s" for name, rate in rates.items())
            + f", ratio {rates['feedforward'] / rates['transformers']:.2f}"
        )


sys.exit(main())
