"""Writes the small tables of this folder from the copies in scikit-learn.

Run it with `python datasets/export.py`; it needs scikit-learn and no network. Numbers are written with the
shortest text that reads back to the same 64-bit float, so the files are exact and stay the same between runs.
"""

import csv
from pathlib import Path

from sklearn import datasets

FOLDER = Path(__file__).resolve().parent


def text(value):
    """The shortest exact text of a number: integers without a point."""
    value = float(value)
    return str(int(value)) if value.is_integer() else repr(value)


def column(name):
    """A header that needs no quotes: `mean radius` -> `mean_radius`, `sepal length (cm)` -> `sepal_length_cm`."""
    for old, new in (("(", ""), (")", ""), ("/", "_"), (" ", "_")):
        name = name.replace(old, new)
    return name


def write(name, headers, rows):
    with open(FOLDER / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows(rows)
    print(f"{name}: {len(rows)} rows, {len(headers)} columns")


def labelled(name, data, target):
    names = [str(label) for label in data.target_names]
    headers = [column(str(feature)) for feature in data.feature_names] + [target]
    rows = [[*map(text, x), names[y]] for x, y in zip(data.data, data.target)]
    write(name, headers, rows)


def main():
    digits = datasets.load_digits()
    headers = [f"pixel{i}" for i in range(64)] + ["label"]
    write("digits.csv", headers, [[*map(text, x), int(y)] for x, y in zip(digits.data, digits.target)])

    labelled("iris.csv", datasets.load_iris(), "species")
    labelled("wine.csv", datasets.load_wine(), "cultivar")
    labelled("breast_cancer.csv", datasets.load_breast_cancer(), "diagnosis")

    diabetes = datasets.load_diabetes(scaled=False)
    headers = [column(str(feature)) for feature in diabetes.feature_names] + ["progression"]
    write("diabetes.csv", headers, [[*map(text, x), text(y)] for x, y in zip(diabetes.data, diabetes.target)])


if __name__ == "__main__":
    main()
