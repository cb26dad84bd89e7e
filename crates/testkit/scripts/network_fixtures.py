"""Small networks of recipes with PyTorch's results in f64, one file each in fixtures/network.

    python crates/testkit/scripts/network_fixtures.py

A file holds the parameters under our names, the inputs `x`, the outputs `y`, the gradient `dy` of
the outputs, and the gradient of every parameter as `grad.NAME`.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "fixtures" / "network"
ROWS, NUMERIC, WIDTH, OUTPUTS = 5, 4, 6, 3
ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu}

torch.set_default_dtype(torch.float64)


def gated(activation, expansion, bias):
    """Two hidden layers, each followed by a gated block."""
    f, hidden = ACTIVATIONS[activation], round(WIDTH * expansion)
    params = {}

    def linear(name, x, out):
        weight = params.setdefault(f"{name}.weight", torch.randn(out, x.shape[-1]) * 0.5)
        b = params.setdefault(f"{name}.bias", torch.randn(out) * 0.5) if bias else None
        return F.linear(x, weight.requires_grad_(), None if b is None else b.requires_grad_())

    h = x = torch.randn(ROWS, NUMERIC)
    for i in range(2):
        h = F.relu(linear(f"layers.{i}", h, WIDTH))
        name = f"layers.{i}.gated"
        u = f(linear(f"{name}.gate_proj", h, hidden)) * linear(f"{name}.up_proj", h, hidden)
        h = h + linear(f"{name}.down_proj", u, WIDTH)
    y = linear("output", h, OUTPUTS)
    dy = torch.randn_like(y)
    y.backward(dy)
    grads = {f"grad.{name}": p.grad for name, p in params.items()}
    return {"x": x, "y": y, "dy": dy, **params, **grads}


if __name__ == "__main__":
    torch.manual_seed(7)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, network in {
        "gated_silu": gated("silu", 2.0, True),
        "gated_gelu": gated("gelu", 1.5, False),
    }.items():
        tensors = {key: value.detach().contiguous().clone() for key, value in network.items()}
        save_file(tensors, FOLDER / f"{name}.safetensors", {"framework": f"torch {torch.__version__}"})
