"""Fine-tuning on pairs as `transformers` does it, from models of fixtures/language: fixtures/translation.json.

    python crates/testkit/scripts/translation_fixtures.py

For each model: the ids of sources and of labels, the losses of twenty AdamW steps on one batch of all pairs, with and
without label smoothing, and the loss afterwards.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSeq2SeqLM
from transformers.trainer_pt_utils import LabelSmoother

HERE = Path(__file__).parent.parent / "fixtures"
STEPS, RATE = 20, 3e-3
PAIRS = [
    ("the cat sees a dog", "god a sees tac eht"),
    ("A dog and the bird sing all day!", "!yad lla gnis drib eht dna god A"),
    ("Where is the small red house?", "?esuoh der"),
    ("a", "It stands behind the hill. It stands behind the hill."),
    ("Never has anyone seen so many finches in one café.", "éfac"),
    ("  the  hill ", "llih eht"),
]


def twenty_steps(folder, prefix, smoothing):
    if (folder / "source.spm").exists():
        tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    else:
        tokenizer = transformers.T5Tokenizer.from_pretrained(folder, extra_ids=3)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.train()  # the configs have no dropout
    for name, parameter in model.named_parameters():
        # Marian's positions are computed; a model that was read forgets that they are not learned.
        parameter.requires_grad_("embed_positions" not in name)
    # Marian has 30 positions: its longest target is cut.
    form = dict(return_tensors="pt", padding=True, truncation=True, max_length=30 if "marian" in folder.name else 99)
    batch = tokenizer([prefix + source for source, _ in PAIRS], **form)
    labels = tokenizer(text_target=[target for _, target in PAIRS], **form)
    mask = labels.attention_mask.bool()
    labels = labels.input_ids.masked_fill(~mask, -100)
    ids = [row[m.bool()].tolist() for row, m in zip(batch.input_ids, batch.attention_mask)]
    targets = [row[m].tolist() for row, m in zip(labels, mask)]
    smoother = LabelSmoother(epsilon=smoothing)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)

    def loss():
        outputs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
        return smoother(outputs, labels) if smoothing else outputs.loss

    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(value.item())
    smoothing = 0.0
    with torch.no_grad():
        after = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.item()
    return {"sources": ids, "targets": targets, "losses": losses, "after": after}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    cases = []
    for name, prefix in (("t5_text", "sing: "), ("marian_text", "")):
        for smoothing in (0.0, 0.1):
            found = twenty_steps(HERE / "language" / name, prefix, smoothing)
            cases.append({"model": name, "prefix": prefix, "smoothing": smoothing, **found})
    made = f"torch {torch.__version__}, transformers {transformers.__version__}"
    text = json.dumps({"made": made, "pairs": PAIRS, "cases": cases}, ensure_ascii=False, indent=None)
    (HERE / "translation.json").write_text(text.replace('{"model"', '\n{"model"') + "\n")
