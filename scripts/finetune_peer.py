"""Training speed of transformers on the texts of a table: python scripts/finetune_peer.py MODEL DATA TEXT TARGET [STEPS]

AdamW over all weights with padding to the longest of 32 texts of much the same length, dropout as in the model's config, two
threads. Prints texts a second over the steps behind the first three.
"""

import csv
import random
import sys
import time

import torch
import transformers

model, data, text, target = sys.argv[1:5]
steps = int(sys.argv[5]) if len(sys.argv) > 5 else 30
torch.set_num_threads(2)
torch.manual_seed(0)
random.seed(0)
with open(data, newline="", encoding="utf-8") as file:
    rows = [(row[text], row[target]) for row in csv.DictReader(file)]
classes = sorted({label for _, label in rows})
tokenizer = transformers.AutoTokenizer.from_pretrained(model)
network = transformers.AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(classes)).train()
optimizer = torch.optim.AdamW(network.parameters(), lr=5e-5, weight_decay=0.01)
random.shuffle(rows)
# As feedforward: of 32 steps, those of one length together, in any order.
rows = sorted(rows[: 32 * 32], key=lambda row: len(tokenizer.tokenize(row[0])))
batches = [rows[i : i + 32] for i in range(0, len(rows), 32)]
random.shuffle(batches)
seconds, texts = 0.0, 0
for i, batch in enumerate(batches[:steps]):
    start = time.perf_counter()
    inputs = tokenizer([t for t, _ in batch], padding=True, truncation=True, max_length=256, return_tensors="pt")
    labels = torch.tensor([classes.index(label) for _, label in batch])
    loss = network(**inputs, labels=labels).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    if i >= 3:
        seconds += time.perf_counter() - start
        texts += len(batch)
print(f"transformers {transformers.__version__}, torch {torch.__version__}: {texts / seconds:.1f} texts/s")
