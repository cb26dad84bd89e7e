"""Estimators for scikit-learn."""

import pickle
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from feedforward import (
    FeedforwardClassifier,
    FeedforwardRegressor,
    FeedforwardTransformer,
)

NEWEST = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)
# What scikit-learn 1.9 counts for each estimator; earlier versions have fewer checks.
CHECKS = [
    (FeedforwardClassifier(), 87),
    (FeedforwardRegressor(), 80),
    (FeedforwardTransformer(), 54),
]
# The reasons for which a check may be left out: its arrays are on a device that is not there. Without
# PyTorch or array-api-strict, so are the checks of their arrays.
DEVICES = ("cupy is not installed", "dpnp is not installed", "XPU", "MPS", "requires cuda")
PACKAGES = ("torch", "array_api_strict")


@pytest.mark.parametrize(
    ("estimator", "counted"), CHECKS, ids=lambda value: type(value).__name__
)
def test_checks_of_scikit_learn(estimator, counted, capsys, monkeypatch):
    missing = tuple(name for name in PACKAGES if find_spec(name) is None)
    if "torch" not in missing:
        import torch

        # A PyTorch for CUDA is built, but has no device, on a machine without its driver.
        monkeypatch.setattr(torch.backends.cuda, "is_built", torch.cuda.is_available)
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    counts = Counter(result["status"] for result in results)
    reasons = Counter(str(r["exception"]) for r in results if r["status"] == "skipped")
    with capsys.disabled():
        shown = ", ".join(f"{n} {status}" for status, n in counts.items())
        name = type(estimator).__name__
        print(f"\n{name}: check_estimator of scikit-learn {sklearn.__version__}: {shown}")
        for reason, n in reasons.items():
            print(f"  {n} skipped: {reason}")
    assert not {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert counts["xfail"] == 0
    allowed = (*DEVICES, *(f"{name} is not installed" for name in missing))
    assert not [reason for reason in reasons if not any(text in reason for text in allowed)]
    if not NEWEST:
        assert counts["passed"] >= 45
        return
    assert len(results) >= counted
    # Those of devices: 1 of CuPy, 4 of dpnp, 5 of PyTorch, and 4 that mix them with others. Without
    # PyTorch 3 more, and without array-api-strict 3 or, of the mixed one, 4.
    absent = {(): 14, ("torch",): 17, ("array_api_strict",): 18, ("torch", "array_api_strict"): 20}
    most = absent[missing] if counted > 54 else 0
    assert counts["skipped"] <= most
    assert counts["passed"] >= counted - most


def test_scores():
    # 0.9332 is the score of scikit-learn 1.9.1's MLPClassifier with its defaults on these folds.
    for load, least in ((load_digits, 0.9332), (load_wine, 0.95), (load_breast_cancer, 0.95)):
        X, y = load(return_X_y=True)
        assert cross_val_score(FeedforwardClassifier(random_state=0), X, y).mean() > least
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(FeedforwardRegressor(random_state=0), X, y).mean() > 0.3


def test_pipelines_search_and_pickles():
    X, y = load_wine(return_X_y=True, as_frame=True)
    pipe = make_pipeline(MinMaxScaler(), FeedforwardClassifier(max_iter=20, random_state=0))
    pipe.set_output(transform="pandas")
    grid = {"feedforwardclassifier__hidden_layer_sizes": [(8,), (16, 8)]}
    search = GridSearchCV(pipe, grid, cv=3, n_jobs=2).fit(X, y)
    twin = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(twin.predict_proba(X), search.predict_proba(X))
    best = search.best_estimator_[-1]
    np.testing.assert_array_equal(best.feature_names_in_, X.columns)
    assert not hasattr(clone(best), "classes_")


def test_calibration_and_importance():
    X, y = load_breast_cancer(return_X_y=True)
    model = FeedforwardClassifier(max_iter=10, random_state=0)
    calibrated = CalibratedClassifierCV(model, cv=3, n_jobs=2).fit(X, y)
    assert calibrated.score(X, y) > 0.95
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    # The second column alone says which.
    X = np.random.default_rng(0).normal(size=(200, 3))
    model.fit(X, X[:, 1] > 0)
    found = permutation_importance(model, X, X[:, 1] > 0, n_repeats=3, random_state=0, n_jobs=2)
    assert found.importances_mean.argmax() == 1


def test_sample_weights_are_routed():
    X, y = load_wine(return_X_y=True)
    # Rows of the last class have no weight, so that nothing is said of them.
    weights = (y < 2).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FeedforwardClassifier(max_iter=100, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipe = make_pipeline(MinMaxScaler(), model)
        assert pipe.fit(X, y, sample_weight=weights).score(X, y, sample_weight=weights) > 0.95
        assert not (pipe.predict(X) == 2).any()
        found = cross_validate(model, X, y, params={"sample_weight": weights}, cv=3)
        assert found["test_score"].min() > 0.9


def test_tables_of_polars_and_named_features():
    polars = pytest.importorskip("polars")
    X, y = load_wine(return_X_y=True, as_frame=True)
    model = FeedforwardClassifier(max_iter=10, random_state=0).fit(polars.from_pandas(X), y)
    np.testing.assert_array_equal(model.feature_names_in_, X.columns)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(polars.from_pandas(X)))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"alcohol": "spirit"}))
    hidden = FeedforwardTransformer((3,), max_iter=2).set_output(transform="polars").fit(X, y)
    names = [f"feedforwardtransformer{i}" for i in range(3)]
    assert hidden.transform(X).columns == names == list(hidden.get_feature_names_out())


def test_partial_fit_and_warm_start_go_on():
    X, y = load_digits(return_X_y=True)
    model = FeedforwardClassifier(random_state=0)
    for _ in range(20):
        model.partial_fit(X, y, classes=range(10))
    assert model.score(X, y) > 0.95
    model = FeedforwardClassifier(max_iter=5, warm_start=True, random_state=0)
    first = model.fit(X, y).loss_
    assert model.fit(X, y).loss_ < first


def test_labels_and_several_targets():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    labels = (X[:, :3] > 0).astype(int)
    model = FeedforwardClassifier(random_state=0).fit(X, labels)
    assert (model.predict(X) == labels).mean() > 0.95
    assert model.predict_proba(X).shape == (300, 3)
    numbers = np.column_stack([X[:, 0], X[:, 1] * 1e3 + 5])
    model = FeedforwardRegressor(random_state=0).fit(X, numbers)
    assert model.score(X, numbers) > 0.98
    hidden = FeedforwardTransformer((6, 5), layer=1, random_state=0).fit(X, labels).transform(X)
    assert hidden.shape == (300, 6)


def test_settings():
    X, y = load_wine(return_X_y=True)
    model = FeedforwardClassifier(
        (16, 8),
        ("gelu", "tanh"),
        norm="batch",
        dropout=0.1,
        optimizer={"kind": "adamw", "clip_norm": 1.0},
        learning_rate=0.01,
        schedule="cosine",
        class_weight="balanced",
        early_stopping=True,
        max_iter=30,
        random_state=0,
    ).fit(X.astype(np.float32), y)
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).dtype == np.float32
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert model.parameters_["layers.1.weight"].shape == (8, 16)


def test_callbacks():
    X, y = load_wine(return_X_y=True)
    seen = []
    model = FeedforwardClassifier(callback=lambda epoch: seen.append(epoch) or len(seen) == 3)
    model.fit(X, y)
    assert [epoch["epoch"] for epoch in seen] == [1, 2, 3]
    assert model.n_iter_ == 3

    def failing(_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.set_params(callback=failing).fit(X, y)
    model.set_params(callback=None).fit(X, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rleu"}, "unknown activation"),
        ({"optimizer": "adm"}, "adm"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"dropout": 1.5}, "dropout"),
        ({"activation": ("relu", "relu")}, "2 names for 1"),
        ({"learning_rate": -1.0}, "lr"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_settings(settings, message):
    X, y = load_wine(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        FeedforwardClassifier(**settings).fit(X, y)
