"""LoRA adapters of the tiny models in fixtures/language, as PEFT writes them, with their logits.

    python crates/testkit/scripts/adapter_fixtures.py [NAME...]

A folder of fixtures/adapter is an adapter with `expected.safetensors`: tokens, and the logits of the model with it.
"""

import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FIXTURES = Path(__file__).parent.parent / "fixtures"
ADAPTERS = {
    "llama": ("llama", dict(r=4, lora_alpha=6, target_modules="all-linear")),
    "llama_patterns": (
        "llama",
        dict(
            r=3,
            lora_alpha=5,
            target_modules=["q_proj", "down_proj"],
            use_rslora=True,
            rank_pattern={"layers.1.mlp.down_proj": 2},
            alpha_pattern={"q_proj": 7},
        ),
    ),
    # Queries, keys and values in one layer, gate and up in one.
    "phi3": ("phi3", dict(r=3, lora_alpha=5, target_modules=["qkv_proj", "gate_up_proj", "down_proj"])),
    "gpt2": ("gpt2", dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
}

for name in sys.argv[1:] or ADAPTERS:
    base, options = ADAPTERS[name]
    torch.manual_seed(0)
    folder = FIXTURES / "adapter" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / "language" / base, dtype=torch.float32).eval()
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randint(0, 41, (12,))
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]
    model.peft_config["default"].base_model_name_or_path = f"../../language/{base}"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    save_file({"tokens": tokens.int(), "logits": logits.contiguous()}, folder / "expected.safetensors")
