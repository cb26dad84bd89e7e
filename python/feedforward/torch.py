"""Drop-in modules for PyTorch, computed by feedforward on the CPU.

>>> from feedforward.torch import FeedforwardLayer, GatedFeedforward
>>> model = torch.nn.Sequential(FeedforwardLayer(784, 128), FeedforwardLayer(128, 10, "identity"))

Tensors are float32 or float64 on the CPU; they are read in place. ``torch.compile`` leaves these
modules as they are and compiles what is around them. Second derivatives are an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from feedforward._core import activations, initial_weight
from feedforward._operation import operation

if TYPE_CHECKING:
    from feedforward._core import Operation

__all__ = [
    "FeedforwardLayer",
    "GatedFeedforward",
    "MixtureOfExperts",
    "feedforward",
    "gated_feedforward",
    "mixture_of_experts",
]


class _Apply(torch.autograd.Function):
    """An operation with its backward pass."""

    @staticmethod
    def forward(ctx: Any, op: Operation, *inputs: Tensor) -> Any:
        for x in inputs:
            if x.device.type != "cpu":
                raise ValueError(f"{op}: the tensors must be on the CPU, found {x.device}")
        arrays = [x.detach().numpy() for x in inputs]
        if not any(ctx.needs_input_grad):
            y = op(*arrays)
        else:
            y, ctx.recorded = op.record(*arrays, need=list(ctx.needs_input_grad[1:]))
            # So that a change of an input before backward is noticed.
            ctx.save_for_backward(*inputs)
        return tuple(map(torch.from_numpy, y)) if isinstance(y, tuple) else torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *dy: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "feedforward's operations have no second derivatives: use create_graph=False"
            )
        _ = ctx.saved_tensors
        arrays = [None if g is None else g.detach().numpy() for g in dy]
        dx = ctx.recorded.backward(*arrays)
        return None, *(None if g is None else torch.from_numpy(g) for g in dx)


@torch.compiler.disable
def _apply(name: str, inputs: tuple[Tensor, ...], **attributes: Any) -> Any:
    return _Apply.apply(operation(name, len(inputs), attributes), *inputs)


def feedforward(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str = "relu"
) -> Tensor:
    """f(x Wᵀ + b), with W ``[out, in]``."""
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return _apply("feedforward", inputs, activation=activation)


def gated_feedforward(
    x: Tensor, gate: Tensor, up: Tensor, down: Tensor, *, activation: str = "silu"
) -> Tensor:
    """(f(x Gᵀ) ⊙ (x Uᵀ)) Dᵀ."""
    inputs = (x, gate, up, down)
    return _apply("feedforward_block", inputs, gated=True, activation=activation)


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
    inputs = (x, router, gate, up, down)
    return _apply("mixture_of_experts", inputs, top_k=top_k, activation=activation)


def _weight(outputs: int, inputs: int, activation: str, dtype: torch.dtype | None) -> Tensor:
    dtype = dtype or torch.get_default_dtype()
    name = str(dtype).removeprefix("torch.")
    seed = int(torch.randint(2**31, ()).item())
    return torch.from_numpy(initial_weight((outputs, inputs), activation, name, seed))


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
        if activation not in activations():
            names = ", ".join(activations())
            raise ValueError(f"unknown activation {activation!r}; expected one of {names}")
        self.activation = activation
        self.weight = nn.Parameter(_weight(out_features, in_features, activation, dtype))
        self.bias = nn.Parameter(self.weight.new_zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return feedforward(x, self.weight, self.bias, activation=self.activation)


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
        self.activation = activation
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
        self.top_k, self.activation = top_k, activation

        def weights(outputs: int, inputs: int, f: str) -> nn.Parameter:
            each = [_weight(outputs, inputs, f, dtype) for _ in range(experts)]
            return nn.Parameter(torch.stack(each))

        self.router = nn.Parameter(_weight(experts, features, "identity", dtype))
        self.gate = weights(hidden, features, activation)
        self.up = weights(hidden, features, "identity")
        self.down = weights(features, hidden, "identity")

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.router, self.gate, self.up, self.down)
        settings = {"top_k": self.top_k, "activation": self.activation}
        return mixture_of_experts(x, *weights, **settings)[0]
