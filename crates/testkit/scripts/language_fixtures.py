"""Tiny random language models with results of `transformers`, one folder each in fixtures/language.

    python crates/testkit/scripts/language_fixtures.py [NAME...]

A folder is a model as Hugging Face stores it, and `expected.safetensors`: tokens, logits, loss, the gradient of every
tensor of the file, the losses of twenty AdamW steps on other tokens, and a greedy continuation.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

FOLDER = Path(__file__).parent.parent / "fixtures" / "language"
BATCH, LENGTH, STEPS, NEW_TOKENS = 2, 12, 20, 24

SMALL = dict(
    vocab_size=41,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    max_position_embeddings=64,
    bos_token_id=None,
    eos_token_id=None,
)


def rope(kind, **parameters):
    return {"rope_type": kind, "rope_theta": 100.0, **parameters}


DECODERS = {
    "gpt2": ("GPT2", dict(vocab_size=41, n_positions=64, n_embd=18, n_layer=2, n_head=2, n_inner=21)),
    "gpt2_untied": (
        "GPT2",
        dict(
            vocab_size=41,
            n_positions=40,
            n_embd=15,
            n_layer=2,
            n_head=3,
            activation_function="relu",
            scale_attn_by_inverse_layer_idx=True,
            tie_word_embeddings=False,
        ),
    ),
    # Four heads of six features are wider than the 16 of the residual stream; one key-value head
    # for all.
    "llama": ("Llama", dict(num_attention_heads=4, num_key_value_heads=1, head_dim=6, rope_parameters=rope("default"))),
    "llama_biases": (
        "Llama",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_parameters=rope(
                "llama3",
                factor=4.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=16,
            ),
        ),
    ),
    "llama_linear": (
        "Llama",
        dict(num_attention_heads=2, num_key_value_heads=2, rope_parameters=rope("linear", factor=2.5)),
    ),
    "llama_yarn": (
        "Llama",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
            hidden_act="gelu",
            rope_parameters=rope("yarn", factor=4.0, beta_fast=4.0, original_max_position_embeddings=16),
        ),
    ),
    # Three heads do not divide 16.
    "mistral": ("Mistral", dict(num_attention_heads=3, num_key_value_heads=1, head_dim=6, sliding_window=5)),
    "qwen2": (
        "Qwen2",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=1,
        ),
    ),
    "qwen3": ("Qwen3", dict(num_attention_heads=3, num_key_value_heads=3, head_dim=10, attention_bias=True)),
    # Without a padding token, whose embedding would have no gradient.
    "olmo2": ("Olmo2", dict(num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, pad_token_id=None)),
    "gpt_oss": (
        "GptOss",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=6,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=5,
            swiglu_limit=1.5,
            rope_parameters=rope("yarn", factor=4.0, truncate=False, original_max_position_embeddings=16),
        ),
    ),
    # Bounds of scores and logits that these reach; no padding token, as above.
    "gemma2": (
        "Gemma2",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=6,
            query_pre_attn_scalar=10,
            sliding_window=5,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            pad_token_id=None,
        ),
    ),
    "gemma2_unbounded": (
        "Gemma2",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=10,
            num_hidden_layers=3,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            hidden_activation="gelu",
            query_pre_attn_scalar=10,
            sliding_window=4,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            attention_bias=True,
            tie_word_embeddings=False,
            pad_token_id=None,
        ),
    ),
    # Layers 0 and 2 see near tokens.
    "gemma3": (
        "Gemma3Text",
        dict(
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=6,
            num_hidden_layers=3,
            query_pre_attn_scalar=9,
            sliding_window=5,
            sliding_window_pattern=2,
            rope_parameters=dict(full_attention=rope("linear", factor=2.0), sliding_attention=dict(rope_type="default", rope_theta=20.0)),
            pad_token_id=None,
        ),
    ),
    "gemma3_bounded": (
        "Gemma3Text",
        dict(
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            layer_types=["full_attention", "sliding_attention"],
            sliding_window=3,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            pad_token_id=None,
        ),
    ),
    "phi3": ("Phi3", dict(num_attention_heads=4, num_key_value_heads=2, sliding_window=5, pad_token_id=None)),
    # Sequences of more than 9 tokens have other angles: those of training, and texts from the fifth
    # written token on. Half of each head is turned.
    "phi3_long": (
        "Phi3",
        dict(
            num_attention_heads=2,
            num_key_value_heads=2,
            hidden_act="gelu_new",
            tie_word_embeddings=True,
            original_max_position_embeddings=9,
            rope_parameters=rope(
                "longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 6.0], partial_rotary_factor=0.5
            ),
            pad_token_id=None,
        ),
    ),
    "smollm3": (
        "SmolLM3",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=3,
            no_rope_layer_interval=2,
            pad_token_id=None,
        ),
    ),
    "smollm3_windows": (
        "SmolLM3",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            no_rope_layers=[0, 1],
            use_sliding_window=True,
            sliding_window=4,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16),
            pad_token_id=None,
        ),
    ),
    # The base grows from the ninth token on.
    "llama_dynamic_long": (
        "Llama",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=8,
            rope_parameters=rope("dynamic", factor=4.0),
        ),
    ),
    "mixtral": (
        "Mixtral",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            num_experts_per_tok=2,
            rope_parameters=rope("default"),
        ),
    ),
    "qwen2_moe": (
        "Qwen2Moe",
        dict(
            num_attention_heads=2,
            num_key_value_heads=2,
            num_experts=5,
            num_experts_per_tok=2,
            moe_intermediate_size=8,
            shared_expert_intermediate_size=12,
            decoder_sparse_step=2,
        ),
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        dict(
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=6,
            num_experts=4,
            num_experts_per_tok=3,
            moe_intermediate_size=8,
            norm_topk_prob=True,
            num_hidden_layers=3,
            mlp_only_layers=[1],
            tie_word_embeddings=True,
        ),
    ),
}


def rewrite(folder, change):
    """A model's tensors, changed and stored again."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def differ(tensors):
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].flip(0).contiguous()


def output_alone(tensors):
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")


def no_heads(folder):
    """A config that leaves the heads of keys and values to the family's default, 4 here."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["num_key_value_heads"]
    path.write_text(json.dumps(config, indent=2))


def in_blocks(folder):
    """Experts of 4 bits, as published: blocks of 32 values and their scales."""

    def change(tensors):
        for name in [name for name in tensors if name.endswith("experts.gate_up_proj") or name.endswith("experts.down_proj")]:
            experts, inputs, outputs = tensors.pop(name).shape
            tensors[name + "_blocks"] = torch.randint(256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
            tensors[name + "_scales"] = torch.randint(123, 126, (experts, outputs, inputs // 32), dtype=torch.uint8)

    rewrite(folder, change)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = dict(quant_method="mxfp4")
    path.write_text(json.dumps(config, indent=2))


LLAMA = dict(num_attention_heads=2, num_key_value_heads=1)
# Folders that transformers opens in a way of its own: settings, how they are stored, what is
# changed afterwards.
VARIANTS = {
    "llama_dynamic": ("Llama", dict(LLAMA, hidden_act="relu6", rope_parameters=rope("dynamic", factor=4.0)), {}, None),
    "llama_partial": (
        "Llama",
        dict(LLAMA, hidden_act="quick_gelu", rope_parameters=rope("default", partial_rotary_factor=0.5)),
        {},
        None,
    ),
    "llama_tied_differs": ("Llama", dict(LLAMA, tie_word_embeddings=True), {}, lambda f: rewrite(f, differ)),
    "llama_tied_output": ("Llama", dict(LLAMA, tie_word_embeddings=True), {}, lambda f: rewrite(f, output_alone)),
    "mixtral_stacked": (
        "Mixtral",
        dict(LLAMA, num_local_experts=3, num_experts_per_tok=2),
        dict(save_original_format=False),
        None,
    ),
    # With heads of 64 features and every layer of the family's own positions.
    "gpt_oss_blocks": (
        "GptOss",
        dict(
            LLAMA,
            hidden_size=32,
            intermediate_size=32,
            num_local_experts=3,
            num_experts_per_tok=2,
            sliding_window=4,
        ),
        {},
        in_blocks,
    ),
    "qwen3_moe_stacked": (
        "Qwen3Moe",
        dict(num_attention_heads=4, head_dim=4, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=8),
        dict(save_original_format=False),
        no_heads,
    ),
}


def variant(name):
    kind, settings, how, change = VARIANTS[name]
    config = getattr(transformers, kind + "Config")(**{**SMALL, **settings})
    torch.manual_seed(sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    randomise(model)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **how)
    if change:
        change(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = torch.randint(config.vocab_size, (1, LENGTH))
    with torch.no_grad():
        store(folder, {"ids": ids[0].int(), "logits": model(input_ids=ids).logits[0]})


MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe"]
# The factor of the load-balancing loss in their fixtures.
BALANCE = 0.3

# Models also stored in mixed precision.
MIXED = ["gpt2", "llama", "qwen3"]


def randomise(model):
    """Values large enough for every part of the model to affect its outputs."""
    gain = 0.0 if model.config.model_type.startswith("gemma") else 1.0  # which Gemma adds to its weights
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue  # sinusoidal positions
        with torch.no_grad():
            if p.ndim == 1 and "norm" in name.lower() + name.replace("ln_", "norm") and "bias" not in name:
                p.normal_(gain, 0.2)
            elif p.ndim == 1:
                p.normal_(0.0, 0.2)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.normal_(0.0, 0.5)
            elif "t5" in model.config.model_type and name.endswith("bias.weight"):
                p.normal_(0.0, 1.0)
            else:
                p.normal_(0.0, 0.3)


def file_gradients(model):
    """Gradients under the names in the file, with separate experts."""
    mixtral = model.config.model_type == "mixtral"
    names = ["w1", "w3", "w2"] if mixtral else ["gate_proj", "up_proj", "down_proj"]
    out = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        if ".experts." in name and model.config.model_type != "gpt_oss":
            prefix = name.rsplit(".", 1)[0]
            if mixtral:
                prefix = prefix.replace(".mlp.", ".block_sparse_moe.")
            for e, g in enumerate(grad):
                if name.endswith("gate_up_proj"):
                    gate, up = g.chunk(2, 0)
                    out[f"{prefix}.{e}.{names[0]}.weight"] = gate
                    out[f"{prefix}.{e}.{names[1]}.weight"] = up
                else:
                    out[f"{prefix}.{e}.{names[2]}.weight"] = g
        else:
            if mixtral:
                name = name.replace(".mlp.gate.", ".block_sparse_moe.gate.")
            out[name] = grad
    return {f"grad.{name}": g.detach().clone().contiguous() for name, g in out.items()}


def adamw(model):
    """Decay only for matrices, as in feedforward."""
    decays = lambda name, p: p.ndim >= 2 and not name.endswith("bias")
    matrices = [p for name, p in model.named_parameters() if decays(name, p)]
    rest = [p for name, p in model.named_parameters() if not decays(name, p)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)


def decoder(name):
    kind, settings = DECODERS[name]
    settings = settings if kind == "GPT2" else {**SMALL, **settings}
    if kind == "GPT2":
        settings = dict(settings, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None)
    config = getattr(transformers, kind + "Config")(**settings)
    config._attn_implementation = "eager"
    torch.manual_seed(sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    randomise(model)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    vocab = config.vocab_size
    expected = {}
    ids = torch.randint(vocab, (BATCH, LENGTH))
    out = model(input_ids=ids, labels=ids)
    out.loss.backward()
    expected["ids"] = ids.int()
    expected["logits"] = out.logits.detach()
    expected["loss"] = out.loss.detach().reshape(1)
    expected.update(file_gradients(model))
    prompt = torch.randint(vocab, (1, 5))
    model.eval()
    tokens = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
    )
    expected["generate.prompt"] = prompt[0].int()
    expected["generate.tokens"] = tokens[0, 5:].int()
    with torch.no_grad():
        model(input_ids=ids[:, :2])  # forgets the length of the text, which a base that grows remembers
    model.train()
    optimizer = adamw(model)
    steps = torch.randint(vocab, (STEPS, BATCH, LENGTH))
    losses = []
    for ids in steps:
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    expected["steps.ids"] = steps.int()
    expected["steps.losses"] = torch.stack(losses)
    store(folder, expected)


def mixed(name):
    """The results of a stored decoder under autocast: products in bf16, parameters and the optimiser in f32."""
    folder = FOLDER / name
    stored = load_file(folder / "expected.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model.train()
    losses, expected = [], {}
    optimizer = adamw(model)
    run = lambda ids: model(input_ids=ids.long(), labels=ids.long())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected["logits"] = run(stored["ids"]).logits.detach().float()
    for ids in stored["steps.ids"]:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = run(ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().float())
    expected["steps.losses"] = torch.stack(losses)
    f32 = (expected["logits"] - stored["logits"]).abs().max() / stored["logits"].abs().max()
    off = (expected["steps.losses"] / stored["steps.losses"] - 1).abs().max()
    print(f"{name} in bf16: logits {f32:.1e} from f32, losses {off:.1e}")
    store(folder, expected, "bf16.safetensors")


def balanced(name):
    """The same mixture with the load-balancing loss, large enough to matter."""
    folder = FOLDER / name
    stored = load_file(folder / "expected.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model.config.output_router_logits = True
    model.router_aux_loss_coef = BALANCE
    model.train()
    run = lambda ids: model(input_ids=ids.long(), labels=ids.long())
    out = run(stored["ids"])
    out.loss.backward()
    expected = {"loss": out.loss.detach().reshape(1), "balance": out.aux_loss.detach().reshape(1)}
    expected.update(file_gradients(model))
    optimizer, losses = adamw(model), []
    for ids in stored["steps.ids"]:
        optimizer.zero_grad()
        loss = run(ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    expected["steps.losses"] = torch.stack(losses)
    store(folder, expected, "balance.safetensors")


ENCODER = dict(
    vocab_size=37,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=20,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
DISTIL = dict(
    vocab_size=37,
    dim=16,
    hidden_dim=20,
    n_layers=2,
    n_heads=4,
    max_position_embeddings=20,
    dropout=0.0,
    attention_dropout=0.0,
    seq_classif_dropout=0.0,
)
ENCODERS = {
    "bert_masked": ("Bert", "ForMaskedLM", ENCODER),
    "bert_sequence": ("Bert", "ForSequenceClassification", dict(ENCODER, num_labels=3, hidden_act="relu")),
    "bert_regression": ("Bert", "ForSequenceClassification", dict(ENCODER, num_labels=1)),
    "bert_vectors": ("Bert", "Model", ENCODER),
    "roberta_masked": ("Roberta", "ForMaskedLM", dict(ENCODER, type_vocab_size=1, layer_norm_eps=1e-5)),
    "roberta_sequence": ("Roberta", "ForSequenceClassification", dict(ENCODER, type_vocab_size=1)),
    "roberta_tokens": ("Roberta", "ForTokenClassification", dict(ENCODER, num_labels=4)),
    "distilbert_masked": ("DistilBert", "ForMaskedLM", DISTIL),
    "distilbert_sequence": ("DistilBert", "ForSequenceClassification", DISTIL),
}


# Layers 1 and 2 see 3 tokens on each side.
MODERN = dict(
    vocab_size=37,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=4,
    num_attention_heads=2,
    max_position_embeddings=20,
    local_attention=6,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    cls_token_id=1,
    sep_token_id=2,
    rope_parameters=dict(
        full_attention=dict(rope_type="default", rope_theta=100.0),
        sliding_attention=dict(rope_type="default", rope_theta=20.0),
    ),
)
ENCODERS |= {
    "modernbert_masked": ("ModernBert", "ForMaskedLM", MODERN),
    "modernbert_sequence": (
        "ModernBert",
        "ForSequenceClassification",
        dict(MODERN, num_labels=3, classifier_pooling="mean", classifier_activation="relu", classifier_bias=True),
    ),
    "modernbert_tokens": (
        "ModernBert",
        "ForTokenClassification",
        dict(
            MODERN,
            num_labels=4,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            hidden_activation="gelu_new",
            layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
        ),
    ),
    "modernbert_vectors": ("ModernBert", "Model", dict(MODERN, num_hidden_layers=2)),
}


def finish(name, model, expected, run, batches):
    """The losses of twenty steps."""
    model.train()
    optimizer = adamw(model)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = run(*batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    expected["steps.losses"] = torch.stack(losses)
    store(FOLDER / name, expected)


def start(name, model):
    torch.manual_seed(sum(map(ord, name)))
    randomise(model)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    model.save_pretrained(FOLDER / name)


def encoder(name):
    family, head, settings = ENCODERS[name]
    torch.manual_seed(1)
    config = getattr(transformers, family + "Config")(**settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, family + head)(config).float()
    start(name, model)
    model.eval()
    pad = config.pad_token_id
    ids = torch.randint(3, config.vocab_size, (BATCH, LENGTH))
    lengths = [LENGTH, LENGTH - 5]
    mask = torch.tensor([[int(t < n) for t in range(LENGTH)] for n in lengths])
    ids = torch.where(mask == 1, ids, pad)
    types = {}
    expected = {"ids": ids.int(), "mask": mask.int()}
    if family == "Bert":
        types = {"token_type_ids": torch.tensor([[int(t > 5) for t in range(LENGTH)]] * BATCH)}
        expected["types"] = types["token_type_ids"].int()
    if head == "Model":
        out = model(input_ids=ids, attention_mask=mask, **types).last_hidden_state
        weight = mask[:, :, None].float()
        expected["vectors"] = out.detach()
        expected["first"] = out[:, 0].detach()
        expected["mean"] = ((out * weight).sum(1) / weight.sum(1)).detach()
        store(FOLDER / name, expected)
        return
    labels = {"ForMaskedLM": config.vocab_size}.get(head, config.num_labels)
    shape = (BATCH,) if "Sequence" in head else (BATCH, LENGTH)
    targets = torch.randint(labels, (STEPS, *shape))
    if labels == 1:
        targets = torch.randn(STEPS, *shape)
    if "Sequence" not in head:
        # Padding and some other tokens are not targets.
        keep = (mask == 1) & (torch.rand(STEPS, *shape) < 0.7)
        targets = torch.where(keep, targets, -100)
    run = lambda targets: model(input_ids=ids, attention_mask=mask, labels=targets, **types).loss
    out = model(input_ids=ids, attention_mask=mask, labels=targets[0], **types)
    out.loss.backward()
    expected.update(file_gradients(model))
    expected["logits"] = out.logits.detach()
    expected["loss"] = out.loss.detach().reshape(1)
    expected["steps.targets"] = targets if labels == 1 else targets.int()
    finish(name, model, expected, run, [(t,) for t in targets])


def marian_model(vocab_size, end):
    torch.manual_seed(1)
    config = transformers.MarianConfig(
        vocab_size=vocab_size,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=20,
        decoder_ffn_dim=24,
        max_position_embeddings=30,
        pad_token_id=vocab_size - 1,
        decoder_start_token_id=vocab_size - 1,
        eos_token_id=0,
        forced_eos_token_id=0,
        scale_embedding=True,
        activation_function="swish",
        dropout=0.0,
    )
    config._attn_implementation = "eager"
    model = transformers.MarianMTModel(config).float()
    with torch.no_grad():
        model.final_logits_bias.normal_(0.0, 0.5)
        model.final_logits_bias[0, 0] += end  # so that some translations reach their end token
    return model


def pairs(name, model, tokens, pad, end, **search):
    """Sources and targets of these tokens: logits, gradients, steps, and what is written with one beam and with three."""
    start(name, model)
    model.eval()
    source = torch.randint(*tokens, (BATCH, LENGTH))
    lengths = [LENGTH, LENGTH - 4]
    mask = torch.tensor([[int(t < n) for t in range(LENGTH)] for n in lengths])
    source = torch.where(mask == 1, source, pad)
    targets = torch.randint(*tokens, (STEPS, BATCH, LENGTH - 3))
    targets[:, 1, -2:] = -100
    run = lambda targets: model(input_ids=source, attention_mask=mask, labels=targets).loss
    out = model(input_ids=source, attention_mask=mask, labels=targets[0])
    out.loss.backward()
    expected = {"ids": source.int(), "mask": mask.int(), **file_gradients(model)}
    expected["logits"] = out.logits.detach()
    expected["loss"] = out.loss.detach().reshape(1)
    expected["steps.targets"] = targets.int()
    for i in range(6):
        text = torch.cat([torch.randint(*tokens, (1, 4 + i)), torch.full((1, 1), end)], 1)
        expected[f"text.{i}"] = text[0].int()
        for beams in (1, 3):
            found = model.generate(
                text, attention_mask=torch.ones_like(text), max_new_tokens=14, num_beams=beams, do_sample=False, **search
            )[0, 1:]
            expected[f"text.{i}.beams.{beams}"] = found.int()
    finish(name, model, expected, run, [(t,) for t in targets])


def marian(name):
    pairs(name, marian_model(39, 4.0), (1, 38), 38, 0, bad_words_ids=[[38]])


SMALL_T5 = dict(
    vocab_size=41,
    d_model=16,
    d_kv=6,
    d_ff=20,
    num_layers=2,
    num_heads=3,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=10,
    dropout_rate=0.0,
    pad_token_id=0,
    eos_token_id=1,
    decoder_start_token_id=0,
)
# Kind, settings, and whether the output layer has a matrix of its own.
T5 = {
    "t5": ("T5", dict(SMALL_T5, num_decoder_layers=1, layer_norm_epsilon=0.01), False),
    "t5_gated": (
        "T5",
        dict(SMALL_T5, feed_forward_proj="gated-gelu", num_decoder_layers=3, d_kv=4, tie_word_embeddings=False),
        True,
    ),
    # Five buckets do not halve evenly; other special tokens; no matrix of its own, though the config says so.
    "t5_silu": (
        "T5",
        dict(
            SMALL_T5,
            feed_forward_proj="gated-silu",
            relative_attention_num_buckets=5,
            relative_attention_max_distance=7,
            pad_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=4,
            tie_word_embeddings=False,
        ),
        False,
    ),
    "t5_gelu": ("T5", dict(SMALL_T5, feed_forward_proj="gelu", d_kv=5, num_heads=4), True),
    "mt5": ("MT5", dict(SMALL_T5, num_heads=2, d_kv=8, relative_attention_max_distance=128), True),
}


def t5_model(name, settings=None):
    kind, usual, own = T5[name]
    settings = settings or usual
    config = getattr(transformers, kind + "Config")(**settings)
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    model = getattr(transformers, kind + "ForConditionalGeneration")(config).float()
    if own:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model, settings


def t5(name):
    model, settings = t5_model(name)
    # Without a cache, which transformers makes for as many layers as the encoder has.
    pairs(name, model, (5, 41), settings["pad_token_id"], settings["eos_token_id"], use_cache=False)
    path = FOLDER / name / "config.json"
    config = json.loads(path.read_text())
    # What early files say of the output layer, and dropout, which is for training alone.
    config["tie_word_embeddings"] = settings.get("tie_word_embeddings", True)
    if config["tie_word_embeddings"] == config.get("scale_decoder_outputs"):
        del config["scale_decoder_outputs"]
    config["dropout_rate"] = 0.1
    path.write_text(json.dumps(config, indent=2))
    again = AutoModelForSeq2SeqLM.from_pretrained(FOLDER / name, dtype=torch.float32).eval()
    stored = load_file(FOLDER / name / "expected.safetensors")
    targets = stored["steps.targets"][0].long()
    out = again(input_ids=stored["ids"].long(), attention_mask=stored["mask"].long(), labels=targets)
    assert torch.allclose(out.logits, stored["logits"], atol=1e-4), name


RULES = "FB01\t66 69\n41\t61\nE9\t65 301\nA0\t20\n"  # the ligature fi, A to a, é in two, a space that does not break
SENTENCES = """The cat sees a dog. A dog and the bird sing all day!
Where is the small red house? It stands behind the hill.
Never has anyone seen so many finches in one café.""".split("\n")
TEXTS = ["the cat", "", "  A  ﬁne\u00a0day ", ">>de<< where is it?", "日本 the 日本", "café</s> hill", "<s> _ ▁x\ty"]


def marian_text(name):
    """The folder written by `MarianTokenizer`: SentencePiece models and a vocabulary of both languages."""
    import json
    import tempfile

    import sentencepiece

    folder = FOLDER / name
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "rules.tsv").write_text(RULES)
        pieces = {"</s>": 0, "<unk>": 1, ">>de<<": 2}
        for side, size in (("source", 50), ("target", 48)):
            text = place / "text"
            lines = SENTENCES if side == "source" else [line[::-1] for line in SENTENCES]
            text.write_text("\n".join(lines * 3))
            sentencepiece.SentencePieceTrainer.train(
                input=str(text),
                model_prefix=str(place / side),
                vocab_size=size,
                normalization_rule_tsv=str(place / "rules.tsv"),
                minloglevel=2,
            )
            (place / f"{side}.model").rename(place / f"{side}.spm")
            model = sentencepiece.SentencePieceProcessor(model_file=str(place / f"{side}.spm"))
            for piece in sorted(model.id_to_piece(i) for i in range(3, size)):
                pieces.setdefault(piece, len(pieces))
        pieces["<pad>"] = len(pieces)
        (place / "vocab.json").write_text(json.dumps(pieces))
        files = [str(place / file) for file in ("source.spm", "target.spm", "vocab.json")]
        tokenizer = transformers.MarianTokenizer(*files)
        model = marian_model(len(pieces), 3.0)
        start(name, model)
        model.eval()
        tokenizer.save_pretrained(folder)
    expected = []
    for text in TEXTS:
        found = {"text": text, "ids": tokenizer(text).input_ids}
        for beams in (1, 3):
            tokens = model.generate(
                **tokenizer(text, return_tensors="pt"),
                max_new_tokens=14,
                num_beams=beams,
                do_sample=False,
                bad_words_ids=[[len(pieces) - 1]],
            )[0]
            found[f"beams.{beams}"] = tokenizer.decode(tokens, skip_special_tokens=True)
        expected.append(found)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))


T5_TEXTS = ["the cat", "", "  A  fine day ", "<extra_id_0> the <extra_id_1>", "日本 the 日本", "café</s> hill", "x\ty"]


def t5_text(name):
    """A folder as T5's are: a SentencePiece model, and the tokenizer.json that `T5Tokenizer` makes of it."""
    import tempfile

    import sentencepiece

    folder = FOLDER / name
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "rules.tsv").write_text(RULES + "9\t20\n")  # T5's rules also make tabs spaces
        (place / "text").write_text("\n".join(SENTENCES * 3))
        sentencepiece.SentencePieceTrainer.train(
            input=str(place / "text"),
            model_prefix=str(place / "spiece"),
            vocab_size=50,
            normalization_rule_tsv=str(place / "rules.tsv"),
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
        settings = dict(SMALL_T5, vocab_size=56, num_heads=2, num_layers=1, feed_forward_proj="gated-gelu")
        T5[name] = ("T5", settings, True)
        model, _ = t5_model(name)
        start(name, model)
        model.eval()
        tokenizer = transformers.T5Tokenizer.from_pretrained(place, extra_ids=3)
        tokenizer.save_pretrained(folder)
        shutil.copy(place / "spiece.model", folder)
    expected = []
    for text in T5_TEXTS:
        found = {"text": text, "ids": tokenizer(text).input_ids}
        for beams in (1, 3):
            tokens = model.generate(
                **tokenizer(text, return_tensors="pt"), max_new_tokens=14, num_beams=beams, do_sample=False
            )[0]
            found[f"beams.{beams}"] = tokenizer.decode(tokens, skip_special_tokens=True)
        expected.append(found)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))


def store(folder, expected, file="expected.safetensors"):
    note = f"torch {torch.__version__}, transformers {transformers.__version__}"
    expected = {k: v.contiguous().clone() for k, v in expected.items()}
    save_file(expected, folder / file, metadata={"framework": note})


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    kinds = [(DECODERS, decoder), (VARIANTS, variant), (ENCODERS, encoder), (T5, t5)]
    for name in sys.argv[1:] or [*DECODERS, *VARIANTS, *ENCODERS, "marian", "marian_text", *T5, "t5_text"]:
        make = next((make for names, make in kinds if name in names), globals().get(name))
        make(name)
        if name in MIXED:
            mixed(name)
        if name in MIXTURES:
            balanced(name)
        size = sum(f.stat().st_size for f in (FOLDER / name).iterdir())
        print(f"{name}: {size // 1024} KiB")
