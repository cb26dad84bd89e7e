"""Computes values and gradients of every case with JAX, in f64.

    cargo run -p ff-testkit --example fixture_inputs inputs.safetensors
    python crates/testkit/scripts/jax_fixtures.py inputs.safetensors
"""

import jax
import jax.numpy as jnp
import numpy as np

from common import main

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_default_matmul_precision", "highest")


def activation(a, x):
    match a.name:
        case "Identity":
            return x
        case "Sigmoid":
            return jax.nn.sigmoid(x)
        case "Tanh":
            return jnp.tanh(x)
        case "Relu":
            return jax.nn.relu(x)
        case "LeakyRelu":
            return jax.nn.leaky_relu(x, a.slope)
        case "Elu":
            return jax.nn.elu(x, a.alpha)
        case "Selu":
            return jax.nn.selu(x)
        case "Gelu":
            return jax.nn.gelu(x, approximate=False)
        case "GeluTanh":
            return jax.nn.gelu(x, approximate=True)
        case "Silu":
            return jax.nn.silu(x)
        case "Mish":
            return jax.nn.mish(x)
        case "Softplus":
            return jax.nn.softplus(x)
        case "HardSigmoid":
            return jax.nn.hard_sigmoid(x)
        case "HardSwish":
            return jax.nn.hard_swish(x)
        case "Relu2":
            return jax.nn.relu(x) ** 2
        case _:
            raise NotImplementedError(a.name)


def feedforward(a, x):
    z = x[0] @ x[1].T
    return [activation(a.activation, z + x[2] if a.bias else z)]


def feedforward_block(a, x):
    weights = x[1 : 3 + a.gated]
    biases = x[3 + a.gated :] if a.bias else [0.0] * len(weights)
    linear = [lambda v, w=w, b=b: v @ w.T + b for w, b in zip(weights, biases)]
    h = activation(a.activation, linear[0](x[0]))
    return [linear[-1](h * linear[1](x[0]) if a.gated else h)]


def prelu(a, x):
    return [jnp.where(x[0] > 0, x[0], x[1] * x[0])]


def dropout(a, x):
    return [x[0] * 1.0] if a.p == 0 else None  # JAX draws other numbers


def batch_norm(a, x):
    z = rows(x[0])
    running = a.statistics.name == "Running"
    mean, variance = x[-2:] if running else (z.mean(0), z.var(0))
    y = (x[0] - mean) / jnp.sqrt(variance + a.eps)
    y = y * x[1] + x[2] if a.affine else y
    return [y] if running else [y, mean, z.var(0, ddof=1)]


def layer_norm(a, x):
    y = jax.nn.standardize(x[0], axis=-1, epsilon=a.eps)
    y = y * x[1] if a.weight else y
    return [y + x[-1] if a.bias else y]


def rms_norm(a, x):
    features = x[1].shape[0] if a.weight else x[0].shape[-1]
    z = x[0].reshape(*x[0].shape[:-1], x[0].shape[-1] // features, features)
    y = z / jnp.sqrt((z**2).mean(-1, keepdims=True) + a.eps)
    return [(y * (x[1] + a.offset) if a.weight else y).reshape(x[0].shape)]


def reduced(a, losses, counts, weights):
    """Rows of losses and of counts, weighted; their sum, or the loss over the count."""
    if losses.size == 0:
        return None
    weights = jnp.ones_like(losses) if weights is None else weights.reshape(losses.shape)
    loss, count = (weights * losses).sum(), jax.lax.stop_gradient((weights * counts).sum())
    if a.reduction.name == "Mean":
        loss = loss / count
    return [loss.reshape(1), count.reshape(1)]


def rows(x):
    return x.reshape(-1, x.shape[-1])


def sample_weights(x):
    return x[2] if len(x) > 2 else None


def elementwise(loss):
    """A loss between each output and its target; the count of a row is its number of outputs."""

    def handler(a, x):
        values = rows(loss(a, x[0], x[1].reshape(x[0].shape).astype(x[0].dtype))).sum(-1)
        return reduced(a, values, jnp.full_like(values, x[0].shape[-1]), sample_weights(x))

    return handler


def bce(a, z, t):
    weight = 1.0 if a.positive_weight is None else jnp.array(a.positive_weight)
    t = (1 - a.label_smoothing) * t + a.label_smoothing / 2
    return -weight * t * jax.nn.log_sigmoid(z) - (1 - t) * jax.nn.log_sigmoid(-z)


def binary_focal(a, z, t):
    p = jax.nn.sigmoid(z)
    ce = -t * jax.nn.log_sigmoid(z) - (1 - t) * jax.nn.log_sigmoid(-z)
    loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** a.gamma
    return loss if a.alpha is None else (a.alpha * t + (1 - a.alpha) * (1 - t)) * loss


def huber(a, x, t):
    d = jnp.abs(x - t)
    return jnp.where(d <= a.loss.delta, 0.5 * d**2, a.loss.delta * (d - 0.5 * a.loss.delta))


def softmax_cross_entropy(a, x):
    z = rows(x[0])
    w = jnp.ones(z.shape[-1]) if a.class_weights is None else jnp.array(a.class_weights)
    if jnp.issubdtype(x[1].dtype, jnp.floating):
        t, counts = rows(x[1]), jnp.ones(z.shape[0])
    else:
        index = x[1].reshape(-1)
        t, counts = jax.nn.one_hot(index, z.shape[-1]), w[jnp.maximum(index, 0)]
        used = index != a.ignore_index
        counts = jnp.where(used, counts, 0.0)
    t = w * ((1 - a.label_smoothing) * t + a.label_smoothing / z.shape[-1])
    losses = -(t * jax.nn.log_softmax(z)).sum(-1)
    if not jnp.issubdtype(x[1].dtype, jnp.floating):
        losses = jnp.where(used, losses, 0.0)
    return reduced(a, losses, counts, sample_weights(x))


def focal(a, x):
    z, t = rows(x[0]), x[1].reshape(-1)
    if z.shape[-1] == 1:
        return None
    log_p = jnp.take_along_axis(jax.nn.log_softmax(z), jnp.maximum(t, 0)[:, None], 1)[:, 0]
    losses = -((1 - jnp.exp(log_p)) ** a.gamma) * log_p
    if a.alpha is not None:
        losses = jnp.array(a.alpha)[jnp.maximum(t, 0)] * losses
    used = t != a.ignore_index
    return reduced(a, jnp.where(used, losses, 0.0), jnp.where(used, 1.0, 0.0), sample_weights(x))


def kl_divergence(a, x):
    z, t = rows(x[0]), rows(x[1])
    losses = (t * (jnp.log(t) - jax.nn.log_softmax(z))).sum(-1)
    return reduced(a, losses, jnp.ones_like(losses), sample_weights(x))


HANDLERS = {
    "activation": lambda a, x: [activation(a.activation, x[0])],
    "add": lambda a, x: [x[0] + x[1]],
    "batch_norm": batch_norm,
    "concat": lambda a, x: [jnp.concatenate(x, -1)],
    "dropout": dropout,
    "embedding": lambda a, x: [x[1][x[0]]],
    "feedforward": feedforward,
    "feedforward_block": feedforward_block,
    "layer_norm": layer_norm,
    "log_softmax": lambda a, x: [jax.nn.log_softmax(x[0])],
    "mul": lambda a, x: [x[0] * x[1]],
    "pool_tokens": lambda a, x: [x[0].mean(1) if a.mean else x[0][:, 0]],
    "prelu": prelu,
    "rms_norm": rms_norm,
    "scale": lambda a, x: [a.factor * x[0]],
    "scale_rows": lambda a, x: [x[0] * x[1]],
    "split": lambda a, x: jnp.split(x[0], jnp.cumsum(jnp.array(a.widths))[:-1].tolist(), -1),
    "soft_cap": lambda a, x: [a.cap * jnp.tanh(x[0] / a.cap)],
    "softmax": lambda a, x: [jax.nn.softmax(x[0])],
    "binary_cross_entropy_with_logits": elementwise(bce),
    "binary_focal": elementwise(binary_focal),
    "focal": focal,
    "huber": elementwise(huber),
    "kl_divergence": kl_divergence,
    "mae": elementwise(lambda a, x, t: jnp.abs(x - t)),
    "mse": elementwise(lambda a, x, t: (x - t) ** 2),
    "softmax_cross_entropy": softmax_cross_entropy,
}


def compute(handler, case):
    x = [jnp.asarray(x) for x in case.x]
    wanted = [i for i, grad in enumerate(case.grad) if grad]
    try:
        if handler(case.attributes, x) is None:
            return None
    except NotImplementedError:  # an activation missing in JAX
        return None

    def outputs(values):
        inputs = list(x)
        for i, value in zip(wanted, values):
            inputs[i] = value
        return handler(case.attributes, inputs)

    y, pullback = jax.vjp(outputs, [x[i] for i in wanted])
    dy = [jnp.asarray(case.dy[j]) if j in case.dy else jnp.zeros_like(y) for j, y in enumerate(y)]
    gradients = [None] * len(x)
    for i, dx in zip(wanted, pullback(dy)[0]):
        gradients[i] = np.asarray(dx)
    return [np.asarray(y) for y in y], gradients


if __name__ == "__main__":
    main(f"jax {jax.__version__}", "jax", HANDLERS, compute)
