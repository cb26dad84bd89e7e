"""Writes the results of this CPU family from the lines measured by compare.sh: medians over rounds, ratios, shares of
the peak, targets. Other families' results stay as they are; RESULTS.md lists them all.

Usage: results.py LINES. Needs nothing but Python.
"""

import datetime
import json
import pathlib
import statistics
import subprocess
import sys

from common import LANGUAGE_MODELS

LINES = pathlib.Path(sys.argv[1])
BENCH = pathlib.Path(__file__).parent.parent
PEERS = [
    ("torch", "PyTorch"),
    ("torch-compile", "PyTorch compiled"),
    ("jax", "JAX"),
    ("keras", "Keras fit"),
    ("keras-xla", "Keras fit, XLA"),
    ("sklearn", "scikit-learn"),
    ("burn", "burn"),
    ("candle", "candle"),
]
DIGITS, MNIST, TAB = "digits-64-128-10", "mnist-784-512-256-10", "tab-50-256-256-2"
# The target ratio to the best peer, and the target share of the peak.
TARGETS = {
    f"train/{DIGITS}-b64": (3.0, None),
    f"train/{MNIST}-b128": (1.75, 0.60),
    f"train/{TAB}-b256": (1.75, 0.50),
    f"infer1/{DIGITS}": (8.0, None),
    f"infer1/{MNIST}": (2.5, None),
    f"infer1/{TAB}": (5.0, None),
    "ffn-f32/gpt2": (1.05, 0.85),
    "ffn-f32/llama": (1.05, 0.85),
    "ffn-bf16/gpt2": (1.05, 0.80),
    "ffn-bf16/llama": (1.05, 0.80),
    "lm-f32/gpt2-4x128": (2.2, None),
    "lm-f32/gpt2-6x384": (1.6, None),
    "lm-f32/gpt2-124m": (2.2, None),
    "lm-bf16/gpt2-4x128": (2.5, None),
    "lm-bf16/gpt2-6x384": (1.5, None),
    "lm-bf16/gpt2-124m": (1.5, None),
}
NETWORKS = [DIGITS, MNIST, TAB]
# Operations of the blocks' products, for works that only peers have: tokens, width, hidden width,
# matrices.
BLOCKS = {"gpt2": (1024, 768, 3072, 2), "llama": (512, 2048, 5632, 3)}


def read(pattern):
    for path in sorted(LINES.glob(pattern)):
        for line in path.read_text().splitlines():
            if line.startswith("{"):
                yield path.name.split("@")[0], json.loads(line)


def median_of(pattern, key):
    """The median of a key over all rounds, by peer and work."""
    found = {}
    for peer, line in read(pattern):
        if "work" in line and line.get(key) is not None:
            found.setdefault((peer, line["work"]), []).append(line[key])
    return {place: statistics.median(values) for place, values in found.items()}


US = median_of("*@*.jsonl", "us")
SHARE = median_of("ours@*.jsonl", "peak_share")
FLOPS = median_of("ours@*.jsonl", "flops")
ALLOCATED = median_of("ours@*.jsonl", "bytes_per_step")


def flops(work):
    family, name = work.split("/")
    if family.startswith("gemm-"):
        m, n, k = map(int, name.split("x"))
        return 2 * m * n * k
    if family.startswith("ffn-"):
        tokens, width, hidden, matrices = BLOCKS[name]
        return 3 * 2 * tokens * width * hidden * matrices
    return FLOPS.get(("ours", work))


def us(peer, work):
    return US.get((peer, work))


def number(value, digits=3):
    """A number with some significant digits, without an exponent."""
    if value is None:
        return "–"
    if value >= 10**digits:
        return f"{value:,.0f}"
    shown = f"{value:#.{digits}g}"
    return shown[:-1] if shown.endswith(".") else shown


def verdict(met):
    return "–" if met is None else "yes" if met else "**no**"


def best_peer(work, peers=PEERS):
    times = [(us(peer, work), name) for peer, name in peers if us(peer, work)]
    return min(times) if times else (None, "–")


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def judged(works, unit="µs"):
    """Ours beside the best peer, with the targets."""
    if not any(us("ours", work) for work in works):
        return ""
    rows = []
    for work in works:
        mine, (theirs, name) = us("ours", work), best_peer(work)
        shown = (lambda t: t) if unit == "µs" else (lambda t: t and flops(work) / t / 1e3)
        ratio = theirs / mine if mine and theirs else None
        share = SHARE.get(("ours", work))
        times, least = TARGETS.get(work, (None, None))
        goal = [] if times is None else [f"≥ {times:g}×"] + ([] if least is None else [f"≥ {least:.0%}"])
        fast = None if ratio is None or times is None else ratio >= times
        full = None if share is None or least is None else share >= least
        met = None if fast is None else fast and full is not False
        rows.append([
            f"`{work}`",
            number(shown(mine)) if mine else "not measured",
            f"{number(shown(theirs))} ({name})" if theirs else "–",
            f"{ratio:.2f}×" if ratio else "–",
            f"{share:.0%}" if share else "–",
            ", ".join(goal) or "–",
            verdict(met),
        ])
    return table(["work", f"ours, {unit}", "best peer", "ratio", "of the peak", "target", "met"], rows)


def everybody(works):
    peers = [(key, name) for key, name in [("ours", "ours"), *PEERS, ("onnx", "ONNX Runtime")] if any(us(key, w) for w in works)]
    if not peers:
        return "Not measured in this run."
    rows = [[f"`{work}`"] + [number(us(peer, work)) for peer, _ in peers] for work in works]
    return table(["work, µs"] + [name for _, name in peers], rows)


def onnx(rows):
    out = []
    for network in NETWORKS:
        work, empty = f"infer{rows}/{network}", f"empty{rows}/{network}"
        found = [us(peer, w) for peer in ("ours", "onnx") for w in (work, empty)]
        if None in found:
            continue
        mine, theirs = found[0] - found[1], found[2] - found[3]
        met = verdict(mine <= theirs) if rows == 1 else "–"
        out.append([f"`{work}`", number(found[0]), number(found[1]), number(mine), number(found[2]), number(found[3]), number(theirs), f"{theirs / mine:.2f}×", met])
    head = ["work", "ours, µs", "empty", "net", "ONNX Runtime", "empty", "net", "ratio of the nets", "no slower"]
    return table(head, out) if out else ""


def state_bytes(work):
    """The bytes of a language model's parameters, gradients and AdamW's two moments in f32, which every peer holds."""
    for name, vocabulary, layers, _, width, context, _ in LANGUAGE_MODELS:
        if work.endswith(f"/{name}"):
            return 16 * ((vocabulary + context + 2) * width + layers * (12 * width + 13) * width)
    return None


def memory(language):
    found = median_of("memory-*@*.jsonl", "resident_bytes")
    mib = lambda b: "–" if b is None else f"{b / 2**20:.1f}"
    rows = []
    for work in sorted({work for _, work in found if (state_bytes(work) is not None) == language}):
        state = state_bytes(work) or 0
        both = [found.get((peer, work)) for peer in ("memory-ours", "memory-torch")]
        mine, torch = (b and b - state for b in both)
        share = mine / torch if mine and torch else None
        row = [f"`{work}`", *map(mib, both), *([mib(state), mib(mine), mib(torch)] if language else [])]
        rows.append([*row, f"{share:.2f}" if share else "–", "≤ 0.5", verdict(None if share is None else share <= 0.5)])
    head = ["work", "ours, MiB", "PyTorch, MiB", *(["16 bytes a parameter", "ours above", "PyTorch above"] if language else [])]
    return table([*head, "ours / PyTorch", "target", "met"], rows) if rows else ""


def end_to_end():
    lines = [line for _, line in read("end-to-end@*.jsonl")]
    if not lines:
        return ""
    keys = list(dict.fromkeys(key for line in lines for key in line))
    return table(keys, [[str(line.get(key, "–")) for key in keys] for line in lines])


def command_lines():
    path = LINES / "commands.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lscpu():
    text = subprocess.run(["lscpu"], capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout
    return {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in text.splitlines() if ":" in line)}


def family():
    """The key of a family's results: vendor, family and model, as in `ff_tensor::processor_id`."""
    found = lscpu()
    return "-".join(found.get(key, "unknown") for key in ("Vendor ID", "CPU family", "Model"))


def processor():
    wanted = ("Vendor ID", "Model name", "CPU family", "Model", "Stepping", "CPU(s)", "L1d cache", "L2 cache", "L3 cache", "Hypervisor vendor")
    found = lscpu()
    return "; ".join(f"{key} {found[key]}" for key in wanted if key in found)


def index():
    """One line per family, read from the heads of their files."""
    rows = []
    for path in sorted((BENCH / "results").glob("*.md")):
        if path.stem.endswith("-scaling"):
            continue
        head = path.read_text().split("\n## ")[0].splitlines()
        found = dict(line[2:].split(": ", 1) for line in head if line.startswith("- ") and ": " in line)
        scaling = path.with_name(f"{path.stem}-scaling.md")
        growth = f"[by size and threads](results/{scaling.name})" if scaling.exists() else "–"
        said = found.get("peak, measured in the same runs", "–")
        rows.append([f"[{path.stem}](results/{path.name})", found.get("date", "–").split(";")[0], found.get("threads", "–"), said, growth])
    return "\n\n".join([
        "# feedforward and its peers on the same works",
        "One file for each processor family that was measured, written by `bench/compare.sh`; [README.md](README.md) says how each figure is "
        "measured and what falls short.",
        table(["vendor-family-model", "measured", "threads, kernels", "peak", "how cost grows"], rows),
    ])


def versions():
    found = {}
    for _, line in read("versions.jsonl"):
        found.update(line.get("versions", {}))
    lock = pathlib.Path(__file__).parent / "rust" / "Cargo.lock"
    name = None
    for line in lock.read_text().splitlines() if lock.exists() else []:
        key, _, value = line.partition(" = ")
        if key == "name":
            name = value.strip('"')
        elif key == "version" and name in ("burn", "candle-core"):
            found[name] = value.strip('"')
    return ", ".join(f"{name} {version}" for name, version in found.items())


def git(*arguments):
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()


def settled():
    took = sorted(line["core_to_core_ns"] for _, line in read("settled.jsonl"))
    if not took:
        return "–"
    return f"{statistics.median(took):.0f} ns ({took[0]:.0f} to {took[-1]:.0f})"


def rustc():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()


def main():
    peaks = [line for _, line in read("ours@*.jsonl") if "peak_f32_gflops" in line]
    peak = lambda key: statistics.median(line[key] for line in peaks) if peaks and peaks[0].get(key) else None
    f32, bf16 = peak("peak_f32_gflops"), peak("peak_bf16_gflops")
    calls = command_lines()
    dirty = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", "crates", "bench/src") else ""
    rounds = {peer: len(list(LINES.glob(f"{peer}@*.jsonl"))) for peer, _ in [("ours", ""), *PEERS, ("onnx", "")]}
    training = [f"train/{DIGITS}-b64", f"train/{MNIST}-b128", f"train/{TAB}-b256"]
    one, many = ([f"infer{rows}/{network}" for network in NETWORKS] for rows in (1, 32))
    blocks = ["ffn-f32/gpt2", "ffn-f32/llama", "ffn-bf16/gpt2", "ffn-bf16/llama"]
    sizes = ["512x512x512", "1024x3072x768", "2048x2048x2048"]
    products = [f"{kind}/{size}" for kind in ("gemm-nt", "gemm-bf16-nt") for size in sizes]
    shapes = ["gpt2-b4-t64", "small-b4-t256", "chars-b12-t64", "gpt2-b1-t1024"]
    attention = [f"attention-{kind}/{shape}" for kind in ("f32", "bf16") for shape in shapes] + ["attention-step/gpt2-t1024"]
    heads = [f"head-{kind}/{name}" for kind in ("f32", "bf16") for name in ("characters", "small", "gpt2")]
    models = [f"lm-{kind}/gpt2-{size}" for kind in ("f32", "bf16") for size in ("4x128", "6x384", "124m")]
    out = [
        f"# feedforward and its peers on {family()}",
        "Written by `bench/compare.sh`; [README.md](../README.md) says how each figure is measured.",
        "\n".join([
            f"- date: {datetime.date.today()}; commit {git('rev-parse', '--short', 'HEAD')}{dirty}; {rustc()}",
            f"- processor: {processor()}",
            f"- threads: {', '.join(sorted({str(call['threads']) for call in calls})) or '–'}; kernels: {peaks[0]['isa'] if peaks else '–'}",
            f"- peak, measured in the same runs: f32 {number(f32)} GFLOP/s, bf16 {number(bf16)} GFLOP/s",
            f"- a cache line from core to core when a turn began: {settled()}",
            f"- peers: {versions() or '–'}",
            f"- turns of each: {', '.join(f'{peer} {count}' for peer, count in rounds.items() if count) or 'none'}",
            f"- commands: {'; '.join('`' + call['command'] + '`' for call in calls)}",
        ]),
        "## Training steps",
        "Forward, loss, backward and Adam on a batch in memory.",
        judged(training),
        everybody(training),
        "## One row",
        judged(one),
        "Beside ONNX Runtime, each less what a call of it costs that computes nothing:",
        onnx(1),
        everybody(one),
        "## 32 rows",
        judged(many),
        onnx(32),
        everybody(many),
        "## Products",
        "C = A · Bᵀ, in f32, and in bf16 with A, B and C in bf16.",
        judged(products, "GFLOP/s"),
        "## Feedforward blocks",
        "Forward and backward, with the gradient of the input, and gradients of weights added to those that are there.",
        judged(blocks, "GFLOP/s"),
        everybody(blocks),
        "## Attention",
        "Causal, q, k and v in one tensor, forward and backward; FLOP of the pairs that see each other, in seven products. Then a step of generation.",
        judged(attention, "GFLOP/s"),
        everybody(attention),
        "## The output head",
        "The last layer of a language model with softmax cross-entropy, forward and backward; the gradient of the weight is added to the one that is there.",
        judged(heads, "GFLOP/s"),
        everybody(heads),
        "## Language models",
        "A training step of GPT-2 with AdamW and clipping.",
        judged(models, "GFLOP/s"),
        everybody(models),
    ]
    allocated = [(work, ALLOCATED.get(("ours", work))) for work in training if ALLOCATED.get(("ours", work)) is not None]
    if allocated:
        said = ", ".join(f"`{work}` {bytes:.1f}" for work, bytes in allocated)
        out.append(f"Bytes that a training step asks of the system, averaged with the ends of epochs, whose records grow: {said}.")
    sections = [
        ("## Memory that training adds", memory(language=False)),
        ("## Memory of language models above 16 bytes a parameter", memory(language=True)),
        ("## End to end", end_to_end()),
    ]
    for title, body in sections:
        out += [title, body or "Not measured in this run."]
    published = [BENCH / "results" / f"{family()}-{name}.txt" for name in ("generation", "finetuning")]
    published = [f"```\n{path.read_text().strip()}\n```" for path in published if path.exists()]
    if published:
        out += ["## A published model", "SmolLM2-135M beside llama.cpp, and beside PyTorch and PEFT.", *published]
    scaling = BENCH / "results" / f"{family()}-scaling.md"
    if scaling.exists():
        out += ["## How cost grows", f"[By size and by threads]({scaling.name}), written by `bench/compare.sh --peers scaling`."]
    (BENCH / "results" / f"{family()}.md").write_text("\n\n".join(part.strip("\n") for part in out if part) + "\n")
    (BENCH / "RESULTS.md").write_text(index())


main()
