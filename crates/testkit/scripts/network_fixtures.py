"""Small networks of recipes with PyTorch's results in f64, one file each in fixtures/network.

    python crates/testkit/scripts/network_fixtures.py

A file holds the parameters under our names, the inputs `x`, the outputs `y`, the gradient `dy` of
the outputs, and the gradient of every parameter as `grad.NAME`. That of the ensemble is computed by
the packages `tabm` and `rtdl_num_embeddings`, and also holds every parameter after twenty steps of
gradient descent on Σ y dy as `after.NAME`.
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


MEMBERS, EDGES, DIM, STEPS, RATE = 3, [-1.0, -0.2, 0.3, 1.1], 2, 20, 0.01


def ensemble():
    """Numbers as piecewise-linear vectors, two hidden layers of a batch ensemble, an output layer a member."""
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings
    from tabm import LinearBatchEnsemble, LinearEnsemble

    edges = torch.tensor(EDGES)
    numbers = PiecewiseLinearEmbeddings([edges] * NUMERIC, DIM, activation=False, version="B")
    hidden = [
        LinearBatchEnsemble(width, WIDTH, k=MEMBERS, scaling_init="ones")
        for width in (NUMERIC * DIM, WIDTH)
    ]
    output = LinearEnsemble(WIDTH, OUTPUTS, k=MEMBERS)
    params = {
        "numeric.weight": numbers.linear0.weight,
        "numeric.bias": numbers.linear0.bias,
        "numeric.bins": numbers.linear.weight,
        "output.weight": output.weight,
        "output.bias": output.bias,
    }
    for i, layer in enumerate(hidden):
        params |= {f"layers.{i}.{name}": p for name, p in layer.named_parameters()}
    with torch.no_grad():
        for p in params.values():
            p.copy_(torch.randn_like(p) * 0.5)

    def forward(x):
        h = numbers(x).flatten(1)[:, None].expand(-1, MEMBERS, -1)
        for layer in hidden:
            h = F.silu(layer(h))
        return output(h)

    # The package keeps an output layer's weight as [members, in, out].
    ours = lambda name, p: p.mT if name == "output.weight" else p
    before = {name: ours(name, p).detach().clone() for name, p in params.items()}
    before["numeric.edges"] = edges.expand(NUMERIC, -1)
    x = torch.randn(ROWS, NUMERIC)
    y = forward(x)
    dy = torch.randn_like(y)
    result = {"x": x, "y": y, "dy": dy, **before}
    for step in range(STEPS):
        gradients = torch.autograd.grad((forward(x) * dy).sum(), list(params.values()))
        with torch.no_grad():
            for (name, p), gradient in zip(params.items(), gradients):
                if step == 0:
                    result[f"grad.{name}"] = ours(name, gradient)
                p -= RATE * gradient
    return result | {f"after.{name}": ours(name, p) for name, p in params.items()}


if __name__ == "__main__":
    torch.manual_seed(7)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, network in {
        "gated_silu": gated("silu", 2.0, True),
        "gated_gelu": gated("gelu", 1.5, False),
        "ensemble": ensemble(),
    }.items():
        tensors = {key: value.detach().contiguous().clone() for key, value in network.items()}
        save_file(tensors, FOLDER / f"{name}.safetensors", {"framework": f"torch {torch.__version__}"})
