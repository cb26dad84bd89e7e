"""Searches, budgets of time, and models as files of other tools."""

from __future__ import annotations

import os

import numpy as np
import pytest

import feedforward

KINDS = {"tensor(string)": object, "tensor(double)": np.float64, "tensor(float)": np.float32}
QUICK = {"quality": "fast", "quiet": True, "seed": 1, "model": {"hidden": [8]}}


def table(rows: int = 300) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size, city = rng.normal(100, 25, rows).round(1), rng.choice(["Bern", "Oslo"], rows)
    price = 3 * size + 40 * (city == "Oslo") + rng.normal(0, 5, rows)
    return {"size": size, "city": city.astype(object), "price": price}


def test_a_search_finds_settings_and_trains_the_best(tmp_path):
    search = feedforward.tune(
        table(), "price", trials=4, vary=["optimizer.lr=0.0001..0.03 log"], out=tmp_path / "s",
        train={"epochs": 4, "refit": False}, **QUICK,
    )  # fmt: skip
    assert {trial["trial"] for trial in search.trials} == {1, 2, 3, 4}
    values = [trial["value"] for trial in search.trials]
    assert values == sorted(values)
    assert list(search.influence) == ["optimizer.lr"]
    assert "lr" in search.recipe
    assert search.report.exists()
    assert "best" in repr(search)
    assert search.best.finished
    assert len(search.best.predict({"size": [90.0], "city": ["Bern"]})) == 1
    with pytest.raises(feedforward.RunError, match="finished"):
        feedforward.tune(table(), resume=search, quiet=True)


def test_a_stopped_search_is_resumed_to_the_same(tmp_path):
    options = {"trials": 3, "vary": ["optimizer.lr=0.0001..0.03 log"], **QUICK}
    options["train"] = {"epochs": 4, "refit": False}
    whole = feedforward.tune(table(), "price", out=tmp_path / "whole", **options)
    seen = []

    def stop(record):
        seen.append(record)
        if len(seen) == 5:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError):
        feedforward.tune(table(), "price", out=tmp_path / "stopped", callback=stop, **options)
    resumed = feedforward.tune(table(), resume=tmp_path / "stopped", quiet=True)
    assert resumed.trials == whole.trials
    new = {"size": [90.0, 120.0], "city": ["Bern", "Oslo"]}
    np.testing.assert_array_equal(resumed.best.predict(new), whole.best.predict(new))


def test_mistakes_of_searches(tmp_path):
    with pytest.raises(feedforward.Error, match="lrr"):
        feedforward.tune(table(), "price", vary=["optimizer.lrr=1..2"], out=tmp_path / "s", **QUICK)
    with pytest.raises(feedforward.UsageError, match="resumed"):
        feedforward.tune(table(), "price", resume=tmp_path)
    with pytest.raises(feedforward.RunError, match="search"):
        feedforward.tune(table(), resume=tmp_path, quiet=True)
    assert not (tmp_path / "s").exists()


def test_a_budget_of_time_chooses_the_length(tmp_path):
    run = feedforward.train(table(), "price", time_budget=6, quiet=True, out=tmp_path / "r")
    assert run.finished
    assert "steps" in run.recipe
    with pytest.raises(feedforward.UsageError, match="quality"):
        feedforward.train(table(), "price", time_budget=6, quality="fast")
    recipe = {"data": {"path": "x.csv", "target": "price"}}
    with pytest.raises(feedforward.UsageError, match="states its length"):
        feedforward.train(recipe, time_budget=6, quiet=True)


def test_models_of_tables_become_files_of_other_tools(tmp_path):
    options = {"train": {"epochs": 3, "refit": False}, **QUICK}
    run = feedforward.train(table(), "price", out=tmp_path / "r", **options)
    found = run.export(tmp_path / "m.onnx")
    assert found["check"]["difference"] < 1e-5
    assert feedforward.export(run, tmp_path / "m.keras")["check"]["rows"] > 0
    assert (tmp_path / "m.keras").stat().st_size > 1000
    assert run.export(tmp_path / "m.tflite")["check"]["difference"] < 1e-5
    with pytest.raises(feedforward.UsageError, match="there already"):
        run.export(tmp_path / "m.onnx")
    with pytest.raises(feedforward.UsageError, match="to="):
        run.export(tmp_path / "m.xyz")
    with pytest.raises(feedforward.UsageError, match="expected onnx"):
        run.export(tmp_path / "m.xyz", to="coreml")
    with pytest.raises(feedforward.UsageError, match="dtype"):
        run.export(tmp_path / "n.onnx", dtype="f16")
    taken = feedforward.import_model(tmp_path / "m.onnx", tmp_path / "taken")
    assert os.path.exists(taken["model"])
    assert taken["recipe"] is None and "node" in taken["refused"]
    with pytest.raises(feedforward.UsageError, match="there already"):
        feedforward.import_model(tmp_path / "m.onnx", tmp_path / "taken")
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    new = {"size": [90.0, 120.0], "city": ["Bern", "Oslo"]}
    feeds = {}
    for port in session.get_inputs():
        values = np.array(new[port.name], KINDS[port.type])
        feeds[port.name] = values.reshape(-1, 1) if len(port.shape) == 2 else values
    (theirs,) = session.run(["prediction"], feeds)
    np.testing.assert_allclose(theirs.ravel(), run.predict(new), rtol=1e-5)


def test_a_language_model_becomes_a_file(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 200)
    recipe = {
        "data": {"paths": [str(text)]},
        "tokenizer": {"kind": "bytes"},
        "model": {"config": {
            "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32,
        }},
        "train": {"steps": 3, "batch_size": 2, "context": 16},
    }  # fmt: skip
    run = feedforward.pretrain(recipe, out=tmp_path / "r", quiet=True)
    found = run.export(tmp_path / "folder", dtype="bf16")
    assert found["type"].lower() == "bf16"
    copy = feedforward.Model(tmp_path / "folder")
    assert copy.generate("the", max_tokens=3, temperature=0)
    graph = run.export(tmp_path / "m.onnx")
    assert graph["check"]["difference"] < 1e-5
    assert [name for name, _ in graph["check"]["inputs"]][-1] == "past_key_values.0.value"
    assert [name for name, _ in graph["check"]["outputs"]] == ["logits", "present.0.key", "present.0.value"]
    with pytest.raises(feedforward.DataError, match="llama.cpp"):
        run.export(tmp_path / "m.gguf")
    with pytest.raises(feedforward.UsageError, match="q4_1"):
        run.export(tmp_path / "n.gguf", dtype="f8")
