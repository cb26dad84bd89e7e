"""The losses of recipes/shakespeare.toml, step by step, beside PyTorch's from the same weights and batches.

    cargo build --release -p ff-cli
    python crates/testkit/scripts/shakespeare_curve.py input.txt [--seed 1337] [--f64]

The program gives the weights it begins with (a step at rate 0 writes them as a model) and its loss at every step (it
evaluates after each; windows do not depend on that). Everything else is done here once more: characters become ids,
windows are drawn from the seed, and `transformers`' GPT2LMHeadModel learns them in f32 with the recipe's AdamW, clipping
and rates. `--f64` trains it in f64 too, which tells how much of a difference is rounding.
"""

import argparse
import json
import math
import subprocess
import tempfile
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "recipes" / "shakespeare.toml"
PARTS = [1, 10, 50, 100, 200, 500, 1000, 2000]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "feedforward")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, for a quick look")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="a key of [model.config]")
    parser.add_argument("--f64", action="store_true", help="PyTorch in f64 too")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


# The random numbers of the program's windows: ff_tensor::{Key, Rng}.
U32, U64 = (1 << 32) - 1, (1 << 64) - 1


def mix(z):
    z = (z + 0x9E3779B97F4A7C15) & U64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
    return z ^ (z >> 31)


class Key:
    def __init__(self, value):
        self.value = value

    @classmethod
    def of_seed(cls, seed):
        return cls(mix(seed ^ 0x66656564666F7277))

    def part(self, number):
        turned = (self.value << 23 | self.value >> 41) & U64
        return Key(mix(turned ^ mix(number)))

    def name(self, name):
        number = 0xCBF29CE484222325
        for byte in name.encode():
            number = (number ^ byte) * 0x100000001B3 & U64
        return self.part(number)

    def bits(self, block):
        """64 bits of Philox-4x32-10."""
        counter, key = [block & U32, block >> 32, 0, 0], [self.value & U32, self.value >> 32]
        for _ in range(10):
            a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
            counter = [b >> 32 ^ counter[1] ^ key[0], b & U32, a >> 32 ^ counter[3] ^ key[1], a & U32]
            key = [(key[0] + 0x9E3779B9) & U32, (key[1] + 0xBB67AE85) & U32]
        return counter[0] << 32 | counter[1]

    def below(self, n):
        """The stream's first integer in [0, n), each as likely (Lemire)."""
        block = 0
        while (product := self.bits(block) * n) & U64 < (-n & U64) % n:
            block += 1
        return product >> 64


def window_starts(seed, step, batch, starts):
    key = Key.of_seed(seed).name("augmentation").part(step).part(0).name("window")
    return [key.part(row).below(starts) for row in range(batch)]


def run(args, folder, **sets):
    """Trains the recipe with these overrides; returns the records of the run and its loss on the validation part."""
    sets = {"data.paths": [str(args.text.resolve())], "sample.prompts": [], "train.eval_windows": 1, **sets}
    sets = [f"{key}={json.dumps(value)}" for key, value in sets.items()]
    sets = [part for said in sets + [f"model.config.{key}" for key in args.config] for part in ("--set", said)]
    common = ["--seed", str(args.seed), "--threads", str(args.threads), "--quiet", "--out", str(folder)]
    subprocess.run([args.program, "pretrain", RECIPE, *common, *sets], check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = json.loads((folder / "scores.json").read_text())
    return records, scores[0]["loss"]


def rate(recipe, step, steps):
    lr, low, warmup = recipe["optimizer"]["lr"], recipe["schedule"]["min_lr"], recipe["schedule"]["warmup"]
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return low + (lr - low) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def loss_of(model, ids, starts, context):
    x, y = (torch.stack([ids[s + shift : s + shift + context] for s in starts]) for shift in (0, 1))
    return F.cross_entropy(model(input_ids=x).logits.flatten(0, 1), y.flatten())


def judged(model, ids, context):
    """The mean over all tokens but the first, in adjacent windows; the last one may be shorter."""
    total, last = 0.0, len(ids) - 1
    with torch.no_grad():
        whole = range(0, last - context + 1, context)
        for i in range(0, len(whole), 64):
            starts = whole[i : i + 64]
            total += loss_of(model, ids, starts, context).item() * len(starts) * context
        if rest := last % context:
            total += loss_of(model, ids, [last - rest], rest).item() * rest
    return total / last


def train(folder, recipe, seed, steps, rates, parts, dtype):
    """PyTorch's losses of the steps and its loss on the validation part."""
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)
    model.eval()  # no dropout
    for name, p in model.named_parameters():
        p.requires_grad = not name.endswith(".bias")
    trained = [p for p in model.parameters() if p.requires_grad]
    table = recipe["optimizer"]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": table["weight_decay"]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=table["lr"], betas=table["betas"], eps=1e-8)
    batch, context = recipe["train"]["batch_size"], recipe["train"]["context"]
    ids, valid = parts
    losses = []
    for step in range(steps):
        loss = loss_of(model, ids, window_starts(seed, step, batch, len(ids) - context), context)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, table["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
        losses.append(loss.item())
    return losses, judged(model, valid, context)


def compare(a, b, losses):
    print(f"\n{a} against {b}: |difference| of the losses of steps 1 to n")
    print(f"{'n':>6} {'greatest':>10} {'mean':>10} {'mean difference':>16}")
    differences = [x - y for x, y in zip(losses[a], losses[b])]
    count = len(differences)
    for n in sorted({min(n, count) for n in PARTS}):
        part = differences[:n]
        size = [abs(d) for d in part]
        print(f"{n:>6} {max(size):>10.1e} {sum(size) / n:>10.1e} {sum(part) / n:>16.1e}")


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    recipe = tomllib.loads(RECIPE.read_text())
    steps = args.steps or recipe["train"]["steps"]
    text = args.text.read_text()
    number = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[c] for c in text])
    border = int(len(ids) * (1 - recipe["data"]["valid"]))
    rates = [rate(recipe, step, steps) for step in range(steps)]
    losses, valid = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        begin, whole = Path(folder) / "begin", Path(folder) / "run"
        run(args, begin, **{"train.steps": 1, "optimizer.lr": 0, "schedule.min_lr": 0})
        every = {"train.steps": steps, "train.eval_every": 1, "train.restore_best": False}
        records, valid["feedforward"] = run(args, whole, **every)
        losses["feedforward"] = [record["train_loss"] for record in records]
        assert all(math.isclose(record["lr"], lr, rel_tol=1e-12) for record, lr in zip(records, rates, strict=True))
        kinds = [("PyTorch f32", torch.float32)] + [("PyTorch f64", torch.float64)] * args.f64
        for name, dtype in kinds:
            parts = ids[:border], ids[border:]
            losses[name], valid[name] = train(begin / "model", recipe, args.seed, steps, rates, parts, dtype)
    print(f"PyTorch {torch.__version__}, transformers {transformers.__version__}, seed {args.seed}, {steps} steps")
    names = list(losses)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            compare(a, b, losses)
    print(f"\n{'':<12} {'last 100 steps':>15} {'validation':>11}")
    for name in names:
        last = losses[name][-100:]
        print(f"{name:<12} {sum(last) / len(last):>15.4f} {valid[name]:>11.4f}")


main()
