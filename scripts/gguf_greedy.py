"""Greedy texts of a GGUF model by `transformers`, on its dequantised weights: python gguf_greedy.py MODEL.gguf OUT.json

The prompts are those of this script; crates/feedforward/tests/language/gguf.rs compares.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a",
    "def fibonacci(n):\n",
    "1 + 1 = 2\n2 + 2 = 4\n3 + 3 =",
    "Water boils at a temperature of",
    "<|im_start|>user\nWhat is the largest planet?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are brief.<|im_end|>\n<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
    "Die Hauptstadt von Deutschland ist",
    "The three laws of motion are",
    "In 1969, the first",
    "# A recipe for bread\n\n",
    "Dear Sir or Madam,",
    "SELECT name FROM users WHERE",
    "The opposite of hot is",
    "Photosynthesis is the process by which",
    "Q: Who wrote Hamlet?\nA:",
    "import numpy as np\n\nx = np.",
    "To be, or not to be,",
    "The quick brown fox",
    "A haiku about the sea:\n",
]
TOKENS = 64


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
    pathlib.Path(sys.argv[2]).write_text(json.dumps(texts, indent=1) + "\n")


main()
