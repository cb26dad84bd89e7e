"""Files of tensors: safetensors both ways, and state dicts of PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest

import feedforward

FILES = Path(__file__).parents[2] / "crates" / "formats" / "tests" / "torch"


def test_a_state_dict_of_pytorch_is_read_without_it():
    found = feedforward.load_tensors(FILES / "nested.pt")
    np.testing.assert_array_equal(found["model.transposed"], np.arange(12.0).reshape(3, 4).T)
    np.testing.assert_array_equal(found["model.brain"], np.array([1.5, -2], np.float32))
    assert found["model.half"].dtype == np.float16
    assert found["model.scalar"].shape == ()
    assert found["model.empty"].shape == (0, 3)
    assert feedforward.inspect(FILES / "state.pt")["values"] == 26


def test_a_module_of_pytorch_predicts_without_it(tmp_path):
    models = FILES.parents[2] / "interop" / "tests" / "torch"
    case = json.loads((models / "cases.json").read_text())[0]
    table = {name: column for name, column in zip("abcd", np.transpose(case["input"]), strict=True)}
    out = tmp_path / "predicted.csv"
    done = feedforward.predict(models / case["file"], table, out=out)
    assert done["columns"] == ["output_0", "output_1", "output_2"]
    found = np.loadtxt(out, delimiter=",", skiprows=1)[:, 4:]
    np.testing.assert_allclose(found, case["output"], rtol=1e-5, atol=1e-5)
    assert feedforward.inspect(models / case["file"])["about"].startswith("a module of PyTorch")


def test_what_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(feedforward.FileError, match=r"posix\.system") as caught:
        feedforward.load_tensors(FILES / "runs.pt")
    assert "nothing in it was executed" in caught.value.help
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_written_and_read(tmp_path):
    arrays = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "h": np.ones(3, np.float16),
        "big": np.arange(3, dtype=">i8"),
        "mask": np.array([True, False]),
        "scalar": np.float64(2.5),
    }
    feedforward.save_tensors(arrays, tmp_path / "a.safetensors")
    found = feedforward.load_tensors(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == np.shape(array)
    safetensors = pytest.importorskip("safetensors.numpy")
    theirs = safetensors.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(theirs["f"], arrays["f"])
    with pytest.raises(TypeError, match="`o`"):
        feedforward.save_tensors({"o": np.array([None])}, tmp_path / "b.safetensors")


def test_state_dicts_of_modules_go_both_ways(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    found = feedforward.load_tensors(tmp_path / "m.pt")
    np.testing.assert_array_equal(found["weight"], model.weight.detach().numpy())
    feedforward.save_tensors(found, tmp_path / "m.safetensors")
    again = torch.nn.Linear(3, 2)
    loaded = feedforward.load_tensors(tmp_path / "m.safetensors")
    again.load_state_dict({name: torch.from_numpy(array) for name, array in loaded.items()})
    assert torch.equal(again.weight, model.weight)
