"""Trains an adapter with PEFT on the conversations of a run, from the run's first weights, and compares the losses.

    feedforward finetune MODEL --data FILE --out start --set train.steps=1 --set optimizer.lr=0
    feedforward finetune MODEL --data FILE --out run --set data.valid=0 --set train.packing=false \
        --set train.accumulate=ROWS/4 --set optimizer.weight_decay=0 --set train.epochs=10
    python crates/testkit/scripts/peft_training.py MODEL FILE start/adapter run/metrics.jsonl

A step has all conversations, so that both see the same batches whatever their order.
"""

import json
import resource
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model_folder, data, start, metrics = sys.argv[1:5]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(model_folder)
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
model = PeftModel.from_pretrained(model, start, is_trainable=True).train()


def example(record):
    asked = record["instruction"] + ("\n\n" + record["input"] if record["input"] else "")
    messages = [{"role": "user", "content": asked}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, record["output"] + "<|im_end|>", "\n")]
    labels = [-100] * len(ids[0]) + ids[1] + [-100] * len(ids[2])
    return sum(ids, []), labels


examples = [example(record) for record in json.load(open(data))]
longest = max(len(ids) for ids, _ in examples)
padded = lambda values, filler: torch.tensor([v + [filler] * (longest - len(v)) for v in values])
ids, labels = padded([e[0] for e in examples], 0), padded([e[1] for e in examples], -100)
mask = padded([[1] * len(e[0]) for e in examples], 0)
count = (labels[:, 1:] != -100).sum()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
ours = [json.loads(line)["train_loss"] for line in open(metrics)]
started, furthest = time.time(), 0.0
for step, our in enumerate(ours):
    optimizer.zero_grad()
    total = 0.0
    for at in range(0, len(ids), 4):
        part = slice(at, at + 4)
        logits = model(input_ids=ids[part], attention_mask=mask[part]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[part, 1:].flatten(), ignore_index=-100, reduction="sum"
        ) / count
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    furthest = max(furthest, abs(total - our))
    print(f"step {step}: PEFT {total:.6f}, ours {our:.6f}")
seconds = time.time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"furthest {furthest:.2e} · {len(ours) * ids.numel() / seconds:.0f} tokens/s · {peak:.2f} GB")
