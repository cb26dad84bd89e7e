"""Whether tokenizers that feedforward wrote give the same ids in Python.

    python tokenizers_agree.py FEEDFORWARD TEXT FOLDER...

Each folder is loaded with transformers' AutoTokenizer and with the package tokenizers; every line of the text, and some
odd ones, are encoded by both and by `feedforward tokenizer encode`, and decoded again.
"""

import json
import pathlib
import subprocess
import sys

import tokenizers
import transformers

ODD = [
    "",
    " ",
    "  two  blanks \t and tabs\t",
    "It's 2026, they'LL've 123456 1½ Ⅷ",
    "Zürich 漢字。 Ж 🙂 e\u0301 \u00a0\u200b",
    "end<|endoftext|>of<|endoftext|>",
    "don't!!!??? a.b.c  x",
]


def main():
    program, text, *folders = sys.argv[1:]
    lines = [line.rstrip("\r") for line in pathlib.Path(text).read_text().split("\n")]
    for folder in folders:
        slow = transformers.AutoTokenizer.from_pretrained(folder)
        fast = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
        odd = [] if "characters" in folder else ODD
        wanted = lines + odd
        ran = subprocess.run(
            [program, "tokenizer", "encode", folder, "--json"],
            input="\n".join(wanted) + "\n",
            capture_output=True,
            text=True,
            check=True,
        )
        ours = [json.loads(line)["ids"] for line in ran.stdout.splitlines()]
        assert len(ours) == len(wanted), (len(ours), len(wanted))
        for line, ids in zip(wanted, ours):
            assert ids == slow(line, add_special_tokens=False)["input_ids"], (folder, line)
            assert ids == fast.encode(line, add_special_tokens=False).ids, (folder, line)
        total = sum(map(len, ours))
        print(f"{folder}: {len(wanted)} lines, {total} ids agree, vocabulary {len(slow)}, eos {slow.eos_token_id}")


main()
