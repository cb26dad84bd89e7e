"""Compares files of each type with those that llama.cpp makes of the same f32 file, tensor by tensor, byte by byte.

    python scripts/llama_quantize.py FEEDFORWARD MODEL...

FEEDFORWARD is the program, MODEL anything that it opens. A small model with random weights, wide enough for K-quants, is
compared too. Needs llama-cpp-python, gguf, transformers and torch.
"""

import ctypes
import pathlib
import subprocess
import sys
import tempfile
import time

import gguf
import llama_cpp
import numpy as np
import torch
import transformers

# Names here, and llama.cpp's numbers.
TYPES = {
    "f16": 1, "bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9, "q5_0": 8, "q4_k_m": 15,
    "q4_k_s": 14, "q4_1": 3, "q4_0": 2, "q3_k_l": 13, "q3_k_m": 12, "q3_k_s": 11, "q2_k": 10,
}  # fmt: skip


def made_up(folder):
    """18 layers, eight heads over two: every rule of the mixed types applies."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=512, intermediate_size=768, num_hidden_layers=18, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def export(program, model, kind, to):
    command = [program, "export", model, "--to", "gguf", "--type", kind, "--out", to]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def quantize(source, number, to):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = number
    params.nthread = 2
    if llama_cpp.llama_model_quantize(str(source).encode(), str(to).encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp does not quantise {source}")


def compare(ours, theirs):
    ours, theirs = (
        {t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs)
    )
    if ours.keys() != theirs.keys():
        return f"other tensors: {ours.keys() ^ theirs.keys()}"
    for name, tensor in ours.items():
        other = theirs[name]
        if tensor.tensor_type != other.tensor_type:
            return f"{name} is {tensor.tensor_type.name} here and {other.tensor_type.name} there"
        a, b = (t.data.reshape(-1).view(np.uint8) for t in (tensor, other))
        if not np.array_equal(a, b):
            return f"{name} ({tensor.tensor_type.name}) differs in {np.mean(a != b):.1%} of its bytes"
    return None


def main():
    program, *models = sys.argv[1:]
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        made_up(folder / "made-up")
        for model in [folder / "made-up", *models]:
            source = folder / "f32.gguf"
            export(program, model, "f32", source)
            for kind, number in TYPES.items():
                ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
                start = time.monotonic()
                export(program, source, kind, ours)
                middle = time.monotonic()
                quantize(source, number, theirs)
                seconds = middle - start, time.monotonic() - middle
                difference = compare(ours, theirs)
                failed |= difference is not None
                took = "{:.1f} s with the check, {:.1f} s in llama.cpp".format(*seconds)
                print(f"{pathlib.Path(model).name} {kind}: {difference or 'the same'}; {took}", flush=True)
                ours.unlink()
                theirs.unlink()
            source.unlink()
    sys.exit(failed)


main()
