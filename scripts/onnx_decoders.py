"""Compares ONNX Runtime on an exported decoder with transformers: onnx_decoders.py PROGRAM MODEL [MODEL ...]

MODEL is a folder of Hugging Face or a GGUF file. Two prompts of different lengths, the shorter padded on the left: the logits of all
tokens, and a greedy continuation of 20 tokens through the cache. Checks the file with onnx.checker in full, prints the largest difference
of a logit relative to the largest one, and fails above 1e-5, or if a continued token differs."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers
from exported import TOLERANCE, export

STEPS = 20
TEXTS = ["The tallest tree in the park", "Rain"]


def opened(model: Path) -> transformers.PreTrainedModel:
    """The model in transformers, in f32 and with attention as its equation says."""
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    if model.is_file():
        return transformers.AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, **options).eval()
    return transformers.AutoModelForCausalLM.from_pretrained(model, **options).eval()


def prompts(model: Path, config: transformers.PretrainedConfig) -> list[list[int]]:
    """The tokens of two texts, or made-up ones for a model without a tokenizer."""
    if model.is_file():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    elif (model / "tokenizer.json").is_file():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    else:
        rng = np.random.default_rng(0)
        return [rng.integers(0, config.vocab_size, n).tolist() for n in (7, 3)]
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def positions(mask: np.ndarray) -> np.ndarray:
    return np.maximum(np.cumsum(mask, 1) - 1, 0)


class Exported:
    """An exported decoder, run with its cache."""

    def __init__(self, path: Path, config: transformers.PretrainedConfig) -> None:
        self.session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.caches = [port for port in self.session.get_inputs() if port.name.startswith("past_key_values.")]
        self.config = config

    def empty(self, rows: int) -> dict[str, np.ndarray]:
        return {port.name: np.zeros((rows, port.shape[1], 0, port.shape[3]), np.float32) for port in self.caches}

    def __call__(self, ids: np.ndarray, mask: np.ndarray, past: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        at = positions(mask)[:, -ids.shape[1] :]
        logits, *present = self.session.run(None, {"input_ids": ids, "attention_mask": mask, "position_ids": at, **past})
        return logits, dict(zip(past, present, strict=True))


def compare(program: str, model: Path) -> float:
    theirs = opened(model)
    config = theirs.config
    tokens = prompts(model, config)
    most = getattr(config, "max_position_embeddings", 1 << 20)
    # Positions that grow with the length of a text leave the keys of a cache behind.
    rope = getattr(config, "rope_parameters", None) or {}
    changing = rope.get("rope_type") in ("dynamic", "longrope") if isinstance(rope, dict) else False
    bound = rope.get("original_max_position_embeddings", most) if changing else most
    width = max(map(len, tokens))
    steps = max(0, min(STEPS, bound - width))
    ids = np.zeros((len(tokens), width), np.int64)
    mask = np.zeros_like(ids)
    for row, own in enumerate(tokens):
        ids[row, width - len(own) :] = own
        mask[row, width - len(own) :] = 1
    with tempfile.TemporaryDirectory() as folder:
        path = export(program, model, "onnx", folder)
        onnx.checker.check_model(str(path), full_check=True)
        ours = Exported(path, config)
        found, past = ours(ids, mask, ours.empty(len(tokens)))
    real = mask.astype(bool)
    own = torch.from_numpy
    with torch.no_grad():
        result = theirs(own(ids), attention_mask=own(mask), position_ids=own(positions(mask)), use_cache=True)
        expected = result.logits.numpy()
        scale = max(1.0, np.abs(expected[real]).max())
        worst = np.abs(found - expected)[real].max() / scale
        other = 0
        for _ in range(steps):
            token = found[:, -1].argmax(-1)[:, None]
            other += int((token != expected[:, -1].argmax(-1)[:, None]).sum())
            mask = np.concatenate([mask, np.ones_like(token)], 1)
            found, past = ours(token, mask, past)
            at = positions(mask)[:, -1:]
            result = theirs(
                own(token), attention_mask=own(mask), position_ids=own(at), past_key_values=result.past_key_values, use_cache=True
            )
            expected = result.logits.numpy()
            worst = max(worst, np.abs(found - expected).max() / scale)
    print(f"{model.name}: {config.model_type}, {steps} tokens behind prompts of {' and '.join(str(len(t)) for t in tokens)}, {worst:.1e}, other tokens: {other}")
    return float("inf") if other else float(worst)


def main() -> None:
    program, models = sys.argv[1], [Path(model) for model in sys.argv[2:]]
    worst = max([compare(program, model) for model in models])
    sys.exit(not worst <= TOLERANCE)


if __name__ == "__main__":
    main()
