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

import numpy as np

from feedforward._operation import operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from feedforward._core import Operation

P = ParamSpec("P")
_Made = tuple["Operation", tuple[Any, ...]]


class Function(Generic[P]):
    """An operation: call it for its result, ``vjp`` for the result and its backward pass.

    ``constants`` are the places of inputs without a gradient.
    """

    def __init__(self, make: Callable[P, _Made], constants: Sequence[int] = ()) -> None:
        self._make, self._constants = make, constants
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
        if not self._constants:
            return None
        constant = {place % inputs for place in self._constants}
        return [place not in constant for place in range(inputs)]

    def __repr__(self) -> str:
        return f"<function {self._make.__name__} of feedforward.functional>"


class Loss(Function[P]):
    """A loss: a number, and the gradient of each input."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        return float(_first(super().__call__(*args, **kwargs))[0])

    def vjp(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[float, Callable[..., tuple[NDArray[Any] | None, ...]]]:
        """The loss, and the function to the gradients of the inputs (of a loss times ``dy``)."""
        y, through = super().vjp(*args, **kwargs)
        loss = _first(y)

        def backward(dy: float = 1.0) -> tuple[NDArray[Any] | None, ...]:
            return through(loss * 0 + dy)

        return float(loss[0]), backward


class TargetLoss(Loss[P]):
    """A loss of a prediction; targets and weights have no gradient."""

    def _need(self, inputs: int) -> list[bool] | None:
        return [True] + [False] * (inputs - 1)


def _first(y: Any) -> Any:
    """A loss without its count."""
    return y[0] if isinstance(y, tuple) else y


def _without_gradient(*places: int) -> Callable[[Callable[P, _Made]], Function[P]]:
    """A function whose inputs at these places have no gradient."""
    return lambda make: Function(make, places)


def _loss_without_gradient(*places: int) -> Callable[[Callable[P, _Made]], Loss[P]]:
    """A loss whose inputs at these places have no gradient."""
    return lambda make: Loss(make, places)


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


def _width(x: ArrayLike) -> int:
    """The last dimension."""
    import numpy as np

    return np.shape(x)[-1] if np.ndim(x) else 0


def _ids(x: ArrayLike | None) -> Any:
    """Whole numbers as an array, so that they stay whole."""
    import numpy as np

    return x if x is None else np.asarray(x)


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
def lora_linear(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    a: ArrayLike,
    b: ArrayLike,
    *,
    own_input: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    scale: float = 1.0,
) -> _Made:
    """x Wᵀ + bias + s (x Aᵀ) Bᵀ (Hu et al., 2022): a ``[rank, in]``, b ``[out, rank]``.

    ``own_input`` is read by A in the place of x, such as x with dropout; rows whose ``mask``
    ``[…]`` is 0 have no adapter. Gradients are of the inputs that are given.
    """
    attributes = {"bias": bias is not None, "own_input": own_input is not None}
    attributes["masked"] = mask is not None
    return _op("lora_linear", x, weight, bias, a, b, own_input, _ids(mask), scale=scale, **attributes)


@_without_gradient(1, 2, 3)
def dora_factors(
    magnitude: ArrayLike, weight: ArrayLike, a: ArrayLike, b: ArrayLike, *, scale: float = 1.0
) -> _Made:
    """mⱼ / ‖Wⱼ + s Bⱼ A‖ for each output j (Liu et al., 2024): magnitude ``[out]``.

    The norm is a constant of the backward pass, as in PEFT.
    """
    return _op("dora_factors", magnitude, weight, a, b, scale=scale)


@Function
def batch_ensemble(
    x: ArrayLike,
    weight: ArrayLike,
    r: ArrayLike,
    s: ArrayLike,
    bias: ArrayLike,
    *,
    activation: str = "identity",
    **attributes: float,
) -> _Made:
    """f(((x ⊙ rₘ) Wᵀ) ⊙ sₘ + bₘ) for each member m (Wen et al., 2020).

    x ``[N, members, in]``, or ``[N, in]`` for all members; weight ``[out, in]``, r ``[members,
    in]``, s and bias ``[members, out]``.
    """
    inputs = (x, weight, r, s, bias)
    return _op("batch_ensemble", *inputs, activation=activation, **attributes)


@Function
def member_linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike) -> _Made:
    """xₘ Wₘᵀ + bₘ for each member m: weight ``[members, out, in]``, bias ``[members, out]``.

    x is ``[N, members, in]``, or ``[N, in]`` for all members.
    """
    return _op("member_linear", x, weight, bias)


@Function
def mean_of_members(x: ArrayLike, *, mean: str = "values") -> _Made:
    """The mean over members, ``[N, members, C]`` to ``[N, C]``.

    ``mean`` is of "values", or of the probabilities of logits: "softmax", or "sigmoid" of one.
    """
    return _op("mean_of_members", x, mean=mean)


@Function
def embedding(ids: ArrayLike, weight: ArrayLike, *, padding: int | None = None) -> _Made:
    """Rows of a table: ids ``[…]`` and weight ``[rows, features]`` to ``[…, features]``."""
    return _op("embedding", _ids(ids), weight, padding=padding)


@_without_gradient(0, 1, 2, 3)
def embedding_bag(
    ids: ArrayLike,
    offsets: ArrayLike,
    indices: ArrayLike,
    values: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
) -> _Made:
    """A linear layer on sparse rows, as ``torch.nn.EmbeddingBag`` with weights of its samples.

    Bag i has the entries from ``offsets[i]`` up to ``offsets[i + 1]``: the sum of their ``values``
    times the rows ``indices`` of weight ``[rows, features]``, and the bias ``[features]``. ids
    ``[…]`` are the bags of the result.
    """
    bags = map(_ids, (ids, offsets, indices))
    return _op("embedding_bag", *bags, values, weight, bias)


@Function
def replace_rows(x: ArrayLike, rows: ArrayLike, *, ids: Sequence[int]) -> _Made:
    """x ``[N, features]`` with ``rows`` in the places of the rows ``ids``, each once."""
    return _op("replace_rows", x, rows, ids=ids)


@_without_gradient(1)
def piecewise_linear(
    x: ArrayLike,
    edges: ArrayLike,
    slope: ArrayLike,
    bias: ArrayLike,
    weight: ArrayLike,
    *,
    bins: Sequence[int] | None = None,
) -> _Made:
    """A vector for each number, linear between edges (Gorishniy et al., 2022).

    For n columns of d values and at most B bins: edges ``[n, B + 1]``, slope and bias ``[n, d]``,
    weight ``[n, B, d]``. ``bins`` has the bins of each column of x, by default B; a column of 0
    passes through.
    """
    if bins is None:
        bins = _width(x) * [_width(edges) - 1]
    return _op("piecewise_linear", x, edges, slope, bias, weight, bins=bins)


@Function
def periodic(
    x: ArrayLike,
    frequencies: ArrayLike,
    phases: ArrayLike | None,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    embedded: Sequence[bool] | None = None,
) -> _Made:
    """A vector for each number from waves of learned frequencies c.

    relu(V z + b) of z = cos(2π x c), sin(2π x c) (Gorishniy et al., 2022); with phases φ V z + b
    of z = cos(2π x c + φ), and x behind it (Holzmüller et al., 2024). For n columns and k
    frequencies: c and φ ``[n, k]``, V ``[n, d, waves]``, b ``[n, d]``. ``embedded`` says which
    columns of x, by default all; the others pass through.
    """
    if embedded is None:
        embedded = _width(x) * [True]
    return _op("periodic", x, frequencies, phases, weight, bias, embedded=embedded)


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


@_without_gradient(-2, -1)
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


@Random
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
    ahead: int | None = None,
    soft_cap: float | None = None,
    alibi: bool = False,
    key_segments: ArrayLike | None = None,
    query_segments: ArrayLike | None = None,
    distance_scores: ArrayLike | None = None,
    far: int = 128,
    both: bool = False,
    sinks: ArrayLike | None = None,
    dropout_p: float = 0.0,
    seed: int = 0,
) -> _Made:
    """Attention of heads side by side: q ``[B, T, heads · head_dim]``, k and v ``[B, S, …]``.

    Keys with a negative segment ``[B, S]`` are padding; with ``query_segments`` ``[B, T]`` too,
    queries see the keys of their own segment alone. ``window`` bounds the keys that a query sees
    before its own, ``ahead`` those behind it. ``sinks`` ``[heads]`` are scores without a key.
    ``distance_scores`` ``[buckets, heads]`` are learned scores of the distance of query and key, as in
    T5: half of a direction's buckets have a distance each, the others share the logarithm of those up to
    ``far``; with ``both``, half of all buckets are for keys behind the query. Weights are dropped with
    probability ``dropout_p``, and divided by 1 − ``dropout_p`` otherwise.
    """
    if query_segments is not None and key_segments is None:
        raise TypeError("attention: query_segments need key_segments beside them")
    attributes: dict[str, Any] = {"heads": heads, "head_dim": head_dim, "causal": causal}
    optional = {"kv_heads": kv_heads, "scale": scale, "window": window, "ahead": ahead}
    optional |= {"soft_cap": soft_cap}
    attributes |= {key: value for key, value in optional.items() if value is not None}
    attributes |= {"alibi": alibi, "sinks": sinks is not None}
    if distance_scores is not None:
        attributes |= {"distances": np.shape(distance_scores)[0], "far": far, "both": both}
    inputs = (q, k, v, _ids(key_segments), _ids(query_segments), distance_scores, sinks)
    if dropout_p == 0.0:
        return _op("attention", *inputs, **attributes)
    return _op("attention_dropout", *inputs, p=dropout_p, **attributes)


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
    return _op("rotary", x, _ids(positions), head_dim=head_dim, base=base, interleaved=interleaved)


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
def adapted_experts(
    weight: ArrayLike, a: ArrayLike, b: ArrayLike, *, scale: float = 1.0, first: int = 0
) -> _Made:
    """Wₑ + s Bₑ Aₑ for each expert: weight ``[experts, out, in]``, a ``[experts, rank, in]``.

    b is ``[experts, rows, rank]``, of which the rows from ``first`` on belong to weight.
    """
    return _op("adapted_experts", weight, a, b, scale=scale, first=first)


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
def split(x: ArrayLike, widths: Sequence[int]) -> _Made:
    """x ``[…, features]`` in parts of these widths."""
    return _op("split", x, widths=widths)


@Function
def pool_tokens(
    x: ArrayLike, segments: ArrayLike | None = None, *, mean: bool = True
) -> _Made:
    """The mean of a sequence's tokens, or its first: x ``[B, T, features]``.

    Tokens with a negative segment ``[B, T]`` are left out of the mean.
    """
    return _op("pool_tokens", x, _ids(segments), mean=mean)


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


@Function
def parametric_activation(
    x: ArrayLike, share: ArrayLike, *, activation: str = "relu", **attributes: float
) -> _Made:
    """x + share ⊙ (f(x) − x): share ``[features]`` (Holzmüller et al., 2024)."""
    return _op("parametric_activation", x, share, activation=activation, **attributes)


@Function
def gate(z: ArrayLike, u: ArrayLike, *, activation: str = "silu", **attributes: float) -> _Made:
    """f(z) ⊙ u."""
    return _op("gate", z, u, activation=activation, **attributes)


@Function
def soft_cap(x: ArrayLike, cap: float) -> _Made:
    """cap · tanh(x / cap)."""
    return _op("soft_cap", x, cap=cap)


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


@TargetLoss
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
    return _op("softmax_cross_entropy", logits, _ids(target), sample_weight, **attributes)


@TargetLoss
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


@TargetLoss
def focal(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> _Made:
    """Cross-entropy with less weight on well-classified rows (Lin et al., 2017)."""
    return _op("focal", logits, _ids(target), sample_weight, gamma=gamma, reduction=reduction)


@TargetLoss
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


@TargetLoss
def kl_divergence(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """KL(target ‖ softmax(logits)), target probabilities ``[…, C]``; the mean is over rows."""
    return _op("kl_divergence", logits, target, sample_weight, reduction=reduction)


@TargetLoss
def mse(
    x: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """The squared error."""
    return _op("mse", x, target, sample_weight, reduction=reduction)


@TargetLoss
def mae(
    x: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
) -> _Made:
    """The absolute error."""
    return _op("mae", x, target, sample_weight, reduction=reduction)


@TargetLoss
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


@Loss
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
    inputs = _given(x, weight, bias, _ids(target))
    return _op("linear_cross_entropy", *inputs, ignore_index=ignore_index, **attributes)


@Loss
def in_batch_ranking(x: ArrayLike, *, columns: int = 2, scale: float = 20.0) -> _Made:
    """Cross-entropy of each anchor's own candidate among all of the batch, by cosine.

    x ``[columns · B, features]``: B anchors, their positives, and with more columns negatives. It
    is a sum over anchors.
    """
    return _op("in_batch_ranking", x, columns=columns, scale=scale)


@_loss_without_gradient(2)
def preference(
    chosen: ArrayLike,
    rejected: ArrayLike,
    constants: ArrayLike,
    *,
    kind: str = "dpo",
    beta: float = 0.1,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> _Made:
    """The loss of pairs of answers: "dpo", "ipo", "orpo" or "simpo", a sum over pairs.

    chosen and rejected ``[P]`` are −ln p of the answers; constants ``[P, 4]`` are their numbers of
    tokens, and their −ln p by the reference model.
    """
    attributes = {"beta": beta, "gamma": gamma, "label_smoothing": label_smoothing}
    return _op("preference", chosen, rejected, constants, kind=kind, **attributes)


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
