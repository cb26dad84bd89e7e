"""The operations in PyTorch, and what a value and its gradients are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import composed
import numpy as np
import torch
import torch.nn.functional as T

from feedforward._torch import _function


def version() -> str:
    return f"PyTorch {torch.__version__.split('+')[0]}"


def run(f: Callable[..., Any], inputs: Sequence[np.ndarray], dy: np.ndarray | None) -> Any:
    """The value, and the gradient of each float input."""
    given = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    y = f(*given)
    y.backward(None if dy is None else torch.tensor(dy))
    gradients = [None if x.grad is None else x.grad.numpy() for x in given]
    return y.detach().numpy(), gradients


def operation(name: str, **options: Any) -> Callable[..., Any] | None:
    kind, _, rest = name.partition(", ")
    if kind == "linear":
        f = _function(rest)
        return lambda x, w, b: f(T.linear(x, w, b))
    if kind == "activation":
        return _function(rest)
    if kind in OPERATIONS:
        return partial(OPERATIONS[kind], **options)
    return composed.operation(torch, kind, **options)


def _heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    return x.reshape(*x.shape[:2], -1, head_dim).transpose(1, 2)


def _attention(q: Any, k: Any, v: Any, heads: int, kv_heads: int, head_dim: int, causal: bool) -> Any:
    q2, k2, v2 = (_heads(x, head_dim) for x in (q, k, v))
    y = T.scaled_dot_product_attention(q2, k2, v2, is_causal=causal, enable_gqa=True)
    return y.transpose(1, 2).reshape(q.shape)


def _rotary(x: Any, positions: Any, head_dim: int) -> Any:
    half = head_dim // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions[..., None].double() * rates
    cos, sin = (f(angles)[:, :, None].to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.reshape(*x.shape[:2], -1, head_dim).split(half, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)


def _mixture(x: Any, router: Any, gate: Any, up: Any, down: Any, top_k: int) -> Any:
    p = (x @ router.T).softmax(-1)
    weights, chosen = p.topk(top_k)
    weights = weights / weights.sum(-1, keepdim=True)
    each = [T.linear(T.silu(T.linear(x, g)) * T.linear(x, u), d) for g, u, d in zip(gate, up, down)]
    each = torch.stack(each, 1)
    picked = each.gather(1, chosen[..., None].expand(-1, -1, x.shape[-1]))
    return (picked * weights[..., None]).sum(1)


def _pool(x: Any, segments: Any) -> Any:
    there = (segments >= 0)[..., None].to(x.dtype)
    return (x * there).sum(1) / there.sum(1)


def _focal(z: Any, t: Any) -> Any:
    u = z.log_softmax(-1).gather(-1, t[:, None])[:, 0]
    return (-((1 - u.exp()) ** 2) * u).mean()


def _binary_focal(z: Any, t: Any) -> Any:
    p = z.sigmoid()
    q = (1 - t) * p + t * (1 - p)
    return (q**2 * T.binary_cross_entropy_with_logits(z, t, reduction="none")).mean()


OPERATIONS: dict[str, Callable[..., Any]] = {
    "feedforward": lambda x, u, d, c, e: T.linear(T.gelu(T.linear(x, u, c)), d, e),
    "gated_feedforward": lambda x, g, u, d: T.linear(T.silu(T.linear(x, g)) * T.linear(x, u), d),
    "mixture_of_experts": _mixture,
    "attention": _attention,
    "rotary": _rotary,
    "embedding": T.embedding,
    "rms_norm": lambda x, w: T.rms_norm(x, w.shape, w, 1e-6),
    "layer_norm": lambda x, w, b: T.layer_norm(x, w.shape, w, b),
    "batch_norm": lambda x, w, b: T.batch_norm(x, None, None, w, b, training=True),
    "batch_norm_running": lambda x, w, b, mean, variance: T.batch_norm(
        x, mean.detach(), variance.detach(), w, b, training=False
    ),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "prelu": T.prelu,
    "add": torch.add,
    "mul": torch.mul,
    "scale": lambda x: x * 0.7,
    "scale_rows": lambda x, s: x * s,
    "concat": lambda *x: torch.cat(x, -1),
    "pool_tokens": _pool,
    "cross_entropy": lambda z, t, smoothing: T.cross_entropy(z, t, label_smoothing=smoothing),
    "linear_cross_entropy": lambda x, w, t: T.cross_entropy(T.linear(x, w), t, reduction="sum"),
    "binary_cross_entropy_with_logits": T.binary_cross_entropy_with_logits,
    "focal": _focal,
    "binary_focal": _binary_focal,
    "kl_divergence": lambda z, t: T.kl_div(z.log_softmax(-1), t, reduction="batchmean"),
    "mse": T.mse_loss,
    "mae": T.l1_loss,
    "huber": T.huber_loss,
}
