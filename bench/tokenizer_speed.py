"""Times learning a byte-pair tokenizer and encoding with it, beside `tokenizers` and `tiktoken`.

    taskset -c 0 python bench/tokenizer_speed.py TEXT     # one thread
    taskset -c 0-1 python bench/tokenizer_speed.py TEXT   # two

TEXT is a file of lines. Every library learns or gets the same vocabulary, and the ids are compared:
a library that encodes something else is not timed. Medians of alternating rounds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

THREADS = len(os.sched_getaffinity(0))
os.environ["RAYON_NUM_THREADS"] = str(THREADS)
os.environ["TOKENIZERS_PARALLELISM"] = "true" if THREADS > 1 else "false"

import feedforward  # noqa: E402
import tiktoken  # noqa: E402
import tokenizers  # noqa: E402

# GPT-2's pattern, which all three get.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def learn_theirs(path, vocab_size):
    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    learned.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    learned.train([path], trainer)
    return learned


def byte_of():
    """The byte that each letter of a byte-level vocabulary stands for (GPT-2's `bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(256 + at): byte for at, byte in enumerate(hidden)}


def as_tiktoken(vocabulary):
    letters = byte_of()
    ranks = {bytes(letters[c] for c in token): id for token, id in vocabulary.items()}
    return tiktoken.Encoding("learned", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def report(what, megabytes, actions, rounds):
    times = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(timed(action))
    rates = {name: megabytes / statistics.median(seconds) for name, seconds in times.items()}
    ours = rates["feedforward"]
    for name, rate in rates.items():
        beside = "" if name == "feedforward" else f"  ours is {ours / rate:.2f} times as fast"
        print(f"{what:<22} {name:<12} {rate:8.2f} MB/s{beside}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("text")
    arguments.add_argument("--vocab", type=int, default=8192)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with open(given.text, encoding="utf-8") as file:
        text = file.read()
    lines = [line for line in text.split("\n") if line]
    megabytes = len(text.encode()) / 1e6
    print(
        f"{os.path.basename(given.text)}, {megabytes:.1f} MB in {len(lines)} lines, {given.vocab} tokens, "
        f"threads: {THREADS}; tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}"
    )

    def learn_ours():
        return feedforward.Tokenizer.train(files=given.text, vocab_size=given.vocab)

    report(
        "learning",
        megabytes,
        {"feedforward": learn_ours, "tokenizers": lambda: learn_theirs(given.text, given.vocab)},
        given.rounds,
    )
    ours = learn_ours()
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        path = os.path.join(folder, "tokenizer.json")
        theirs = tokenizers.Tokenizer.from_file(path)
        with open(path, encoding="utf-8") as file:
            vocabulary = json.load(file)["model"]["vocab"]
    theirs.post_processor = None
    third = as_tiktoken(vocabulary)
    expected = ours.encode_all(lines)
    encoders = {
        "feedforward": lambda: ours.encode_all(lines),
        "tokenizers": lambda: theirs.encode_batch_fast(lines, add_special_tokens=False),
        "tiktoken": lambda: third.encode_ordinary_batch(lines, num_threads=THREADS),
    }
    found = {
        "tokenizers": [e.ids for e in theirs.encode_batch_fast(lines, add_special_tokens=False)],
        "tiktoken": third.encode_ordinary_batch(lines, num_threads=THREADS),
    }
    for name, ids in found.items():
        wrong = sum(a != b for a, b in zip(ids, expected, strict=True))
        if wrong:
            print(f"{name} encodes {wrong} lines in another way and is not timed")
            del encoders[name]
    report("encoding, by lines", megabytes, encoders, given.rounds)
    whole = {"feedforward": lambda: ours.encode(text), "tokenizers": lambda: theirs.encode(text)}
    if "tiktoken" in encoders:
        whole["tiktoken"] = lambda: third.encode_ordinary(text)
    report("encoding, as one text", megabytes, whole, given.rounds)


if __name__ == "__main__":
    main()
