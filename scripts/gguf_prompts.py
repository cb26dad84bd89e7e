"""The prompts of scripts that compare greedy texts."""

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
