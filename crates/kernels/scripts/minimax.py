#!/usr/bin/env python3
"""The coefficients of crates/kernels/src/maths: `python3 minimax.py`, with numpy and mpmath.

A fit is least squares on Chebyshev nodes, reweighted by its own error until the greatest error is as small as it gets
(Lawson's algorithm); values come from mpmath. Coefficients are rounded to f32 one after the other, the lowest power first,
and those that are left are fitted again, so that they make the rounding good. Errors are relative to the whole function.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 40
NODES = 1500
STEPS = 300


def cosines():
    return np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)


def values(f, x):
    return np.array([float(f(mp.mpf(v))) for v in x])


def single(v):
    return np.float64(np.float32(v))


def show(name, error, ideal, **coefficients):
    print(f"{name}: error 2^{np.log2(error):.1f} (2^{np.log2(ideal):.1f} before rounding)")
    for label, c in coefficients.items():
        print(f"    {label} =", ", ".join(np.format_float_scientific(np.float32(v), trim="-") for v in c))


def lawson(columns, target, weigh):
    """c with the smallest max |e|, e = weight · (columns · c − target); `weigh(c)` returns weights, which may depend on c."""
    mass, c, best = np.ones_like(target), np.zeros(columns.shape[1]), (np.inf, None)
    for _ in range(STEPS):
        weight = weigh(c)
        a, b = columns * weight[:, None], target * weight
        scale = np.linalg.norm(a, axis=0)
        root = np.sqrt(mass)
        c = np.linalg.lstsq(a / scale * root[:, None], b * root, rcond=None)[0] / scale
        error = np.abs(weigh(c) * (columns @ c - target))
        if error.max() < best[0]:
            best = (error.max(), c)
        mass = mass * error
        mass /= mass.sum()
    return best


def rounded(columns, target, weigh, order):
    """The fit, with coefficients rounded in that order; also the errors with and without rounding."""
    ideal, _ = lawson(columns, target, weigh)
    c = np.full(columns.shape[1], np.nan)
    for k in order:
        free = np.flatnonzero(np.isnan(c))
        fixed = np.flatnonzero(~np.isnan(c))

        def whole(rest):
            every = c.copy()
            every[free] = rest
            return every

        rest = lawson(
            columns[:, free], target - columns[:, fixed] @ c[fixed], lambda rest: weigh(whole(rest))
        )[1]
        c[k] = single(rest[list(free).index(k)])
    return c, np.abs(weigh(c) * (columns @ c - target)).max(), ideal


def polynomial(name, f, weight, terms, lo, hi):
    """f(x) by c₀ + c₁x + …; `weight` makes errors relative to the whole function."""
    x = (lo + hi) / 2 - (hi - lo) / 2 * cosines()
    x = x[np.abs(x) > 1e-4 * (hi - lo)]
    w = np.abs(values(weight, x))
    powers = x[:, None] ** np.arange(terms)
    c, error, ideal = rounded(powers, values(f, x), lambda _: w, range(terms))
    show(name, error, ideal, C=c)


def rational(name, f, n, m, lo, hi):
    """f(x) by P(x) / Q(x) of degrees n and m with Q(0) = 1; nodes are dense at the left, where the function bends."""
    x = lo + (hi - lo) * ((1 - cosines()) / 2) ** 2
    y = values(f, x)
    columns = np.hstack([x[:, None] ** np.arange(n + 1), -y[:, None] * x[:, None] ** np.arange(1, m + 1)])
    q = lambda c: 1 + x[:, None] ** np.arange(1, m + 1) @ c[n + 1 :]
    # P − f Q, divided by f Q.
    weigh = lambda c: 1 / np.abs(q(c) * y)
    order = sorted(range(n + m + 1), key=lambda k: k if k <= n else k - n - 0.5)
    c, error, ideal = rounded(columns, y, weigh, order)
    show(name, error, ideal, P=c[: n + 1], Q=np.concatenate([[1.0], c[n + 1 :]]))


def main():
    half = float(mp.log(2)) / 2 * 1.0001
    polynomial(
        "exp.rs, (eʳ − 1 − r) / r²", lambda r: (mp.expm1(r) - r) / r**2, lambda r: r * r, 5, -half, half
    )
    lo, hi = 0.5**0.5 - 1, 2**0.5 - 1
    polynomial(
        "ln.rs, (ln(1 + f) − f + f²/2) / f³",
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3,
        lambda f: f**3 / mp.log1p(f),
        8,
        lo,
        hi,
    )
    polynomial("ln.rs, 1 / (1 + f)", lambda f: 1 / (1 + f), lambda f: 1 + f, 3, lo, hi)
    polynomial(
        "erf.rs, erf(x)/x − 1 in x²",
        lambda s: mp.erf(mp.sqrt(s)) / mp.sqrt(s) - 1,
        lambda s: mp.sqrt(s) / mp.erf(mp.sqrt(s)),
        7,
        0,
        1,
    )
    rational("erf.rs, exp(a²) erfc(a)", lambda a: mp.exp(a * a) * mp.erfc(a), 4, 5, 0, 10)
    ln2 = single(np.float64(int(float(mp.log(2)) * 2**16)) / 2**16)
    print(f"ln 2 = {ln2!r} + {np.format_float_scientific(np.float32(float(mp.log(2) - mp.mpf(ln2))))}")


if __name__ == "__main__":
    main()
