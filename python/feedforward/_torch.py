"""The operations as custom operators of PyTorch, with shapes for tracing and with autograd.

One operator, ``feedforward::apply``, runs the forward pass of an operation by name, and another,
``feedforward::gradients``, its backward pass. Both are functions of tensors alone: what the
backward pass reads besides inputs and outputs is among the results of the first.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from feedforward._core import activation_of_torch
from feedforward._operation import operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedforward._core import Operation


def apply(name: str, inputs: list[Tensor], **attributes: Any) -> list[Tensor]:
    """The outputs of an operation."""
    for x in inputs:
        if x.device.type not in ("cpu", "meta"):
            raise ValueError(f"{name}: the tensors must be on the CPU, found {x.device}")
    # As text, which is what operators take besides tensors and numbers.
    text = ",".join([f"{key}={value}" for key, value in attributes.items()])
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return list(_apply(name, text, inputs, keep)[: _outputs(name)])


@lru_cache(maxsize=1024)
def _read(attributes: str) -> dict[str, Any]:
    """The attributes of a text such as ``activation=silu,gated=True``."""
    values = {"True": True, "False": False}
    pairs = (part.split("=", 1) for part in attributes.split(","))
    return {key: values.get(v, int(v) if v.isdecimal() else v) for key, v in pairs}


@lru_cache(maxsize=1024)
def _operation(name: str, inputs: int, attributes: str) -> Operation:
    return operation(name, inputs, _read(attributes))


def _outputs(name: str) -> int:
    return 3 if name == "mixture_of_experts" else 1


def _arrays(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple(x.detach().numpy() for x in tensors)


@torch.library.custom_op("feedforward::apply", mutates_args=(), device_types="cpu")
def _apply(name: str, attributes: str, inputs: list[Tensor], keep: bool) -> list[Tensor]:
    """The outputs, and with ``keep`` what the backward pass reads besides."""
    op = _operation(name, len(inputs), attributes)
    arrays = op.compute(_arrays(inputs), [keep] * len(inputs))
    return [torch.from_numpy(y) for y in arrays]


@torch.library.custom_op("feedforward::gradients", mutates_args=(), device_types="cpu")
def _gradients(
    name: str,
    attributes: str,
    inputs: list[Tensor],
    outputs: list[Tensor],
    saved: list[Tensor],
    dy: list[Tensor],
    need: list[bool],
) -> list[Tensor]:
    """The gradients of those inputs that need one."""
    op = _operation(name, len(inputs), attributes)
    arrays = (_arrays(inputs), _arrays(outputs), _arrays(saved), _arrays(dy))
    return [torch.from_numpy(dx) for dx in op.gradients(*arrays, need) if dx is not None]


# ---- Shapes.


@_apply.register_fake
def _(name: str, attributes: str, inputs: list[Tensor], keep: bool) -> list[Tensor]:
    shapes = _SHAPES[name](inputs, _read(attributes), keep)
    return [inputs[0].new_empty(shape) for shape in shapes]


@_gradients.register_fake
def _(
    name: str,
    attributes: str,
    inputs: list[Tensor],
    outputs: list[Tensor],
    saved: list[Tensor],
    dy: list[Tensor],
    need: list[bool],
) -> list[Tensor]:
    wanted = (x for x, needed in zip(inputs, need, strict=True) if needed)
    return [x.new_empty(x.shape) for x in wanted]


def _layer_shapes(x: list[Tensor], attributes: dict[str, Any], keep: bool) -> list[Any]:
    y = (*x[0].shape[:-1], x[1].shape[0])
    return [y, y] if keep and _saves(attributes["activation"]) else [y]


@lru_cache(maxsize=64)
def _saves(activation: str) -> bool:
    """Whether the derivative is computed from a value that is neither input nor output."""
    op = operation("feedforward", 2, {"activation": activation})
    return bool(op.saved([[1, 1], [1, 1]], [True, True]))


@lru_cache(maxsize=64)
def _reads_output(name: str, attributes: str) -> bool:
    if name != "feedforward":
        return False
    activation = _read(attributes)["activation"]
    return activation != "identity" and not _saves(activation)


def _block_shapes(x: list[Tensor], attributes: dict[str, Any], keep: bool) -> list[Any]:
    up = 2 if attributes["gated"] else 1
    hidden, outputs = x[1].shape[0], x[1 + up].shape[0]
    y = (*x[0].shape[:-1], outputs)
    return [y, *([(prod(x[0].shape[:-1]), hidden)] * up if keep else [])]


def _mixture_shapes(x: list[Tensor], attributes: dict[str, Any], keep: bool) -> list[Any]:
    rows, (experts, hidden) = prod(x[0].shape[:-1]), x[2].shape[:2]
    assigned = (rows * attributes["top_k"], hidden)
    kept = [(rows, experts), assigned, assigned] if keep else []
    return [x[0].shape, (2, experts), (1,), *kept]


_SHAPES: dict[str, Callable[[list[Tensor], dict[str, Any], bool], list[Any]]] = {
    "feedforward": _layer_shapes,
    "feedforward_block": _block_shapes,
    "mixture_of_experts": _mixture_shapes,
}


# ---- Autograd.


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.name, ctx.attributes, tensors, _ = inputs
    outputs = _outputs(ctx.name)
    ctx.set_materialize_grads(False)
    saved = list(output[outputs:])
    # The output only where the derivative is computed from it.
    kept = list(output[:outputs]) if _reads_output(ctx.name, ctx.attributes) else []
    ctx.counts = len(tensors), len(kept)
    ctx.save_for_backward(*tensors, *kept, *saved)


def _backward(ctx: Any, gradients: list[Tensor | None]) -> Any:
    n, kept = ctx.counts
    tensors = ctx.saved_tensors
    inputs, outputs, saved = tensors[:n], tensors[n : n + kept], tensors[n + kept :]
    need = list(ctx.needs_input_grad[2])
    dy = list(gradients[: _outputs(ctx.name)])
    if torch.is_grad_enabled():
        dx = _differentiable(ctx.name, _read(ctx.attributes), inputs, dy, need)
    else:
        given = [_zeros(ctx, inputs, i) if g is None else g.contiguous() for i, g in enumerate(dy)]
        arguments = (list(inputs), list(outputs), list(saved), given, need)
        dx = iter(_gradients(ctx.name, ctx.attributes, *arguments))
    return None, None, [next(dx) if needed else None for needed in need], None


def _zeros(ctx: Any, inputs: Sequence[Tensor], i: int) -> Tensor:
    """The gradient of output ``i``, on which nothing depends."""
    shapes = _SHAPES[ctx.name](list(inputs), _read(ctx.attributes), False)
    return inputs[0].new_zeros(shapes[i])


_apply.register_autograd(_backward, setup_context=_setup)


# ---- Higher derivatives.


def _differentiable(
    name: str,
    attributes: dict[str, Any],
    inputs: Sequence[Tensor],
    dy: list[Tensor | None],
    need: list[bool],
) -> Any:
    """The gradients as functions of inputs and dy that PyTorch differentiates again."""
    if name not in _EQUATIONS:
        raise RuntimeError(
            f"{name} of feedforward has no second derivatives: use create_graph=False"
        )
    # Other tensors of the same values, so that a tensor given twice has two gradients.
    x = [x.view_as(x) for x in inputs]
    y = _EQUATIONS[name](x, attributes)
    wanted = [x for x, needed in zip(x, need, strict=True) if needed]
    return iter(torch.autograd.grad(y, wanted, dy[0], create_graph=True))


@lru_cache(maxsize=64)
def _function(activation: str) -> Callable[[Tensor], Tensor]:
    """An activation in PyTorch, as the library's table of activations states it."""
    expression, attribute = activation_of_torch(activation)
    names: dict[str, Any] = {"torch": torch, "F": functional}
    if attribute is not None:
        names[attribute[0]] = attribute[1]
    function: Callable[[Tensor], Tensor] = eval(f"lambda x: {expression}", names)
    return function


def _layer(x: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    return _function(attributes["activation"])(functional.linear(*x))


def _block(x: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    f = _function(attributes["activation"])
    if attributes["gated"]:
        rows, gate, up, down = x
        return functional.linear(f(functional.linear(rows, gate)) * functional.linear(rows, up), down)
    rows, up, down, *biases = x
    up_bias, down_bias = biases or (None, None)
    return functional.linear(f(functional.linear(rows, up, up_bias)), down, down_bias)


_EQUATIONS: dict[str, Callable[[list[Tensor], dict[str, Any]], Tensor]] = {
    "feedforward": _layer,
    "feedforward_block": _block,
}
