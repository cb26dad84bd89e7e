"""Writes modules of PyTorch beside this script, and what they compute.

    pip install torch && python fixtures.py
"""

import json
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
torch.manual_seed(0)

ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(), nn.PReLU(4, init=0.1), nn.ELU(1.5), nn.CELU(0.7), nn.SELU(),
    nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Tanhshrink(),
    nn.Softsign(), nn.Softplus(), nn.Softplus(beta=2.0), nn.Hardtanh(-0.5, 2.0), nn.Hardsigmoid(), nn.Hardswish(),
    nn.Hardshrink(0.7), nn.Softshrink(0.3), nn.GLU(), nn.GLU(dim=1), nn.Softmax(dim=-1), nn.LogSoftmax(dim=1), nn.Softmin(dim=1),
]  # fmt: skip


def trained(model):
    """The same with statistics of rows and other values than those of the start."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.train()
    dtype = next(model.parameters()).dtype
    model(torch.randn(64, 4, dtype=dtype) * 2 + 1)
    return model.eval()


models = {
    "norms": nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, eps=1e-3, affine=False), nn.Dropout(0.3)),
        nn.LayerNorm(8),
        nn.Linear(8, 6, bias=False),
        nn.LayerNorm(6, eps=1e-4, elementwise_affine=False),
        nn.RMSNorm(6),
        nn.Sequential(nn.Flatten(), nn.RMSNorm([6], eps=1e-3, elementwise_affine=False), nn.Identity()),
        nn.AlphaDropout(0.1),
        nn.LayerNorm(6, bias=False),
        nn.Linear(6, 3),
    ),
    "double": nn.Sequential(nn.Linear(4, 5), nn.Mish(), nn.RMSNorm(5), nn.Linear(5, 2)).double(),
    "one": nn.Linear(4, 2),
}
for number, layer in enumerate(ACTIVATIONS):
    models[f"activation_{number:02}"] = nn.Sequential(nn.Linear(4, 4), layer)

cases = []
for name, model in models.items():
    model = trained(model)
    x = torch.randn(7, 4, dtype=next(model.parameters()).dtype) * 3
    torch.save(model, HERE / f"{name}.pt")
    with torch.no_grad():
        y = model(x)
    cases.append({"file": f"{name}.pt", "input": x.tolist(), "output": y.tolist()})
torch.save(model := models["norms"], HERE / "old.pt", _use_new_zipfile_serialization=False)
cases.append({**cases[0], "file": "old.pt"})
(HERE / "cases.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


class Net(nn.Sequential):
    """Code of its own."""


torch.save(Net(nn.Linear(2, 1)), HERE / "own.pt")
torch.save(nn.Sequential(nn.Conv1d(1, 1, 1)), HERE / "convolution.pt")
torch.save(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), HERE / "unfit.pt")
torch.save(nn.Sequential(nn.Linear(3, 4).half()), HERE / "half.pt")
torch.save(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), HERE / "batches.pt")
torch.save(nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=0)), HERE / "columns.pt")
