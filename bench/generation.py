"""Generation beside llama.cpp: a GGUF file, greedy, in alternating rounds.

    bench/generation.py FEEDFORWARD MODEL.gguf [--threads N] [--rounds N]

Prints medians of tokens per second: 128 tokens after a short prompt, the same after 512 tokens, a
prompt of 512 tokens, and 64 tokens of each of 8 prompts at once. Needs llama-cpp-python.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import time

import llama_cpp
import numpy as np

SHORT = "The capital of France is"
LONG = "The capital of France is Paris, and the capital of Spain is Madrid. " * 60
EIGHT = [f"{name} is a city in" for name in "Paris Rome Berlin Madrid Vienna Lisbon Oslo Bern".split()]


class Peer:
    """llama.cpp through its C interface."""

    def __init__(self, path, threads):
        llama_cpp.llama_backend_init()
        # The log would be printed between the figures.
        self.silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.silent, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch, options.n_seq_max = 8192, 512, 512, 8
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.batch = llama_cpp.llama_batch_init(1024, 0, 1)

    def tokens(self, text):
        room = (llama_cpp.llama_token * 4096)()
        text = text.encode()
        count = llama_cpp.llama_tokenize(self.vocab, text, len(text), room, 4096, True, True)
        return list(room[:count])

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, entries):
        """Reads (token, position, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
        assert llama_cpp.llama_decode(self.context, batch) == 0

    def best(self, i):
        logits = llama_cpp.llama_get_logits_ith(self.context, i)
        return int(np.ctypeslib.as_array(logits, (self.size,)).argmax())

    def seconds(self, prompts, count):
        self.clear()
        start = time.perf_counter()
        prompts = [self.tokens(prompt)[:512] for prompt in prompts]
        entries, last = [], []
        for sequence, ids in enumerate(prompts):
            entries += [(id, at, sequence, at + 1 == len(ids)) for at, id in enumerate(ids)]
            last.append(len(entries) - 1)
        self.decode(entries)
        for step in range(count):
            new = [self.best(i) for i in last]
            if step + 1 == count:
                break
            last = list(range(len(prompts)))
            self.decode([(id, len(prompts[i]) + step, i, True) for i, id in enumerate(new)])
        return time.perf_counter() - start


def ours(program, path, threads, prompts, count):
    command = [program, "generate", path, "--temperature", "0", "--max-tokens", str(count)]
    command += ["--ignore-end", "--no-speculation", "--json", "--quiet", "--threads", str(threads)]
    for prompt in prompts:
        command += ["--prompt", prompt]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    written = json.loads(output.strip().splitlines()[-1])["generated"]
    return max(text["seconds"] for text in written)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    peer = Peer(options.model, options.threads)
    # A prompt of 512 tokens, in the words of both.
    long = LONG
    while len(peer.tokens(long)) > 512:
        long = long[: long.rstrip().rfind(" ")]
    length = len(peer.tokens(long))
    sides = {
        "feedforward": lambda *work: ours(options.program, options.model, options.threads, *work),
        "llama.cpp": peer.seconds,
    }
    rates = {}
    for _ in range(options.rounds):
        for side, seconds in sides.items():
            read_short, read_long = seconds([SHORT], 1), seconds([long], 1)
            found = {
                "128 tokens after a short prompt": 127 / (seconds([SHORT], 128) - read_short),
                f"128 tokens after {length}": 127 / (seconds([long], 128) - read_long),
                f"a prompt of {length}": length / read_long,
                "8 prompts, 64 tokens each": 8 * 64 / seconds(EIGHT, 64),
            }
            for work, rate in found.items():
                rates.setdefault(work, {}).setdefault(side, []).append(rate)
    print(f"tokens/s, {options.threads} threads, medians of {options.rounds} rounds")
    for work, sides in rates.items():
        a, b = (statistics.median(values) for values in sides.values())
        print(f"{work:34} feedforward {a:7.0f}   llama.cpp {b:7.0f}   {a / b:.2f}")


main()
