"""An adapter as a GGUF file, here and in llama.cpp: greedy texts of both must be the same.

    scripts/llama_adapter.py FEEDFORWARD BASE.gguf RUN

RUN is a fine-tuning run that trained an adapter on BASE. The adapter is exported, the base as f32,
and each writes 32 tokens behind some prompts with the file. Needs llama-cpp-python.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

PROMPTS = ["What does a card cost?", "The capital of France is", "How long may I keep a book?", "Once upon a time"]
TOKENS = 32


def written(program, model, adapter):
    """The greedy tokens of the program."""
    command = [program, "generate", model, "--temperature", "0", "--max-tokens", str(TOKENS), "--ignore-end"]
    command += ["--json", "--quiet"] + (["--adapter", adapter] if adapter else [])
    for prompt in PROMPTS:
        command += ["--prompt", prompt]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [text["tokens"] for text in json.loads(output.strip().splitlines()[-1])["generated"]]


def theirs(model, adapter):
    """The greedy tokens of llama.cpp."""
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llm = llama_cpp.Llama(model, lora_path=adapter, n_ctx=256, n_threads=2, logits_all=True, verbose=False)
    all_tokens = []
    for prompt in PROMPTS:
        ids = llm.tokenize(prompt.encode(), add_bos=False)
        llm.reset()
        llm.eval(ids)
        tokens = []
        for _ in range(TOKENS):
            tokens.append(int(np.argmax(llm.scores[llm.n_tokens - 1])))
            llm.eval(tokens[-1:])
        all_tokens.append(tokens)
    llm.close()
    return all_tokens


def main():
    program, base, run = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        model, adapter = (os.path.join(folder, name) for name in ("base.gguf", "adapter.gguf"))
        export = [program, "export"]
        subprocess.run([*export, base, "--to", "gguf", "--type", "f32", "--out", model], check=True)
        subprocess.run([*export, run, "--to", "gguf", "--type", "f32", "--adapter-only", "--out", adapter], check=True)
        plain, ours, peer = written(program, model, None), written(program, model, adapter), theirs(model, adapter)
        same = sum(a == b for a, b in zip(ours, peer))
        changed = sum(a != b for a, b in zip(ours, plain))
        print(f"{same} of {len(PROMPTS)} texts are llama.cpp's; the adapter changes {changed}")
        sys.exit(same != len(PROMPTS) or changed == 0)


main()
