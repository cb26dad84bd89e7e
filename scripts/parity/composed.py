"""Operations that no framework has, from functions that PyTorch and JAX have by one name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def operation(xp: Any, name: str, **options: Any) -> Callable[..., Any] | None:
    """The operation over the functions of a framework."""
    return partial(OPERATIONS[name], xp, **options) if name in OPERATIONS else None


def _sigmoid(xp: Any, x: Any) -> Any:
    return 1 / (1 + xp.exp(-x))


def _lora(xp: Any, x: Any, w: Any, bias: Any, a: Any, b: Any) -> Any:
    return x @ w.T + bias + 1.5 * (x @ a.T) @ b.T


def _dora(xp: Any, m: Any, w: Any, a: Any, b: Any) -> Any:
    return m / xp.sqrt(((w + 1.5 * b @ a) ** 2).sum(-1))


def _ensemble(xp: Any, x: Any, w: Any, r: Any, s: Any, b: Any) -> Any:
    return xp.tanh((x * r) @ w.T * s + b)


def _mean(xp: Any, x: Any, mean: str) -> Any:
    if mean == "sigmoid":
        p = _sigmoid(xp, x).mean(1)
        return xp.log(p) - xp.log(1 - p)
    if mean == "softmax":
        e = xp.exp(x)
        return xp.log((e / e.sum(-1)[..., None]).mean(1))
    return x.mean(1)


def _bag(xp: Any, ids: Any, offsets: Any, indices: Any, values: Any, w: Any, b: Any) -> Any:
    # Each entry belongs to one bag.
    entries = xp.arange(len(indices))
    inside = (entries >= offsets[:-1, None]) & (entries < offsets[1:, None])
    return xp.where(inside, values, 0 * values)[ids] @ w[indices] + b


def _replaced(xp: Any, x: Any, rows: Any, ids: list[int]) -> Any:
    parts = [rows[ids.index(i)] if i in ids else x[i] for i in range(len(x))]
    return xp.stack(parts)


def _pieces(xp: Any, x: Any, edges: Any, slope: Any, bias: Any, w: Any) -> Any:
    parts = []
    for i in range(x.shape[1]):
        column = x[:, i, None]
        # (1, …, 1, t, 0, …, 0), open at both ends.
        code = (column - edges[i, :-1]) / (edges[i, 1:] - edges[i, :-1])
        place = xp.arange(code.shape[1])
        code = xp.where((place > 0) & (code < 0), 0 * code, code)
        code = xp.where((place < code.shape[1] - 1) & (code > 1), 0 * code + 1, code)
        parts.append(column * slope[i] + bias[i] + code @ w[i])
    return xp.concatenate(parts, -1)


def _waves(xp: Any, x: Any, c: Any, *rest: Any) -> Any:
    *phases, w, b = rest
    parts = []
    for i in range(x.shape[1]):
        column = x[:, i, None]
        angles = 6.283185307179586 * column * c[i]
        if phases:
            parts += [xp.cos(angles + phases[0][i]) @ w[i].T + b[i], column]
        else:
            z = xp.concatenate([xp.cos(angles), xp.sin(angles)], -1) @ w[i].T + b[i]
            parts.append(xp.where(z > 0, z, 0 * z))
    return xp.concatenate(parts, -1)


def _balance(xp: Any, spread: Any, tokens: Any) -> Any:
    p, rows = spread
    return tokens * len(p) * (p * rows).sum() / rows.sum() ** 2


def _preference(xp: Any, a: Any, b: Any, constants: Any, kind: str) -> Any:
    n, m, a_reference, b_reference = constants.T

    def loss(z: Any) -> Any:
        return xp.log(1 + xp.exp(-z))

    if kind == "orpo":
        log_odds = [-v - xp.log(1 - xp.exp(-v)) for v in (a / n, b / m)]
        return (a / n + 0.1 * loss(log_odds[0] - log_odds[1])).sum()
    if kind == "ipo":
        return (((a_reference - a) / n - (b_reference - b) / m - 5) ** 2).sum()
    if kind == "simpo":
        return loss(0.1 * (b / m - a / n)).sum()
    return loss(0.1 * ((a_reference - a) - (b_reference - b))).sum()


def _ranking(xp: Any, x: Any) -> Any:
    unit = x / xp.sqrt((x * x).sum(-1))[:, None]
    anchors = len(x) // 3
    scores = 2 * unit[:anchors] @ unit[anchors:].T
    own = 2 * (unit[:anchors] * unit[anchors : 2 * anchors]).sum(-1)
    return (xp.log(xp.exp(scores).sum(-1)) - own).sum()


OPERATIONS: dict[str, Callable[..., Any]] = {
    "soft_cap": lambda xp, x: 0.7 * xp.tanh(x / 0.7),
    "gate": lambda xp, z, u: z * _sigmoid(xp, z) * u,
    "parametric_activation": lambda xp, x, share: x + share * (xp.tanh(x) - x),
    "lora_linear": _lora,
    "dora_factors": _dora,
    "adapted_experts": lambda xp, w, a, b: w + 1.5 * b[:, b.shape[1] - w.shape[1] :] @ a,
    "batch_ensemble": _ensemble,
    "member_linear": lambda xp, x, w, b: xp.einsum("nki,koi->nko", x, w) + b,
    "mean_of_members": _mean,
    "embedding_bag": _bag,
    "replace_rows": _replaced,
    "piecewise_linear": _pieces,
    "periodic": _waves,
    "preference": _preference,
    "in_batch_ranking": _ranking,
    "split": lambda xp, x, widths: x[:, : widths[0]],  # Its first part.
    "router_balance": _balance,
}
