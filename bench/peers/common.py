"""Code shared by the Python peers: the works, the clock, the command line.

A work is timed as ff-bench times ours: warm-up, then blocks of about 10 ms, and the median block counts.
"""

import argparse
import json
import os
import statistics
import sys
import time

# Name, widths, rows of a training step.
NETWORKS = [
    ("digits-64-128-10", (64, 128, 10), 64),
    ("mnist-784-512-256-10", (784, 512, 256, 10), 128),
    ("tab-50-256-256-2", (50, 256, 256, 2), 256),
]
# Name, tokens, width, hidden width, whether gated (and without biases).
BLOCKS = [
    ("gpt2", 1024, 768, 3072, False),
    ("llama", 512, 2048, 5632, True),
]
# Rows, columns and depth of plain products.
PRODUCTS = [(512, 512, 512), (1024, 3072, 768), (2048, 2048, 2048)]
# Name, sequences, their length, heads, features per head.
ATTENTION = [
    ("gpt2-b4-t64", 4, 64, 12, 64),
    ("small-b4-t256", 4, 256, 6, 64),
    ("chars-b12-t64", 12, 64, 4, 32),
    ("gpt2-b1-t1024", 1, 1024, 12, 64),
]
# Name, tokens, width, classes of the last layer with its loss.
HEADS = [
    ("characters", 768, 128, 65),
    ("small", 2048, 384, 8192),
    ("gpt2", 1024, 768, 50257),
]
# Name, vocabulary, layers, heads, width, context, windows per training step.
LANGUAGE_MODELS = [
    ("gpt2-4x128", 65, 4, 4, 128, 64, 12),
    ("gpt2-6x384", 65, 6, 6, 384, 256, 4),
    ("gpt2-124m", 50257, 12, 12, 768, 64, 4),
]
# The rate hardly moves the weights, so no network memorises its random labels and computes with
# subnormals.
LEARNING_RATE = 1e-6

WARM_UP = 0.5
BLOCK = 0.010
LEAST_BLOCKS = 5


def arguments(variants=("",)):
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="works whose name contains one of these, with commas between")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--memory", action="store_true", help="what the first chosen work adds to resident memory")
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--versions", action="store_true", help="print the versions of what is used and stop")
    return parser.parse_args()


def measure(run, seconds):
    """Seconds per step (median block, fastest block) of `run(steps)`, which runs a number of steps."""
    steps, done = 1, 0
    run(1)  # compiles, if necessary
    warm = time.perf_counter()
    while time.perf_counter() - warm < WARM_UP:
        run(steps)
        done += steps
        steps *= 2
    step = (time.perf_counter() - warm) / done
    block = max(1, int(BLOCK / step))
    times = []
    start = time.perf_counter()
    while len(times) < LEAST_BLOCKS or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        run(block)
        times.append((time.perf_counter() - before) / block)
    return statistics.median(times), min(times)


def repeat(step):
    """A `run(steps)` from a function that runs one step."""

    def run(steps):
        for _ in range(steps):
            step()

    return run


def resident(key):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def main(args, works, imports=lambda work: None):
    """Runs the chosen works.

    `works` is a list of (name, make); make() gives a `run(steps)`, or something with a `measure(seconds)` of its own.
    `imports(name)` makes a peer import what it only imports at a work's first step, which is no memory of the training.
    """
    patterns = args.only.split(",")
    for name, make in works:
        if not any(pattern in name for pattern in patterns):
            continue
        if args.memory:
            imports(name)
            # The peak from here on, less the memory of the process after its imports.
            with open("/proc/self/clear_refs", "w") as peak:
                peak.write("5")
            before = resident("VmRSS:")
            make()(5)
            print(json.dumps({"work": name, "resident_bytes": resident("VmHWM:") - before}), flush=True)
            return
        try:
            run = make()
            median, least = run.measure(args.seconds) if hasattr(run, "measure") else measure(run, args.seconds)
        except Exception as error:  # a failing work is reported, and the others continue
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps({"work": name, "us": round(median * 1e6, 3), "us_min": round(least * 1e6, 3)}), flush=True)


def versions(**of):
    print(json.dumps({"versions": of}))
