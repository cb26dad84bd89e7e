"""A trained model."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

from feedforward import _core, _tables
from feedforward._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class UnfamiliarWarning(UserWarning):
    """Rows to predict have cells unlike those of training."""


class Model:
    """A model of tables, or a language model: a run, the folder of its model, or a GGUF file.

    It is opened when first used, and pickles as its path, so that each worker of a pool opens it
    once. Calls from several threads take turns.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        adapter: str | os.PathLike[str] | None = None,
        bf16: bool = False,
        threads: int = 0,
    ) -> None:
        self.path = os.fspath(path)
        self._options: dict[str, Any] = {"adapter": adapter, "bf16": bf16, "threads": threads}
        self._lock = threading.Lock()
        self._open: Any = None

    @property
    def _handle(self) -> Any:
        with self._lock:
            if self._open is None:
                if _core.is_language(self.path):
                    self._open = _core.LanguageModel(self.path, **self._options)
                else:
                    self._open = _core.TableModel(self.path, threads=self._options["threads"])
            return self._open

    @property
    def is_language_model(self) -> bool:
        """Whether it writes texts; otherwise it predicts rows of tables."""
        return isinstance(self._handle, _core.LanguageModel)

    @property
    def _table(self) -> _core.TableModel:
        if self.is_language_model:
            raise UsageError(f"{self.path} is a language model: use generate")
        handle: _core.TableModel = self._handle
        return handle

    @property
    def task(self) -> str:
        """The task: `regression` or a kind of classification; `generation` of a language model."""
        return "generation" if self.is_language_model else self._table.facts()[0]

    @property
    def target(self) -> str:
        """The column that is predicted."""
        return self._table.facts()[1]

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return self._table.facts()[2]

    @property
    def classes(self) -> list[Any]:
        """The classes, in the order of their probabilities; none where numbers are predicted."""
        return self._table.classes()

    def predict(self, data: Any) -> Any:
        """The predicted class or number of each row: a Series for a DataFrame, else an array."""
        import numpy as np

        values, proba = self._predict(data)
        if proba is not None:
            values = np.asarray(self.classes)[values]
        return _tables.like(data, self.target, values)

    def predict_proba(self, data: Any) -> Any:
        """The probability of each class `[rows, classes]`: a DataFrame for a DataFrame."""
        _, proba = self._predict(data)
        if proba is None:
            raise UsageError("probabilities are for classes; this model predicts numbers")
        return _tables.table_like(data, [str(name) for name in self.classes], proba)

    def spread(self, data: Any) -> Any:
        """How far the members of an ensemble disagree about each row: a standard deviation."""
        return _tables.like(data, "spread", self._table.spread(*self._rows(data)))

    def interval(self, data: Any, level: float = 0.9) -> Any:
        """The lower and upper end of each number, or the set of classes of each row.

        They hold the truth of such a share of rows, if new rows come from where the old ones did.
        """
        found = self._table.interval(*self._rows(data), level)
        if isinstance(found, list):
            classes = self.classes
            return [[classes[i] for i in row] for row in found]
        return _tables.table_like(data, ["lower", "upper"], found)

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        on_text: Callable[[int, str], Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        ignore_end: bool = False,
        json_schema: Mapping[str, Any] | str | None = None,
        grammar: str | None = None,
        regex: str | None = None,
    ) -> Any:
        """Continues a prompt, or several at once, and returns what was written.

        `on_text` gets the number of a prompt with each piece of text as it comes. In builds with the
        feature `grammar`, the text is JSON by a schema, a text of a grammar in Lark's form, or one
        that a regular expression matches whole.
        """
        if not self.is_language_model:
            raise UsageError(f"{self.path} predicts rows of tables: use predict")
        single = isinstance(prompt, str)
        written = self._handle.generate(
            [prompt] if single else list(prompt),
            on_text=on_text,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            stop=[stop] if isinstance(stop, str) else list(stop),
            seed=seed,
            ignore_end=ignore_end,
            rule=_rule(json_schema=json_schema, grammar=grammar, regex=regex),
        )
        texts = [text for text, _, _ in written]
        return texts[0] if single else texts

    def _rows(self, data: Any) -> tuple[str, list[Any]]:
        if _tables.is_path(data):
            return os.fspath(data), []
        return _tables.TABLE, [(_tables.TABLE, _tables.rows(data))]

    def _predict(self, data: Any) -> tuple[Any, Any]:
        import warnings

        values, proba, unfamiliar = self._table.predict(*self._rows(data))
        for finding in unfamiliar:
            warnings.warn(finding, UnfamiliarWarning, stacklevel=3)
        return values, proba

    def __fspath__(self) -> str:
        return self.path

    def __reduce__(self) -> Any:
        return (_opened, (self.path, self._options))

    def __repr__(self) -> str:
        return f"Model({self.path!r})"

    def _facts(self) -> list[tuple[str, str]]:
        if self.is_language_model:
            return [("model", self.path), ("task", self.task)]
        rows = [("model", self.path), ("predicts", f"{self.target}: {self.task}")]
        if self.classes:
            names = ", ".join(map(str, self.classes[:20]))
            rows.append(("classes", names + (" …" if self.classes[20:] else "")))
        shown = ", ".join(self.columns[:20]) + (" …" if self.columns[20:] else "")
        return [*rows, (f"{len(self.columns)} columns", shown)]

    def _repr_html_(self) -> str:
        return table(self._facts())


def _rule(**rules: Any) -> tuple[str, str] | None:
    """What written text must be, as a kind of rule and its text."""
    given = [(kind, rule) for kind, rule in rules.items() if rule is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0][0]} and {given[1][0]} exclude each other; give one of them")
    for kind, rule in given:
        return kind, rule if isinstance(rule, str) else json.dumps(rule)
    return None


def _opened(path: str, options: dict[str, Any]) -> Model:
    return Model(path, **options)


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values as HTML."""
    import html

    line = "<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>"
    cells = (line.format(html.escape(name), html.escape(value)) for name, value in rows)
    return f"<table>{''.join(cells)}</table>"
