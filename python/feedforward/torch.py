"""Drop-in modules for PyTorch, computed by feedforward on the CPU.

>>> from feedforward.torch import FeedforwardLayer, GatedFeedforward
>>> model = torch.nn.Sequential(FeedforwardLayer(784, 128), FeedforwardLayer(128, 10, "identity"))

Tensors are float32 or float64 on the CPU; they are read in place. The operations are custom
operators (``torch.ops.feedforward``), so ``torch.compile(fullgraph=True)`` goes through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from feedforward._core import activations, initial_weight
from feedforward._torch import apply

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FeedforwardBlock",
    "FeedforwardLayer",
    "GatedFeedforward",
    "MixtureOfExperts",
    "feedforward",
    "feedforward_block",
    "gated_feedforward",
    "mixture_of_experts",
    "replace_mlps",
]


def feedforward(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str = "relu"
) -> Tensor:
    """f(x Wᵀ + b), with W ``[out, in]``."""
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return apply("feedforward", inputs, activation=activation)[0]


def feedforward_block(
    x: Tensor,
    up: Tensor,
    down: Tensor,
    up_bias: Tensor | None = None,
    down_bias: Tensor | None = None,
    *,
    activation: str = "gelu_tanh",
) -> Tensor:
    """The block f(x W₁ᵀ + b₁) W₂ᵀ + b₂: up ``[hidden, in]``, down ``[out, hidden]``."""
    biases = [b for b in (up_bias, down_bias) if b is not None]
    if len(biases) == 1:
        raise ValueError("feedforward_block: give both biases or none")
    return apply("feedforward_block", [x, up, down, *biases], gated=False, activation=activation)[0]


def gated_feedforward(
    x: Tensor, gate: Tensor, up: Tensor, down: Tensor, *, activation: str = "silu"
) -> Tensor:
    """(f(x Gᵀ) ⊙ (x Uᵀ)) Dᵀ."""
    return apply("feedforward_block", [x, gate, up, down], gated=True, activation=activation)[0]


def mixture_of_experts(
    x: Tensor,
    router: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    *,
    top_k: int = 2,
    activation: str = "silu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row through its ``top_k`` experts; and two statistics of the router."""
    inputs = [x, router, gate, up, down]
    y, shares, z = apply("mixture_of_experts", inputs, top_k=top_k, activation=activation)
    return y, shares, z


def _weight(outputs: int, inputs: int, activation: str, dtype: torch.dtype | None) -> Tensor:
    dtype = dtype or torch.get_default_dtype()
    name = str(dtype).removeprefix("torch.")
    seed = int(torch.randint(2**31, ()).item())
    return torch.from_numpy(initial_weight((outputs, inputs), activation, name, seed))


def _known(activation: str) -> str:
    if activation not in activations():
        names = ", ".join(activations())
        raise ValueError(f"unknown activation {activation!r}; expected one of {names}")
    return activation


class FeedforwardLayer(nn.Module):
    """``torch.nn.Linear`` and an activation in one: parameters ``weight`` and ``bias``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "relu",
        *,
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = _known(activation)
        self.weight = nn.Parameter(_weight(out_features, in_features, activation, dtype))
        self.bias = nn.Parameter(self.weight.new_zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return feedforward(x, self.weight, self.bias, activation=self.activation)


class FeedforwardBlock(nn.Module):
    """The feedforward block of GPT-2: two layers, ``up_proj`` and ``down_proj``, with biases."""

    def __init__(
        self,
        features: int,
        hidden: int,
        activation: str = "gelu_tanh",
        *,
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = _known(activation)
        self.up_proj = nn.Parameter(_weight(hidden, features, activation, dtype))
        self.down_proj = nn.Parameter(_weight(features, hidden, "identity", dtype))
        self.up_bias = nn.Parameter(self.up_proj.new_zeros(hidden)) if bias else None
        self.down_bias = nn.Parameter(self.down_proj.new_zeros(features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        biases = (self.up_bias, self.down_bias)
        return feedforward_block(
            x, self.up_proj, self.down_proj, *biases, activation=self.activation
        )


class GatedFeedforward(nn.Module):
    """The feedforward block of Llama: ``gate_proj``, ``up_proj`` and ``down_proj``, no biases."""

    def __init__(
        self,
        features: int,
        hidden: int,
        activation: str = "silu",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = _known(activation)
        self.gate_proj = nn.Parameter(_weight(hidden, features, activation, dtype))
        self.up_proj = nn.Parameter(_weight(hidden, features, "identity", dtype))
        self.down_proj = nn.Parameter(_weight(features, hidden, "identity", dtype))

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.gate_proj, self.up_proj, self.down_proj)
        return gated_feedforward(x, *weights, activation=self.activation)


class MixtureOfExperts(nn.Module):
    """Gated feedforward blocks of which a router chooses ``top_k`` for each row."""

    def __init__(
        self,
        features: int,
        hidden: int,
        experts: int,
        top_k: int = 2,
        activation: str = "silu",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.top_k, self.activation = top_k, _known(activation)

        def weights(outputs: int, inputs: int, f: str) -> nn.Parameter:
            each = [_weight(outputs, inputs, f, dtype) for _ in range(experts)]
            return nn.Parameter(torch.stack(each))

        self.router = nn.Parameter(_weight(experts, features, "identity", dtype))
        self.gate = weights(hidden, features, activation)
        self.up = weights(hidden, features, "identity")
        self.down = weights(features, hidden, "identity")

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.router, self.gate, self.up, self.down)
        return mixture_of_experts(x, *weights, top_k=self.top_k, activation=self.activation)[0]


# ---- Models of transformers.

# The activations of `transformers`, by the name of their class.
_ACTIVATIONS = {
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
    "NewGELUActivation": "gelu_tanh",
    "QuickGELUActivation": "quick_gelu",
    "ReLU": "relu",
    "ReLUSquaredActivation": "relu2",
    "SiLU": "silu",
    "SiLUActivation": "silu",
}


def replace_mlps(model: nn.Module) -> int:
    """Replaces the MLPs of a model of ``transformers`` in place; returns how many there were.

    They are those of GPT-2 (``c_fc``, ``c_proj``) and of Llama and its kin (``gate_proj``,
    ``up_proj``, ``down_proj``). Parameters are copied; those of GPT-2 become ``[out, in]``.
    """
    found = list(_mlps(model))
    if not found:
        raise ValueError(f"{type(model).__name__} has no MLP of GPT-2 or Llama")
    for parent, name, block in found:
        setattr(parent, name, block)
    return len(found)


def _mlps(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            block = _gpt2(child) or _llama(child)
            if block is not None:
                yield parent, name, block.train(child.training)


def _activation_of(module: Any) -> str | None:
    return _ACTIVATIONS.get(type(module).__name__)


def _gpt2(mlp: Any) -> nn.Module | None:
    if not (hasattr(mlp, "c_fc") and hasattr(mlp, "c_proj")):
        return None
    activation = _activation_of(getattr(mlp, "act", None))
    if activation is None or type(mlp.c_fc).__name__ != "Conv1D":
        return None
    features, hidden = mlp.c_fc.weight.shape
    block = FeedforwardBlock(features, hidden, activation, dtype=mlp.c_fc.weight.dtype)
    with torch.no_grad():
        block.up_proj.copy_(mlp.c_fc.weight.T)
        block.down_proj.copy_(mlp.c_proj.weight.T)
        for ours, theirs in ((block.up_bias, mlp.c_fc.bias), (block.down_bias, mlp.c_proj.bias)):
            if ours is not None:
                ours.copy_(theirs)
    return nn.Sequential(block, mlp.dropout) if hasattr(mlp, "dropout") else block


def _llama(mlp: Any) -> nn.Module | None:
    names = ("gate_proj", "up_proj", "down_proj")
    layers = [getattr(mlp, name, None) for name in names]
    activation = _activation_of(getattr(mlp, "act_fn", None))
    if activation is None or not all(
        isinstance(layer, nn.Linear) and layer.bias is None for layer in layers
    ):
        return None
    hidden, features = mlp.gate_proj.weight.shape
    block = GatedFeedforward(features, hidden, activation, dtype=mlp.gate_proj.weight.dtype)
    with torch.no_grad():
        for name in names:
            getattr(block, name).copy_(getattr(mlp, name).weight)
    return block
