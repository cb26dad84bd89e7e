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
}


@pytest.mark.parametrize("case", CASES)
def test_vjp_is_the_derivative(case):
    f, inputs, attributes = CASES[case]
    inputs = [np.array(x) for x in inputs]
    y, backward = f.vjp(*inputs, **attributes)
    np.testing.assert_array_equal(y, f(*inputs, **attributes))
    dy = np.random.default_rng(1).normal(size=y.shape)
    for x, dx in zip(inputs, backward(dy), strict=True):
        if not np.issubdtype(x.dtype, np.floating):
            assert dx is None
            continue
        assert dx.shape == x.shape
        for i in np.random.default_rng(2).choice(x.size, min(6, x.size), replace=False):
            old, values = x.flat[i], []
            for sign in (1, -1):
                x.flat[i] = old + sign * 1e-6
                values.append((f(*inputs, **attributes) * dy).sum())
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
