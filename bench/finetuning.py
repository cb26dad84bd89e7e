"""Fine-tuning beside PyTorch: an adapter by PEFT or all weights by `transformers`, f32 and bf16.

    bench/finetuning.py FEEDFORWARD FOLDER [--threads N] [--steps N] [--rounds N]

FOLDER holds a model of Hugging Face. Both sides train on 16 texts of 128 tokens, in micro-batches
of 4, with a step after all. PyTorch computes eagerly; in bf16 a frozen model is held in bf16, and
one that learns in f32 under `torch.autocast`. Prints tokens a second (medians over rounds, the first
step left out) and the most memory of each process.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROWS, CONTEXT, MICRO = 16, 128, 4
WORKS = [("adapter", "f32"), ("adapter", "bf16"), ("full", "f32"), ("full", "bf16")]


def peer(folder, work, precision, threads, steps):
    """Trains with PyTorch in this process; prints seconds of a step and the most memory."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    frozen = work == "adapter" and precision == "bf16"
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=work == "full" and precision == "bf16")
    dtype = torch.bfloat16 if frozen else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if work == "adapter":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5)
    ids = torch.randint(0, model.config.vocab_size, (ROWS, CONTEXT))
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        for part in ids.split(MICRO):
            with autocast:
                loss = model(input_ids=part, labels=part).loss
            (loss * MICRO / ROWS).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "memory": most * 1024}))


def texts(folder):
    """Texts that fill the context, with the token that ends each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = "the water of a long river runs down to the sea and under an old bridge".split()
    for row in range(ROWS):
        text = "The"
        while True:
            longer = f"{text} {words[len(text) * (row + 3) % len(words)]}"
            if len(tokenizer(longer).input_ids) > CONTEXT - 1:
                break
            text = longer
        yield text


def ours(program, folder, work, precision, threads, steps, scratch):
    """Trains with feedforward; returns the same two figures."""
    data = os.path.join(scratch, "data.jsonl")
    with open(data, "w") as file:
        for text in texts(folder):
            file.write(json.dumps({"prompt": text[:3], "completion": text[3:]}) + "\n")
    out = os.path.join(scratch, "run")
    command = ["/usr/bin/time", "-f", "%M kB", program, "finetune", folder, "--data", data]
    command += ["--out", out, "--threads", str(threads)]
    settings = {
        "data.valid": 0,
        "data.loss": "all",
        "train.context": CONTEXT,
        "train.batch_size": MICRO,
        "train.accumulate": ROWS // MICRO,
        "train.packing": "false",
        "train.epochs": steps + 1,
        "sample.max_tokens": 1,
        "base.precision": precision,
    }
    command += ["--full"] if work == "full" else []
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    memory = int(re.findall(r"(\d+) kB", done.stderr)[-1]) * 1024
    with open(os.path.join(out, "metrics.jsonl")) as lines:
        times = [json.loads(line)["seconds"] for line in lines]
    seconds = statistics.median(b - a for a, b in zip(times, times[1:]))
    return {"seconds": seconds, "memory": memory}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs=2, metavar=("WORK", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.folder, *options.peer, options.threads, options.steps)
    print(f"{ROWS} texts of {CONTEXT} tokens, micro-batches of {MICRO}, {options.threads} threads")
    for work, precision in WORKS:
        found = {"ours": [], "peer": []}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as scratch:
                found["ours"].append(
                    ours(options.program, options.folder, work, precision, options.threads, options.steps, scratch)
                )
            command = [sys.executable, *sys.argv, "--peer", work, precision]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found["peer"].append(json.loads(done.stdout.strip().splitlines()[-1]))
        median = lambda side, key: statistics.median(value[key] for value in found[side])
        rate = lambda side: ROWS * CONTEXT / median(side, "seconds")
        memory = lambda side: median(side, "memory") / 1e9
        print(
            f"{work:8} {precision:5} feedforward {rate('ours'):5.0f} tokens/s, {memory('ours'):.2f} GB   "
            f"PyTorch {rate('peer'):5.0f} tokens/s, {memory('peer'):.2f} GB   "
            f"{rate('ours') / rate('peer'):.2f} times the rate, {memory('ours') / memory('peer'):.2f} of the memory",
            flush=True,
        )


main()
