"""Trains an adapter with PEFT on the steps of a run, from the run's first weights, and compares the losses.

    cargo run --release -p feedforward --example finetune_steps RECIPE start train.steps=1 optimizer.lr=0
    cargo run --release -p feedforward --example finetune_steps RECIPE run
    python crates/testkit/scripts/peft_training.py MODEL FILE start run

RECIPE has `train.packing = false` and `optimizer.weight_decay = 0`. MODEL is a folder of Hugging Face, FILE has Alpaca's
keys, and `curve.json` in the run's folder gets the losses of both.
"""

import json
import resource
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model_folder, data, start, run = sys.argv[1:5]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(model_folder)
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
model = PeftModel.from_pretrained(model, f"{start}/adapter", is_trainable=True).train()


def example(record):
    asked = record["instruction"] + ("\n\n" + record["input"] if record["input"] else "")
    messages = [{"role": "user", "content": asked}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, record["output"] + "<|im_end|>", "\n")]
    labels = [-100] * len(ids[0]) + ids[1] + [-100] * len(ids[2])
    return sum(ids, []), labels


def loss_of(rows, count):
    """The sum of the losses of some examples over `count`."""
    longest = max(len(examples[row][0]) for row in rows)
    padded = lambda values, filler: torch.tensor([v + [filler] * (longest - len(v)) for v in values])
    ids, labels = (padded([examples[row][part] for row in rows], filler) for part, filler in ((0, 0), (1, -100)))
    mask = padded([[1] * len(examples[row][0]) for row in rows], 0)
    tokens[0] += ids.numel()
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    ) / count


def learned(rows):
    return sum(label != -100 for row in rows for label in examples[row][1][1:])


examples = [example(record) for record in json.load(open(data))]
ours = [json.loads(line) for line in open(f"{run}/steps.jsonl")]
passes = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
train = 1 + max(max(step["rows"]) for step in ours)
held_out = sorted(range(train, len(examples)), key=lambda row: len(examples[row][0]))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
tokens, seconds, curve, valid = [0], 0.0, [], []
for number, step in enumerate(ours, 1):
    started = time.time()
    optimizer.zero_grad()
    count, total = learned(step["rows"]), 0.0
    for at in range(0, len(step["rows"]), 4):
        loss = loss_of(step["rows"][at : at + 4], count)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    seconds += time.time() - started
    curve.append({"step": number, "peft": total, "ours": step["loss"]})
    print(f"step {number}: PEFT {total:.6f}, ours {step['loss']:.6f}", flush=True)
    for record in passes:
        if record["step"] == number and held_out:
            trained = tokens[0]
            with torch.no_grad():
                count = learned(held_out)
                parts = [loss_of(held_out[at : at + 4], count).item() for at in range(0, len(held_out), 4)]
            tokens[0] = trained
            valid.append({"step": number, "peft": sum(parts), "ours": record["valid_loss"]})
            print(f"held out: PEFT {sum(parts):.6f}, ours {record['valid_loss']:.6f}", flush=True)
furthest = lambda points: max((abs(point["peft"] - point["ours"]) for point in points), default=0.0)
json.dump({"steps": curve, "held_out": valid}, open(f"{run}/curve.json", "w"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"furthest {furthest(curve):.2e} of {len(curve)} steps, {furthest(valid):.2e} held out", end=" · ")
print(f"{tokens[0] / seconds:.0f} tokens/s · {peak:.2f} GB")
