"""Compares ONNX Runtime on an exported encoder with transformers, on sentences of many lengths:
onnx_encoders.py PROGRAM MODEL

Checks the file with onnx.checker in full, prints the largest difference of a logit, or of a number of a token's vector,
relative to the largest one, and fails above 1e-5."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers
from exported import TOLERANCE, export

WORDS = "the cat sat on a mat while seven grey birds over the harbour sang of rain , coffee and unpaid bills .".split()
HEADS = {
    "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "ForTokenClassification": transformers.AutoModelForTokenClassification,
    "ForMaskedLM": transformers.AutoModelForMaskedLM,
}


def main() -> None:
    program, model = sys.argv[1], Path(sys.argv[2])
    config = transformers.AutoConfig.from_pretrained(model)
    name = (config.architectures or [""])[0]
    kind = next((kind for end, kind in HEADS.items() if name.endswith(end)), transformers.AutoModel)
    theirs = kind.from_pretrained(model).eval()
    rng = np.random.default_rng(0)
    if any((model / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        texts = [" ".join(rng.choice(WORDS, n)) for n in rng.integers(1, 60, 32)]
        batch = dict(tokenizer(texts, padding=True, return_tensors="np"))
    else:
        ids = np.full((16, 12), config.pad_token_id)
        mask = np.zeros_like(ids)
        for row, n in enumerate(rng.integers(1, 13, 16)):
            ids[row, :n] = rng.integers(config.pad_token_id + 1, config.vocab_size, n)
            mask[row, :n] = 1
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    with tempfile.TemporaryDirectory() as folder:
        path = export(program, model, "onnx", folder)
        onnx.checker.check_model(str(path), full_check=True)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]
        batch = {key: np.asarray(batch[key], np.int64) for key in names}
        (found,) = session.run(None, batch)
    with torch.no_grad():
        expected = theirs(**{key: torch.from_numpy(value) for key, value in batch.items()})
    expected = expected[0].numpy()
    if expected.ndim == 3:
        real = batch["attention_mask"].astype(bool)
        found, expected = found[real], expected[real]
    difference = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
    print(f"{model.name}: {name}, {len(batch['input_ids'])} sequences of up to {batch['input_ids'].shape[1]} tokens, {difference:.1e}")
    sys.exit(not difference <= TOLERANCE)


if __name__ == "__main__":
    main()
