"""Operations with their backward passes, over NumPy arrays.

>>> from feedforward import functional as F
>>> y = F.rms_norm(x, weight)
>>> y, backward = F.rms_norm.vjp(x, weight)
>>> dx, dweight = backward(dy)

``vjp`` gives the result and a function from its gradient to those of the inputs, as ``jax.vjp``
does; integers, such as ids, have the gradient ``None``. Inputs are float32 or float64, all of the
same type; ids and positions are integers. Losses are means over rows unless ``reduction="sum"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from feedforward._operation import operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from feedforward._core import Operation

P = ParamSpec("P")
_Made = tuple["Operation", tuple[Any, ...]]


class Function(Generic[P]):
    """An operation: call it for its result, ``vjp`` for the result and its backward pass."""

    def __init__(self, make: Callable[P, _Made]) -> None:
        self._make = make
        update_wrapper(self, make)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        op, inputs = self._make(*args, **kwargs)
        return op(*inputs)

    def vjp(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Any, Callable[..., tuple[NDArray[Any] | None, ...]]]:
        """The result, and the function from its gradient to those of the inputs."""
        op, inputs = self._make(*args, **kwargs)
        y, recorded = op.record(*inputs, need=self._need(len(inputs)))
        return y, recorded.backward

    def _need(self, inputs: int) -> list[bool] | None:
        """Which inputs have a gradient: by default those of floats."""
        return None

    def __repr__(self) -> str:
        return f"<function {self._make.__name__} of feedforward.functional>"


class Loss(Function[P]):
    """A loss: a number, and the gradient of each input."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        loss, _count = super().__call__(*args, **kwargs)
        return float(loss[0])

    def vjp(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[float, Callable[..., tuple[NDArray[Any] | None, ...]]]:
        """The loss, and the function to the gradients of the inputs (of a loss times ``dy``)."""
        op, inputs = self._make(*args, **kwargs)
        (loss, _count), recorded = op.record(*inputs, need=self._need(len(inputs)))

        def backward(dy: float = 1.0) -> tuple[NDArray[Any] | None, ...]:
            return recorded.backward(loss * 0 + dy)

        return float(loss[0]), backward

    def _need(self, inputs: int) -> list[bool] | None:
        # Not targets and weights.
        return [True] + [False] * (inputs - 1)


class LayerLoss(Loss[P]):
    """A loss with the layer before it, whose parameters have gradients too."""

    def _need(self, inputs: int) -> list[bool] | None:
        return None


class Running(Function[P]):
    """An operation whose last two inputs are running statistics."""

    def _need(self, inputs: int) -> list[bool] | None:
        return [True] * (inputs - 2) + [False] * 2


class Random(Function[P]):
    """An operation that draws random numbers; the same ``seed`` draws the same."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.vjp(*args, **kwargs)[0]

    def vjp(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Any, Callable[..., tuple[NDArray[Any] | None, ...]]]:
        """The result, and the function from its gradient to those of the inputs."""
        op, inputs = self._make(*args, **kwargs)
        seed: Any = kwargs.get("seed", 0)
        y, recorded = op.record(*inputs, seed=seed)
        return y, recorded.backward


def _given(*inputs: Any) -> tuple[Any, ...]:
    return tuple(x for x in inputs if x is not None)


def _op(name: str, *inputs: Any, **attributes: Any) -> _Made:
    given = _given(*inputs)
    return operation(name, len(given), attributes), given


# ---- Layers.


@Function
def linear(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: str = "identity",
    **attributes: float,
) -> _Made:
    """f(x Wᵀ + b): x ``[…, in]``, weight ``[out, in]``, bias ``[out]``."""
    return _op("feedforward", x, weight, bias, activation=activation, **attributes)


@Function
def feedforward(
    x: ArrayLike,
    up: ArrayLike,
    down: ArrayLike,
    up_bias: ArrayLike | None = None,
    down_bias: ArrayLike | None = None,
    *,
    activation: str = "relu",
) -> _Made:
    """The block f(x W₁ᵀ + b₁) W₂ᵀ + b₂: up ``[hidden, in]``, down ``[out, hidden]``."""
    inputs = (x, up, down, up_bias, down_bias)
    return _op("feedforward_block", *inputs, gated=False, activation=activation)


@Function
def gated_feedforward(
    x: ArrayLike, gate: ArrayLike, up: ArrayLike, down: ArrayLike, *, activation: str = "silu"
) -> _Made:
    """The gated block (f(x Gᵀ) ⊙ (x Uᵀ)) Dᵀ: SwiGLU by default.

    gate and up ``[hidden, in]``, down ``[out, hidden]``.
    """
    made = operation("feedforward_block", 4, {"gated": True, "activation": activation})
    return made, (x, gate, up, down)


@Function
def embedding(ids: ArrayLike, weight: ArrayLike, *, padding: int | None = None) -> _Made:
    """Rows of a table: ids ``[…]`` and weight ``[rows, features]`` to ``[…, features]``."""
    return _op("embedding", ids, weight, padding=padding)


@Function
def rms_norm(x: ArrayLike, weight: ArrayLike | None = None, *, eps: float = 1e-6) -> _Made:
    """x / √(mean x² + ε) ⊙ w over the last dimension."""
    return _op("rms_norm", x, weight, eps=eps)


@Function
def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> _Made:
    """(x − μ) / √(σ² + ε) ⊙ w + b over the last dimension."""
    return _op("layer_norm", x, weight, bias, eps=eps)


@Function
def batch_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> _Made:
    """(x − μ) / √(σ² + ε) ⊙ w + b over all rows, with weight and bias or without both.

    The batch's mean and variance follow the result.
    """
    return _op("batch_norm", x, weight, bias, eps=eps)


@Running
def batch_norm_running(
    x: ArrayLike,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    eps: float = 1e-5,
) -> _Made:
    """(x − μ) / √(σ² + ε) ⊙ w + b with given statistics, which have no gradient."""
    given = _given(x, weight, bias, mean, variance)
    return operation("batch_norm", len(given), {"eps": eps, "running": True}), given


@Function
def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    heads: int,
    head_dim: int,
    kv_heads: int | None = None,
    causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    soft_cap: float | None = None,
    alibi: bool = False,
) -> _Made:
    """Attention of heads side by side: q ``[B, T, heads · head_dim]``, k and v ``[B, S, …]``."""
    attributes: dict[str, Any] = {"heads": heads, "head_dim": head_dim, "causal": causal}
    optional = {"kv_heads": kv_heads, "scale": scale, "window": window, "soft_cap": soft_cap}
    attributes |= {key: value for key, value in optional.items() if value is not None}
    return _op("attention", q, k, v, alibi=alibi, **attributes)


@Function
def rotary(
    x: ArrayLike,
    positions: ArrayLike,
    *,
    head_dim: int,
    base: float = 10_000.0,
    interleaved: bool = False,
) -> _Made:
    """Rotary positions: x ``[B, T, heads · head_dim]``, positions ``[B, T]``."""
    return _op("rotary", x, positions, head_dim=head_dim, base=base, interleaved=interleaved)


@Function
def mixture_of_experts(
    x: ArrayLike,
    router: ArrayLike,
    gate: ArrayLike,
    up: ArrayLike,
    down: ArrayLike,
    *,
    top_k: int = 2,
    softmax_first: bool = False,
    normalize: bool = True,
    activation: str = "silu",
) -> _Made:
    """Each row through its ``top_k`` experts: the result, and two statistics of the router."""
    attributes = {"top_k": top_k, "softmax_first": softmax_first, "normalize": normalize}
    inputs = (x, router, gate, up, down)
    return _op("mixture_of_experts", *inputs, activation=activation, **attributes)


@Function
def router_balance(spread: ArrayLike, count: ArrayLike, *, top_k: int = 1) -> _Made:
    """The load-balancing loss of experts (Fedus et al., 2021) from a router's statistics."""
    return _op("router_balance", spread, count, top_k=top_k)


# ---- Rows and columns.


@Function
def concat(*inputs: ArrayLike) -> _Made:
    """One to eight inputs side by side."""
    return _op("concat", *inputs)


@Function
def pool_tokens(
    x: ArrayLike, segments: ArrayLike | None = None, *, mean: bool = True
) -> _Made:
    """The mean of a sequence's tokens, or its first: x ``[B, T, features]``.

    Tokens with a negative segment ``[B, T]`` are left out of the mean.
    """
    return _op("pool_tokens", x, segments, mean=mean)


@Function
def scale_rows(x: ArrayLike, factors: ArrayLike) -> _Made:
    """Each row times its factor: x ``[…, features]``, factors ``[…, 1]``."""
    return _op("scale_rows", x, factors)


# ---- Element by element.


@Function
def activation(x: ArrayLike, name: str, **attributes: float) -> _Made:
    """An activation by name, such as "relu", "gelu" or "silu"."""
    return _op("activation", x, activation=name, **attributes)


@Function
def prelu(x: ArrayLike, slope: ArrayLike) -> _Made:
    """x above 0, else slope · x: slope ``[1]`` or ``[features]``."""
    return _op("prelu", x, slope)


@Random
def dropout(x: ArrayLike, p: float = 0.5, *, seed: int = 0) -> _Made:
    """Each value with probability 1 − p, divided by it; 0 otherwise."""
    return _op("dropout", x, p=p)


@Function
def scale(x: ArrayLike, factor: float) -> _Made:
    """x times a number."""
    return _op("scale", x, factor=factor)


@Function
def add(a: ArrayLike, b: ArrayLike) -> _Made:
    """a + b; b may be one row."""
    return _op("add", a, b)


@Function
def mul(a: ArrayLike, b: ArrayLike) -> _Made:
    """a ⊙ b; b may be one row."""
    return _op("mul", a, b)


@Function
def softmax(x: ArrayLike) -> _Made:
    """exp(x) / Σ exp(x) over the last dimension."""
    return _op("softmax", x)


@Function
def log_softmax(x: ArrayLike) -> _Made:
    """x − ln Σ exp(x) over the last dimension."""
    return _op("log_softmax", x)


# ---- Losses.


@Loss
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    class_weights: ArrayLike | None = None,
) -> _Made:
    """Cross-entropy of a softmax: logits ``[…, C]``, target class indices or probabilities."""
    attributes = {
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "class_weights": class_weights,
    }
    return _op("softmax_cross_entropy", logits, target, sample_weight, **attributes)


@Loss
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    positive_weight: ArrayLike | None = None,
) -> _Made:
    """Cross-entropy of a sigmoid, element by element."""
    attributes = {
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "positive_weight": positive_weight,
    }
    return _op("binary_cross_entropy_with_logits", logits, target, sample_weight, **attributes)


@Loss
def focal(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> _Made:
    """Cross-entropy with less weight on well-classified rows (Lin et al., 2017)."""
    return _op("focal", logits, target, sample_weight, gamma=gamma, reduction=reduction)


@Loss
def binary_focal(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: str = "mean",
) -> _Made:
    """Cross-entropy of a sigmoid with less weight on well-classified rows (Lin et al., 2017)."""
    attributes = {"gamma": gamma, "alpha": alpha, "reduction": reduction}
    return _op("binary_focal", logits, target, sample_weight, **attributes)


@Loss
def kl_divergence(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """KL(target ‖ softmax(logits)), target probabilities ``[…, C]``; the mean is over rows."""
    return _op("kl_divergence", logits, target, sample_weight, reduction=reduction)


@Loss
def mse(
    x: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """The squared error."""
    return _op("mse", x, target, sample_weight, reduction=reduction)


@Loss
def mae(
    x: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """The absolute error."""
    return _op("mae", x, target, sample_weight, reduction=reduction)


@Loss
def huber(
    x: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    delta: float = 1.0,
    reduction: str = "mean",
) -> _Made:
    """Squared error up to δ, absolute error beyond it."""
    return _op("huber", x, target, sample_weight, delta=delta, reduction=reduction)


@LayerLoss
def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    ignore_index: int = -100,
) -> _Made:
    """The last layer of a language model and its loss: x ``[…, H]``, weight ``[V, H]``.

    It holds a part of the logits at a time, and is a sum over rows.
    """
    attributes = {"label_smoothing": label_smoothing, "z_loss": z_loss, "soft_cap": soft_cap}
    inputs = _given(x, weight, bias, target)
    return _op("linear_cross_entropy", *inputs, ignore_index=ignore_index, **attributes)


# ---- Gradients.


def clip_grad_norm(gradients: Iterable[NDArray[Any]], max_norm: float) -> float:
    """Scale gradients in place so that their common norm is at most ``max_norm``.

    Returns the norm before; gradients that are not finite stay as they are.
    """
    import numpy as np

    gradients = list(gradients)
    flat = [np.asarray(g).ravel().astype(np.float64, copy=False) for g in gradients]
    norm = float(np.sqrt(sum(float(g @ g) for g in flat)))
    if max_norm < norm < float("inf"):
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


# ---- Optimiser steps and learning rates.


class Optimizer:
    """An optimiser of arrays, which each step updates in place.

    >>> optimizer = F.Optimizer({"w": w, "b": b}, "adamw", lr=1e-3, weight_decay=0.1)
    >>> optimizer.step({"w": dw, "b": db})

    The kinds and settings are those of a recipe's table `[optimizer]`, `clip_norm` and groups by
    name among them. Weight decay concerns matrices, not vectors.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]],
        kind: str = "adamw",
        **settings: Any,
    ) -> None:
        import json

        from feedforward import _core

        if not isinstance(arrays, Mapping):
            arrays = {str(i): array for i, array in enumerate(arrays)}
        self._arrays = dict(arrays)
        config = json.dumps({"kind": kind, **settings})
        self._core = _core.Optimizer(config, list(self._arrays.items()))

    @property
    def lr(self) -> float:
        """The learning rate of the settings, or that of the kind."""
        return self._core.lr

    def step(
        self,
        gradients: Mapping[str, ArrayLike] | Sequence[ArrayLike],
        *,
        lr: float | None = None,
        count: float = 1.0,
    ) -> float:
        """Updates the arrays from gradients that are sums over `count` rows.

        Returns the norm of the whole gradient before clipping. With a gradient that is not finite,
        nothing changes.
        """
        if isinstance(gradients, Mapping):
            missing = self._arrays.keys() - gradients.keys()
            if missing:
                raise KeyError(f"no gradient of {', '.join(sorted(missing))}")
            gradients = [gradients[name] for name in self._arrays]
        rate = self.lr if lr is None else lr
        return self._core.step(list(self._arrays.values()), list(gradients), rate, count)


class Schedule:
    """A learning rate over time: `schedule(step)` for steps from 0.

    >>> schedule = F.Schedule("cosine", lr=0.1, total_steps=1000, warmup=100)
    >>> optimizer.step(gradients, lr=schedule(step))

    The kinds and settings are those of a recipe's table `[schedule]`.
    """

    def __init__(
        self, kind: str = "constant", *, lr: float, total_steps: int, **settings: Any
    ) -> None:
        import json

        from feedforward import _core

        self.total_steps = total_steps
        self._core = _core.Schedule(json.dumps({"kind": kind, **settings}), lr)

    def __call__(self, step: int) -> float:
        return self._core.rate(step, self.total_steps)

    def observe(self, score: float, *, higher_is_better: bool = False) -> float | None:
        """Records a score of an evaluation; the new rate where `plateau` lowers it."""
        return self._core.observe(score, higher_is_better)
