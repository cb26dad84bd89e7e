"""Writes the table of the end-to-end benchmark: numbers with two classes by a random two-layer teacher.

    python make_csv.py big.csv [rows]

The same file for the same number of rows: 50 columns `x0` to `x49` of several scales and shapes, six significant digits each,
and `target`, 0 or 1, drawn from the teacher's probability.
"""

import os
import sys

import numpy as np

COLUMNS = 50
HIDDEN = 64
CHUNK = 10_000


def main(path: str, rows: int) -> None:
    rng = np.random.Generator(np.random.PCG64(20_240_229))
    # Adjacent columns share a factor, like related measurements.
    mix = rng.standard_normal((10, COLUMNS)) * (rng.random((10, COLUMNS)) < 0.2)
    shift = rng.choice([0.0, 0.0, 5.0, -40.0, 1000.0], COLUMNS)
    scale = rng.choice([0.01, 1.0, 1.0, 12.5, 300.0], COLUMNS)
    skewed = rng.random(COLUMNS) < 0.2
    first = rng.standard_normal((COLUMNS, HIDDEN)) / np.sqrt(COLUMNS)
    second = rng.standard_normal(HIDDEN) * 4.0 / np.sqrt(HIDDEN)
    line = ",".join(["%.6g"] * COLUMNS) + ",%d"
    temporary = path + ".part"
    with open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.write(",".join(f"x{i}" for i in range(COLUMNS)) + ",target\n")
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            z = rng.standard_normal((n, COLUMNS)) + rng.standard_normal((n, 10)) @ mix
            logit = np.tanh(z @ first) @ second
            target = rng.random(n) < 1.0 / (1.0 + np.exp(-2.0 * logit))
            x = np.where(skewed, np.exp(0.7 * z), z) * scale + shift
            table = zip(x.tolist(), target.astype(int).tolist())
            file.writelines(line % (*row, y) + "\n" for row, y in table)
    os.replace(temporary, path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
