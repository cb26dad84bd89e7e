"""Estimators for scikit-learn whose training runs in Rust.

>>> from feedforward import FeedforwardClassifier
>>> FeedforwardClassifier(hidden_layer_sizes=(64, 32)).fit(X, y).score(X, y)
"""

from __future__ import annotations

import json
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from feedforward._core import Network

try:
    from sklearn.utils._array_api import check_same_namespace, get_namespace, move_to
    from sklearn.utils._array_api import device as array_device
except ImportError:  # Before scikit-learn 1.9.
    move_to = None

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

__all__ = ["FeedforwardClassifier", "FeedforwardRegressor", "FeedforwardTransformer"]


# Chosen by cross-validation within the training parts of small tables, with steps of 64 rows and 50
# passes: better than 0.001 with 200 rows and passes, and several times as fast.
ADAM_RATE = 0.003
# From so many on, steps are of 200 rows.
MANY_ROWS = 10_000


def _is_foreign(array: Any) -> bool:
    """Whether it is an array of another namespace, which scikit-learn is told to dispatch on."""
    dispatches = move_to is not None and get_config()["array_api_dispatch"]
    return dispatches and hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray)


def _numpy(array: Any) -> Any:
    """An array of another namespace as NumPy's; anything else as it is."""
    return move_to(array, xp=np, device="cpu") if _is_foreign(array) else array


def _in_namespace(method: Any) -> Any:
    """The method with arrays of X's namespace and device as its results."""

    @wraps(method)
    def call(self: Any, X: Any) -> Any:
        if move_to is not None and hasattr(self, "_like"):
            check_same_namespace(X, self, attribute="_like", method=method.__name__)
        values = method(self, _numpy(X))
        # Classes that are texts have no other namespace.
        if not _is_foreign(X) or values.dtype.kind not in "biuf":
            return values
        return move_to(values, xp=get_namespace(X)[0], device=array_device(X))

    return call


class _Target:
    """How a target column becomes numbers for the network and back."""

    classes: NDArray[Any] | None = None
    mean: NDArray[Any] | float = 0.0
    scale: NDArray[Any] | float = 1.0

    def __init__(self, kind: str, outputs: int, loss: str) -> None:
        self.kind, self.outputs, self.loss = kind, outputs, loss


class _Feedforward(BaseEstimator):
    """What the estimators share."""

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        norm: str = "none",
        dropout: float = 0.0,
        optimizer: str | Mapping[str, Any] = "adam",
        learning_rate: float | None = None,
        schedule: str | Mapping[str, Any] = "constant",
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.norm = norm
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.callback = callback

    # ---- What differs between estimators.

    def _target_of(self, y: NDArray[Any]) -> _Target:
        raise NotImplementedError

    def _encoded(self, y: NDArray[Any]) -> NDArray[Any]:
        """The target as the network's loss reads it."""
        target = self._target
        if target.classes is not None:
            return np.searchsorted(target.classes, y).astype(np.int32)
        y = y.reshape(len(y), -1)
        if target.kind == "values":
            y = (y - target.mean) / target.scale
        return np.ascontiguousarray(y, dtype=self._dtype)

    def _weights(
        self, X: NDArray[Any], y: NDArray[Any], sample_weight: ArrayLike | None
    ) -> NDArray[Any] | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return weights

    # ---- Fitting.

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows X and their targets y."""
        given = X
        X, y, sample_weight = _numpy(X), _numpy(y), _numpy(sample_weight)
        X, y = self._checked(X, y, reset=True)
        # No values, but the namespace and the device.
        self._like = given[:0, ...] if _is_foreign(given) else X[:0]
        weights = self._weights(X, y, sample_weight)
        seed = self._seed()
        if not (self.warm_start and hasattr(self, "_network")):
            self._start(X, y, weights, seed)
        else:
            self._check_classes(y, "warm_start: y has classes outside those of the first fit,")
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []
        self.n_iter_ = 0
        return self._train(X, y, weights, seed, epochs=self.max_iter, resume=False)

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, classes: Any = None
    ) -> Self:
        X, y, sample_weight = _numpy(X), _numpy(y), _numpy(sample_weight)
        first = not hasattr(self, "_network")
        X, y = self._checked(X, y, reset=first)
        weights = self._weights(X, y, sample_weight)
        if first:
            self._seed_ = self._seed()
            self._start(X, y if classes is None else np.asarray(classes), weights, self._seed_)
            self.loss_curve_, self.validation_loss_curve_ = [], []
            self.n_iter_ = 0
        self._check_classes(y, "y has classes outside")
        # Another order of the rows in each call.
        seed = getattr(self, "_seed_", 0) + self.n_iter_
        return self._train(X, y, weights, seed, epochs=1, resume=True)

    def _check_classes(self, y: NDArray[Any], problem: str) -> None:
        known = self._target.classes
        if known is not None and not np.isin(y, known).all():
            raise ValueError(f"{problem} {known}")

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=(np.float64, np.float32),
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
        )
        return X, self._checked_target(y)

    def _checked_target(self, y: NDArray[Any]) -> NDArray[Any]:
        return y

    def _start(
        self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any] | None, seed: int
    ) -> None:
        """A network with initial values, and the scales of its inputs."""
        self._dtype = X.dtype
        # A tuple, since arrays of estimators are of X's namespace.
        self._scaling = _scales(X, weights) if self.standardize else None
        self._target = self._target_of(y)
        if self._target.kind == "values" and self.standardize:
            self._target.mean, self._target.scale = _scales(y.reshape(len(y), -1), weights)
        config = {
            "network": {
                "inputs": X.shape[1],
                "outputs": self._target.outputs,
                "hidden": self._hidden(),
            },
            "loss": self._target.loss,
            "dtype": self._dtype.name,
            "seed": seed,
        }
        self._network = Network(json.dumps(config))

    def _hidden(self) -> list[dict[str, Any]]:
        widths = self.hidden_layer_sizes
        widths = [widths] if isinstance(widths, (int, np.integer)) else list(widths)
        names = self.activation
        names = [names] * len(widths) if isinstance(names, str) else list(names)
        if len(names) != len(widths):
            raise ValueError(f"activation has {len(names)} names for {len(widths)} hidden layers")
        if any(width != int(width) or width < 1 for width in widths):
            raise ValueError(f"hidden_layer_sizes must be whole numbers above 0, found {widths}")
        same = {"norm": self.norm, "dropout": float(self.dropout)}
        names = [{"logistic": "sigmoid"}.get(name, name) for name in names]
        return [
            {"width": int(width), "activation": name, **same}
            for width, name in zip(widths, names, strict=True)
        ]

    def _training(self, rows: int, epochs: int, seed: int) -> str:
        def table(value: str | Mapping[str, Any]) -> dict[str, Any]:
            return {"kind": value} if isinstance(value, str) else dict(value)

        optimizer = table(self.optimizer)
        if self.learning_rate is not None:
            optimizer["lr"] = float(self.learning_rate)
        elif optimizer.get("kind") in ("adam", "adamw"):
            optimizer.setdefault("lr", ADAM_RATE)
        if self.weight_decay is not None:
            optimizer["weight_decay"] = float(self.weight_decay)
        if self.batch_size == "auto":
            batch = min(64 if rows < MANY_ROWS else 200, rows)
        else:
            batch = int(self.batch_size)
        if batch < 1 or epochs < 1:
            raise ValueError("batch_size and max_iter must be at least 1")
        return json.dumps(
            {
                "optimizer": optimizer,
                "schedule": table(self.schedule),
                "epochs": int(epochs),
                "batch_size": batch,
                "patience": int(self.n_iter_no_change),
                "min_delta": float(self.tol),
                "seed": seed,
            }
        )

    def _train(
        self,
        X: NDArray[Any],
        y: NDArray[Any],
        weights: NDArray[Any] | None,
        seed: int,
        *,
        epochs: int,
        resume: bool,
    ) -> Self:
        if weights is not None:
            # So that a weight of 0 is the same as the absence of the row.
            there = weights > 0
            X, y, weights = X[there], y[there], weights[there]
        valid = None
        if self.early_stopping and not resume:
            X, y, weights, valid = self._split(X, y, weights, seed)
        history = self._network.fit(
            self._scaled(X),
            self._encoded(y),
            weights,
            self._training(len(X), epochs, seed),
            valid=valid,
            resume=resume,
            callback=self.callback,
        )
        self.loss_curve_ += [loss for loss, _ in history]
        self.validation_loss_curve_ += [loss for _, loss in history if loss is not None]
        self.n_iter_ += len(history)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else None
        return self

    def _split(
        self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any] | None, seed: int
    ) -> tuple[Any, Any, Any, Any]:
        rows = np.arange(len(X))
        strata = None
        if self._target.kind == "classes" and np.unique(y, return_counts=True)[1].min() > 1:
            strata = y
        train, valid = train_test_split(
            rows, test_size=self.validation_fraction, random_state=seed % 2**32, stratify=strata
        )
        held = (
            self._scaled(X[valid]),
            self._encoded(y[valid]),
            None if weights is None else weights[valid],
        )
        return X[train], y[train], None if weights is None else weights[train], held

    def _scaled(self, X: NDArray[Any]) -> NDArray[Any]:
        if self._scaling is not None:
            mean, scale = self._scaling
            X = (X - mean) / scale
        return np.ascontiguousarray(X, dtype=self._dtype)

    # ---- Using.

    def _outputs(self, X: Any, layers: int | None = None) -> NDArray[Any]:
        check_is_fitted(self, "_network")
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        return self._network.outputs(self._scaled(X), layers)

    @property
    def parameters_(self) -> dict[str, NDArray[Any]]:
        """The parameters by name: ``layers.0.weight`` is ``[out, in]``."""
        check_is_fitted(self, "_network")
        return dict(self._network.parameters())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network") and hasattr(self, "loss_curve_")


class FeedforwardClassifier(ClassifierMixin, _Feedforward):
    """A feedforward network for classes or for several true-or-false labels.

    Parameters
    ----------
    hidden_layer_sizes : widths of the hidden layers.
    activation : one name for all hidden layers, or one for each.
    norm : "none", "batch", "layer" or "rms": the normalisation before each activation.
    dropout : the fraction of hidden values dropped in training.
    optimizer : a name ("adam", "adamw", "sgd", "lion", "muon", …), or the optimizer table of a
        recipe as a dict.
    learning_rate : by default 0.003 with Adam and AdamW, else that of the optimiser.
    schedule : a name ("constant", "cosine", …), or the schedule table of a recipe as a dict.
    weight_decay : decay of the weight matrices; by default that of the optimiser.
    batch_size : rows of a step; "auto" for 64, or 200 from 10,000 rows on.
    max_iter : the most passes over the rows.
    tol, n_iter_no_change : training stops when its loss, or with ``early_stopping`` the loss on a
        held-out part, has not fallen by ``tol`` for so many passes.
    early_stopping, validation_fraction : hold out a part of the rows, and keep the weights that
        were best on it.
    standardize : scale inputs (and the targets of a regression) to mean 0 and variance 1.
    class_weight : a weight per class, or "balanced".
    warm_start : go on from the last weights when fitted again.
    random_state : the seed of initial weights and of the order of rows.
    callback : called after each pass with a dict (epoch, loss, valid_loss, lr); a true answer
        stops training.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        norm: str = "none",
        dropout: float = 0.0,
        optimizer: str | Mapping[str, Any] = "adam",
        learning_rate: float | None = None,
        schedule: str | Mapping[str, Any] = "constant",
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            norm=norm,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            warm_start=warm_start,
            random_state=random_state,
            callback=callback,
        )
        self.class_weight = class_weight

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One pass over these rows; ``classes`` lists all classes in the first call."""
        self._partial_fit(X, y, sample_weight, None if classes is None else np.unique(classes))
        return self

    def _checked_target(self, y: NDArray[Any]) -> NDArray[Any]:
        check_classification_targets(y)
        if type_of_target(y) == "multilabel-indicator":
            return y
        return column_or_1d(y, warn=True)

    def _target_of(self, y: NDArray[Any]) -> _Target:
        if y.ndim == 2:
            self.classes_ = np.arange(y.shape[1])
            return _Target("labels", y.shape[1], "binary_cross_entropy")
        self.classes_ = np.unique(y)
        target = _Target("classes", len(self.classes_), "cross_entropy")
        target.classes = self.classes_
        return target

    def _weights(
        self, X: NDArray[Any], y: NDArray[Any], sample_weight: ArrayLike | None
    ) -> NDArray[Any] | None:
        weights = super()._weights(X, y, sample_weight)
        if self.class_weight is None:
            return weights
        classes = compute_sample_weight(self.class_weight, y).astype(X.dtype)
        return classes if weights is None else weights * classes

    @_in_namespace
    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """The logits; for two classes, that of the second less that of the first."""
        logits = self._outputs(X)
        if self._target.kind == "classes" and logits.shape[1] == 2:
            return logits[:, 1] - logits[:, 0]
        return logits

    @_in_namespace
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """The probability of each class, or of each label."""
        logits = self._outputs(X)
        if self._target.kind == "labels":
            return 0.5 * (1 + np.tanh(0.5 * logits))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    @_in_namespace
    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """The logarithm of :meth:`predict_proba`."""
        logits = self._outputs(X)
        if self._target.kind == "labels":
            return -np.logaddexp(0, -logits)
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    @_in_namespace
    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class, or the labels that are more likely than not."""
        logits = self._outputs(X)
        if self._target.kind == "labels":
            return (logits > 0).astype(int)
        return self.classes_[logits.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.array_api_support = move_to is not None
        return tags


class FeedforwardRegressor(RegressorMixin, _Feedforward):
    """A feedforward network for one number or several.

    ``loss`` is "mse", "mae", "huber" or another regression loss of recipes; the other parameters
    are those of :class:`FeedforwardClassifier`, without ``class_weight``.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        loss: str = "mse",
        norm: str = "none",
        dropout: float = 0.0,
        optimizer: str | Mapping[str, Any] = "adam",
        learning_rate: float | None = None,
        schedule: str | Mapping[str, Any] = "constant",
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            norm=norm,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            warm_start=warm_start,
            random_state=random_state,
            callback=callback,
        )
        self.loss = loss

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One pass over these rows."""
        self._partial_fit(X, y, sample_weight)
        return self

    def _target_of(self, y: NDArray[Any]) -> _Target:
        return _Target("values", 1 if y.ndim == 1 else y.shape[1], self.loss)

    @_in_namespace
    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The numbers, ``[N]`` for one target and ``[N, K]`` for several."""
        outputs = self._outputs(X)
        values = (outputs * self._target.scale + self._target.mean).astype(outputs.dtype)
        return values[:, 0] if values.shape[1] == 1 else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.array_api_support = move_to is not None
        return tags


class FeedforwardTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Feedforward):
    """The values of a hidden layer as features.

    The network is trained on y, classes or numbers, or to reproduce X without y. ``layer`` counts
    the hidden layers from 1, or from the last with -1; the other parameters are those of
    :class:`FeedforwardClassifier`, without ``class_weight``.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        layer: int = -1,
        norm: str = "none",
        dropout: float = 0.0,
        optimizer: str | Mapping[str, Any] = "adam",
        learning_rate: float | None = None,
        schedule: str | Mapping[str, Any] = "constant",
        weight_decay: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            norm=norm,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            warm_start=warm_start,
            random_state=random_state,
            callback=callback,
        )
        self.layer = layer

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on rows X and their targets y, or without y to reproduce X."""
        hidden = len(self._hidden())
        self._layer = self.layer if self.layer > 0 else hidden + 1 + self.layer
        if not 1 <= self._layer <= hidden:
            raise ValueError(f"layer {self.layer}: there are {hidden} hidden layers")
        super().fit(X, y, sample_weight)
        self._n_features_out = self._hidden()[self._layer - 1]["width"]
        return self

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        X = validate_data(self, X, reset=reset, dtype=(np.float64, np.float32))
        if y is None:
            return X, X
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        check_consistent_length(X, y)
        return X, y

    def _target_of(self, y: NDArray[Any]) -> _Target:
        kind = type_of_target(y)
        if kind == "multilabel-indicator":
            return _Target("labels", y.shape[1], "binary_cross_entropy")
        if kind in ("binary", "multiclass") and y.ndim == 1:
            target = _Target("classes", len(np.unique(y)), "cross_entropy")
            target.classes = np.unique(y)
            return target
        return _Target("values", 1 if y.ndim == 1 else y.shape[1], "mse")

    @_in_namespace
    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """The values of the hidden layer."""
        check_is_fitted(self, "_network")
        return self._outputs(X, self._layer)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _scales(X: NDArray[Any], weights: NDArray[Any] | None) -> tuple[Any, Any]:
    """Mean and standard deviation of each column; 1 for a constant one."""
    if not np.issubdtype(X.dtype, np.floating):
        X = X.astype(np.float64)
    mean = np.average(X, axis=0, weights=weights)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    constant = scale <= 10 * np.finfo(X.dtype).eps * np.abs(mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)
