"""A training step of GPT-2 of `transformers`, as it is and with its MLPs replaced by ours.

    python bench/gpt2_mlps.py            # needs feedforward, torch and transformers

The model has GPT-2's smallest size (768 wide, 12 heads) with LAYERS layers and random weights; a step is the forward pass of
SEQUENCES × TOKENS random tokens, its loss, the backward pass and AdamW, in f32. Both models take turns; the least time counts.
"""

from __future__ import annotations

import copy
import time

import torch
import transformers

import feedforward.torch

LAYERS, SEQUENCES, TOKENS, ROUNDS = 4, 4, 128, 9


def main() -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=LAYERS, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, vocab_size=8192,
        bos_token_id=None, eos_token_id=None, use_cache=False,
    )  # fmt: skip
    original = transformers.GPT2LMHeadModel(config)
    replaced = copy.deepcopy(original)
    feedforward.torch.replace_mlps(replaced)
    ids = torch.randint(config.vocab_size, (SEQUENCES, TOKENS))
    models = {"GPT-2 of transformers": original, "its MLPs replaced by ours": replaced}
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-6) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    losses: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            loss = model(ids, labels=ids).loss
            loss.backward()
            optimizers[name].step()
            times[name].append(time.perf_counter() - start)
            losses[name] = loss.item()
    # MLPs alone, at the same size.
    x = torch.randn(SEQUENCES, TOKENS, config.n_embd, requires_grad=True)
    parts = {name: model.transformer.h[0].mlp for name, model in models.items()}
    alone: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            start = time.perf_counter()
            part(x).sum().backward()
            alone[name].append(time.perf_counter() - start)
    print(f"PyTorch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print("| | step, ms | one MLP, forward and backward, ms | last loss |\n|---|---|---|---|")
    for name in models:
        step, mlp = (1e3 * min(t[1:]) for t in (times[name], alone[name]))
        print(f"| {name} | {step:.0f} | {mlp:.1f} | {losses[name]:.5f} |")


if __name__ == "__main__":
    main()
