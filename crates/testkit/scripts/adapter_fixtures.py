"""LoRA adapters of the tiny models in fixtures/language, as PEFT writes them, with their logits.

    python crates/testkit/scripts/adapter_fixtures.py [NAME...]

A folder of fixtures/adapter is an adapter with `expected.safetensors`: tokens, the logits of the model with it, and
the losses of six steps of training it on these tokens, which are source and target of an encoder with a decoder.
"""

import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

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
    "llama_dora": ("llama", dict(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"], use_dora=True)),
    "gpt2_dora": ("gpt2", dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"], use_dora=True, fan_in_fan_out=True)),
    "qwen2_bias": ("qwen2", dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], lora_bias=True)),
    # Norms end like the name as well; the output layer of the model is its own.
    "llama_saved": ("llama", dict(r=2, lora_alpha=3, target_modules=["v_proj"], modules_to_save=["lm_head", "norm"])),
    # The output layer stays as it was, or changes with the table.
    "gpt2_untied": (
        "gpt2",
        dict(r=2, lora_alpha=4, target_modules=["c_attn"], modules_to_save=["wte"], fan_in_fan_out=True),
    ),
    "gemma2_tied": (
        "gemma2",
        dict(r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    "gemma2_tied_output": (
        "gemma2",
        dict(r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["lm_head"], ensure_weight_tying=True),
    ),
    "gpt2_output": (
        "gpt2",
        dict(r=2, lora_alpha=4, target_modules=["c_attn"], modules_to_save=["lm_head"], fan_in_fan_out=True),
    ),
    "gpt2_biases": ("gpt2", dict(r=2, lora_alpha=4, target_modules=["c_attn"], bias="all", fan_in_fan_out=True)),
    "gpt2_own_biases": (
        "gpt2",
        dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"], bias="lora_only", fan_in_fan_out=True),
    ),
    # Rows of the table of embeddings, which is the output layer too in the second model.
    "llama_tokens": ("llama", dict(r=2, lora_alpha=3, target_modules=["q_proj"], trainable_token_indices=[7, 2, 31])),
    "gemma2_tokens": ("gemma2", dict(r=2, lora_alpha=3, target_modules=["q_proj"], trainable_token_indices=[7, 2, 31])),
    "mixtral_experts": (
        "mixtral",
        dict(
            r=2,
            lora_alpha=3,
            target_modules=["q_proj"],
            target_parameters=["experts.gate_up_proj", "experts.down_proj"],
            rank_pattern={r".*\.down_proj": 3},
        ),
    ),
    "gpt_oss_experts": (
        "gpt_oss",
        dict(r=2, lora_alpha=3, target_modules=["q_proj"], target_parameters=["gate_up_proj"]),
    ),
    # Acts from the last occurrence of two tokens on.
    "llama_invoked": (
        "llama",
        dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj"], alora_invocation_tokens=[5, 9]),
    ),
    "llama_like": (
        "llama",
        dict(
            r=3,
            lora_alpha=5,
            target_modules=r"model\.layers\.\d+\.(self_attn|mlp)\.(q|v|down)_proj",
            exclude_modules=["v_proj"],
            rank_pattern={r"layers\.\d+\.self_attn\.q_proj": 2},
        ),
    ),
    "llama_layer": (
        "llama",
        dict(r=3, lora_alpha=5, target_modules=["q_proj", "o_proj"], layers_to_transform=[1], layers_pattern="layers"),
    ),
    # Encoders with decoders.
    "t5": ("t5", dict(r=3, lora_alpha=5, target_modules=["q", "v", "wo"], rank_pattern={r"decoder.*\.wo": 2})),
    "t5_dora": ("t5_gated", dict(r=2, lora_alpha=4, target_modules="all-linear", use_dora=True)),
    "marian": ("marian", dict(r=2, lora_alpha=4, target_modules=["q_proj", "out_proj", "fc1"], lora_bias=True)),
}
PAIRS = {"t5", "t5_gated", "marian"}

for name in sys.argv[1:] or ADAPTERS:
    base, options = ADAPTERS[name]
    torch.manual_seed(0)
    folder = FIXTURES / "adapter" / name
    shutil.rmtree(folder, ignore_errors=True)
    pair = base in PAIRS
    kind, task = (AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM") if pair else (AutoModelForCausalLM, "CAUSAL_LM")
    model = kind.from_pretrained(FIXTURES / "language" / base, dtype=torch.float32).eval()
    model = get_peft_model(model, LoraConfig(task_type=task, **options)).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.requires_grad and "lora_A" not in parameter_name:
            # What the adapter has beside A and B begins as the base model's.
            parameter.data *= 1 + 0.2 * torch.randn_like(parameter)
            parameter.data += 0.05 * torch.randn_like(parameter)
    tokens = torch.randint(5, 38, (12,)) if pair else torch.randint(0, 41, (12,))
    # A target reads the same tokens, and those before.
    forward = lambda: model(tokens[None], **({"decoder_input_ids": tokens[None]} if pair else {})).logits[0]
    if invocation := options.get("alora_invocation_tokens"):
        tokens[2:4] = tokens[7:9] = torch.tensor(invocation)
    with torch.no_grad():
        logits = forward()
    model.peft_config["default"].base_model_name_or_path = f"../../language/{base}"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    # Losses of a few steps on the same tokens.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward()[:-1], tokens[1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    save_file(
        {"tokens": tokens.int(), "logits": logits.contiguous(), "losses": torch.tensor(losses)},
        folder / "expected.safetensors",
    )
