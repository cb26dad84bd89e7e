"""Neural networks from one feedforward layer up, computed by a Rust library.

>>> from feedforward import FeedforwardLayer
>>> layer = FeedforwardLayer(784, 128, activation="relu")
>>> y = layer.forward(x)
>>> dx = layer.backward(dy)
"""

from __future__ import annotations

from typing import Any

from feedforward._layer import FeedforwardLayer

__all__ = [
    "FeedforwardClassifier",
    "FeedforwardLayer",
    "FeedforwardRegressor",
    "FeedforwardTransformer",
]

# Imported when first used, since they need packages that take long to import.
_LAZY = {
    "FeedforwardClassifier": "sklearn",
    "FeedforwardRegressor": "sklearn",
    "FeedforwardTransformer": "sklearn",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        return getattr(import_module(f"feedforward.{_LAZY[name]}"), name)
    if name in {"functional", "sklearn", "torch"}:
        return import_module(f"feedforward.{name}")
    raise AttributeError(f"module 'feedforward' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "functional"])
