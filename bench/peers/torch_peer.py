"""PyTorch, eager or compiled: fused Adam, gradients set to None, inference mode; compiled inference with frozen weights."""

import common

args = common.arguments(("eager", "compile"))

import torch
from torch import nn
from torch.nn import functional as F

if args.versions:
    common.versions(torch=torch.__version__)
    raise SystemExit

torch.set_num_threads(args.threads)
torch.manual_seed(0)
COMPILE = args.variant == "compile"


def compiled(f):
    return torch.compile(f) if COMPILE else f


def network(widths):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers.append(nn.Linear(a, b))
        if i + 2 < len(widths):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def train(widths, batch):
    def make():
        model = network(widths)
        optimizer = torch.optim.Adam(model.parameters(), lr=common.LEARNING_RATE, fused=True)
        x = torch.randn(batch, widths[0])
        y = torch.randint(0, widths[-1], (batch,))
        loss = compiled(lambda x, y: F.cross_entropy(model(x), y))

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss(x, y).backward()
            optimizer.step()

        return common.repeat(step)

    return make


def infer(widths, rows):
    def make():
        if COMPILE:
            import torch._inductor.config as inductor

            inductor.freezing = True
        torch._dynamo.reset()
        model = compiled(network(widths).eval())
        x = torch.randn(rows, widths[0])

        def run(steps):
            with torch.inference_mode():
                for _ in range(steps):
                    model(x)

        return run

    return make


class Gated(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def ffn(tokens, width, hidden, gated, dtype):
    def make():
        if gated:
            model = Gated(width, hidden)
        else:
            model = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        model = compiled(model.to(dtype))
        x = torch.randn(tokens, width, dtype=dtype, requires_grad=True)
        dy = torch.ones(tokens, width, dtype=dtype)

        def step():
            # Gradients of weights accumulate over steps; that of the input is new in each step.
            x.grad = None
            model(x).backward(dy)

        return common.repeat(step)

    return make


def product(m, n, k, dtype):
    def make():
        a, b, c = (torch.randn(*shape, dtype=dtype) for shape in ((m, k), (n, k), (m, n)))

        def run(steps):
            with torch.inference_mode():
                for _ in range(steps):
                    torch.mm(a, b.t(), out=c)

        return run

    return make


def attention(batch, length, heads, dim, dtype):
    def make():
        attend = compiled(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
        qkv = torch.randn(batch, length, 3 * heads * dim, dtype=dtype, requires_grad=True)
        dy = torch.ones(batch, length, heads * dim, dtype=dtype)

        def step():
            qkv.grad = None
            q, k, v = (x.unflatten(-1, (heads, dim)).transpose(1, 2) for x in qkv.split(heads * dim, -1))
            attend(q, k, v).transpose(1, 2).flatten(-2).backward(dy)

        return common.repeat(step)

    return make


def head(tokens, width, classes, dtype):
    def make():
        weight = nn.Parameter((0.02 * torch.randn(classes, width)).to(dtype))
        loss = compiled(lambda x, y: F.cross_entropy(F.linear(x, weight).float(), y))
        x = torch.randn(tokens, width, dtype=dtype, requires_grad=True)
        y = torch.arange(tokens) * 7919 % classes

        def step():
            # As in blocks, the gradient of the weight accumulates.
            x.grad = None
            loss(x, y).backward()

        return common.repeat(step)

    return make


def attention_step(length, heads, dim):
    def make():
        q, k, v = (torch.randn(1, heads, n, dim) for n in (1, length, length))

        def run(steps):
            with torch.inference_mode():
                for _ in range(steps):
                    F.scaled_dot_product_attention(q, k, v)

        return run

    return make


def language_model(vocabulary, layers, heads, width, context, batch, dtype):
    def make():
        # Needed only by these works.
        import contextlib

        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=vocabulary,
            n_positions=context,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = compiled(GPT2LMHeadModel(config).train())
        optimizer = torch.optim.AdamW(model.parameters(), lr=common.LEARNING_RATE, fused=True)
        ids = torch.randint(0, vocabulary, (batch, context))
        narrow = dtype == torch.bfloat16
        cast = torch.autocast("cpu", dtype=dtype) if narrow else contextlib.nullcontext()

        def step():
            optimizer.zero_grad(set_to_none=True)
            with cast:
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return common.repeat(step)

    return make


works = [(f"train/{name}-b{batch}", train(widths, batch)) for name, widths, batch in common.NETWORKS]
for rows in (1, 32):
    works += [(f"infer{rows}/{name}", infer(widths, rows)) for name, widths, _ in common.NETWORKS]
for kind, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
    layout = "nt" if kind == "f32" else "bf16-nt"
    works += [(f"gemm-{layout}/{'x'.join(map(str, size))}", product(*size, dtype)) for size in common.PRODUCTS]
    works += [(f"ffn-{kind}/{name}", ffn(*block, dtype)) for name, *block in common.BLOCKS]
    works += [(f"attention-{kind}/{name}", attention(*shape, dtype)) for name, *shape in common.ATTENTION]
    works += [(f"head-{kind}/{name}", head(*sizes, dtype)) for name, *sizes in common.HEADS]
    works += [
        (f"lm-{kind}/{name}", language_model(*model, dtype))
        for name, *model in common.LANGUAGE_MODELS
    ]
works.append(("attention-step/gpt2-t1024", attention_step(1024, 12, 64)))


def imports(work):
    train((2, 2), 2)()(1)
    ffn(2, 2, 2, False, torch.float32)()(1)
    if work.startswith("lm-"):
        # Also imports transformers, and the imports of bf16 and attention at their first step.
        language_model(2, 1, 1, 2, 2, 1, torch.bfloat16 if "bf16" in work else torch.float32)()(1)


common.main(args, works, imports)
