"""Operations and their gradients."""

import numpy as np
import pytest

from feedforward import functional as F

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
}
# The last inputs, which are statistics without a gradient.
STATISTICS = {"batch_norm_running": 2}


def first(y):
    """The result, without statistics behind it."""
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("case", CASES)
def test_vjp_is_the_derivative(case):
    f, inputs, attributes = CASES[case]
    inputs = [np.array(x) for x in inputs]
    y, backward = f.vjp(*inputs, **attributes)
    y = first(y)
    np.testing.assert_array_equal(y, first(f(*inputs, **attributes)))
    dy = np.random.default_rng(1).normal(size=y.shape)
    gradients = backward(dy)
    learned = len(inputs) - STATISTICS.get(case, 0)
    assert all(dx is None for dx in gradients[learned:])
    for x, dx in zip(inputs[:learned], gradients[:learned], strict=True):
        if not np.issubdtype(x.dtype, np.floating):
            assert dx is None
            continue
        assert dx.shape == x.shape
        for i in np.random.default_rng(2).choice(x.size, min(6, x.size), replace=False):
            old, values = x.flat[i], []
            for sign in (1, -1):
                x.flat[i] = old + sign * 1e-6
                values.append((first(f(*inputs, **attributes)) * dy).sum())
            x.flat[i] = old
            expected = (values[0] - values[1]) / 2e-6
            assert dx.flat[i] == pytest.approx(expected, rel=1e-5, abs=1e-7)


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
    with pytest.raises(OverflowError, match="32 bits"):
        F.embedding(np.array([1 << 40]), normal(3, 4))


def test_clip_grad_norm():
    gradients = [np.array([3.0]), np.array([[4.0]], np.float32)]
    assert F.clip_grad_norm(gradients, 10) == 5
    assert F.clip_grad_norm(gradients, 1) == 5
    assert gradients[0] == pytest.approx(0.6)
    assert gradients[1] == pytest.approx(0.8)
