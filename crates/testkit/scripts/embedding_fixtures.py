"""Small models that make texts vectors, with the vectors that transformers and NumPy give.

    python crates/testkit/scripts/embedding_fixtures.py

Writes crates/testkit/fixtures/embedding/{bert,roberta,model2vec}: a folder as it is published, with texts and vectors in
expected.json. The tokenizers are those of crates/text/scripts/encoder_tokenizers.py.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from tokenizers import BertWordPieceTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[3]
VOCABULARIES = ROOT / "crates/text/src/tokenizer/fixtures"
TEXTS = [
    "the quick brown fox",
    "",
    "Café Zürich: naïve words, quotes “and” more",
    "the quick brown fox " * 20,
    "汉字 mixed with the rest",
    "jumping",
]
MOST = 24


def text(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def vectors(model, tokenizer, pooling, normalize):
    found = []
    for one in TEXTS:
        inputs = tokenizer([one], truncation=True, max_length=MOST, return_tensors="pt")
        hidden = model(**inputs).last_hidden_state[0]
        vector = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
        found.append(torch.nn.functional.normalize(vector, dim=0) if normalize else vector)
    return torch.stack(found).tolist()


def bert(folder):
    shutil.copy(VOCABULARIES / "uncased/vocab.txt", folder)
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=40,
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    kinds = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    text(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
         for i, (path, kind) in enumerate(zip(paths, kinds))],
    )
    text(folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    text(folder / "sentence_bert_config.json", {"max_seq_length": MOST, "do_lower_case": False})
    return {name: vectors(model, tokenizer, name, True) for name in ["mean", "cls", "last"]}


def roberta(folder):
    for name in ["vocab.json", "merges.txt"]:
        shutil.copy(VOCABULARIES / "roberta" / name, folder)
    tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=MOST + 2, type_vocab_size=1, pad_token_id=1,
    )
    model = transformers.RobertaModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return {"mean": vectors(model, tokenizer, "mean", False)}


def model2vec(folder):
    tokenizer = BertWordPieceTokenizer(str(VOCABULARIES / "uncased/vocab.txt"))
    tokenizer.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(0)
    size, rows = tokenizer.get_vocab_size(), 50
    table = rng.normal(size=(rows, 16)).astype(np.float16)
    weights = rng.uniform(0.1, 1, size=size).astype(np.float32)
    mapping = rng.integers(0, rows, size=size)
    save_file({"embeddings": table, "weights": weights, "mapping": mapping}, folder / "model.safetensors")
    text(folder / "config.json", {"model_type": "model2vec", "normalize": True})
    unknown, found = tokenizer.token_to_id("[UNK]"), []
    for one in TEXTS:
        ids = [i for i in tokenizer.encode(one, add_special_tokens=False).ids if i != unknown]
        vector = (table[mapping[ids]].astype(np.float64) * weights[ids][:, None]).mean(0) if ids else np.zeros(16)
        found.append((vector / max(np.linalg.norm(vector), 1e-12)).tolist())
    return {"mean": found}


def main():
    torch.manual_seed(0)
    for make in [bert, roberta, model2vec]:
        folder = ROOT / "crates/testkit/fixtures/embedding" / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with torch.inference_mode():
            expected = make(folder)
        text(folder / "expected.json", {"texts": TEXTS, "vectors": expected})


main()
