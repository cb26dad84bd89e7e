"""Whether PEFT opens the adapters that `feedforward finetune` writes, with the same logits.

    cargo build -p feedforward --example logits
    python crates/testkit/scripts/open_in_peft.py FEEDFORWARD target/debug/examples/logits [MODEL]

An adapter of each kind is trained for a few steps on a tiny model of fixtures/language, with a tokenizer of single
characters, or on MODEL, a folder of a Llama with one matrix for embeddings and output. Then PEFT opens it: each of its
tensors must be in the file, each of the file in PEFT's model with these values, and the logits those of the program.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, logging

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures/language"
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 +=?"
# Models and settings by kind.
KINDS = {
    "all linear layers": ("llama", []),
    "patterns": ("llama", ['targets=["layers.1.mlp", "q_proj", "layers.0*.o_proj"]', 'exclude=["up_proj"]', "alpha=5"]),
    "rsLoRA": ("llama", ["rank_stabilized=true", "rank=3", "alpha=5"]),
    "dropout": ("llama", ["dropout=0.1"]),
    "DoRA": ("llama", ["dora=true", "rank=3"]),
    "DoRA, rsLoRA": ("llama", ["dora=true", "rank_stabilized=true", 'targets=["v_proj", "down_proj"]']),
    "lora_bias": ("llama", ["lora_bias=true"]),
    "lm_head": ("llama", ['modules_to_save=["lm_head"]']),
    "embed_tokens": ("llama", ['modules_to_save=["embed_tokens"]']),
    "embed_tokens, not tied": ("llama", ['modules_to_save=["embed_tokens"]', "keep_tied=false"]),
    "lm_head, embed_tokens, norm": ("llama", ['modules_to_save=["lm_head", "embed_tokens", "norm"]']),
    "a norm": ("llama", ['modules_to_save=["model.norm"]', 'targets=["q_proj"]']),
    "tokens": ("llama", ["tokens=[7, 2, 31]"]),
    "behind an invocation": ("llama", ['invocation="="']),
    "tied, embed_tokens": ("gemma2", ['modules_to_save=["embed_tokens"]']),
    "tied, embed_tokens apart": ("gemma2", ['modules_to_save=["embed_tokens"]', "keep_tied=false"]),
    "tied, lm_head apart": ("gemma2", ['modules_to_save=["lm_head"]', "keep_tied=false"]),
    "tied, tokens": ("gemma2", ["tokens=[7, 2, 31]"]),
    "GPT-2": ("gpt2", []),
    "GPT-2, DoRA": ("gpt2", ["dora=true"]),
    "GPT-2, all biases": ("gpt2", ['bias="all"']),
    "GPT-2, own biases": ("gpt2", ['bias="lora_only"', 'targets=["c_attn", "c_fc"]']),
    "GPT-2, wte": ("gpt2", ['modules_to_save=["wte"]', "keep_tied=false"]),
    "GPT-2, lm_head": ("gpt2", ['modules_to_save=["lm_head"]', "keep_tied=false"]),
    "GPT-2, tokens": ("gpt2", ["tokens=[7, 2, 31]"]),
    "Qwen 2, all biases": ("qwen2", ['bias="all"']),
    "Qwen 2, own biases, lora_bias": ("qwen2", ['bias="lora_only"', "lora_bias=true", 'targets=["q_proj", "down_proj"]']),
    "Phi 3": ("phi3", []),
    "Mixtral": ("mixtral", []),
    "Mixtral, experts": ("mixtral", ['experts=["gate_up_proj", "down_proj"]', "rank=3"]),
    "Mixtral, down_proj of experts": ("mixtral", ['experts=["down_proj"]', 'targets=["q_proj"]']),
    "Mixtral, experts of a layer": ("mixtral", ['experts=["layers.1*.gate_up_proj"]', 'targets=["q_proj"]']),
    "GPT-OSS, experts": ("gpt_oss", ['experts=["gate_up_proj"]', 'targets=["q_proj"]']),
    "GPT-OSS, all experts": ("gpt_oss", ['experts=["gate_up_proj", "down_proj"]', "rank=3"]),
    "T5": ("t5_text", []),
    "T5, DoRA, some layers": ("t5_text", ["dora=true", 'targets=["decoder.*.q", "wo"]', "rank=3"]),
    "Marian": ("marian_text", ["rank_stabilized=true"]),
    "Marian, dropout": ("marian_text", ["dropout=0.1", 'exclude=["encoder_attn"]', "alpha=5"]),
}
# Encoders with decoders, with tokenizers of their own.
PAIRS = ("t5_text", "marian_text")
RUN = ["data.valid=0", "train.epochs=4", "train.batch_size=2", "sample.max_tokens=1"]
RUN_OF_PAIRS = ["data.split.valid=0", "train.epochs=4", "train.batch_size=2", "train.dropout=0"]


def tiny(base, folder):
    """The fixture with a tokenizer of single characters."""
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(FIXTURES / base / name, folder)
    vocabulary = {"<end>": 0} | {character: i + 1 for i, character in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def difference(adapter, base, ids, ours):
    """How far the logits of PEFT are from ours and from the base's, and the largest; its tensors are those of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*adapter keys.*")
        warnings.filterwarnings("error", message=".*not found.*")
        pair = base.name in PAIRS
        model = (AutoModelForSeq2SeqLM if pair else AutoModelForCausalLM).from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, adapter).eval()
        stored = load_file(adapter / "adapter_model.safetensors")
        opened = get_peft_model_state_dict(model, save_embedding_layers=False)
        assert set(stored) == set(opened), set(stored) ^ set(opened)
        for name, values in opened.items():
            assert torch.equal(values, stored[name]), name
        tokens = torch.tensor([ids])
        forward = lambda: model(tokens, **({"decoder_input_ids": tokens} if pair else {})).logits[0]
        with torch.no_grad():
            logits = forward()
            with model.disable_adapter():
                plain = forward()
    ours = torch.tensor(ours).reshape(logits.shape)
    return tuple(values.abs().max().item() for values in (logits - ours, logits - plain, logits))


def main():
    program, logits = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    given = pathlib.Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
    torch.set_num_threads(2)
    logging.disable_progress_bar()
    place = pathlib.Path(tempfile.mkdtemp())
    records = [{"prompt": f"{a}+{b}=", "completion": f"{a + b}"} for a in range(3, 7) for b in range(5, 8)]
    (place / "sums.jsonl").write_text("\n".join(map(json.dumps, records)))
    ids = [5, 7, 2, 31, 11, 39, 18, 2, 40, 1, 26, 33]
    (place / "ids.json").write_text(json.dumps([ids]))
    failed = []
    for i, (kind, (family, settings)) in enumerate(KINDS.items()):
        # Where one matrix is both, the output layer is trained apart alone.
        both = "lm_head" in str(settings) and "keep_tied=false" not in settings
        if given and (family not in ("llama", "gemma2") or both):
            continue
        pair = family in PAIRS
        base = FIXTURES / family if pair else given or place / family
        if not base.exists():
            tiny(family, base)
        run, out = place / f"run{i}", place / "logits"
        rate = f"optimizer.lr={0.002 if given else 0.02}"
        sets = [f"--set={setting}" for setting in [rate, *(RUN_OF_PAIRS if pair else RUN), *(f"adapter.{setting}" for setting in settings)]]
        columns = ["--source", "prompt", "--target", "completion"] if pair else []
        command = [program, "finetune", base, "--data", place / "sums.jsonl", *columns, "--out", run, "--quiet", *sets]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            failed.append(kind)
            print(f"{kind}: {done.stderr}")
            continue
        subprocess.run([logits, base, place / "ids.json", out, run / "adapter"], check=True)
        try:
            apart, effect, largest = difference(run / "adapter", base, ids, numpy.fromfile(out, "f4"))
        except Exception as error:
            failed.append(kind)
            print(f"{kind}: {type(error).__name__}: {error}")
            continue
        print(f"{kind}: logits up to {largest:.1f} apart by {apart:.1e}, changed by the adapter by {effect:.1f}")
        if not apart < 1e-5 * largest or effect < 0.1:
            failed.append(kind)
    shutil.rmtree(place)
    if failed:
        sys.exit(f"differ: {', '.join(failed)}")


main()
