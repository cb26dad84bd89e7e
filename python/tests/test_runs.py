"""Whole runs from Python: the same as the program's, tables in memory, callbacks, errors."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import feedforward

ROOT = Path(__file__).parents[2]
QUICK = {"train": {"epochs": 3, "refit": False}, "model": {"hidden": [8]}, "quality": "fast", "quiet": True}


def flowers(n: int = 240) -> dict[str, np.ndarray]:
    """Three kinds of flowers: numbers, a category with gaps, a truth value, a date."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, n)
    length = rng.normal(kind, 0.4).round(3)
    length[::17] = np.nan
    colours = np.array(["red", "blue", "white"], object)[(kind + (rng.random(n) < 0.2)) % 3]
    colours[::13] = None
    day = np.datetime64("2024-03-01") + rng.integers(0, 90, n)
    return {
        "length": length,
        "petals": (5 + kind + rng.integers(0, 2, n)).astype(np.int64),
        "colour": colours,
        "wild": rng.random(n) < 0.3,
        "day": day.astype("datetime64[s]"),
        "species": np.array(["setosa", "versicolor", "virginica"], object)[kind],
    }


def frames(data: dict[str, np.ndarray]) -> dict[str, object]:
    """The same table as everything that is read."""
    tables: dict[str, object] = {"dict": data}
    lists = {
        name: [None if v != v else v for v in values.tolist()] for name, values in data.items()
    }
    pandas = pytest.importorskip("pandas")
    tables["pandas"] = pandas.DataFrame(data)
    tables["pandas categories"] = pandas.DataFrame(data).astype({"colour": "category"})
    polars = pytest.importorskip("polars")
    tables["polars"] = polars.DataFrame({**lists, "day": data["day"].astype("datetime64[ms]")})
    pyarrow = pytest.importorskip("pyarrow")
    tables["pyarrow"] = pyarrow.table({**lists, "day": pyarrow.array(data["day"])})
    tables["records"] = [
        dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)
    ]
    return tables


def weights(run: feedforward.Run) -> bytes:
    return (run.path / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> feedforward.Run:
    out = tmp_path_factory.mktemp("runs") / "flowers"
    return feedforward.train(flowers(), target="species", out=out, seed=3, **QUICK)


def test_a_table_in_memory_trains_the_same_model_as_its_file(run, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.feather")
    tables = frames(flowers())
    pyarrow.feather.write_feather(tables["pyarrow"], tmp_path / "flowers.arrow")
    tables["pandas"].to_csv(tmp_path / "flowers.csv", index=False)
    tables["pandas"].to_parquet(tmp_path / "flowers.parquet")
    for name in ("flowers.arrow", "flowers.csv", "flowers.parquet"):
        tables[name] = tmp_path / name
    for name, table in tables.items():
        out = tmp_path / name.replace(".", "-")
        found = feedforward.train(table, target="species", out=out, seed=3, **QUICK)
        assert weights(found) == weights(run), name
        assert found.scores == run.scores, name


def test_predictions_come_back_as_the_table_came_in(run):
    data = flowers(40)
    del data["species"]
    expected = run.predict(data)
    assert isinstance(expected, np.ndarray)
    assert set(expected) <= {"setosa", "versicolor", "virginica"}
    proba = run.predict_proba(data)
    assert proba.shape == (40, 3)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert (np.asarray(run.model.classes)[proba.argmax(1)] == expected).all()
    for name, table in frames(data).items():
        found = run.predict(table)
        kind = name.split()[0]
        module = {"dict": "numpy", "records": "numpy"}.get(kind, kind)
        assert type(found).__module__.split(".")[0] == module, name
        assert list(found.tolist() if kind != "polars" else found) == expected.tolist() or (
            kind == "pyarrow" and found.to_pylist() == expected.tolist()
        ), name
        again = run.predict_proba(table)
        if kind == "pyarrow":
            again = np.stack([c.to_numpy() for c in again.columns], 1)
        np.testing.assert_array_equal(np.asarray(again), proba, err_msg=name)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data, index=range(100, 140))
    assert run.predict(frame).index[0] == 100
    assert run.predict(frame).name == "species"


def test_predictions_are_those_of_the_library_for_a_file(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    data = flowers(40)
    out = tmp_path / "out.csv"
    summary = feedforward.predict(run, data, out=out, proba=True)
    assert summary["rows"] == 40
    written = pandas.read_csv(out)
    assert written["prediction"].tolist() == run.predict(data).tolist()
    np.testing.assert_allclose(
        written["probability_setosa"], run.predict_proba(data)[:, 0], rtol=1e-12
    )
    with pytest.raises(feedforward.UsageError, match="there already"):
        feedforward.predict(run, data, out=out)


def test_numbers_are_predicted_and_spread(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    data = {"a": x[:, 0], "b": x[:, 1].astype(np.float32), "y": x[:, 0] * 3 + 1}
    run = feedforward.train(
        data, target="y", out=tmp_path / "r", quiet=True, train={"epochs": 4}, model={"members": 4}
    )
    assert run.predict(data).dtype == np.float64
    assert run.model.task == "regression"
    assert run.model.classes == []
    assert (feedforward.predict(run, data, spread=True) >= 0).all()
    ends = feedforward.predict(run, data, interval=0.8)
    held = (ends[:, 0] <= data["y"]) & (data["y"] <= ends[:, 1])
    # Thirty rows were held out, so that the share is one of 80 % give or take ten.
    assert ends.shape == (200, 2) and 0.6 < held.mean() < 1
    with pytest.raises(feedforward.UsageError, match="less than 1"):
        run.model.interval(data, 2.0)
    with pytest.raises(feedforward.UsageError, match="probabilities are for classes"):
        run.predict_proba(data)
    integers = {"a": x[:100, 0], "y": np.repeat([4, 7], 50)}
    run = feedforward.train(integers, target="y", out=tmp_path / "i", task="binary", **QUICK)
    assert run.predict(integers).dtype == np.int64
    sets = run.model.interval(integers, 0.8)
    assert len(sets) == 100 and all(set(row) <= {4, 7} for row in sets)


def test_parts_in_memory_are_the_held_out_ones(tmp_path):
    data = flowers()
    part = {name: values[:60] for name, values in data.items()}
    run = feedforward.train(
        data, target="species", valid=part, test=part, out=tmp_path / "r", seed=3, **QUICK
    )
    assert run.evaluation["test"]["rows"] == 60
    accuracy = (run.predict(part) == part["species"]).mean()
    assert run.scores["test"]["accuracy"] == pytest.approx(accuracy)
    assert run.evaluate(part)["scores"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("form", ["path", "text", "dict", "data"])
def test_a_recipe_is_a_path_a_text_or_a_dict(form, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = {
        "data": {"path": "datasets/digits.csv", "target": "label"},
        "model": {"hidden": [16]},
    }
    text = "[data]\npath = 'datasets/digits.csv'\ntarget = 'label'\n[model]\nhidden = [16]\n"
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    out = tmp_path / "run"
    if form == "data":
        pandas = pytest.importorskip("pandas")
        table = pandas.read_csv("datasets/digits.csv")
        run = feedforward.train(table, recipe=path, out=out, quiet=True, train={"epochs": 1})
    else:
        recipe = {"path": path, "text": text, "dict": settings}[form]
        run = feedforward.train(recipe, out=out, quiet=True, train={"epochs": 1})
    expected = feedforward.train("datasets/digits.csv", "label", recipe=settings,
                                 out=tmp_path / "e", quiet=True, train={"epochs": 1})  # fmt: skip
    assert weights(run) == weights(expected)


def test_a_callback_sees_each_epoch_and_stops_the_run(tmp_path):
    seen = []
    run = feedforward.train(
        flowers(), target="species", out=tmp_path / "r", callback=seen.append, **QUICK
    )
    assert [record["epoch"] for record in seen] == [1, 2, 3]
    assert [record["train_loss"] for record in seen] == [r["train_loss"] for r in run.history]
    stopped = feedforward.train(
        flowers(), target="species", out=tmp_path / "s", callback=lambda r: r["epoch"] == 2, **QUICK
    )
    assert stopped.interrupted
    assert len(stopped.history) == 2
    done = stopped.resume(flowers(), quiet=True)
    assert done.finished
    assert weights(done) == weights(run)


def test_an_exception_in_a_callback_is_raised_and_the_run_resumed(run, tmp_path):
    def broken(record):
        if record["epoch"] == 2:
            raise ZeroDivisionError("mine")

    out = tmp_path / "r"
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        feedforward.train(flowers(), target="species", out=out, callback=broken, seed=3, **QUICK)
    if sys.version_info >= (3, 11):
        assert "feedforward.resume" in caught.value.__notes__[0]
    with pytest.raises(feedforward.DataError, match="memory") as caught:
        feedforward.resume(out, quiet=True)
    assert "data=table" in caught.value.help
    with pytest.raises(feedforward.Error):
        feedforward.resume(out, flowers(100), quiet=True)
    assert weights(feedforward.resume(out, flowers(), quiet=True)) == weights(run)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_stops_with_everything_saved(tmp_path):
    out = tmp_path / "r"
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "python" / "tests")!r})
import feedforward, test_runs
feedforward.train(
    test_runs.flowers(), target="species", out={str(out)!r}, quiet=True, quality="fast",
    train={{"epochs": 1_000_000, "patience": 0}}, callback=lambda r: print("epoch", flush=True),
)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "epoch\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130), errors
    assert "KeyboardInterrupt" in errors
    stopped = feedforward.Run(out)
    assert stopped.interrupted
    assert (out / "checkpoints" / "last.safetensors").exists()


def test_two_threads_train_at_once(run, tmp_path):
    results: dict[int, bytes] = {}

    def work(i: int) -> None:
        found = feedforward.train(
            flowers(), target="species", out=tmp_path / str(i), seed=3, **QUICK
        )
        results[i] = weights(found)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: weights(run), 1: weights(run)}


def test_mistakes_are_exceptions_of_our_own(run, tmp_path):
    data = flowers()
    with pytest.raises(feedforward.UsageError, match="which column") as caught:
        feedforward.train(data)
    assert "length, petals, colour, wild, day, species" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(feedforward.DataError, match=r"no column `specis`.*did you mean `species`"):
        feedforward.train(data, target="specis", out=tmp_path / "a", quiet=True)
    with pytest.raises(feedforward.RecipeError, match="epohcs") as caught:
        feedforward.train(data, target="species", train={"epohcs": 3})
    assert "epochs" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    recipe = tmp_path / "r.toml"
    recipe.write_text("[data]\npath = 'x.csv'\n\n[train]\nepochs = -1\n", encoding="utf-8")
    with pytest.raises(feedforward.RecipeError) as caught:
        feedforward.train(recipe)
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(recipe), 5, 10)
    with pytest.raises(feedforward.NotFoundError, match="no file") as caught:
        feedforward.train(tmp_path / "none.csv", target="y")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(feedforward.NotFoundError, match=r"no file.*did you mean `r\.toml`"):
        feedforward.train(tmp_path / "rr.toml")
    with pytest.raises(feedforward.NotFoundError, match="no such run"):
        feedforward.Run(tmp_path / "none")
    with pytest.raises(feedforward.RunError, match="not empty"):
        feedforward.train(data, target="species", out=run.path, quiet=True)
    with pytest.raises(feedforward.UsageError, match=r"feedforward\.pretrain"):
        feedforward.train(data, recipe=ROOT / "recipes" / "arithmetic.toml")
    with pytest.raises(feedforward.UsageError, match=r"feedforward\.train"):
        feedforward.pretrain(ROOT / "recipes" / "digits.toml")
    with pytest.raises(feedforward.UsageError, match="quality"):
        feedforward.train(data, target="species", quality="great")
    with pytest.raises(feedforward.DataError, match="does not fit the model"):
        run.predict({"length": np.zeros(3)})
    with pytest.raises(feedforward.UsageError, match="use predict"):
        run.generate("a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ({"x": [1, 2], "y": [[1], [2]]}, TypeError, "column `y`, row 1"),
        ({"x": [1, 2], "y": np.array([1, object()], object)}, TypeError, "column `y`, row 2"),
        ({"x": [1, 2], "y": [1]}, ValueError, "as many rows"),
        ({"x": np.zeros((2, 2)), "y": [1, 2]}, TypeError, "shape"),
        ({"x": np.zeros(2, complex), "y": [1, 2]}, TypeError, "complex"),
        ({"x": "ab", "y": [1, 2]}, feedforward.RecipeError, "x"),
        ({}, ValueError, "needs a column"),
        (np.zeros(3), ValueError, "2-D"),
        (3, TypeError, "int"),
        ({"x": [], "y": []}, feedforward.DataError, "empty"),
    ],
)
def test_tables_that_are_none(table, kind, message):
    with pytest.raises(kind, match=message):
        feedforward.train(table, target="y", quiet=True)


def test_a_plan_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = feedforward.plan(flowers(), target="species", quality="fast")
    assert plan["parameters"] > 0
    assert plan["total_steps"] > 0
    assert os.listdir(tmp_path) == []


def test_a_run_and_its_model_show_themselves(run):
    assert run.finished
    assert repr(run).startswith("Run(")
    assert "accuracy" in repr(run)
    assert "<table>" in run._repr_html_()
    assert run.report.read_text(encoding="utf-8").startswith("<!")
    assert 'target = "species"' in run.recipe
    model = run.model
    assert (model.target, model.classes) == ("species", ["setosa", "versicolor", "virginica"])
    assert model.columns == ["length", "petals", "colour", "wild", "day"]
    assert "setosa" in model._repr_html_()
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(flowers(9)) == model.predict(flowers(9))).all()
    found = feedforward.inspect(run)
    assert found["values"] > 0
    assert feedforward.evaluate(run, flowers())["rows"] == 240
    with pytest.warns(feedforward.UnfamiliarWarning, match="length"):
        run.predict({**flowers(5), "length": np.full(5, 1e3)})


def test_errors_survive_a_pickle():
    with pytest.raises(feedforward.RecipeError) as caught:
        feedforward.train("a.csv", target="y", train={"epohcs": 3})
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is feedforward.RecipeError
    assert str(again) == str(caught.value)


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    settings = {**QUICK, "quiet": False}
    feedforward.train(flowers(), target="species", out=tmp_path / "r", **settings)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Model " in shown.err
    assert "epoch 1/3" in shown.err
    assert "epoch 3/3" in shown.err
    assert "\r" not in shown.err
    feedforward.train(flowers(), target="species", out=tmp_path / "q", **QUICK)
    assert capsys.readouterr().err == ""


def test_a_language_model_is_trained_and_writes(tmp_path):
    run = feedforward.pretrain(
        ROOT / "recipes" / "arithmetic.toml",
        out=tmp_path / "r",
        quiet=True,
        train={"steps": 2, "eval_every": 1},
    )
    pieces: list[str] = []
    text = run.generate("12+", max_tokens=4, temperature=0, on_text=lambda i, t: pieces.append(t))
    assert "".join(pieces) == text
    assert run.generate(["12+", "3"], max_tokens=4, temperature=0)[0] == text
    with pytest.raises(feedforward.UsageError, match="exclude each other"):
        run.generate("12+", regex="[0-9]+", json_schema={})
    try:
        digits = run.generate("12+", max_tokens=4, temperature=0, regex="[7-9]{3}")
    except feedforward.Error as error:
        assert "this build cannot write by a regular expression" in str(error)  # noqa: PT017
    else:
        assert re.fullmatch("[7-9]{3}", digits)
    assert run.model.is_language_model
    with pytest.raises(feedforward.UsageError, match="use generate"):
        run.predict(flowers())

    def broken(i, text):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.generate("12+", max_tokens=4, temperature=0, on_text=broken)


def test_importing_is_quick():
    script = """
import time; began = time.process_time(); import feedforward; took = time.process_time() - began
import sys
heavy = {"numpy", "pandas", "polars", "sklearn", "torch", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
print(took)
"""
    took = min(float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(10))
    assert took < 0.05
