"""Calls of the Python package beside those of NumPy, PyTorch and scikit-learn, as tables of Markdown.

    python bench/python_calls.py            # needs feedforward, torch and scikit-learn; about a minute

A time is the least of many blocks of 5 ms. Layers are one row through f(x Wᵀ + b) with ReLU in f32; a step is forward, softmax
cross-entropy, backward and Adam on one batch; a fit is EPOCHS passes over BATCHES batches, shuffled, by the estimators and
by the usual loop of PyTorch. The networks are those of ff-bench.
"""

from __future__ import annotations

import timeit
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peers.common import NETWORKS
from sklearn.neural_network import MLPClassifier

import feedforward
from feedforward import functional as F

LAYERS = [(1, 1), (16, 16), (64, 64), (784, 128)]
BATCHES, EPOCHS = 10, 5
BLOCK, SECONDS = 0.005, 0.6


def micros(call: Callable[[], Any]) -> float:
    """Microseconds of a call."""
    call()
    once = timeit.timeit(call, number=1)
    number = max(1, int(BLOCK / once))
    repeat = min(100, max(5, int(SECONDS / (once * number))))
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e6


def shown(us: float) -> str:
    return f"{us:.2f}" if us < 10 else f"{us:.0f}" if us < 1e4 else f"{us / 1e3:.0f} ms"


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def layers() -> None:
    rows = []
    for into, out in LAYERS:
        layer = feedforward.FeedforwardLayer(into, out)
        x = np.random.default_rng(0).normal(size=(1, into)).astype(np.float32)
        dy = np.ones((1, out), np.float32)
        layer.forward(x)
        weight, bias = layer.W, layer.b
        theirs = torch.nn.Sequential(torch.nn.Linear(into, out), torch.nn.ReLU())
        tensor, gradient = torch.tensor(x, requires_grad=True), torch.tensor(dy)

        def there_and_back(theirs: Any = theirs, x: Any = tensor, dy: Any = gradient) -> None:
            theirs(x).backward(dy)

        def both(layer: Any = layer, x: Any = x, dy: Any = dy) -> None:
            layer.forward(x)
            layer.backward(dy)

        with torch.no_grad():
            silent = micros(lambda theirs=theirs, x=tensor: theirs(x))
        times = [
            micros(lambda layer=layer, x=x: layer.forward(x)),
            micros(lambda x=x, w=weight, b=bias: np.maximum(x @ w.T + b, 0)),
            silent,
            micros(both),
            micros(there_and_back),
        ]
        rows.append([f"{into} → {out}", *map(shown, times)])
    head = ["one row, µs", "`forward`", "NumPy", "PyTorch, no gradients"]
    table([*head, "`forward` and `backward`", "PyTorch, forward and backward"], rows)


def batch_of(widths: tuple[int, ...], rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(rows, widths[0])).astype(np.float32)
    return x, np.arange(rows) % widths[-1]


def our_step(widths: tuple[int, ...], rows: int) -> Callable[[], Any]:
    x, labels = batch_of(widths, rows)
    labels = labels.astype(np.int32)
    pairs = list(zip(widths, widths[1:], strict=False))
    names = ["relu"] * (len(pairs) - 1) + ["identity"]
    layers = [
        feedforward.FeedforwardLayer(into, out, f) for (into, out), f in zip(pairs, names, strict=True)
    ]
    arrays = [array for layer in layers for array in (layer.W, layer.b)]
    optimizer = F.Optimizer(arrays, "adam", lr=1e-6)

    def step() -> None:
        y = x
        for layer in layers:
            y = layer.forward(y)
        dy = F.cross_entropy.vjp(y, labels)[1]()[0]
        for layer in reversed(layers):
            dy = layer.backward(dy)
        optimizer.step([array for layer in layers for array in (layer.dW, layer.db)])

    return step


def network(widths: tuple[int, ...]) -> torch.nn.Module:
    parts: list[torch.nn.Module] = []
    for into, out in zip(widths, widths[1:], strict=False):
        parts += [torch.nn.Linear(into, out), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def torch_step(widths: tuple[int, ...], rows: int) -> Callable[[], Any]:
    x, labels = map(torch.tensor, batch_of(widths, rows))
    model = network(widths)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step


def steps() -> None:
    rows = []
    for name, widths, size in NETWORKS:
        ours, theirs = micros(our_step(widths, size)), micros(torch_step(widths, size))
        rows.append([f"{name}, {size} rows", shown(ours), shown(theirs), f"{theirs / ours:.1f}"])
    table(["a training step, µs", "layers and `F.Optimizer`", "PyTorch", "times faster"], rows)


def fits() -> None:
    rows = []
    for name, widths, size in NETWORKS:
        x, labels = batch_of(widths, size * BATCHES)
        same = {"batch_size": size, "max_iter": EPOCHS, "tol": 0.0, "learning_rate_init": 1e-6}
        theirs = MLPClassifier(widths[1:-1], alpha=0.0, n_iter_no_change=EPOCHS + 1, **same)
        same["learning_rate"] = same.pop("learning_rate_init")
        ours = feedforward.FeedforwardClassifier(
            widths[1:-1], weight_decay=0.0, n_iter_no_change=EPOCHS + 1, standardize=False, **same
        )

        def loop(x: Any = torch.tensor(x), y: Any = torch.tensor(labels), w: Any = widths, b: int = size) -> None:
            model = network(w)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
            for _ in range(EPOCHS):
                for batch in torch.randperm(len(x)).split(b):
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                    optimizer.step()

        times = [
            micros(lambda ours=ours, x=x, y=labels: ours.fit(x, y)),
            micros(lambda theirs=theirs, x=x, y=labels: theirs.fit(x, y)),
            micros(loop),
        ]
        ratios = [f"{times[i] / times[0]:.1f}" for i in (1, 2)]
        one = x[:1]
        calls = [micros(lambda m=m, x=one: m.predict_proba(x)) for m in (ours, theirs)]
        rows.append([name, *(f"{t / 1e3:.1f} ms" for t in times), *ratios, *map(shown, calls)])
    head = ["`fit`", "ours", "scikit-learn", "PyTorch", "scikit-learn / ours", "PyTorch / ours"]
    table([*head, "`predict_proba` of a row, µs", "scikit-learn's"], rows)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    versions = f"NumPy {np.__version__}, PyTorch {torch.__version__.split('+')[0]}"
    print(f"{versions}, {torch.get_num_threads()} threads\n")
    layers()
    steps()
    fits()
