"""Computes values and gradients of every case with PyTorch, in f64.

    cargo run -p ff-testkit --example fixture_inputs inputs.safetensors
    python crates/testkit/scripts/torch_fixtures.py inputs.safetensors
"""

import math
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from common import main

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples" / "pytorch"))
from functions import ACTIVATIONS, LOSSES

torch.set_default_dtype(torch.float64)


def row(table, a, *x):
    """The row of a table for an enum variant, with its attribute."""
    return table[re.sub(r"(?<!^)(?=[A-Z])", "_", a.name).lower()](*x, **a.fields)


def activation(a, x):
    return row(ACTIVATIONS, a, x)


def feedforward(a, x):
    return [activation(a.activation, F.linear(x[0], x[1], x[2] if a.bias else None))]


def lora_linear(a, x):
    b = 2 + a.bias
    adapted = x[b + 2] if a.own_input else x[0]
    y = F.linear(x[0], x[1], x[2] if a.bias else None)
    more = a.scale * F.linear(F.linear(adapted, x[b]), x[b + 1])
    return [y + more * x[-1][..., None] if a.masked else y + more]


def dora_factors(a, x):
    # The norm is a constant of the backward pass.
    return [x[0] / torch.linalg.norm(x[1] + a.scale * x[3] @ x[2], dim=1).detach()]


def feedforward_block(a, x):
    weights = x[1 : 3 + a.gated]
    biases = x[3 + a.gated :] if a.bias else [None] * len(weights)
    linear = [lambda v, w=w, b=b: F.linear(v, w, b) for w, b in zip(weights, biases)]
    h = activation(a.activation, linear[0](x[0]))
    return [linear[-1](h * linear[1](x[0]) if a.gated else h)]


def alibi_slopes(heads):
    """As in the authors' code: powers of two, then every second one of twice as many."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes + [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)][: heads - power]


def buckets_of(places, both, count, far):
    """Half of the buckets have a distance each, the others divide its logarithm evenly (Raffel et al., 2020)."""
    half = count // 2 if both else count
    exact = half // 2
    distance = places.abs() if both else (-places).clamp(min=0)
    more = torch.log(distance.float().clamp(min=1) / exact) / math.log(far / exact) * (half - exact)
    bucket = torch.where(distance < exact, distance, (exact + more.long()).clamp(max=half - 1))
    return bucket + half * (places > 0) if both else bucket


def attention(a, x):
    x, sinks = (x[:-1], x[-1]) if a.sinks else (x, None)
    x, table = (x[:-1], x[-1]) if a.distances else (x, None)
    segments = x[1:] if a.fused else x[3:]
    widths = [a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.head_dim]
    parts = x[0].split(widths, -1) if a.fused else x[:3]
    q, k, v = (p.unflatten(-1, (-1, a.head_dim)).transpose(1, 2) for p in parts)
    (T, S), group = (q.shape[2], k.shape[2]), a.heads // a.kv_heads
    if 0 in (q.numel(), k.numel()):
        return None  # PyTorch's kernels reject empty inputs
    at, s = torch.arange(T)[:, None] + S - T, torch.arange(S)[None]
    seen = torch.ones(q.shape[0], 1, T, S, dtype=torch.bool)
    if a.causal:
        seen &= s <= at
    if a.window is not None:
        seen &= at - s < a.window
    if a.ahead is not None:
        seen &= s - at <= a.ahead
    if segments:
        seen &= (segments[0] >= 0)[:, None, None, :]
    if len(segments) == 2:
        seen &= (segments[1][:, :, None] == segments[0][:, None, :])[:, None]
    bias = torch.where(seen, 0.0, -torch.inf)
    if a.alibi:
        bias = bias - torch.tensor(alibi_slopes(a.heads))[:, None, None] * (at - s).abs()
    if a.distances:
        d = a.distances
        bias = bias + table[buckets_of(s - at, d.both, d.count, d.far)].permute(2, 0, 1)
    # A query that sees no key has zeros as its result; until then it sees every key, which avoids
    # NaN.
    some = seen.any(-1, keepdim=True)
    bias = torch.where(some, bias, 0.0)
    if a.sinks or a.soft_cap is not None:
        k, v = (p.repeat_interleave(group, 1) for p in (k, v))
        scores = q @ k.mT * (a.head_dim**-0.5 if a.scale is None else a.scale)
        if a.soft_cap is not None:
            scores = a.soft_cap * torch.tanh(scores / a.soft_cap)
        scores = scores + bias
        if a.sinks:
            scores = torch.cat([scores, sinks[None, :, None, None].expand(*scores.shape[:3], 1)], -1)
        y = scores.softmax(-1)[..., : k.shape[2]] @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=a.scale, enable_gqa=group > 1)
    y = torch.where(some, y, 0.0)
    return [y.transpose(1, 2).flatten(-2)]


def angles_of(a, positions):
    """The angles per position of each sequence."""
    usual = torch.tensor(a.inv_freq)
    if a.long is None:
        return usual

    def own(row):
        count, dim = int(row.max()) + 1, 2 * len(usual)
        if count <= a.long.above:
            return usual
        if a.long.name == "Table":
            return torch.tensor(a.long.inv_freq)
        base = a.long.base * (a.long.factor * count / a.long.above - (a.long.factor - 1)) ** (dim / (dim - 2))
        return base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)

    return torch.stack([own(row) for row in positions])[:, None]


def rotary(a, x):
    x, positions = x
    heads = x.unflatten(-1, (-1, a.head_dim))
    turned, rest = heads[..., : a.rotary_dim], heads[..., a.rotary_dim :]
    angles = positions[..., None] * angles_of(a, positions)
    if a.interleaved:
        pairs = torch.view_as_complex(turned.unflatten(-1, (-1, 2)).contiguous())
        turns = torch.polar(torch.full_like(angles, a.scaling), angles)
        turned = torch.view_as_real(pairs * turns[:, :, None]).flatten(-2)
    else:
        angles = torch.cat([angles, angles], -1)[:, :, None]
        first, second = turned.chunk(2, -1)
        rotated = torch.cat([-second, first], -1)
        turned = (turned * angles.cos() + rotated * angles.sin()) * a.scaling
    return [torch.cat([turned, rest], -1).flatten(-2)]


def mixture_of_experts(a, x):
    """As in Mixtral and Qwen2-MoE of transformers: every expert computes its tokens in turn."""
    x, biases = (x[:-3], x[-3:]) if a.biases else (x, [None] * 3)
    z, router, down = rows(x[0]), x[1], x[-1]
    gate, up = x[2].chunk(2, 1) if a.fused else x[2:4]
    experts = router.shape[0]
    logits = F.linear(z, router, biases[0])
    probabilities = logits.softmax(-1)
    if a.softmax_first:
        weights, chosen = probabilities.topk(a.top_k, dim=-1)
        if a.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
    else:
        weights, chosen = logits.topk(a.top_k, dim=-1)
        weights = weights.softmax(-1)
    y = torch.zeros_like(z)
    for e in range(experts):
        token, place = torch.where(chosen == e)
        part = z[token]
        g, u = F.linear(part, gate[e]), F.linear(part, up[e])
        if a.biases:
            of_gate, of_up = biases[1][e].chunk(2)
            g, u = g + of_gate, u + of_up
        if a.clamp is None:
            h = activation(a.activation, g) * u
        else:
            alpha, limit = a.clamp
            g = g.clamp(max=limit)
            h = (u.clamp(-limit, limit) + 1) * g * torch.sigmoid(alpha * g)
        out = F.linear(h, down[e])
        out = out + biases[2][e] if a.biases else out
        y = y.index_add(0, token, out * weights[token, place, None])
    count = F.one_hot(chosen, experts).to(z.dtype).sum((0, 1))
    z_loss = (torch.logsumexp(logits, -1) ** 2).sum()
    return [y.reshape(x[0].shape), torch.stack([probabilities.sum(0), count]), z_loss.reshape(1)]


def router_balance(a, x):
    """transformers' load_balancing_loss_func, from the sums of its means."""
    (p, c), n = x
    rows = c.sum() / a.top_k
    return [n * len(p) * (c / rows * (p / rows)).sum()]


def prelu(a, x):
    return [F.prelu(rows(x[0]), x[1]).reshape(x[0].shape)]


def attention_dropout(a, x):
    return attention(a.attention, x) if a.p == 0 else None  # PyTorch draws other numbers


def dropout(a, x):
    return [x[0] * 1.0] if a.p == 0 else None  # PyTorch draws other numbers


def batch_norm(a, x):
    z, (weight, bias) = rows(x[0]), x[1:3] if a.affine else (None, None)
    if a.statistics.name == "Running":
        mean, variance = x[-2:]
        y = F.batch_norm(z, mean, variance, weight, bias, eps=a.eps)
        return [y.reshape(x[0].shape)]
    y = F.batch_norm(z, None, None, weight, bias, training=True, eps=a.eps)
    return [y.reshape(x[0].shape), z.mean(0), z.var(0)]


def layer_norm(a, x):
    weight = x[1] if a.weight else None
    bias = x[-1] if a.bias else None
    return [F.layer_norm(x[0], x[0].shape[-1:], weight, bias, a.eps)]


def rms_norm(a, x):
    weight = x[1] + a.offset if a.weight else None
    if a.weight and 0 < x[1].shape[0] < x[0].shape[-1]:
        heads = x[0].unflatten(-1, (-1, x[1].shape[0]))
        return [F.rms_norm(heads, x[1].shape, weight, a.eps).reshape(x[0].shape)]
    return [F.rms_norm(x[0], x[0].shape[-1:], weight, a.eps)]


def reduced(a, losses, counts, weights):
    """Rows of losses and of counts, weighted; their sum, or the loss over the count."""
    if losses.numel() == 0:
        return None  # PyTorch's mean over no rows is NaN, ours 0
    weights = torch.ones_like(losses) if weights is None else weights.reshape(losses.shape)
    loss, count = (weights * losses).sum(), (weights * counts).sum()
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
        values = rows(loss(a, x[0], x[1].reshape(x[0].shape).to(x[0].dtype))).sum(-1)
        return reduced(a, values, torch.full_like(values, x[0].shape[-1]), sample_weights(x))

    return handler


def bce(a, z, t):
    weights = None if a.positive_weight is None else torch.tensor(a.positive_weight)
    t = (1 - a.label_smoothing) * t + a.label_smoothing / 2
    return F.binary_cross_entropy_with_logits(z, t, reduction="none", pos_weight=weights)


def binary_focal(a, z, t):
    """torchvision.ops.sigmoid_focal_loss"""
    p = torch.sigmoid(z)
    ce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** a.gamma
    return loss if a.alpha is None else (a.alpha * t + (1 - a.alpha) * (1 - t)) * loss


def softmax_cross_entropy(a, x):
    z = rows(x[0])
    w = None if a.class_weights is None else torch.tensor(a.class_weights)
    arguments = {"weight": w, "label_smoothing": a.label_smoothing, "reduction": "none"}
    if x[1].is_floating_point():
        losses = F.cross_entropy(z, rows(x[1]), **arguments)
        counts = torch.ones_like(losses)
    else:
        t = x[1].reshape(-1).long()
        losses = F.cross_entropy(z, t, ignore_index=a.ignore_index, **arguments)
        counts = torch.ones_like(losses) if w is None else w[t.clamp(0)]
        counts = torch.where(t == a.ignore_index, 0.0, counts)
    return reduced(a, losses, counts, sample_weights(x))


def linear_cross_entropy(a, x):
    z = F.linear(rows(x[0]), x[1], x[2] if a.bias else None)
    if z.numel() == 0:
        return None
    if a.soft_cap is not None:
        z = a.soft_cap * torch.tanh(z / a.soft_cap)
    t = x[-1].reshape(-1).long()
    part = (t != a.ignore_index).to(z.dtype)
    arguments = {"ignore_index": a.ignore_index, "label_smoothing": a.label_smoothing}
    losses = F.cross_entropy(z, t, reduction="none", **arguments)
    losses = losses + a.z_loss * part * torch.logsumexp(z, -1) ** 2
    return [losses.sum().reshape(1), part.sum().reshape(1)]


def focal(a, x):
    z, t = rows(x[0]), x[1].reshape(-1).long()
    log_p = F.log_softmax(z, -1).gather(1, t.clamp(0)[:, None])[:, 0]
    losses = -((1 - log_p.exp()) ** a.gamma) * log_p
    if a.alpha is not None:
        losses = torch.tensor(a.alpha)[t.clamp(0)] * losses
    counts = torch.where(t == a.ignore_index, 0.0, torch.ones_like(losses))
    if z.shape[-1] == 1:
        return None  # p is 1 and (1 - p)^γ has no derivative in PyTorch
    return reduced(a, torch.where(t == a.ignore_index, 0.0, losses), counts, sample_weights(x))


def kl_divergence(a, x):
    losses = F.kl_div(F.log_softmax(rows(x[0]), -1), rows(x[1]), reduction="none").sum(-1)
    return reduced(a, losses, torch.ones_like(losses), sample_weights(x))


def batch_ensemble(a, x):
    """As `tabm`'s LinearBatchEnsemble: scales before and after a shared product."""
    z, weight, r, s, b = x
    z = z if z.ndim == 3 else z[:, None]
    return [activation(a.activation, (z * r) @ weight.T * s + b)]


def member_linear(a, x):
    z, weight, b = x
    z = z if z.ndim == 3 else z[:, None].expand(-1, len(weight), -1)
    return [torch.einsum("nki,koi->nko", z, weight) + b]


def mean_of_members(a, x):
    if a.mean.name == "Values":
        return [x[0].mean(1)]
    if a.mean.name == "Sigmoid":
        return [torch.logit(torch.sigmoid(x[0]).mean(1))]
    return [torch.log(x[0].softmax(-1).mean(1))]


def piecewise_linear(a, x):
    """The encoding in full, as `rtdl_num_embeddings`' PiecewiseLinearEmbeddings (version B) has it."""
    x, edges, w, b, v = x
    parts, i = [], 0
    for column, bins in enumerate(a.bins):
        z = x[..., column, None]
        if bins == 0:
            parts.append(z)
            continue
        low, high = edges[i, :bins], edges[i, 1 : bins + 1]
        code = (z - low) / (high - low)
        if bins > 1:
            ends = code[..., :1].clamp(max=1), code[..., 1:-1].clamp(0, 1), code[..., -1:].clamp(min=0)
            code = torch.cat(ends, -1)
        parts.append(z * w[i] + b[i] + code @ v[i, :bins])
        i += 1
    return [torch.cat(parts, -1)]


def periodic(a, x):
    """As pytabkit's PLREmbeddingsLayerCosBias (dense) and rtdl_num_embeddings' PeriodicEmbeddings (relu) have it."""
    dense = a.form.name == "Dense"
    x, c, phases, v, b = x if dense else (*x[:2], None, *x[2:])
    parts, i = [], 0
    for column, embedded in enumerate(a.embedded):
        z = x[..., column, None]
        if not embedded:
            parts.append(z)
            continue
        angle = 2 * math.pi * z * c[i]
        waves = torch.cos(angle + phases[i]) if dense else torch.cat([torch.cos(angle), torch.sin(angle)], -1)
        y = waves @ v[i].mT + b[i]
        parts += [y, z] if dense else [torch.relu(y)]
        i += 1
    return [torch.cat(parts, -1)]


def embedding_bag(a, x):
    ids, offsets, j, v, table, b = x
    # Each bag once, then a row for each id.
    y = F.embedding_bag(j, table, offsets, mode="sum", per_sample_weights=v, include_last_offset=True)
    return [(y + b)[ids]]


def preference(a, x):
    """As `trl` computes them: dpo_trainer, cpo_trainer (SimPO), orpo_trainer."""
    chosen, rejected = -x[0], -x[1]
    n, m, chosen_reference, rejected_reference = x[2].T
    chosen_reference, rejected_reference = -chosen_reference, -rejected_reference
    smoothed = lambda z: -F.logsigmoid(z) * (1 - a.label_smoothing) - F.logsigmoid(-z) * a.label_smoothing
    kind = a.kind.name
    if kind == "Dpo":
        losses = smoothed(a.beta * ((chosen - chosen_reference) - (rejected - rejected_reference)))
    elif kind == "Ipo":
        delta = (chosen - chosen_reference) / n - (rejected - rejected_reference) / m
        losses = (delta - 1 / (2 * a.beta)) ** 2
    elif kind == "SimPo":
        losses = smoothed(a.beta * (chosen / n - rejected / m - a.gamma / a.beta))
    else:
        chosen, rejected = chosen / n, rejected / m
        log1mexp = lambda v: torch.log1p(-torch.exp(v))
        odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
        losses = -chosen - a.beta * F.logsigmoid(odds)
    return [losses.sum().reshape(1)]


def in_batch_ranking(a, x):
    """MultipleNegativesRankingLoss of sentence-transformers, times its number of anchors."""
    u = F.normalize(x[0])
    anchors = len(u) // a.columns
    scores = a.scale * u[:anchors] @ u[anchors:].T
    loss = F.cross_entropy(scores, torch.arange(anchors), reduction="sum")
    return [loss.reshape(1), torch.tensor([float(anchors)])]


HANDLERS = {
    "activation": lambda a, x: [activation(a.activation, x[0])],
    "adapted_experts": lambda a, x: [x[0] + a.scale * x[2][:, a.first : a.first + x[0].shape[1]] @ x[1]],
    "add": lambda a, x: [x[0] + x[1]],
    "attention": attention,
    "batch_ensemble": batch_ensemble,
    "batch_norm": batch_norm,
    "concat": lambda a, x: [torch.cat(x, -1)],
    "dora_factors": dora_factors,
    "attention_dropout": attention_dropout,
    "dropout": dropout,
    "embedding": lambda a, x: [F.embedding(x[0], x[1], a.padding)],
    "embedding_bag": embedding_bag,
    "feedforward": feedforward,
    "feedforward_block": feedforward_block,
    "layer_norm": layer_norm,
    "linear_cross_entropy": linear_cross_entropy,
    "log_softmax": lambda a, x: [F.log_softmax(x[0], -1)],
    "mean_of_members": mean_of_members,
    "member_linear": member_linear,
    "mixture_of_experts": mixture_of_experts,
    "mul": lambda a, x: [x[0] * x[1]],
    "parametric_activation": lambda a, x: [x[0] + (activation(a.activation, x[0]) - x[0]) * x[1]],
    "periodic": periodic,
    "piecewise_linear": piecewise_linear,
    "pool_tokens": lambda a, x: [x[0].mean(1) if a.mean else x[0][:, 0]],
    "gate": lambda a, x: [activation(a.activation, x[0]) * x[1]],
    "lora_linear": lora_linear,
    "in_batch_ranking": in_batch_ranking,
    "preference": preference,
    "prelu": prelu,
    "replace_rows": lambda a, x: [x[0].index_copy(0, torch.tensor(a.ids, dtype=torch.long), x[1])],
    "rms_norm": rms_norm,
    "rotary": rotary,
    "router_balance": router_balance,
    "scale": lambda a, x: [a.factor * x[0]],
    "scale_rows": lambda a, x: [x[0] * x[1]],
    "split": lambda a, x: list(x[0].split(a.widths, -1)),
    "soft_cap": lambda a, x: [a.cap * torch.tanh(x[0] / a.cap)],
    "softmax": lambda a, x: [F.softmax(x[0], -1)],
    "binary_cross_entropy_with_logits": elementwise(bce),
    "binary_focal": elementwise(binary_focal),
    "focal": focal,
    "kl_divergence": kl_divergence,
    **{name: elementwise(lambda a, x, t: row(LOSSES, a.loss, x, t)) for name in LOSSES},
    "softmax_cross_entropy": softmax_cross_entropy,
}


def compute(handler, case):
    x = [torch.tensor(x).requires_grad_(grad) for x, grad in zip(case.x, case.grad)]
    outputs = handler(case.attributes, x)
    if outputs is None:
        return None
    loss = sum((outputs[j] * torch.tensor(dy)).sum() for j, dy in case.dy.items())
    wanted = [x for x in x if x.requires_grad]
    gradients = iter(torch.autograd.grad(loss, wanted))
    gradients = [next(gradients).numpy() if x.requires_grad else None for x in x]
    return [y.detach().numpy() for y in outputs], gradients


if __name__ == "__main__":
    main(f"torch {torch.__version__}", "torch", HANDLERS, compute)
