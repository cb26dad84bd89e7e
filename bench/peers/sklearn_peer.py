"""scikit-learn: steps inside `MLPClassifier.fit`, `predict_proba` with inputs assumed finite.

`partial_fit` costs more than a millisecond by itself before the first step, so whole fits of many steps are timed; batches
are not shuffled, which saves gathering their rows.
"""

import statistics
import time
import warnings

import common

args = common.arguments()

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

if args.versions:
    common.versions(**{"scikit-learn": sklearn.__version__})
    raise SystemExit

warnings.filterwarnings("ignore")
sklearn.set_config(assume_finite=True)
rng = np.random.default_rng(0)


def classifier(widths, batch, epochs):
    return MLPClassifier(
        widths[1:-1],
        solver="adam",
        alpha=0,
        batch_size=batch,
        learning_rate_init=common.LEARNING_RATE,
        max_iter=epochs,
        n_iter_no_change=epochs + 1,
        shuffle=False,
    )


def data(widths, rows):
    x = rng.standard_normal((rows, widths[0]), dtype=np.float32)
    # Every class occurs, however few the rows.
    return x, np.arange(rows) % widths[-1]


class Fit:
    BATCHES = 10
    FITS = 7

    def __init__(self, widths, batch):
        self.widths, self.batch = widths, batch
        self.x, self.y = data(widths, self.BATCHES * batch)

    def __call__(self, steps):
        classifier(self.widths, self.batch, max(1, steps // self.BATCHES)).fit(self.x, self.y)

    def measure(self, seconds):
        """Several fits, with enough steps to fill the time."""
        steps, times = 100, []
        while len(times) < 1 + self.FITS:
            start = time.perf_counter()
            self(steps)
            times.append((time.perf_counter() - start) / steps)
            if len(times) == 1:  # warm-up, which also gives the time of a step
                steps = self.BATCHES * max(1, int(seconds / self.FITS / times[0] / self.BATCHES))
        return statistics.median(times[1:]), min(times[1:])


def train(widths, batch):
    return lambda: Fit(widths, batch)


def infer(widths, rows):
    def make():
        model = classifier(widths, 64, 1).fit(*data(widths, 64))
        x, _ = data(widths, rows)
        return common.repeat(lambda: model.predict_proba(x))

    return make


works = [(f"train/{name}-b{batch}", train(widths, batch)) for name, widths, batch in common.NETWORKS]
for rows in (1, 32):
    works += [(f"infer{rows}/{name}", infer(widths, rows)) for name, widths, _ in common.NETWORKS]
common.main(args, works)
