"""Arrays, callbacks and interpreters that are not as one hopes: exceptions, and nothing else."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import feedforward
from feedforward import FeedforwardLayer
from feedforward import functional as F

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def layer():
    return FeedforwardLayer(3, 2, seed=1)


@pytest.mark.parametrize(
    "x",
    [
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X[::-1][::-1],
        X.astype(">f4"),
        X.tolist(),
        np.broadcast_to(X[:1], X.shape),
        np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape),
    ],
    ids=["columns first", "strided", "reversed", "big-endian", "lists", "broadcast", "misaligned"],
)
def test_any_layout_of_the_same_numbers_gives_the_same(x):
    wanted = np.array(x, np.float32)
    np.testing.assert_array_equal(layer().forward(x), layer().forward(wanted))
    np.testing.assert_array_equal(layer()(x), layer()(wanted))
    columns = FeedforwardLayer(3, 2, seed=1, layout="columns")
    across = [list(row) for row in zip(*x, strict=True)] if isinstance(x, list) else x.T
    np.testing.assert_array_equal(columns(across), columns(wanted.T))


def test_what_does_not_fit_into_memory_is_an_error_of_numpy():
    with pytest.raises((MemoryError, ValueError)):
        FeedforwardLayer(2**20, 2**27)
    with pytest.raises(ValueError, match="too large"):
        FeedforwardLayer(2**40, 2**30)
    with pytest.raises((MemoryError, ValueError)):
        F.linear(np.zeros((2**22, 1)), np.zeros((2**22, 1)))


def test_read_only_inputs_are_read_and_never_written():
    frozen = X.copy()
    frozen.flags.writeable = False
    y = layer()
    dy = np.ones((4, 2), np.float32)
    dy.flags.writeable = False
    y.forward(frozen)
    y.backward(dy)
    np.testing.assert_array_equal(frozen, X)
    assert (dy == 1).all()
    optimizer = F.Optimizer([frozen.copy()], "sgd", lr=0.1)
    with pytest.raises((TypeError, ValueError)):
        optimizer.step([np.ones_like(X), np.ones_like(X)])
    with pytest.raises(ValueError, match="array 0 is read-only"):
        F.Optimizer([frozen], "sgd", lr=0.1).step([np.ones_like(X)])
    twice = np.ones_like(X)
    with pytest.raises(BufferError, match="array 1 is in use"):
        F.Optimizer([twice, twice], "sgd", lr=0.1).step([X, X])
    np.testing.assert_array_equal(frozen, X)


@pytest.mark.parametrize(
    "x",
    [np.array([[None] * 3]), np.array([["a"] * 3]), X.astype(complex), np.zeros(3, "M8[s]"), {}, object()],
    ids=["objects", "texts", "complex", "dates", "dict", "object"],
)
def test_what_holds_no_numbers_is_a_type_error(x):
    for call in (layer().forward, F.softmax, lambda x: F.mse(x, X)):
        with pytest.raises(TypeError):
            call(x)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 2), (1, 2, 3, 4), (4,)])
def test_other_shapes_are_a_value_error(shape):
    with pytest.raises(ValueError, match=r"shape|features"):
        layer().forward(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"shape|weight"):
        F.linear(X, np.zeros(shape, np.float32))


def test_numbers_that_are_not_finite_stay_so_and_only_in_their_row():
    x = X.copy()
    x[1, 0], x[2, 1] = np.nan, np.inf
    y = FeedforwardLayer(3, 2, "identity", seed=1).forward(x)
    assert not np.isfinite(y[1:3]).any()
    assert np.isfinite(y[[0, 3]]).all()


def test_arrays_of_another_device_are_an_error():
    torch = pytest.importorskip("torch")
    import feedforward.torch as ff

    meta = torch.zeros(2, 3, device="meta")
    with pytest.raises((TypeError, ValueError, RuntimeError, BufferError)):
        layer().forward(meta)
    np.testing.assert_array_equal(layer().forward(torch.tensor(X)), layer().forward(X))
    if torch.cuda.is_available():
        with pytest.raises(ValueError, match="CPU"):
            ff.FeedforwardLayer(3, 2)(torch.zeros(2, 3, device="cuda"))
    with pytest.raises((TypeError, RuntimeError)):
        ff.FeedforwardLayer(3, 2)(torch.zeros(2, 3, dtype=torch.float32).to_sparse())


def test_estimators_refuse_what_scikit_learn_forbids():
    pytest.importorskip("sklearn")
    from sklearn.exceptions import NotFittedError

    model = feedforward.FeedforwardClassifier(max_iter=2)
    with pytest.raises(NotFittedError):
        model.predict(X)
    for bad in (np.nan, np.inf):
        x = X.copy()
        x[0, 0] = bad
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            model.fit(x, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(X[:0], [])
    with pytest.raises((TypeError, ValueError)):
        model.fit(np.array([[object()] * 3] * 4), [0, 1, 0, 1])


def test_estimators_train_in_two_threads_at_once():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 8)), rng.integers(0, 3, 400)
    fitted = {}

    def fit(key):
        model = feedforward.FeedforwardClassifier(max_iter=15, random_state=0).fit(x, y)
        fitted[key] = model.predict_proba(x)

    threads = [threading.Thread(target=fit, args=(key,)) for key in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fit("alone")
    for found in fitted.values():
        np.testing.assert_array_equal(found, fitted["alone"])


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("what", ["run", "estimator", "layers"])
def test_an_interpreter_that_ends_during_a_run_ends_quietly(what, daemon, tmp_path):
    code = f"""
import threading, time
import numpy as np
import feedforward
from feedforward import FeedforwardLayer
rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 8))
began = threading.Event()
def note(*_):
    began.set()
    return not {daemon} and len(seen) > 3 or seen.append(0)
seen = []
def run():
    data = {{f"c{{i}}": x[:, i] for i in range(8)}} | {{"y": x.sum(1)}}
    feedforward.train(data, "y", out={str(tmp_path / "run")!r}, quiet=True, callback=note, quality="fast",
        train={{"epochs": 500, "patience": 500, "refit": False}})
def estimator():
    feedforward.FeedforwardRegressor(max_iter=500, tol=0, callback=note).fit(x, x.sum(1))
def layers():
    layer = FeedforwardLayer(8, 512, dtype="float64")
    while not note():
        layer.backward(layer.forward(x))
thread = threading.Thread(target={what}, daemon={daemon})
thread.start()
assert began.wait(60)
"""
    if what == "estimator":
        pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in ("panicked", "defect", "Fatal", "Traceback"):
        assert word not in done.stderr, done.stderr
