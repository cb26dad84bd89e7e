"""The operations and layers of Keras, on its JAX backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import in_jax
import keras
import numpy as np
from keras import layers, losses, ops


def version() -> str:
    return f"Keras {keras.__version__}"


def run(f: Callable[..., Any], inputs: Sequence[np.ndarray], dy: np.ndarray | None) -> Any:
    """The value, and the gradient of each float input."""
    floats = next(x.dtype for x in inputs if x.dtype.kind == "f")
    keras.config.set_floatx(floats.name)
    keras.config.set_dtype_policy(floats.name)
    return in_jax.run(f, inputs, dy)


def operation(name: str, **options: Any) -> Callable[..., Any] | None:
    kind, _, rest = name.partition(", ")
    if kind == "linear":
        return partial(_dense, ACTIVATIONS[rest]) if rest in ACTIVATIONS else None
    if kind == "activation":
        return ACTIVATIONS.get(rest)
    return partial(OPERATIONS[kind], **options) if kind in OPERATIONS else None


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": keras.activations.linear,
    "sigmoid": keras.activations.sigmoid,
    "tanh": keras.activations.tanh,
    "relu": keras.activations.relu,
    "leaky_relu": partial(keras.activations.leaky_relu, negative_slope=0.01),
    "relu6": keras.activations.relu6,
    "elu": keras.activations.elu,
    "selu": keras.activations.selu,
    "gelu": keras.activations.gelu,
    "gelu_tanh": partial(keras.activations.gelu, approximate=True),
    "silu": keras.activations.silu,
    "mish": keras.activations.mish,
    "softplus": keras.activations.softplus,
    "hard_sigmoid": keras.activations.hard_sigmoid,
    "hard_swish": keras.activations.hard_silu,
    "squareplus": keras.activations.squareplus,
}


def _called(layer: Any, variables: Sequence[Any], x: Any, state: Any = (), **options: Any) -> Any:
    """A layer with these values of its variables."""
    if not layer.built:
        layer.build(x.shape)
    return layer.stateless_call(list(variables), list(state), x, **options)[0]


def _dense(f: Callable[..., Any], x: Any, w: Any, b: Any) -> Any:
    return _called(layers.Dense(w.shape[0], activation=f), (w.T, b), x)


def _linear(x: Any, w: Any) -> Any:
    return _called(layers.Dense(w.shape[0], use_bias=False), (w.T,), x)


def _attention(q: Any, k: Any, v: Any, heads: int, kv_heads: int, head_dim: int, causal: bool) -> Any:
    q2, k2, v2 = (ops.reshape(x, (*x.shape[:2], -1, head_dim)) for x in (q, k, v))
    k2, v2 = (ops.repeat(x, heads // kv_heads, axis=2) for x in (k2, v2))
    return ops.reshape(ops.dot_product_attention(q2, k2, v2, is_causal=causal), q.shape)


def _batch_norm(x: Any, w: Any, b: Any) -> Any:
    state = (ops.zeros_like(w), ops.ones_like(w))
    return _called(layers.BatchNormalization(epsilon=1e-5), (w, b), x, state, training=True)


def _batch_norm_running(x: Any, w: Any, b: Any, mean: Any, variance: Any) -> Any:
    layer = layers.BatchNormalization(epsilon=1e-5)
    return _called(layer, (w, b), x, (mean, variance), training=False)


def _prelu(x: Any, a: Any) -> Any:
    return _called(layers.PReLU(), (a,), x)


def _cross_entropy(z: Any, t: Any, smoothing: float) -> Any:
    if smoothing == 0:
        return losses.SparseCategoricalCrossentropy(from_logits=True, dtype=z.dtype)(t, z)
    loss = losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, dtype=z.dtype
    )
    return loss(ops.one_hot(t, z.shape[-1], dtype=z.dtype), z)


def _loss(kind: Any, **options: Any) -> Callable[..., Any]:
    return lambda z, t: kind(dtype=z.dtype, **options)(t, z)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "feedforward": lambda x, u, d, c, e: _dense(
        keras.activations.linear, _dense(keras.activations.gelu, x, u, c), d, e
    ),
    "gated_feedforward": lambda x, g, u, d: _linear(ops.silu(_linear(x, g)) * _linear(x, u), d),
    "attention": _attention,
    "embedding": lambda ids, w: _called(layers.Embedding(*w.shape), (w,), ids),
    "rms_norm": lambda x, w: _called(layers.RMSNormalization(epsilon=1e-6), (w,), x),
    "layer_norm": lambda x, w, b: _called(layers.LayerNormalization(epsilon=1e-5), (w, b), x),
    "batch_norm": _batch_norm,
    "batch_norm_running": _batch_norm_running,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "prelu": _prelu,
    "add": ops.add,
    "mul": ops.multiply,
    "scale": lambda x: _called(layers.Rescaling(0.7), (), x),
    "concat": lambda *x: layers.Concatenate()(list(x)),
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy_with_logits": _loss(losses.BinaryCrossentropy, from_logits=True),
    "mse": _loss(losses.MeanSquaredError),
    "mae": _loss(losses.MeanAbsoluteError),
    "huber": _loss(losses.Huber),
}
