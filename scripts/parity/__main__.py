"""Writes docs/parity.md and docs/parity.svg: operations beside PyTorch's, JAX's and Keras's over
random shapes, and training runs beside PyTorch's.

    python scripts/parity            # needs feedforward, torch, jax and keras

Of each operation, in f64 and f32: the largest relative difference of its value and of all its
gradients, max |ours - theirs| / max |theirs|, over SHAPES random shapes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import in_jax
import in_keras
import in_torch
import numpy as np
from cases import Case, cases
from curves import STEPS, runs
from picture import svg

SHAPES = 5
FRAMEWORKS = {"PyTorch": in_torch, "JAX": in_jax, "Keras": in_keras}
# Keras has its losses, norms and attention in f32 whatever they are given.
EXACT = ["PyTorch", "JAX"]
DOCS = Path(__file__).parents[2] / "docs"
# What may be: rounding of sums of some dozens of terms.
MOST = {"float64": 1e-10, "float32": 2e-4}


def difference(pairs: list[tuple[Any, Any]]) -> float:
    """The largest difference of some arrays, beside the largest value of all of theirs."""
    arrays = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    for ours, theirs in arrays:
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    largest = max(np.abs(theirs).max(initial=0) for _, theirs in arrays)
    apart = max(np.abs(ours - theirs).max(initial=0) for ours, theirs in arrays)
    return float(apart / max(largest, 1e-30))


def compare(case: Case, dtype: str) -> dict[str, tuple[float, float]]:
    """The differences of the value and of the gradients, for each framework."""
    inputs = [x if x.dtype.kind == "i" else x.astype(dtype) for x in case.inputs]
    value, backward = case.ours.vjp(*inputs, **case.attributes)
    value = value[0] if isinstance(value, tuple) else value
    scalar = isinstance(value, float)
    dy = None if scalar else np.random.default_rng(1).normal(size=value.shape).astype(dtype)
    gradients = backward() if scalar else backward(dy.copy())
    found = {}
    for name, f in case.theirs.items():
        if dtype == "float64" and name not in EXACT:
            continue
        expected, theirs = FRAMEWORKS[name].run(f, inputs, dy)
        pairs = zip(gradients, theirs, strict=True)
        pairs = [(g, t) for g, t in pairs if g is not None and t is not None]
        found[name] = (difference([(value, expected)]), difference(pairs))
    return found


def table(worst: dict[str, dict[str, list[float]]], names: list[str]) -> list[str]:
    head = " | ".join(f"{name}: value | gradients" for name in names)
    lines = [f"| operation | {head} |", "|---|" + "---|" * (2 * len(names))]
    for operation, found in worst.items():
        cells = []
        for name in names:
            cells += [f"{v:.0e}" for v in found[name]] if name in found else ["", ""]
        lines.append(f"| {operation} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    # JAX says that ids are of 64 bits.
    warnings.filterwarnings("ignore")
    versions = ", ".join(module.version() for module in FRAMEWORKS.values())
    lines = [
        "# Parity with PyTorch, JAX and Keras",
        "",
        f"`python scripts/parity` wrote this page with {versions}.",
        "",
        f"The largest relative difference, max |ours − theirs| / max |theirs|, over {SHAPES} random "
        "shapes: of the value, and of all gradients together. An empty cell: the framework has no such "
        "operation, nor layers that make it up. Keras runs on JAX and is compared in f32 alone, the type in which it has losses, norms "
        "and attention whatever they are given.",
    ]
    unlike: list[str] = []
    for dtype, title in (("float64", "f64"), ("float32", "f32")):
        worst: dict[str, dict[str, list[float]]] = {}
        rng = np.random.default_rng(0)
        for _ in range(SHAPES):
            # What was compiled for other shapes.
            in_jax.jax.clear_caches()
            for case in cases(rng):
                for name, found in compare(case, dtype).items():
                    row = worst.setdefault(case.name, {}).setdefault(name, [0.0, 0.0])
                    row[:] = map(max, row, found)
        lines += ["", f"## {title}", "", *table(worst, EXACT if dtype == "float64" else list(FRAMEWORKS))]
        for operation, found in worst.items():
            for name, values in found.items():
                if not max(values) <= MOST[dtype]:
                    unlike.append(f"{operation} is unlike {name}'s in {dtype}: {values}")
    trained = list(runs())
    apart = ", ".join(f"{run.apart():.0e} ({run.name})" for run in trained)
    lines += [
        "",
        "## Training runs",
        "",
        f"Three networks trained in f32 from the same weights on the same batches for {STEPS} steps, by "
        "operations and optimisers of ours and by PyTorch's: a classifier (GELU, cross-entropy, AdamW), a "
        "regressor (tanh, layer norm, squared error, SGD with momentum) and a decoder of one layer "
        "(rotary attention, RMS norm, SwiGLU, tied embeddings, AdamW). The losses differ relatively by "
        f"at most {apart}.",
        "",
        "![The losses of ours and of PyTorch's lie on each other](parity.svg)",
        "",
        "| step | " + " | ".join(f"{run.name}: ours | PyTorch" for run in trained) + " |",
        "|---|" + "---|" * (2 * len(trained)),
    ]
    for step in (0, 1, 10, 100, STEPS - 1):
        cells = (f"{run.ours[step]:.6f} | {run.theirs[step]:.6f}" for run in trained)
        lines.append(f"| {step + 1} | " + " | ".join(cells) + " |")
    if unlike:
        raise SystemExit("\n".join(unlike))
    (DOCS / "parity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (DOCS / "parity.svg").write_text(svg(trained), encoding="utf-8")


if __name__ == "__main__":
    main()
