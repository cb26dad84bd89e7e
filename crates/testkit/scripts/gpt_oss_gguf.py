"""A small random gpt-oss as a GGUF file whose experts are in MXFP4, and its logits by llama.cpp, on the same values as
32-bit floats: with blocks, llama.cpp rounds activations too.

    python crates/testkit/scripts/gpt_oss_gguf.py

Writes crates/testkit/fixtures/gguf/gpt_oss.gguf and gpt_oss.json (needs gguf and llama-cpp-python).
"""

import json
import pathlib
import tempfile

import gguf
import llama_cpp
import numpy as np
from gguf.quants import dequantize, quantize

OUT = pathlib.Path(__file__).resolve().parents[1] / "fixtures/gguf"
HIDDEN, INNER, HEADS, KEYS, WIDTH, EXPERTS, TOKENS, LAYERS = 32, 32, 2, 1, 32, 3, 24, 2
IDS = [3, 17, 5, 9, 11, 2, 23, 7, 7, 1]


def build(path, blocks):
    rng = np.random.default_rng(11)
    writer = gguf.GGUFWriter(path, "gpt-oss")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_expert_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_key_length(WIDTH)
    writer.add_value_length(WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150000.0)
    writer.add_sliding_window(4)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(2)
    writer.add_vocab_size(TOKENS)
    writer.add_tokenizer_model("none")

    def add(name, *dims, kind=None, scale=0.3, base=0.0):
        values = (base + scale * rng.standard_normal(dims)).astype(np.float32)
        if kind is None:
            writer.add_tensor(name, values)
        elif blocks:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, dequantize(quantize(values, kind), kind))

    add("token_embd.weight", TOKENS, HIDDEN, scale=1.0)
    add("output.weight", TOKENS, HIDDEN)
    add("output_norm.weight", HIDDEN, scale=0.1, base=1.0)
    of_experts = gguf.GGMLQuantizationType.MXFP4
    for i in range(LAYERS):
        layer = f"blk.{i}."
        for name in ["attn_norm", "post_attention_norm"]:
            add(f"{layer}{name}.weight", HIDDEN, scale=0.1, base=1.0)
        for name, heads in [("attn_q", HEADS), ("attn_k", KEYS), ("attn_v", KEYS)]:
            add(f"{layer}{name}.weight", heads * WIDTH, HIDDEN)
            add(f"{layer}{name}.bias", heads * WIDTH)
        add(f"{layer}attn_output.weight", HIDDEN, HEADS * WIDTH)
        add(f"{layer}attn_output.bias", HIDDEN)
        add(f"{layer}attn_sinks.weight", HEADS, scale=1.0)
        add(f"{layer}ffn_gate_inp.weight", EXPERTS, HIDDEN)
        add(f"{layer}ffn_gate_inp.bias", EXPERTS)
        for name, outputs, inputs in [("gate", INNER, HIDDEN), ("up", INNER, HIDDEN), ("down", HIDDEN, INNER)]:
            add(f"{layer}ffn_{name}_exps.weight", EXPERTS, outputs, inputs, kind=of_experts)
            add(f"{layer}ffn_{name}_exps.bias", EXPERTS, outputs)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(path):
    model = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0,
                            flash_attn=False, swa_full=True)
    model.eval(IDS)
    return np.array(model.scores[: len(IDS)])


OUT.mkdir(parents=True, exist_ok=True)
build(OUT / "gpt_oss.gguf", True)
with tempfile.TemporaryDirectory() as folder:
    plain = pathlib.Path(folder) / "plain.gguf"
    build(plain, False)
    found = logits(plain)
rows = [[round(float(x), 6) for x in row] for row in found]
(OUT / "gpt_oss.json").write_text(json.dumps({"ids": IDS, "logits": rows}, separators=(",", ":")) + "\n")
rounded = float(np.abs(found - logits(OUT / "gpt_oss.gguf")).max())
print(f"llama-cpp-python {llama_cpp.__version__}: logits up to {np.abs(found).max():.2f}, with blocks {rounded:.4f} away")
