"""Writes the files of PyTorch beside this script, and what they hold as safetensors.

    pip install torch safetensors && python fixtures.py
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
torch.manual_seed(0)


def contiguous(tensors):
    return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}


model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
torch.save(model.state_dict(), HERE / "state.pt")
torch.save(model.state_dict(), HERE / "legacy.pt", _use_new_zipfile_serialization=False)
save_file(contiguous(model.state_dict()), HERE / "state.safetensors")

base = torch.arange(12.0).reshape(3, 4)
views = {
    "transposed": base.T,
    "part": base[1:, 1:3],
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "ids": torch.tensor([2**40, -1]),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "mask": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}
nested = {"model": OrderedDict(views), "epoch": 3, "lr": [0.1, {"m": base[0]}], "name": "a"}
named = {f"model.{name}": tensor for name, tensor in views.items()} | {"lr.1.m": base[0]}
torch.save(nested, HERE / "nested.pt")
torch.save(nested, HERE / "nested-legacy.pth", _use_new_zipfile_serialization=False)
save_file(contiguous(named), HERE / "nested.safetensors")

torch.save(model, HERE / "module.pt")


class Runs:
    def __reduce__(self):
        return (os.system, ("touch executed",))


torch.save({"weight": base, "x": Runs()}, HERE / "runs.pt")
(HERE / "plain.pt").write_bytes(pickle.dumps({"a": 1}, protocol=2))
torch.save({"weight": torch.ones(1).expand(1000)}, HERE / "expanded.pt")
