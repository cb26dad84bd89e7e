"""Pairs of questions of banking77 as one text each, with the intents of both as labels: a table for several labels.

    python scripts/two_intents.py banking77_train.csv two.csv
"""

import csv
import random
import sys


def main(source, out):
    with open(source, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random.Random(3).shuffle(rows)
    with open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "intents"])
        for a, b in zip(rows[:4000], rows[4000:8000]):
            table.writerow([f"{a['text']} {b['text']}", "|".join(sorted({a["category"], b["category"]}))])


if __name__ == "__main__":
    main(*sys.argv[1:])
