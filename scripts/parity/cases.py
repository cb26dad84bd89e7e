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


class WithoutPhases:
    """`F.periodic` of arrays alone."""

    def vjp(self, x: np.ndarray, frequencies: np.ndarray, *rest: np.ndarray) -> Any:
        return F.periodic.vjp(x, frequencies, None, *rest)


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
    spread = (rng.uniform(0.5, 9, (2, experts)), np.array([float(n)]))
    yield "router_balance", F.router_balance, spread, {}, {}
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
    yield "split", F.split, (normal(n, d + 1),), {"widths": [d, 1]}, {"widths": [d, 1]}
    yield "soft_cap", F.soft_cap, (x,), {"cap": 0.7}, {}
    yield "gate", F.gate, (x, normal(n, d)), {}, {}
    tanh = {"activation": "tanh"}
    yield "parametric_activation", F.parametric_activation, (x, normal(d)), tanh, {}
    rank, members = 1 + d % 5, 1 + h % 4
    adapter = (normal(rank, d), normal(h, rank))
    scale = {"scale": 1.5}
    yield "lora_linear", F.lora_linear, (*layer, *adapter), scale, {}
    yield "dora_factors", F.dora_factors, (normal(h), normal(h, d), *adapter), scale, {}
    stacked = (normal(experts, h, d), normal(experts, rank, d), normal(experts, h + 2, rank))
    yield "adapted_experts", F.adapted_experts, stacked, {**scale, "first": 2}, {}
    each = normal(n, members, d)
    shared = (normal(h, d), normal(members, d), normal(members, h), normal(members, h))
    yield "batch_ensemble", F.batch_ensemble, (each, *shared), tanh, {}
    own = (each, normal(members, h, d), normal(members, h))
    yield "member_linear", F.member_linear, own, {}, {}
    for mean, width in (("values", d), ("softmax", classes), ("sigmoid", 1)):
        predicted = (normal(n, members, width),)
        yield f"mean_of_members, {mean}", F.mean_of_members, predicted, {"mean": mean}, {"mean": mean}
    bags = (rng.integers(0, 4, (batch, time)), np.array([0, 2, 2, 3, 7]), rng.integers(0, n, 7))
    table = (normal(7), normal(n, d), normal(d))
    yield "embedding_bag", F.embedding_bag, (*bags, *table), {}, {}
    ids = [int(i) for i in rng.permutation(n)[: 1 + n // 2]]
    trained = (x, normal(len(ids), d))
    yield "replace_rows", F.replace_rows, trained, {"ids": ids}, {"ids": ids}
    bins, width = 1 + d % 7, 1 + h % 9
    edges = np.cumsum(rng.uniform(0.2, 1, (d, bins + 1)), axis=1) - bins / 3
    pieces = (x, edges, normal(d, width), normal(d, width), normal(d, bins, width))
    yield "piecewise_linear", F.piecewise_linear, pieces, {}, {}
    frequencies, bias = normal(d, rank), normal(d, width)
    dense = (x, frequencies, normal(d, rank), normal(d, width, rank), bias)
    yield "periodic, dense", F.periodic, dense, {}, {}
    waves = (x, frequencies, normal(d, width, 2 * rank), bias)
    yield "periodic, relu", WithoutPhases(), waves, {}, {}
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
    answers = (rng.uniform(2, 9, n), rng.uniform(2, 9, n), rng.uniform(1, 9, (n, 4)))
    ranked = {"columns": 3, "scale": 2.0}
    yield "in_batch_ranking", F.in_batch_ranking, (normal(3 * n, d),), ranked, {}
    for kind in ("dpo", "ipo", "orpo", "simpo"):
        yield f"preference, {kind}", F.preference, answers, {"kind": kind}, {"kind": kind}
