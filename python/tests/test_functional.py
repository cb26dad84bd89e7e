"""Operations and their gradients."""

import numpy as np
import pytest

from feedforward import functional as F
from feedforward._core import operations

RNG = np.random.default_rng(5)


def normal(*shape):
    return RNG.normal(size=shape)


CASES = {
    "linear": (F.linear, (normal(5, 4), normal(3, 4), normal(3)), {"activation": "gelu"}),
    "linear_without_bias": (F.linear, (normal(2, 3, 4), normal(3, 4)), {}),
    "feedforward": (F.feedforward, (normal(5, 4), normal(6, 4), normal(4, 6)), {}),
    "gated_feedforward": (
        F.gated_feedforward,
        (normal(5, 4), normal(6, 4), normal(6, 4), normal(4, 6)),
        {},
    ),
    "rms_norm": (F.rms_norm, (normal(5, 4), normal(4)), {"eps": 1e-5}),
    "layer_norm": (F.layer_norm, (normal(5, 4), normal(4), normal(4)), {}),
    "softmax": (F.softmax, (normal(5, 4),), {}),
    "log_softmax": (F.log_softmax, (normal(5, 4),), {}),
    "activation": (F.activation, (normal(5, 4),), {"name": "elu", "alpha": 0.5}),
    "add": (F.add, (normal(5, 4), normal(4)), {}),
    "mul": (F.mul, (normal(5, 4), normal(5, 4)), {}),
    "attention": (
        F.attention,
        (normal(2, 5, 8), normal(2, 5, 4), normal(2, 5, 4)),
        {"heads": 4, "kv_heads": 2, "head_dim": 2, "causal": True},
    ),
    "attention_of_segments": (
        F.attention,
        (normal(2, 4, 4), normal(2, 4, 4), normal(2, 4, 4)),
        {
            "heads": 2,
            "head_dim": 2,
            "causal": True,
            "key_segments": np.array([[0, 0, 1, 1], [0, 1, 1, -1]]),
            "query_segments": np.array([[0, 0, 1, 1], [0, 1, 1, -1]]),
            "sinks": normal(2),
        },
    ),
    "attention_of_windows": (
        F.attention,
        (normal(2, 5, 4), normal(2, 5, 4), normal(2, 5, 4)),
        {
            "heads": 2,
            "head_dim": 2,
            "window": 2,
            "ahead": 1,
            "key_segments": np.array([[0, 0, 0, 0, -1], [0, 0, 0, 0, 0]]),
        },
    ),
    "attention_by_distance": (
        F.attention,
        (normal(2, 12, 4), normal(2, 12, 4), normal(2, 12, 4)),
        {
            "heads": 2,
            "head_dim": 2,
            "key_segments": np.zeros((2, 12), np.int64),
            "distance_scores": normal(8, 2),
            "far": 9,
            "both": True,
            "sinks": normal(2),
        },
    ),
    "attention_dropout": (
        F.attention,
        (normal(2, 5, 4), normal(2, 5, 4), normal(2, 5, 4)),
        {"heads": 2, "head_dim": 2, "dropout_p": 0.4, "seed": 5},
    ),
    "rotary": (
        F.rotary,
        (normal(1, 5, 8), np.arange(5)[None]),
        {"head_dim": 4},
    ),
    "embedding": (F.embedding, (np.array([[0, 2], [2, 1]]), normal(3, 4)), {}),
    "batch_norm": (F.batch_norm, (normal(5, 4), normal(4), normal(4)), {}),
    "batch_norm_running": (
        F.batch_norm_running,
        (normal(5, 4), normal(4), normal(4), normal(4), normal(4) ** 2 + 0.5),
        {},
    ),
    "prelu": (F.prelu, (normal(5, 4), normal(4)), {}),
    "dropout": (F.dropout, (normal(50, 4),), {"p": 0.3, "seed": 7}),
    "scale": (F.scale, (normal(5, 4),), {"factor": -1.5}),
    "scale_rows": (F.scale_rows, (normal(5, 4), normal(5, 1)), {}),
    "concat": (F.concat, (normal(5, 4), normal(5, 1), normal(5, 2)), {}),
    "pool_tokens": (F.pool_tokens, (normal(2, 3, 4), np.array([[0, -1, 0], [0, 0, 0]])), {}),
    "mixture_of_experts": (
        F.mixture_of_experts,
        (normal(5, 4), normal(3, 4), normal(3, 6, 4), normal(3, 6, 4), normal(3, 4, 6)),
        {"top_k": 2},
    ),
    "router_balance": (F.router_balance, (np.abs(normal(2, 3)), np.array([4.0])), {}),
    "split": (F.split, (normal(5, 4),), {"widths": [4]}),
    "soft_cap": (F.soft_cap, (normal(5, 4),), {"cap": 0.75}),
    "gate": (F.gate, (normal(5, 4), normal(5, 4)), {}),
    "parametric_activation": (
        F.parametric_activation,
        (normal(5, 4), normal(4)),
        {"activation": "tanh"},
    ),
    "lora_linear": (
        F.lora_linear,
        (normal(5, 4), normal(3, 4), None, normal(2, 4), normal(3, 2)),
        {"scale": 1.5},
    ),
    "lora_linear_with_all": (
        F.lora_linear,
        (normal(5, 4), normal(3, 4), normal(3), normal(2, 4), normal(3, 2)),
        {"own_input": normal(5, 4), "mask": np.array([1, 0, 1, 1, 0])},
    ),
    "dora_factors": (
        F.dora_factors,
        (normal(3), normal(3, 4), normal(2, 4), normal(3, 2)),
        {"scale": 1.5},
    ),
    "batch_ensemble": (
        F.batch_ensemble,
        (normal(5, 2, 4), normal(3, 4), normal(2, 4), normal(2, 3), normal(2, 3)),
        {"activation": "tanh"},
    ),
    "member_linear": (F.member_linear, (normal(5, 2, 4), normal(2, 3, 4), normal(2, 3)), {}),
    "member_linear_of_one_x": (
        F.member_linear,
        (normal(5, 4), normal(2, 3, 4), normal(2, 3)),
        {},
    ),
    "mean_of_members": (F.mean_of_members, (normal(5, 3, 4),), {}),
    "mean_of_members_softmax": (F.mean_of_members, (normal(5, 3, 4),), {"mean": "softmax"}),
    "mean_of_members_sigmoid": (F.mean_of_members, (normal(5, 3, 1),), {"mean": "sigmoid"}),
    "embedding_bag": (
        F.embedding_bag,
        (
            np.array([[1, 0], [2, 1]]),
            np.array([0, 2, 2, 5]),
            np.array([3, 0, 1, 1, 2]),
            normal(5),
            normal(4, 3),
            normal(3),
        ),
        {},
    ),
    "replace_rows": (F.replace_rows, (normal(5, 4), normal(2, 4)), {"ids": [3, 0]}),
    "piecewise_linear": (
        F.piecewise_linear,
        (
            normal(5, 3),
            np.sort(normal(2, 4), axis=1),
            normal(2, 6),
            normal(2, 6),
            normal(2, 3, 6),
        ),
        {"bins": [3, 0, 2]},
    ),
    "periodic": (
        F.periodic,
        (normal(5, 2), normal(2, 3), None, normal(2, 4, 6), normal(2, 4)),
        {},
    ),
    "periodic_with_phases": (
        F.periodic,
        (normal(5, 3), normal(2, 3), normal(2, 3), normal(2, 4, 3), normal(2, 4)),
        {"embedded": [True, False, True]},
    ),
    "adapted_experts": (
        F.adapted_experts,
        (normal(3, 5, 4), normal(3, 2, 4), normal(3, 7, 2)),
        {"scale": 1.5, "first": 2},
    ),
}
# The places of float inputs without a gradient.
CONSTANTS = {
    "batch_norm_running": [3, 4],
    "dora_factors": [1, 2, 3],
    "embedding_bag": [3],
    "piecewise_linear": [1],
}
# Losses: the function, its inputs, how many of these have a gradient, and attributes.
TARGET = np.array([0, 3, 1, 1, 2])
SPREAD = np.random.default_rng(6).dirichlet(np.ones(4), 5)
PAIRS = (np.abs(normal(3)) + 2, np.abs(normal(3)) + 3, np.abs(normal(3, 4)) + 2)
LOSSES = {
    "cross_entropy": (F.cross_entropy, (normal(5, 4), TARGET), 1, {"label_smoothing": 0.1}),
    "linear_cross_entropy": (
        F.linear_cross_entropy,
        (normal(5, 3), normal(4, 3), TARGET),
        2,
        {"z_loss": 1e-2},
    ),
    "kl_divergence": (F.kl_divergence, (normal(5, 4), SPREAD), 1, {}),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits,
        (normal(5, 2), (normal(5, 2) > 0) * 1.0),
        1,
        {},
    ),
    "focal": (F.focal, (normal(5, 4), TARGET), 1, {}),
    "binary_focal": (F.binary_focal, (normal(5, 1), (normal(5, 1) > 0) * 1.0), 1, {"alpha": 0.3}),
    "mse": (F.mse, (normal(5, 2), normal(5, 2), np.abs(normal(5))), 1, {}),
    "mae": (F.mae, (normal(5, 2), normal(5, 2)), 1, {}),
    "huber": (F.huber, (normal(5, 2), normal(5, 2)), 1, {"delta": 0.7}),
    "in_batch_ranking": (F.in_batch_ranking, (normal(9, 4),), 1, {"columns": 3, "scale": 2.0}),
    "dpo": (F.preference, PAIRS, 2, {"label_smoothing": 0.1}),
    "ipo": (F.preference, PAIRS, 2, {"kind": "ipo", "beta": 0.5}),
    "orpo": (F.preference, PAIRS, 2, {"kind": "orpo"}),
    "simpo": (F.preference, PAIRS, 2, {"kind": "simpo", "beta": 2.0, "gamma": 0.5}),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def bucket(place, count, far, both):
    """T5's bucket of a key so many places behind the query."""
    half = count // 2 if both else count
    distance = np.abs(place) if both else np.maximum(-place, 0)
    exact = half // 2
    share = np.log(np.maximum(distance, 1) / exact) / np.log(far / exact)
    large = np.minimum(exact + (share * (half - exact)).astype(int), half - 1)
    return np.where(distance < exact, distance, large) + (half * (place > 0) if both else 0)


def attended(
    q, k, v, *, heads, head_dim, key_segments, causal=False, query_segments=None, sinks=None,
    window=None, ahead=None, distance_scores=None, far=128, both=False,
):  # fmt: skip
    q, k, v = (x.reshape(*x.shape[:2], heads, head_dim).swapaxes(1, 2) for x in (q, k, v))
    distance = np.arange(q.shape[2])[:, None] - np.arange(k.shape[2])
    seen = (distance >= 0) | (not causal)
    seen = seen & (distance < (window or np.inf)) & (distance >= -(np.inf if ahead is None else ahead))
    seen = seen[None] & (key_segments >= 0)[:, None]
    if query_segments is not None:
        seen = seen & (query_segments[:, :, None] == key_segments[:, None])
    scores = q @ k.swapaxes(2, 3) / np.sqrt(head_dim)
    if distance_scores is not None:
        scores = scores + distance_scores[bucket(-distance, len(distance_scores), far, both)].transpose(2, 0, 1)
    weights = np.exp(scores) * seen[:, None]
    total = weights.sum(-1, keepdims=True)
    if sinks is not None:
        total = total + np.exp(sinks)[:, None, None]
    y = (weights / np.where(total == 0, 1, total)) @ v
    return y.swapaxes(1, 2).reshape(y.shape[0], -1, heads * head_dim)


def adapted_linear(x, w, bias, a, b, *, own_input=None, mask=1.0, scale=1.0):
    through = (x if own_input is None else own_input) @ a.T @ b.T
    return x @ w.T + (0 if bias is None else bias) + scale * np.reshape(mask, (-1, 1)) * through


def bags(ids, offsets, indices, values, weight, bias):
    part = lambda i: slice(offsets[i], offsets[i + 1])  # noqa: E731
    rows = [values[part(i)] @ weight[indices[part(i)]] + bias for i in ids.ravel()]
    return np.reshape(rows, (*ids.shape, -1))


def pieces(x, edges, slope, bias, weight, *, bins):
    """By the encoding (1, …, 1, t, 0, …, 0) of each number."""
    parts, i = [], 0
    for column, count in zip(x.T, bins, strict=True):
        if count == 0:
            parts.append(column[:, None])
            continue
        lower, upper = edges[i, :count], edges[i, 1 : count + 1]
        code = (column[:, None] - lower) / (upper - lower)
        code[:, 1:] = code[:, 1:].clip(min=0)
        code[:, :-1] = code[:, :-1].clip(max=1)
        parts.append(column[:, None] * slope[i] + bias[i] + code @ weight[i, :count])
        i += 1
    return np.concatenate(parts, axis=1)


def waves(x, c, phases, v, b, *, embedded=None):
    parts, i = [], 0
    for column, is_embedded in zip(x.T[:, :, None], embedded or [True] * x.shape[1], strict=True):
        if not is_embedded:
            parts.append(column)
            continue
        angle = 2 * np.pi * column * c[i]
        if phases is None:
            z = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
            parts.append(np.maximum(z @ v[i].T + b[i], 0))
        else:
            parts += [np.cos(angle + phases[i]) @ v[i].T + b[i], column]
        i += 1
    return np.concatenate(parts, axis=1)


def members_mean(x, *, mean="values"):
    if mean == "sigmoid":
        p = sigmoid(x).mean(1)
        return np.log(p) - np.log(1 - p)
    return np.log(softmax(x).mean(1)) if mean == "softmax" else x.mean(1)


def replaced(x, rows, *, ids):
    y = x.copy()
    y[ids] = rows
    return y


def preference(a, b, constants, *, kind="dpo", beta=0.1, gamma=0.0, label_smoothing=0.0):
    n, m, a_reference, b_reference = constants.T
    log = lambda z: np.log(sigmoid(z))  # noqa: E731
    if kind == "orpo":
        odds = [-v - np.log(1 - np.exp(-v)) for v in (a / n, b / m)]
        return (a / n - beta * log(odds[0] - odds[1])).sum()
    if kind == "ipo":
        return (((a_reference - a) / n - (b_reference - b) / m - 0.5 / beta) ** 2).sum()
    z = beta * (b / m - a / n) - gamma
    if kind == "dpo":
        z = beta * ((a_reference - a) - (b_reference - b))
    return -((1 - label_smoothing) * log(z) + label_smoothing * log(-z)).sum()


REFERENCES = {
    "attention_of_segments": attended,
    "attention_of_windows": attended,
    "attention_by_distance": attended,
    "split": lambda x, widths: x,
    "soft_cap": lambda x, cap: cap * np.tanh(x / cap),
    "gate": lambda z, u: z * sigmoid(z) * u,
    "parametric_activation": lambda x, a, activation: x + a * (np.tanh(x) - x),
    "lora_linear": adapted_linear,
    "lora_linear_with_all": adapted_linear,
    "dora_factors": lambda m, w, a, b, scale: m / np.linalg.norm(w + scale * b @ a, axis=1),
    "batch_ensemble": lambda x, w, r, s, b, activation: np.tanh((x * r) @ w.T * s + b),
    "member_linear": lambda x, w, b: np.einsum("nki,koi->nko", x, w) + b,
    "member_linear_of_one_x": lambda x, w, b: np.einsum("ni,koi->nko", x, w) + b,
    "mean_of_members": members_mean,
    "mean_of_members_softmax": members_mean,
    "mean_of_members_sigmoid": members_mean,
    "embedding_bag": bags,
    "replace_rows": replaced,
    "piecewise_linear": pieces,
    "periodic": waves,
    "periodic_with_phases": waves,
    "adapted_experts": lambda w, a, b, scale, first: w + scale * b[:, first:] @ a,
}


def first(y):
    """The result, without statistics behind it."""
    return y[0] if isinstance(y, tuple) else y


def differences(f, x):
    """Central differences of f by some values of x."""
    for i in np.random.default_rng(2).choice(x.size, min(6, x.size), replace=False):
        old, values = x.flat[i], []
        for sign in (1, -1):
            x.flat[i] = old + sign * 1e-6
            values.append(f())
        x.flat[i] = old
        yield i, (values[0] - values[1]) / 2e-6


def test_no_operation_is_missing():
    made = {f._make(*inputs, **attributes)[0].name for f, inputs, attributes in CASES.values()}
    made |= {f._make(*inputs, **kw)[0].name for f, inputs, _, kw in LOSSES.values()}
    assert made == set(operations())


@pytest.mark.parametrize("case", CASES)
def test_vjp_is_the_derivative(case):
    f, inputs, attributes = CASES[case]
    inputs = [None if x is None else np.array(x) for x in inputs]
    y, backward = f.vjp(*inputs, **attributes)
    y = first(y)
    np.testing.assert_array_equal(y, first(f(*inputs, **attributes)))
    dy = np.random.default_rng(1).normal(size=y.shape)
    gradients = backward(dy)
    given = [x for x in (*inputs, *attributes.values()) if isinstance(x, np.ndarray)]
    for place, (x, dx) in enumerate(zip(given, gradients, strict=True)):
        if place in CONSTANTS.get(case, []) or not np.issubdtype(x.dtype, np.floating):
            assert dx is None
            continue
        assert dx.shape == x.shape
        for i, expected in differences(lambda: (first(f(*inputs, **attributes)) * dy).sum(), x):
            assert dx.flat[i] == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("case", REFERENCES)
def test_values_are_those_of_numpy(case):
    f, inputs, attributes = CASES[case]
    expected = REFERENCES[case](*inputs, **attributes)
    np.testing.assert_allclose(first(f(*inputs, **attributes)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", LOSSES)
def test_gradients_of_losses_are_derivatives(case):
    f, inputs, learned, attributes = LOSSES[case]
    inputs = [np.array(x) for x in inputs]
    loss, backward = f.vjp(*inputs, **attributes)
    assert loss == f(*inputs, **attributes)
    gradients = backward(2.0)
    assert all(dx is None for dx in gradients[learned:])
    for x, dx in zip(inputs[:learned], gradients, strict=False):
        for i, expected in differences(lambda: 2 * f(*inputs, **attributes), x):
            assert dx.flat[i] == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", ["dpo", "ipo", "orpo", "simpo"])
def test_losses_of_preference_are_their_formulas(kind):
    f, inputs, _, attributes = LOSSES[kind]
    assert f(*inputs, **attributes) == pytest.approx(preference(*inputs, **attributes), rel=1e-12)


def test_ids_may_be_lists():
    weight, logits = normal(3, 4), normal(2, 3)
    np.testing.assert_array_equal(F.embedding([[0, 2]], weight), weight[[[0, 2]]])
    assert F.cross_entropy(logits, [0, 2]) == F.cross_entropy(logits, np.array([0, 2]))
    assert F.focal(logits, [0, 2]) == F.focal(logits, np.array([0, 2]))
    x = normal(1, 2, 4)
    turned = F.rotary(x, np.array([[0, 1]]), head_dim=4)
    np.testing.assert_array_equal(F.rotary(x, [[0, 1]], head_dim=4), turned)


def test_ranking_in_a_batch_is_its_formula():
    f, (x,), _, attributes = LOSSES["in_batch_ranking"]
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = 2.0 * u[:3] @ u[3:].T
    expected = (np.log(np.exp(scores).sum(1)) - np.diag(scores)).sum()
    assert f(x, **attributes) == pytest.approx(expected, rel=1e-12)


def test_split_gives_its_parts():
    x = normal(5, 4)
    (a, b), backward = F.split.vjp(x, [1, 3])
    np.testing.assert_array_equal(np.concatenate([a, b], axis=1), x)
    np.testing.assert_array_equal(backward(a, b)[0], x)
    np.testing.assert_array_equal(backward(None, b)[0], np.concatenate([0 * a, b], axis=1))


def test_losses():
    logits, target = np.zeros((3, 4)), np.array([0, 1, 3])
    assert F.cross_entropy(logits, target) == pytest.approx(np.log(4))
    loss, backward = F.cross_entropy.vjp(logits, target, reduction="sum")
    assert loss == pytest.approx(3 * np.log(4))
    dlogits = backward()[0]
    np.testing.assert_allclose(dlogits, 0.25 - np.eye(4)[target])
    np.testing.assert_allclose(backward(2.0)[0], 2 * dlogits)
    x, t = np.array([[1.0], [5.0]]), np.array([[2.0], [2.0]])
    assert F.mse(x, t) == 5.0
    assert F.mae(x, t) == 2.0
    assert F.huber(x, t, delta=1.0) == pytest.approx((0.5 + 2.5) / 2)
    assert F.mse(x, t, np.array([1.0, 0.0])) == 1.0
    even = np.full((3, 4), 0.25)
    assert F.kl_divergence(logits, even) == pytest.approx(0, abs=1e-12)
    assert F.kl_divergence(logits, np.eye(4)[target]) == pytest.approx(np.log(4))
    # (1 − p)² of the cross-entropy, at even odds.
    assert F.binary_focal(np.zeros((2, 1)), t * 0) == pytest.approx(np.log(2) / 4)


def test_the_loss_of_a_last_layer_is_that_of_its_parts():
    x, weight, target = normal(5, 4), normal(6, 4), np.array([0, 5, 2, 2, 1])
    loss, backward = F.linear_cross_entropy.vjp(x, weight, target)
    logits, through = F.linear.vjp(x, weight)
    expected, from_logits = F.cross_entropy.vjp(logits, target, reduction="sum")
    assert loss == pytest.approx(expected)
    dx, dweight, none = backward()
    assert none is None
    for ours, theirs in zip((dx, dweight), through(from_logits()[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_dropout_is_that_of_its_seed():
    x = np.ones((100, 10))
    y = F.dropout(x, 0.3, seed=1)
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert 0.2 < (y == 0).mean() < 0.4
    np.testing.assert_array_equal(y, F.dropout(x, 0.3, seed=1))
    assert (y != F.dropout(x, 0.3, seed=2)).any()


def test_bad_input():
    with pytest.raises(ValueError, match="7"):
        F.embedding(np.array([7]), normal(3, 4))
    with pytest.raises(TypeError, match="float32"):
        F.add(normal(3), normal(3).astype(np.float32))
    with pytest.raises(ValueError, match="activation `no`"):
        F.activation(normal(3), "no")
    with pytest.raises(ValueError, match="reduction"):
        F.mse(normal(3, 1), normal(3, 1), reduction="no")
    with pytest.raises(ValueError, match=r"mean `no`: expected one of values, softmax, sigmoid"):
        F.mean_of_members(normal(3, 2, 1), mean="no")
    with pytest.raises(ValueError, match="1 twice"):
        F.replace_rows(normal(3, 2), normal(2, 2), ids=[1, 1])
    with pytest.raises(ValueError, match="no row 3"):
        F.replace_rows(normal(3, 2), normal(1, 2), ids=[3])
    with pytest.raises(ValueError, match="beta"):
        F.preference(*PAIRS, beta=-1.0)
    with pytest.raises(ValueError, match="bag 0 goes from entry 0 to 9"):
        F.embedding_bag([0], [0, 9], [1], np.ones(1), normal(2, 3), normal(3))
    with pytest.raises(ValueError, match="do not go together"):
        F.adapted_experts(normal(1, 2, 3), normal(1, 1, 3), normal(1, 2, 1), first=2**63)
    with pytest.raises(OverflowError, match="32 bits"):
        F.embedding(np.array([1 << 40]), normal(3, 4))


def test_clip_grad_norm():
    gradients = [np.array([3.0]), np.array([[4.0]], np.float32)]
    assert F.clip_grad_norm(gradients, 10) == 5
    assert F.clip_grad_norm(gradients, 1) == 5
    assert gradients[0] == pytest.approx(0.6)
    assert gradients[1] == pytest.approx(0.8)
