"""Prediction inside engines that hand out tables in batches: PySpark, Ray Data, Dask and others."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from feedforward import _tables
from feedforward._errors import DataError, UsageError
from feedforward._model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@lru_cache(maxsize=8)
def _opened(path: str, threads: int) -> Model:
    return Model(path, threads=threads)


class Predictor:
    """Adds predictions to batches of rows; it travels to workers as the path of its model.

    Each worker process opens the model once, however often this is sent to it. A batch is a
    DataFrame of pandas or polars, a table of pyarrow or a dict of columns, and comes back as such.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        proba: bool = False,
        spread: bool = False,
        interval: float | None = None,
        keep: bool | Iterable[str] = True,
        threads: int = 1,
    ) -> None:
        self.path = os.path.abspath(os.fspath(model))
        self.proba, self.spread, self.interval = proba, spread, interval
        self.keep = keep if isinstance(keep, bool) else list(keep)
        self.threads = threads
        if proba and not self.model.classes:
            raise UsageError("probabilities are for classes; this model predicts numbers")

    @property
    def model(self) -> Model:
        """The model, opened once in each process."""
        return _opened(self.path, self.threads)

    def __call__(self, batch: Any) -> Any:
        """The batch with its predictions."""
        kept = self._kept(batch)
        added = self._added(batch)
        taken = [name for name in added if name in kept]
        if taken:
            raise DataError(
                f"the data has a column `{taken[0]}` already",
                help="rename it, so that the prediction has a place",
            )
        return _tables.joined(batch, kept, added)

    def in_pandas(self) -> Callable[[Iterator[Any]], Iterator[Any]]:
        """The function for `DataFrame.mapInPandas` of PySpark."""
        predictor = self

        # A plain function, whose arguments PySpark counts.
        def predict(batches: Iterator[Any]) -> Iterator[Any]:
            for batch in batches:
                yield predictor(batch)

        return predict

    def schema(self, rows: Any = None) -> str:
        """The columns of the results with types of Spark, for `rows` as they are read."""
        fields = [] if rows is None else list(getattr(rows, "schema", rows).fields)
        kept = self.keep if isinstance(self.keep, list) else None
        lines = [
            f"`{field.name}` {field.dataType.simpleString()}"
            for field in fields
            if self.keep is True or (kept is not None and field.name in kept)
        ]
        return ", ".join([*lines, *(f"`{name}` {kind}" for name, kind in self._kinds().items())])

    def _kinds(self) -> dict[str, str]:
        model = self.model
        names = {bool: "boolean", int: "bigint", float: "double"}
        kinds = {type(value) for value in model.classes} or {float}
        first = names.get(next(iter(kinds)), "string") if len(kinds) == 1 else "string"
        kinds_of = {"prediction": first}
        if self.proba:
            kinds_of |= {f"probability_{name}": "double" for name in map(_text, model.classes)}
        if self.spread:
            kinds_of["spread"] = "double"
        if self.interval is not None:
            ends = {"lower": "double", "upper": "double"}
            kinds_of |= {"set": f"array<{first}>"} if model.classes else ends
        return kinds_of

    def _kept(self, batch: Any) -> list[str]:
        names = _tables.names(batch)
        if isinstance(self.keep, bool):
            return names if self.keep else []
        missing = [name for name in self.keep if name not in names]
        if missing:
            raise DataError(f"the batch has no column `{missing[0]}`", help="see keep=")
        return list(self.keep)

    def _added(self, batch: Any) -> dict[str, Any]:
        import numpy as np

        model = self.model
        values, proba = model._predict(batch)
        if proba is not None:
            values = np.asarray(model.classes)[values]
        added = {"prediction": values}
        if self.proba:
            for i, name in enumerate(model.classes):
                added[f"probability_{_text(name)}"] = proba[:, i]
        if self.spread:
            added["spread"] = model._table.spread(*model._rows(batch))
        if self.interval is not None:
            found = model._table.interval(*model._rows(batch), self.interval)
            if isinstance(found, list):
                classes = model.classes
                added["set"] = [[classes[i] for i in row] for row in found]
            else:
                added |= {"lower": found[:, 0], "upper": found[:, 1]}
        return added

    def __repr__(self) -> str:
        return f"Predictor({self.path!r})"


def _text(value: Any) -> str:
    """A class as files write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def predictor(model: Any, **options: Any) -> Predictor:
    """A function that adds predictions to batches of rows, for PySpark, Ray Data and others.

    >>> predict = feedforward.predictor("runs/houses-1")
    >>> rows.mapInPandas(predict.in_pandas(), predict.schema(rows))  # PySpark
    >>> dataset.map_batches(predict, batch_format="pandas")  # Ray Data

    The columns are those of a file that `feedforward predict` writes, and so are their bits:
    `prediction`; with `proba` one `probability_…` for each class; with `spread` and `interval` what
    these are. `keep` names the columns of the batch to keep, or is `False`.
    """
    return Predictor(model, **options)
