"""Activations and regression losses by name. Written from the tables in crates/ops by

    cargo run -p ff-testkit --example functions > examples/pytorch/functions.py
"""

import torch
from torch.nn import functional as F

ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": lambda x: torch.sigmoid(x),
    "tanh": lambda x: torch.tanh(x),
    "relu": lambda x: F.relu(x),
    "leaky_relu": lambda x, slope=0.01: F.leaky_relu(x, slope),
    "relu6": lambda x: F.relu6(x),
    "elu": lambda x, alpha=1.0: F.elu(x, alpha),
    "selu": lambda x: F.selu(x),
    "gelu": lambda x: F.gelu(x),
    "gelu_tanh": lambda x: F.gelu(x, approximate='tanh'),
    "silu": lambda x: F.silu(x),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "mish": lambda x: F.mish(x),
    "softplus": lambda x: F.softplus(x, threshold=700),
    "hard_sigmoid": lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: F.hardswish(x),
    "relu2": lambda x: F.relu(x) ** 2,
    "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
}

LOSSES = {
    "mse": lambda x, t: F.mse_loss(x, t, reduction='none'),
    "mae": lambda x, t: F.l1_loss(x, t, reduction='none'),
    "huber": lambda x, t, delta=1.0: F.huber_loss(x, t, reduction='none', delta=delta),
}
