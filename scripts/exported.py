"""What the comparisons of an exported model with `feedforward predict` share: rows, predictions, differences."""

import csv
import gzip
import math
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

TOLERANCE = 1e-5


def number(text: str) -> float:
    """A number, a date as seconds, or NaN."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return math.nan


def read(table: Path) -> list[dict[str, str]]:
    """Up to 5,000 rows."""
    opener = gzip.open if table.suffix == ".gz" else open
    with opener(table, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))[:5000]


def export(program: str, run: Path, to: str, folder: str) -> Path:
    """The exported model."""
    path = Path(folder) / f"model.{to}"
    subprocess.run([program, "export", run, "--to", to, "--out", path, "--quiet"], check=True)
    return path


def predict(program: str, run: Path, rows: list[dict[str, str]], folder: str, classes: bool) -> list[dict[str, str]]:
    """The rows with the program's own predictions."""
    changed, predicted = Path(folder) / "rows.csv", Path(folder) / "predicted.csv"
    with open(changed, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    proba = ["--proba"] if classes else []
    subprocess.run([program, "predict", run, "--data", changed, "--out", predicted, "--quiet", *proba], check=True)
    with open(predicted, newline="") as file:
        return list(csv.DictReader(file))


def probabilities(expected: list[dict[str, str]]) -> np.ndarray:
    """The program's probabilities, a column for each class."""
    names = [name for name in expected[0] if name.startswith("probability_")]
    return np.array([[float(row[name]) for name in names] for row in expected])


def difference(output: np.ndarray, expected: list[dict[str, str]], classes: bool) -> float:
    """The largest difference of a probability, or of a number in standard deviations."""
    if classes:
        return float(np.abs(output - probabilities(expected)).max())
    wanted = np.array([float(row["prediction"]) for row in expected])
    return float(np.abs(output[:, 0] - wanted).max() / max(wanted.std(), 1e-300))
