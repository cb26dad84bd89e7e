"""Writes docs/parity.md: operations beside PyTorch's, over random shapes, and a training run of each.

    python scripts/parity.py            # needs feedforward and torch

Of each operation, in f64 and f32: the largest relative difference of its value and of all its
gradients, max |ours - theirs| / max |theirs|, over SHAPES random shapes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as T

from feedforward import functional as F

SHAPES = 20
STEPS = 300
ACTIVATIONS = {
    "relu": T.relu,
    "gelu": T.gelu,
    "silu": T.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": T.elu,
    "selu": T.selu,
    "softplus": T.softplus,
    "mish": T.mish,
}


def attention(q, k, v, heads, kv_heads, head_dim):
    def split(x, n):
        return x.reshape(*x.shape[:2], n, head_dim).transpose(1, 2)

    y = T.scaled_dot_product_attention(
        split(q, heads), split(k, kv_heads), split(v, kv_heads), is_causal=True, enable_gqa=True
    )
    return y.transpose(1, 2).reshape(q.shape)


def rotary(x, positions, head_dim):
    half = head_dim // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions[..., None].double() * rates
    cos, sin = (f(angles)[:, :, None].to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.reshape(*x.shape[:2], -1, head_dim).split(half, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)


def cases(rng):
    """Name, our operation, theirs, inputs (ids are integers), and attributes of ours."""
    n, d, h = (int(v) for v in rng.integers(1, 48, 3))
    heads, kv = [(4, 2), (3, 3), (2, 1)][rng.integers(3)]
    size = 2 * int(rng.integers(1, 9))
    batch, time = (int(v) for v in rng.integers(1, 20, 2))

    def normal(*shape):
        return rng.normal(size=shape)

    ids = rng.integers(0, n, (batch, time))
    classes = rng.integers(0, d + 1, n)
    positions = np.broadcast_to(np.arange(time), (batch, time)).copy()
    shape = {"heads": heads, "kv_heads": kv, "head_dim": size}
    yield "linear", F.linear, T.linear, (normal(n, d), normal(h, d), normal(h)), {}
    for name, f in ACTIVATIONS.items():
        yield (
            f"linear, {name}",
            F.linear,
            lambda x, w, b, f=f: f(T.linear(x, w, b)),
            (normal(n, d), normal(h, d), normal(h)),
            {"activation": name},
        )
    yield (
        "gated_feedforward",
        F.gated_feedforward,
        lambda x, g, u, w: T.linear(T.silu(T.linear(x, g)) * T.linear(x, u), w),
        (normal(n, d), normal(h, d), normal(h, d), normal(d, h)),
        {},
    )
    yield (
        "attention",
        F.attention,
        lambda q, k, v: attention(q, k, v, heads, kv, size),
        (
            normal(batch, time, heads * size),
            normal(batch, time, kv * size),
            normal(batch, time, kv * size),
        ),
        {**shape, "causal": True},
    )
    yield (
        "rotary",
        F.rotary,
        lambda x, p: rotary(x, p, size),
        (normal(batch, time, heads * size), positions),
        {"head_dim": size},
    )
    yield "embedding", F.embedding, T.embedding, (ids, normal(n, d)), {}
    yield (
        "rms_norm",
        F.rms_norm,
        lambda x, w: T.rms_norm(x, w.shape, w, 1e-6),
        (normal(n, d), normal(d)),
        {},
    )
    yield (
        "layer_norm",
        F.layer_norm,
        lambda x, w, b: T.layer_norm(x, w.shape, w, b),
        (normal(n, d + 1), normal(d + 1), normal(d + 1)),
        {},
    )
    yield "softmax", F.softmax, lambda x: x.softmax(-1), (normal(n, d + 1),), {}
    yield "log_softmax", F.log_softmax, lambda x: x.log_softmax(-1), (normal(n, d + 1),), {}
    yield "cross_entropy", F.cross_entropy, T.cross_entropy, (normal(n, d + 1), classes), {}
    yield "mse", F.mse, T.mse_loss, (normal(n, 1), normal(n, 1)), {}
    yield "mae", F.mae, T.l1_loss, (normal(n, 1), normal(n, 1)), {}
    yield "huber", F.huber, T.huber_loss, (normal(n, 1), normal(n, 1)), {}


def difference(pairs):
    """The largest difference of some arrays, beside the largest value of all of theirs."""
    pairs = [(np.asarray(a, np.float64), b.detach().double().numpy()) for a, b in pairs]
    largest = max(np.abs(theirs).max(initial=0) for _, theirs in pairs)
    apart = max(np.abs(ours - theirs).max(initial=0) for ours, theirs in pairs)
    return float(apart / max(largest, 1e-30))


def compare(ours, theirs, inputs, attributes, dtype):
    """The differences of the value, and of the gradients."""
    inputs = [x if x.dtype.kind == "i" else x.astype(dtype) for x in inputs]
    twins = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    expected = theirs(*twins)
    value, backward = ours.vjp(*inputs, **attributes)
    if expected.ndim == 0:
        gradients = backward()
        expected.backward()
    else:
        dy = np.random.default_rng(1).normal(size=expected.shape).astype(dtype)
        gradients = backward(dy.copy())
        expected.backward(torch.tensor(dy))
    pairs = zip(gradients, twins, strict=False)
    pairs = [(g, t.grad) for g, t in pairs if g is not None and t.grad is not None]
    return difference([(value, expected)]), difference(pairs)


def curves():
    """The losses of a network trained by ours and by PyTorch from the same weights and batches."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(512, 20)).astype(np.float32), rng.integers(0, 5, 512)
    sizes = [(64, 20), (5, 64)]
    ours = {}
    for i, (out, into) in enumerate(sizes):
        ours[f"w{i}"] = rng.normal(scale=into**-0.5, size=(out, into)).astype(np.float32)
        ours[f"b{i}"] = np.zeros(out, np.float32)
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in ours.values()]
    optimizer = F.Optimizer(ours, "adamw", lr=3e-3, weight_decay=0.0)
    other = torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        rows = np.arange(64 * step, 64 * step + 64) % 512
        hidden, back1 = F.linear.vjp(x[rows], ours["w0"], ours["b0"], activation="gelu")
        logits, back2 = F.linear.vjp(hidden, ours["w1"], ours["b1"])
        loss, back3 = F.cross_entropy.vjp(logits, labels[rows])
        dhidden, dw1, db1 = back2(back3()[0])
        _, dw0, db0 = back1(dhidden)
        optimizer.step([dw0, db0, dw1, db1])
        w0, b0, w1, b1 = theirs
        twin = T.linear(T.gelu(T.linear(torch.tensor(x[rows]), w0, b0)), w1, b1)
        twin = T.cross_entropy(twin, torch.tensor(labels[rows]))
        other.zero_grad()
        twin.backward()
        other.step()
        losses.append((float(loss), twin.item()))
    return losses


def main() -> None:
    worst: dict[str, list[float]] = {}
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        for _ in range(SHAPES):
            for name, ours, theirs, inputs, attributes in cases(rng):
                found = compare(ours, theirs, inputs, attributes, dtype)
                row = worst.setdefault(name, [0.0] * 4)
                at = 0 if dtype == np.float64 else 2
                for i, value in enumerate(found):
                    row[at + i] = max(row[at + i], value)
    losses = curves()
    lines = [
        "# Parity with PyTorch",
        "",
        f"`python scripts/parity.py` wrote this page with PyTorch {torch.__version__.split('+')[0]}.",
        "",
        f"The largest relative difference, max |ours − theirs| / max |theirs|, over {SHAPES} random "
        "shapes: of the value, and of all gradients together. PyTorch's softplus is x above 20.",
        "",
        "| operation | value, f64 | gradients, f64 | value, f32 | gradients, f32 |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {n} | " + " | ".join(f"{v:.0e}" for v in row) + " |" for n, row in worst.items()]
    apart = max(abs(a - b) / b for a, b in losses)
    lines += [
        "",
        "A network of two layers (GELU, cross-entropy, AdamW, f32) trained by both from the same "
        f"weights on the same batches: over {STEPS} steps the losses differ by {apart:.0e} at most, "
        "relatively.",
        "",
        "| step | ours | PyTorch |",
        "|---|---|---|",
    ]
    shown = [0, 1, 10, 100, STEPS - 1]
    lines += [f"| {i + 1} | {losses[i][0]:.7f} | {losses[i][1]:.7f} |" for i in shown]
    page = Path(__file__).parents[1] / "docs" / "parity.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
