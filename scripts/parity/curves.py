"""Whole training runs of ours and of PyTorch's, from the same weights and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import in_torch
import numpy as np
import torch
import torch.nn.functional as T

from feedforward import functional as F

STEPS = 300
Parameters = dict[str, np.ndarray]


@dataclass
class Run:
    """The losses of each step."""

    name: str
    ours: list[float]
    theirs: list[float]

    def apart(self) -> float:
        """The largest relative difference."""
        return max(abs(a - b) / b for a, b in zip(self.ours, self.theirs, strict=True))


def runs() -> Iterator[Run]:
    yield trained("classifier", classifier(), "adamw", torch.optim.AdamW, lr=3e-3, weight_decay=0.0)
    yield trained("regressor", regressor(), "sgd", torch.optim.SGD, lr=0.05, momentum=0.9)
    yield trained("language model", language_model(), "adamw", torch.optim.AdamW, lr=3e-3, weight_decay=0.0)


def trained(name: str, task: Any, kind: str, optimizer: Any, **settings: Any) -> Run:
    parameters, batches, ours, theirs = task
    twins = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in parameters.items()}
    our_step = F.Optimizer(parameters, kind, **settings)
    their_step = optimizer(twins.values(), **settings)
    run = Run(name, [], [])
    for step in range(STEPS):
        batch = batches(step)
        loss, gradients = ours(parameters, *batch)
        our_step.step(gradients)
        twin = theirs(twins, *map(torch.tensor, batch))
        their_step.zero_grad()
        twin.backward()
        their_step.step()
        run.ours.append(loss)
        run.theirs.append(twin.item())
    return run


def matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.normal(scale=columns**-0.5, size=(rows, columns)).astype(np.float32)


def rows_of(step: int, size: int, count: int) -> np.ndarray:
    return np.arange(size * step, size * (step + 1)) % count


def classifier() -> Any:
    """Two layers with GELU on classes of which labels are a linear rule and noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 20)).astype(np.float32)
    labels = (x @ rng.normal(size=(20, 5)) + rng.normal(size=(512, 5))).argmax(1)
    parameters = {"w0": matrix(rng, 64, 20), "b0": np.zeros(64, np.float32)}
    parameters |= {"w1": matrix(rng, 5, 64), "b1": np.zeros(5, np.float32)}

    def ours(p: Parameters, x: Any, labels: Any) -> Any:
        hidden, back0 = F.linear.vjp(x, p["w0"], p["b0"], activation="gelu")
        logits, back1 = F.linear.vjp(hidden, p["w1"], p["b1"])
        loss, back2 = F.cross_entropy.vjp(logits, labels)
        dhidden, dw1, db1 = back1(back2()[0])
        _, dw0, db0 = back0(dhidden)
        return loss, {"w0": dw0, "b0": db0, "w1": dw1, "b1": db1}

    def theirs(p: Any, x: Any, labels: Any) -> Any:
        hidden = T.gelu(T.linear(x, p["w0"], p["b0"]))
        return T.cross_entropy(T.linear(hidden, p["w1"], p["b1"]), labels)

    def batch(step: int) -> Any:
        rows = rows_of(step, 64, 512)
        return x[rows], labels[rows]

    return parameters, batch, ours, theirs


def regressor() -> Any:
    """Two layers with tanh between them and a layer norm, on a product of two numbers."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (512, 4)).astype(np.float32)
    y = (x[:, :1] * x[:, 1:2] + 0.05 * rng.normal(size=(512, 1))).astype(np.float32)
    parameters = {"w0": matrix(rng, 32, 4), "b0": np.zeros(32, np.float32)}
    parameters |= {"g": np.ones(32, np.float32), "h": np.zeros(32, np.float32)}
    parameters |= {"w1": matrix(rng, 1, 32), "b1": np.zeros(1, np.float32)}

    def ours(p: Parameters, x: Any, y: Any) -> Any:
        hidden, back0 = F.linear.vjp(x, p["w0"], p["b0"], activation="tanh")
        normed, back1 = F.layer_norm.vjp(hidden, p["g"], p["h"])
        output, back2 = F.linear.vjp(normed, p["w1"], p["b1"])
        loss, back3 = F.mse.vjp(output, y)
        dnormed, dw1, db1 = back2(back3()[0])
        dhidden, dg, dh = back1(dnormed)
        _, dw0, db0 = back0(dhidden)
        return loss, {"w0": dw0, "b0": db0, "g": dg, "h": dh, "w1": dw1, "b1": db1}

    def theirs(p: Any, x: Any, y: Any) -> Any:
        hidden = torch.tanh(T.linear(x, p["w0"], p["b0"]))
        normed = T.layer_norm(hidden, (32,), p["g"], p["h"])
        return T.mse_loss(T.linear(normed, p["w1"], p["b1"]), y)

    def batch(step: int) -> Any:
        rows = rows_of(step, 64, 512)
        return x[rows], y[rows]

    return parameters, batch, ours, theirs


def language_model() -> Any:
    """A decoder of one layer (RMS norm, rotary attention, SwiGLU) on a text of two-letter words."""
    rng = np.random.default_rng(2)
    width, hidden, heads, size, vocabulary, time = 32, 48, 4, 8, 27, 24
    letters = rng.integers(1, vocabulary, 40)
    words = np.stack([letters[:20], letters[20:], np.zeros(20, int)], 1)
    text = words[rng.integers(0, 20, 2000)].ravel()
    shapes = {"q": width, "k": width, "v": width, "o": width, "gate": hidden, "up": hidden}
    parameters = {name: matrix(rng, rows, width) for name, rows in shapes.items()}
    parameters |= {"down": matrix(rng, width, hidden), "table": matrix(rng, vocabulary, width)}
    parameters |= {"n1": np.ones(width, np.float32), "n2": np.ones(width, np.float32)}
    positions = np.broadcast_to(np.arange(time), (16, time)).copy()
    shape = {"heads": heads, "head_dim": size, "causal": True}

    def ours(p: Parameters, ids: Any, targets: Any) -> Any:
        backs: dict[str, Callable[..., Any]] = {}

        def call(name: str, function: Any, *inputs: Any, **attributes: Any) -> Any:
            y, backs[name] = function.vjp(*inputs, **attributes)
            return y

        x = call("x", F.embedding, ids, p["table"])
        a = call("a", F.rms_norm, x, p["n1"])
        q, k, v = (call(name, F.linear, a, p[name]) for name in "qkv")
        q = call("turn q", F.rotary, q, positions, head_dim=size)
        k = call("turn k", F.rotary, k, positions, head_dim=size)
        mixed = call("mixed", F.attention, q, k, v, **shape)
        h = call("h", F.add, x, call("o", F.linear, mixed, p["o"]))
        b = call("b", F.rms_norm, h, p["n2"])
        block = call("block", F.gated_feedforward, b, p["gate"], p["up"], p["down"])
        y = call("y", F.add, h, block)
        logits = call("logits", F.linear, y, p["table"])
        loss, back = F.cross_entropy.vjp(logits.reshape(-1, vocabulary), targets.ravel())

        d: dict[str, Any] = {}
        dy, d["table"] = backs["logits"](back()[0].reshape(logits.shape))
        dh, dblock = backs["y"](dy)
        db, d["gate"], d["up"], d["down"] = backs["block"](dblock)
        more, d["n2"] = backs["b"](db)
        dx, do = backs["h"](dh + more)
        dmixed, d["o"] = backs["o"](do)
        dq, dk, dv = backs["mixed"](dmixed)
        dq, dk = backs["turn q"](dq)[0], backs["turn k"](dk)[0]
        da = 0
        for name, gradient in zip("qkv", (dq, dk, dv), strict=True):
            part, d[name] = backs[name](gradient)
            da = da + part
        more, d["n1"] = backs["a"](da)
        d["table"] = d["table"] + backs["x"](dx + more)[1]
        return loss, d

    def theirs(p: Any, ids: Any, targets: Any) -> Any:
        x = T.embedding(ids, p["table"])
        a = T.rms_norm(x, (width,), p["n1"], 1e-6)
        q, k, v = (T.linear(a, p[name]) for name in "qkv")
        at = torch.tensor(positions)
        turned = (in_torch.OPERATIONS["rotary"](part, at, size) for part in (q, k))
        mixed = in_torch.OPERATIONS["attention"](*turned, v, heads, heads, size, True)
        h = x + T.linear(mixed, p["o"])
        b = T.rms_norm(h, (width,), p["n2"], 1e-6)
        block = in_torch.OPERATIONS["gated_feedforward"](b, p["gate"], p["up"], p["down"])
        logits = T.linear(h + block, p["table"])
        return T.cross_entropy(logits.reshape(-1, vocabulary), targets.ravel())

    def batch(step: int) -> Any:
        starts = np.random.default_rng(step).integers(0, len(text) - time - 1, 16)
        windows = np.stack([text[start : start + time + 1] for start in starts])
        return windows[:, :-1].copy(), windows[:, 1:].copy()

    return parameters, batch, ours, theirs
