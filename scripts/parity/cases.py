"""The operations with random inputs, and the same in PyTorch, JAX and Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import in_jax
import in_keras
import in_torch
import numpy as np

from feedforward import functional as F
from feedforward._core import activations


@dataclass
class Case:
    """An operation of ours, its inputs (ids are integers) and attributes."""

    name: str
    ours: Any
    inputs: tuple[np.ndarray, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Callable[..., Any]] = field(default_factory=dict)


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every case with shapes of this draw."""
    for name, ours, inputs, attributes, options in drawn(rng):
        theirs = {}
        for framework, module in (("PyTorch", in_torch), ("JAX", in_jax), ("Keras", in_keras)):
            found = module.operation(name, **options)
            if found is not None:
                theirs[framework] = found
        yield Case(name, ours, inputs, attributes, theirs)


def drawn(rng: np.random.Generator) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """Name, our operation, inputs, our attributes, and what the others need to know."""
    n, d, h = (int(v) for v in rng.integers(1, 48, 3))
    rows, classes = n + 1, d + 1
    heads, kv_heads = [(4, 2), (3, 3), (2, 1)][rng.integers(3)]
    size = 2 * int(rng.integers(1, 9))
    batch, time = (int(v) for v in rng.integers(1, 20, 2))
    experts, top_k = 5, int(rng.integers(1, 4))

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape)

    def probabilities(*shape: int) -> np.ndarray:
        e = np.exp(normal(*shape))
        return e / e.sum(-1, keepdims=True)

    ids = rng.integers(0, n, (batch, time))
    labels = rng.integers(0, classes, n)
    bits = rng.integers(0, 2, (n, d)).astype(np.float64)
    positions = np.broadcast_to(np.arange(time), (batch, time)).copy()
    segments = np.where(rng.random((batch, time)) < 0.3, -1, 0)
    segments[:, 0] = 0
    x = normal(n, d)
    layer = (x, normal(h, d), normal(h))
    for name in activations():
        yield f"linear, {name}", F.linear, layer, {"activation": name}, {"activation": name}
    for name in activations():
        yield f"activation, {name}", F.activation, (normal(n, d),), {"name": name}, {"activation": name}
    block = (x, normal(h, d), normal(d, h), normal(h), normal(d))
    yield "feedforward", F.feedforward, block, {"activation": "gelu"}, {}
    gated = (x, normal(h, d), normal(h, d), normal(d, h))
    yield "gated_feedforward", F.gated_feedforward, gated, {}, {}
    mixture = (
        x,
        normal(experts, d),
        normal(experts, h, d),
        normal(experts, h, d),
        normal(experts, d, h),
    )
    yield "mixture_of_experts", F.mixture_of_experts, mixture, {"top_k": top_k}, {"top_k": top_k}
    qkv = tuple(normal(batch, time, k * size) for k in (heads, kv_heads, kv_heads))
    shape = {"heads": heads, "kv_heads": kv_heads, "head_dim": size}
    yield "attention", F.attention, qkv, {**shape, "causal": True}, {**shape, "causal": True}
    yield "attention, not causal", F.attention, qkv, shape, {**shape, "causal": False}
    turned = (qkv[0], positions)
    yield "rotary", F.rotary, turned, {"head_dim": size}, {"head_dim": size}
    yield "embedding", F.embedding, (ids, normal(n, d)), {}, {}
    yield "rms_norm", F.rms_norm, (normal(n, classes), normal(classes)), {}, {}
    norm = (normal(n, classes), normal(classes), normal(classes))
    yield "layer_norm", F.layer_norm, norm, {}, {}
    yield "batch_norm", F.batch_norm, (normal(rows, d), normal(d), normal(d)), {}, {}
    running = (x, normal(d), normal(d), normal(d), rng.uniform(0.5, 2, d))
    yield "batch_norm_running", F.batch_norm_running, running, {}, {}
    yield "softmax", F.softmax, (normal(n, classes),), {}, {}
    yield "log_softmax", F.log_softmax, (normal(n, classes),), {}, {}
    yield "prelu", F.prelu, (x, normal(d)), {}, {}
    yield "add", F.add, (x, normal(d)), {}, {}
    yield "mul", F.mul, (x, normal(d)), {}, {}
    yield "scale", F.scale, (x,), {"factor": 0.7}, {}
    yield "scale_rows", F.scale_rows, (x, normal(n, 1)), {}, {}
    yield "concat", F.concat, (x, normal(n, h), normal(n, 1)), {}, {}
    yield "pool_tokens", F.pool_tokens, (normal(batch, time, d), segments), {}, {}
    logits = normal(n, classes)
    yield "cross_entropy", F.cross_entropy, (logits, labels), {}, {"smoothing": 0.0}
    smooth = {"label_smoothing": 0.1}
    yield "cross_entropy, smoothed", F.cross_entropy, (logits, labels), smooth, {"smoothing": 0.1}
    output = (x, normal(classes, d), labels)
    yield "linear_cross_entropy", F.linear_cross_entropy, output, {}, {}
    binary = F.binary_cross_entropy_with_logits
    yield "binary_cross_entropy_with_logits", binary, (normal(n, d), bits), {}, {}
    yield "focal", F.focal, (logits, labels), {}, {}
    yield "binary_focal", F.binary_focal, (normal(n, d), bits), {}, {}
    yield "kl_divergence", F.kl_divergence, (logits, probabilities(n, classes)), {}, {}
    for name in ("mse", "mae", "huber"):
        yield name, getattr(F, name), (normal(n, d), normal(n, d)), {}, {}
