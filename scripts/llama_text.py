"""Compares a model with llama.cpp: greedy texts of an f32 file, logits of quantised ones.

    python scripts/llama_text.py FEEDFORWARD LOGITS MODEL [TYPE...]

FEEDFORWARD is the program, LOGITS the example of that name (cargo build -p feedforward --example logits), MODEL
anything that the program opens. A file of each type is written; the text of the f32 file is then read in each by both.
Needs llama-cpp-python and numpy.
"""

import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np
from gguf_prompts import PROMPTS, TOKENS


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def opened(path, **more):
    return llama_cpp.Llama(str(path), n_ctx=512, n_threads=2, logits_all=True, verbose=False, **more)


def scores(model, ids):
    model.reset()
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def greedy(model, prompt):
    """The ids of the prompt, and those behind it up to one that ends the text."""
    ids = model.tokenize(prompt.encode(), add_bos=False, special=True)
    model.reset()
    model.eval(ids)
    written = []
    while len(written) < TOKENS:
        token = int(np.argmax(model.scores[model.n_tokens - 1]))
        if llama_cpp.llama_vocab_is_eog(model._model.vocab, token):
            break
        written.append(token)
        model.eval([token])
    return ids, written


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare(ours, theirs):
    """The mean divergence of the first from the second, and how often the likeliest token is the same."""
    p, q = log_softmax(theirs), log_softmax(ours)
    return float((np.exp(p) * (p - q)).sum(-1).mean()), float((ours.argmax(-1) == theirs.argmax(-1)).mean())


def main():
    program, logits, source, *kinds = sys.argv[1:]
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def written(kind):
            path = folder / f"{kind}.gguf"
            run(program, "export", source, "--to", "gguf", "--type", kind, "--out", path)
            return path

        plain = written("f32")
        prompts = [part for prompt in PROMPTS for part in ("--prompt", prompt)]
        found = run(program, "generate", plain, *prompts, "--temperature", 0, "--max-tokens", TOKENS, "--json")
        ours = [text["tokens"] for text in json.loads(found)["generated"]]
        # Keys and values as 32-bit floats, as here.
        model = opened(plain, type_k=0, type_v=0)
        texts, same = [], 0
        for prompt, tokens in zip(PROMPTS, ours, strict=True):
            ids, theirs = greedy(model, prompt)
            tokens = [t for t in tokens if not llama_cpp.llama_vocab_is_eog(model._model.vocab, t)]
            texts.append(ids + theirs)
            if tokens == theirs:
                same += 1
            else:
                at = next((i for i, (a, b) in enumerate(zip(tokens, theirs)) if a != b), min(len(tokens), len(theirs)))
                best = np.sort(scores(model, ids + theirs[:at])[-1])
                print(f"{prompt!r}: other from token {at} on, where the two likeliest differ by {best[-1] - best[-2]:.1e}")
        print(f"f32: {same} of {len(PROMPTS)} greedy texts are the same")
        del model
        tokens = folder / "tokens.json"
        tokens.write_text(json.dumps(texts))
        base = None
        for kind in ["f32", *kinds]:
            path = plain if kind == "f32" else written(kind)
            run(logits, path, tokens, folder / "logits")
            ours = np.fromfile(folder / "logits", dtype="<f4").reshape(sum(map(len, texts)), -1)
            model = opened(path, type_k=0, type_v=0)
            theirs = np.concatenate([scores(model, ids) for ids in texts])
            divergence, same_top = compare(ours, theirs)
            base = ours if base is None else base
            lost = [compare(found, base)[0] for found in (ours, theirs)]
            print(
                f"{kind}: divergence {divergence:.1e} nats, the likeliest token is the same for {same_top:.2%}; "
                f"from f32 {lost[0]:.1e} here and {lost[1]:.1e} there"
            )
            del model
            if path != plain:
                path.unlink()
    sys.exit(same != len(PROMPTS))


main()
