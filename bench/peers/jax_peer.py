"""JAX: the whole step in one jit with its state donated; steps are dispatched ahead and awaited at the end of a block.

An inference is waited for at each call.
"""

import common

args = common.arguments()

import jax
import jax.numpy as jnp
import numpy as np

if args.versions:
    common.versions(jax=jax.__version__, jaxlib=jax.lib.__version__)
    raise SystemExit

rng = np.random.default_rng(0)


def normal(*shape, dtype=np.float32, scale=1.0):
    return jnp.asarray(scale * rng.standard_normal(shape), dtype=dtype)


def network(widths):
    return [(normal(a, b, scale=(2 / a) ** 0.5), jnp.zeros(b)) for a, b in zip(widths, widths[1:])]


def forward(params, x):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def cross_entropy(params, x, y):
    logits = forward(params, x)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


def adam(params, grads, m, v, t, lr=common.LEARNING_RATE, b1=0.9, b2=0.999, eps=1e-8):
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    c1, c2 = 1 - b1**t, 1 - b2**t
    params = jax.tree.map(lambda p, m, v: p - lr * (m / c1) / (jnp.sqrt(v / c2) + eps), params, m, v)
    return params, m, v


def train(widths, batch):
    def make():
        params = network(widths)
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        state = [params, zeros(), zeros(), jnp.float32(0)]
        x, y = normal(batch, widths[0]), jnp.asarray(rng.integers(0, widths[-1], batch))

        def step(params, m, v, t, x, y):
            loss, grads = jax.value_and_grad(cross_entropy)(params, x, y)
            t = t + 1
            return *adam(params, grads, m, v, t), t, loss

        step = jax.jit(step, donate_argnums=(0, 1, 2, 3))

        def run(steps):
            nonlocal state
            for _ in range(steps):
                *state, loss = step(*state, x, y)
            loss.block_until_ready()

        return run

    return make


def infer(widths, rows):
    def make():
        params, x = network(widths), normal(rows, widths[0])
        # The weights are constants of the compiled program, which saves passing them.
        predict = jax.jit(lambda x: forward(params, x))

        def run(steps):
            for _ in range(steps):
                predict(x).block_until_ready()

        return run

    return make


def ffn(tokens, width, hidden, gated, dtype):
    def make():
        shapes = [(width, hidden), (width, hidden), (hidden, width)] if gated else [(width, hidden), (hidden, width)]
        params = [normal(*shape, dtype=dtype, scale=0.02) for shape in shapes]
        if not gated:
            params += [jnp.zeros(hidden, dtype), jnp.zeros(width, dtype)]
        x, dy = normal(tokens, width, dtype=dtype), jnp.ones((tokens, width), dtype)

        def block(params, x):
            if gated:
                gate, up, down = params
                return (jax.nn.silu(x @ gate) * (x @ up)) @ down
            first, second, b1, b2 = params
            return jax.nn.gelu(x @ first + b1, approximate=False) @ second + b2

        def step(grads, params, x, dy):
            y, back = jax.vjp(block, params, x)
            dparams, dx = back(dy)
            return jax.tree.map(jnp.add, grads, dparams), dx, y

        step = jax.jit(step, donate_argnums=(0,))
        grads = jax.tree.map(jnp.zeros_like, params)

        def run(steps):
            nonlocal grads
            for _ in range(steps):
                grads, dx, y = step(grads, params, x, dy)
            jax.block_until_ready((grads, dx, y))

        return run

    return make


works = [(f"train/{name}-b{batch}", train(widths, batch)) for name, widths, batch in common.NETWORKS]
for rows in (1, 32):
    works += [(f"infer{rows}/{name}", infer(widths, rows)) for name, widths, _ in common.NETWORKS]
for kind, dtype in (("f32", jnp.float32), ("bf16", jnp.bfloat16)):
    works += [(f"ffn-{kind}/{name}", ffn(*block, dtype)) for name, *block in common.BLOCKS]
common.main(args, works)
