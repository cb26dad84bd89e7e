"""The layer of the tutorial."""

import copy
import os
import pickle
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from feedforward import FeedforwardLayer, functional
from feedforward._core import activations


def numeric_gradient(f, x, step=1e-6):
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + step
        above = f()
        x[i] = old - step
        below = f()
        x[i] = old
        gradient[i] = (above - below) / (2 * step)
    return gradient


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("activation", activations())
def test_backward_is_the_derivative(activation, layout):
    rng = np.random.default_rng(3)
    layer = FeedforwardLayer(4, 3, activation, dtype="float64", layout=layout)
    layer.b += rng.normal(size=layer.b.shape)
    x, dy = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    if layout == "columns":
        x, dy = np.ascontiguousarray(x.T), np.ascontiguousarray(dy.T)
    assert layer.forward(x).shape == dy.shape

    def loss():
        return float((layer(x) * dy).sum())

    dx = layer.backward(dy)
    for found, of in ((dx, x), (layer.dW, layer.W), (layer.db, layer.b)):
        assert found.shape == of.shape
        np.testing.assert_allclose(found, numeric_gradient(loss, of), rtol=1e-5, atol=1e-7)


def test_forward_is_the_equation_of_both_layouts():
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    rows = FeedforwardLayer(3, 2, "tanh")
    np.testing.assert_allclose(rows.forward(x), np.tanh(x @ rows.W.T + rows.b), rtol=2e-6)
    columns = FeedforwardLayer(3, 2, "tanh", layout="columns")
    expected = np.tanh(columns.W @ x.T + columns.b)
    np.testing.assert_allclose(columns.forward(x.T), expected, rtol=2e-6)
    assert columns.b.shape == (2, 1)


def test_initial_weights_are_those_for_the_activation():
    he = FeedforwardLayer(400, 300, "relu").W
    assert he.std() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    xavier = FeedforwardLayer(400, 300, "sigmoid").W
    assert abs(xavier).max() <= (6 / 700) ** 0.5
    assert not (FeedforwardLayer(4, 3, seed=1).W == FeedforwardLayer(4, 3, seed=2).W).all()


def test_weights_are_ordinary_arrays():
    layer = FeedforwardLayer(3, 2, "identity")
    layer.W[:] = 1
    layer.b -= 1
    np.testing.assert_array_equal(layer(np.float32([[1, 2, 3]])), [[5, 5]])
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(np.float32([[1, 2, 3]])), [[5, 5]])


def test_strides_and_leading_dimensions():
    layer = FeedforwardLayer(3, 2)
    x = np.random.default_rng(0).normal(size=(4, 10, 6)).astype(np.float32)
    y = layer.forward(x[:, ::2, ::2])
    assert y.shape == (4, 5, 2)
    np.testing.assert_array_equal(y, layer(np.ascontiguousarray(x[:, ::2, ::2])))
    assert layer.backward(y).shape == (4, 5, 3)
    x.flags.writeable = False
    layer.forward(x[..., :3])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 4), np.float32), ValueError, "4 features"),
        (np.zeros((2, 3), np.float64), TypeError, "float64"),
        (np.zeros((2, 3), np.float16), TypeError, "float16"),
        (np.zeros((2, 3), object), TypeError, "object"),
        (np.zeros((2, 3), complex), TypeError, "complex"),
        (np.float32(1), ValueError, "features"),
        ("text", TypeError, "holds"),
        (None, TypeError, "holds"),
    ],
)
def test_bad_input(x, error, message):
    with pytest.raises(error, match=message):
        FeedforwardLayer(3, 2).forward(x)


def test_bad_arguments():
    with pytest.raises(ValueError, match="relu"):
        FeedforwardLayer(3, 2, "rleu")
    with pytest.raises(ValueError, match="input_size"):
        FeedforwardLayer(0, 2)
    with pytest.raises(TypeError, match="float16"):
        FeedforwardLayer(3, 2, dtype="float16")
    layer = FeedforwardLayer(3, 2)
    with pytest.raises(RuntimeError, match="forward"):
        layer.backward(np.zeros((1, 2), np.float32))
    layer.forward(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="shape"):
        layer.backward(np.zeros((2, 2), np.float32))


def test_no_rows():
    layer = FeedforwardLayer(3, 2)
    assert layer.forward(np.zeros((0, 3), np.float32)).shape == (0, 2)
    assert layer.backward(np.zeros((0, 2), np.float32)).shape == (0, 3)
    assert not layer.dW.any()


def test_threads_at_once_give_the_same():
    layer = FeedforwardLayer(64, 64)
    x = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    expected = layer(x)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: layer(x), range(40)):
            np.testing.assert_array_equal(y, expected)


def test_threads_train_layers_of_their_own():
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)

    def trained(_):
        layer = FeedforwardLayer(32, 16, "gelu")
        optimizer = functional.Optimizer([layer.W, layer.b], "adam")
        for _ in range(100):
            y = layer.forward(x)
            layer.backward(y)
            optimizer.step([layer.dW, layer.db])
        return layer.W

    expected = trained(0)
    with ThreadPoolExecutor(4) as pool:
        for weight in pool.map(trained, range(8)):
            np.testing.assert_array_equal(weight, expected)


def test_free_threaded_python_stays_so():
    if sysconfig.get_config_var("Py_GIL_DISABLED") != 1:
        pytest.skip("this Python is not free-threaded")
    code = "import sys, feedforward._core; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes():
    code = """
import os, sys, numpy as np
from feedforward import FeedforwardLayer, functional
layer = FeedforwardLayer(64, 64)
x = np.ones((500, 64), np.float32)
y = layer(x)
pid = os.fork()
if pid == 0:
    os._exit(0 if (layer(x) == y).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_import_is_light():
    code = "import sys, feedforward; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
