"""Whether transformers opens what `feedforward pretrain` writes, with the same loss.

    python crates/testkit/scripts/open_in_transformers.py FEEDFORWARD

A model of each family is trained for two steps from the shortest config that its family takes, and judged on its text by the
program and by transformers, window by window.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

CONTEXT = 16
LLAMA = "hidden_size=16,intermediate_size=16,num_hidden_layers=2,num_attention_heads=4"
EXPERTS = "num_experts=2,num_experts_per_tok=1,moe_intermediate_size=16"
FAMILIES = {
    "gpt2": "n_embd=16,n_layer=2,n_head=4",
    "llama": LLAMA,
    "mistral": LLAMA,
    "mixtral": LLAMA + ",num_experts=2,num_experts_per_tok=1",
    "qwen2": LLAMA + ",use_sliding_window=true,max_window_layers=1,sliding_window=5",
    "qwen3": LLAMA,
    "qwen2_moe": f"{LLAMA},{EXPERTS},shared_expert_intermediate_size=16",
    "qwen3_moe": f"{LLAMA},{EXPERTS}",
    "olmo2": LLAMA + ",tie_word_embeddings=true",
    "gpt_oss": LLAMA + ",head_dim=8,num_local_experts=2,num_experts_per_tok=1",
    "phi3": LLAMA,
    "smollm3": LLAMA + ",no_rope_layer_interval=2",
    "gemma2": LLAMA + ",head_dim=8,sliding_window=5",
    "gemma3_text": LLAMA + ",head_dim=8,sliding_window=5,sliding_window_pattern=2,final_logit_softcapping=2.0",
}
RECIPE = """
[data]
paths=["t.txt"]
valid=0.0
add_eos=false
[tokenizer]
kind="bytes"
special=[]
[model]
config={{model_type="{family}",{config}}}
[optimizer]
lr=0.05
[train]
steps=2
context={context}
batch_size=4
"""


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    transformers.logging.set_verbosity_error()
    for family, config in FAMILIES.items():
        folder = pathlib.Path(tempfile.mkdtemp())
        text = "The quick brown fox jumps over the lazy dog. " * 40
        (folder / "t.txt").write_text(text)
        (folder / "r.toml").write_text(RECIPE.format(family=family, config=config, context=CONTEXT))

        def run(*arguments):
            done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, (family, done.stderr)
            return done.stdout

        run("pretrain", "r.toml", "--out", "run", "--quiet", "--threads", "1")
        ours = json.loads(run("evaluate", "run", "--data", "t.txt", "--json", "--threads", "1"))["text"]["loss"]
        model, info = transformers.AutoModelForCausalLM.from_pretrained(folder / "run/model", output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (family, info)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "run/model")
        ids = torch.tensor(tokenizer(text)["input_ids"])
        total, count = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(ids) - 1, CONTEXT):
                window = ids[start : start + CONTEXT + 1]
                logits = model(input_ids=window[None, :-1]).logits[0].double()
                total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
                count += len(window) - 1
        theirs = total / count
        assert abs(ours - theirs) < 1e-5 * theirs, (family, ours, theirs)
        print(f"{family}: loss {ours:.6f}, in transformers {theirs:.6f}")


main()
