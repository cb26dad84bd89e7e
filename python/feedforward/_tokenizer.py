"""Tokenizers: text to ids and back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedforward import _core

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PathLike = str | os.PathLike[str]


class Tokenizer:
    """A tokenizer: a file `tokenizer.json`, a folder of Hugging Face, or one that was learned.

    >>> tokenizer = Tokenizer.train(["some texts", "and others"], vocab_size=300)
    >>> tokenizer.decode(tokenizer.encode("other texts"))
    'other texts'
    """

    def __init__(self, path: PathLike) -> None:
        self._core = _core.Tokenizer(os.fspath(path))

    @classmethod
    def train(
        cls,
        texts: Iterable[str] | None = None,
        *,
        files: PathLike | Sequence[PathLike] | None = None,
        vocab_size: int = 32768,
        kind: str = "bpe",
        split: str = "gpt2",
        special: Sequence[str] = (),
        min_frequency: int = 2,
        text_column: str = "text",
    ) -> Tokenizer:
        """Learns a tokenizer from texts, or from files of text.

        `kind` is `bpe` (byte pairs), `wordpiece`, `unigram`, `bytes` or `characters`; `split` how
        text is divided into words for byte pairs: `gpt2`, `llama3` or `qwen2`. The result does not
        depend on the number of threads.
        """
        if (texts is None) == (files is None):
            raise TypeError("name texts or files to learn from")
        if isinstance(texts, str):
            raise TypeError("texts is one text: give a list of texts, or files=")
        learn = (kind, split, vocab_size, list(special), min_frequency)
        if files is not None:
            several = [files] if isinstance(files, (str, os.PathLike)) else files
            config = {"paths": [os.fspath(path) for path in several], "text_column": text_column}
            return cls._of(_core.Tokenizer.train(json.dumps(config), *learn))
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "texts.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                for text in texts or ():
                    file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            return cls._of(_core.Tokenizer.train(json.dumps({"paths": [path]}), *learn))

    @classmethod
    def _of(cls, core: Any) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._core = core
        return tokenizer

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, with the tokens that begin or end one."""
        return self._core.encode(text, special=special)

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of many texts, on all threads."""
        return self._core.encode_all(list(texts))

    def decode(self, ids: Iterable[int], *, special: bool = True) -> str:
        """The text of ids; without `special`, special tokens are left out."""
        return self._core.decode([int(i) for i in ids], special=special)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return self._core.vocab_size

    @property
    def kind(self) -> str:
        """How text is cut."""
        return self._core.kind

    @property
    def special_tokens(self) -> dict[str, int]:
        """Special tokens with their ids."""
        return dict(self._core.special_tokens)

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The merges of byte pairs, in the order in which they were learned."""
        found = json.loads(self._core.json)["model"].get("merges", [])
        pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in found)
        return [(first, second) for first, second in pairs]

    def token(self, id: int) -> str | None:
        """The token of an id, as the vocabulary writes it."""
        return self._core.token(id)

    def id(self, token: str) -> int | None:
        """The id of a token, as the vocabulary writes it."""
        return self._core.id(token)

    def save(self, folder: PathLike) -> None:
        """Writes `tokenizer.json`, which `tokenizers` and `transformers` open, into a folder."""
        self._core.save(os.fspath(folder))

    def __getstate__(self) -> dict[str, bytes]:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            return {file.name: file.read_bytes() for file in Path(folder).iterdir()}

    def __setstate__(self, files: dict[str, bytes]) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self._core = _core.Tokenizer(folder)

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {self.vocab_size} tokens)"
