"""Greedy texts of a GGUF model by `transformers`, on its dequantised weights: python gguf_greedy.py MODEL.gguf OUT.json

The prompts are those of gguf_prompts.py; crates/feedforward/tests/language/gguf.rs compares with
crates/testkit/fixtures/smollm2.json.
"""

import json
import pathlib
import sys

import torch
from gguf_prompts import PROMPTS, TOKENS
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    path = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    texts = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=TOKENS, do_sample=False, attention_mask=torch.ones_like(ids))
        texts.append({"prompt": prompt, "ids": ids[0].tolist(), "tokens": out[0, ids.shape[1] :].tolist()})
    pathlib.Path(sys.argv[2]).write_text("[\n" + ",\n".join(map(json.dumps, texts)) + "\n]\n")


main()
