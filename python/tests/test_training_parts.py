"""Optimiser steps, learning rates and tokenizers, beside PyTorch's and those of `tokenizers`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from feedforward import Tokenizer
from feedforward import functional as F

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "settings", "theirs", "options"),
    [
        ("sgd", {"lr": 0.1, "momentum": 0.9}, "SGD", {"lr": 0.1, "momentum": 0.9}),
        ("adam", {"lr": 0.01}, "Adam", {"lr": 0.01}),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}, "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
        ("rmsprop", {"lr": 0.01}, "RMSprop", {"lr": 0.01}),
        ("adagrad", {"lr": 0.1}, "Adagrad", {"lr": 0.1}),
    ],
)
def test_steps_are_those_of_pytorch(kind, settings, theirs, options, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.normal(size=(4, 3)).astype(dtype),
        "v": rng.normal(size=(2, 5)).astype(dtype),
    }
    twins = [torch.nn.Parameter(torch.tensor(a)) for a in arrays.values()]
    optimizer = F.Optimizer(arrays, kind, **settings)
    other = getattr(torch.optim, theirs)(twins, **options)
    for _ in range(5):
        gradients = [rng.normal(size=a.shape).astype(dtype) for a in arrays.values()]
        for twin, gradient in zip(twins, gradients, strict=True):
            twin.grad = torch.tensor(gradient)
        other.step()
        norm = optimizer.step(dict(zip(arrays, gradients, strict=True)))
        flat = np.concatenate([g.ravel() for g in gradients])
        assert norm == pytest.approx(np.linalg.norm(flat), rel=1e-6)
    tolerance = 3e-6 if dtype == np.float32 else 1e-13
    for array, twin in zip(arrays.values(), twins, strict=True):
        np.testing.assert_allclose(array, twin.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_a_gradient_that_is_not_finite_changes_nothing():
    w = np.ones((2, 2))
    optimizer = F.Optimizer([w], "sgd", lr=0.1)
    optimizer.step([np.full((2, 2), np.nan)])
    assert (w == 1).all()
    optimizer.step([np.full((2, 2), 4.0)], count=2, lr=0.5)
    assert (w == 0).all()


def test_arrays_in_any_layout_are_updated_in_place():
    w = np.asfortranarray(np.ones((2, 3)))
    F.Optimizer([w], "sgd", lr=1.0).step([np.arange(6.0).reshape(2, 3)])
    np.testing.assert_array_equal(w, 1 - np.arange(6.0).reshape(2, 3))


def test_mistakes_of_optimisers():
    w = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"unknown variant `adamm`.*`lbfgs`$"):
        F.Optimizer([w], "adamm")
    with pytest.raises(ValueError, match=r"optimizer\.lr"):
        F.Optimizer([w], "adam", lr=-1)
    with pytest.raises(ValueError, match="no array"):
        F.Optimizer([])
    with pytest.raises(ValueError, match="gradient 0"):
        F.Optimizer([w]).step([np.ones(3)])
    with pytest.raises(KeyError, match="w"):
        F.Optimizer({"w": w}).step({})
    w.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        F.Optimizer([w]).step([np.ones((2, 2))])


def test_rates_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    twin = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(twin, T_max=50)
    schedule = F.Schedule("cosine", lr=0.1, total_steps=50)
    for step in range(50):
        assert schedule(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        twin.step()
        theirs.step()
    warm = F.Schedule("constant", lr=1.0, total_steps=10, warmup=4)
    assert [warm(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    with pytest.raises(ValueError, match="cosin"):
        F.Schedule("cosin", lr=0.1, total_steps=5)


def test_byte_pairs_are_learned_and_come_back(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, vocab_size=280, special=["<end>"])
    assert tokenizer.kind == "bpe"
    assert len(tokenizer) <= 280
    assert tokenizer.merges[0] in {("a", "t"), ("t", "h"), ("Ġ", "t"), ("h", "e")}
    text = "the cat, naïve 🐈"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_all(TEXTS) == [tokenizer.encode(t) for t in TEXTS]
    assert tokenizer.token(tokenizer.special_tokens["<end>"]) == "<end>"
    tokenizer.save(tmp_path)
    assert Tokenizer(tmp_path).encode(text) == tokenizer.encode(text)
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(text).ids == tokenizer.encode(text)


def test_tokenizers_are_pickled():
    tokenizer = Tokenizer.train(["a text", "another text"] * 9, vocab_size=280, special=["<end>"])
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode("another text<end>") == tokenizer.encode("another text<end>")
    assert again.special_tokens == tokenizer.special_tokens


def test_tokenizers_are_learned_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    for kind in ("bpe", "wordpiece", "unigram", "bytes", "characters"):
        tokenizer = Tokenizer.train(files=tmp_path / "a.txt", kind=kind, vocab_size=300)
        assert tokenizer.kind == kind
        assert "cat" in tokenizer.decode(tokenizer.encode("cat"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Tokenizer.train(files=tmp_path / "none.txt")
    with pytest.raises(TypeError, match="one text"):
        Tokenizer.train("text")
    with pytest.raises(FileNotFoundError):
        Tokenizer(tmp_path / "none")
