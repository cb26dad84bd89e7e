"""The operations in JAX."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

# Each shape is compiled for one call.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import composed
import jax
import jax.numpy as jnp
import numpy as np
from jax import nn

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")


def version() -> str:
    return f"JAX {jax.__version__}"


def run(f: Callable[..., Any], inputs: Sequence[np.ndarray], dy: np.ndarray | None) -> Any:
    """The value, and the gradient of each float input."""
    given = [jnp.asarray(x) for x in inputs]
    wanted = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]

    def of_floats(*floats: Any) -> Any:
        every = list(given)
        for i, x in zip(wanted, floats, strict=True):
            every[i] = x
        return f(*every)

    @jax.jit
    def both(floats: Any, dy: Any) -> Any:
        y, backward = jax.vjp(of_floats, *floats)
        return y, backward(jnp.ones_like(y) if dy is None else dy)

    floats = tuple(given[i] for i in wanted)
    y, found = both(floats, None if dy is None else jnp.asarray(dy))
    gradients: list[Any] = [None] * len(inputs)
    for i, gradient in zip(wanted, found, strict=True):
        gradients[i] = np.asarray(gradient)
    return np.asarray(y), gradients


def operation(name: str, **options: Any) -> Callable[..., Any] | None:
    kind, _, rest = name.partition(", ")
    if kind == "linear":
        f = ACTIVATIONS[rest]
        return lambda x, w, b: f(x @ w.T + b)
    if kind == "activation":
        return ACTIVATIONS[rest]
    if kind in OPERATIONS:
        return partial(OPERATIONS[kind], **options)
    return composed.operation(jnp, kind, **options)


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": nn.identity,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "relu6": nn.relu6,
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_tanh": partial(nn.gelu, approximate=True),
    "silu": nn.silu,
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "mish": nn.mish,
    "softplus": nn.softplus,
    "hard_sigmoid": nn.hard_sigmoid,
    "hard_swish": nn.hard_swish,
    "relu2": lambda x: nn.relu(x) ** 2,
    "squareplus": nn.squareplus,
}


def _attention(q: Any, k: Any, v: Any, heads: int, kv_heads: int, head_dim: int, causal: bool) -> Any:
    # `nn.dot_product_attention` has its softmax in f32.
    q2, k2, v2 = (x.reshape(*x.shape[:2], -1, head_dim) for x in (q, k, v))
    k2, v2 = (jnp.repeat(x, heads // kv_heads, axis=2) for x in (k2, v2))
    scores = jnp.einsum("bthd,bshd->bhts", q2, k2) / head_dim**0.5
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return jnp.einsum("bhts,bshd->bthd", nn.softmax(scores), v2).reshape(q.shape)


def _rotary(x: Any, positions: Any, head_dim: int) -> Any:
    half = head_dim // 2
    angles = positions[..., None] * 10_000.0 ** (-jnp.arange(half, dtype=jnp.float64) / half)
    cos, sin = (f(angles)[:, :, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    a, b = jnp.split(x.reshape(*x.shape[:2], -1, head_dim), 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)


def _mixture(x: Any, router: Any, gate: Any, up: Any, down: Any, top_k: int) -> Any:
    weights, chosen = jax.lax.top_k(nn.softmax(x @ router.T), top_k)
    weights = weights / weights.sum(-1, keepdims=True)
    hidden = nn.silu(jnp.einsum("nd,ehd->neh", x, gate)) * jnp.einsum("nd,ehd->neh", x, up)
    each = jnp.einsum("neh,edh->ned", hidden, down)
    picked = jnp.take_along_axis(each, chosen[..., None], 1)
    return (picked * weights[..., None]).sum(1)


def _normalised(x: Any, mean: Any, variance: Any, w: Any, b: Any) -> Any:
    return (x - mean) / jnp.sqrt(variance + 1e-5) * w + b


def _pool(x: Any, segments: Any) -> Any:
    there = (segments >= 0)[..., None].astype(x.dtype)
    return (x * there).sum(1) / there.sum(1)


def _log_p(z: Any, t: Any) -> Any:
    return jnp.take_along_axis(nn.log_softmax(z), t[:, None], -1)[:, 0]


def _cross_entropy(z: Any, t: Any, smoothing: float) -> Any:
    return -((1 - smoothing) * _log_p(z, t) + smoothing * nn.log_softmax(z).mean(-1)).mean()


def _binary(z: Any, t: Any) -> Any:
    return -(t * nn.log_sigmoid(z) + (1 - t) * nn.log_sigmoid(-z))


def _focal(z: Any, t: Any) -> Any:
    u = _log_p(z, t)
    return (-((1 - jnp.exp(u)) ** 2) * u).mean()


def _binary_focal(z: Any, t: Any) -> Any:
    p = nn.sigmoid(z)
    return (((1 - t) * p + t * (1 - p)) ** 2 * _binary(z, t)).mean()


def _huber(x: Any, t: Any) -> Any:
    far = jnp.abs(x - t)
    return jnp.where(far < 1, far**2 / 2, far - 0.5).mean()


OPERATIONS: dict[str, Callable[..., Any]] = {
    "feedforward": lambda x, u, d, c, e: nn.gelu(x @ u.T + c, approximate=False) @ d.T + e,
    "gated_feedforward": lambda x, g, u, d: (nn.silu(x @ g.T) * (x @ u.T)) @ d.T,
    "mixture_of_experts": _mixture,
    "attention": _attention,
    "rotary": _rotary,
    "embedding": lambda ids, w: jnp.take(w, ids, 0),
    "rms_norm": lambda x, w: x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w,
    "layer_norm": lambda x, w, b: _normalised(
        x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), w, b
    ),
    "batch_norm": lambda x, w, b: _normalised(x, x.mean(0), x.var(0), w, b),
    "batch_norm_running": lambda x, w, b, mean, variance: _normalised(x, mean, variance, w, b),
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "prelu": lambda x, a: jnp.where(x > 0, x, a * x),
    "add": jnp.add,
    "mul": jnp.multiply,
    "scale": lambda x: x * 0.7,
    "scale_rows": lambda x, s: x * s,
    "concat": lambda *x: jnp.concatenate(x, -1),
    "pool_tokens": _pool,
    "cross_entropy": _cross_entropy,
    "linear_cross_entropy": lambda x, w, t: -_log_p(x @ w.T, t).sum(),
    "binary_cross_entropy_with_logits": lambda z, t: _binary(z, t).mean(),
    "focal": _focal,
    "binary_focal": _binary_focal,
    "kl_divergence": lambda z, t: (t * (jnp.log(t) - nn.log_softmax(z))).sum(-1).mean(),
    "mse": lambda x, t: ((x - t) ** 2).mean(),
    "mae": lambda x, t: jnp.abs(x - t).mean(),
    "huber": _huber,
}
