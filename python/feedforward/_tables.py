"""Tables of Python as tables of the library, and predictions as what the table was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feedforward import _core

TABLE, VALID, TEST = "memory:table", "memory:valid", "memory:test"


def is_path(data: Any) -> bool:
    return isinstance(data, (str, os.PathLike))


def kind(data: Any) -> str:
    """What holds a table: `pandas`, `polars`, `dict`, …; without importing any of them."""
    package = type(data).__module__.partition(".")[0]
    if package in {"pandas", "polars", "pyarrow"}:
        return package
    if isinstance(data, Mapping):
        return "dict"
    if hasattr(data, "__arrow_c_stream__"):
        return "arrow"
    if package == "numpy" or hasattr(data, "__array__"):
        return "array"
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return "records"
    raise TypeError(
        f"a table cannot be made from {type(data).__name__}: expected a path, a DataFrame of "
        "pandas or polars, a table of pyarrow, a dict of columns, a list of dicts or a 2-D array"
    )


def rows(data: Any) -> _core.Rows:
    """A table as the library reads it."""
    make: dict[str, Callable[[Any], _core.Rows]] = {
        "polars": _polars,
        "pyarrow": _pyarrow,
        "arrow": _pyarrow,
        "pandas": _pandas,
        "dict": _columns,
        "records": _records,
        "array": _array,
    }
    return make[kind(data)](data)


def _polars(frame: Any) -> _core.Rows:
    import io

    import polars

    if isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, polars.Series):
        frame = frame.to_frame()
    stream = io.BytesIO()
    frame.write_ipc_stream(stream, compat_level=polars.CompatLevel.oldest())
    return _core.Rows.arrow(stream.getvalue())


def _pyarrow(table: Any) -> _core.Rows:
    import pyarrow

    if isinstance(table, pyarrow.RecordBatch):
        table = pyarrow.Table.from_batches([table])
    elif not isinstance(table, pyarrow.Table):
        table = pyarrow.table(table)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _core.Rows.arrow(sink.getvalue().to_pybytes())


def _pandas(frame: Any) -> _core.Rows:
    import pandas

    if isinstance(frame, pandas.Series):
        frame = frame.to_frame()
    names = [str(name) for name in frame.columns]
    return _core.Rows([_column(name, _of_series(frame.iloc[:, i])) for i, name in enumerate(names)])


def _of_series(series: Any) -> Any:
    import numpy as np
    import pandas

    dtype = series.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        return series.astype(object).where(series.notna(), None).tolist()
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    values = series.astype(object)
    return values.where(series.notna(), None).tolist()


def _columns(data: Mapping[Any, Any]) -> _core.Rows:
    if not data:
        raise ValueError("a table needs a column")
    return _core.Rows([_column(str(name), values) for name, values in data.items()])


def _records(data: Sequence[Mapping[Any, Any]]) -> _core.Rows:
    names = dict.fromkeys(name for row in data for name in row)
    return _columns({name: [row.get(name) for row in data] for name in names})


def _array(data: Any) -> _core.Rows:
    import numpy as np

    array = np.asarray(data)
    if array.dtype.names:
        return _columns({name: array[name] for name in array.dtype.names})
    if array.ndim != 2:
        raise ValueError(
            f"a table is a 2-D array [rows, columns], found shape {array.shape}: reshape it"
        )
    return _columns({f"column_{i + 1}": array[:, i] for i in range(array.shape[1])})


def _column(name: str, values: Any) -> tuple[str, Any, bool]:
    """A column in one of the types that the library takes."""
    import numpy as np

    if not isinstance(values, (list, np.ndarray)):
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise TypeError(
                f"column `{name}` is {type(values).__name__}: expected one value for each row"
            )
        arrays = hasattr(values, "__array__") and type(values).__module__ != "builtins"
        values = _of_series(values) if _is_series(values) else values
        values = np.asarray(values) if arrays else list(values)
    if isinstance(values, list):
        return (name, [_plain(value) for value in values], False)
    letter = values.dtype.kind
    if letter == "M":
        seconds = values.astype("datetime64[us]")
        numbers = seconds.astype(np.int64) / 1e6
        return (name, np.where(np.isnat(seconds), np.nan, numbers), True)
    if letter == "m":
        seconds = values / np.timedelta64(1, "s")
        return (name, np.ascontiguousarray(seconds, dtype=np.float64), False)
    if letter == "O" or letter == "U":
        return (name, [_plain(value) for value in values.tolist()], False)
    if letter == "S":
        return (name, np.char.decode(values, "utf-8").tolist(), False)
    if letter in "iu" and values.dtype != np.uint64:
        values = values.astype(np.int64)
    elif letter == "u":
        return (name, values.tolist(), False)
    elif letter == "f" and values.dtype.itemsize not in {4, 8}:
        values = values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    return (name, values, False)


def _is_series(values: Any) -> bool:
    return type(values).__module__.startswith("pandas.")


def _plain(value: Any) -> Any:
    """A cell as a plain value of Python."""
    kind = type(value)
    if kind in (str, int, float, bool) or value is None:
        return value
    module = kind.__module__
    if module == "numpy" and hasattr(value, "item"):
        return value.item()
    if module in {"datetime", "decimal", "uuid"}:
        return str(value)
    if module.startswith("pandas.") and kind.__name__ in {"NAType", "NaTType"}:
        return None
    if module.startswith("pandas.") and kind.__name__ == "Timestamp":
        return str(value)
    return value


def like(data: Any, name: str, values: Any) -> Any:
    """A column of predictions as what the table was: a Series for a DataFrame, else an array."""
    found = "path" if is_path(data) else kind(data)
    if found == "pandas":
        import pandas

        return pandas.Series(values, index=data.index, name=name)
    if found == "polars":
        import polars

        return polars.Series(name, values)
    if found == "pyarrow":
        import pyarrow

        return pyarrow.array(values)
    return values


def table_like(data: Any, names: list[str], values: Any) -> Any:
    """Columns of predictions as what the table was."""
    found = "path" if is_path(data) else kind(data)
    if found == "pandas":
        import pandas

        return pandas.DataFrame(values, index=data.index, columns=names)
    columns = {name: values[:, i] for i, name in enumerate(names)}
    if found == "polars":
        import polars

        return polars.DataFrame(columns)
    if found == "pyarrow":
        import pyarrow

        return pyarrow.table(columns)
    return values


def names(data: Any) -> list[str]:
    """The names of the columns of a table."""
    found = kind(data)
    if found == "dict":
        return [str(name) for name in data]
    if found == "pyarrow":
        return list(data.column_names)
    if found in {"pandas", "polars"}:
        return [str(name) for name in data.columns]
    raise TypeError(
        f"a batch cannot be {type(data).__name__}: expected a DataFrame of pandas or polars, a "
        "table of pyarrow or a dict of columns"
    )


def joined(data: Any, kept: list[str], added: dict[str, Any]) -> Any:
    """Some columns of a table and new ones, as what the table was."""
    found = kind(data)
    if found == "pandas":
        columns = [str(name) for name in data.columns]
        return data[[data.columns[columns.index(name)] for name in kept]].assign(**added)
    if found == "polars":
        import polars

        return data.select(kept).with_columns(polars.Series(n, v) for n, v in added.items())
    if found == "pyarrow":
        import pyarrow

        table = data.select(kept)
        for name, values in added.items():
            table = table.append_column(name, pyarrow.array(values))
        return table
    return {name: data[name] for name in kept} | added
