"""Scores and times of the estimators beside scikit-learn's own MLP by 5-fold cross-validation, as a table of Markdown.

    python bench/sklearn_scores.py            # needs feedforward and scikit-learn; about a minute

All have their defaults and the folds are the same. scikit-learn's MLP is shown as it is and behind a `StandardScaler`, since
ours scales its inputs by itself. A time is that of fitting and scoring all folds, the least of three.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from feedforward import FeedforwardClassifier, FeedforwardRegressor

DATA = [
    ("digits", load_digits, FeedforwardClassifier, MLPClassifier),
    ("wine", load_wine, FeedforwardClassifier, MLPClassifier),
    ("breast cancer", load_breast_cancer, FeedforwardClassifier, MLPClassifier),
    ("diabetes", load_diabetes, FeedforwardRegressor, MLPRegressor),
]


def scored(model: Any, x: Any, y: Any) -> tuple[float, float]:
    """The mean score of five folds, and seconds."""
    least, score = float("inf"), 0.0
    for _ in range(3):
        start = time.perf_counter()
        score = float(cross_val_score(model, x, y).mean())
        least = min(least, time.perf_counter() - start)
    return score, least


def main() -> None:
    warnings.filterwarnings("ignore")
    print(f"scikit-learn {sklearn.__version__}\n")
    print("| score, seconds | ours | scikit-learn's MLP | the same, scaled | times faster |")
    print("|---|---|---|---|---|")
    for name, load, ours, theirs in DATA:
        x, y = load(return_X_y=True)
        models = [ours(random_state=0), theirs(random_state=0)]
        models.append(make_pipeline(StandardScaler(), theirs(random_state=0)))
        found = [scored(model, x, y) for model in models]
        cells = (f"{score:.4f}, {seconds:.2f} s" for score, seconds in found)
        faster = ", ".join(f"{seconds / found[0][1]:.1f}" for _, seconds in found[1:])
        print(f"| {name} | " + " | ".join(cells) + f" | {faster} |", flush=True)


if __name__ == "__main__":
    main()
