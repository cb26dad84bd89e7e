"""Prediction in batches, by hand and inside of PySpark and Ray Data.

`SCALE=1 scripts/python.sh` installs both engines and runs these tests.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys

import numpy as np
import pytest

import feedforward

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def table(rows: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    size = rng.normal(100, 25, rows).round(1)
    city = rng.choice(["Bern", "Oslo", "Rome"], rows)
    price = 3 * size + 40 * (city == "Oslo") + rng.normal(0, 5, rows)
    size[::29] = np.nan
    return pandas.DataFrame({"id": np.arange(rows), "size": size, "city": city, "price": price})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run for numbers and a run for classes, each with new rows and what `predict` writes."""
    folder = tmp_path_factory.mktemp("engines")
    rows, found = table(400), {}
    rows["dear"] = np.where(rows["price"] > 320, "yes", "no")
    for target in ("price", "dear"):
        run = feedforward.train(
            rows[["size", "city", target]], target=target, out=folder / target, seed=1, quiet=True,
            quality="fast", train={"epochs": 3, "refit": False}, model={"hidden": [8]},
        )  # fmt: skip
        new = table(1000, seed=1)[["id", "size", "city"]]
        new.to_parquet(folder / "new.parquet", index=False)
        out = folder / f"{target}.parquet"
        feedforward.predict(run, folder / "new.parquet", out=out, proba=target == "dear")
        found[target] = (run, folder / "new.parquet", pandas.read_parquet(out))
    return found


def check(found, expected):
    """The same rows with the same bits, in any order."""
    found = found.sort_values("id").reset_index(drop=True)
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    for name in expected:
        ours, theirs = found[name].to_numpy(), expected[name].to_numpy()
        if theirs.dtype.kind == "f":
            np.testing.assert_array_equal(ours.astype(float), theirs)
        else:
            assert ours.tolist() == theirs.tolist(), name


@pytest.mark.parametrize("target", ["price", "dear"])
def test_batches_of_any_size_have_the_bits_of_the_file(trained, target):
    run, path, expected = trained[target]
    predict = pickle.loads(pickle.dumps(feedforward.predictor(run, proba=target == "dear")))
    rows = pandas.read_parquet(path)
    for size in (1, 7, 256, 1000):
        parts = [predict(rows.iloc[at : at + size]) for at in range(0, len(rows), size)]
        check(pandas.concat(parts), expected)
    polars = pytest.importorskip("polars")
    check(predict(polars.from_pandas(rows)).to_pandas(), expected)
    check(predict(polars.from_pandas(rows).to_arrow()).to_pandas(), expected)
    check(pandas.DataFrame(predict({name: rows[name].to_numpy() for name in rows})), expected)


def test_a_worker_opens_the_model_once(trained):
    run, path, _ = trained["price"]
    sent = pickle.dumps(feedforward.predictor(run))
    assert len(sent) < 1000
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.model is second.model
    rows = pandas.read_parquet(path)
    opened = first.model._handle
    first(rows)
    assert second.model._handle is opened


def test_columns_are_kept_as_asked(trained):
    run, path, _ = trained["price"]
    rows = pandas.read_parquet(path)
    assert list(feedforward.predictor(run, keep=["id"])(rows)) == ["id", "prediction"]
    assert list(feedforward.predictor(run, keep=False)(rows)) == ["prediction"]
    assert feedforward.predictor(run).schema() == "`prediction` double"
    with pytest.raises(feedforward.DataError, match="no column `nothing`"):
        feedforward.predictor(run, keep=["nothing"])(rows)
    with pytest.raises(feedforward.DataError, match="`prediction` already"):
        feedforward.predictor(run)(rows.assign(prediction=0))
    with pytest.raises(ValueError, match="numbers"):
        feedforward.predictor(run, proba=True)
    with pytest.raises(TypeError, match="batch cannot be list"):
        feedforward.predictor(run)([{"size": 1.0}])
    with pytest.raises(feedforward.NotFoundError):
        feedforward.predictor("no/such/run")(rows)


@pytest.mark.parametrize("target", ["price", "dear"])
def test_pyspark(trained, target):
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("PySpark needs Java")
    from pyspark.sql import SparkSession

    run, path, expected = trained[target]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    try:
        rows = spark.read.parquet(str(path)).repartition(4)
        predict = feedforward.predictor(run, proba=target == "dear")
        found = rows.mapInPandas(predict.in_pandas(), predict.schema(rows)).toPandas()
        check(found, expected)
    finally:
        spark.stop()


@pytest.mark.parametrize("target", ["price", "dear"])
def test_ray(trained, target):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    run, path, expected = trained[target]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        rows = ray.data.read_parquet(str(path)).repartition(4)
        predict = feedforward.predictor(run, proba=target == "dear")
        check(rows.map_batches(predict, batch_format="pandas").to_pandas(), expected)
    finally:
        ray.shutdown()
