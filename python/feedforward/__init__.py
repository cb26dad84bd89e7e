"""Neural networks from one feedforward layer up, computed by a Rust library.

A layer, as the tutorial has it:

>>> from feedforward import FeedforwardLayer
>>> layer = FeedforwardLayer(784, 128, activation="relu")
>>> y = layer.forward(x)
>>> dx = layer.backward(dy)

A whole run, from a table to scores, a report and predictions:

>>> import feedforward
>>> run = feedforward.train(frame, target="species")
>>> run.predict(new_rows)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feedforward._engines import Predictor, predictor
from feedforward._errors import (
    DataError,
    Error,
    FileError,
    NotFoundError,
    OutOfMemoryError,
    PermissionDeniedError,
    RecipeError,
    RunError,
    TrainingError,
    UsageError,
)
from feedforward._layer import FeedforwardLayer
from feedforward._model import Model, UnfamiliarWarning
from feedforward._run import Run
from feedforward._runs import (
    evaluate,
    export,
    finetune,
    generate,
    import_model,
    inspect,
    plan,
    predict,
    pretrain,
    resume,
    train,
    tune,
)
from feedforward._search import Search
from feedforward._tensors import load_tensors, save_tensors
from feedforward._tokenizer import Tokenizer

if TYPE_CHECKING:
    from feedforward.sklearn import (
        FeedforwardClassifier,
        FeedforwardRegressor,
        FeedforwardTransformer,
    )

__all__ = [
    "DataError",
    "Error",
    "FeedforwardClassifier",
    "FeedforwardLayer",
    "FeedforwardRegressor",
    "FeedforwardTransformer",
    "FileError",
    "Model",
    "NotFoundError",
    "OutOfMemoryError",
    "PermissionDeniedError",
    "Predictor",
    "RecipeError",
    "Run",
    "RunError",
    "Search",
    "Tokenizer",
    "TrainingError",
    "UnfamiliarWarning",
    "UsageError",
    "evaluate",
    "export",
    "finetune",
    "generate",
    "import_model",
    "inspect",
    "load_tensors",
    "plan",
    "predict",
    "predictor",
    "pretrain",
    "resume",
    "save_tensors",
    "train",
    "tune",
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
